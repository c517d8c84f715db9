"""The app's messages: workers post what happened, screens post what somebody wants. The app alone handles them.

In: facts, wishes. Out: Textual messages. Where newer ones make older ones worthless, `can_replace` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.message import Message

from convo.messages import Event, Request

from .model.pace import ephemeral
from .model.session import Change, SessionModel

if TYPE_CHECKING:
    from textual.notifications import SeverityLevel

    from convo.resume import LinkState

# --- what happened ----------------------------------------------------------------------------------------


@dataclass
class LinkChanged(Message):
    """The connection is up, or it is not."""

    state: LinkState


@dataclass
class SessionEvents(Message):
    """Events of a session, in order, at most 20 messages a second; `level` is how loud it is, dBFS."""

    model: SessionModel
    events: tuple[Event, ...]
    level: float | None
    backlog_s: float

    def can_replace(self, message: Message) -> bool:
        """Textual asks the older one whether the newer one makes it worthless: never if it holds a stored event."""
        return (
            isinstance(message, SessionEvents)
            and message.model is self.model
            and ephemeral(self.events)
            and {type(event) for event in self.events} <= {type(event) for event in message.events}
        )


@dataclass
class SessionChanged(Message):
    """Something changed in a session that no event told."""

    model: SessionModel
    change: Change


@dataclass
class SessionEnded(Message):
    """A session that was spoken or watched is over, or cannot go on (`problem`)."""

    model: SessionModel
    problem: str = ""


class JobsChanged(Message):
    """Files made progress, here or in the daemon's queue."""

    def can_replace(self, message: Message) -> bool:
        """The rows are drawn from the jobs themselves."""
        return isinstance(message, JobsChanged)


@dataclass
class DeletesChanged(Message):
    """Sessions are about to be deleted, were taken back, or one is `gone`."""

    gone: str | None = None


@dataclass
class Notice(Message):
    """Something to tell the person, as plain text."""

    text: str
    severity: SeverityLevel = "information"


# --- what somebody wants ----------------------------------------------------------------------------------


@dataclass
class StartRequested(Message):
    """Begin a live session with the microphone, or with a `recording` played as if it were spoken now."""

    recording: Path | None = None


class StopRequested(Message):
    """End the live session."""


class PauseRequested(Message):
    """Pause the live session, or go on."""


class MuteRequested(Message):
    """Mute the microphone, or no longer."""


class FinalizeRequested(Message):
    """Have what was said so far in the live session written now."""


@dataclass
class OpenSession(Message):
    """Show a session, from a segment on."""

    model: SessionModel
    segment: int | None = None


@dataclass
class DeleteRequested(Message):
    """Delete a session, unless somebody takes it back."""

    session: str
    name: str


@dataclass
class DaemonRequest(Message):
    """Ask the daemon for something; once it is granted, `done` is said and `then` called."""

    request: Request[Any]
    done: str = ""
    then: Callable[[], object] | None = None


@dataclass
class SettingChanged(Message):
    """Remember a setting for the next start."""

    name: str
    value: str | bool
