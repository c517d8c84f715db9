"""Questions about what was said: the answer as it is written, and the places that say so.

In: a question, about all talks or one. Out: rows; a session to open, at the place that is cited.
"""

from __future__ import annotations

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
from convo.messages import AnswerProgress, AskReply
from convo.text import clean, clock

from ..context import Context
from ..messages import OpenSession
from ..model.answer import Answer, Place, Row, Sentence
from ..model.layout import wrap
from ..model.session import SessionModel
from ..widgets.status import Heading, cut
from ..work.start import start
from .rows import RowsScreen

_ROOM = 88  # cells of a sentence, as in a transcript

_EMPTY = """Ask what was said, in the words of the talk:
what did we decide about the budget?

A language model answers from what was said alone, and cites it.
Without one, you get the places that are about it."""


@dataclass
class Answered(Message):
    """The answer to a question made progress, is there, or failed."""

    asked: int
    news: AnswerProgress | AskReply | str


class QuestionsScreen(RowsScreen[Row]):
    """Asks, and shows the answer. `about` is the one session that it is about; None: all."""

    PLACEHOLDER = "What did we decide about the budget?"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash,a", "type", "Ask", key_display="/", tooltip="Ask something else"),
        Binding("escape", "back", "Back", key_display="esc", tooltip="Stop answering, or go back"),
        Binding("5", "everywhere", "All talks", tooltip="Ask about all talks"),
        Binding("1", "app.go('live')", "Live", tooltip="The live session"),
        Binding("3", "app.go('history')", "History", tooltip="All sessions"),
    ]

    def __init__(self, context: Context, about: SessionModel | None = None) -> None:
        super().__init__(context)
        self.answer = Answer()
        self._about = about
        self._asked = 0
        self._busy = False

    def on_mount(self) -> None:
        """Wait for a question."""
        self._draw()
        self.line.focus()

    # --- asking -------------------------------------------------------------------------------------------

    @on(Input.Submitted, "#line")
    def _submitted(self) -> None:
        self._begin()

    def _begin(self) -> None:
        query = self.line.value.strip()
        if query:
            self._asked += 1
            self._busy = True
            self.answer = Answer(note="Searching.")
            start(self, partial(self._ask, query, self._asked), group="ask", exclusive=True)
        self._draw()

    async def _ask(self, query: str, asked: int) -> None:
        sessions = [self._about.session] if self._about is not None else []

        def progress(message: AnswerProgress) -> None:
            self.post_message(Answered(asked, message))

        async def question(client: convo.Client) -> AskReply:
            if "ask" not in client.welcome.features:
                raise convo.ConvoError("The daemon is too old for questions: update it.")
            return await client.ask(query, sessions, progress=progress)

        news: AskReply | str
        try:
            news = await self.context.daemon.link.ask(question)
        except convo.ConvoError as error:
            news = str(error)
        self.post_message(Answered(asked, news))

    @on(Answered)
    def _answered(self, message: Answered) -> None:
        if message.asked != self._asked or not self._busy:
            return
        match message.news:
            case AnswerProgress() as progress:
                self.answer.progress(progress)
            case AskReply() as reply:
                self.answer.finish(reply)
            case problem:
                self.answer = Answer(note=clean(problem))
        self._busy = isinstance(message.news, AnswerProgress)
        self._draw()
        if not self._busy and self.rows:
            self.row_list.focus()

    # --- drawing ------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        title = self._about.name if self._about is not None else "all talks"
        self.masthead.heading = Heading(
            title=f"Questions about {title}", trouble=self.trouble, badge="answering" if self._busy else "", tone="work"
        )
        self.rows, here = list(self.answer.rows), self.row_list.highlighted
        several = len({row.session for row in self.rows if isinstance(row, Place)}) > 1
        self.row_list.clear_options()
        self.row_list.add_options(
            [
                Option(self._prompt(row, several, first=not at), disabled=isinstance(row, Sentence))
                for at, row in enumerate(self.rows)
            ]
        )
        places = [at for at, row in enumerate(self.rows) if isinstance(row, Place)]
        self.row_list.highlighted = here if here in places else places[0] if places else None
        self.show_note(self.answer.note if self.rows else "", "" if self.rows else self.answer.note or _EMPTY)
        self.refresh_bindings()

    def _prompt(self, row: Row, several: bool, *, first: bool) -> Text:
        text = Text("" if first or isinstance(row, Place) else "\n", end="")
        if isinstance(row, Sentence):
            text.append("\n".join(wrap(row.text, min(self.cells, _ROOM))), self.colour("bright"))
            if row.unverified:
                unsaid = f"Not in what is cited: {', '.join(row.unverified)}"
                text.append("".join(f"\n{part}" for part in wrap(unsaid, self.cells)), self.colour("warning"))
            return text
        ellipsis = self.context.glyphs.ellipsis
        text.append(f"  {clock(row.start):>7}  ", self.colour("accent"))
        if several or self._about is None:
            text.append(cut(row.title or row.session[:8], 20, ellipsis) + "  ", self.colour("faint"))
        said = f"{row.speaker}: {row.text}" if row.speaker else row.text
        return text.append(cut(said, max(10, self.cells - text.cell_len), ellipsis))

    # --- actions ------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what makes sense now."""
        if action == "everywhere":
            return self._about is not None
        return super().check_action(action, parameters)

    def on_key(self, event: events.Key) -> None:
        """Go from the input line into the list."""
        if event.key == "down" and self.line.has_focus and self.rows:
            self.row_list.focus()

    def action_open(self) -> None:
        """Open the talk at the place that is cited."""
        if isinstance(place := self.here, Place):
            self.post_message(OpenSession(SessionModel(session=place.session, title=place.title), place.segment))

    def action_everywhere(self) -> None:
        """Ask about all talks, not only one."""
        self._about = None
        self._begin()

    def action_back(self) -> None:
        """Stop answering, or go back."""
        if self._busy:
            self.workers.cancel_group(self, "ask")
            self._busy = False
            self.answer = Answer(note="Stopped.")
            self._draw()
            self.line.focus()
        else:
            self.app.pop_screen()
