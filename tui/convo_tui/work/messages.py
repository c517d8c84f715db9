"""What workers tell the app. Each is posted, never a widget called.

In: facts. Out: Textual messages. Where newer ones make older ones worthless, `can_replace` says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

from convo.messages import Event

from ..model.pace import ephemeral

if TYPE_CHECKING:
    from convo.resume import LinkState

    from ..model.files import FileJob
    from ..model.session import SessionModel


class LinkChanged(Message):
    """The connection is up, or it is not."""

    def __init__(self, state: LinkState) -> None:
        super().__init__()
        self.state = state


class Heard(Message):
    """Events of a session, in order, at most 20 messages a second; `level` is how loud it is, dBFS."""

    def __init__(self, model: SessionModel, events: tuple[Event, ...], level: float | None, backlog_s: float) -> None:
        super().__init__()
        self.model = model
        self.events = events
        self.level = level
        self.backlog_s = backlog_s

    def can_replace(self, message: Message) -> bool:
        """Textual asks the older one whether the newer one makes it worthless: never if it holds a stored event."""
        return (
            isinstance(message, Heard)
            and message.model is self.model
            and ephemeral(self.events)
            and {type(event) for event in self.events} <= {type(event) for event in message.events}
        )


class Began(Message):
    """A session of ours was created, or one was joined."""

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self.model = model


class Ended(Message):
    """A session that was spoken or watched is over, or cannot go on (`problem`)."""

    def __init__(self, model: SessionModel, problem: str = "") -> None:
        super().__init__()
        self.model = model
        self.problem = problem


class JobChanged(Message):
    """A file made progress."""

    def __init__(self, job: FileJob) -> None:
        super().__init__()
        self.job = job

    def can_replace(self, message: Message) -> bool:
        """The row is drawn from the job itself."""
        return isinstance(message, JobChanged) and message.job is self.job


class QueueChanged(Message):
    """The daemon told how its queue of files is."""

    def can_replace(self, message: Message) -> bool:
        """The rows are drawn from the queue itself."""
        return isinstance(message, QueueChanged)


class Say(Message):
    """Something to tell the person. `severity` is Textual's: information, warning, error."""

    def __init__(self, text: str, severity: str = "information") -> None:
        super().__init__()
        self.text = text
        self.severity = severity
