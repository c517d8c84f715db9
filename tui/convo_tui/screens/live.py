"""The live screen: captions as they are spoken.

In: the live session. Out: messages: start, stop, pause, mute, finalise, bookmark, rename.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Static

from convo.messages import State
from convo.resume import LinkPhase
from convo.text import clean, clock, moment

from ..messages import FinalizeRequested, OpenSession
from ..model.layout import wrap
from ..model.session import Change, SessionModel
from ..model.speech_models import sentence
from ..widgets.keys import Keys
from ..widgets.status import FLOOR_DBFS, Heading, Masthead, StatusLine, cut, progress_text
from ..work.link import reason
from .mixins import BodyKeys, LiveKeys

_KEYS = (
    ("s", "start listening", "captions, until you press it again"),
    ("d", "microphone", "choose one"),
    ("D", "model", "choose or download one"),
    ("L", "languages", "those that may be spoken"),
    ("o", "play a recording", "as if it were live"),
    ("3", "history", "read, search, export"),
    ("4", "files", "recordings to transcripts"),
    ("5", "questions", "answered from what was said"),
    ("S", "settings", "speakers, summaries, theme"),
    ("?", "all keys", "of the screen you are on"),
)
"""What the first screen offers."""

_LOW = "sdD?"  # those that low terminals show, too


class LiveScreen(BodyKeys, LiveKeys):
    """Shows the current live session, or the last one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *LiveKeys.START_STOP,
        Binding("enter", "open", "Open", key_display="enter", tooltip="Search it, export it, summarise it again"),
        *LiveKeys.PAUSE_MUTE,
        Binding("f", "finalize", "Write", tooltip="Finish the current sentence now"),
        Binding("b", "mark", "Mark", tooltip="Bookmark this moment"),
        Binding("B", "note", "Note", tooltip="Bookmark this moment, with a note", show=False),
        Binding("R", "rename", "Name", tooltip="Give the session a title", show=False),
        *BodyKeys.FINDING,
        Binding("escape", "leave", "Leave", key_display="esc", tooltip="Leave the search", show=False),
        Binding("E", "export", "Export", tooltip="Export what was said until now, in any format", show=False),
        *BodyKeys.READING,
        Binding("y", "copy", "Copy", tooltip="Copy the selected passage, or the transcript", show=False),
        Binding("o", "app.play_file", "Play", tooltip="Play a recording as if it were live", show=False),
        Binding("2", "app.go('captions')", "Captions", tooltip="Large captions for a shared screen"),
        Binding("3", "app.go('history')", "History", tooltip="Browse and search all sessions"),
        Binding("4", "app.go('files')", "Files", tooltip="Turn recordings into transcripts", show=False),
    ]

    def compose(self) -> ComposeResult:
        """Lay out the masthead, the session and the keys."""
        context = self.context
        yield Masthead(context.glyphs)
        yield self.make_body(context.live.model)
        yield self.make_find()
        with Container(id="idle"):
            yield Static(id="idle-text")
        yield Keys()

    @property
    def shown(self) -> SessionModel:
        """The live session."""
        return self.context.live.model

    @property
    def place_s(self) -> float:
        """The session's clock."""
        session = self.context.live.session
        return session.clock_s if session is not None else self.shown.duration_s

    def on_mount(self) -> None:
        """Show what can be done before the first session."""
        self.body.transcript.grounded = True
        self._draw()
        self.body.transcript.focus()

    # --- what changed -------------------------------------------------------------------------------------

    def session_changed(self, model: SessionModel, change: Change) -> None:
        """Redraw if the live session changed."""
        if model is not self.shown:
            return
        if self.body.model is not model:
            self.body.show(model)
            self.found = ""
        if change:
            self.body.changed(change)
        if change & Change.SUMMARY:
            self.refresh_bindings()
        self._draw(meter_only=not change & (Change.STATE | Change.TITLE))

    def _draw(self, *, meter_only: bool = False) -> None:
        model, session = self.shown, self.context.live.session
        begun = session is not None or bool(model.session) or bool(model.lines)
        if not meter_only:
            self.body.transcript.facts = tuple(self._session_facts(model)) if begun else ()
            self.body.display = begun
            self.query_one("#idle").display = not begun
            if not begun:
                self.query_one("#idle-text", Static).update(self._idle())
            self.refresh_bindings()
        badge, tone = self._badge(model)
        self.masthead.heading = Heading(
            title=model.name if begun else "",
            badge=badge,
            tone=tone,
            clock_s=float(int(self.place_s)) if begun else None,
            trouble=self.trouble,
        )
        if begun:
            self.body.meter.status = self._status_line(model)

    def _session_facts(self, model: SessionModel) -> Iterator[tuple[str, str]]:
        """What fills the empty space above the first lines."""
        live, settings, setup = self.context.live, self.context.settings, self.context.setup
        if model.created is not None:
            yield "Started", moment(model.created)
        if live.session is not None:
            yield "Sound", clean(live.session.source.name)
        if setup.engine is not None:
            yield "Model", sentence(setup.engine, settings.model)[0]
        yield "Language", ", ".join(settings.spoken) or "detected, sentence by sentence"
        if settings.speakers != "off":
            yield "Speakers", "told apart by their voices"
        yield "Summary", {"off": "none", "final": "at the end"}.get(settings.summary_mode, "as you speak")
        if model.session:
            yield "Session", model.session[:8]

    def _badge(self, model: SessionModel) -> tuple[str, str]:
        session = self.context.live.session
        if session is not None:
            if not model.session:
                return ("waiting", "work")
            if model.summing_up:
                return ("summing up", "work")
            if session.stopped:
                return ("ending", "work")
            if session.paused:
                return ("paused", "idle")
            return ("muted", "idle") if session.muted else ("live", "live")
        if model.state is State.FAILED or self.context.live.problem:
            return ("failed", "bad")
        if model.session:
            return ("done", "done")
        return ("ready", "idle") if self.context.daemon.state.up else ("", "idle")

    def _status_line(self, model: SessionModel) -> StatusLine:
        live, session = self.context.live, self.context.live.session
        if session is None:
            words = "1 word" if model.words == 1 else f"{model.words} words"
            said = f"{clock(model.duration_s)}, {words}" if model.lines else "nothing was said"
            return StatusLine(note=self.found or live.problem or said)
        activity = "paused" if session.paused else "muted" if session.muted else "speech" if model.speaking else "quiet"
        if session.stopped:
            activity = "summing up" if model.summing_up else "ending"
        return StatusLine(
            activity=activity,
            speech=model.speaking and activity == "speech",
            level=None if session.stopped else live.level if live.level is not None else FLOOR_DBFS,
            lag_ms=model.lag_ms,
            pace=live.health.pace if not session.stopped else None,
            source=session.source.name,
            note=self.found,
        )

    def setup_changed(self) -> None:
        """Redraw what the first screen tells."""
        super().setup_changed()
        self._draw()

    def _idle(self) -> Text:
        """What to press, and what it would use: microphone, model, daemon."""
        accent, faint = self.colour("accent") or "bold", self.colour("faint")
        bright = f"bold {self.colour('bright')}".strip()
        wide, tall = self.size.width >= 60, self.size.height >= 20
        text = Text(justify="left")
        text.append("Captions of what is said, as it is said\n" if wide else "Captions of what is said\n", bright)
        text.append("\n" if tall else "")
        for key, does, about in _KEYS:
            if tall or key in _LOW:
                text.append(f"  {key}   ", accent)
                text.append(does.ljust(20 if wide else 0))
                text.append(f"{about if wide else ''}\n", faint)
        text.append("\n" if tall else "")
        room = min(self.size.width * 9 // 10, 90)
        for label, said, good in self._facts():
            lead = f"  {label}".ljust(15) if wide else ""
            rows = wrap(said, room - len(lead)) if tall else [cut(said, room, self.context.glyphs.ellipsis)]
            text.append(lead, faint)
            text.append(("\n" + " " * len(lead)).join(rows) + "\n", "" if good else self.colour("warning"))
        if (download := self.context.setup.download) is not None:
            text.append(" " * (15 if wide else 0))
            text.append_text(
                progress_text(self.app, download.model, download.done_bytes, download.total_bytes, self.context.glyphs)
            )
        text.rstrip()
        return text

    def _facts(self) -> Iterator[tuple[str, str, bool]]:
        """A label, a sentence, and whether all is well with it."""
        setup, state = self.context.setup, self.context.daemon.state
        named = clean(self.context.live.device or "")
        if not named and setup.microphone:
            named = f"{setup.microphone}, the system's default"
        yield "Microphone", named or setup.problem or "the system's default", bool(named) or not setup.problem
        if setup.engine is not None and state.up:
            said, understands = sentence(setup.engine, self.context.settings.model)
            yield "Model", said if understands else f"{said}. Press D to download one that does", understands
        if spoken := self.context.settings.spoken:
            yield "Language", ", ".join(spoken), True
        said = {
            LinkPhase.UP: f"Connected to {clean(state.server)}",
            LinkPhase.CONNECTING: "Connecting to the daemon.",
        }.get(state.phase, reason(state))
        if state.up:
            said += f" at {clean(self.context.daemon.link.address)}"
        yield "Daemon", clean(said), state.up or state.phase is LinkPhase.CONNECTING

    # --- actions ------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what makes sense now."""
        live = self.context.live
        if action == "open":
            return live.session is None and bool(live.model.session)
        if action in ("finalize", "mark", "note"):
            return live.running and bool(live.model.session)
        if action in ("rename", "summary", "widen", "times", "doubts", "copy"):
            return bool(live.model.session)
        return super().check_action(action, parameters)

    def action_leave(self) -> None:
        """Leave the search."""
        self.leave_find()

    def action_open(self) -> None:
        """Open the session that is over."""
        self.post_message(OpenSession(self.shown))

    def action_finalize(self) -> None:
        """Finish the current sentence now."""
        self.post_message(FinalizeRequested())
