"""A live transcriber that is fed and answered as a test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convod.speech.commands import Commit, Decode, DecodeStarted, Drop, Emit, LoadChanged
from convod.speech.decoding import DecodeJob, Interims, Kind
from convod.speech.hallucination import HallucinationFilter
from convod.speech.live import LiveTranscriber
from convod.speech.windows import LiveSettings
from tests.daemon.support.sounds import RATE
from tests.daemon.support.talk import flat, heard


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

    def take(self, commands) -> None:
        self.commands += commands
        for command in commands:
            if isinstance(command, Decode) and command.job.kind is Kind.INTERIM:
                text = self.on_interim(command.job)
                if text is not None:
                    self.take(self.transcriber.decoded(command.job, heard(text)))
                elif not self.waiting:
                    self.transcriber.tell(DecodeStarted(command.job))

    def afford(self, interims: Interims) -> None:
        self.transcriber.tell(LoadChanged(interims))

    def audio(self, sound: bytes) -> Play:
        for at in range(0, len(sound), self.piece):
            self.clock += 1.0
            self.take(self.transcriber.audio(sound[at : at + self.piece], self.clock))
        return self

    def flush(self) -> Play:
        self.take(self.transcriber.flush())
        return self

    def answer(self, job: DecodeJob, text: str, **figures) -> list[Any]:
        before = len(self.commands)
        self.take(self.transcriber.decoded(job, heard(text, **figures)))
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


# --- captions ---------------------------------------------------------------------------------------------

WORDS = ["Grace", "will", "review", "the", "contract", "before", "lunch"]


def growing(job: DecodeJob) -> str:
    """A model that hears a word more for each 0.4 s, and the newest one wrong."""
    count = len(job.audio) // 2 * 10 // (4 * RATE)
    return " ".join([*WORDS[:count], "perhaps"])


def interims_of(play: Play) -> list[Decode]:
    return [one for one in play.commands if isinstance(one, Decode) and one.job.kind is Kind.INTERIM]
