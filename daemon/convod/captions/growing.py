"""The caption of an utterance that is still being spoken: when to hear it again, from where, and what to show.

In: the sample clock, and what was heard of the utterance so far. Out: when an interim is due, the sample it begins at,
a `Caption`. A state machine for one utterance, without audio or I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from convod.captions.interim import Agreement, Caption, joined, pieces
from convod.engine.pressure import Interims
from convod.engine.wire import Heard, HeardWord

INTERIM_MS: Final = 250
"""New audio before an utterance is decoded again for its caption."""

FIRST_INTERIM_MS: Final = 400
"""Audio from the onset on before it is decoded at all: on less, a model guesses."""

TRIM_S: Final = 8.0
"""An interim longer than this begins anew after the words that are stable: a long utterance costs no more per update
than a short one."""

RARER: Final = 3
"""Under pressure interims come after so many times INTERIM_MS,"""

SHORTER_S: Final = 3.0
"""and then begin anew after so much instead of TRIM_S."""


class Growing:
    """One utterance from sample `start` on, in which speech was first seen at sample `onset`; `rate` in Hz.

    `begin` is where its next interim starts, `promised` the stable words that were shown. `voiced` once the worker has
    heard a voice in it: that need not be asked again.
    """

    def __init__(self, rate: int, start: int, onset: int) -> None:
        self.begin = start
        self.promised = ""
        self.voiced = False
        self._rate = rate
        self._start = start
        self._due = onset + FIRST_INTERIM_MS * rate // 1000
        self._agreement = Agreement()
        self._trimmed: list[str] = []  # stable words whose audio is not decoded again
        self._shown = False

    def is_due(self, now: int, interims: Interims = Interims.FULL) -> bool:
        """Whether the samples up to `now` are worth another interim, as rich as `interims` lets them be."""
        if interims is Interims.NONE:
            return False
        patience = 0 if interims is Interims.FULL else (RARER - 1) * INTERIM_MS
        return now >= self._due + patience * self._rate // 1000

    def asked(self, now: int) -> None:
        """An interim of the samples up to `now` is being decoded."""
        self._due = now + INTERIM_MS * self._rate // 1000

    def is_long(self, now: int, interims: Interims = Interims.FULL) -> bool:
        """Whether the next interim should ask for times of words, to be trimmed by them."""
        most = SHORTER_S if interims >= Interims.SHORTER else TRIM_S
        return now - self.begin > most * self._rate

    def heard(self, start: int, heard: Heard) -> Caption:
        """What was heard of the samples from `start` on -> the caption of the whole utterance."""
        self.voiced = True
        caption = self._agreement.hear(heard.text)
        stable = pieces(caption.stable)
        whole = Caption(joined([*self._trimmed, *stable]), caption.tentative)
        self._trim(start, heard, stable)
        return whole

    def paused(self, heard: Heard) -> Caption:
        """What was heard of all of it at a pause -> its caption: no word is cut there, so all of them may be shown."""
        self.voiced = True
        words = pieces(heard.text)[len(self._trimmed) :]
        stable = pieces(self._agreement.hear(joined(words)).stable)
        return Caption(joined([*self._trimmed, *stable]), joined(words[len(stable) :]))

    def shows(self, caption: Caption) -> bool:
        """Whether the caption is worth showing; if so, its stable words are promised."""
        if not caption.stable and not caption.tentative and not self._shown:
            return False
        self._shown = True
        self.promised = caption.stable
        return True

    def _trim(self, start: int, heard: Heard, stable: list[str]) -> None:
        words = heard.words or []
        count, held = _held(words, stable)
        if not count or count == len(words):
            return
        # Between the two words: the end of one is often put a little late, the start of the next a little early.
        border = (words[count - 1].end + words[count].start) / 2
        self.begin = start + int(border * self._rate)
        self._trimmed += stable[:held]
        self._agreement.forget(held)


def _held(words: Sequence[HeardWord], stable: Sequence[str]) -> tuple[int, int]:
    """How many of the timed words say nothing but stable ones, and how many stable ones they say.

    The two are cut differently where there are no spaces: a timed word has its punctuation, a character none.
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
