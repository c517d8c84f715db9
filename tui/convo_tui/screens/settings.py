"""The settings of `tui.toml`, to look at and to change.

In: the settings. Out: `SettingChanged`; the app writes it into the file, whose comments stay.
"""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from convo.address import parse
from convo.text import clean

from ..context import Context
from ..messages import Notice, SettingChanged
from ..settings import kind_of, settings_path
from ..themes import colour
from ..widgets.body import NARROWEST, WIDEST
from ..widgets.status import cut
from ..work.vocabulary import known_rules
from .ask import AskScreen, ChooseScreen
from .vocabulary import VocabularyScreen
from .voices import VoicesScreen
from .window import Window

_ROWS = {
    "device": "microphone",
    "model": "speech model",
    "languages": "that may be spoken, such as de,ko,en",
    "speakers": "tell who speaks, by their voices",
    "voices": "those that are remembered",
    "vocabulary": "words that are misheard",
    "keep_audio": "keep the sound, to play it back",
    "summary": "sessions get a summary",
    "rolling": "live ones while they run, too",
    "theme": "colours",
    "times": "when each paragraph was said",
    "doubts": "underline words of low confidence",
    "summary_width": "cells of the summary's pane",
    "captions": "start with large captions",
    "ascii": "draw with ASCII only (next start)",
    "connect": "the daemon's address (next start)",
}
_EMPTY = {
    "device": "system's default",
    "model": "daemon's choice",
    "languages": "any, detected",
    "connect": "usual place",
}
_SPEAKERS = [
    ("off", "off", "nobody is named"),
    ("auto", "auto", "as many as there are voices"),
    *[(f"{count}", f"{count}", f"{count} voices") for count in range(2, 7)],
]
_TIMES = [("auto", "auto", "from 100 columns on"), ("yes", "yes", "always"), ("no", "no", "never")]


class SettingsScreen(Window[None]):
    """Lists settings; Enter changes one."""

    def __init__(self, context: Context) -> None:
        super().__init__("Settings", f"Enter changes one.  {clean(str(settings_path()))}")
        self.context = context

    def content(self) -> ComposeResult:
        """Yield the list."""
        yield OptionList(id="settings")

    def on_mount(self) -> None:
        """List the settings."""
        self.setup_changed()
        self.query_one(OptionList).focus()

    def setup_changed(self) -> None:
        """Redraw: a setting changed."""
        options = self.query_one(OptionList)
        here = options.highlighted or 0
        options.clear_options()
        options.add_options([Option(self._row(name, about), id=name) for name, about in _ROWS.items()])
        options.highlighted = here

    def _row(self, name: str, about: str) -> Text:
        value = getattr(self.context.settings, name, None)
        if name == "vocabulary":  # a file of its own
            count = len(known_rules(lambda notice: None))  # told where they are wanted
            value = "empty" if not count else "1 rule" if count == 1 else f"{count} rules"
        if name == "languages":
            value = ",".join(self.context.settings.spoken)
        if name == "voices":  # the daemon's
            value = "list"
        said = "auto" if value is None else ("yes" if value else "no") if isinstance(value, bool) else str(value)
        shown = cut(clean(said) or _EMPTY[name], 16, self.context.glyphs.ellipsis)
        accent, faint = colour(self.app, "accent"), colour(self.app, "faint")
        return Text.assemble(name.ljust(15), (shown.ljust(18), accent), (about, faint), no_wrap=True)

    @on(OptionList.OptionSelected)
    async def _selected(self, event: OptionList.OptionSelected) -> None:
        name = str(event.option.id)
        value = getattr(self.context.settings, name, None)
        match name:
            case "device" | "model" | "languages":
                await self.run_action(f"app.{name.removesuffix('s')}s")
            case "theme":
                names = sorted(self.app.available_themes)
                self.app.push_screen(ChooseScreen("Theme", [(each, each, "") for each in names]), self._choose_theme)
            case "voices":
                self.app.push_screen(VoicesScreen(self.context))
            case "vocabulary":
                self.app.push_screen(VocabularyScreen(self.context))
            case "speakers":
                self.app.push_screen(ChooseScreen("Speakers", _SPEAKERS), self._choose_speakers)
            case "times":
                self.app.push_screen(ChooseScreen("Times", _TIMES), self._choose_times)
            case _ if kind_of(name) is bool:
                self._change(name, not value)
            case _:
                ask = AskScreen(f"{name}: {_ROWS[name]}", _EMPTY.get(name, ""), value=str(value))
                self.app.push_screen(ask, lambda text: self._typed(name, text))

    def _change(self, name: str, value: str | bool | int | None) -> None:
        self.post_message(SettingChanged(name, value))

    def _choose_theme(self, theme: str | None) -> None:
        if theme is not None:
            self.app.theme = theme  # the app remembers it

    def _choose_speakers(self, speakers: str | None) -> None:
        if speakers is not None:
            self._change("speakers", speakers)

    def _choose_times(self, choice: str | None) -> None:
        if choice is not None:
            self._change("times", {"yes": True, "no": False}.get(choice))

    def _typed(self, name: str, text: str | None) -> None:
        if text is None:
            return
        try:
            self._change(name, _READ.get(name, str)(text))
        except ValueError as error:
            self.post_message(Notice(str(error), "error"))


def _address(text: str) -> str:
    if text:
        parse(text)
    return text


def _width(text: str) -> int:
    if not text.isdecimal() or not NARROWEST <= int(text) <= WIDEST:
        raise ValueError(f"{text} is not a width: give a number from {NARROWEST} to {WIDEST}.")
    return int(text)


_READ: dict[str, Callable[[str], str | int]] = {"connect": _address, "summary_width": _width}
