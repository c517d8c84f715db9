"""A session's body: transcript, summary beside or below it, a sign for new lines out of view, the meter.

In: a `SessionModel` and what changed in it. Out: cells. Live and past sessions look the same.
"""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import Static

from ..glyphs import UNICODE, Glyphs
from ..model.session import Change, SessionModel
from .status import Meter
from .summary import SummaryPane
from .transcript import TranscriptView

_SUMMARY = Change.SUMMARY | Change.STATE


WIDE = 100
"""Columns of a terminal from which on times are shown unless the user said otherwise."""

NARROWEST, WIDEST = 26, 80
"""Cells of the summary beside the transcript; half of the terminal is the most."""


class SessionBody(Widget):
    """Draws a session."""

    def __init__(
        self,
        model: SessionModel,
        *,
        glyphs: Glyphs = UNICODE,
        times: bool | None = None,
        doubts: bool = False,
        summary_cells: int = 38,
    ) -> None:
        """With `times` None, times are shown where the terminal is wide. `summary_cells`: beside the transcript."""
        super().__init__()
        self.model = model
        self._glyphs = glyphs
        self._times = times
        self._doubts = doubts
        self._summary_shown: bool | None = None  # None: if there is room and something to show
        self.summary_cells = summary_cells

    def compose(self) -> ComposeResult:
        """Lay out transcript and summary, with the meter below."""
        view = TranscriptView(self.model, glyphs=self._glyphs, id="transcript")
        view.set_reactive(TranscriptView.doubts, self._doubts)
        with Container(id="panes"):
            with Container(id="transcript-pane"):
                yield view
                yield Static("", id="behind")
            yield SummaryPane(self.model, glyphs=self._glyphs, id="summary")
        yield Meter(self._glyphs, id="meter")

    @property
    def transcript(self) -> TranscriptView:
        """The transcript."""
        return self.query_one("#transcript", TranscriptView)

    @property
    def summary(self) -> SummaryPane:
        """The summary."""
        return self.query_one("#summary", SummaryPane)

    @property
    def meter(self) -> Meter:
        """The meter."""
        return self.query_one("#meter", Meter)

    def on_mount(self) -> None:
        """Hide the sign until lines come out of view."""
        self.query_one("#behind").display = False
        self.place_panes()

    def on_resize(self) -> None:
        """Move the summary to where there is room."""
        self.place_panes()

    def show(self, model: SessionModel) -> None:
        """Show another session."""
        self.model = model
        self.transcript.show(model)
        self.summary.show(model)
        self.place_panes()

    def changed(self, change: Change) -> None:
        """Redraw what changed."""
        if change & (Change.TEXTS | Change.SPEAKERS):
            self.transcript.reread()
        elif change & (Change.LINES | Change.PARTIAL):
            self.transcript.refresh_model()
        elif change & Change.MARKS:
            self.transcript.refresh()
        if change & _SUMMARY:
            self.summary.refresh_model()
            self.place_panes()

    def toggle_summary(self) -> None:
        """Show or hide the summary."""
        self._summary_shown = not self.summary.display
        self.place_panes()

    def turn_summary(self, step: int) -> None:
        """Show an older (-1) or newer (1) summary."""
        if not self.summary.display:
            self.toggle_summary()
        self.summary.turn(step)

    def settle(self, times: bool | None, doubts: bool, summary_cells: int) -> None:
        """Take changed settings; the arguments are as for the constructor."""
        self._times, self.transcript.doubts, self.summary_cells = times, doubts, summary_cells
        self.place_panes()

    def toggle_times(self) -> bool:
        """Show or hide the time of each line. Returns whether they are shown now."""
        self._times = self.transcript.times = not self.transcript.times
        return self._times

    def toggle_doubts(self) -> bool:
        """Underline words of low confidence, or stop it. Returns whether they are underlined now."""
        self.transcript.doubts = not self.transcript.doubts
        return self.transcript.doubts

    def widen_summary(self, step: int) -> None:
        """Make the summary wider, or narrower; below the transcript, higher or lower."""
        if not self.summary.display:
            self.toggle_summary()
        self.summary_cells = max(NARROWEST, min(WIDEST, self.summary_cells + step))
        self.place_panes()

    def place_panes(self) -> None:
        """Put the summary beside the transcript if it is wide, else below; fold it away while there is none."""
        wide, tall = self.size.width >= 96, self.size.height >= 14
        shown = self._summary_shown
        if shown is None:
            shown = (wide or tall) and self.summary.wanted
        summary = self.summary
        summary.display = shown
        summary.brief = not wide and self.size.height < 30
        if wide:
            summary.styles.width, summary.styles.height = min(self.summary_cells, self.size.width // 2), "1fr"
        else:
            # 38 cells beside it are 45 % below it.
            summary.styles.width, summary.styles.height = "1fr", f"{max(20, min(80, self.summary_cells + 7))}%"
        self.transcript.times = self.app.size.width >= WIDE if self._times is None else self._times
        self.set_class(wide, "-beside")
        self.set_class(not wide, "-below")

    @on(TranscriptView.Behind)
    def _behind(self, message: TranscriptView.Behind) -> None:
        sign = self.query_one("#behind", Static)
        count = message.lines
        sign.display = count > 0 and not self.transcript.following
        lines = "1 new line" if count == 1 else f"{count} new lines"
        sign.update(f" {self._glyphs.down} {lines}  End ")

    def on_click(self, event: object) -> None:
        """Go to the end on a click on the sign."""
        widget = getattr(event, "widget", None)
        if isinstance(widget, Static) and widget.id == "behind":
            self.transcript.action_follow()
