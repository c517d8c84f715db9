"""At the start: match the audio in the spool with the sessions in the store.

In: the store, the spool, the sessions that will go on. Out: audio that no session claims set aside, audio of sessions
that are over removed, and the sizes of the rest counted. Audio that cannot be dealt with is logged and stays as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from convo.messages import State
from convod.store import Record, Spool, Store, StoreFailed

log = logging.getLogger("convod.sessions")


async def claim_audio(store: Store, spool: Spool, unfinished: set[str]) -> None:
    """Set aside audio that no session claims, and take it up again once its session is back.

    Audio of a session that is over was left by a daemon that was killed before it deleted it: it is removed.
    """

    async def take_up(session: str) -> bool:
        return await store.get(session) is not None and spool.take_up(session)

    aside: list[str] = []

    async def is_over(session: str) -> bool:
        record = await store.get(session)
        if record is None:
            if store.leases is not None and spool.is_new(session):
                return False  # perhaps another convod's, which is just creating its session
            spool.set_aside(session)
            aside.append(session)
        return record is not None and not _may_keep(record)

    async def remove(session: str) -> bool:
        spool.remove(session)
        return True

    taken = await _filter(list(spool.unclaimed_sessions()), take_up)
    over = await _filter([session for session in spool.sessions() if session not in unfinished], is_over)
    if over:
        try:
            await store.flush()  # that daemon may have died before the end of these sessions was on the disk
        except StoreFailed as error:
            log.error("audio of sessions that are over stays until the next start: %s", error)
            over = []
    await _filter(over, remove)
    if taken:
        log.info("audio that was set aside has its session again", extra={"sessions": len(taken)})
    if aside:
        log.warning(
            "audio that no session here knows was set aside in %s; it is taken up again when its database is back",
            spool.unclaimed,
            extra={"files": len(aside)},
        )


async def count_audio(store: Store, spool: Spool) -> None:
    """Correct stored sizes of audio that was changed by hand or by a kill, then count what each owner uses."""
    there = await trio.to_thread.run_sync(spool.sizes)
    noted = await (store.kept() if store.leases is None else store.leases.kept())
    ours = there.keys() | noted.keys() if store.leases is None else noted.keys()  # others' are theirs to correct
    wrong = {session for session in ours if there.get(session) != noted.get(session)}
    if wrong:
        try:
            await store.set_kept({session: there.get(session, 0) for session in wrong})
        except StoreFailed as error:
            log.error("the sizes of kept audio stay as they were noted: %s", error)
    spool.usage.begin(await store.used())


async def _filter(sessions: list[str], work: Callable[[str], Awaitable[bool]]) -> list[str]:
    """Return the sessions for which `work` returns true; one that fails does not hold up the others."""
    found = []
    for session in sessions:
        try:
            if await work(session):
                found.append(session)
        except (StoreFailed, OSError) as error:
            log.error("audio in the spool stays as it is: %s", error, extra={"session": session})
    return found


def _may_keep(record: Record) -> bool:
    """Return whether a session that is over may have audio; otherwise it was left by a daemon that was killed."""
    # Only the session's own configuration counts, not today's setting, which is for sessions to come: switching it off
    # deletes nothing. Older versions stored no answer (None). That audio was kept or left behind, nobody can say which,
    # so it stays until the session or audio of that age (`retention.audio_days`) is deleted.
    if record.state is State.COMPLETED:
        return record.config.keep_audio is not False
    return record.state is State.FAILED
