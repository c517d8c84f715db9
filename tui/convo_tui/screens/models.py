"""The speech models: those on the daemon's machine, and those that it can download.

In: the daemon's list, its progress. Out: `DownloadRequested`, or the setting of the model for the next session.
"""

from __future__ import annotations

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from convo.text import clean

from ..context import Context
from ..glyphs import Glyphs
from ..messages import DownloadRequested, SettingChanged
from ..model.speech_models import Choice, choices
from ..themes import colour
from ..widgets.status import progress_text
from ..work.setup import Download
from .window import Window


class ModelsScreen(Window[None]):
    """Lists models; Enter uses one, and downloads it before if need be."""

    def __init__(self, context: Context) -> None:
        super().__init__("Speech model", "Enter uses one, or downloads it first.  Esc goes back.")
        self.context = context
        self._choices: list[Choice] = []

    def content(self) -> ComposeResult:
        """Yield the list and the progress."""
        yield OptionList(id="models")
        yield Static(id="download")

    def on_mount(self) -> None:
        """List the models."""
        self.context.setup.refresh()
        self.setup_changed()
        self.query_one(OptionList).focus()

    def setup_changed(self) -> None:
        """Redraw the list, if it changed, and the progress."""
        setup = self.context.setup
        found = choices(setup.models)
        options, faint = self.query_one(OptionList), colour(self.app, "faint")
        if found != self._choices or not options.option_count:
            here = options.highlighted or 0
            self._choices = found
            options.clear_options()
            wide = max((len(choice.name) for choice in found), default=0) + 2
            own = f"{'Automatic'.ljust(wide)}", ("the daemon's choice", faint)
            options.add_option(Option(self._row("", *own)))
            for choice in found:
                sign = self.context.glyphs.done if choice.here else " "
                name = clean(choice.name)
                options.add_option(Option(self._row(choice.name, name.ljust(wide), (choice.about, faint), sign)))
            options.highlighted = min(here, len(found))
        self._show(setup.download, self.context.glyphs)

    def _row(self, name: str, shown: str, about: tuple[str, str], sign: str = " ") -> Text:
        mark = self.context.glyphs.cursor if name == self.context.settings.model else " "
        return Text.assemble((mark, colour(self.app, "accent")), sign, " ", shown, about, no_wrap=True)

    def _show(self, download: Download | None, glyphs: Glyphs) -> None:
        line = self.query_one("#download", Static)
        line.display = download is not None
        if download is not None:
            line.update(progress_text(self.app, download.model, download.done_bytes, download.total_bytes, glyphs))

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        choice = self._choices[event.option_index - 1] if event.option_index else None
        if choice is not None and not choice.here:
            self.post_message(DownloadRequested(choice.name))
            return
        self.post_message(SettingChanged("model", choice.name if choice is not None else ""))
        self.dismiss(None)
