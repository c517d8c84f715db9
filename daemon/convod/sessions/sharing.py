"""Works with other convods on one store: follows their sessions, and takes over those of one that stopped.

In: what other convods tell, and what the store holds. Out: readers here see what is stored there; sessions that are
taken over go on here, each once; those that were taken from this convod stop here. Notes of other convods make it
quick, and a look at the store every few seconds makes it certain: a note that is lost loses nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from convo.messages import Code, State
from convod.auto_reset_event import AutoResetEvent
from convod.sessions.journal import Journal
from convod.sessions.registry import Registry
from convod.sessions.takeover import TakeOver, TakeOvers
from convod.store import Held, Leases, Note, Record, Spool, Store, StoreFailed

log = logging.getLogger("convod.sessions")

LOOKS: Final = 6
"""Looks at the store within the length of a lease."""

GRACE: Final = 1 / 3
"""How long a dead convod is waited for, in lengths of a lease."""

SEND_AGAIN: Final = (
    "its audio is with a convod that has stopped; send it again as a new session, or start that convod and retry this "
    "one there"
)


class Sharing:
    """`run` it once.

    Args:
        leases: this convod's.
        store: what all of them share.
        spool: this convod's audio.
        registry: what runs here.
        resume_asked: goes on with what was asked for of a session, such as another summary.
        audio_grace_s: how long a convod is waited for that alone has a session's audio.
        on_paused: called when owners were paused or resumed.
    """

    def __init__(
        self,
        leases: Leases,
        store: Store,
        spool: Spool,
        registry: Registry,
        resume_asked: Callable[[Journal], None],
        audio_grace_s: float,
        on_paused: Callable[[], Awaitable[None]],
    ) -> None:
        self._leases = leases
        self._store = store
        self._spool = spool
        self._registry = registry
        self._resume_asked = resume_asked
        self._on_paused = on_paused
        lease_s = leases.member.lease_s
        self._every_s = lease_s / LOOKS
        self._takeovers = TakeOvers(leases.member, lease_s * GRACE, audio_grace_s)
        self._look_now = AutoResetEvent()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take up what an earlier convod left here, then watch the others until cancelled.

        Raises:
            StoreFailed: the first look failed.
        """
        await self._look()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._leases.listen, self._look_now.set, self._heard)
            task_status.started()
            while True:
                with trio.move_on_after(self._every_s):
                    await self._look_now.wait()
                try:
                    await self._look()
                except StoreFailed as error:
                    log.warning("other convods are not looked at: %s", error)

    def _heard(self, note: Note) -> None:
        self._registry.moved(note.session, note.seq)
        if note.seq <= 0 or self._registry.find(note.session) is not None:
            # A session was deleted, an owner's files were paused; or, unless the note is an old one, a session that
            # runs here was taken over.
            self._look_now.set()

    async def _look(self) -> None:
        renew = await self._leases.beat()
        known = self._registry.known()
        positions = await self._leases.positions(known)
        for session, runs in known.items():
            seq, epoch = positions.get(session, (0, 0))
            if not runs:
                self._registry.moved(session, seq)
            elif epoch != self._leases.epoch:
                self._registry.lose(session)
        renew()
        await self._on_paused()
        for session in await self._leases.removed():
            self._spool.remove(session)
            await self._leases.forget_removed(session)
        held = [self._located(one) for one in await self._leases.of_others()]
        for one in self._takeovers.look(trio.current_time(), self._leases.joins, held):
            try:
                await self._take_over(one)
            except (StoreFailed, OSError) as error:
                log.error("session was not taken over: %s", error, extra={"session": one.held.session})

    def _located(self, held: Held) -> Held:
        """Where its audio is, if the store does not know that: it is older than the ids of folders."""
        if held.spool or not (held.transcribed or held.final or self._spool.size(held.session)):
            return held
        return held._replace(spool=self._leases.member.spool)

    async def _take_over(self, one: TakeOver) -> None:
        session = one.held.session
        record = await self._leases.take_over(one.held)
        if record is None:
            return
        about = {"session": session, "state": str(record.state)}
        if one.how == "resume":
            log.info("session continues", extra=about)
            self._resume(record)
        elif one.how == "finish":
            log.warning("session of a convod that stopped is ended without its audio", extra=about)
            await self._finish(record)
        else:
            log.error("session of a convod that stopped fails: only that one has its audio", extra=about)
            await self._fail(record)

    def _resume(self, record: Record) -> None:
        if record.state.final:
            self._resume_asked(self._registry.own(record))
        else:
            self._registry.resume(record)

    async def _finish(self, record: Record) -> None:
        journal = self._registry.own(record)
        options = record.config.summary
        if options.mode != "off":
            # As one that was requested: what comes of it does not change the state.
            journal.record.asked.append(options)
        await journal.enter(State.COMPLETED, wait=False)
        if options.mode != "off":
            self._resume_asked(journal)

    async def _fail(self, record: Record) -> None:
        journal = self._registry.own(record)
        # What was received can be transcribed where it is; an upload in parts cannot.
        journal.record.ended = record.ended or record.kind == "live"
        await journal.enter(State.FAILED, code=str(Code.AUDIO_ELSEWHERE), message=SEND_AGAIN, wait=False)
