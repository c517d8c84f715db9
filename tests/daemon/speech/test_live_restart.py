"""What a live session does at a flush, after a restart, at a pause, and where a sentence goes on."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convo.messages import TranscriptPartial
from convod.speech.commands import Decode, Drop, Prioritize
from convod.speech.decoding import DecodeJob, Interims, Kind
from convod.speech.endpointer import EndpointSettings
from convod.speech.hallucination import HallucinationFilter
from convod.speech.live import LiveTranscriber
from convod.speech.windows import LiveSettings
from tests.daemon.support.play import Play, growing
from tests.daemon.support.sounds import RATE, silence, white
from tests.daemon.support.talk import REJECTED, sentence, talk, word

# --- flush, restart ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", [0, 1, 17, 479])
def test_a_flush_loses_no_sample_of_a_last_frame_that_is_not_whole(rest):
    sound = sentence()[: 2 * (2 * RATE + rest)]
    play = Play(interim=False).audio(sound).flush()
    (job,) = play.finals
    assert job.end == len(sound) // 2
    assert job.audio == sound[2 * job.start :]


def test_after_a_flush_in_mid_speech_the_next_utterance_goes_on_where_it_ended():
    sound = sentence() + silence(1.0)
    at = 2 * (RATE + 123)
    play = Play(interim=False).audio(sound[:at]).flush().audio(sound[at:]).flush()
    first, second = play.finals
    assert first.end == at // 2
    assert second.start == first.end
    assert second.audio == sound[2 * second.start : 2 * second.end]
    keeps = play.answer(first, "Grace will") + play.answer(second, "review it.")
    assert keeps[0].end <= keeps[1].start


def test_a_second_flush_does_nothing():
    play = Play(interim=False).audio(sentence()).flush()
    count = len(play.commands)
    assert len(play.flush().commands) == count


@pytest.mark.parametrize("figures", [{"voice_s": 0.0, "voice_end": 0.0}, {}])
def test_a_moment_without_a_voice_opens_no_utterance_behind_it(figures):
    play = Play(interim=False, segment=1, utterance=1, sample=RATE).audio(silence(0.05)).flush()
    (moment,) = play.finals
    assert moment.end - moment.start < 0.08 * RATE
    play.audio(silence(0.2))
    play.answer(moment, "", no_speech_prob=1.0, **figures)
    assert not play.transcriber.speaking


def test_from_a_mark_it_goes_on_with_the_same_windows_and_numbers():
    sound = talk(3)
    whole = Play(interim=False).audio(sound)
    first, *rest = whole.finals
    (keep,) = whole.answer(first, "one")
    again = Play(interim=False, segment=1, utterance=keep.checkpoint_utterance, sample=keep.checkpoint_sample)
    again.audio(sound[2 * keep.checkpoint_sample :])
    # Whether somebody spoke on at the mark was forgotten, so what is there is listened to once more.
    silent, *finals = again.finals
    assert silent.start == keep.checkpoint_sample
    assert silent.options.check_voice
    assert [nothing.text for nothing in again.answer(silent, "", voice_s=0.0, voice_end=0.0)] == [None]
    assert [job.utterance for job in finals] == [2, 3]
    for job, before in zip(finals, rest, strict=True):
        assert abs(job.start - before.start) <= 0.3 * RATE  # frames begin at the mark now
        assert job.audio == sound[2 * job.start : 2 * job.end]
    assert again.answer(finals[0], "two")[0].segment == 1


def test_memory_stays_bounded_through_a_long_silence():
    play = Play(piece=2 * RATE)
    for _ in range(10):
        play.audio(silence(60.0))
    assert len(play.transcriber.buffer) <= 3 * RATE
    assert play.transcriber.buffer.arrival(0) >= play.clock - 5, "when samples came is forgotten with them"


LONG = sentence() + silence(0.35) + sentence()[: 2 * RATE] + silence(0.9) + white(0.5, -40) + sentence()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, len(LONG) // 2), max_size=12))
def test_where_the_audio_is_cut_changes_no_window(cuts):
    transcriber = LiveTranscriber(
        LiveSettings(session="s", rate=RATE, kind=Kind.FINAL, interim=False), HallucinationFilter()
    )
    commands = []
    borders = [0, *sorted(cuts), len(LONG) // 2]
    for a, b in itertools.pairwise(borders):
        commands += transcriber.audio(LONG[2 * a : 2 * b], 0.0)
    commands += transcriber.flush()
    whole = Play(interim=False).audio(LONG).flush()
    assert shapes(commands) == shapes(whole.commands)


def shapes(commands: list) -> list[tuple]:
    return [
        (type(one), one.job.utterance, one.job.start, one.job.audio)
        if isinstance(one, Decode | Drop | Prioritize)
        else (type(one), one)
        for one in commands
    ]


def test_under_pressure_interims_come_rarer_then_not_at_all_and_finals_always():
    asked = {}
    for level in Interims:
        play = Play()
        play.afford(level)
        play.on_interim = lambda job: "so we go"
        play.audio(sentence()).audio(silence(1.0))
        asked[level] = sum(isinstance(one, Decode) and one.job.kind is Kind.INTERIM for one in play.commands)
        assert len(play.finals) == 1
    assert asked[Interims.FULL] > 2 * asked[Interims.RARER] > 0
    assert asked[Interims.NONE] == 0


def paused() -> tuple[Play, DecodeJob, bytes]:
    """A sentence up to the pause behind it, the window that was decoded there, and the sound that is left."""
    play, sound = Play(interim=False), sentence() + silence(0.6)
    for at in range(0, len(sound), play.piece):
        play.audio(sound[at : at + play.piece])
        if play.finals:
            return play, play.finals[0], sound[at + play.piece :]
    raise AssertionError("there was no pause")


def test_the_text_of_a_pause_is_shown_at_once_however_long_the_endpoint_is():
    play = Play(endpoint=EndpointSettings(endpoint_ms=3000))
    play.on_interim = growing
    play.audio(sentence() + silence(0.3))
    (speculative,) = play.finals
    before = play.said(TranscriptPartial)[-1]
    assert before.tentative.split()[-1:] != ["lunch."]
    text = "Grace will review the contract before lunch."
    assert text.startswith(before.stable)
    assert play.answer(speculative, text) == []
    shown = play.said(TranscriptPartial)[-1]
    assert shown.segment == 0
    assert shown.stable.startswith(before.stable)
    assert f"{shown.stable} {shown.tentative}".split() == text.split()
    assert before.end <= shown.end <= play.transcriber.now / RATE


@pytest.mark.parametrize("figures", [REJECTED, {"voice_s": 0.0}])
def test_the_text_of_a_pause_that_is_no_good_is_not_shown_and_counts_once(figures):
    play = Play()
    play.audio(sentence() + silence(0.2))
    (speculative,) = play.finals
    play.answer(speculative, "Thanks for watching!", **figures)
    assert play.said(TranscriptPartial) == []
    play.audio(silence(1.0))
    assert [keep.text for keep in play.kept] == [None]
    assert play.hallucination_filter.rejected.total() == 1


def test_without_interims_or_where_there_may_be_none_the_text_of_a_pause_waits_for_the_endpoint():
    for options, affords in (({"interim": False}, Interims.FULL), ({}, Interims.NONE)):
        play = Play(**options)
        play.afford(affords)
        play.audio(sentence() + silence(0.2))
        play.answer(play.finals[0], "Grace will review it.")
        assert play.said(TranscriptPartial) == []


def test_a_pause_in_which_the_worker_hears_a_voice_is_no_end():
    play, speculative, rest = paused()
    assert speculative.options.find_voice_end
    assert play.answer(speculative, "Grace will", voice_end=(speculative.end - speculative.start) / RATE) == []
    # The endpoint comes later, with a window of its own that reaches further.
    play.audio(rest + silence(1.0))
    job = play.finals[-1]
    assert job is not speculative
    assert job.end > speculative.end
    (keep,) = play.answer(job, "Grace will review it.")
    assert keep.text == "Grace will review it."
    assert len(play.kept) == 1


def test_a_pause_after_which_the_voice_only_fades_is_an_end():
    play, speculative, rest = paused()
    assert (
        play.answer(speculative, "Grace will review it.", voice_end=(speculative.end - speculative.start) / RATE - 0.15)
        == []
    )
    play.audio(rest)
    assert [keep.text for keep in play.kept] == ["Grace will review it."]


def test_words_that_only_the_worker_heard_are_not_too_many():
    play = Play(interim=False).audio(word() + silence(1.0))
    (job,) = play.finals
    many = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    assert play.answer(job, many, voice_s=1.5)[0].text == many


# --- a sentence that goes on ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "figures", "waits_s"),
    [
        ("Grace will review it.", {}, 0.5),
        ("Grace will review", {}, 1.0),
        ("Grace will review it, and...", {}, 1.0),
        ("今日は会議です。", {}, 0.5),
        ("Thanks for watching", REJECTED, 0.5),  # of a noise nobody waits for more
        ("", {"voice_s": 0.0}, 0.5),
    ],
)
def test_the_endpoint_waits_where_the_text_of_a_pause_ends_no_sentence(text, figures, waits_s):
    play, speculative, rest = paused()
    play.answer(speculative, text, **figures)
    play.piece = 320
    sound = rest + silence(2.0)
    while not play.kept:
        play.audio(sound[: play.piece])
        sound = sound[play.piece :]
    assert play.finals == [speculative]
    silent_s = play.transcriber.now / RATE - speculative.end / RATE + 0.2
    assert waits_s <= silent_s < waits_s + 0.06


def test_speech_within_the_patience_is_the_same_utterance():
    play, speculative, _ = paused()
    play.answer(speculative, "Grace will")
    play.audio(silence(0.1) + sentence() + silence(1.0))
    job = play.finals[-1]
    assert (job.utterance, job.start) == (speculative.utterance, speculative.start)
    assert job.end > speculative.end + 2 * RATE
    assert len(play.answer(job, "Grace will review it.")) == 1
