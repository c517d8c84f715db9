"""The vocabulary: words that are misheard, and what they should be.

In: the rules in the user's file. Out: `RuleChanged`; the app writes it into the file, whose comments stay.
"""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from convo.messages import Rule
from convo.text import width

from ..context import Context
from ..messages import RuleChanged
from ..themes import colour
from ..widgets.status import cut
from ..work.vocabulary import known_rules
from .ask import AskScreen
from .window import Window

_WRONG = 28  # cells


class VocabularyScreen(Window[None]):
    """Lists rules; Enter changes one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "add", "Add", tooltip="Add words that are misheard"),
        Binding("x,delete", "remove", "Remove", key_display="x", tooltip="Remove the rule"),
    ]

    def __init__(self, context: Context) -> None:
        super().__init__("Vocabulary", "a adds a rule, Enter changes one, x removes it.")
        self.context = context
        self._rules: list[Rule] = []

    def content(self) -> ComposeResult:
        """Yield the list."""
        yield OptionList(id="rules")

    def on_mount(self) -> None:
        """List the rules."""
        self.setup_changed()
        self.query_one(OptionList).focus()

    def setup_changed(self) -> None:
        """List the rules again."""
        options, faint = self.query_one(OptionList), colour(self.app, "faint")
        here, self._rules = options.highlighted or 0, known_rules(self.post_message)
        options.clear_options()
        for rule in self._rules:
            wrong = cut(rule.wrong, _WRONG, self.context.glyphs.ellipsis)
            right = rule.right or ("nothing", faint)
            gap = " " * (_WRONG + 2 - width(wrong))
            options.add_option(Option(Text.assemble(wrong, gap, right, no_wrap=True)))
        if not self._rules:
            options.add_option(
                Option(Text("No words yet: what is corrected twice is offered here.", faint), disabled=True)
            )
        options.highlighted = min(here, len(self._rules) - 1) if self._rules else None

    @property
    def here(self) -> Rule | None:
        """The highlighted rule."""
        at = self.query_one(OptionList).highlighted
        return self._rules[at] if at is not None and at < len(self._rules) else None

    @on(OptionList.OptionSelected)
    def _selected(self) -> None:
        if (rule := self.here) is not None:
            self._ask_right(rule.wrong, rule.right)

    def action_add(self) -> None:
        """Ask for misheard words, then for what they should be."""

        def asked(wrong: str | None) -> None:
            if wrong:
                self._ask_right(wrong, "")

        self.app.push_screen(AskScreen("Which words are misheard?", "as they are shown"), asked)

    def _ask_right(self, wrong: str, right: str) -> None:
        def asked(text: str | None) -> None:
            if text is not None:
                self.post_message(RuleChanged(wrong, text))

        question = f"What should {wrong!r} be?"
        self.app.push_screen(AskScreen(question, "nothing: the words are left out", value=right), asked)

    def action_remove(self) -> None:
        """Remove the rule."""
        if (rule := self.here) is not None:
            self.post_message(RuleChanged(rule.wrong, None))
