"""How the app tells screens and windows of changes.

In: calls of the app. Out: nothing. Each screen overrides what concerns it.
"""

from __future__ import annotations

from ..model.session import Change, SessionModel


class Hooks:
    """Called by the app on every open screen, including those below others."""

    def session_changed(self, model: SessionModel, change: Change) -> None:
        """A session changed, or its level."""

    def link_changed(self) -> None:
        """The connection came up or went down."""

    def setup_changed(self) -> None:
        """The microphone, the daemon's model or a download changed."""

    def jobs_changed(self) -> None:
        """Files made progress."""

    def deletes_changed(self, gone: str | None) -> None:
        """A delete was scheduled or undone, or a session is `gone`."""
