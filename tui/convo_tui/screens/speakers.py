"""Who speaks in a session: rename them, remember a voice, say that two are one.

In: the session's model. Out: `DaemonRequest`s; the daemon's events come back and change the list.
"""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from convo.messages import MergeSpeakers, RenameSpeaker
from convo.text import clock, width

from ..glyphs import Glyphs
from ..messages import DaemonRequest, Notice
from ..model.session import Change, SessionModel
from ..model.speakers import Spoke, colour_of, is_unnamed, spoke
from ..themes import colour
from ..widgets.status import cut
from .ask import AskScreen, ChooseScreen
from .base import ConvoScreen
from .window import Window

_NAME = 16  # cells
_WIDE = 78  # cells of the window, as app.tcss has it
_LEAST = 10  # cells of an example


class SpeakersScreen(Window[None]):
    """Lists the speakers of a session, with what they said."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "merge", "Merge", tooltip="Say that this speaker is another one"),
        Binding("v", "remember", "Voice", tooltip="Remember this voice under its name"),
    ]

    def __init__(self, model: SessionModel, glyphs: Glyphs) -> None:
        super().__init__("Speakers", "Enter renames, v remembers the voice, m merges two into one.")
        self.model = model
        self._glyphs = glyphs
        self._spoke: list[Spoke] = []

    def content(self) -> ComposeResult:
        """Yield the list."""
        yield OptionList(id="speakers")

    def on_mount(self) -> None:
        """List the speakers."""
        self.session_changed(self.model, Change.SPEAKERS)
        self.query_one(OptionList).focus()

    def session_changed(self, model: SessionModel, change: Change) -> None:
        """Redraw the list if it may be different."""
        if model is not self.model or not change & (Change.SPEAKERS | Change.TEXTS | Change.LINES):
            return
        self._spoke = spoke(model.speakers, model.lines)
        options = self.query_one(OptionList)
        here = options.highlighted or 0
        options.clear_options()
        options.add_options([Option(self._row(said)) for said in self._spoke])
        options.highlighted = min(here, len(self._spoke) - 1) if self._spoke else None

    def _row(self, said: Spoke) -> Text:
        name = cut(self.model.speakers[said.speaker], _NAME, self._glyphs.ellipsis)
        tone, faint = (
            colour(self.app, f"speaker-{colour_of(self.model.speakers, said.speaker)}"),
            colour(self.app, "faint"),
        )
        lines = f"{said.lines:>4} {'line ' if said.lines == 1 else 'lines'}  "
        text = Text.assemble((name + " " * (_NAME + 2 - width(name)), tone), (f"{clock(said.seconds):>7}  ", faint))
        room = min(_WIDE, self.app.size.width) - 8 - text.cell_len
        if room >= len(lines):
            text.append(lines, faint)
            room -= len(lines)
        return text.append(cut(said.longest, room, self._glyphs.ellipsis) if room >= _LEAST else "")

    @property
    def here(self) -> int | None:
        """The highlighted speaker."""
        at = self.query_one(OptionList).highlighted
        return self._spoke[at].speaker if at is not None and at < len(self._spoke) else None

    @on(OptionList.OptionSelected)
    def _selected(self) -> None:
        if (speaker := self.here) is not None:
            ask_speaker_name(self, self.model, speaker)

    def action_remember(self) -> None:
        """Remember the voice under its name, which it may need first."""
        if (speaker := self.here) is not None:
            ask_speaker_name(self, self.model, speaker, remember=True)

    def action_merge(self) -> None:
        """Ask who this speaker is, too."""
        speaker, speakers = self.here, self.model.speakers
        others = [said.speaker for said in self._spoke if said.speaker != speaker]
        if speaker is None or not others:
            self.post_message(Notice("There is nobody to merge with: only one speaker was told apart."))
            return

        def chosen(into: str | None) -> None:
            if into is not None:
                done = f"{speakers[speaker]} is {speakers[int(into)]} now."
                request = MergeSpeakers(session=self.model.session, speaker=speaker, into=int(into))
                self.post_message(DaemonRequest(request, done))

        choices = [(str(other), speakers[other], "") for other in others]
        self.app.push_screen(ChooseScreen(f"{speakers[speaker]} is really", choices), chosen)


def ask_speaker_name(
    screen: Window[None] | ConvoScreen, model: SessionModel, speaker: int, *, remember: bool = False
) -> None:
    """Ask for a speaker's name; with `remember`, later sessions know the voice by it."""
    name = model.speakers.get(speaker, "")

    def named(text: str | None) -> None:
        if text is None or (remember and not text):
            return
        request = RenameSpeaker(session=model.session, speaker=speaker, name=text, remember=remember)
        screen.post_message(DaemonRequest(request, f"The voice of {text} is remembered." if remember else ""))

    question = "Remember this voice as" if remember else f"Who is {name}?"
    value = "" if is_unnamed(speaker, name) else name
    screen.app.push_screen(AskScreen(question, "name" if remember else "nothing: the number again", value=value), named)
