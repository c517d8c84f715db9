"""History: all sessions, narrowed as one types, with the hits of a full-text search below their session.

In: the daemon's lists and hits. Out: a session to open, rename or delete. Asks the daemon by workers that post
messages.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.message import Message
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

import convo
from convo.messages import Hit, ListSessions, Search, SessionInfo, State
from convo.resume import LinkState
from convo.text import clean, clock, moment, width

from ..model.history import MOST, HistoryModel, Row
from ..model.pace import Health
from ..model.session import Change, SessionModel
from ..widgets.keys import Keys
from ..widgets.rows import Rows
from ..widgets.status import Heading, Masthead, cut
from ..work.start import start
from .base import RowsScreen

_PAGE = 500
_HITS = 200
_SHORTEST = 2  # characters that are worth a search
_TYPING_S = 0.15  # a search waits until somebody stops typing for so long


class Listed(Message):
    """A page of sessions."""

    def __init__(self, sessions: list[SessionInfo], *, first: bool, last: bool) -> None:
        super().__init__()
        self.sessions = sessions
        self.first = first
        self.last = last


class Found(Message):
    """Hits of a search."""

    def __init__(self, query: str, hits: list[Hit], problem: str = "") -> None:
        super().__init__()
        self.query = query
        self.hits = hits
        self.problem = problem


class HistoryScreen(RowsScreen):
    """Lists sessions."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search", key_display="/", tooltip="Search in everything that was said"),
        Binding("n", "rename", "Name", tooltip="Give the session a title"),
        Binding("x,delete", "delete", "Delete", key_display="x", tooltip="Delete the session; u takes it back"),
        Binding("r", "again", "Refresh", tooltip="Ask the daemon again", show=False),
        Binding("escape", "back", "Back", key_display="esc", tooltip="Out of the search, then back"),
        Binding("1", "app.go('live')", "Live", tooltip="The session that is being spoken"),
        Binding("4", "app.go('files')", "Files", tooltip="Turn recordings into transcripts", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.model = HistoryModel()
        self._rows: list[Row] = []
        self._pages: list[SessionInfo] = []

    def compose(self) -> ComposeResult:
        """A line to type into, the list."""
        yield Masthead(self.app.glyphs)
        yield Input(placeholder="Filter by title, date or state; search in what was said", id="query")
        with Container(classes="rows"):
            yield Rows(id="sessions")
            yield Static("", id="empty")
        yield Static("", id="history-note")
        yield Keys()

    def on_mount(self) -> None:
        """Ask for the list."""
        self.masthead.heading = Heading(title="History", trouble=self.trouble)
        self.query_one("#sessions").focus()
        self.action_again()

    def on_screen_resume(self) -> None:
        """Somebody comes back: titles and states may be others now."""
        if self.model.sessions:
            self.action_again()

    def link_changed(self, state: LinkState) -> None:
        """Show it; ask again when it is back."""
        if self.is_mounted:
            self.masthead.heading = Heading(title="History", trouble=self.trouble)
            if state.up:
                self.action_again()

    def heard(self, model: SessionModel, change: Change, level: float | None, health: Health) -> None:
        """The live session got a state or title."""
        if change & (Change.STATE | Change.TITLE) and self.is_current and model.session:
            self.action_again()

    def deleted(self, session: str | None) -> None:
        """A session is gone, or was taken back."""
        if session is not None:
            self.model.sessions.pop(session, None)
        if self.is_mounted:
            self._draw()

    # --- asking the daemon --------------------------------------------------------------------------------

    def action_again(self) -> None:
        """Ask again."""
        start(self, self._list, group="list", exclusive=True)

    async def _list(self) -> None:
        before: float | None = None
        count = 0
        while True:
            try:
                page = (await self.app.link.request(ListSessions(limit=_PAGE, before=before))).sessions
            except convo.ConvoError as error:
                self.app.say(str(error), "error")
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

    @on(Input.Changed, "#query")
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
            hits = (await self.app.link.request(Search(query=query, limit=_HITS, summaries=True))).hits
        except convo.ConvoError as error:
            self.post_message(Found(query, [], clean(str(error))))
        else:
            self.post_message(Found(query, hits))

    @on(Found)
    def _found(self, message: Found) -> None:
        if message.query == self.model.query:
            self.model.hits = message.hits
            self._draw()
            if message.problem:
                self.app.say(message.problem, "warning")

    # --- drawing ------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        self.model.hidden = self.app.deleting.doomed
        options = self.query_one("#sessions", OptionList)
        here = self._here()
        self._rows = self.model.rows()
        options.clear_options()
        options.add_options([Option(self._prompt(row)) for row in self._rows])
        place = next((at for at, row in enumerate(self._rows) if here is not None and _same(row, here)), 0)
        options.highlighted = min(place, len(self._rows) - 1) if self._rows else None
        sessions = sum(1 for row in self._rows if row.hit is None)
        hits = len(self._rows) - sessions
        note = "1 session" if sessions == 1 else f"{sessions} sessions"
        if hits:
            note += f", {hits} places where it was said" if hits > 1 else ", one place where it was said"
        empty = ""
        if not self.model.sessions:
            empty = "Waiting for the daemon."
            if self.app.connecting.state.up:
                empty = "No session yet.\n\nPress 1, then s, to speak; 4 to transcribe recordings."
        elif not self._rows:
            empty = "Nothing like that.\n\nEsc shows all sessions."
        self.show_empty(empty)
        self.query_one("#history-note", Static).update(Text(f" {note}" if not empty else ""))
        self.refresh_bindings()

    def _prompt(self, row: Row) -> Text:
        return self._hit(row.hit) if row.hit is not None else self._session(row.info)

    def _session(self, info: SessionInfo) -> Text:
        glyphs = self.app.glyphs
        sign, colour = {
            State.COMPLETED: (glyphs.done, "success"),
            State.FAILED: (glyphs.failed, "error"),
            State.CANCELLED: (glyphs.failed, "faint"),
            State.TRANSCRIBED: (glyphs.work, "accent"),
        }.get(info.state, (glyphs.live, "live"))
        size = max(20, self.query_one("#sessions").scrollable_content_region.width - 2)
        wide, middle = size >= 60, size >= 36
        said = {State.COMPLETED: "", State.PROCESSING: "running", State.PENDING: "beginning"}.get(
            info.state, str(info.state)
        )
        right = clock(info.duration_s)
        if wide:
            right = f"{info.kind:<4}  {right:>8}  {moment(info.created)}"
        elif middle:
            right = f"{right}  {moment(info.created)[5:10]}"
        title = clean(info.title) or "Untitled"
        room = size - len(right) - 4 - (len(said) + 2 if said else 0)
        text = Text(no_wrap=True, end="")
        text.append(f"{sign} ", self._colour(colour))
        text.append(cut(title, max(6, room), glyphs.ellipsis), "" if clean(info.title) else self._colour("faint"))
        if said:
            text.append(f"  {said}", self._colour(colour))
        text.append(" " * max(2, size - text.cell_len - width(right)))
        text.append(right, self._colour("faint"))
        return text

    def _hit(self, hit: Hit) -> Text:
        text = Text(no_wrap=True, end="")
        text.append(f"    {clock(hit.start):>7}  ", self._colour("faint"))
        said = clean(hit.text)
        room = max(10, self.query_one("#sessions").scrollable_content_region.width - 16)
        words = [word for word in self.model.query.casefold().split() if word]
        # The part of the line in which the first word stands.
        at = min((found for word in words if (found := said.casefold().find(word)) >= 0), default=0)
        if width(said) > room and at > room // 2:
            said = self.app.glyphs.ellipsis + said[at - room // 3 :].lstrip()
        shown = Text(cut(said, room, self.app.glyphs.ellipsis), no_wrap=True, end="")
        for word in words:
            shown.highlight_regex(f"(?i){_escape(word)}", f"bold {self._colour('accent')}".strip())
        text.append_text(shown)
        return text

    def _colour(self, name: str) -> str:
        return self.app.colour(name)

    # --- what somebody does -------------------------------------------------------------------------------

    def _here(self) -> Row | None:
        at = self.query_one("#sessions", OptionList).highlighted
        return self._rows[at] if at is not None and at < len(self._rows) else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what makes sense now."""
        if action in ("rename", "delete"):
            return bool(self._rows)
        return super().check_action(action, parameters)

    @on(OptionList.OptionSelected, "#sessions")
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.action_open()

    @on(Input.Submitted, "#query")
    def _submitted(self, event: Input.Submitted) -> None:
        self.query_one("#sessions").focus()

    def on_key(self, event: object) -> None:
        """From the line into the list."""
        key = getattr(event, "key", "")
        if key == "down" and self.query_one("#query").has_focus:
            self.query_one("#sessions").focus()

    def action_open(self) -> None:
        """Read the session."""
        row = self._here()
        if row is None:
            return
        if row.info.session == self.app.speaking.live.session and self.app.speaking.going:
            self.app.places.go("live")
            return
        segment = row.hit.segment if row.hit is not None else None
        self.app.places.open_session(SessionModel.of(row.info), segment=segment)

    def action_search(self) -> None:
        """To the line."""
        self.query_one("#query").focus()

    def action_rename(self) -> None:
        """Give it a title."""
        if (row := self._here()) is not None:
            self.app.places.ask_name(row.info.session, clean(row.info.title))

    def action_delete(self) -> None:
        """Delete it; u takes it back."""
        row = self._here()
        if row is None:
            return
        if row.info.session == self.app.speaking.live.session and self.app.speaking.going:
            self.app.say("This session is being spoken: stop it first.", "warning")
            return
        self.app.deleting.delete(row.info.session, clean(row.info.title))
        self._draw()

    def action_back(self) -> None:
        """Out of the search, then back."""
        query = self.query_one("#query", Input)
        if query.value:
            query.value = ""
            self.query_one("#sessions").focus()
        elif query.has_focus:
            self.query_one("#sessions").focus()
        else:
            self.app.pop_screen()


def _same(row: Row, other: Row) -> bool:
    if row.info.session != other.info.session:
        return False
    return (row.hit.segment if row.hit else None) == (other.hit.segment if other.hit else None)


def _escape(word: str) -> str:
    import re

    return re.escape(word)
