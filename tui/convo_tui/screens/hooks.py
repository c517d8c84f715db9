"""How screens and windows hear of changes.

In: calls of the app. Out: nothing; each screen overrides what concerns it.
"""

from __future__ import annotations

from ..model.session import Change, SessionModel


class Hooks:
    """What the app calls on every screen that is open and mounted, also below others."""

    def session_changed(self, model: SessionModel, change: Change) -> None:
        """A session changed, or how loud it is."""

    def link_changed(self) -> None:
        """The connection is up, or it is not."""

    def jobs_changed(self) -> None:
        """Files made progress."""

    def deletes_changed(self, gone: str | None) -> None:
        """Sessions are about to go, were taken back, or one is `gone`."""
