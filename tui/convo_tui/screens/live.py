"""The live screen: what is being said, as it is said.

In: the app's live session. Out: what keys ask of it: start, stop, pause, mute, write now, mark, rename.
"""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Static

from convo.messages import State
from convo.resume import LinkPhase, LinkState
from convo.text import clean

from ..model.pace import Health
from ..model.session import Change, SessionModel
from ..widgets.body import SessionBody
from ..widgets.keys import Keys
from ..widgets.status import Heading, Masthead, StatusLine
from ..work.link import reason
from ..work.sources import MicrophoneSource
from .base import TalkScreen


class LiveScreen(TalkScreen):
    """Shows `app.speaking.live`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "start", "Start", tooltip="Start a session with the microphone"),
        Binding("s", "stop", "Stop", tooltip="End the session; its last words and its summary follow"),
        Binding("enter", "open", "Open", key_display="enter", tooltip="Find in it, export it, summarise it again"),
        Binding("space", "pause", "Pause", key_display="space", tooltip="Switch the microphone off, or on again"),
        Binding("m", "mute", "Mute", tooltip="Send silence in place of what is heard"),
        Binding("f", "finalize", "Write", tooltip="Finish the sentence that is being spoken"),
        Binding("b", "mark", "Mark", tooltip="Put a bookmark into the transcript"),
        Binding("B", "note", "Note", tooltip="Put a bookmark there, with a note", show=False),
        Binding("n", "rename", "Name", tooltip="Give the session a title", show=False),
        Binding("v", "summary", "Summary", tooltip="Show the summary, or hide it", show=False),
        Binding(
            "comma", "turn(-1)", "Older summary", key_display=",", tooltip="The summary before this one", show=False
        ),
        Binding(
            "full_stop", "turn(1)", "Newer summary", key_display=".", tooltip="The summary after this one", show=False
        ),
        Binding("t", "times", "Times", tooltip="Show when each line was said", show=False),
        Binding("y", "copy", "Copy", tooltip="Copy the selected line, or the transcript", show=False),
        Binding("o", "app.play_file", "Play", tooltip="Play a recording as if it were spoken now", show=False),
        Binding("2", "app.go('captions')", "Captions", tooltip="Large captions for a shared screen"),
        Binding("3", "app.go('history')", "History", tooltip="All sessions, and a search in them"),
        Binding("4", "app.go('files')", "Files", tooltip="Turn recordings into transcripts", show=False),
    ]

    def compose(self) -> ComposeResult:
        """Masthead, what is said, keys."""
        app = self.app
        yield Masthead(app.glyphs)
        yield SessionBody(app.speaking.live, glyphs=app.glyphs, times=app.settings.times)
        with Container(id="idle"):
            yield Static(id="idle-text")
        yield Keys()

    @property
    def body(self) -> SessionBody:
        """The session."""
        return self.query_one(SessionBody)

    def on_mount(self) -> None:
        """Nothing is said yet."""
        self.body.transcript.grounded = True
        self._draw()
        self.body.transcript.focus()

    # --- what changed -------------------------------------------------------------------------------------

    def heard(self, model: SessionModel, change: Change, level: float | None, health: Health) -> None:
        """The live session changed."""
        if model is not self.app.speaking.live or not self.is_mounted:
            return
        if self.body.model is not model:
            self.body.show(model)
        if change:
            self.body.changed(change)
        if change & Change.SUMMARY:
            self.refresh_bindings()
        self._draw(meter_only=not change & (Change.STATE | Change.TITLE))

    def link_changed(self, state: LinkState) -> None:
        """Show it."""
        if self.is_mounted:
            self._draw()

    def _draw(self, *, meter_only: bool = False) -> None:
        model, talk = self.app.speaking.live, self.app.speaking.talk
        begun = talk is not None or bool(model.session) or bool(model.lines)
        if not meter_only:
            self.body.display = begun
            self.query_one("#idle").display = not begun
            if not begun:
                self.query_one("#idle-text", Static).update(self._idle())
            self.refresh_bindings()
        badge, tone = self._badge(model)
        clock = talk.clock_s if talk is not None else model.heard_s
        self.masthead.heading = Heading(
            title=model.name if begun else "",
            badge=badge,
            tone=tone,
            clock_s=float(int(clock)) if begun else None,
            trouble=self.trouble,
        )
        if begun:
            self.body.meter.going = self._status_line(model)

    def _badge(self, model: SessionModel) -> tuple[str, str]:
        talk = self.app.speaking.talk
        if talk is not None:
            if not model.session:
                return ("waiting", "work")
            if model.summing_up:
                return ("summing up", "work")
            if talk.stopped:
                return ("ending", "work")
            if talk.paused:
                return ("paused", "idle")
            return ("muted", "idle") if talk.muted else ("live", "live")
        if model.state is State.FAILED or self.app.speaking.problem:
            return ("failed", "bad")
        if model.session:
            return ("done", "done")
        return ("ready", "idle") if self.app.connecting.state.up else ("", "idle")

    def _status_line(self, model: SessionModel) -> StatusLine:
        app, talk = self.app, self.app.speaking.talk
        if talk is None:
            words = sum(len(line.text.split()) for line in model.lines[-2000:])
            note = app.speaking.problem or (
                f"{len(model.lines)} lines, {words} words" if model.lines else "nothing was said"
            )
            return StatusLine(note=clean(note))
        hearing = "paused" if talk.paused else "muted" if talk.muted else "speech" if model.speaking else "quiet"
        if talk.stopped:
            hearing = "summing up" if model.summing_up else "ending"
        return StatusLine(
            hearing=hearing,
            speech=model.speaking and hearing == "speech",
            level=None if talk.stopped else app.speaking.level if app.speaking.level is not None else -60.0,
            lag_ms=model.lag_ms,
            pace=app.health.pace if not talk.stopped else None,
            source=talk.source.name,
        )

    def _idle(self) -> Text:
        app = self.app
        accent, faint = app.colour("accent") or "bold", app.colour("faint")
        bright = f"bold {app.colour('bright')}".strip()
        wide, gap = self.size.width >= 60, "\n" if self.size.height >= 14 else ""
        text = Text(justify="left")
        text.append("Captions of what is said, as it is said\n" if wide else "Captions of what is said\n", bright)
        text.append(gap)
        rows = [
            ("s", "start listening", app.speaking.device or "the usual microphone"),
            ("d", "choose the microphone", ""),
            ("o", "play a recording", "as if it were spoken now"),
            ("3", "history", "read, search, export"),
            ("4", "files", "recordings to transcripts"),
            ("?", "all keys", ""),
        ]
        for key, does, about in rows:
            text.append(f"  {key}   ", accent)
            text.append(does.ljust(24 if about and wide else 0))
            text.append(f"{clean(about) if wide else ''}\n", faint)
        state = app.connecting.state
        said = {
            LinkPhase.UP: f"Connected to {clean(state.server)}.",
            LinkPhase.CONNECTING: "Connecting to the daemon.",
        }.get(state.phase, reason(state))
        text.append(f"{gap}{clean(said)}", faint)
        return text

    # --- what somebody does -------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what makes sense now."""
        talk, model = self.app.speaking.talk, self.app.speaking.live
        going = talk is not None and not talk.stopped
        if action == "start":
            return talk is None
        if action in ("stop", "pause", "mute"):
            return going
        if action == "open":
            return talk is None and bool(model.session)
        if action in ("finalize", "mark", "note"):
            return going and bool(model.session)
        if action == "turn":
            return len(model.summaries) > 1
        if action in ("rename", "summary", "times", "copy"):
            return bool(model.session)
        return super().check_action(action, parameters)

    def action_open(self) -> None:
        """Read the session that is over."""
        self.app.places.open_session(self.app.speaking.live)

    def action_finalize(self) -> None:
        """Finish the sentence now."""
        self.app.speaking.finalize()

    def action_mark(self) -> None:
        """Put a bookmark here."""
        if self.app.speaking.talk is not None:
            self.app.speaking.mark(self.app.speaking.live, self.app.speaking.talk.clock_s)

    def action_note(self) -> None:
        """Put a bookmark here, with a note; here is where the key was pressed."""
        if self.app.speaking.talk is not None:
            self.app.speaking.note(self.app.speaking.live, self.app.speaking.talk.clock_s)

    def action_rename(self) -> None:
        """Give the session a title."""
        self.app.places.ask_name(self.app.speaking.live.session, self.app.speaking.live.title)

    def action_summary(self) -> None:
        """Show the summary, or hide it."""
        self.body.toggle_summary()

    def action_turn(self, step: int) -> None:
        """Show an older summary, or a newer one."""
        self.body.turn_summary(step)

    def action_times(self) -> None:
        """Show times, or do not; remembered."""
        self.app.remember(times=self.body.toggle_times())

    def action_copy(self) -> None:
        """Copy the selected line, or everything."""
        copy_from(self.app, self.body)

    @property
    def microphone(self) -> bool:
        """Whether the microphone is what is heard."""
        return self.app.speaking.talk is not None and isinstance(self.app.speaking.talk.source, MicrophoneSource)


def copy_from(app: object, body: SessionBody) -> None:
    """Copy what is selected in a transcript, all of it if nothing is."""
    from ..app import ConvoApp

    assert isinstance(app, ConvoApp)
    lines, selected = body.model.lines, body.transcript.selected
    if selected is not None and selected < len(lines):
        app.copy_to_clipboard(lines[selected].text)
        app.say("Copied the line.")
    elif lines:
        app.copy_to_clipboard("\n".join(line.text for line in lines))
        app.say(f"Copied {len(lines)} lines.")
