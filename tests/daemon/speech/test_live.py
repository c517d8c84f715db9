from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convo.messages import SpeechEnded, SpeechStarted, TranscriptPartial
from convod.speech.commands import Commit, Decode, DecodeStarted, Drop, Emit, LoadChanged, Prioritize
from convod.speech.decoding import DecodeJob, Interims, Kind, Lead, TimedWord
from convod.speech.endpointer import EndpointSettings
from convod.speech.hallucination import HallucinationFilter
from convod.speech.live import LiveTranscriber
from convod.speech.partial import INTERIM_MS
from convod.speech.windows import LiveSettings
from tests.daemon.support.sounds import RATE, silence, white
from tests.daemon.support.talk import REJECTED, flat, heard, sentence, talk, word


class Play:
    """Feeds a transcriber in small pieces and keeps what it commands; finals and interims wait until answered."""

    def __init__(self, *, piece: int = 1920, **options) -> None:
        about = {"session": "s", "rate": RATE, "kind": Kind.FINAL}
        start = {key: options.pop(key) for key in ("segment", "utterance", "sample") if key in options}
        if "language_so_far" in options:
            start["language"] = options.pop("language_so_far")
        self.waiting = False  # whether the engine has begun with nothing
        self.hallucination_filter = HallucinationFilter()
        self.transcriber = LiveTranscriber(LiveSettings(**(about | options)), self.hallucination_filter, **start)
        self.piece = piece
        self.commands: list = []
        self.on_interim: Callable[[DecodeJob], str | None] = lambda job: None
        self.clock = 0.0

    def _take(self, commands) -> None:
        self.commands += commands
        for command in commands:
            if isinstance(command, Decode) and command.job.kind is Kind.INTERIM:
                text = self.on_interim(command.job)
                if text is not None:
                    self._take(self.transcriber.decoded(command.job, heard(text)))
                elif not self.waiting:
                    self.transcriber.tell(DecodeStarted(command.job))

    def afford(self, interims: Interims) -> None:
        self.transcriber.tell(LoadChanged(interims))

    def audio(self, sound: bytes) -> Play:
        for at in range(0, len(sound), self.piece):
            self.clock += 1.0
            self._take(self.transcriber.audio(sound[at : at + self.piece], self.clock))
        return self

    def flush(self) -> Play:
        self._take(self.transcriber.flush())
        return self

    def answer(self, job: DecodeJob, text: str, **figures) -> list[Any]:
        before = len(self.commands)
        self._take(self.transcriber.decoded(job, heard(text, **figures)))
        return [flat(command) for command in self.commands[before:] if isinstance(command, Commit)]

    @property
    def finals(self) -> list[DecodeJob]:
        """Windows decoded for their text and not dropped since."""
        dropped = {id(command.job) for command in self.commands if isinstance(command, Drop)}
        return [
            command.job
            for command in self.commands
            if isinstance(command, Decode) and command.job.kind is not Kind.INTERIM and id(command.job) not in dropped
        ]

    @property
    def kept(self) -> list[Any]:
        return [flat(command) for command in self.commands if isinstance(command, Commit)]

    def said(self, kind: type) -> list:
        return [one.event for one in self.commands if isinstance(one, Emit) and isinstance(one.event, kind)]


# --- utterances -------------------------------------------------------------------------------------------


def test_silence_and_nothing_at_all_command_nothing():
    assert Play().audio(silence(30)).flush().commands == []
    assert Play().audio(b"").flush().commands == []


def test_one_sentence_is_one_window_with_its_pre_roll_and_one_segment():
    play = Play(interim=False).audio(sentence() + silence(1.0))
    (job,) = play.finals
    assert job.audio == (sentence() + silence(1.0))[2 * job.start : 2 * job.end]
    assert 0.0 <= job.start / RATE < 0.35  # the sound begins at 0.35 s
    assert 2.78 < job.end / RATE < 3.34
    (keep,) = play.answer(job, "Grace will review it.")
    assert (keep.segment, keep.text, keep.checkpoint_sample, keep.checkpoint_utterance) == (
        0,
        "Grace will review it.",
        job.end,
        1,
    )
    assert job.start / RATE < keep.start < 0.5
    assert keep.end == round(job.end / RATE, 3)
    assert 0.0 < keep.confidence <= 1.0
    assert play.transcriber.settled == play.transcriber.now


def test_speech_starts_and_ends_are_said_in_turn():
    play = Play(interim=False).audio(talk(3))
    starts, ends = play.said(SpeechStarted), play.said(SpeechEnded)
    assert len(starts) == len(ends) == 3
    times = [time.time for pair in zip(starts, ends, strict=True) for time in pair]
    assert times == sorted(times)


def test_an_utterance_that_is_cut_starts_once_and_ends_once():
    endpoint = EndpointSettings(longest_ms=1000, cut_from_ms=500)
    play = Play(interim=False, endpoint=endpoint).audio(sentence() + silence(1.0))
    assert len(play.finals) > 2
    assert len(play.said(SpeechStarted)) == len(play.said(SpeechEnded)) == 1
    for one, two in zip(play.finals, play.finals[1:], strict=False):
        assert one.end == two.start


def test_at_a_pause_the_text_is_decoded_and_the_endpoint_publishes_it_at_once():
    play = Play(interim=False)
    sound = sentence() + silence(1.0)
    while not play.finals:
        play.audio(sound[: play.piece])
        sound = sound[play.piece :]
    assert play.transcriber.speaking
    (speculative,) = play.finals
    assert play.answer(speculative, "Grace will review it.") == []  # perhaps she goes on
    play.audio(sound)
    assert play.finals == [speculative]  # not decoded again
    assert [keep.text for keep in play.kept] == ["Grace will review it."]


def test_a_guess_at_a_pause_is_dropped_when_the_speaker_goes_on():
    play = Play(interim=False, endpoint=EndpointSettings(endpoint_ms=3000))
    play.audio(sentence() + silence(0.1))
    (speculative,) = play.finals
    play.audio(sentence() + silence(4.0))
    assert speculative in [command.job for command in play.commands if isinstance(command, Drop)]
    (job,) = play.finals
    assert job.start == speculative.start
    assert play.answer(speculative, "half of it") == []
    assert [keep.text for keep in play.answer(job, "all of it")] == ["all of it"]


def test_a_guess_that_could_not_be_decoded_is_decoded_again_at_the_endpoint():
    play = Play(interim=False, endpoint=EndpointSettings(endpoint_ms=1000))
    play.audio(sentence())
    (speculative,) = play.finals
    assert play.transcriber.refused(speculative, "the engine stumbled") == []
    play.audio(silence(1.5))
    again = [job for job in play.finals if job is not speculative]
    assert len(again) == 1
    assert [keep.text for keep in play.answer(again[0], "All is well.")] == ["All is well."]


# --- order ------------------------------------------------------------------------------------------------


def test_results_out_of_order_are_published_in_order():
    play = Play(interim=False).audio(talk(3))
    first, second, third = play.finals
    assert play.answer(third, "three") == []
    assert play.answer(second, "two") == []
    assert play.transcriber.settled == first.start
    assert [(keep.segment, keep.text) for keep in play.answer(first, "one")] == [(0, "one"), (1, "two"), (2, "three")]
    marks = [keep.checkpoint_sample for keep in play.kept]
    assert marks == sorted(marks)


def test_a_result_that_comes_twice_counts_once():
    play = Play(interim=False).audio(talk(1))
    (job,) = play.finals
    assert len(play.answer(job, "one")) == 1
    assert play.answer(job, "one") == []


@pytest.mark.parametrize("figures", [REJECTED, {"voice_s": 0.0}])
def test_a_rejected_text_takes_no_number_but_moves_the_mark(figures):
    play = Play(interim=False).audio(talk(2))
    first, second = play.finals
    (nothing,) = play.answer(first, "Thanks for watching!", **figures)
    assert nothing.text is None
    assert (nothing.checkpoint_sample, nothing.checkpoint_utterance) == (first.end, 1)
    (keep,) = play.answer(second, "We begin.")
    assert keep.segment == 0


def test_audio_that_could_not_be_decoded_is_said_and_the_rest_goes_on():
    play = Play(interim=False).audio(talk(2))
    first, second = play.finals
    (trouble,) = map(flat, play.transcriber.refused(first, "the engine stumbled"))
    assert (trouble.text, trouble.trouble) == (None, "the engine stumbled")
    assert [keep.text for keep in play.answer(second, "We go on.")] == ["We go on."]


# --- captions ---------------------------------------------------------------------------------------------

WORDS = ["Grace", "will", "review", "the", "contract", "before", "lunch"]


def growing(job: DecodeJob) -> str:
    """A model that hears a word more for each 0.4 s, and the newest one wrong."""
    count = len(job.audio) // 2 * 10 // (4 * RATE)
    return " ".join([*WORDS[:count], "perhaps"])


def test_partial_stable_words_never_change_and_come_before_the_segment():
    play = Play()
    play.on_interim = growing
    play.audio(sentence() + silence(1.0))
    partials = play.said(TranscriptPartial)
    assert len(partials) >= 5
    assert {partial.segment for partial in partials} == {0}
    before: list[str] = []
    for partial in partials:
        assert partial.stable.split()[: len(before)] == before
        before = partial.stable.split()
    assert len(before) >= 3
    ends = [partial.end for partial in partials]
    assert ends == sorted(ends)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_stable_words_never_change_whatever_the_engine_says(data):
    play = Play()
    play.on_interim = lambda job: data.draw(
        st.none() | st.lists(st.sampled_from(["so", "we", "go"]), max_size=5).map(" ".join)
    )
    play.audio(talk(2, 0.7)).flush()
    shown: dict[int, list[str]] = {}
    for partial in play.said(TranscriptPartial):
        stable, before = partial.stable.split(), shown.get(partial.segment, [])
        assert stable[: len(before)] == before
        shown[partial.segment] = stable


def test_at_most_one_interim_is_asked_for_at_a_time_and_never_of_a_moment():
    play = Play().audio(sentence())
    windows = [one.job for one in play.commands if isinstance(one, Decode) and one.job.kind is Kind.INTERIM]
    assert len(windows) == 1  # it was never answered
    assert windows[0].end - windows[0].start >= 0.4 * RATE


def interims_of(play: Play) -> list[Decode]:
    return [one for one in play.commands if isinstance(one, Decode) and one.job.kind is Kind.INTERIM]


@pytest.mark.parametrize("affords", list(Interims)[:-1])
def test_while_an_interim_waits_it_is_renewed_with_each_interval(affords):
    play = Play(endpoint=EndpointSettings(endpoint_ms=3000, pause_ms=2500))
    play.waiting = True
    play.afford(affords)
    play.audio(sentence())
    asked = interims_of(play)
    assert len(asked) >= 6
    assert [one.instead_of for one in asked] == [None, *(one.job for one in asked[:-1])]
    newer = [later.job.end - earlier.job.end for earlier, later in itertools.pairwise(asked)]
    interval = INTERIM_MS * RATE // 1000
    assert interval <= min(newer) <= max(newer) <= interval + play.piece
    assert len({one.job.start for one in asked}) == 1
    # The engine begins with the newest: what comes meanwhile waits for its answer.
    play.waiting = False
    play.transcriber.tell(DecodeStarted(asked[-1].job))
    play.audio(sentence())
    assert interims_of(play) == asked
    play.transcriber.decoded(asked[-2].job, heard("of no use"))
    assert not play.said(TranscriptPartial)
    play._take(play.transcriber.decoded(asked[-1].job, heard("Grace will")))
    play.audio(sentence()[:16000])
    assert interims_of(play)[len(asked)].instead_of is None


@pytest.mark.parametrize("endpoint_ms", [200, 500, 3000])
def test_the_text_of_a_pause_is_needed_at_the_endpoint(endpoint_ms):
    play = Play(interim=False, endpoint=EndpointSettings(endpoint_ms=endpoint_ms), piece=320)
    play.audio(sentence() + silence(4.0))
    speculative = play.finals[-1]
    assert speculative.options.find_voice_end
    assert abs(speculative.spare_s - min(0.5, (endpoint_ms - 200) / 1000)) <= 0.04  # and soon, for it is a caption, too
    play = Play(interim=False).audio(sentence()[: 2 * RATE]).flush()
    assert [job.spare_s for job in play.finals] == [0.0]


def test_without_interim_there_are_no_interims():
    play = Play(interim=False).audio(talk(1))
    assert all(one.job.kind is Kind.FINAL for one in play.commands if isinstance(one, Decode))


def test_an_interim_that_comes_after_the_end_shows_nothing():
    play = Play()
    windows: list[DecodeJob] = []
    play.on_interim = lambda job: windows.append(job)
    play.audio(sentence() + silence(1.0))
    assert play.transcriber.decoded(windows[-1], heard("too late")) == []


def test_while_an_earlier_utterance_is_not_out_the_next_one_shows_no_partials():
    play = Play()
    play.on_interim = growing
    play.audio(talk(1))
    before = len(play.said(TranscriptPartial))
    play.audio(sentence())
    assert len(play.said(TranscriptPartial)) == before
    play.answer(play.finals[0], "one")
    play.audio(sentence() + silence(0.2) + sentence())
    later = play.said(TranscriptPartial)[before:]
    assert {partial.segment for partial in later} <= {1}


@pytest.mark.parametrize("how", ["rejected", "refused"])
def test_words_that_were_promised_stay_when_the_final_is_no_good(how):
    play = Play(words=True)
    play.on_interim = growing
    play.audio(sentence() + silence(1.0))
    committed = play.said(TranscriptPartial)[-1].stable
    (job,) = play.finals
    if how == "rejected":
        wrong = [TimedWord(start=0.1, end=0.5, word="Thanks", probability=0.1)]
        (keep,) = play.answer(job, "Thanks for watching!", words=wrong, **REJECTED)
    else:
        (keep,) = map(flat, play.transcriber.refused(job, "the engine stumbled"))
        assert keep.trouble == "the engine stumbled"
    assert keep.text == committed != ""
    assert keep.words is None  # those of a text that was not taken are not this one's
    assert keep.confidence == 0.0


# --- words and languages ----------------------------------------------------------------------------------


def test_words_are_on_the_sessions_clock_and_within_their_segment():
    play = Play(words=True, interim=False).audio(silence(5.0) + sentence() + silence(1.0))
    (job,) = play.finals
    words = [
        TimedWord(start=0.0, end=0.6, word="Grace", probability=0.9),
        TimedWord(start=0.6, end=60.0, word="will", probability=0.8),
    ]
    (keep,) = play.answer(job, "Grace will", words=words)
    assert keep.words is not None
    assert [word.word for word in keep.words] == ["Grace", "will"]
    for timed in keep.words:
        assert 5.0 < keep.start <= timed.start <= timed.end <= keep.end


def test_a_language_the_model_is_sure_of_is_kept_for_the_session():
    play = Play(interim=False).audio(talk(1))
    assert play.finals[0].options.language is None
    play.answer(play.finals[0], "Ja.", language="de", language_probability=0.3)
    play.audio(talk(1))
    assert play.finals[1].window.expected is None
    play.answer(play.finals[1], "Ja, genau.", language="de", language_probability=0.5)
    play.audio(talk(1))
    # It is expected, and detected all the same.
    assert (play.finals[2].options.language, play.finals[2].window.expected) == (None, "de")


def test_a_session_changes_its_language_when_the_model_is_sure_of_another():
    play = Play(interim=False, language_so_far="de").audio(talk(1))
    (keep,) = play.answer(play.finals[0], "Oui.", language="fr", language_probability=0.4)
    assert keep.language == "fr"
    play.audio(talk(1))
    assert play.finals[1].window.expected == "de"
    play.answer(play.finals[1], "Oui, c'est ça.", language="fr", language_probability=0.9)
    play.audio(talk(1))
    assert play.finals[2].window.expected == play.transcriber.language == "fr"


@pytest.mark.parametrize("figures", [REJECTED, {"voice_s": 0.0}])
def test_the_language_of_a_rejected_text_is_not_kept(figures):
    play = Play(interim=False).audio(talk(1))
    play.answer(play.finals[0], "Gracias.", language="es", language_probability=0.9, **figures)
    play.audio(talk(1))
    assert play.finals[1].options.language is play.finals[1].window.expected is None


def test_the_language_of_a_guess_that_the_speaker_went_on_after_is_not_kept():
    play = Play(interim=False, endpoint=EndpointSettings(endpoint_ms=3000)).audio(sentence() + silence(0.1))
    play.answer(play.finals[0], "Ja.", language="de", language_probability=0.9)
    play.audio(sentence())
    assert play.finals[-1].options.language is play.finals[-1].window.expected is None


def test_after_a_restart_the_language_is_known():
    play = Play(interim=False, language_so_far="de").audio(talk(1))
    assert (play.finals[0].options.language, play.finals[0].window.expected) == (None, "de")


def test_a_language_that_was_asked_for_is_never_replaced():
    play = Play(interim=False, language="en").audio(talk(1))
    play.answer(play.finals[0], "Yes.", language="de", language_probability=0.99)
    assert play.transcriber.language == "en"
    play.audio(talk(1))
    assert (play.finals[1].options.language, play.finals[1].window.expected) == ("en", "en")


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


# --- captions of a model that gives times -----------------------------------------------------------------


def test_interims_ask_for_the_times_of_words_and_finals_where_the_client_does():
    for words in (False, True):
        play = Play(words=words).audio(talk(1))
        assert {one.job.options.words for one in interims_of(play)} == {True}
        assert {job.options.words for job in play.finals} == {words}


@pytest.mark.parametrize(("figures", "shown"), [({}, True), ({"truncated": True}, False), (REJECTED, False)])
def test_an_interim_that_was_cut_off_in_a_loop_shows_nothing(figures, shown):
    play = Play().audio(sentence()[: 3 * RATE])
    (asked,) = interims_of(play)
    play._take(play.transcriber.decoded(asked.job, heard("so we go", **figures)))
    assert bool(play.said(TranscriptPartial)) is shown


def test_a_caption_is_never_blank_nor_the_same_again():
    play = Play()
    texts = itertools.cycle(["so we", "so we", "", "so we", "no"])
    play.on_interim = lambda job: next(texts)
    play.audio(talk(2))
    partials = play.said(TranscriptPartial)
    assert partials
    assert all(partial.stable or partial.tentative for partial in partials)
    for one, other in itertools.pairwise(partials):
        assert (one.segment, one.stable, one.tentative) != (other.segment, other.stable, other.tentative)
