"""Estimate how many tokens a text has, without a tokenizer: each model has its own.

In: text, and what servers counted of prompts that they read whole. Out: a number that is rather too high than too low,
so that a prompt that is said to fit does. It never asks anybody.

At first the numbers are upper values for any vocabulary. A large one takes half of that for Korean and a third for
Arabic, so a `Gauge` learns from the first prompt that a model has read, by kind of script: what was learned of Korean
says nothing of the English in the same talk. It never goes below `LEAST`, of texts about as long it keeps the worst,
and it forgets all, for good, when a prompt that it said would fit did not.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from convod.summary.base import ChatMessage

# Tokens a character, by kind. Measured with vocabularies of 32,000 and 131,000 entries (scripts/bench/RESULTS.md,
# "Tokens"): a small one cuts rare characters into bytes; a Korean text takes 2.3 times what it takes in a large one.
_COSTS: Final = {
    "latin": 0.3, "digit": 1.1, "mark": 0.9, "accent": 1.0, "letter": 0.6, "hangul": 1.6, "han": 1.5, "semitic": 1.0,
    "other": 1.4,
}  # fmt: skip
MOST: Final = max(_COSTS.values())
"""Most tokens of a character."""
_KINDS: Final = re.compile(
    "(?P<latin>[A-Za-z ]+)|(?P<digit>[0-9]+)|(?P<mark>[\x00-\x7f]+?)|(?P<accent>[\x80-\u024f]+)|"
    "(?P<letter>[\u0250-\u058f]+)|(?P<semitic>[\u0590-\u08ff]+)|"
    "(?P<hangul>[\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff]+)|"
    "(?P<han>[\u2e80-\u312f\u3190-\ua4cf\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]+)|(?P<other>.)",
    re.DOTALL,
)
_MESSAGE: Final = 8
"""Tokens of the marks that a chat template puts around a message."""

LEAST: Final = {"latin": 0.6}
LEAST_OTHER: Final = 0.25
"""The least share of these costs that a vocabulary needs; the lowest that was measured is 0.72 and 0.3."""
_COMPANY: Final = frozenset({"digit", "mark"})
"""What stands in a text of any script, about as often from one end to the other: mostly the numbers of segments."""
_MARGIN: Final = 1.15
"""Another talk may have rarer words: with 1.1, one of twelve that were measured was 3 % too low."""
_TELLING: Final = 512
"""Tokens of one kind, as estimated, from which on a prompt tells something about it."""


Costs = Mapping[str, float]
"""Tokens that a text has at most, by kind of character."""


def costs_of(text: str) -> Costs:
    """Return the most tokens that a text can have."""
    found: Counter[str] = Counter()
    # str.lastgroup is the kind of each run, so the cost of a long talk is one pass in C and a short loop.
    for run in _KINDS.finditer(text):
        found[run.lastgroup or "other"] += run.end() - run.start()
    return {kind: count * _COSTS[kind] for kind, count in found.items()}


class Gauge:
    """Estimates tokens for one model: by upper bounds, until it is told what prompts really cost."""

    def __init__(self) -> None:
        self._shares: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self._learns = True
        self.version = 0
        """Another number: the same text may cost something else now."""

    def tokens(self, text: str) -> int:
        """Tokens that `text` has at most, give or take; for any script."""
        return self.of(costs_of(text))

    def of(self, costs: Costs) -> int:
        """The same for costs that are known."""
        shares = self._shares
        company = sum(costs.get(kind, 0.0) for kind in _COMPANY)
        letters = sum(cost * shares.get(kind, 1.0) for kind, cost in costs.items() if kind not in _COMPANY)
        if sum(costs.get(kind, 0.0) for kind in shares) >= company:  # else it is a list of numbers
            company *= max(shares.values(), default=1.0)
        return 1 + int(letters + company)

    def of_messages(self, messages: Sequence[ChatMessage]) -> int:
        """Tokens of messages with the marks that a chat template puts around each."""
        return sum(self.tokens(message["content"]) + _MESSAGE for message in messages)

    def learn(self, messages: Sequence[ChatMessage], count: int) -> None:
        """A server has read these messages and counted at most `count` tokens.

        All that was counted beyond the least that other scripts need is put down to the script that is there most, and
        the numbers and marks with it.
        """
        costs: defaultdict[str, float] = defaultdict(float)
        for message in messages:
            for kind, cost in costs_of(message["content"]).items():
                costs[kind] += cost
        company = sum(costs.pop(kind, 0.0) for kind in _COMPANY)
        kind = max(costs, key=lambda kind: costs[kind], default="")
        if not self._learns or costs[kind] < max(_TELLING, company):
            return
        others = sum(cost * LEAST.get(name, LEAST_OTHER) for name, cost in costs.items() if name != kind)
        share = _MARGIN * (count - others) / (costs[kind] + company)
        if share < LEAST.get(kind, LEAST_OTHER):
            return  # no vocabulary is so large: a part was not counted
        if costs[kind] < 2 * self._seen.get(kind, 0.0):
            share = max(share, self._shares.get(kind, 1.0))
        else:
            self._seen[kind] = costs[kind]  # a much longer text says more: in a short one the instructions weigh in
        share = min(1.0, share)
        if share != self._shares.get(kind, 1.0):
            self._shares[kind] = share
            self.version += 1

    def distrust(self) -> bool:
        """A prompt was too long. True if that may be the fault of what was learned, which is forgotten then."""
        learned = bool(self._shares)
        if learned:
            self._shares.clear()
            self._learns = False
            self.version += 1
        return learned


UPPER: Final = Gauge()
"""Never taught: holds for any vocabulary."""
