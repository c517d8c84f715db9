"""Split the hypotheses of a growing utterance into stable words and words that may still change.

In: hypotheses with times, oldest first. Out: a `Caption`. Two policies work together. Local agreement (Liu et al. 2020,
"Low-Latency Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis Selection"): the common
prefix of several hypotheses in a row. On top of it, the alignment of words (Papi et al. 2023, "Attention as a Guide for
Simultaneous Speech Translation"): a word that ended too near the end of the audio is not sure yet. No audio, no clock,
no I/O.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import takewhile
from typing import Final

import msgspec

SHOW: Final = 2
"""Hypotheses in a row that must agree on a word before it is shown;"""

SHOW_S: Final = 0.1
SHOW_PROBABILITY: Final = 0.4
"""the word must also have ended this long before the audio, with at least this probability;"""

CERTAIN: Final = 3
CERTAIN_S: Final = 0.3
CERTAIN_PROBABILITY: Final = 0.1
"""or these, where one more hypothesis agrees;"""

SURE_S: Final = 0.5
SURE_PROBABILITY: Final = 0.9
"""or these, where a single hypothesis is enough.

Measured with tiny.en on three recorded talks, on which they were chosen (1,492 hypotheses, one each quarter second): of
the words shown 5.7 % go away again, and a word appears 0.39 s after its end (95th percentile 1.26 s), 0.1 s of it for
decoding. Showing all words at once: 37 % go. Agreement of two alone: 9.1 %, 0.34 s; of three: 4.6 %, 0.59 s
(1.6 s).
"""

COMMIT: Final = 4
COMMIT_S: Final = 2.5
"""Hypotheses in a row that must agree on a word, and seconds before the audio's end it must have ended, to commit it.

A committed word stays even if the final text has another, so each wrong one is an error: on the same talks finals have
10.35 % of words wrong; with committed words kept 10.54 %, and with those of agreement alone 11.87 %.
"""


# Kana and Han with their punctuation; Korean puts spaces.
_WIDE_CHARACTERS: Final = "\u3001-\u303f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff01-\uff60"


@cache  # such wide ranges take 5 ms to compile, which the daemon's start can do without
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Compile the pattern of a wide character, and that of a word or a wide character."""
    return re.compile(f"[{_WIDE_CHARACTERS}]"), re.compile(f"[{_WIDE_CHARACTERS}]|[^\\s{_WIDE_CHARACTERS}]+")


class Caption(msgspec.Struct, frozen=True):
    """The words to show: `stable` ones stay, `tentative` ones follow and may change. Unsure words are in neither."""

    stable: str
    tentative: str


class HypothesisWord(msgspec.Struct, frozen=True):
    """A word of a hypothesis (or a character, see `pieces`) that ended `age_s` seconds before the audio."""

    text: str
    age_s: float = float("inf")
    probability: float = 1.0


class LocalAgreement:
    """The agreement among the hypotheses of one utterance."""

    def __init__(self) -> None:
        self._stable: list[str] = []
        self._shown: list[str] = []  # stable words and tentative ones
        self._recent: deque[list[str]] = deque(maxlen=COMMIT)

    @property
    def expected(self) -> str:
        """The word that the next hypothesis should begin with, or an empty string."""
        return self._recent[-1][0] if self._recent and self._recent[-1] else ""

    def update(self, words: Sequence[HypothesisWord], most: int | None = None) -> Caption:
        """Add the newest hypothesis and return the caption; no word after the first `most` becomes stable."""
        words = self._with_lost_words(words)
        texts = [word.text for word in words]
        self._recent.append(texts)
        self._commit(words, texts, most)
        twice, thrice = self._agreed(SHOW), self._agreed(CERTAIN)
        visible = len(list(takewhile(lambda i: _is_shown(words[i], (i < twice) + (i < thrice)), range(len(texts)))))
        shown = [*self._stable, *texts[len(self._stable) : visible]]
        # Shown words give way only to words that two hypotheses in a row have.
        same = agreed([self._shown, shown])
        if same == len(self._shown) or same < min(twice, len(shown)):
            self._shown = shown
        return self._caption()

    def update_at_pause(self, words: Sequence[HypothesisWord], most: int | None = None) -> Caption:
        """Add the hypothesis of an utterance that may be over and return the caption, which shows all its words."""
        texts = [word.text for word in words]
        self._recent.append(texts)
        self._commit(words, texts, most)
        self._shown = [*self._stable, *texts[len(self._stable) :]]
        return self._caption()

    def _with_lost_words(self, words: Sequence[HypothesisWord]) -> Sequence[HypothesisWord]:
        """Prepend stable words the hypothesis lacks, because its audio may begin within the first of them."""
        texts = [word.text for word in words]
        for lost in range(len(self._stable)):
            if texts[: len(self._stable) - lost] == self._stable[lost:]:
                return [*map(HypothesisWord, self._stable[:lost]), *words]
        return words

    def _agreed(self, passes: int) -> int:
        """Count the words of the common prefix of the last `passes` hypotheses."""
        return agreed(list(self._recent)[-passes:]) if len(self._recent) >= passes else 0

    def _caption(self) -> Caption:
        return Caption(joined(self._stable), joined(self._shown[len(self._stable) :]))

    def _commit(self, words: Sequence[HypothesisWord], texts: list[str], most: int | None) -> None:
        if len(self._recent) < COMMIT:
            return
        old = len(list(takewhile(lambda word: word.age_s >= COMMIT_S, words)))
        # Hold the newest word back: the audio may have ended inside it, and "work" may become "working".
        sure = min(agreed(self._recent), old, len(texts) - 1, len(texts) if most is None else most)
        if sure > len(self._stable) and texts[: len(self._stable)] == self._stable:
            self._stable = texts[:sure]

    def forget(self, count: int) -> None:
        """Drop the first `count` stable words: the next hypotheses begin after them."""
        forgotten = self._stable[:count]
        del self._stable[:count]
        del self._shown[:count]
        recent: list[list[str]] = []
        for words in reversed(self._recent):
            if words[:count] != forgotten:
                break  # it disagreed, so hypotheses before it are not in a row with the next ones
            recent.insert(0, words[count:])
        self._recent = deque(recent, maxlen=COMMIT)


def _is_shown(word: HypothesisWord, confirmed: int) -> bool:
    """Whether to show a word that one hypothesis has (`confirmed` 0), SHOW in a row (1) or CERTAIN in a row (2)."""
    age_s, probability = word.age_s, word.probability
    return (
        (confirmed >= 1 and age_s >= SHOW_S and probability >= SHOW_PROBABILITY)
        or (confirmed >= 2 and age_s >= CERTAIN_S and probability >= CERTAIN_PROBABILITY)
        or (age_s >= SURE_S and probability >= SURE_PROBABILITY)
    )


def begins_wide(text: str) -> bool:
    """Whether a text begins in a script that puts no spaces between words."""
    wide, _ = _patterns()
    return wide.match(text) is not None


def pieces(text: str) -> list[str]:
    """Split a text into the units of agreement: words, or characters in scripts without spaces."""
    _, piece = _patterns()
    return piece.findall(text)


def joined(words: Iterable[str]) -> str:
    """Join words to text, with spaces where their script has them."""
    wide, _ = _patterns()
    text = ""
    for word in words:
        close = not text or (wide.match(text[-1]) and wide.match(word))
        text += word if close else f" {word}"
    return text


def agreed(hypotheses: Iterable[list[str]]) -> int:
    """Count the words of the common prefix of all hypotheses."""
    count = 0
    for same in zip(*hypotheses, strict=False):
        if len(set(same)) > 1:
            break
        count += 1
    return count
