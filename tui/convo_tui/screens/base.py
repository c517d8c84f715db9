"""What all full screens have: the masthead, the footer, and the way by which they hear of sessions and the link.

In: calls of the app. Out: nothing by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.screen import Screen

from ..model.pace import Health
from ..model.session import Change, SessionModel
from ..widgets.status import Masthead

if TYPE_CHECKING:
    from ..app import ConvoApp
    from ..work.link import LinkState


class ConvoScreen(Screen[None]):
    """A screen of this app."""

    app: ConvoApp

    @property
    def masthead(self) -> Masthead:
        """The first row."""
        return self.query_one(Masthead)

    def heard(self, model: SessionModel, change: Change, level: float | None, health: Health) -> None:
        """A session changed, or how loud it is."""

    def link_changed(self, state: LinkState) -> None:
        """The connection is up, or it is not."""

    @property
    def trouble(self) -> str:
        """What is wrong with the connection, in two words."""
        phase = self.app.link_state.phase.name
        return {"LOST": "reconnecting", "NONE": "no daemon", "REFUSED": "not allowed"}.get(phase, "")
