"""The summary beside a transcript: the rolling one, the one that is being written, the final one.

In: a `SessionModel`. Out: text that scrolls.
"""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from ..glyphs import UNICODE, Glyphs
from ..model.layout import wrap
from ..model.session import SessionModel, SummaryText


class SummaryPane(VerticalScroll):
    """Draws the model's summary; call `refresh_model` when it changed."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "summary--title",
        "summary--head",
        "summary--text",
        "summary--faint",
        "summary--task",
    }

    def __init__(self, model: SessionModel, *, glyphs: Glyphs = UNICODE, id: str | None = None) -> None:
        super().__init__(id=id)
        self.model = model
        self._glyphs = glyphs

    def compose(self) -> ComposeResult:
        """One text."""
        yield Static(id="summary-text")

    def on_mount(self) -> None:
        """Draw what is there."""
        self.refresh_model()

    def show(self, model: SessionModel) -> None:
        """Draw another model."""
        self.model = model
        self.refresh_model()

    def refresh_model(self) -> None:
        """The summary changed."""
        if self.is_mounted:
            self.query_one("#summary-text", Static).update(self._text())

    def on_resize(self) -> None:
        """Items are wrapped to another width."""
        self.refresh_model()

    def notify_style_update(self) -> None:
        """The theme changed: its colours are in the text."""
        super().notify_style_update()
        self.call_later(self.refresh_model)

    @property
    def wanted(self) -> bool:
        """Whether there is something to show."""
        return self.model.summary is not None or bool(self.model.writing) or self.model.summing_up

    def _text(self) -> Text:
        model, style = self.model, self.get_component_rich_style
        if model.writing:
            text = Text("Writing the summary\n\n", style("summary--head"))
            text.append(model.writing, style("summary--text"))
            text.append(self._glyphs.caret, style("summary--title"))
            return text
        if model.summary is not None and (model.summary.final or not model.summing_up):
            return self._summary(model.summary)
        if model.summing_up:
            return Text(f"Writing the summary{self._glyphs.ellipsis}", style("summary--head"))
        if model.over:
            return Text("There is no summary.", style("summary--faint"))
        return Text("A summary of the talk so far appears here.", style("summary--faint"))

    def _summary(self, summary: SummaryText) -> Text:
        style, glyphs = self.get_component_rich_style, self._glyphs
        text = Text("Summary\n" if summary.final else "So far\n", style("summary--head"))
        if summary.title:
            text.append(f"\n{summary.title}\n", style("summary--title"))
        if summary.text:
            text.append(f"\n{summary.text}\n", style("summary--text"))
        for head, sign, items in (
            ("Key points", glyphs.bullet, summary.key_points),
            ("To do", glyphs.task, summary.action_items),
        ):
            if items:
                text.append(f"\n{head}\n", style("summary--head"))
                for item in items:
                    # What does not fit goes on below its own text, not below the sign.
                    rows = wrap(item, max(10, self.scrollable_content_region.width - 2))
                    text.append(f"{sign} ", style("summary--task"))
                    text.append("\n  ".join(rows) + "\n", style("summary--text"))
        if summary.keywords:
            text.append("\n" + f" {glyphs.dot} ".join(summary.keywords) + "\n", style("summary--faint"))
        if summary.source:
            text.append(f"\nby {summary.source}", style("summary--faint"))
        return text
