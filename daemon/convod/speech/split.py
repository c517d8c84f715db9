"""Several channels, each transcribed by itself, in one timeline. Sans-IO.

In: interleaved samples, and what a transcriber is told else. Out: the commands of the transcribers of all channels, but
for their commits: a segment waits until no other channel can have one that begins earlier, and gets its number then. It
stands for the transcriber of a live or file session, and looks into no samples.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

import msgspec

from convo.messages import TranscriptPartial
from convod.speech.commands import Command, Commit, Decode, Drop, Emit, News
from convod.speech.decoding import DecodeJob, Hypothesis
from convod.speech.file import FileTranscriber
from convod.speech.live import LiveTranscriber
from convod.speech.windows import LiveSettings

EARLIER_S: Final = 0.5
"""An utterance may begin so much before it is noticed."""


T = TypeVar("T", bound=LiveTranscriber | FileTranscriber)


class _Channel(Generic[T]):
    def __init__(self, number: int, transcriber: T, skip: int, said_until: float) -> None:
        self.number = number
        self.transcriber = transcriber
        self.skip = skip  # samples that were transcribed before a restart
        self.said_until = said_until  # what ends before that is stored
        self.held: deque[Commit] = deque()


class SplitTranscriber(Generic[T]):
    """The transcribers of all channels as one.

    Args:
        make: Makes the transcriber of a channel (from 1) that begins with a sample.
        channels: How many there are.
        rate: Samples a second of each.
        segment: Number of the next segment, after a restart.
        sample: Sample that the first audio begins with.
        ends: Seconds at which the last stored segment of a channel ends, by the channel's number.
        whole: Whether all audio comes again after a restart, and is skipped by the transcribers.
    """

    def __init__(
        self,
        make: Callable[[int, int], T],
        channels: int,
        rate: int,
        *,
        segment: int = 0,
        sample: int = 0,
        ends: Mapping[int, float] | None = None,
        whole: bool = False,
    ) -> None:
        self.segment = segment
        self._rate = rate
        self._channels: list[_Channel[T]] = []
        for number in range(1, channels + 1):
            said_until = (ends or {}).get(number, 0.0)
            begin = max(sample, round(said_until * rate))
            skip = 0 if whole else begin - sample
            self._channels.append(_Channel(number, make(number, begin), skip, said_until))
        self._now = sample
        self._jobs: dict[DecodeJob, _Channel[T]] = {}
        self._flushed = False
        self._rest = b""

    # --- what it knows ------------------------------------------------------------------------------------

    @property
    def transcribers(self) -> list[T]:
        """Those of the channels, in their order."""
        return [channel.transcriber for channel in self._channels]

    @property
    def now(self) -> int:
        """Samples received so far."""
        return self._now

    @property
    def waiting(self) -> int:
        """Utterances or windows that wait for the engine."""
        return sum(one.waiting for one in self.transcribers)

    @property
    def settled(self) -> int:
        """First sample whose text is not out yet."""
        return min(self._now, *(self._first(channel) for channel in self._channels))

    # --- in -----------------------------------------------------------------------------------------------

    def audio(self, mixed: bytes, arrived: float) -> list[Command]:
        """Add samples (interleaved s16le), received at `arrived` seconds of the caller's clock."""
        self._flushed = False
        data = self._rest + mixed
        whole = len(data) - len(data) % (2 * len(self._channels))
        self._rest = data[whole:]
        samples = array("h", data[:whole])  # bytes are only moved, whatever the machine's order of them
        self._now += len(samples) // len(self._channels)
        commands: list[Command] = []
        for place, channel in enumerate(self._channels):
            own = samples[place :: len(self._channels)]
            skipped = min(channel.skip, len(own))
            channel.skip -= skipped
            commands += self._follow(channel, channel.transcriber.audio(own[skipped:].tobytes(), arrived))
        return [*commands, *self._release()]

    def flushed(self, commands: Sequence[list[Command]]) -> list[Command]:
        """Take what the transcribers command as the audio ends here for now, in the order of the channels."""
        self._flushed = True
        own: list[Command] = []
        for channel, one in zip(self._channels, commands, strict=True):
            own += self._follow(channel, one)
        return [*own, *self._release()]

    def decoded(self, job: DecodeJob, hypothesis: Hypothesis) -> list[Command]:
        """Take the engine's result for a job."""
        channel = self._jobs.pop(job, None)
        if channel is None:
            return []  # it was dropped when its result was on the way
        return [*self._follow(channel, channel.transcriber.decoded(job, hypothesis)), *self._release()]

    def refused(self, job: DecodeJob, trouble: str) -> list[Command]:
        """Take note that the engine could not decode a job, and why (a sentence)."""
        channel = self._jobs.pop(job, None)
        if channel is None:
            return []
        return [*self._follow(channel, channel.transcriber.refused(job, trouble)), *self._release()]

    # --- one timeline -------------------------------------------------------------------------------------

    def _follow(self, channel: _Channel[T], commands: list[Command]) -> list[Command]:
        """Keep a channel's commits, and pass on what else it commands."""
        passed: list[Command] = []
        for command in commands:
            if isinstance(command, Commit):
                channel.held += self._parts(channel, command)
                continue
            if isinstance(command, Decode):
                self._jobs[command.job] = channel
                if command.instead_of is not None:
                    self._jobs.pop(command.instead_of, None)
            elif isinstance(command, Drop):
                self._jobs.pop(command.job, None)
            elif isinstance(command, Emit) and isinstance(command.event, TranscriptPartial):
                if not self._is_next(channel, command.event.start):
                    continue
                command = Emit(msgspec.structs.replace(command.event, segment=self.segment))
            passed.append(command)
        return passed

    def _parts(self, channel: _Channel[T], commit: Commit) -> list[Commit]:
        """A commit for each segment, so that those of other channels can come between, and for what else it says."""
        parts = [
            msgspec.structs.replace(commit, texts=(msgspec.structs.replace(text, speaker=channel.number),))
            for text in commit.texts
            if text.end > channel.said_until + 0.01
        ]
        if not parts:
            return [msgspec.structs.replace(commit, texts=())]
        told = msgspec.structs.replace
        return [parts[0], *(told(part, trouble=None, uncovered=None) for part in parts[1:])]

    def _is_next(self, channel: _Channel[T], start_s: float) -> bool:
        """Whether an utterance of a channel that began then is the next to become a segment."""
        return not any(one.held for one in self._channels) and all(
            self._earliest(one) >= start_s for one in self._channels if one is not channel
        )

    def _earliest(self, channel: _Channel[T]) -> float:
        """Second at which the next segment of a channel begins at the earliest."""
        if channel.held and channel.held[0].texts:
            return channel.held[0].texts[0].start
        if channel.transcriber.waiting or channel.transcriber.settled < channel.transcriber.now:
            return channel.transcriber.settled / self._rate
        return float("inf") if self._flushed else channel.transcriber.now / self._rate - EARLIER_S

    def _release(self) -> list[Command]:
        out: list[Command] = []
        while (channel := self._ready()) is not None:
            commit = channel.held.popleft()
            out.append(
                msgspec.structs.replace(
                    commit, segment=self.segment, checkpoint_sample=self.settled, checkpoint_utterance=0
                )
            )
            self.segment += len(commit.texts)
        return out

    def _ready(self) -> _Channel[T] | None:
        """The channel whose next commit may go."""
        for channel in self._channels:
            if channel.held and not channel.held[0].texts:
                return channel
        first = min((one for one in self._channels if one.held), key=self._earliest, default=None)
        if first is None:
            return None
        start = self._earliest(first)
        return first if all(self._earliest(one) >= start for one in self._channels if one is not first) else None

    def _first(self, channel: _Channel[T]) -> int:
        """First sample of a channel whose text is not out."""
        held = [round(text.start * self._rate) for commit in channel.held for text in commit.texts]
        return min([channel.transcriber.settled, *held])


class SplitLive(SplitTranscriber[LiveTranscriber]):
    """Stands for the `LiveTranscriber` of a session."""

    @property
    def settings(self) -> LiveSettings:
        """How the channels are transcribed."""
        return self.transcribers[0].settings

    @property
    def language(self) -> str | None:
        """The language, if it was given, or detected in the first channel that knows it."""
        return next((one.language for one in self.transcribers if one.language), None)

    @property
    def speaking(self) -> bool:
        """Whether an utterance is open."""
        return any(one.speaking for one in self.transcribers)

    def tell(self, news: News) -> None:
        """Take note of what changed at the engine."""
        for one in self.transcribers:
            one.tell(news)

    def flush(self) -> list[Command]:
        """End the open utterances: no audio comes for a while, or ever."""
        return self.flushed([one.flush() for one in self.transcribers])


class SplitFile(SplitTranscriber[FileTranscriber]):
    """Stands for the `FileTranscriber` of a session."""

    @property
    def language(self) -> str | None:
        """The language, if it was given, or detected in the first channel that knows it."""
        return next((one.language for one in self.transcribers if one.language), None)

    def flush(self, arrived: float) -> list[Command]:
        """Take note that the recording ends here."""
        return self.flushed([one.flush(arrived) for one in self.transcribers])
