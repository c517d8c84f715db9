"""Decide whether the wall clock can be trusted with deletions. Sans-IO: times in, a verdict out.

A clock that jumps ahead makes everything look old. The daemon cannot tell whether it is right now or was right before:
a machine that was off for a month looks the same as one whose clock is wrong by a month. So after a jump nothing is
deleted for its age for a while, which leaves time to correct the clock; if it goes back, no harm was done.
"""

from __future__ import annotations

from typing import Final

import msgspec

DAY_S: Final = 86400.0

JUMP_S: Final = DAY_S
"""A clock that moved further ahead than this has jumped; one of a machine that is off overnight has not."""

HOLD_S: Final = 7 * DAY_S
"""Longest time for which nothing is deleted. After a smaller jump it is as long as the jump, so that a machine that is
off at weekends still deletes every week.
"""


class ClockNote(msgspec.Struct, frozen=True):
    """What is remembered of the clock, in Unix seconds: when it was last `seen`, and until when nothing is deleted for
    its age (0: no hold).
    """

    seen: float
    hold_until: float = 0.0

    def holds(self, now: float) -> bool:
        """Return whether nothing may be deleted for its age now."""
        return now < self.hold_until


def judge(note: ClockNote, now: float, elapsed_s: float) -> ClockNote:
    """Return what to remember of a clock that shows `now`.

    Args:
        note: what was remembered when it was last seen.
        now: what it shows, Unix seconds.
        elapsed_s: time since then by a clock that is never set; 0 after a start, when it is not known.
    """
    ahead = now - (note.seen + elapsed_s)
    if ahead > JUMP_S:
        return ClockNote(now, max(note.hold_until, now + min(ahead, HOLD_S)))
    if ahead < -JUMP_S:
        return ClockNote(now)  # by this clock nothing is too old; and if it jumps ahead, that is noticed
    return ClockNote(now, note.hold_until)
