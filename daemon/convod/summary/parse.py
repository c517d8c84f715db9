"""A model's answer to a summary: while it is written, and when it is whole.

In: text that should be one JSON object of `prompt.SCHEMA` and often is not quite (code fences, words around it,
trailing commas, a missing end, missing fields, other types). Out: the growing text of `summary`, and at the end
a `Draft` whose every string is safe and within a length; or `BadAnswer`, which says what was wrong. This module
never shows JSON to a reader and never lets a model choose sizes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from convo.messages import ActionItem

from .text import block, line, safe

TITLE_CHARS = 160
SUMMARY_CHARS = 8000
ITEM_CHARS = 600
NAME_CHARS = 80
KEYWORD_CHARS = 60
ITEMS = 40
KEYWORDS = 20

_ANSWER_CHARS = 1_000_000
"""Longest answer that is looked at."""
_TRIES = 8
"""How many opening braces may begin the answer before it counts as having none."""

_FIELDS = ("title", "summary", "key_points", "action_items", "keywords")
_THOUGHTS = re.compile(r"\A\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)
_BULLET = re.compile(r"^\s*(?:[-*•·–]|\d{1,2}[.)])\s+")
_Scan = Generator[str, str, str]
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "", "f": "", "n": "\n", "r": "", "t": " "}


class BadAnswer(Exception):
    """The answer holds no summary; the text says what it was instead."""


@dataclass(frozen=True)
class Draft:
    """What a model wrote, checked: all of a `Summary` but who wrote it and in which language."""

    title: str
    summary: str
    key_points: list[str] = field(default_factory=list)
    action_items: list[ActionItem] = field(default_factory=list)
    keywords: list[str] = field(default_factory=list)


# --- while it is written ----------------------------------------------------------------------------------


class SummaryText:
    """Finds the string of the top-level field `summary` in JSON that is still being written.

    `feed` takes the next piece of the answer and gives what it adds to the summary, decoded; never half an
    escape or half a surrogate pair. What stands before the object (thoughts, a fence, a greeting) is skipped. A
    closed `ended` says that the summary's last character has come.
    """

    def __init__(self) -> None:
        self._scan = self._characters()
        next(self._scan)
        self._length = 0
        self.ended = False

    def feed(self, piece: str) -> str:
        """The text that `piece` adds, "" for none; at most `SUMMARY_CHARS` characters over all calls."""
        added = safe("".join(filter(None, map(self._scan.send, piece))))
        added = added[: SUMMARY_CHARS - self._length]
        self._length += len(added)
        return added

    def _characters(self) -> _Scan:
        """One character in, the text it completes out. The nesting of the coroutines is that of JSON."""
        character = yield from self._preface()
        depth = 1
        key = ""
        expect_key = True
        while depth:
            if character == '"' and depth == 1 and expect_key:
                key = yield from self._string(show=False)
            elif character == '"':
                wanted = depth == 1 and key == "summary" and not self.ended
                yield from self._string(show=wanted)
                self.ended = self.ended or wanted
            elif character in "{[":
                depth += 1
            elif character in "}]":
                depth -= 1
            elif depth == 1 and character in ":,":
                expect_key = character == ","
            character = yield ""
        while True:
            yield ""

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


# --- when it is whole -------------------------------------------------------------------------------------


def parse_answer(answer: str, *, closing: bool = False) -> Draft:
    """The summary in a whole answer; `closing` also takes one that ends too early, as far as it goes.

    Raises:
        BadAnswer: there is no JSON object with a summary in it.
    """
    text = _THOUGHTS.sub("", answer[:_ANSWER_CHARS]).strip()
    if not text:
        raise BadAnswer("an empty answer")
    best: dict[str, Any] = {}
    for found in _objects(text, closing=closing):
        # Words before the answer may quote a piece of JSON; the object that has fields of ours is it.
        if sum(name in found for name in _FIELDS) > sum(name in best for name in _FIELDS):
            best = found
    if not best:
        raise BadAnswer("no JSON object of a summary")
    return _draft(best)


def _objects(text: str, *, closing: bool) -> Iterator[dict[str, Any]]:
    at = -1
    for _ in range(_TRIES):
        at = text.find("{", at + 1)
        if at < 0:
            return
        found = _read(text[at:]) or _read(_repaired(text[at:], closing=closing))
        if found:
            yield found
            if any(name in found for name in _FIELDS):
                return


def _read(text: str) -> dict[str, Any]:
    """The JSON object that `text` begins with; {} when there is none."""
    try:
        # Not strict: models write line ends into strings as they are.
        found = json.JSONDecoder(strict=False).raw_decode(text)[0]
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _repaired(text: str, *, closing: bool) -> str:
    """Up to the end of the object at the start: no trailing commas, and (if `closing`) its brackets closed."""
    kept: list[str] = []
    open_brackets: list[str] = []
    in_string = escaped = False
    for character in text:
        if in_string:
            kept.append(character)
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
            continue
        if character in "}]":
            while kept and (kept[-1].isspace() or kept[-1] == ","):
                kept.pop()
            if open_brackets and open_brackets.pop() != character:
                return ""
        elif character in "{[":
            open_brackets.append("}" if character == "{" else "]")
        in_string = character == '"'
        kept.append(character)
        if not open_brackets:
            return "".join(kept)
    if not closing:
        return ""
    return _closed("".join(kept), open_brackets, in_string=in_string, escaped=escaped)


def _closed(text: str, open_brackets: list[str], *, in_string: bool, escaped: bool) -> str:
    """JSON that was cut off, ended where the last whole value ends."""
    if in_string:
        text = re.sub(r"\\u[0-9a-fA-F]{0,3}\Z", "", text[:-1] if escaped else text) + '"'
    ends = "".join(reversed(open_brackets))
    for pattern in ("", r"[\s,]+\Z", r",?\s*\"[^\"]*\"\s*:?\s*[a-z0-9.+-]*\Z"):
        # Nothing more, then a comma, then a key without its value is in the way of the closing brackets.
        shorter = re.sub(pattern, "", text) if pattern else text
        try:
            json.loads(shorter + ends, strict=False)
        except (ValueError, RecursionError):
            continue
        return shorter + ends
    return ""


def _draft(found: dict[str, Any]) -> Draft:
    points = _texts(found.get("key_points"), ITEM_CHARS)
    summary = block(_said(found.get("summary"), "\n"), SUMMARY_CHARS)
    if not summary:
        # A model that was asked for bullets may write nothing but points.
        summary = block("\n".join(points), SUMMARY_CHARS)
    if not summary:
        raise BadAnswer("an empty summary")
    title = line(_said(found.get("title"), " "), TITLE_CHARS)
    return Draft(
        title=title or line(re.split(r"(?<=[.!?。！？])\s|\n", summary)[0], 80),
        summary=summary,
        key_points=points,
        action_items=_actions(found.get("action_items")),
        keywords=_keywords(found.get("keywords")),
    )


def _said(value: Any, between: str, depth: int = 3) -> str:
    """A value as text: models wrap a text in a list, or give a number where a text was asked for."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and depth:
        return between.join(filter(None, [_said(item, between, depth - 1) for item in value[:ITEMS]]))
    if isinstance(value, dict):
        names = ("text", "point", "task", "action", "description", "name", "title")
        return next((value[name] for name in names if isinstance(value.get(name), str)), "")
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _texts(value: Any, limit: int) -> list[str]:
    items = value.splitlines() if isinstance(value, str) else value if isinstance(value, list) else []
    texts = (line(_BULLET.sub("", _said(item, " ")), limit) for item in items)
    return list(dict.fromkeys(filter(None, texts)))[:ITEMS]


def _keywords(value: Any) -> list[str]:
    if isinstance(value, str):
        value = re.split("[,;\n、，]", value)
    return _texts(value, KEYWORD_CHARS)[:KEYWORDS]


def _actions(value: Any) -> list[ActionItem]:
    items = value.splitlines() if isinstance(value, str) else value if isinstance(value, list) else []
    actions = []
    for item in items:
        text = line(_BULLET.sub("", _said(item, " ")), ITEM_CHARS)
        if text:
            about = item if isinstance(item, dict) else {}
            owner = _name(about, "owner", "assignee", "who")
            actions.append(ActionItem(text=text, owner=owner, due=_name(about, "due", "deadline", "when")))
    return actions[:ITEMS]


def _name(about: dict[str, Any], *names: str) -> str | None:
    """An owner or a date; words that only say that there is none count as none."""
    for name in names:
        text = line(_said(about.get(name), ", "), NAME_CHARS)
        if text and text.lower() not in {"none", "null", "n/a", "na", "unknown", "unspecified", "-", "tbd"}:
            return text
    return None
