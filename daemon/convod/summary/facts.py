"""Find names and numbers in a summary that the transcript does not contain, for a person to check.

In: the words of the talk, and a draft. Out: the names and numbers of the draft that were not said, as they stand there.
It changes nothing, and does not judge the truth: a name that was said may still be the wrong one.

Names are told by capital letters in scripts that have them (not at the beginning of a sentence, where everything has
one, and not in German, where every noun has), in Korean and Chinese by the titles behind them, and everywhere by
standing as the owner of an action. Numbers are compared by value. A name that only changed its script (김민수, "Kim
Min-su") cannot be told from another one, so names are compared only where talk and summary share a script.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

from convod.summary.numbers import numbers
from convod.summary.parse import Draft
from convod.summary.stopwords import FUNCTION_WORDS, WEEKDAYS
from convod.summary.text import line

FLAGS: Final = 20
"""Most names and numbers that are reported."""

_WORD: Final = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_CAPITALISED: Final = re.compile(r"(?<![\w'’-])[^\W\d_a-zß-öø-ÿ][^\W\d_]*(?:['’-][^\W\d_]+)*")
_STARTS: Final = re.compile(r"(?:^|(?<=[.!?…:;。])\s+|\n)[\s\"'“”‘’()\[\]*•–-]*(?:\d+[.)]\s*)?", re.MULTILINE)
_LISTED: Final = re.compile(r"^\s*\d{1,2}[.)]\s", re.MULTILINE)
"""The number of an item in a list, which was not said."""
_KOREAN_NAME: Final = re.compile(
    r"(?<![가-힣])([가-힣]{2,4}?)\s?(?:씨|님|대리|과장|차장|부장|팀장|실장|본부장|대표|이사|선생|교수|박사|원장|간호사)"
)
_CHINESE_NAME: Final = re.compile("([\u4e00-\u9fff])(?:先生|女士|经理|經理|老师|老師|医生|醫生|教授|总监|总裁)")
_SCRIPTS: Final = re.compile(
    "(?P<latin>[A-Za-zÀ-ɏ])|(?P<hangul>[가-힣])|(?P<han>[\u4e00-\u9fff])|(?P<kana>[\u3040-\u30ff])|"
    "(?P<other>[^\\W\\d_])"
)
_MONTHS: Final = {
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
}
_NO_NAMES: Final = FUNCTION_WORDS | WEEKDAYS | _MONTHS | {"decision", "open", "action", "ok"}


class Facts:
    """The words and numbers of a talk; grows with it."""

    def __init__(self) -> None:
        self._words: set[str] = set()
        self._numbers: set[float] = set()
        # Names hide in longer words: two and three syllables of Hangul in a row, and each Chinese character.
        self._runs: set[str] = set()
        self._scripts: dict[str, int] = {}

    def add(self, texts: Iterable[str]) -> None:
        """Add more of the talk."""
        for text in texts:
            text = unicodedata.normalize("NFKC", text)
            self._numbers.update(value for value, _ in numbers(text))
            for found in _WORD.finditer(text):
                word = found[0].casefold()
                self._words.update((word, _stem(word), *re.split("['’-]", word)))
            self._runs.update(re.findall("[\u4e00-\u9fff]", text))
            for run in re.findall("[가-힣]{2,}", text):
                self._runs.update(run[at : at + size] for size in (2, 3) for at in range(len(run) - size + 1))
            for found in _SCRIPTS.finditer(text[:2000]):
                script = found.lastgroup or ""
                self._scripts[script] = self._scripts.get(script, 0) + 1

    def missing(self, draft: Draft, language: str) -> list[str]:
        """Return names and numbers of the draft that were not said, in its order; at most `FLAGS`."""
        found: dict[str, None] = {}
        # In a title every word may have a capital.
        found.update(dict.fromkeys(self._unsaid_numbers(unicodedata.normalize("NFKC", draft.title))))
        for text in _texts(draft):
            text = unicodedata.normalize("NFKC", text)
            found.update(dict.fromkeys(self._unsaid_numbers(text)))
            found.update(dict.fromkeys(self._unsaid_names(text, language)))
        for item in draft.action_items:
            if item.owner:
                found.update(dict.fromkeys(self._unsaid_owner(unicodedata.normalize("NFKC", item.owner))))
        return [line(text, 60) for text in found][:FLAGS]

    def _unsaid_numbers(self, text: str) -> Iterator[str]:
        for value, written in numbers(_LISTED.sub("", text)):
            # "one" and "first" are mostly no numbers.
            if value not in self._numbers and not (value in (0, 1, 2) and not written[0].isdigit()):
                yield written

    def _unsaid_names(self, text: str, language: str) -> Iterator[str]:
        if self._speaks("hangul"):
            yield from (name for name in _KOREAN_NAME.findall(text) if not self._known_run(name))
        if self._speaks("han"):
            yield from (name for name in _CHINESE_NAME.findall(text) if name not in self._runs)
        if not self._speaks("latin") or language.lower()[:2] in ("de", "lb"):
            return
        starts = {found.end() for found in _STARTS.finditer(text)}
        for found in _CAPITALISED.finditer(text):
            if found.start() not in starts and _latin(found[0]) and not self._known(found[0]):
                yield found[0]

    def _unsaid_owner(self, owner: str) -> Iterator[str]:
        for found in _CAPITALISED.finditer(owner):
            if self._speaks("latin") and _latin(found[0]) and not self._known(found[0]):
                yield found[0]
        if self._speaks("hangul"):
            yield from (run for run in re.findall("[가-힣]{2,}", owner) if not self._known_run(run))

    def _known(self, word: str) -> bool:
        word = word.casefold()
        parts = {word, _stem(word), word.removesuffix("'s").removesuffix("’s")}
        return bool(parts & (self._words | _NO_NAMES)) or all(
            part in self._words or len(part) < 2 for part in re.split("['’-]", word)
        )

    def _known_run(self, run: str) -> bool:
        """Whether a name was said: its first three syllables occur together (a particle may follow)."""
        return run[:3] in self._runs

    def _speaks(self, script: str) -> bool:
        said = sum(self._scripts.values())
        return said > 0 and self._scripts.get(script, 0) >= 0.5 * said


def _texts(draft: Draft) -> Iterator[str]:
    yield from ((part.text for part in draft.sections) if draft.sections else [draft.summary])
    yield from draft.key_points
    for item in draft.action_items:
        yield item.text
        yield item.due or ""


def _latin(word: str) -> bool:
    return word[0].isupper() and not re.search("[^\\W\\d_a-zA-ZÀ-ɏ'’-]", word)


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word[-1] == "s" else word
