"""Join the texts of a window's passages, each decoded in its language. In: hypotheses. Out: one. It never decodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import mul

import msgspec

from convod.engine.coverage import uncovered
from convod.engine.languages import Passage
from convod.speech.decoding import Hypothesis


def joined(passages: Sequence[Passage], hypotheses: Sequence[Hypothesis], voiced: bytes) -> Hypothesis:
    """Join the texts of the passages of a window, whose voice is told by a byte for each chunk."""
    words = [
        msgspec.structs.replace(
            word,
            start=round(word.start + passage.start, 3),
            end=round(word.end + passage.start, 3),
            language=passage.language,
        )
        for passage, one in zip(passages, hypotheses, strict=True)
        for word in one.words or ()
    ]
    letters = [len(one.text) for one in hypotheses]
    weights = letters if any(letters) else [1] * len(letters)

    def mean(figures: Iterable[float]) -> float:
        return float(sum(map(mul, weights, figures)) / sum(weights))

    gap = uncovered(words, voiced)
    return msgspec.structs.replace(
        hypotheses[0],
        text=" ".join(one.text for one in hypotheses if one.text),
        avg_logprob=mean(one.avg_logprob for one in hypotheses),
        no_speech_prob=mean(one.no_speech_prob for one in hypotheses),
        words=words,
        uncovered=None if gap is None else (gap.start, gap.end),
        truncated=any(one.truncated for one in hypotheses),
    )
