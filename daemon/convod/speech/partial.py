"""The caption of an utterance that is still being spoken: when to decode it again, from where, and what to show.

In: the sample clock, and the hypotheses of the utterance so far. Out: when an interim is due, the sample it begins at,
and a `Caption`. A state machine for one utterance, without audio or I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from convod.speech.agreement import Caption, HypothesisWord, LocalAgreement, joined, pieces
from convod.speech.decoding import Hypothesis, Interims, TimedWord

INTERIM_MS: Final = 200
"""New audio before an utterance is decoded again for its caption."""

FIRST_INTERIM_MS: Final = 400
"""Audio after the onset before it is decoded at all: with less, a model guesses."""

TRIM_S: Final = 8.0
"""An interim longer than this restarts after the stable words: a long utterance costs no more per update than a short
one."""

HELD_BACK: Final = 2
"""It restarts this many stable words earlier, for a cut may cost the word behind it, and a stable word is known."""

RARER: Final = 3
"""Under pressure interims come after this many times INTERIM_MS,"""

SHORTER_S: Final = 3.0
"""and then restart after this much instead of TRIM_S."""


class PartialHypothesis:
    """The hypothesis of one open utterance.

    `begin` is where its next interim starts, `committed` holds the stable words that were shown, and `voiced` is true
    once the worker found a voice in it: that need not be checked again.

    Args:
        rate: Samples a second.
        start: First sample of the utterance.
        onset: Sample of its first speech.
    """

    def __init__(self, rate: int, start: int, onset: int) -> None:
        self.begin = start
        self.committed = ""
        self.voiced = False
        self._rate = rate
        self._start = start
        self._due = self._begun = onset + FIRST_INTERIM_MS * rate // 1000
        self._agreement = LocalAgreement()
        self._trimmed: list[str] = []  # stable words whose audio is not decoded again
        self._shown: Caption | None = None

    def is_due(self, now: int, interims: Interims = Interims.FULL) -> bool:
        """Whether another interim is due at sample `now`, as often as `interims` allows."""
        if interims is Interims.NONE:
            return False
        patience = 0 if interims is Interims.FULL else (RARER - 1) * INTERIM_MS
        return now >= max(self._due, self._begun + patience * self._rate // 1000)

    def asked(self, now: int, *, renewed: bool = False) -> None:
        """Take note that an interim up to sample `now` is being decoded, `renewed` if it replaced one that waited."""
        self._due = now + INTERIM_MS * self._rate // 1000
        if not renewed:
            self._begun = self._due

    def is_long(self, now: int, interims: Interims = Interims.FULL) -> bool:
        """Whether the audio of the interim is long enough to be trimmed."""
        most = SHORTER_S if interims >= Interims.SHORTER else TRIM_S
        return now - self.begin > most * self._rate

    def update(
        self, start: int, end: int, hypothesis: Hypothesis, *, trim: bool = True, safe: int | None = None
    ) -> Caption:
        """Add the hypothesis of an interim and return the caption of the whole utterance.

        Args:
            start: First sample of the interim.
            end: Sample it ends before.
            hypothesis: What was decoded.
            trim: Whether to leave out the stable words from now on, if they have times. Each cut may cost the word
                behind it, so there should be few.
            safe: Sample behind which no word is committed: the utterance may yet be cut before it.
        """
        self.voiced = True
        words, timed = _split(hypothesis, (end - start) / self._rate), list(hypothesis.words or ())
        if words and self._is_echo(words[0].text):
            del words[0]
            del timed[:1]
        most = None if safe is None else _before(timed, (safe - start) / self._rate)
        caption = self._agreement.update(words, most)
        stable = pieces(caption.stable)
        whole = Caption(joined([*self._trimmed, *stable]), caption.tentative)
        if trim:
            self._trim(start, timed, stable)
        return whole

    def paused(self, start: int, end: int, hypothesis: Hypothesis, *, safe: int | None = None) -> Caption:
        """Add the hypothesis of all of it at a pause and return the caption, with all words: none is cut off there.

        Behind sample `safe` no word is committed, as in `update`.
        """
        self.voiced = True
        words = _split(hypothesis, (end - start) / self._rate)[len(self._trimmed) :]
        most = None
        if safe is not None:
            most = max(0, _before(hypothesis.words or (), (safe - start) / self._rate) - len(self._trimmed))
        caption = self._agreement.update_at_pause(words, most)
        return Caption(joined([*self._trimmed, *pieces(caption.stable)]), caption.tentative)

    def _is_echo(self, word: str) -> bool:
        """Whether it is the end of the last trimmed word, decoded again because the cut was too early."""
        if not self._trimmed or _plain(word) != _plain(self._trimmed[-1]):
            return False
        return _plain(self._agreement.expected) not in ("", _plain(word))  # people do say things twice

    def shows(self, caption: Caption) -> bool:
        """Whether to show the caption, which commits its stable words: not without words, nor the same one again."""
        if caption in (self._shown, Caption("", "")):
            return False
        self._shown = caption
        self.committed = caption.stable
        return True

    def _trim(self, start: int, words: list[TimedWord], stable: list[str]) -> None:
        count, _ = _held(words, stable)
        count, held = _held(words[: max(0, count - HELD_BACK)], stable)
        if not count:
            return
        # Between the two words: the end of one is often put a little late, the start of the next a little early.
        border = (words[count - 1].end + words[count].start) / 2
        self.begin = start + int(border * self._rate)
        self._trimmed += stable[:held]
        self._agreement.forget(held)


def _split(hypothesis: Hypothesis, seconds: float) -> list[HypothesisWord]:
    """Split a hypothesis of so many seconds into units of agreement, each as old as its alignment says."""
    if hypothesis.words is None:
        return [HypothesisWord(word) for word in pieces(hypothesis.text)]
    return [
        HypothesisWord(piece, seconds - word.end, word.probability)
        for word in hypothesis.words
        for piece in pieces(word.word)
    ]


def _plain(word: str) -> str:
    return "".join(filter(str.isalnum, word)).casefold()


def _before(words: Sequence[TimedWord], second: float) -> int:
    """Count the units of agreement that end before a second of the window."""
    return sum(len(pieces(word.word)) for word in words if word.end <= second)


def _held(words: Sequence[TimedWord], stable: Sequence[str]) -> tuple[int, int]:
    """Count the timed words that consist of stable words only, and the stable words they consist of.

    The two are split differently in scripts without spaces: a timed word has its punctuation, a character has none.
    """
    count = held = taken = 0
    timed = counted = ""
    for number, word in enumerate(words, 1):
        timed += "".join(word.word.split())
        while taken < len(stable) and len(counted) < len(timed):
            counted += stable[taken]
            taken += 1
        if timed == counted:
            count, held = number, taken
        elif not counted.startswith(timed):
            break
    return count, held
