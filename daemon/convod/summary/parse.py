"""A model's answer to a summary, when it is whole. (`preview.py` reads it while it is written.)

In: text that should be one JSON object as `prompt.schema` has it and often is not quite (code fences, words around it,
trailing commas, a missing end, missing fields, other types). Out: a `Draft` whose every string is safe and within a
length; or `BadAnswer`, which says what was wrong. This module never lets a model choose sizes, and does not know which
segments there are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

import msgspec

from convo.messages import ActionItem, Section
from convod.summary.text import block, line

TITLE_CHARS: Final = 160
SUMMARY_CHARS: Final = 8000
ITEM_CHARS: Final = 600
NAME_CHARS: Final = 80
KEYWORD_CHARS: Final = 60
ITEMS: Final = 40
KEYWORDS: Final = 20
SECTION_CHARS: Final = 3000
SOURCES: Final = 20
"""Most segments that one item cites."""

Labels = Mapping[str, str]
"""What people see above each field of a summary, by its name, in order; empty for a summary that is one text."""
NO_LABELS: Final[Labels] = MappingProxyType({})

_ANSWER_CHARS: Final = 1_000_000
"""Longest answer that is looked at."""
_TRIES: Final = 8
"""How many opening braces may begin the answer before it counts as having none."""

_FIELDS: Final = ("title", "summary", "key_points", "action_items", "keywords")
_THOUGHTS: Final = re.compile(r"\A\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)
_THOUGHTS_END: Final = re.compile(r"</think(?:ing)?>")
"""Where a model's thoughts end, which its template may have begun for it: then the answer holds no beginning."""
_MARK_CHARS: Final = len("</thinking>")
_BULLET: Final = re.compile(r"^\s*(?:[-*•·–]|\d{1,2}[.)])\s+")
_CITED: Final = re.compile(r"\s*\[\s*(?:segments?\s*)?(\d{1,7}(?:\s*[,;–-]\s*\d{1,7})*)\s*\]")
"""Numbers of segments in a text, as the transcript in the prompt has them: they have a field of their own."""


class BadAnswer(Exception):
    """The answer holds no summary; the text says what it was instead."""


@dataclass(frozen=True)
class Draft:
    """What a model wrote, checked: all of a `Summary` but who wrote it and in which language.

    `key_point_sources` has an entry for each key point: the segments that it cites.
    """

    title: str
    summary: str
    key_points: list[str] = field(default_factory=list)
    action_items: list[ActionItem] = field(default_factory=list)
    keywords: list[str] = field(default_factory=list)
    key_point_sources: list[list[int]] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    @property
    def cited(self) -> set[int]:
        """Every segment that something in it cites."""
        cited = {source for sources in self.key_point_sources for source in sources}
        return cited.union(*(item.sources or () for item in self.action_items))

    def citing_only(self, segments: Collection[int]) -> Draft:
        """The same without citations of anything else: a model that makes a number up has cited nothing."""
        return replace(
            self,
            key_point_sources=[[at for at in sources if at in segments] for sources in self.key_point_sources],
            action_items=[
                msgspec.structs.replace(item, sources=[at for at in item.sources or () if at in segments])
                for item in self.action_items
            ],
        )


def parse_answer(answer: str, labels: Labels = NO_LABELS, *, closing: bool = False) -> Draft:
    """The summary in a whole answer; `closing` also takes one that ends too early, as far as it goes.

    `labels`: the fields that the summary should have.

    Raises:
        BadAnswer: there is no JSON object with a summary in it.
    """
    best: dict[str, Any] = {}
    for part in _parts(answer):
        for found in _objects(part, closing=closing):
            # Words before the answer may quote a piece of JSON; the object that has fields of ours is it.
            if sum(name in found for name in _FIELDS) > sum(name in best for name in _FIELDS):
                best = found
        if best:
            break
    if not best:
        raise BadAnswer("no JSON object of a summary")
    return _draft(best, labels)


def parse_sentences(answer: str, *, closing: bool = False) -> dict[str, list[int]]:
    """The sentences of an answer to a question (`prompt.answer_schema`), each with the passages that it cites.

    Raises:
        BadAnswer: there is no JSON object with an answer in it.
    """
    for part in _parts(answer):
        for found in _objects(part, closing=closing):
            if "answer" in found:
                return _points(found["answer"])
    raise BadAnswer("no JSON object of an answer")


class SentenceStream:
    """Finds the sentences of such an answer while it is written: each when its object is whole."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self._depth = 0
        self._begin = 0
        self._in_string = self._escaped = False

    def feed(self, piece: str) -> Iterator[tuple[str, list[int]]]:
        """The sentences that `piece` completes."""
        self._text += piece
        if self._text.lstrip().startswith("<think"):
            end = self._text.find("</think")
            self._at = max(self._at, len(self._text) if end < 0 else end)
        for at in range(self._at, len(self._text)):
            character = self._text[at]
            if self._in_string:
                self._in_string = self._escaped or character != '"'
                self._escaped = character == "\\" and not self._escaped
            elif character == '"':
                self._in_string = self._depth > 0
            elif character == "{":
                self._depth += 1
                if self._depth == 2:
                    self._begin = at
            elif character == "}" and self._depth:
                self._depth -= 1
                if self._depth == 1:
                    yield from _points([_read(self._text[self._begin : at + 1])]).items()
        self._at = len(self._text)


class ThoughtsEnd:
    """Finds the mark that ends a model's thoughts in an answer that comes in pieces."""

    def __init__(self) -> None:
        self._tail = ""

    def feed(self, piece: str) -> str | None:
        """What of `piece` stands behind the last such mark; None if none ends in it."""
        # What came before may hold the beginning of a mark.
        self._tail = self._tail[-_MARK_CHARS:] + piece
        _, *behind = _THOUGHTS_END.split(self._tail)
        if not behind:
            return None
        self._tail = ""
        return behind[-1]


def _parts(answer: str) -> tuple[str, str]:
    """Where to look for the answer, one after the other."""
    text = _THOUGHTS.sub("", answer[:_ANSWER_CHARS]).strip()
    if not text:
        raise BadAnswer("an empty answer")
    # An answer may speak of such a mark: what stands behind the last one counts only if it holds an answer.
    return _THOUGHTS_END.split(text)[-1], text


def _objects(text: str, *, closing: bool) -> Iterator[dict[str, Any]]:
    at = -1
    for _ in range(_TRIES):
        at = text.find("{", at + 1)
        if at < 0:
            return
        found = _read(text[at:]) or _read(_repaired(text[at:], closing=closing))
        if found:
            yield found
            if any(name in found for name in (*_FIELDS, "answer")):
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


def _draft(found: dict[str, Any], labels: Labels) -> Draft:
    points = _points(found.get("key_points"))
    said = found.get("summary")
    sections = _sections(said, labels) if isinstance(said, dict) else []
    summary = joined(sections) if sections else block(_uncited(_said(said, "\n")), SUMMARY_CHARS)
    if not summary:
        # A model that was asked for bullets may write nothing but points.
        summary = block("\n".join(points), SUMMARY_CHARS)
    if not summary:
        raise BadAnswer("an empty summary")
    begin = next((part.text for part in sections if part.text), summary)
    title = line(_uncited(_said(found.get("title"), " ")), TITLE_CHARS)
    return Draft(
        title=title or line(re.split(r"(?<=[.!?。！？])\s|\n", begin)[0], 80),
        summary=summary,
        key_points=list(points),
        key_point_sources=list(points.values()),
        action_items=_actions(found.get("action_items")),
        keywords=_keywords(found.get("keywords")),
        sections=sections,
    )


def joined(sections: list[Section]) -> str:
    """The summary that its sections make; one without text is left out."""
    return block("\n\n".join(f"{part.label}\n{part.text}" for part in sections if part.text), SUMMARY_CHARS)


def _sections(said: dict[str, Any], labels: Labels) -> list[Section]:
    """Every field that was asked for, in the order in which it was; none if none of them has a text."""
    sections = [
        Section(name=name, label=label, text=block(_uncited(_said(said.get(name), "\n")), SECTION_CHARS))
        for name, label in labels.items()
    ]
    return sections if any(part.text for part in sections) else []


def _points(value: Any) -> dict[str, list[int]]:
    """Texts in order, each once, with the segments that they cite."""
    items = value.splitlines() if isinstance(value, str) else value if isinstance(value, list) else []
    points: dict[str, list[int]] = {}
    for item in items:
        text, cited = _cited(item)
        if text and len(points) < ITEMS:
            points[text] = _numbers([points.get(text, []), cited])
    return points


def _cited(item: Any) -> tuple[str, list[int]]:
    """An item's text, and what it cites: in the field `sources`, or in brackets behind the text."""
    said = _said(item, " ")
    about = item if isinstance(item, dict) else {}
    sources = next((about[name] for name in ("sources", "source", "segments") if name in about), None)
    return line(_BULLET.sub("", _uncited(said)), ITEM_CHARS), _numbers([sources, _CITED.findall(said)])


def _uncited(text: str) -> str:
    return _CITED.sub("", text)


def _numbers(value: Any, depth: int = 3) -> list[int]:
    """All whole numbers in a value, in order, each once; a range counts as its ends."""
    found: list[int] = []
    if isinstance(value, list) and depth:
        found = [number for item in value[: 4 * SOURCES] for number in _numbers(item, depth - 1)]
    elif isinstance(value, str):
        found = [int(digits) for digits in re.findall(r"(?<!\d)\d{1,7}(?!\d)", value[:200])]
    elif isinstance(value, int) and not isinstance(value, bool):
        found = [value]
    return sorted({number for number in found if 0 <= number < 1 << 31})[:SOURCES]


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
        text, cited = _cited(item)
        if text:
            about = item if isinstance(item, dict) else {}
            owner, due = _name(about, "owner", "assignee", "who"), _name(about, "due", "deadline", "when")
            actions.append(ActionItem(text=text, owner=owner, due=due, sources=cited))
    return actions[:ITEMS]


def _name(about: dict[str, Any], *names: str) -> str | None:
    """An owner or a date; words that only say that there is none count as none."""
    for name in names:
        text = line(_said(about.get(name), ", "), NAME_CHARS)
        if text and text.lower() not in {"none", "null", "n/a", "na", "unknown", "unspecified", "-", "tbd"}:
            return text
    return None
