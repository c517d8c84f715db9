"""Hypotheses of a growing utterance to words that stay and words that may change.

In: the words of each new hypothesis, with how long ago each ended and how probable it is. Out: `stable` (never changes
within its utterance) and `tentative`. The rule for both is local agreement (Liu et al. 2020, "Low-Latency
Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis Selection"): what some hypotheses in a row
begin with alike; and the alignment's word on top (Papi et al. 2023, "Attention as a Guide for Simultaneous Speech
Translation"): what ended too near the end of the audio is not sure yet. No audio, no clock, no I/O.
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
"""Hypotheses in a row that must agree on a word before it is shown,"""

SHOW_S: Final = 0.1
SHOW_PROBABILITY: Final = 0.4
"""which must have ended so long before the audio does, and be so probable;"""

CERTAIN: Final = 3
CERTAIN_S: Final = 0.3
CERTAIN_PROBABILITY: Final = 0.1
"""or so, where one more agrees;"""

SURE_S: Final = 0.5
SURE_PROBABILITY: Final = 0.9
"""or be so, for one alone to be enough.

Measured with tiny.en on three recorded talks, on which they were chosen (1,492 hypotheses, one each quarter second): of
the words shown 5.7 % go away again, and a word comes 0.39 s after its end (95th percentile 1.26 s), 0.1 s of it for
decoding. All words at once: 37 % go. Agreement of two alone: 9.1 %, 0.34 s; of three: 4.6 %, 0.59 s (1.6 s).
"""

PROMISE: Final = 4
PROMISE_S: Final = 2.5
"""Hypotheses in a row that must agree on a word, and how long before the audio's end it must have ended, to be stable.

A stable word is kept though the final text has another, so each that is wrong is an error: on the same talks finals
have 10.35 % of words wrong; with the promises kept 10.54 %, and with those of agreement alone 11.87 %.
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


class Guess(msgspec.Struct, frozen=True):
    """A word of a hypothesis, or a character: it ended `age_s` seconds before the audio did."""

    text: str
    age_s: float = float("inf")
    probability: float = 1.0


class Agreement:
    """The hypotheses of one utterance."""

    def __init__(self) -> None:
        self._stable: list[str] = []
        self._shown: list[str] = []  # stable words and tentative ones
        self._recent: deque[list[str]] = deque(maxlen=PROMISE)

    @property
    def expected(self) -> str:
        """The word that the next hypothesis is expected to begin with, if any."""
        return self._recent[-1][0] if self._recent and self._recent[-1] else ""

    def hear(self, guesses: Sequence[Guess], most: int | None = None) -> Caption:
        """The newest hypothesis -> the caption now, for which no word after the first `most` becomes stable."""
        guesses = self._with_lost_words(guesses)
        words = [guess.text for guess in guesses]
        self._recent.append(words)
        self._promise(guesses, words, most)
        twice, thrice = self._agreed(SHOW), self._agreed(CERTAIN)
        visible = len(list(takewhile(lambda i: _is_shown(guesses[i], (i < twice) + (i < thrice)), range(len(words)))))
        shown = [*self._stable, *words[len(self._stable) : visible]]
        # What is on the screen goes away only for what was heard twice.
        same = agreed([self._shown, shown])
        if same == len(self._shown) or same < min(twice, len(shown)):
            self._shown = shown
        return self._caption()

    def hear_all(self, guesses: Sequence[Guess], most: int | None = None) -> Caption:
        """A hypothesis of an utterance that may be over -> the caption now: all its words are shown."""
        words = [guess.text for guess in guesses]
        self._recent.append(words)
        self._promise(guesses, words, most)
        self._shown = [*self._stable, *words[len(self._stable) :]]
        return self._caption()

    def _with_lost_words(self, guesses: Sequence[Guess]) -> Sequence[Guess]:
        """The hypothesis with the stable words before it: its audio may begin within the first of them."""
        words = [guess.text for guess in guesses]
        for lost in range(len(self._stable)):
            if words[: len(self._stable) - lost] == self._stable[lost:]:
                return [*map(Guess, self._stable[:lost]), *guesses]
        return guesses

    def _agreed(self, passes: int) -> int:
        """How many words the last so many hypotheses begin with alike."""
        return agreed(list(self._recent)[-passes:]) if len(self._recent) >= passes else 0

    def _caption(self) -> Caption:
        return Caption(joined(self._stable), joined(self._shown[len(self._stable) :]))

    def _promise(self, guesses: Sequence[Guess], words: list[str], most: int | None) -> None:
        if len(self._recent) < PROMISE:
            return
        old = len(list(takewhile(lambda guess: guess.age_s >= PROMISE_S, guesses)))
        # The newest word is held back: the audio may have ended inside it, and "work" become "working".
        sure = min(agreed(self._recent), old, len(words) - 1, len(words) if most is None else most)
        if sure > len(self._stable) and words[: len(self._stable)] == self._stable:
            self._stable = words[:sure]

    def forget(self, count: int) -> None:
        """The next hypotheses begin after the first `count` words of `stable`, and so do those that agreed on them."""
        forgotten = self._stable[:count]
        del self._stable[:count]
        del self._shown[:count]
        recent: list[list[str]] = []
        for words in reversed(self._recent):
            if words[:count] != forgotten:
                break  # it disagreed, and what came before it was not heard in a row with what comes now
            recent.insert(0, words[count:])
        self._recent = deque(recent, maxlen=PROMISE)


def _is_shown(guess: Guess, confirmed: int) -> bool:
    """Whether a word is shown that was heard once (`confirmed` 0), SHOW times (1) or CERTAIN times in a row (2)."""
    age_s, probability = guess.age_s, guess.probability
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
