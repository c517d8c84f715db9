"""Files being transcribed: the step, speed and time left of each.

In: progress from the upload and the daemon, with the time. Out: values for one row per file. Nothing here reads a file.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from convo.messages import Code, SessionInfo
from convo.text import clean

_MEDIA = """
.aac .aif .aiff .amr .avi .flac .m4a .m4b .mka .mkv .mov .mp2 .mp3 .mp4 .mpeg .mpg .oga .ogg .opus .ts .wav .wave .webm
.wma .wmv .3gp
"""
_MOST_LANGUAGES = 20  # of one file
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
    remedy: str = ""
    summed_up: bool = True
    languages: dict[str, float] = field(default_factory=dict)
    heard_in: str = ""  # its language, as the daemon's list has it
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

    def said_in(self, language: str, seconds: float) -> None:
        """`seconds` of it were said in a language."""
        if language in self.languages or len(self.languages) < _MOST_LANGUAGES:
            self.languages[language] = self.languages.get(language, 0.0) + max(0.0, seconds)

    @property
    def language(self) -> str:
        """The languages of a tenth of it or more, the one spoken most first; what the daemon says without segments."""
        if not self.languages:
            return self.heard_in
        whole = sum(self.languages.values())
        most = sorted(self.languages.items(), key=lambda item: -item[1])
        return ", ".join(name for name, seconds in most if name and seconds * 10 >= whole)

    def enter(self, step: Step, now: float, problem: str = "", remedy: str = "") -> None:
        """Enter a step that ends the transcription or follows it; `remedy` is a command that may help."""
        self.step = step
        self.problem = problem
        self.remedy = remedy
        if step.over:
            self.ended = now

    def retry(self) -> None:
        """Start over."""
        self.step, self.session, self.sent, self.done_s, self.total_s = Step.WAITING, None, 0, 0.0, None
        self.problem, self.remedy, self.begun, self.ended, self._first = "", "", None, None, None
        self.languages = {}

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


def remedy(code: str, path: Path | None, session: str | None) -> str:
    """A command that helps where a file failed with an error code of the daemon; empty if none does.

    `path` is None for a file of another program: only its name is known.
    """
    match code:
        case Code.BAD_AUDIO | Code.UNSUPPORTED_AUDIO if path is not None:
            quoted = shlex.quote(str(path))
            # A name with control characters cannot be typed as it is shown.
            return f"ffprobe {quoted}" if quoted == clean(quoted) else ""
        case Code.BAD_AUDIO | Code.UNSUPPORTED_AUDIO:
            return ""
        case Code.UNKNOWN_MODEL | Code.MODEL_UNAVAILABLE:
            return "convo models pull small"
        case Code.TOO_LARGE | Code.LIMIT_EXCEEDED:
            return "convod check-config"
        case Code.UNAUTHORIZED | Code.FORBIDDEN:
            return "convod token add NAME --scope stream"
        case Code.BUSY:
            return "convo queue"
    return f"convo retry {clean(session)[:8]}" if session else "convo status"


def why_failed(info: SessionInfo) -> tuple[str, str]:
    """Why a session that the daemon listed failed, and a command that may help."""
    return clean(info.message or info.code or "The daemon gave no reason."), remedy(info.code or "", None, info.session)


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


def existing_paths(text: str) -> list[str]:
    """The paths in a pasted text if it is about files: if one of them is there. Those that are not are among them."""
    paths = pasted_paths(text)
    return paths if any(map(_exists, paths)) else []


def _exists(word: str) -> bool:
    try:
        return Path(_plain(word)).exists()
    except OSError:
        return False


def _plain(path: str) -> str:
    if path.startswith("file://"):
        path = unquote(urlsplit(path).path)
    return str(Path(path).expanduser())
