"""The summary in a model's answer while it is still being written.

In: the answer in pieces, cut anywhere. Out: what each adds to the text of the field `summary`. This module never shows
JSON to a reader and never judges an answer: that is done when it is whole.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Final

from convod.summary.parse import NO_LABELS, SUMMARY_CHARS, Labels
from convod.summary.text import safe

_Scan = Generator[str, str, str]
_ESCAPES: Final = {'"': '"', "\\": "\\", "/": "/", "b": "", "f": "", "n": "\n", "r": "", "t": " "}


class SummaryText:
    """Finds the top-level field `summary` in JSON that is still being written: a string, or an object of strings.

    `feed` takes the next piece of the answer and gives what it adds to the summary, decoded; never half an
    escape or half a surrogate pair. What stands before the object (thoughts, a fence, a greeting) is skipped. Of an
    object the fields in `labels` are given, each below its label. `ended`: the summary's last character has come.
    """

    def __init__(self, labels: Labels = NO_LABELS) -> None:
        self._labels = labels
        self._before = ""  # goes before the next character that is shown
        self._scan = self._characters()
        next(self._scan)
        self._length = 0
        self.ended = False

    def feed(self, piece: str) -> str:
        """The text that `piece` adds, "" for none; at most `SUMMARY_CHARS` characters over all calls."""
        added = safe("".join(filter(None, map(self._next, piece))))
        added = added[: SUMMARY_CHARS - self._length]
        self._length += len(added)
        return added

    def _next(self, character: str) -> str:
        text = self._scan.send(character)
        if text and self._before:
            text, self._before = self._before + text, ""
        return text

    def _characters(self) -> _Scan:
        """One character in, the text it completes out. The nesting of the coroutines is that of JSON."""
        character = yield from self._preface()
        depth = 1
        key = ""
        expect_key = True
        while depth:
            here = depth == 1 and key == "summary" and not self.ended
            if character == '"' and depth == 1 and expect_key:
                key = yield from self._string(show=False)
            elif character == '"':
                yield from self._string(show=here)
                self.ended = self.ended or here
            elif character == "{" and here and self._labels:
                yield from self._fields()
                self.ended = True
            elif character in "{[":
                depth += 1
            elif character in "}]":
                depth -= 1
            elif depth == 1 and character in ":,":
                expect_key = character == ","
            character = yield ""
        while True:
            yield ""

    def _fields(self) -> _Scan:
        """The object that is the summary, up to its closing brace."""
        depth = 1
        shown = False
        expect_key = True
        label = ""
        while True:
            character = yield ""
            if character == '"' and depth == 1 and expect_key:
                label = self._labels.get((yield from self._string(show=False)), "")
                self._before = ("\n\n" if shown else "") + f"{label}\n"
            elif character == '"':
                yield from self._string(show=bool(label))
                shown = shown or not self._before  # which goes with the first character that is shown
                self._before = self._before or "\n"
            elif character in "{[":
                depth += 1
            elif character in "}]":
                depth -= 1
                if not depth:
                    self._before = ""
                    return ""
            elif depth == 1 and character in ":,":
                expect_key = character == ","

    def _preface(self) -> _Scan:
        """Up to the character after the object's opening brace."""
        head = tail = ""
        thinks = False
        character = yield ""
        while character != "{" or thinks:
            if len(head) < len("<think"):
                head = (head + character).lstrip()
                thinks = head == "<think"
            elif thinks:
                tail = (tail + character)[-len("</think") :]
                thinks = tail != "</think"
            character = yield ""
        return (yield "")

    def _string(self, *, show: bool) -> _Scan:
        """Up to the closing quote; gives the whole string, and its characters one by one if `show`."""
        whole = ""
        ready = ""
        high = ""
        while (character := (yield ready if show else "")) != '"':
            ready = character
            if character == "\\":
                escape = yield ""
                ready = _ESCAPES.get(escape, escape)
                if escape == "u":
                    digits = ""
                    for _ in range(4):
                        digits += yield ""
                    ready = chr(int(digits, 16)) if re.fullmatch("[0-9a-fA-F]{4}", digits) else ""
            if high and "\udc00" <= ready <= "\udfff":
                ready = (high + ready).encode("utf-16", "surrogatepass").decode("utf-16")
            high = ready if "\ud800" <= ready <= "\udbff" else ""
            if high:
                ready = ""
            if len(whole) < 64:
                whole += ready
        return whole
