"""The summary of a session: the rolling one, the one being written, the final ones with a page each.

In: a `SessionModel`. Out: scrollable text.
"""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.reactive import reactive
from textual.widgets import Static

from convo.text import clock, moment

from ..glyphs import UNICODE, Glyphs
from ..model.layout import wrap
from ..model.session import Item, SessionModel, SummaryText

_CITED = 3  # source times shown per point


class SummaryPane(VerticalScroll):
    """Draws the model's summary; call `refresh_model` after a change."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "summary--title",
        "summary--head",
        "summary--text",
        "summary--faint",
        "summary--task",
        "summary--key",
        "summary--warning",
    }

    brief: reactive[bool] = reactive(False)
    """Whether there is little room: key points and tasks come before prose."""

    def __init__(self, model: SessionModel, *, glyphs: Glyphs = UNICODE, id: str | None = None) -> None:
        super().__init__(id=id)
        self.model = model
        self._glyphs = glyphs
        self.hint = ""  # what to do if there is no summary
        self._page: int | None = None  # of the final summaries; None: the newest, or the one being written
        self._known = 0  # how many final summaries there were when the page was turned

    def compose(self) -> ComposeResult:
        """Yield the text."""
        yield Static(id="summary-text")

    def on_mount(self) -> None:
        """Draw the summary."""
        self.refresh_model()

    def show(self, model: SessionModel) -> None:
        """Show another model."""
        self.model = model
        self._page = None
        self.refresh_model()

    def refresh_model(self) -> None:
        """Redraw the summary."""
        if self.is_mounted:
            self.query_one("#summary-text", Static).update(self._text())

    def on_resize(self) -> None:
        """Wrap items to the new width."""
        self.refresh_model()

    def notify_style_update(self) -> None:
        """Redraw: the theme's colours are part of the text."""
        super().notify_style_update()
        self.call_later(self.refresh_model)

    def watch_brief(self) -> None:
        """Draw it in the other order."""
        self.refresh_model()

    @property
    def wanted(self) -> bool:
        """Whether there is a summary to show."""
        return self.model.summary is not None or bool(self.model.writing) or self.model.summing_up

    # --- pages --------------------------------------------------------------------------------------------

    @property
    def pages(self) -> int:
        """The number of final summaries; the newest is shown by default."""
        return len(self.model.summaries)

    def turn(self, step: int) -> None:
        """Turn to an older (-1) or newer (1) summary."""
        newest = self.pages - 1
        # The unfinished summary comes after the newest final one.
        here = self._page if self._page is not None else newest + 1 if self._unfinished else newest
        page = max(0, here + step)
        self._page = page if page < newest or (page == newest and self._unfinished) else None
        self._known = self.pages
        self.refresh_model()
        self.scroll_home(animate=False)

    @property
    def _unfinished(self) -> bool:
        """Whether there is an unfinished summary."""
        model = self.model
        return bool(model.writing) or (model.summary is not None and not model.summary.final)

    # --- text ---------------------------------------------------------------------------------------------

    def _text(self) -> Text:
        model, style = self.model, self.get_component_rich_style
        if self._page is not None and self._known != self.pages:
            self._page = None  # a new one came: show it
        if self._page is not None and self._page < self.pages:
            return self._summary(model.summaries[self._page], self._page)
        if model.writing:
            text = Text("Writing the summary\n\n", style("summary--head"))
            text.append(model.writing, style("summary--text"))
            text.append(self._glyphs.caret, style("summary--title"))
            return text
        if model.summary is not None and (model.summary.final or not model.summing_up):
            return self._summary(model.summary, self.pages - 1 if model.summary.final else self.pages)
        if model.summing_up:
            return Text(f"Writing the summary{self._glyphs.ellipsis}", style("summary--head"))
        if model.over:
            return Text(f"No summary.\n{self.hint}".rstrip(), style("summary--faint"))
        return Text("A summary of the talk so far will appear here.", style("summary--faint"))

    def _summary(self, summary: SummaryText, page: int) -> Text:
        style, glyphs = self.get_component_rich_style, self._glyphs
        text = Text("Summary" if summary.final else "So far", style("summary--head"))
        if self.pages > 1 and summary.final:
            text.append(f" {page + 1}/{self.pages}", style("summary--text"))
            for key, does in ((",", "older"),) * (page > 0) + ((".", "newer"),) * (page < self.pages - 1):
                text.append(f"   {key} ", style("summary--key"))
                text.append(does, style("summary--faint"))
        text.append("" if self.brief and summary.title else "\n")
        if summary.title:
            text.append(f"   {summary.title}\n" if self.brief else f"\n{summary.title}\n", style("summary--title"))
        if self.brief:
            self._items(text, summary)
        if summary.sections:
            for label, said in summary.sections:
                text.append(f"\n{label}\n", style("summary--head"))
                text.append(f"{said}\n", style("summary--text"))
        elif summary.text:
            text.append(f"\n{summary.text}\n", style("summary--text"))
        if not self.brief:
            self._items(text, summary)
        if summary.unverified:
            text.append(f"\nNot in the transcript: {', '.join(summary.unverified)}\n", style("summary--warning"))
        if summary.keywords:
            text.append("\n" + f" {glyphs.dot} ".join(summary.keywords) + "\n", style("summary--faint"))
        made = [summary.style] if summary.style else []
        made += [moment(summary.created)] if summary.created is not None else []
        by = [f"by {summary.source}"] if summary.source else []
        by += [f" {glyphs.dot} ".join(made)] if made else []
        text.append("".join(f"\n{line}" for line in by), style("summary--faint"))
        return text

    def _items(self, text: Text, summary: SummaryText) -> None:
        """Add the key points and the tasks."""
        for head, sign, items in (
            ("Key points", self._glyphs.bullet, summary.key_points),
            ("To do", self._glyphs.task, summary.action_items),
        ):
            if items:
                text.append(f"\n{head}\n", self.get_component_rich_style("summary--head"))
                for item in items:
                    self._item(text, sign, item)

    def _item(self, text: Text, sign: str, item: Item) -> None:
        """Add a point with the times of its sources, wrapped with a hanging indent."""
        style = self.get_component_rich_style
        times = self._cited(item)
        rows = wrap(f"{item.text}  {times}" if times else item.text, max(10, self.scrollable_content_region.width - 2))
        text.append(f"{sign} ", style("summary--task"))
        text.append("\n  ".join(rows), style("summary--text"))
        # The times are at the end, perhaps on two rows: count their characters backwards, without white space.
        left, at = sum(not char.isspace() for char in times), len(text.plain)
        while left:
            at -= 1
            left -= not text.plain[at].isspace()
        text.stylize(style("summary--faint"), at)
        text.append("\n")

    def _cited(self, item: Item) -> str:
        if item.sources is None:
            return ""
        if not item.sources:
            return "no source"
        found = [at for number in item.sources[:_CITED] if (at := self.model.said_at(number)) is not None]
        return " ".join(dict.fromkeys(map(clock, sorted(found))))
