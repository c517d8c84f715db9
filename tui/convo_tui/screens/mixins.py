"""Keys shared by several screens: those of the live session, and those of a transcript with its summary.

In: keys. Out: messages about what the user wants.
"""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from convo.messages import AddMark
from convo.text import clock

from ..messages import MuteRequested, PauseRequested, SettingChanged, StartRequested, StopRequested
from ..model.session import SessionModel
from ..widgets.body import SessionBody
from .base import ConvoScreen


class LiveKeys(ConvoScreen):
    """A screen that starts, pauses and ends the live session."""

    START_STOP: ClassVar[list[BindingType]] = [
        Binding("s", "start", "Start", tooltip="Start a session with the microphone"),
        Binding("s", "stop", "Stop", tooltip="End the session; the last words and the summary follow"),
    ]
    PAUSE_MUTE: ClassVar[list[BindingType]] = [
        Binding("space", "pause", "Pause", key_display="space", tooltip="Turn the microphone off or on again"),
        Binding("m", "mute", "Mute", tooltip="Send silence instead of sound"),
    ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what makes sense now."""
        if action == "start":
            return self.context.live.session is None
        if action in ("stop", "pause", "mute"):
            return self.context.live.running
        return super().check_action(action, parameters)

    def action_start(self) -> None:
        """Start with the microphone."""
        self.post_message(StartRequested())

    def action_stop(self) -> None:
        """End the session."""
        self.post_message(StopRequested())

    def action_pause(self) -> None:
        """Pause or resume."""
        self.post_message(PauseRequested())

    def action_mute(self) -> None:
        """Mute or unmute."""
        self.post_message(MuteRequested())


class BodyKeys(ConvoScreen):
    """A screen with a `SessionBody`: a transcript and its summary."""

    READING: ClassVar[list[BindingType]] = [
        Binding("v", "summary", "Summary", tooltip="Show or hide the summary", show=False),
        Binding("comma", "turn(-1)", "Older summary", key_display=",", tooltip="Show the previous summary", show=False),
        Binding("full_stop", "turn(1)", "Newer summary", key_display=".", tooltip="Show the next summary", show=False),
        Binding("left_square_bracket", "widen(-6)", "Narrower", tooltip="Make the summary narrower", show=False),
        Binding("right_square_bracket", "widen(6)", "Wider", tooltip="Make the summary wider", show=False),
        Binding("t", "times", "Times", tooltip="Show or hide when each line was said", show=False),
        Binding("w", "doubts", "Doubts", tooltip="Underline words that the model was not sure of", show=False),
    ]

    def make_body(self, model: SessionModel) -> SessionBody:
        """The transcript and summary as the settings want them."""
        settings = self.context.settings
        return SessionBody(
            model,
            glyphs=self.context.glyphs,
            times=settings.times,
            doubts=settings.doubts,
            summary_cells=settings.summary_width,
        )

    @property
    def body(self) -> SessionBody:
        """The transcript and summary."""
        return self.query_one(SessionBody)

    @property
    def shown(self) -> SessionModel:
        """The session that is shown."""
        raise NotImplementedError

    @property
    def place_s(self) -> float:
        """Where a bookmark goes, in seconds of the session."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what makes sense now."""
        if action == "turn":
            return len(self.shown.summaries) > 1
        return super().check_action(action, parameters)

    def action_summary(self) -> None:
        """Show or hide the summary."""
        self.body.toggle_summary()

    def action_turn(self, step: int) -> None:
        """Show an older or newer summary."""
        self.body.turn_summary(step)

    def action_times(self) -> None:
        """Show or hide times, and remember it."""
        self.post_message(SettingChanged("times", self.body.toggle_times()))

    def action_widen(self, step: int) -> None:
        """Make the summary wider or narrower, and remember it."""
        self.body.widen_summary(step)
        self.post_message(SettingChanged("summary_width", self.body.summary_cells))

    def action_doubts(self) -> None:
        """Underline words of low confidence, and have later sessions tell them; remember it."""
        self.post_message(SettingChanged("doubts", shown := self.body.toggle_doubts()))
        if shown and not any(line.doubts for line in self.shown.lines):
            self.say("Sessions that start now tell which words are in doubt; older ones only which sentences.")

    def action_copy(self) -> None:
        """Copy the selected line, or all lines if none is selected."""
        lines, selected = self.shown.lines, self.body.transcript.selected
        if selected is not None and selected < len(lines):
            self.app.copy_to_clipboard(lines[selected].text)
            self.say("Copied the line.")
        elif lines:
            self.app.copy_to_clipboard("\n".join(line.text for line in lines))
            self.say(f"Copied {len(lines)} lines.")

    def action_rename(self) -> None:
        """Give the session a title."""
        self.ask_name(self.shown.session, self.shown.title)

    def action_mark(self) -> None:
        """Set a bookmark here."""
        self._mark(self.place_s)

    def action_note(self) -> None:
        """Set a bookmark with a note, at the time when the key was pressed."""
        from .ask import AskScreen

        at = self.place_s

        def written(text: str | None) -> None:
            if text is not None:
                self._mark(at, text)

        self.app.push_screen(AskScreen(f"Note at {clock(at)}", "a few words"), written)

    def _mark(self, at: float, text: str = "") -> None:
        if self.shown.session:
            self.ask_daemon(AddMark(session=self.shown.session, time=at, text=text), f"Marked at {clock(at)}.")
