"""History: all sessions, filtered while typing, with full-text search hits below their session.

In: the daemon's lists and hits, fetched by workers. Out: a session to open, rename or delete.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual import events, on
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input
from textual.widgets.option_list import Option

import convo
from convo.messages import Hit, ListSessions, Search, SessionInfo, State
from convo.text import clean, clock, moment, width

from ..context import Context
from ..messages import DeleteRequested, Notice, OpenSession
from ..model.files import why_failed
from ..model.history import MOST, HistoryModel, Row
from ..model.session import Change, SessionModel
from ..widgets.status import Heading, cut
from ..work.start import start
from .rows import RowsScreen

_PAGE = 500
_HITS = 200
_SHORTEST = 2  # characters that start a search
_TYPING_S = 0.15  # a search waits for this long a pause in typing


@dataclass
class Listed(Message):
    """A page of sessions."""

    sessions: list[SessionInfo]
    first: bool
    last: bool


@dataclass
class Found(Message):
    """Hits of a search."""

    query: str
    hits: list[Hit]


class HistoryScreen(RowsScreen[Row]):
    """Lists sessions."""

    PLACEHOLDER = "Filter by title, date or state; search all transcripts"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "type", "Search", key_display="/", tooltip="Search all transcripts"),
        Binding("R", "rename", "Name", tooltip="Give the session a title"),
        Binding("E", "export", "Export", tooltip="Export the session to a file, in any format", show=False),
        Binding("x,delete", "delete", "Delete", key_display="x", tooltip="Delete the session; u restores it"),
        Binding("r", "again", "Refresh", tooltip="Reload the list", show=False),
        Binding("escape", "back", "Back", key_display="esc", tooltip="Leave the search, or go back"),
        Binding("1", "app.go('live')", "Live", tooltip="The live session"),
        Binding("4", "app.go('files')", "Files", tooltip="Turn recordings into transcripts", show=False),
    ]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.model = HistoryModel()
        self._pages: list[SessionInfo] = []

    def on_mount(self) -> None:
        """Load the list."""
        self.row_list.focus()
        self.action_again()

    def on_screen_resume(self) -> None:
        """Reload: titles and states may have changed meanwhile."""
        if self.model.sessions:
            self.action_again()

    def link_changed(self) -> None:
        """Redraw, and reload once the connection is back."""
        self._draw()
        if self.context.daemon.state.up:
            self.action_again()

    def session_changed(self, model: SessionModel, change: Change) -> None:
        """Reload after a change of a session's state or title."""
        if change & (Change.STATE | Change.TITLE) and self.is_current and model.session:
            self.action_again()

    def deletes_changed(self, gone: str | None) -> None:
        """Hide sessions about to be deleted."""
        if gone is not None:
            self.model.sessions.pop(gone, None)
        self._draw()

    # --- loading ------------------------------------------------------------------------------------------

    def action_again(self) -> None:
        """Reload the list."""
        start(self, self._list, group="list", exclusive=True)

    async def _list(self) -> None:
        before: float | None = None
        count = 0
        while True:
            try:
                page = (await self.context.daemon.link.request(ListSessions(limit=_PAGE, before=before))).sessions
            except convo.ConvoError as error:
                self.show_error(str(error))
                return
            count += len(page)
            last = not page or count >= MOST or (before is not None and page[-1].created >= before)
            self.post_message(Listed(page, first=before is None, last=last))
            if last:
                return
            before = page[-1].created

    @on(Listed)
    def _listed(self, message: Listed) -> None:
        self._pages = message.sessions if message.first else self._pages + message.sessions
        self.model.add(message.sessions)
        if message.last:
            self.model.sessions = {}
            self.model.add(self._pages)
            self._pages = []
        self._draw()

    @on(Input.Changed, "#line")
    def _typed(self, event: Input.Changed) -> None:
        self.model.query = event.value.strip()
        if len(self.model.query) < _SHORTEST:
            self.workers.cancel_group(self, "search")
            self.model.hits = []
        else:
            start(self, partial(self._search, self.model.query), group="search", exclusive=True)
        self._draw()

    async def _search(self, query: str) -> None:
        await asyncio.sleep(_TYPING_S)
        try:
            hits = (await self.context.daemon.link.request(Search(query=query, limit=_HITS, summaries=True))).hits
        except convo.ConvoError as error:
            hits = []
            self.post_message(Notice(str(error), "warning"))
        self.post_message(Found(query, hits))

    @on(Found)
    def _found(self, message: Found) -> None:
        if message.query == self.model.query:
            self.model.hits = message.hits
            self._draw()

    # --- drawing ------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        self.masthead.heading = Heading(title="History", trouble=self.trouble)
        self.model.hidden = set(self.context.deletes)
        here = self.here
        self.rows = self.model.rows()
        self.row_list.clear_options()
        self.row_list.add_options([Option(self._prompt(row)) for row in self.rows])
        place = next((at for at, row in enumerate(self.rows) if here is not None and _same(row, here)), 0)
        self.row_list.highlighted = min(place, len(self.rows) - 1) if self.rows else None
        sessions = sum(1 for row in self.rows if row.hit is None)
        hits = len(self.rows) - sessions
        note = "1 session" if sessions == 1 else f"{sessions} sessions"
        if hits:
            note += f", {hits} matches" if hits > 1 else ", 1 match"
        empty = ""
        if not self.model.sessions:
            empty = "Waiting for the daemon."
            if self.context.daemon.state.up:
                empty = "No sessions yet.\n\nPress 1, then s to start one; 4 to transcribe recordings."
        elif not self.rows:
            empty = "No matches.\n\nPress Esc to see all sessions."
        self.show_note("" if empty else note, empty)
        self.refresh_bindings()

    def _prompt(self, row: Row) -> Text:
        return self._hit(row.hit) if row.hit is not None else self._session(row.info)

    def _session(self, info: SessionInfo) -> Text:
        glyphs = self.context.glyphs
        sign, colour = {
            State.COMPLETED: (glyphs.done, "success"),
            State.FAILED: (glyphs.failed, "error"),
            State.CANCELLED: (glyphs.failed, "faint"),
            State.TRANSCRIBED: (glyphs.work, "accent"),
        }.get(info.state, (glyphs.live, "live"))
        size = max(20, self.cells)
        wide, middle = size >= 60, size >= 36
        said = {State.COMPLETED: "", State.PROCESSING: "running", State.PENDING: "starting"}.get(
            info.state, str(info.state)
        )
        right = clock(info.duration_s)
        if wide:
            language = cut(clean(info.language or ""), 3, "")
            right = f"{language:<3}  {info.kind:<4}  {right:>8}  {moment(info.created)}"
        elif middle:
            right = f"{right}  {moment(info.created)[5:10]}"
        title = clean(info.title) or "Untitled"
        room = size - len(right) - 4 - (len(said) + 2 if said else 0)
        text = Text(no_wrap=True, end="")
        text.append(f"{sign} ", self.colour(colour))
        text.append(cut(title, max(6, room), glyphs.ellipsis), "" if clean(info.title) else self.colour("faint"))
        if said:
            text.append(f"  {said}", self.colour(colour))
        text.append(" " * max(2, size - text.cell_len - width(right)))
        text.append(right, self.colour("faint"))
        if info.state is State.FAILED:
            self.with_failure(text, *why_failed(info))
        return text

    def _hit(self, hit: Hit) -> Text:
        text = Text(no_wrap=True, end="")
        text.append(f"    {clock(hit.start):>7}  ", self.colour("faint"))
        said = clean(hit.text)
        room = max(10, self.cells - 14)
        words = [word for word in self.model.query.casefold().split() if word]
        # Show the part of the line around the first word.
        at = min((found for word in words if (found := said.casefold().find(word)) >= 0), default=0)
        if width(said) > room and at > room // 2:
            said = self.context.glyphs.ellipsis + said[at - room // 3 :].lstrip()
        shown = Text(cut(said, room, self.context.glyphs.ellipsis), no_wrap=True, end="")
        for word in words:
            shown.highlight_regex(f"(?i){re.escape(word)}", f"bold {self.colour('accent')}".strip())
        text.append_text(shown)
        return text

    # --- actions ------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what makes sense now."""
        if action in ("rename", "export", "delete"):
            return bool(self.rows)
        return super().check_action(action, parameters)

    @on(Input.Submitted, "#line")
    def _submitted(self) -> None:
        self.row_list.focus()

    def on_key(self, event: events.Key) -> None:
        """Go from the input line into the list."""
        if event.key == "down" and self.line.has_focus:
            self.row_list.focus()

    def action_open(self) -> None:
        """Open the session."""
        if (row := self.here) is not None:
            self.post_message(OpenSession(SessionModel.of(row.info), row.hit.segment if row.hit is not None else None))

    def action_rename(self) -> None:
        """Rename the session."""
        if (row := self.here) is not None:
            self.ask_name(row.info.session, clean(row.info.title))

    def action_export(self) -> None:
        """Export the session."""
        from .export import ask_export

        if (row := self.here) is not None:
            ask_export(self, row.info.session, clean(row.info.title))

    def action_delete(self) -> None:
        """Delete the session; it can be undone."""
        if (row := self.here) is not None:
            self.post_message(DeleteRequested(row.info.session, clean(row.info.title)))

    def action_back(self) -> None:
        """Leave the search, or go back."""
        if self.line.value or self.line.has_focus:
            self.line.value = ""
            self.row_list.focus()
        else:
            self.app.pop_screen()


def _same(row: Row, other: Row) -> bool:
    if row.info.session != other.info.session:
        return False
    return (row.hit.segment if row.hit else None) == (other.hit.segment if other.hit else None)
