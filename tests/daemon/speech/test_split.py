"""One timeline of several channels: a segment waits for those that may begin earlier. The test plays the channels."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

import pytest

from convo.messages import SpeechStarted, TranscriptPartial
from convod.speech.commands import Commit, Decode, Drop, Emit, TimedText
from convod.speech.decoding import DecodeJob, Kind, Options, Window
from convod.speech.split import SplitTranscriber
from tests.daemon.support.talk import heard

RATE = 100


def text(start: float, end: float) -> TimedText:
    return TimedText(start, end, f"{start:g}", "en", 0.9, None)


def commit(*texts: TimedText, trouble: str | None = None) -> Commit:
    return Commit(checkpoint_sample=999, checkpoint_utterance=9, segment=77, texts=texts, arrived=1.0, trouble=trouble)


def job() -> DecodeJob:
    return DecodeJob("s", Kind.FINAL, Window(audio=b""), RATE, Options())


class Channel:
    """A transcriber that commands what the test puts into `next`."""

    def __init__(self, number: int, begin: int) -> None:
        self.number = number
        self.begin = self.now = self.settled = begin
        self.waiting = 0
        self.next: list[Any] = []
        self.fed: list[int] = []

    def audio(self, mono: bytes, arrived: float) -> list[Any]:
        self.fed += array("h", mono)
        self.now += len(mono) // 2
        if self.settled == self.begin:
            self.settled = self.now
        return self.commands()

    def decoded(self, job: DecodeJob, hypothesis: object) -> list[Any]:
        return self.commands()

    refused = decoded

    def commands(self) -> list[Any]:
        said, self.next = self.next, []
        return said


def split(channels: int = 2, **more: Any) -> tuple[Any, list[Any]]:
    machine: Any = SplitTranscriber(Channel, channels, RATE, **more)  # type: ignore[type-var]
    return machine, machine.transcribers


def seconds(count: float, channels: int = 2) -> bytes:
    return bytes(2 * channels * int(count * RATE))


def numbered(commands: list[Any]) -> Iterator[tuple[int, float, int | None]]:
    """Number, start and speaker of the segments."""
    for one in commands:
        assert isinstance(one, Commit)
        for at, said in enumerate(one.texts):
            yield one.segment + at, said.start, said.speaker


def test_each_channel_gets_its_own_samples_wherever_the_stream_is_cut():
    machine, (left, right) = split()
    frames = array("h", [1, -1, 2, -2, 3, -3]).tobytes()
    for at in range(0, len(frames), 5):
        machine.audio(frames[at : at + 5], 0.0)
    assert (left.fed, right.fed, machine.now) == ([1, 2, 3], [-1, -2, -3], 3)


def test_a_segment_waits_for_an_open_utterance_that_began_earlier():
    machine, (left, right) = split(segment=5)
    machine.audio(seconds(10), 0.0)
    left.settled, right.settled = 200, 1000  # the left side speaks since second 2
    right.next = [commit(text(4.0, 5.0))]
    assert list(numbered(machine.audio(seconds(1), 0.0))) == []
    assert machine.settled == 200
    left.settled, left.next = 1100, [commit(text(2.0, 9.0))]
    assert list(numbered(machine.audio(seconds(1), 0.0))) == [(5, 2.0, 1), (6, 4.0, 2)]


def test_a_silent_channel_holds_up_nobody():
    machine, (left, right) = split()
    machine.audio(seconds(10), 0.0)
    left.settled, right.settled = 1000, 1000
    left.next = [commit(text(7.0, 8.0))]
    assert list(numbered(machine.audio(b"", 0.0))) == [(0, 7.0, 1)]


def test_texts_of_one_window_let_those_of_others_between_them():
    machine, (left, right) = split()
    machine.audio(seconds(30), 0.0)
    left.settled, right.settled = 3000, 50
    left.next = [commit(text(1.0, 2.0), text(9.0, 10.0), trouble="once")]
    assert machine.audio(b"", 0.0) == []
    right.settled, right.next = 3000, [commit(text(4.0, 5.0))]
    out = machine.audio(b"", 0.0)
    assert list(numbered(out)) == [(0, 1.0, 1), (1, 4.0, 2), (2, 9.0, 1)]
    assert [one.trouble for one in out] == ["once", None, None]


def test_the_end_lets_everything_go():
    machine, (left, right) = split()
    machine.audio(seconds(1), 0.0)
    left.settled = right.settled = 100
    assert list(numbered(machine.flushed([[commit(text(0.9, 1.0))], [commit(text(0.8, 1.0))]]))) == [
        (0, 0.8, 2),
        (1, 0.9, 1),
    ]


def test_a_checkpoint_lies_before_all_that_is_not_out():
    machine, (left, right) = split()
    machine.audio(seconds(10), 0.0)
    left.settled, right.settled = 300, 1000
    right.next = [commit(text(1.0, 2.0)), commit(text(6.0, 7.0))]
    (first,) = machine.audio(b"", 0.0)
    assert first.checkpoint_sample == 300
    left.settled = 1000
    (second,) = machine.audio(b"", 0.0)
    assert second.checkpoint_sample == 1000


def test_after_a_restart_no_segment_comes_twice():
    machine, (left, right) = split(segment=3, sample=200, ends={1: 4.0})
    assert (left.begin, right.begin) == (400, 200)
    machine.audio(seconds(3), 0.0)
    assert (len(left.fed), len(right.fed)) == (100, 300)
    whole, (left, _) = split(segment=3, ends={1: 4.0}, whole=True)
    whole.audio(seconds(10), 0.0)
    assert len(left.fed) == 1000  # it skips by itself
    left.settled, left.next = 1000, [commit(text(2.0, 4.0), text(4.5, 5.0))]
    assert list(numbered(whole.audio(b"", 0.0))) == [(3, 4.5, 1)]


@pytest.mark.parametrize(
    ("start", "shown"), [(1.0, True), (3.0, False)], ids=["began first", "another one began earlier"]
)
def test_only_the_next_segment_is_shown_while_it_is_spoken(start, shown):
    machine, (left, right) = split(segment=4)
    machine.audio(seconds(5), 0.0)
    left.settled, right.settled = 200, int(start * RATE)
    partial = TranscriptPartial(session="s", segment=0, start=start, end=5.0, stable="", tentative="a")
    right.next = [Emit(SpeechStarted(session="s", time=start)), Emit(partial)]
    out = [one.event for one in machine.audio(b"", 0.0)]
    assert [getattr(event, "segment", None) for event in out] == [None, 4] if shown else [None]


def test_results_find_their_channel_and_dropped_ones_nobody():
    machine, (left, right) = split()
    mine, dropped = job(), job()
    right.next = [Decode(mine), Decode(dropped)]
    machine.audio(seconds(1), 0.0)
    right.next = [Drop(dropped)]
    machine.audio(seconds(1), 0.0)
    left.settled = right.settled = 200
    right.next = [commit(text(0.5, 1.0))]
    assert machine.decoded(dropped, heard("x")) == []
    assert list(numbered(machine.decoded(mine, heard("x")))) == [(0, 0.5, 2)]
    assert machine.refused(mine, "again") == []
