"""Decide which texts are doubtful, how to decode their windows again, and which of two texts is better.

In: hypotheses. Out: decisions. It never decodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from convod.engine.answers import doubtful, repeats
from convod.speech.decoding import UNRECOVERABLE_LOGPROB, Hypothesis, Options

SECOND_TRY_TEMPERATURE: Final = 0.4


class Try(msgspec.Struct):
    """A way to decode a window again: with the `full` context or not, with these arguments of `Answers.of`."""

    full: bool
    freedom: dict[str, Any] = {}


def further_tries(first: Hypothesis, options: Options, *, stock: bool, led: bool) -> Iterator[Try]:
    """Yield ways to decode a window again whose `first` text is doubtful; `led` if it was decoded after a lead."""
    if not stock:
        if doubtful(first) and not (options.deterministic and first.avg_logprob < UNRECOVERABLE_LOGPROB):
            # A deterministic try must not sample tokens; it may not repeat four of them instead.
            freedom = {"no_repeat": 4} if options.deterministic else {"temperature": SECOND_TRY_TEMPERATURE}
            yield Try(full=True, freedom=freedom)
        return
    if led:
        yield Try(full=False)
    if options.margin is not None:
        yield Try(full=True)
    if first.avg_logprob >= UNRECOVERABLE_LOGPROB:
        yield Try(full=True, freedom={"no_repeat": 4})


def is_doubtful(hypothesis: Hypothesis) -> bool:
    """Whether another try may be better: improbable, repetitive or truncated text, or voice without words."""
    return doubtful(hypothesis) or hypothesis.truncated or hypothesis.uncovered is not None


def worth(hypothesis: Hypothesis) -> tuple[bool, float]:
    """Rank a doubtful text: of two the greater one is better."""
    bare_s = 0.0 if hypothesis.uncovered is None else hypothesis.uncovered[1] - hypothesis.uncovered[0]
    return not (repeats(hypothesis) or hypothesis.truncated), hypothesis.avg_logprob - 0.1 * bare_s
