"""Tell a text that a model repeats from its prompt or hotwords from one that is said. Sans-IO.

In: hypotheses with the probabilities of their words. Out: decisions. Asked for the words of laughter, or of many who
talk at once, Whisper may write what it was prompted with, and is sure of it. The probabilities of words do not know the
prompt: they come from the alignment, which is made without one. It never decodes.
"""

from __future__ import annotations

import math
from difflib import SequenceMatcher
from typing import Final

from convod.speech.decoding import Hypothesis, Options
from convod.speech.stock_phrases import is_stock_phrase

UNLIKELY: Final = -3.0
"""Mean log-probability of words without the prompt below which it may be an echo. Recorded, tiny.en: prompts written of
whistling and babble have -4.4 and -5.2; of 24 clips that were prompted with what is said in them one has less than -3,
-4.6."""

LEAST_PROBABILITY: Final = 1e-4

OWN_PART: Final = 0.5
"""Part of a text's letters that come from the prompt, from which it may be an echo."""

ALIKE: Final = 0.5
"""So like the text decoded without a prompt are words that were said: a name is spelled by ear there."""


def may_be_echo(hypothesis: Hypothesis, options: Options) -> bool:
    """Whether a text mostly repeats the prompt and hotwords, and hardly comes from the sound."""
    if not hypothesis.words or not (options.prompt or options.hotwords):
        return False
    words = [_letters(word.word) for word in hypothesis.words]
    # A word that was written before is probable for that.
    first = dict(zip(reversed(words), reversed(hypothesis.words), strict=True))
    likely = [math.log(max(LEAST_PROBABILITY, word.probability)) for word in first.values()]
    if sum(likely) / len(likely) >= UNLIKELY:
        return False
    prompted = _letters(f"{options.hotwords or ''} {options.prompt or ''}")
    return sum(len(word) for word in words if word in prompted) >= OWN_PART * sum(map(len, words))


def heard(prompted: Hypothesis, alone: Hypothesis) -> Hypothesis:
    """Choose between the text of a window and that which was decoded `alone`, without prompt and hotwords.

    A phrase that models bring forth from noise is no evidence of words that are like it.
    """
    texts = _letters(prompted.text), _letters(alone.text)
    if texts[0] != texts[1] and is_stock_phrase(alone.text):
        return alone
    return prompted if SequenceMatcher(None, *texts, autojunk=False).ratio() >= ALIKE else alone


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))
