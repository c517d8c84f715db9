"""What a window is told of what came before it, and what is told of a voice without words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from convod.speech.decoding import DecodeJob, Lead, TimedWord
from convod.speech.endpointer import EndpointSettings
from tests.daemon.support.play import Play, interims_of
from tests.daemon.support.sounds import RATE, silence
from tests.daemon.support.talk import REJECTED, heard, sentence, talk

# --- what comes before ------------------------------------------------------------------------------------


def spread(text: str, job: DecodeJob) -> list[TimedWord]:
    """The words of a text, all over its window."""
    each = (job.end - job.start) / RATE / len(text.split())
    return [
        TimedWord(start=i * each, end=(i + 1) * each, word=word, probability=0.9) for i, word in enumerate(text.split())
    ]


def told(play: Play, job: DecodeJob, text: str, **figures) -> list[Any]:
    return play.answer(job, text, words=spread(text, job), **figures)


def two(pause_s: float, text: str = "Grace will review it.", **figures) -> tuple[Play, DecodeJob, DecodeJob]:
    """A session with two sentences, the first of which was published; and their windows."""
    play = Play(interim=False).audio(sentence() + silence(0.8))
    (first,) = play.finals
    told(play, first, text, **figures)
    play.audio(silence(pause_s) + sentence() + silence(0.8))
    return play, first, play.finals[1]


@pytest.mark.parametrize(("pause_s", "led"), [(0.0, True), (0.6, True), (0.9, False), (8.0, False)])
def test_what_comes_soon_after_an_utterance_is_decoded_behind_it(pause_s, led):
    sound = sentence() + silence(0.8 + pause_s) + sentence() + silence(0.8)
    _, first, second = two(pause_s)
    assert (second.start - first.end <= 2 * RATE) is led
    if led:
        assert second.window.lead == Lead(audio=sound[2 * first.start : 2 * second.start], text="Grace will review it.")
    else:
        assert second.window.lead is None


def test_of_a_long_utterance_the_last_eight_seconds_come_before_the_next_from_a_word_on():
    sound = (sentence() + silence(0.1)) * 5 + silence(0.9)
    play = Play(interim=False, endpoint=EndpointSettings(endpoint_ms=1400)).audio(sound)
    first = play.finals[-1]
    seconds = (first.end - first.start) / RATE
    assert seconds > 12
    words = [f"w{i}" for i in range(int(seconds))]
    told(play, first, " ".join(words))
    play.audio(sentence() + silence(1.5))
    lead = play.finals[-1].window.lead
    assert lead is not None
    kept = lead.text.split()
    assert words[-len(kept) :] == kept
    begin = first.start + (seconds - len(kept) * seconds / len(words)) * RATE
    assert len(lead.audio) // 2 == pytest.approx(play.finals[-1].start - begin, abs=2)
    assert 7.0 < (first.end - begin) / RATE <= 8.0


def test_of_an_utterance_in_two_languages_the_last_one_comes_before_the_next():
    play = Play(interim=False).audio(sentence() + silence(0.8))
    (first,) = play.finals
    words = [
        msgspec.structs.replace(word, language="en" if i < 2 else "de")
        for i, word in enumerate(spread("Grace agrees. Ja, genau.", first))
    ]
    play.take(play.transcriber.decoded(first, heard("Grace agrees. Ja, genau.", words=words)))
    play.audio(sentence() + silence(0.8))
    second = play.finals[1]
    assert second.window.expected == "de"
    lead = second.window.lead
    assert lead is not None
    assert lead.text == "Ja, genau."
    begin = first.start + words[2].start * RATE
    assert len(lead.audio) // 2 == pytest.approx(second.start - begin, abs=2)


@pytest.mark.parametrize("figures", [REJECTED, {"voice_s": 0.0, "no_speech_prob": 1.0}])
def test_a_text_that_was_rejected_comes_before_nothing(figures):
    _, _, second = two(0.2, "Thanks for watching!", **figures)
    assert second.window.lead is None


def test_a_text_without_times_comes_before_nothing():
    play = Play(interim=False).audio(sentence() + silence(0.8))
    play.answer(play.finals[0], "Grace will review it.")
    play.audio(sentence() + silence(0.8))
    assert play.finals[1].window.lead is None


def test_what_is_closed_before_the_text_of_the_last_one_is_there_has_no_lead():
    play = Play(interim=False).audio(talk(2))
    first, second = play.finals
    told(play, first, "Grace will review it.")
    told(play, second, "We begin.")
    play.audio(talk(1))
    third = play.finals[2]
    assert second.window.lead is None
    assert third.window.lead is not None
    assert third.window.lead.text == "We begin."


def test_interims_have_no_lead():
    play = Play().audio(sentence() + silence(0.8))
    told(play, play.finals[0], "Grace will review it.")
    play.audio(sentence() + silence(0.8))
    interims = [one.job for one in interims_of(play)]
    assert {job.utterance for job in interims} == {0, 1}
    assert all(job.window.lead is None for job in interims)
    assert play.finals[1].window.lead is not None


def test_the_lead_of_a_sentence_that_goes_on_after_its_pause_is_there_again():
    """Both windows that are decoded of it come behind the same."""
    play = Play(interim=False, endpoint=EndpointSettings(endpoint_ms=1000)).audio(sentence() + silence(1.1))
    told(play, play.finals[0], "Grace will review it.")
    play.audio(sentence())
    speculative = play.finals[1]
    play.audio(sentence() + silence(1.1))
    job = play.finals[1]
    assert job is not speculative
    assert job.start == speculative.start
    assert job.window.lead == speculative.window.lead
    assert job.window.lead is not None


def test_after_a_restart_nothing_comes_before():
    play, _, second = two(0.2)
    (keep, *_) = play.kept
    sound = sentence() + silence(1.0) + sentence() + silence(0.8)
    again = Play(interim=False, segment=1, utterance=keep.checkpoint_utterance, sample=keep.checkpoint_sample)
    again.audio(sound[2 * keep.checkpoint_sample :])
    assert [job.window.lead for job in again.finals] == [None] * len(again.finals)
    assert second.window.lead is not None


def test_audio_that_may_yet_be_a_lead_is_kept_and_no_longer():
    play = Play(interim=False).audio(sentence() + silence(0.8))
    (first,) = play.finals
    told(play, first, "Grace will review it.")
    play.audio(silence(1.0))
    assert play.transcriber.buffer.start <= first.start
    play.audio(silence(6.0))
    assert len(play.transcriber.buffer) <= 2 * RATE
    assert play.transcriber.buffer.start > first.end


# --- what was not made out --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "figures"),
    [("Grace will", {}), ("", {}), ("Thanks for watching!", {"no_speech_prob": 0.9})],
)
@pytest.mark.parametrize(("place", "is_told"), [((0.5, 2.5), True), ((0.5, 2.4), False), (None, False)])
def test_a_voice_without_words_is_told_if_it_is_long(text, figures, place, is_told):
    play = Play(interim=False).audio(silence(5.0) + sentence() + silence(1.0))
    (job,) = play.finals
    (keep,) = play.answer(job, text, uncovered=place, **figures)
    at = job.start / RATE
    assert keep.uncovered == ((pytest.approx(at + 0.5), pytest.approx(at + 2.5)) if is_told else None)
    assert (keep.text is None) is (text != "Grace will")
