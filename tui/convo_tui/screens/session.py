"""One session: its transcript, its summary, what can be done with both. A running one goes on as it is spoken.

In: the session's events, past and to come. Out: what keys ask of it: find, copy, export, summarise again, name, delete.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

import convo
from convo.formats import FORMATS
from convo.messages import CancelSession, EndSession, Finalize, State, Summarize
from convo.text import clean, clean_json, clean_lines, clock, moment

from ..context import Context
from ..messages import DeleteRequested
from ..model.pace import Health
from ..model.session import Change, SessionModel
from ..widgets.body import SessionBody
from ..widgets.keys import Keys
from ..widgets.status import Heading, Masthead, StatusLine
from ..widgets.transcript import TranscriptView
from ..work.session import Watch
from ..work.start import start
from .mixins import BodyKeys

_FORMATS = {
    "txt": "plain text, a line a segment",
    "md": "Markdown with summary and times",
    "srt": "SubRip captions",
    "vtt": "WebVTT captions",
    "json": "everything, one object",
    "jsonl": "everything, an object a line",
}
_STYLES = [
    ("", "As usual", "what the daemon is set to"),
    ("brief", "Brief", "a few sentences"),
    ("minutes", "Minutes", "topic by topic, decisions, who does what"),
    ("bullets", "Bullets", "short lines, in the order of the talk"),
    ("lecture", "Lecture", "notes for someone who missed it"),
    ("consultation", "Consultation", "what was asked, found and agreed"),
]


class SessionScreen(BodyKeys):
    """Shows a session; `segment` is where to begin reading."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back", key_display="esc", tooltip="Out of the search, then back"),
        Binding("slash", "find", "Find", key_display="/", tooltip="Find a word in this transcript"),
        Binding("enter", "next", "Next", tooltip="The next place where it was said", show=False),
        Binding("N", "before", "Before", tooltip="The place before", show=False),
        Binding("y", "copy", "Copy", tooltip="Copy the selected line, or the transcript"),
        Binding("e", "export", "Export", tooltip="Write it to a file, in any format"),
        Binding("z", "summarize", "Sum up", tooltip="Have it summarised again, in another style"),
        *BodyKeys.READING,
        Binding("b", "mark", "Mark", tooltip="Put a bookmark at the selected line", show=False),
        Binding("B", "note", "Note", tooltip="Put a bookmark there, with a note", show=False),
        Binding("M", "marks", "Marks", tooltip="All bookmarks of this session; Enter goes to one"),
        Binding("n", "rename", "Name", tooltip="Give the session a title"),
        Binding("f", "finalize", "Write", tooltip="Finish the sentence that is being spoken", show=False),
        Binding("s", "stop", "End", tooltip="End the session for whoever speaks it"),
        Binding("x,delete", "delete", "Delete", key_display="x", tooltip="Delete the session; u takes it back"),
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
        self._problem = ""

    def compose(self) -> ComposeResult:
        """Masthead, what was said, a line to find words, keys."""
        yield Masthead(self.context.glyphs)
        yield SessionBody(self.model, glyphs=self.context.glyphs, times=self.context.settings.times)
        yield Input(placeholder="Find in this transcript; Enter goes on", id="find")
        yield Keys()

    @property
    def shown(self) -> SessionModel:
        """This session."""
        return self.model

    @property
    def place_s(self) -> float:
        """The end of the selected line, or where the session is."""
        selected = self.body.transcript.selected
        return self.model.lines[selected].end if selected is not None else self.model.duration_s

    def on_mount(self) -> None:
        """Ask for its events."""
        self.query_one("#find").display = False
        self.body.transcript.focus()
        self.body.summary.hint = "z writes one."
        self._draw()
        watch = Watch(self.context.daemon.link, self.model, self.app.post_message)
        start(self, watch.run, group="watch")

    # --- what changed -------------------------------------------------------------------------------------

    def session_changed(self, model: SessionModel, change: Change) -> None:
        """This session changed."""
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
                # A past session is read from its beginning.
                self._read_from_the_beginning()
            return
        line = self.body.transcript.line_of(self._segment)
        self._segment = None
        self.body.transcript.add_class("-read")
        self.call_after_refresh(self.body.transcript.go_to, line, top=True)

    def _read_from_the_beginning(self) -> None:
        view = self.body.transcript
        view.add_class("-read")
        if self._segment is None:
            view.following = False
            view.scroll_to(y=0, animate=False, force=True, immediate=True)

    def deletes_changed(self, gone: str | None) -> None:
        """This session may be about to go."""
        if self.model.session in self.context.deletes and self.is_current:
            self.app.pop_screen()

    def _draw(self) -> None:
        model = self.model
        badge, tone = {
            None: ("", "idle"),
            State.PENDING: ("beginning", "work"),
            State.PROCESSING: ("live" if model.kind == "live" else "listening", "live"),
            State.TRANSCRIBED: ("summing up", "work"),
            State.COMPLETED: ("", "done"),
            State.FAILED: ("failed", "bad"),
            State.CANCELLED: ("cancelled", "bad"),
        }[model.state]
        self.masthead.heading = Heading(
            title=model.name, badge=badge, tone=tone, clock_s=float(int(model.duration_s)), trouble=self.trouble
        )
        running = model.state in (State.PENDING, State.PROCESSING)
        note = model.failure or self._problem
        selected = self.body.transcript.selected
        if not note and selected is not None:
            sign = self.context.glyphs.mark
            note = "   ".join(f"{sign} {mark.text}" for mark in model.marks_of(selected) if mark.text)
        if not note and model.created is not None and not running:
            note = f"{moment(model.created)}   {model.kind}   {len(model.lines)} lines"
        self.body.meter.status = StatusLine(
            activity=("speech" if model.speaking else "quiet") if running and model.kind == "live" else "",
            speech=model.speaking,
            lag_ms=model.lag_ms if running else None,
            pace=Health(self.context.daemon.state.up, model.lag_ms, 0.0).pace if running else None,
            note=clean(note),
        )

    @on(TranscriptView.Selected)
    def _selected(self) -> None:
        self._draw()  # what somebody wrote beside the line stands below

    # --- what somebody does -------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what makes sense now."""
        running = self.model.state in (State.PENDING, State.PROCESSING)
        if action in ("stop", "finalize"):
            return (running and self.model.kind == "live") or (action == "stop" and running)
        if action == "summarize":
            return self.model.state in (State.TRANSCRIBED, State.COMPLETED, State.CANCELLED, State.FAILED)
        if action == "marks":
            return bool(self.model.marks and self.model.lines)
        if action == "next":
            return bool(self.body.transcript.needle) if self.is_mounted else False
        return super().check_action(action, parameters)

    def action_back(self) -> None:
        """Out of the search, then back."""
        find = self.query_one("#find", Input)
        if find.display or self.body.transcript.needle:
            find.value = ""
            find.display = False
            self.body.transcript.find("")
            self.body.transcript.focus()
            self._draw()
        else:
            self.app.pop_screen()

    def action_find(self) -> None:
        """Ask for a word."""
        find = self.query_one("#find", Input)
        find.display = True
        find.focus()

    @on(Input.Changed, "#find")
    def _finding(self, event: Input.Changed) -> None:
        self.body.transcript.selected = None
        count = self.body.transcript.find(event.value.strip())
        self._problem = (f"{count} places" if count != 1 else "1 place") if event.value.strip() else ""
        self._draw()

    @on(Input.Submitted, "#find")
    def _found(self, event: Input.Submitted) -> None:
        self.body.transcript.focus()
        self.action_next()

    def action_next(self) -> None:
        """The next place."""
        self.body.transcript.find(self.body.transcript.needle, 1)

    def action_before(self) -> None:
        """The place before."""
        self.body.transcript.find(self.body.transcript.needle, -1)

    def action_marks(self) -> None:
        """Choose a bookmark, and go there."""
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
        self.app.push_screen(ChooseScreen("Go to a mark", choices), chosen)

    def action_finalize(self) -> None:
        """Finish the sentence now."""
        self.ask_daemon(Finalize(session=self.model.session))

    def action_stop(self) -> None:
        """End it for whoever speaks it; a file is cancelled."""
        end = EndSession if self.model.kind == "live" else CancelSession
        self.ask_daemon(end(session=self.model.session))

    def action_summarize(self) -> None:
        """Ask for a style, and have it summarised again."""
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
        """Delete it; u takes it back."""
        self.post_message(DeleteRequested(self.model.session, self.model.name))

    def action_export(self) -> None:
        """Ask for a format, then a path."""
        from .ask import AskScreen, ChooseScreen

        def named(path: str | None) -> None:
            if path:
                start(self, partial(self._export, Path(path).expanduser(), chosen_format[0]), group="export")

        def chosen(format: str | None) -> None:
            if format is not None:
                chosen_format.append(format)
                path = f"{_file_name(self.model.name) or self.model.session[:8]}.{format}"
                self.app.push_screen(AskScreen("Export to", "path of the file", value=path, paths=True), named)

        chosen_format: list[str] = []
        formats = [(name, name, _FORMATS.get(name, "")) for name in sorted(FORMATS, key=list(_FORMATS).index)]
        self.app.push_screen(ChooseScreen("Export as", formats), chosen)

    async def _export(self, path: Path, format: str) -> None:
        async def get(client: convo.Client) -> str:
            return await client.export(self.model.session, format)

        try:
            text = await self.context.daemon.link.ask(get)
            text = clean_json(text) if format in ("json", "jsonl") else clean_lines(text)
            with path.open("x", encoding="utf-8") as file:  # nothing that is there is written over
                file.write(text)
        except FileExistsError:
            self.complain(f"{path} is there already: choose another name.")
        except OSError as error:
            self.complain(f"Cannot write {path}: {error.strerror or error}.")
        except convo.ConvoError as error:
            self.complain(str(error))
        else:
            self.say(f"Written to {path}.")


def _file_name(title: str) -> str:
    """A title as the name of a file: no separators, no dots in front."""
    return "".join(char if char.isalnum() or char in " -_." else "-" for char in title).strip(" .")[:80]
