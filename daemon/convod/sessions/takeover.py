"""What to do with sessions of convods that stopped: a state machine, without I/O and without a clock.

In: the sessions that others hold, and when they were looked at. Out: those to take over, and how. A convod is missing
from the first look that finds it dead, or from the time when this one has connected anew: after an outage of the server
the others must have time to come back, too. A convod takes over what its own earlier self left at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import msgspec

from convod.store import Held, Member

How = Literal["resume", "finish", "fail"]
"""Go on with its audio; end it, as there is all of its text; say that its audio must be sent again."""


class TakeOver(NamedTuple):
    """A session to take over."""

    held: Held
    how: How


class TakeOvers(msgspec.Struct):
    """Decides what this convod takes over.

    Args:
        member: this convod.
        grace_s: how long a dead convod is waited for.
        audio_grace_s: how long one is waited for that alone has the audio of a session.
    """

    member: Member
    grace_s: float
    audio_grace_s: float
    _missing: dict[int, float] = msgspec.field(default_factory=dict)
    _joins: int = 0

    def look(self, now: float, joins: int, held: Iterable[Held]) -> list[TakeOver]:
        """Note who is missing, and return what is due.

        Args:
            now: seconds by any clock that is never set.
            joins: how often this convod has connected.
            held: sessions that others hold. One whose audio was found here has this convod's `spool`.
        """
        dead = [one for one in held if not one.alive]
        before = self._missing if joins == self._joins else {}
        self._joins = joins
        self._missing = {one.epoch: before.get(one.epoch, now) for one in dead}
        return [TakeOver(one, how) for one in dead if (how := self._how(one, now - self._missing[one.epoch]))]

    def _how(self, held: Held, missing_s: float) -> How | None:
        here = held.spool == self.member.spool
        if held.epoch == 0 or held.home == self.member.home:
            missing_s = float("inf") if here else missing_s
        if held.final or here:
            return "resume" if missing_s >= self.grace_s else None
        if held.transcribed:
            return "finish" if missing_s >= self.grace_s else None
        return "fail" if missing_s >= self.audio_grace_s else None
