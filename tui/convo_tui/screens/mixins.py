"""Keys shared by several screens: those of the live session, and those of a transcript with its summary.

In: keys. Out: messages about what the user wants.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.widgets import Input

import convo
from convo.messages import AddMark, CorrectSegment, SetSpeaker
from convo.text import clock
from convo.transcript import place_of

from ..context import Context
from ..messages import MuteRequested, PauseRequested, RuleChanged, SettingChanged, StartRequested, StopRequested
from ..model.session import SessionModel
from ..model.speakers import spoke
from ..model.times import time_of
from ..widgets.body import SessionBody
from ..widgets.transcript import TranscriptView
from ..work.start import start
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

    FINDING: ClassVar[list[BindingType]] = [
        Binding("slash", "find", "Find", key_display="/", tooltip="Find a text in this talk"),
        Binding("n", "next", "Next match", tooltip="Go to the next match", show=False),
        Binding("N", "before", "Previous match", tooltip="Go to the previous match", show=False),
        Binding("colon", "jump", "Go to", key_display=":", tooltip="Go to a time of the talk", show=False),
    ]
    READING: ClassVar[list[BindingType]] = [
        Binding("v", "summary", "Summary", tooltip="Show or hide the summary", show=False),
        Binding("comma", "turn(-1)", "Older summary", key_display=",", tooltip="Show the previous summary", show=False),
        Binding("full_stop", "turn(1)", "Newer summary", key_display=".", tooltip="Show the next summary", show=False),
        Binding("left_square_bracket", "widen(-6)", "Narrower", tooltip="Make the summary narrower", show=False),
        Binding("right_square_bracket", "widen(6)", "Wider", tooltip="Make the summary wider", show=False),
        Binding("t", "times", "Times", tooltip="Show or hide when each line was said", show=False),
        Binding("e", "correct", "Correct", tooltip="Correct the selected line; what was heard is kept", show=False),
        Binding("p", "speakers", "Speakers", tooltip="Rename or merge speakers, remember a voice", show=False),
        Binding("P", "whose", "Whose", tooltip="Say who says the selected sentences", show=False),
        Binding("w", "doubts", "Doubts", tooltip="Underline words that the model was not sure of", show=False),
    ]

    found = ""
    """Which match is shown, of how many."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._declined: set[str] = set()  # words that are to become no rule

    def make_find(self) -> Input:
        """The input line of a search."""
        find = Input(placeholder="Find in this talk; then n and N go from match to match", id="find")
        find.display = False
        return find

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

    def setup_changed(self) -> None:
        """Take changed settings."""
        settings = self.context.settings
        self.body.settle(settings.times, settings.doubts, settings.summary_width)

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
        if action in ("next", "before"):
            return bool(self.body.transcript.needle) if self.is_mounted else False
        if action in ("find", "jump", "export"):
            return bool(self.shown.session)
        if action == "speakers":
            return bool(self.shown.speakers)
        if action in ("correct", "whose"):
            return bool(self.shown.lines)
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
        """Copy what is selected with the mouse, else the selected sentences, else all."""
        view, lines = self.body.transcript, self.shown.lines
        if text := self.get_selected_text():
            self.app.copy_to_clipboard(text)
            self.say("Copied the selected text.")
        elif lines:
            first, last = view.passage or (0, len(lines) - 1)
            self.app.copy_to_clipboard(view.text_of(first, last))
            count = sum(bool(line.text) for line in lines[first : last + 1])
            self.say("Copied one sentence." if count == 1 else f"Copied {count} sentences.")

    def action_export(self) -> None:
        """Export the session as it is now."""
        from .export import ask_export

        ask_export(self, self.shown.session, self.shown.name)

    # --- going to a place -----------------------------------------------------------------------------------

    def action_find(self) -> None:
        """Open the search line."""
        find = self.query_one("#find", Input)
        find.display = True
        find.focus()

    def leave_find(self) -> bool:
        """End the search. Returns whether there was one."""
        find = self.query_one("#find", Input)
        if not find.display and not self.body.transcript.needle:
            return False
        find.value = ""
        find.display = False
        self._look_for("", 1)
        self.body.transcript.focus()
        return True

    @on(Input.Changed, "#find")
    def _finding(self, event: Input.Changed) -> None:
        if event.value.strip():  # the first match, from the beginning
            self.body.transcript.selected = None
        self._look_for(event.value.strip(), 1)

    @on(Input.Submitted, "#find")
    def _submitted(self, event: Input.Submitted) -> None:
        event.input.display = bool(event.value.strip())
        self.body.transcript.focus()
        self.refresh_bindings()

    def _look_for(self, needle: str, step: int) -> None:
        place, count = self.body.transcript.find(needle, step)
        self.found = (f"match {place} of {count}" if count else "no match") if needle else ""
        self._draw()

    def action_next(self) -> None:
        """Go to the next match."""
        self._look_for(self.body.transcript.needle, 1)

    def action_before(self) -> None:
        """Go to the previous match."""
        self._look_for(self.body.transcript.needle, -1)

    def action_jump(self) -> None:
        """Ask for a time, and go there."""
        from .ask import AskScreen

        view, lines = self.body.transcript, self.shown.lines
        here = lines[view.selected].start if view.passage is not None and view.selected is not None else self.place_s

        def typed(text: str | None) -> None:
            if not text:
                return
            at = time_of(text, here)
            if at is None:
                self.show_error(f"{text} is no time: type 1:30, 1:02:03, 90, +30 or -30.")
            elif lines:
                view.go_to(place_of(at, lines), top=True)

        self.app.push_screen(AskScreen("Go to a time", "1:30, 1:02:03, or +30 and -30 seconds from here"), typed)

    # --- speakers -------------------------------------------------------------------------------------------

    def action_speakers(self) -> None:
        """List the speakers, to rename or merge them."""
        from .speakers import SpeakersScreen

        self.app.push_screen(SpeakersScreen(self.shown, self.context.glyphs))

    @on(TranscriptView.NameWanted)
    def _name_wanted(self, message: TranscriptView.NameWanted) -> None:
        from .speakers import ask_speaker_name

        ask_speaker_name(self, self.shown, message.speaker)

    def action_whose(self) -> None:
        """Ask who says the selected sentences."""
        from .ask import ChooseScreen

        passage, model = self.body.transcript.passage, self.shown
        if passage is None:
            self.say("Select what somebody says with j and k first.")
            return
        segments = [line.number for line in model.lines[passage[0] : passage[1] + 1] if line.text]

        def chosen(speaker: str | None) -> None:
            if speaker is not None:
                wanted = int(speaker) if speaker else None
                start(self, partial(self._assign, model.session, segments, wanted), group="assign")

        known = [(str(said.speaker), model.speakers[said.speaker], "") for said in spoke(model.speakers, model.lines)]
        self.app.push_screen(ChooseScreen("Who says this?", [*known, ("", "Somebody new", "")]), chosen)

    async def _assign(self, session: str, segments: list[int], speaker: int | None) -> None:
        """Say that a speaker says some segments; if it is None, somebody new."""
        try:
            for segment in segments:
                request = SetSpeaker(session=session, segment=segment, speaker=speaker)
                speaker = (await self.context.daemon.link.request(request)).speaker
        except convo.ConvoError as error:
            self.show_error(str(error))

    # --- corrections ----------------------------------------------------------------------------------------

    def action_correct(self) -> None:
        """Ask what the selected line should read; without words it is hidden."""
        from .ask import AskScreen

        at, model = self.body.transcript.selected, self.shown
        if at is None or at >= len(model.lines):
            self.say("Select the line to correct with j and k first.")
            return
        line = model.lines[at]

        def written(text: str | None) -> None:
            if text is not None and text != line.text:
                done = "" if text else f"The line is hidden; `convo edit {model.session[:8]}` shows it again."
                request = CorrectSegment(session=model.session, segment=line.number, text=text)
                self.ask_daemon(request, done, then=partial(self._offer_rule, model, line.number, text))

        question = f"Correct the line at {clock(line.start)}"
        self.app.push_screen(AskScreen(question, "nothing: the line is hidden", value=line.text), written)

    def _offer_rule(self, model: SessionModel, segment: int, text: str) -> None:
        """Offer to correct later sessions so, too, if the same words were corrected so before."""
        from ..work.vocabulary import known_rules, offered
        from .ask import ChooseScreen

        found = offered(model.lines, segment, text, known_rules(self.post_message), self._declined)
        if found is None or not self.is_current:
            return
        wrong, right, times = found

        def chosen(answer: str | None) -> None:
            if answer == "yes":
                self.post_message(RuleChanged(wrong, right))
            else:
                self._declined.add(wrong)

        answers = [("yes", "Yes", "add it to the vocabulary"), ("no", "No", "")]
        often = "twice" if times == 2 else f"{times} times"
        question = f"{wrong!r} became {right!r} {often}. Have it so in later sessions?"
        self.app.push_screen(ChooseScreen(question, answers), chosen)

    # --- titles and bookmarks -------------------------------------------------------------------------------

    @on(TranscriptView.MarkWanted)
    def _mark_wanted(self, message: TranscriptView.MarkWanted) -> None:
        """The margin was clicked: a sentence gets one bookmark in this way, however often that happens."""
        if not self.shown.marked(message.line):
            self._mark(self.shown.lines[message.line].end)

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
