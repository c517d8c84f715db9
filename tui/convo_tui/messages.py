"""The app's messages: workers post what happened, screens post what the user wants. Only the app handles them.

In: facts, requests. Out: Textual messages. Where a newer one supersedes an older one, `can_replace` says so.
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
    """The connection came up or went down."""

    state: LinkState


@dataclass
class SessionEvents(Message):
    """Events of a session, in order, at most 20 messages a second; `level` is its loudness in dBFS."""

    model: SessionModel
    events: tuple[Event, ...]
    level: float | None
    backlog_s: float

    def can_replace(self, message: Message) -> bool:
        """Asked of the older message: whether the newer one supersedes it. Never if it holds a stored event."""
        return (
            isinstance(message, SessionEvents)
            and message.model is self.model
            and ephemeral(self.events)
            and {type(event) for event in self.events} <= {type(event) for event in message.events}
        )


@dataclass
class SessionChanged(Message):
    """A session changed in a way that no event reports."""

    model: SessionModel
    change: Change


@dataclass
class SessionEnded(Message):
    """A live or watched session is over, or failed (`problem`)."""

    model: SessionModel
    problem: str = ""


class SetupChanged(Message):
    """The microphone, the daemon's model or a download changed."""

    def can_replace(self, message: Message) -> bool:
        """The screens are drawn from the setup itself."""
        return isinstance(message, SetupChanged)


class JobsChanged(Message):
    """Files made progress, here or in the daemon's queue."""

    def can_replace(self, message: Message) -> bool:
        """The rows are drawn from the jobs themselves."""
        return isinstance(message, JobsChanged)


@dataclass
class DeletesChanged(Message):
    """A delete was scheduled or undone, or a session is `gone`."""

    gone: str | None = None


@dataclass
class Notice(Message):
    """Something to tell the user, as plain text."""

    text: str
    severity: SeverityLevel = "information"


# --- what the user wants ----------------------------------------------------------------------------------


@dataclass
class StartRequested(Message):
    """Start a live session with the microphone, or with a `recording` played in real time."""

    recording: Path | None = None


class StopRequested(Message):
    """End the live session."""


class PauseRequested(Message):
    """Pause or resume the live session."""


class MuteRequested(Message):
    """Mute or unmute the live session."""


class FinalizeRequested(Message):
    """Finalise what was said so far in the live session."""


@dataclass
class OpenSession(Message):
    """Show a session, starting at a segment."""

    model: SessionModel
    segment: int | None = None


@dataclass
class DeleteRequested(Message):
    """Delete a session; it can be undone for a few seconds."""

    session: str
    name: str


@dataclass
class DownloadRequested(Message):
    """Download a speech model, and use it for sessions from then on."""

    model: str


@dataclass
class DaemonRequest(Message):
    """Send a request to the daemon; on success, tell the user `done` and call `then`."""

    request: Request[Any]
    done: str = ""
    then: Callable[[], object] | None = None


@dataclass
class RuleChanged(Message):
    """Correct `wrong` to `right` in later sessions; with None, no more."""

    wrong: str
    right: str | None


@dataclass
class SettingChanged(Message):
    """Change a setting and remember it; None is its default."""

    name: str
    value: str | bool | int | None
