"""Speech that the gate misses and the worker hears: whenever the worker tells of it, all of it is in one window."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import cycle, pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from convo.messages import SpeechEnded, SpeechStarted
from convod.speech.commands import Command, Commit, Decode, DecodeStarted, Drop, Emit
from convod.speech.decoding import DecodeJob, Hypothesis, Kind, TimedWord
from convod.speech.endpointer import EndpointSettings
from convod.speech.hallucination import HallucinationFilter
from convod.speech.live import LiveTranscriber
from convod.speech.windows import LiveSettings
from tests.daemon.support.talk import flat, heard

RATE = 8000
FRAME = 240  # 30 ms
SOUND = array("h", ((i * 40503) % 65536 - 32768 for i in range(60 * RATE))).tobytes()
"""No two stretches of it are alike, so a window tells which samples it holds."""

LEAST = 60 * RATE // 1000  # a window with less voice is not decoded

Spans = list[tuple[int, int]]


class Gate:
    """Stands in for the voice-activity detector: `script` says of each frame of the session whether it hears speech.

    After a restart frames have other borders, so it goes by a frame's middle.
    """

    def __init__(self, script: str, begin: int) -> None:
        self._script = script
        self._at = begin

    def feed(self, samples: bytes) -> tuple[bool, float]:
        frame = (self._at + FRAME // 2) // FRAME
        self._at += FRAME
        speech = self._script[frame : frame + 1] == "#"
        return speech, -20.0 if speech else -80.0


class Hearing:
    """One session from sample `begin` on. `voice` is what there is to hear; each answer comes as late as `delays` say
    (in ms), one after the other, but for those that come at once.
    """

    def __init__(
        self,
        gate: str,
        voice: Spans,
        delays: Sequence[int],
        *,
        endpoint_ms: int = 500,
        interim: bool = False,
        begin: int = 0,
        utterance: int = 0,
        segment: int = 0,
    ) -> None:
        endpoint = EndpointSettings(endpoint_ms=endpoint_ms)
        self.transcriber = LiveTranscriber(
            LiveSettings("s", RATE, Kind.FINAL, endpoint, interim=interim),
            HallucinationFilter(),
            sample=begin,
            utterance=utterance,
            segment=segment,
        )
        self.transcriber.vad = Gate(gate, begin)  # type: ignore[assignment]
        self.voice = voice
        self.delays = cycle(delays)
        self.sent = begin
        self.due: list[tuple[int, DecodeJob]] = []
        self.asked: dict[tuple[int, int], DecodeJob] = {}
        self.kept: list[Any] = []
        self.speaking = False

    def hear(self, frames: int) -> Hearing:
        """So many frames more."""
        for _ in range(frames):
            sound = SOUND[2 * self.sent : 2 * (self.sent + FRAME)]
            self.sent += FRAME
            self.take(self.transcriber.audio(sound, 0.0))
            self.answer()
        return self

    def end(self) -> Hearing:
        """No more audio: a flush, and what was asked is answered, until there is nothing to ask."""
        self.take(self.transcriber.flush())
        while self.due:
            self.answer(late=True)
            self.take(self.transcriber.flush())
        assert self.transcriber.waiting == 0
        assert not self.transcriber.speaking
        assert not self.speaking
        return self

    def answer(self, *, late: bool = False) -> None:
        while ready := [one for one in self.due if late or one[0] <= self.sent]:
            self.due.remove(ready[0])
            self.take(self.transcriber.decoded(ready[0][1], self.listen(ready[0][1])))

    def listen(self, job: DecodeJob) -> Hypothesis:
        inside = [(max(a, job.start), min(b, job.end)) for a, b in self.voice]
        inside = [(a, b) for a, b in inside if a < b]
        voice = sum(b - a for a, b in inside)
        if job.options.check_voice and voice < LEAST:
            return heard("", no_speech_prob=1.0, voice_s=voice / RATE, voice_end=0.0)
        told = job.options.check_voice or job.options.find_voice_end
        end = (inside[-1][1] - job.start) / RATE if inside else 0.0
        text = " ".join(f"w{a}" for a, _ in inside)
        words = [TimedWord(start=0.0, end=0.1, word="w", probability=0.9)] if job.options.words else None
        return heard(text, voice_s=voice / RATE, voice_end=end if told else None, words=words)

    def take(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Decode):
                self.transcriber.tell(DecodeStarted(command.job))
                job = command.job
                assert job.start < job.end <= self.sent
                assert job.audio == SOUND[2 * job.start : 2 * job.end], "other samples than it says"
                self.due.append((self.sent + next(self.delays) * RATE // 1000, job))
                if job.kind is not Kind.INTERIM:
                    self.asked[job.utterance, job.end] = job
            elif isinstance(command, Drop):
                self.due = [one for one in self.due if one[1] is not command.job]
            elif isinstance(command, Commit):
                self.kept.append(flat(command))
            elif isinstance(command, Emit) and isinstance(command.event, SpeechStarted | SpeechEnded):
                assert self.speaking == isinstance(command.event, SpeechEnded)
                self.speaking = not self.speaking

    def spans(self, keeps: int | None = None) -> Spans:
        """Of the first `keeps` utterances that were published."""
        windows = [self.asked[keep.checkpoint_utterance - 1, keep.checkpoint_sample] for keep in self.kept[:keeps]]
        return [(job.start, job.end) for job in windows]


def all_heard_once(voice: Spans, spans: Spans) -> None:
    for (_, end), (start, _) in pairwise(spans):
        assert end <= start, "samples in two windows"
    for a, b in voice:
        at = a
        for start, end in spans:
            if start <= at < end:
                at = end
        assert at >= b, f"the voice from {a / RATE} to {b / RATE} s is lost at {at / RATE} s of {spans}"


MISSED = "." * 10 + "#" * 50 + "." * 40 + "#" * 50 + "." * 60
"""A sentence of 4.2 s of which the gate misses 1.2 s in the middle."""

DELAYS = [0, 90, 240, 270, 300, 600, 1500]


@pytest.mark.parametrize("endpoint_ms", [200, 500])
@pytest.mark.parametrize("delay", [*DELAYS, 5000, 20_000])
def test_what_the_gate_misses_is_heard_however_late_the_worker_tells_of_it(delay, endpoint_ms):
    voice = [(10 * FRAME, 150 * FRAME)]
    hearing = Hearing(MISSED, voice, [delay], endpoint_ms=endpoint_ms).hear(len(MISSED)).end()
    all_heard_once(voice, hearing.spans())
    assert sum(keep.text is not None for keep in hearing.kept) == len(hearing.kept)


@pytest.mark.parametrize("endpoint_ms", [200, 500])
@pytest.mark.parametrize("delay", [*DELAYS, 5000])
def test_a_sentence_whose_end_the_gate_misses_is_heard_to_its_end(delay, endpoint_ms):
    voice = [(10 * FRAME, 100 * FRAME)]
    hearing = Hearing(MISSED[:60], voice, [delay], endpoint_ms=endpoint_ms).hear(200).end()
    spans = hearing.spans()
    all_heard_once(voice, spans)
    assert spans[-1][1] - spans[0][0] < 190 * FRAME, "it does not go on and on"


@pytest.mark.parametrize("endpoint_ms", [200, 500])
def test_an_utterance_that_waits_begins_earlier_and_is_decoded_again(endpoint_ms):
    """The answer for the first comes after the second is closed, and decided."""
    voice = [(10 * FRAME, 150 * FRAME)]
    hearing = Hearing(MISSED, voice, [0], endpoint_ms=endpoint_ms)
    hearing.delays = iter([9000, *[0] * 50])  # type: ignore[assignment]
    hearing.hear(len(MISSED))
    first = hearing.due[0][1]
    assert hearing.kept == []
    hearing.end()
    all_heard_once(voice, hearing.spans())
    assert hearing.spans()[0] == (first.start, first.end)
    assert hearing.spans()[1][0] == first.end
    assert hearing.asked[1, hearing.spans()[1][1]].spare_s == 0.0  # its endpoint is long past


def test_a_flush_in_mid_speech_loses_nothing_that_the_gate_misses_behind_it():
    voice = [(10 * FRAME, 150 * FRAME)]
    hearing = Hearing(MISSED, voice, [0]).hear(58)
    hearing.take(hearing.transcriber.flush())
    hearing.answer()
    assert not hearing.transcriber.speaking
    hearing.hear(len(MISSED) - 58).end()
    all_heard_once(voice, hearing.spans())


def test_an_answer_that_comes_twice_resumes_once():
    voice = [(10 * FRAME, 150 * FRAME)]
    hearing = Hearing(MISSED, voice, [100_000]).hear(90)
    _, job = hearing.due[0]
    assert hearing.transcriber.decoded(job, hearing.listen(job)) != []
    assert hearing.transcriber.decoded(job, hearing.listen(job)) == []


@st.composite
def talks(draw: st.DrawFn) -> tuple[str, Spans]:
    """What the gate hears of some talk: the beginning of each stretch, and of the rest what it likes."""
    script, voice = "", []
    for _ in range(draw(st.integers(1, 4))):
        script += "." * draw(st.integers(20, 60))
        runs = draw(st.lists(st.tuples(st.sampled_from("#.."), st.integers(1, 40)), max_size=5))
        said = "####" + "".join(sign * count for sign, count in runs) + "." * 6
        voice.append((len(script) * FRAME, (len(script) + len(said)) * FRAME))
        script += said
    return script + "." * 25, voice


ANSWERS = st.lists(st.sampled_from(DELAYS), min_size=1, max_size=8)


@settings(max_examples=120, deadline=None)
@example((MISSED, [(10 * FRAME, 150 * FRAME)]), [300], 500, False)
@given(talks(), ANSWERS, st.sampled_from([200, 500]), st.booleans())
def test_every_sample_of_voice_is_in_one_final_window(talk, delays, endpoint_ms, interim):
    gate, voice = talk
    hearing = Hearing(gate, voice, delays, endpoint_ms=endpoint_ms, interim=interim).hear(len(gate)).end()
    all_heard_once(voice, hearing.spans())


@settings(max_examples=40, deadline=None)
@example((MISSED, [(10 * FRAME, 150 * FRAME)]), [300], 500)
@given(talks(), ANSWERS, st.sampled_from([200, 500]))
def test_a_restart_from_any_mark_loses_nothing(talk, delays, endpoint_ms):
    gate, voice = talk
    whole = Hearing(gate, voice, delays, endpoint_ms=endpoint_ms).hear(len(gate)).end()
    for count, keep in enumerate(whole.kept, 1):
        again = Hearing(
            gate,
            voice,
            delays,
            endpoint_ms=endpoint_ms,
            begin=keep.checkpoint_sample,
            utterance=keep.checkpoint_utterance,
            segment=sum(one.text is not None for one in whole.kept[:count]),
        )
        again.hear(len(gate) - keep.checkpoint_sample // FRAME).end()
        all_heard_once(voice, whole.spans(count) + again.spans())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("#."), st.integers(1, 40)), max_size=12), ANSWERS, st.sampled_from([200, 500])
)
def test_noise_without_a_voice_is_no_segment_and_opens_nothing_of_its_own(runs, delays, endpoint_ms):
    gate = "".join(sign * count for sign, count in runs)
    deaf = Hearing(gate, [], [10**6], endpoint_ms=endpoint_ms).hear(len(gate) + 150).end()
    hearing = Hearing(gate, [], delays, endpoint_ms=endpoint_ms).hear(len(gate) + 150)
    assert not hearing.transcriber.speaking
    assert hearing.transcriber.waiting == 0
    hearing.end()
    assert [keep.text for keep in hearing.kept] == [None] * len(hearing.kept)
    assert hearing.spans() == deaf.spans()


@pytest.mark.parametrize("endpoint_ms", [200, 500])
@pytest.mark.parametrize("delay", [0, 300, 5000])
def test_after_a_restart_in_silence_nothing_is_said_and_nothing_stays_open(delay, endpoint_ms):
    hearing = Hearing("", [], [delay], endpoint_ms=endpoint_ms, begin=7 * RATE, utterance=3, segment=2).hear(300)
    assert not hearing.transcriber.speaking
    assert [(keep.checkpoint_utterance, keep.text) for keep in hearing.kept] == [(4, None)]
    assert len(hearing.transcriber.buffer) <= 2 * RATE


def test_audio_is_kept_for_an_answer_only_as_long_as_it_is_out():
    hearing = Hearing(MISSED, [(10 * FRAME, 60 * FRAME)], [10**6]).hear(1000)
    job = hearing.due[0][1]
    assert hearing.transcriber.buffer.start <= job.end
    hearing.answer(late=True)
    hearing.hear(50)
    assert len(hearing.transcriber.buffer) <= 2 * RATE
