"""Files being transcribed: the step, speed and time left of each.

In: progress from the upload and the daemon, with the time. Out: values for one row per file. Nothing here reads a file.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit

_MEDIA = """
.aac .aif .aiff .amr .avi .flac .m4a .m4b .mka .mkv .mov .mp2 .mp3 .mp4 .mpeg .mpg .oga .ogg .opus .ts .wav .wave .webm
.wma .wmv .3gp
"""
MEDIA = frozenset(_MEDIA.split())
"""File name extensions that the picker shows."""


class Step(StrEnum):
    """The step a file is at, as the user reads it."""

    WAITING = "waiting"
    SENDING = "sending"
    TRANSCRIBING = "transcribing"
    SUMMING_UP = "summing up"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether nothing more happens unless the user retries."""
        return self in (Step.DONE, Step.FAILED, Step.CANCELLED)


@dataclass(eq=False)  # the same file can be sent twice
class FileJob:
    """One file. `begun`, `ended`, `now`: seconds of any monotonic clock. `title`: for files whose path is not known."""

    path: Path
    title: str = ""
    priority: str = "normal"
    step: Step = Step.WAITING
    session: str | None = None
    sent: int = 0
    size: int = 0
    done_s: float = 0.0
    total_s: float | None = None
    problem: str = ""
    summed_up: bool = True
    begun: float | None = None
    ended: float | None = None
    _first: tuple[float, float] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The name to show."""
        return self.title or self.path.name

    def sending(self, sent: int, now: float) -> None:
        """The daemon has taken `sent` bytes."""
        if self.begun is None:
            self.begun = now
        if self.step is Step.WAITING:
            self.step = Step.SENDING
        self.sent = sent

    def transcribed(self, done_s: float, total_s: float | None, now: float) -> None:
        """`done_s` seconds are transcribed."""
        if self.step.over:
            return
        if self.step is not Step.SUMMING_UP:
            self.step = Step.TRANSCRIBING
        if self._first is None:
            self._first = (now, done_s)
        self.done_s = max(self.done_s, done_s)
        self.total_s = total_s if total_s else self.total_s

    def enter(self, step: Step, now: float, problem: str = "") -> None:
        """Enter a step that ends the transcription or follows it."""
        self.step = step
        self.problem = problem
        if step.over:
            self.ended = now

    def retry(self) -> None:
        """Start over."""
        self.step, self.session, self.sent, self.done_s, self.total_s = Step.WAITING, None, 0, 0.0, None
        self.problem, self.begun, self.ended, self._first = "", None, None, None

    @property
    def fraction(self) -> float | None:
        """The fraction done, 0 to 1; None while it is unknown."""
        if self.step in (Step.DONE, Step.SUMMING_UP):
            return 1.0
        if self.total_s:
            return min(1.0, self.done_s / self.total_s)
        return None

    def speed(self, now: float) -> float | None:
        """Seconds of audio transcribed per second; None until it can be measured."""
        if self.step is Step.DONE and self.begun is not None and self.ended is not None and self.total_s:
            return self.total_s / max(0.001, self.ended - self.begun)
        if self._first is None:
            return None
        began, was = self._first
        if now - began < 0.5 or self.done_s <= was:
            return None
        return (self.done_s - was) / (now - began)

    def left_s(self, now: float) -> float | None:
        """Seconds until it is done; None while it is unknown."""
        speed = self.speed(now)
        if self.step is not Step.TRANSCRIBING or speed is None or self.total_s is None:
            return None
        return max(0.0, (self.total_s - self.done_s) / speed)


def pasted_paths(text: str) -> list[str]:
    """Find the paths in pasted or typed text: one per line, quoted for a shell, or as file: URLs."""
    found: list[str] = []
    for line in text.replace("\0", "").splitlines():
        line = line.strip()
        if not line:
            continue
        if Path(line).expanduser().exists():
            found.append(line)
            continue
        try:
            words = shlex.split(line)
        except ValueError:  # a quotation mark in the name itself
            words = [line]
        if len(words) > 1 and not all(map(_exists, words)):
            words = [line] if not any(map(_exists, words)) else words
        found += words
    return [_plain(path) for path in found]


def _exists(word: str) -> bool:
    try:
        return Path(_plain(word)).exists()
    except OSError:
        return False


def _plain(path: str) -> str:
    if path.startswith("file://"):
        path = unquote(urlsplit(path).path)
    return str(Path(path).expanduser())
