"""Turns of owners that want the same thing. A state machine; no clock, no I/O.

In: names of owners that want a turn, and who had one. Out: the order of their turns. The owner whose last turn is
longest ago comes first, so that one who asks a hundred times gets no more than one who asks once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

LOCAL_PREFIX: Final = "uid:"
"""Prefix of owners that are users of this machine, connected over the Unix socket."""

OTHERS_AHEAD: Final = 3
"""Turns in a row that go to others while a user of this machine waits; the next is theirs. Tokens may be many, but
the person in front of the machine notices every delay."""

REMEMBERED: Final = 4096
"""Owners whose last turn is known; one that is forgotten comes first."""


def is_local(owner: str) -> bool:
    """Whether an owner is a user of this machine."""
    return owner.startswith(LOCAL_PREFIX)


class OwnerTurns:
    """Turns of one kind."""

    def __init__(self) -> None:
        self._count = 0
        self._last: OrderedDict[str, int] = OrderedDict()
        self._others = 0

    def order(self, owners: Iterable[str], urgency: Callable[[str], float] = lambda owner: 0.0) -> list[str]:
        """Return owners in the order of their turns: the lower `urgency` first, then whose last turn is longest ago."""
        kept = self._others >= OTHERS_AHEAD
        return sorted(
            owners, key=lambda owner: (urgency(owner), kept and not is_local(owner), self._last.get(owner, 0))
        )

    def took(self, owner: str, waiting: Iterable[str]) -> None:
        """Take note that an owner had a turn while `waiting` still wait."""
        self._count += 1
        self._last[owner] = self._count
        self._last.move_to_end(owner)
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        if is_local(owner):
            self._others = 0
        elif any(map(is_local, waiting)):
            self._others += 1
