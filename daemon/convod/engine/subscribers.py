"""What live sessions are told of the engine: how many interims their owner may ask for, and which jobs have begun.

In: how long windows waited, jobs that began or wait again. Out: `LoadChanged`, `DecodeStarted` and `DecodeRequeued`, by
the callback of each session. Owners are judged apart: one who asks for too much makes no caption of others worse.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from convod.auto_reset_event import AutoResetEvent
from convod.engine.pressure import Pressure
from convod.speech.commands import LoadChanged, News
from convod.speech.decoding import DecodeJob, Interims

Tell = Callable[[News], None]


class Subscribers:
    """The subscribed sessions and the pressure of each owner. `run` tells them when a pressure is over.

    Args:
        at_best: The most interims that anyone may ask for without any pressure.
    """

    def __init__(self, at_best: Interims = Interims.FULL) -> None:
        self._at_best = at_best
        self._pressures: dict[str, Pressure] = {}
        self._sessions: dict[str, tuple[str, Tell]] = {}  # whose, and how to tell it
        self._changed = AutoResetEvent()

    def add(self, session: str, owner: str, tell: Tell) -> None:
        """Tell a session what holds now and, until it is removed, what changes."""
        self._sessions[session] = owner, tell
        if (interims := self.interims(owner)) is not Interims.FULL:
            tell(LoadChanged(interims))

    def remove(self, session: str) -> None:
        """Tell a session nothing more."""
        self._sessions.pop(session, None)

    def tell(self, job: DecodeJob, news: News) -> None:
        """Tell the session of a job."""
        if job.session in self._sessions:
            self._sessions[job.session][1](news)

    def waited(self, job: DecodeJob, seconds: float) -> None:
        """Take note that a job waited so many seconds longer than it may."""
        pressure = self._pressures.setdefault(job.owner, Pressure())
        before = pressure.interims
        pressure.waited(job.kind, seconds, trio.current_time())
        self._tell_if_changed(job.owner, before)

    def interims(self, owner: str | None = None) -> Interims:
        """Return how many interims an owner may ask for now; for None, the fewest of all owners."""
        levels = [self._look(one) for one in list(self._pressures) if owner in (None, one)]
        return max([self._at_best, *levels])

    def owner_gone(self, owner: str) -> None:
        """Forget the pressure of an owner without sessions."""
        self._pressures.pop(owner, None)

    async def run(self) -> None:
        """Relieve owners when their pressure is over, until cancelled: nothing else happens then."""
        while True:
            with trio.move_on_at(min((one.relief_at for one in self._pressures.values()), default=float("inf"))):
                await self._changed.wait()
            self.interims()

    def _look(self, owner: str) -> Interims:
        pressure = self._pressures[owner]
        before = pressure.interims
        pressure.look(trio.current_time())
        self._tell_if_changed(owner, before)
        return pressure.interims

    def _tell_if_changed(self, owner: str, before: Interims) -> None:
        now = self._pressures[owner].interims
        if now is before:
            return
        self._changed.set()
        if (interims := max(self._at_best, now)) is max(self._at_best, before):
            return
        for whose, tell in self._sessions.values():
            if whose == owner:
                tell(LoadChanged(interims))
