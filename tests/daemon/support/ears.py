"""A live session without a daemon: bytes through reader, transcriber and the real model, in this process.

Nothing waits for a clock, so what comes out depends on the sound alone, however busy the machine is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import cache
from typing import Any

from convo.messages import SpeechEnded, TranscriptPartial
from convod.engine import models
from convod.engine.whisper import Whisper
from convod.engine.wire import Load
from convod.speech.commands import Command, Commit, Decode, DecodeStarted, Drop, Emit
from convod.speech.decoding import DecodeJob, Kind, Window
from convod.speech.endpointer import EndpointSettings
from convod.speech.hallucination import HallucinationFilter
from convod.speech.live import LiveTranscriber
from convod.speech.pcm import PcmFormat, PcmReader
from convod.speech.windows import LiveSettings
from tests.daemon.support.talk import flat


@cache
def model() -> Whisper:
    """The built-in model, loaded once."""
    found = models.find(models.BUILTIN)
    return Whisper(Load(directory=str(found.directory), context=found.context, device="cpu", threads=1))


class Ears:
    """One live session. `late`: answers come after so many more pieces of audio."""

    def __init__(
        self, pcm: PcmFormat | None = None, *, endpoint_ms: int = 500, interim: bool = False, late: int = 0
    ) -> None:
        self.pcm = pcm or PcmFormat()
        self.hallucination_filter = HallucinationFilter()
        self.jobs: list[DecodeJob] = []
        self.kept: list[Any] = []
        self.partials: list[TranscriptPartial] = []
        self.ended: list[tuple[float, float]] = []
        """Of each end of speech: its time, and the time at which it was noticed."""
        self._late = late
        self._waiting: deque[tuple[int, DecodeJob]] = deque()
        self._pieces = 0
        self._reader = PcmReader(self.pcm)
        self._transcriber = LiveTranscriber(
            LiveSettings("s", self.pcm.rate, Kind.FINAL, EndpointSettings(endpoint_ms=endpoint_ms), interim=interim),
            self.hallucination_filter,
        )

    @property
    def text(self) -> str:
        return " ".join(keep.text for keep in self.kept if keep.text)

    @property
    def texts(self) -> list[str]:
        return [keep.text for keep in self.kept if keep.text]

    @property
    def now(self) -> float:
        return self._transcriber.now / self.pcm.rate

    def hear(self, sound: bytes, piece: int = 3200) -> Ears:
        """The sound in pieces of so many bytes."""
        return self.hear_pieces(sound[at : at + piece] for at in range(0, len(sound), piece))

    def hear_pieces(self, pieces: Iterable[bytes]) -> Ears:
        for piece in pieces:
            self._pieces += 1
            self._do(self._transcriber.audio(self._reader.feed(piece), 0.0))
            self._answer(self._late)
        return self

    def flush(self) -> Ears:
        """As `finalize`, the idle timer and the end do."""
        self._do(self._transcriber.flush())
        self._answer(0)
        return self

    def _do(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Decode):
                self.jobs.append(command.job)
                self._transcriber.tell(DecodeStarted(command.job))
                self._waiting.append((self._pieces, command.job))
            elif isinstance(command, Drop):
                self._waiting = deque(one for one in self._waiting if one[1] is not command.job)
            elif isinstance(command, Commit):
                self.kept.append(flat(command))
            elif isinstance(command, Emit) and isinstance(command.event, TranscriptPartial):
                self.partials.append(command.event)
            elif isinstance(command, Emit) and isinstance(command.event, SpeechEnded):
                self.ended.append((command.event.time, self.now))

    def _answer(self, late: int) -> None:
        while self._waiting and self._waiting[0][0] <= self._pieces - late:
            _, job = self._waiting.popleft()
            # Without its stream key: the model, and so what it remembers of streams, is that of all tests.
            (heard,) = model().decode([Window(audio=job.audio)], self.pcm.rate, job.options)
            self._do(self._transcriber.decoded(job, heard))
