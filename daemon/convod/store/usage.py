"""How much disk each owner uses: bytes of kept audio, of sessions' configurations and of their events.

In: what the spool and the store write and delete. Out: who may write more. It is counted anew at each start, from the
database; it never looks at the disk.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping


class OwnerFull(Exception):
    """The owner may write no more; the text is a sentence without what to do."""


class Usage:
    """Bytes by owner, `quota` at most for each (0: any number). From any thread."""

    def __init__(self, quota: int = 0) -> None:
        self.quota = quota
        self._used: Counter[str] = Counter()
        self._counting = threading.Lock()

    def begin(self, used: Mapping[str, int]) -> None:
        """Count from these on."""
        with self._counting:
            self._used = Counter(used)

    def of(self, owner: str) -> int:
        """Bytes that the owner takes."""
        return self._used[owner]

    def check(self, owner: str, count: int = 1) -> None:
        """Raise OwnerFull if the owner may not write so many more bytes."""
        if self.quota and self._used[owner] + count > self.quota:
            raise OwnerFull(
                f"your sessions and their audio take {self._used[owner]} of the {self.quota} bytes that "
                "limits.owner_disk_bytes allows"
            )

    def count(self, owner: str, change: int) -> None:
        """Count a change of so many bytes."""
        with self._counting:
            self._used[owner] += change
            if self._used[owner] <= 0:
                del self._used[owner]
