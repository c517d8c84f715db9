"""The transcriber under anything that can happen to it: speech, pauses, flushes, answers in any order, good and bad."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from convo.messages import SpeechEnded, SpeechStarted, TranscriptPartial
from convod.speech.commands import Command, Commit, Decode, DecodeStarted, Drop, Emit, LoadChanged, Prioritize
from convod.speech.decoding import DecodeJob, Interims, Kind, Lead, TimedWord
from convod.speech.endpointer import EndpointSettings
from convod.speech.finals import LEAD_GAP_S, LEAD_S
from convod.speech.hallucination import HallucinationFilter
from convod.speech.live import LiveTranscriber
from convod.speech.windows import LiveSettings
from tests.daemon.support.talk import REJECTED, flat, heard

RATE = 8000
FRAME = 240  # 30 ms
SOUND = (np.arange(240 * RATE) * 40503 % 65536 - 32768).astype(np.int16).tobytes()
"""No two stretches of it are alike, so a window tells which samples it holds."""


class Script:
    """Stands in for the voice-activity detector: says of each frame what the test wants."""

    def __init__(self) -> None:
        self.frames: list[tuple[bool, float]] = []
        self._next = 0

    def feed(self, samples: bytes) -> tuple[bool, float]:
        self._next += 1
        return self.frames[self._next - 1]


WORDS = st.lists(st.sampled_from(["so", "we", "go"]), max_size=6).map(" ".join)


class Listening(RuleBasedStateMachine):
    """One session. `sent` samples were given; what it commanded is checked as it comes."""

    longest_ms, cut_from_ms = 3000, 2000

    def __init__(self) -> None:
        super().__init__()
        self.script = Script()
        self.sent = 0
        self.open: list[DecodeJob] = []  # given to the engine, not answered, not dropped
        self.begun: list[DecodeJob] = []  # what the engine is at
        self.dropped: list[DecodeJob] = []
        self.hurried: list[DecodeJob] = []
        self.asked: dict[tuple[int, int], DecodeJob] = {}  # windows for finals, by utterance and end
        self.texts: dict[DecodeJob, str | None] = {}  # what was answered: None if rejected or refused
        self.kept: list[Any] = []
        self.stable: dict[int, list[str]] = {}
        self.speaking = False
        self.affords = Interims.FULL

    @initialize(
        endpoint_ms=st.sampled_from([200, 500, 1500]), interim=st.booleans(), words=st.booleans(), stock=st.booleans()
    )
    def begin(self, endpoint_ms: int, interim: bool, words: bool, stock: bool = False) -> None:
        self.stock = stock  # its finals have words, whether they are asked for or not
        endpoint = EndpointSettings(endpoint_ms=endpoint_ms, longest_ms=self.longest_ms, cut_from_ms=self.cut_from_ms)
        self.transcriber = LiveTranscriber(
            LiveSettings("s", RATE, Kind.FINAL, endpoint, interim=interim, words=words),
            HallucinationFilter(),
        )
        self.transcriber.vad = self.script  # type: ignore[assignment]

    def waits(self, job: DecodeJob) -> bool:
        assert any(one is job for one in self.open)
        return not any(one is job for one in self.begun)

    # --- what happens -------------------------------------------------------------------------------------

    @rule(
        frames=st.integers(1, 60),
        speech=st.booleans(),
        rest=st.integers(-FRAME + 1, FRAME - 1),
        piece=st.integers(37, 3000),
        level=st.sampled_from([-20.0, -30.0, -45.0]),
    )
    def audio(self, frames: int, speech: bool, rest: int, piece: int, level: float) -> None:
        samples = frames * FRAME + rest
        upto = self.sent + samples
        while len(self.script.frames) * FRAME < upto:
            self.script.frames.append((speech, level if speech else -80.0))
        while self.sent < upto:
            size = min(piece, upto - self.sent)
            sound = SOUND[2 * self.sent : 2 * (self.sent + size)]
            self.sent += size
            self.take(self.transcriber.audio(sound, float(self.sent)))

    @rule()
    def flush(self) -> None:
        self.take(self.transcriber.flush())
        assert not self.transcriber.speaking
        before = len(self.open)
        self.take(self.transcriber.flush())
        assert len(self.open) == before, "a second flush finds nothing"

    @precondition(lambda self: self.open)
    @rule(
        data=st.data(),
        text=WORDS,
        how=st.sampled_from(["heard", "heard", "heard", "rejected", "refused", "no voice", "voice goes on"]),
    )
    def answer(self, data: st.DataObject, text: str, how: str) -> None:
        job = data.draw(st.sampled_from(self.open))
        self.open = [one for one in self.open if one is not job]
        self.texts[job] = text if how in ("heard", "voice goes on") and text else None
        if how == "refused":
            self.take(self.transcriber.refused(job, "the engine stumbled"))
            return
        figures: dict[str, object] = {}
        if how == "rejected":
            figures = dict(REJECTED)
        elif how == "no voice":
            figures = {"voice_s": 0.0, "no_speech_prob": 1.0}
        elif how == "voice goes on":
            figures = {"voice_end": (job.end - job.start) / RATE}
        words = [
            TimedWord(start=0.3 * i, end=0.3 * (i + 1), word=word, probability=0.5)
            for i, word in enumerate(text.split())
        ]
        given = words if job.options.words or self.stock else None
        self.take(self.transcriber.decoded(job, heard(text, words=given, **figures)))

    @precondition(lambda self: self.transcriber.settings.interim)
    @rule(times=st.integers(1, 12), wrong=st.integers(0, 20))
    def talk_on(self, times: int, wrong: int) -> None:
        """A good engine: somebody speaks, and each interim is heard as it is, but for one perhaps."""
        for time in range(times):
            self.audio(10, True, 0, 2400, -20.0)
            for job in [one for one in self.open if one.kind is Kind.INTERIM]:
                self.hear_well(job, wrong=time == wrong)

    def hear_well(self, job: DecodeJob, *, wrong: bool = False) -> None:
        """Each 0.3 s of the sound is a word."""
        self.open = [one for one in self.open if one is not job]
        words = [
            TimedWord(
                start=0.3 * number - job.start / RATE,
                end=0.3 * (number + 1) - job.start / RATE,
                word="wrong" if wrong else f"w{number}",
                probability=0.9,
            )
            for number in range(-(-10 * job.start // (3 * RATE)), 10 * job.end // (3 * RATE))
        ]
        self.texts[job] = " ".join(word.word for word in words) or None
        self.take(
            self.transcriber.decoded(job, heard(self.texts[job] or "", words=words if job.options.words else None))
        )

    @precondition(lambda self: self.dropped)
    @rule(data=st.data())
    def answer_too_late(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.dropped))
        for _ in range(2):  # what two passes agree on would be shown
            assert self.transcriber.decoded(job, heard("too late")) == []
        assert self.transcriber.refused(job, "too late") == []

    @rule()
    def take_up(self) -> None:
        """The engine begins with all that waits."""
        self.begun = list(self.open)
        for job in self.open:
            self.transcriber.tell(DecodeStarted(job))

    @rule(level=st.sampled_from(list(Interims)))
    def afford(self, level: Interims) -> None:
        self.affords = level
        self.transcriber.tell(LoadChanged(level))

    # --- what must hold -----------------------------------------------------------------------------------

    def take(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Decode):
                if (before := command.instead_of) is not None:
                    assert self.waits(before)
                    assert (before.kind, before.start) == (Kind.INTERIM, command.job.start)
                    assert before.end < command.job.end
                    self.open = [one for one in self.open if one is not before]
                    self.dropped.append(before)
                else:
                    assert command.job.kind is not Kind.INTERIM or self.affords is not Interims.NONE
                self.decode(command.job)
            elif isinstance(command, Drop):
                assert any(one is command.job for one in self.open) or command.job in self.texts
                self.open = [one for one in self.open if one is not command.job]
                self.dropped.append(command.job)
            elif isinstance(command, Prioritize):
                assert any(one is command.job for one in self.open)
                self.hurried.append(command.job)
            elif isinstance(command, Commit):
                self.keep(flat(command))
            elif isinstance(command, Emit):
                self.say(command.event)

    def decode(self, job: DecodeJob) -> None:
        assert 0 <= job.start < job.end <= self.sent
        assert job.audio == SOUND[2 * job.start : 2 * job.end], "other samples than it says"
        assert job.end - job.start <= self.longest_ms * RATE // 1000
        self.open.append(job)
        if (lead := job.window.lead) is not None:
            self.check_lead(job, lead)
        if job.kind is Kind.INTERIM:
            assert self.transcriber.settings.interim
            assert job.options.words
            assert lead is None
        else:
            self.asked[job.utterance, job.end] = job

    def check_lead(self, job: DecodeJob, lead: Lead) -> None:
        """It is the end of what was published last, and what lies between."""
        begin = job.start - len(lead.audio) // 2
        assert lead.audio == SOUND[2 * begin : 2 * job.start], "other samples than come before"
        last = self.kept[-1]
        assert job.utterance == last.checkpoint_utterance
        assert 0 <= job.start - last.checkpoint_sample <= LEAD_GAP_S * RATE
        assert begin >= last.checkpoint_sample - LEAD_S * RATE - 1
        assert lead.text.split()
        assert last.text is not None
        assert last.text.endswith(lead.text)

    def keep(self, keep: Any) -> None:
        last = self.kept[-1] if self.kept else None
        assert keep.checkpoint_utterance == len(self.kept) + 1, "utterances are published once, in their order"
        job = self.asked[keep.checkpoint_utterance - 1, keep.checkpoint_sample]
        assert job.start >= (last.checkpoint_sample if last else 0), "samples in two utterances"
        segment = sum(one.text is not None for one in self.kept)
        committed = " ".join(self.stable.get(segment, []))
        text = self.texts[job]
        if not text or text.split()[: len(committed.split())] == committed.split():
            assert keep.text == (text or committed or None)
        else:  # the committed words stay, and what the final says of the rest
            assert keep.text is not None
            assert keep.text.startswith(committed)
            assert text.endswith(keep.text.removeprefix(committed).strip())
        if keep.text is not None:
            assert keep.segment == segment
            assert job.start / RATE - 0.001 <= keep.start <= keep.end
            assert abs(keep.end - job.end / RATE) < 0.001
            assert keep.words is None or self.transcriber.settings.words
            for word in keep.words or []:
                assert keep.start <= word.start <= word.end <= keep.end
        self.kept.append(keep)

    def say(self, event: object) -> None:
        if isinstance(event, SpeechStarted | SpeechEnded):
            assert self.speaking == isinstance(event, SpeechEnded)
            self.speaking = isinstance(event, SpeechStarted)
        elif isinstance(event, TranscriptPartial):
            assert event.segment == sum(one.text is not None for one in self.kept)
            stable, before = event.stable.split(), self.stable.get(event.segment, [])
            assert stable[: len(before)] == before, "a stable word changed"
            self.stable[event.segment] = stable
            assert 0.0 <= event.start <= event.end <= self.sent / RATE + 0.001

    @invariant()
    def at_most_one_interim_and_one_guess(self) -> None:
        assert sum(one.kind is Kind.INTERIM for one in self.open) <= 1
        # Of the utterance that is open only its guess is decoded; the others are closed and wait for their answers.
        assert sum(one.kind is Kind.FINAL for one in self.open) <= getattr(self, "transcriber", None).waiting + 1

    @invariant()
    def what_is_settled_is_heard(self) -> None:
        assert self.transcriber.now == self.sent
        assert self.transcriber.settled <= self.sent
        for final in self.transcriber.finals:
            assert self.transcriber.settled <= final.utterance.start

    @invariant()
    def what_is_closed_is_needed_now(self) -> None:
        for final in self.transcriber.finals:
            hurried = any(one is final.job for one in self.hurried)
            assert final.decided or hurried or final.job.spare_s == 0.0

    def teardown(self) -> None:
        if not hasattr(self, "transcriber"):
            return
        self.take(self.transcriber.flush())
        while finals := [one for one in self.open if one.kind is Kind.FINAL]:
            for job in finals:
                self.open = [one for one in self.open if one is not job]
                self.texts[job] = "so"
                self.take(self.transcriber.decoded(job, heard("so")))
            # An answer may resume speech, so a session that ends flushes again after it.
            self.take(self.transcriber.flush())
        assert self.transcriber.waiting == 0
        assert not self.speaking
        self.all_speech_was_heard()

    def all_speech_was_heard(self) -> None:
        """Each frame of speech is in an utterance, unless too few were near it to be any."""
        spans = [
            (self.asked[keep.checkpoint_utterance - 1, keep.checkpoint_sample].start, keep.checkpoint_sample)
            for keep in self.kept
        ]
        speech = [spoken for spoken, _ in self.script.frames[: self.sent // FRAME]]
        for number, spoken in enumerate(speech):
            middle = number * FRAME + FRAME // 2
            if not spoken or any(start <= middle < end for start, end in spans):
                continue
            near = speech[max(0, number - 5) : number + 1]
            assert sum(near) < 3 or any(end <= middle < end + 6 * FRAME for _, end in spans), number


TestListening = Listening.TestCase
TestListening.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([-20.0, -25.0, -30.0, -50.0]), min_size=70, max_size=90))
def test_what_is_promised_of_an_utterance_that_is_cut_is_in_its_segment(levels: list[float]) -> None:
    """Words behind the cut are the next segment's: as stable ones of this one they would vanish."""
    listening = Listening()
    listening.longest_ms, listening.cut_from_ms = 8000, 3000
    listening.begin(endpoint_ms=500, interim=True, words=False)
    committed = 0
    for level in levels:
        listening.audio(10, True, 0, 2400, level)
        while listening.open:
            listening.hear_well(listening.open[0])
    assert len(listening.kept) >= 2
    for keep in listening.kept:
        stable = listening.stable.get(keep.segment, [])
        assert keep.text is not None
        assert keep.text.split()[: len(stable)] == stable
        committed += len(stable)
    assert committed > 10
