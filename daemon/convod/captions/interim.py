"""Hypotheses of a growing utterance to words that stay and words that may change.

In: the text of each new hypothesis. Out: `stable` (never changes within its utterance) and `tentative`. The rule is
local agreement (Liu et al. 2020, "Low-Latency Sequence-to-Sequence Speech Recognition and Translation by Partial
Hypothesis Selection"): what some hypotheses in a row begin with alike is stable. No audio, no clock, no I/O.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from functools import cache
from typing import Final

import msgspec

SHOW: Final = 2
"""Hypotheses in a row that must agree on a word before it is shown at all."""

PROMISE: Final = 4
"""Hypotheses in a row that must agree on a word before it is stable.

`scripts/bench/run captions` measures both. Showing after one pass, 4 % of shown words change; after two, 0.3 %, for
250 ms more until a word appears. With weaker weights it was 26 and 5 %, and promising after three passes broke 0.7 % of
the promises, after four none.
"""


# Kana and Han with their punctuation; Korean puts spaces.
_WIDE_CHARACTERS: Final = "\u3001-\u303f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff01-\uff60"


@cache  # compiled with the first hypothesis: such wide ranges take 5 ms, which the start can do without
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What finds a wide character, and what finds a word or a wide character."""
    return re.compile(f"[{_WIDE_CHARACTERS}]"), re.compile(f"[{_WIDE_CHARACTERS}]|[^\\s{_WIDE_CHARACTERS}]+")


class Caption(msgspec.Struct, frozen=True):
    """Words to show: `stable` will stay, `tentative` follows and may change. Words not sure enough are in neither."""

    stable: str
    tentative: str


class Agreement:
    """The hypotheses of one utterance."""

    def __init__(self) -> None:
        self._stable: list[str] = []
        self._recent: deque[list[str]] = deque(maxlen=PROMISE)

    @property
    def expected(self) -> str:
        """The word that the next hypothesis is expected to begin with, if any."""
        return self._recent[-1][0] if self._recent and self._recent[-1] else ""

    def hear(self, text: str, most: int | None = None) -> Caption:
        """The newest hypothesis -> the caption now, for which no word after the first `most` becomes stable."""
        words = pieces(text)
        self._recent.append(words)
        if len(self._recent) == PROMISE:
            # The newest word is held back: the audio may have ended inside it, and "work" become "working".
            sure = min(agreed(self._recent), len(words) - 1, len(words) if most is None else most)
            if sure > len(self._stable) and words[: len(self._stable)] == self._stable:
                self._stable = words[:sure]
        shown = agreed(list(self._recent)[-SHOW:]) if len(self._recent) >= SHOW else 0
        # A hypothesis that disagrees with what was promised keeps the promise and shows its own rest.
        return Caption(joined(self._stable), joined(words[len(self._stable) : shown]))

    def forget(self, count: int) -> None:
        """The next hypotheses begin after the first `count` words of `stable`, and so do those that agreed on them."""
        forgotten = self._stable[:count]
        del self._stable[:count]
        recent: list[list[str]] = []
        for words in reversed(self._recent):
            if words[:count] != forgotten:
                break  # it disagreed, and what came before it was not heard in a row with what comes now
            recent.insert(0, words[count:])
        self._recent = deque(recent, maxlen=PROMISE)


def pieces(text: str) -> list[str]:
    """What agreement counts: words, and in scripts that put no spaces between words each character."""
    _, piece = _patterns()
    return piece.findall(text)


def joined(words: Iterable[str]) -> str:
    """The words as text, with spaces where their script has them."""
    wide, _ = _patterns()
    text = ""
    for word in words:
        close = not text or (wide.match(text[-1]) and wide.match(word))
        text += word if close else f" {word}"
    return text


def agreed(hypotheses: Iterable[list[str]]) -> int:
    """How many words all of them begin with alike."""
    count = 0
    for same in zip(*hypotheses, strict=False):
        if len(set(same)) > 1:
            break
        count += 1
    return count
