"""One session: its transcript, its summary, and what can be done with them. A live one updates as it is spoken.

In: the session's events, past and new. Out: an exported file; messages: summarise again, bookmark, rename, delete.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

import convo
from convo.messages import CancelSession, EndSession, Finalize, State, Summarize
from convo.text import clean, clock, moment

from ..context import Context
from ..messages import DeleteRequested
from ..model.pace import Health
from ..model.session import Change, SessionModel
from ..widgets.keys import Keys
from ..widgets.status import Heading, Masthead, StatusLine
from ..widgets.transcript import TranscriptView
from ..work.session import Watch
from ..work.start import start
from .mixins import BodyKeys

if TYPE_CHECKING:
    from ..work.playback import Playback

_STYLES = [
    ("", "Default", "as set in the daemon"),
    ("brief", "Brief", "a few sentences"),
    ("minutes", "Minutes", "topic by topic, decisions, who does what"),
    ("bullets", "Bullets", "short lines, in the order of the talk"),
    ("lecture", "Lecture", "notes for someone who missed it"),
    ("consultation", "Consultation", "what was asked, found and agreed"),
]


class SessionScreen(BodyKeys):
    """Shows a session, starting at `segment`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back", key_display="esc", tooltip="Leave the search, or go back"),
        *BodyKeys.FINDING,
        Binding("enter", "next", "Next", tooltip="Go to the next match", show=False),
        Binding("y", "copy", "Copy", tooltip="Copy the selected passage, or the transcript"),
        Binding("E", "export", "Export", tooltip="Export it to a file, in any format"),
        Binding("a", "ask", "Ask", tooltip="Ask something about this session"),
        Binding("z", "summarize", "Sum up", tooltip="Summarise it again, in another style"),
        *BodyKeys.READING,
        Binding("b", "mark", "Mark", tooltip="Bookmark the selected line", show=False),
        Binding("B", "note", "Note", tooltip="Bookmark the selected line, with a note", show=False),
        Binding("M", "marks", "Marks", tooltip="List all bookmarks; Enter goes to one"),
        Binding("R", "rename", "Name", tooltip="Give the session a title"),
        Binding("f", "finalize", "Write", tooltip="Finish the current sentence now", show=False),
        Binding("s", "stop", "End", tooltip="End the session, wherever it is recorded"),
        Binding("x,delete", "delete", "Delete", key_display="x", tooltip="Delete the session; u restores it"),
        Binding(
            "space", "play", "Play", key_display="space", tooltip="Play the sound of the selected sentences, or stop"
        ),
    ]

    def __init__(self, context: Context, model: SessionModel, *, segment: int | None = None) -> None:
        super().__init__(context)
        self.model = SessionModel(
            session=model.session,
            kind=model.kind,
            title=model.title,
            created=model.created,
            duration_s=model.duration_s,
        )
        self._segment = segment
        self._playback: Playback | None = None
        self._playing = ""  # what is played, or that it is fetched

    def compose(self) -> ComposeResult:
        """Lay out the masthead, the session, the search line and the keys."""
        yield Masthead(self.context.glyphs)
        yield self.make_body(self.model)
        yield self.make_find()
        yield Keys()

    @property
    def shown(self) -> SessionModel:
        """The session."""
        return self.model

    @property
    def place_s(self) -> float:
        """The end of the selected line, or of the session."""
        selected = self.body.transcript.selected
        return self.model.lines[selected].end if selected is not None else self.model.duration_s

    def on_mount(self) -> None:
        """Start to follow its events."""
        self.body.transcript.focus()
        self.body.summary.hint = "Press z to write one."
        self._draw()
        watch = Watch(self.context.daemon.link, self.model, self.app.post_message)
        start(self, watch.run, group="watch")

    def on_unmount(self) -> None:
        """Give up the sound."""
        if self._playback is not None:
            self._playback.close()

    # --- what changed -------------------------------------------------------------------------------------

    def session_changed(self, model: SessionModel, change: Change) -> None:
        """Redraw if this session changed."""
        if model is not self.model:
            return
        if change:
            self.body.changed(change)
        if change & Change.LINES:
            self._go_to_segment()
        self._draw()
        if change & (Change.STATE | Change.MARKS | Change.SUMMARY):
            self.refresh_bindings()

    def _go_to_segment(self) -> None:
        if self._segment is None or not self.model.lines or self.model.lines[-1].number < self._segment:
            if self.model.over and not self.body.transcript.has_class("-read"):
                # A past session is read from the start.
                self._read_from_start()
            return
        line = self.body.transcript.line_of(self._segment)
        self._segment = None
        self.body.transcript.add_class("-read")
        self.call_after_refresh(self.body.transcript.go_to, line, top=True)

    def _read_from_start(self) -> None:
        view = self.body.transcript
        view.add_class("-read")
        if self._segment is None:
            view.following = False
            view.scroll_to(y=0, animate=False, force=True, immediate=True)

    def deletes_changed(self, gone: str | None) -> None:
        """Close if this session is about to be deleted."""
        if self.model.session in self.context.deletes and self.is_current:
            self.app.pop_screen()

    def _draw(self) -> None:
        model = self.model
        badge, tone = {
            None: ("", "idle"),
            State.PENDING: ("starting", "work"),
            State.PROCESSING: ("live" if model.kind == "live" else "transcribing", "live"),
            State.TRANSCRIBED: ("summing up", "work"),
            State.COMPLETED: ("", "done"),
            State.FAILED: ("failed", "bad"),
            State.CANCELLED: ("cancelled", "bad"),
        }[model.state]
        self.masthead.heading = Heading(
            title=model.name, badge=badge, tone=tone, clock_s=float(int(model.duration_s)), trouble=self.trouble
        )
        running = model.state in (State.PENDING, State.PROCESSING)
        note = self._playing or model.failure or self.found
        selected = self.body.transcript.selected
        if not note and selected is not None:
            sign = self.context.glyphs.mark
            note = "   ".join(f"{sign} {mark.text}" for mark in model.marks_of(selected) if mark.text)
        if not note and model.created is not None and not running:
            count = sum(bool(line.text) for line in model.lines)
            lines = "1 line" if count == 1 else f"{count} lines"
            note = f"{moment(model.created)}   {model.kind}   {lines}"
        self.body.meter.status = StatusLine(
            activity=("speech" if model.speaking else "quiet") if running and model.kind == "live" else "",
            speech=model.speaking,
            lag_ms=model.lag_ms if running else None,
            pace=Health(self.context.daemon.state.up, model.lag_ms, 0.0).pace if running else None,
            note=clean(note),
        )

    @on(TranscriptView.Selected)
    def _selected(self) -> None:
        self._draw()  # the note at the line is shown below

    # --- actions ------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what makes sense now."""
        running = self.model.state in (State.PENDING, State.PROCESSING)
        if action in ("stop", "finalize"):
            return (running and self.model.kind == "live") or (action == "stop" and running)
        if action == "summarize":
            return self.model.state in (State.TRANSCRIBED, State.COMPLETED, State.CANCELLED, State.FAILED)
        if action == "play":
            return self.model.over and bool(self.model.lines)
        if action == "marks":
            return bool(self.model.marks and self.model.lines)
        return super().check_action(action, parameters)

    def action_back(self) -> None:
        """Leave the search, or go back."""
        if not self.leave_find():
            self.app.pop_screen()

    def action_marks(self) -> None:
        """Choose a bookmark and go to it."""
        from .ask import ChooseScreen

        model = self.model

        def chosen(place: str | None) -> None:
            if place is not None:
                self.body.transcript.go_to(model.line_of(marks[int(place)]), top=True)

        marks = list(model.marks)
        choices = [
            (str(at), clock(mark.time), mark.text or model.lines[model.line_of(mark)].text)
            for at, mark in enumerate(marks)
        ]
        self.app.push_screen(ChooseScreen("Go to a bookmark", choices), chosen)

    def action_play(self) -> None:
        """Play the sound of the selected lines, or stop it."""
        passage = self.body.transcript.passage
        if self._playing:
            self.workers.cancel_group(self, "play")
            self._tell_playing("")
        elif passage is None:
            self.say("Select what to play with j and k first.")
        else:
            first, last = (self.model.lines[at] for at in passage)
            start(self, partial(self._play, first.start, last.end), group="play", exclusive=True)

    async def _play(self, begin: float, end: float) -> None:
        from ..work.playback import Playback  # here: it is rarely wanted

        if self._playback is None:
            self._playback = Playback(self.context.daemon.link, self.model.session)
        try:
            self._tell_playing("Fetching the sound; space stops.")
            await self._playback.play(begin, end, lambda: self._tell_playing(f"Playing {clock(begin)}; space stops."))
        except convo.ConvoError as error:
            self.show_error(str(error))
        self._tell_playing("")

    def _tell_playing(self, said: str) -> None:
        self._playing = said
        self._draw()

    def action_ask(self) -> None:
        """Ask something about this session."""
        from .questions import QuestionsScreen

        self.app.push_screen(QuestionsScreen(self.context, self.model))

    def action_finalize(self) -> None:
        """Finish the current sentence now."""
        self.ask_daemon(Finalize(session=self.model.session))

    def action_stop(self) -> None:
        """End a live session, wherever it is recorded; cancel a file."""
        end = EndSession if self.model.kind == "live" else CancelSession
        self.ask_daemon(end(session=self.model.session))

    def action_summarize(self) -> None:
        """Ask for a style, and summarise again."""
        from .ask import ChooseScreen

        def chosen(style: str | None) -> None:
            if style is None:
                return
            self.model.writing = ""
            self.ask_daemon(Summarize(session=self.model.session, style=style or None))
            if not self.body.summary.display:
                self.body.toggle_summary()

        self.app.push_screen(ChooseScreen("Summarise again", _STYLES), chosen)

    def action_delete(self) -> None:
        """Delete the session; it can be undone."""
        self.post_message(DeleteRequested(self.model.session, self.model.name))
