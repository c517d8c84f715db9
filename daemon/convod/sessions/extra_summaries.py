"""Summaries that a client asks for beside a session's own: written, retried, continued after a restart.

In: a session's journal and options. Out: a summary among its events, or a warning that says why there is none. The
request is stored with the session until one of the two is, in the same transaction, so that a daemon that is killed
meanwhile starts it again. A session's state never changes here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from convo.messages import Code, SessionWarning, SummaryOptions
from convod.sessions.journal import Journal
from convod.sessions.session import LONGEST_PAUSE_S, Refused
from convod.store import LeaseLost, Record
from convod.summary import Backoff, SummarizerUnavailable

log = logging.getLogger("convod.sessions")

MOST: Final = 8
"""Requested summaries of one session that may be in progress."""

TRIES: Final = 2
"""While a client waits. It may ask again: perhaps it rather wants another provider."""


class SummaryRequests:
    """`run` owns the tasks that write them.

    Args:
        on_written: called with the id of a session that got a summary.
    """

    def __init__(self, on_written: Callable[[str], None]) -> None:
        self._on_written = on_written
        self._nursery: trio.Nursery | None = None
        self._running: dict[str, set[trio.CancelScope]] = {}

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write summaries until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def check(self, journal: Journal) -> None:
        """Raise Refused if too many are in progress."""
        if len(journal.record.asked) >= MOST:
            raise Refused(Code.BUSY, f"{MOST} summaries of this session are being written already; wait for one")

    async def ask(self, journal: Journal, options: SummaryOptions) -> None:
        """Store the request and start to write.

        Raises:
            Refused: too many are in progress.
        """
        added = False

        def add(record: Record) -> None:
            nonlocal added
            self.check(journal)
            record.asked.append(options)
            added = True

        try:
            await journal.publish_all([], add, wait=False)
        except BaseException:
            if added:  # cancelled before it was stored: the client was promised nothing
                _done(options, journal.record)
            raise
        self._start(journal, options, patient=False)

    def resume(self, journal: Journal) -> None:
        """Start again what an earlier daemon did not finish. No client waits now, so it waits for its summarizer."""
        for options in journal.record.asked:
            log.info("summary is begun anew", extra={"session": journal.id})
            self._start(journal, options, patient=True)

    def forget(self, session: str) -> None:
        """Cancel all that are in progress for a session."""
        for scope in self._running.get(session, ()):
            scope.cancel()

    def _start(self, journal: Journal, options: SummaryOptions, *, patient: bool) -> None:
        assert self._nursery is not None, "run has started"
        self._nursery.start_soon(partial(self._run, journal, options, patient=patient))

    async def _run(self, journal: Journal, options: SummaryOptions, *, patient: bool) -> None:
        scopes = self._running.setdefault(journal.id, set())
        with trio.CancelScope() as scope:
            scopes.add(scope)
            try:
                await self._write(journal, options, patient=patient)
            except LeaseLost as error:
                log.warning("summary is left to another convod: %s", error, extra={"session": journal.id})
            except Exception:
                # A fault here must not end the daemon. Nothing is stored of a session that was deleted meanwhile.
                if not scope.cancel_called:
                    log.exception("session was not summarised", extra={"session": journal.id})
                    await _give_up(journal, options, "convod made a mistake; its log says which")
            finally:
                scopes.discard(scope)
                if not scopes:
                    self._running.pop(journal.id, None)

    async def _write(self, journal: Journal, options: SummaryOptions, *, patient: bool) -> None:
        backoff = Backoff(2.0, LONGEST_PAUSE_S)
        tries = 0
        while True:
            tries += 1
            try:
                await journal.summarize(options, partial(_done, options))
            except SummarizerUnavailable as error:
                # `wait_s`: it keeps failing, and is not asked for a while.
                if not error.retry or (not patient and (tries >= TRIES or error.wait_s)):
                    await _give_up(journal, options, str(error))
                    return
                log.info("summary waits: %s", error, extra={"session": journal.id})
                pause = max(backoff.pause(), error.wait_s)
            else:
                self._on_written(journal.id)
                return
            await journal.wait_summarizer(pause)


async def _give_up(journal: Journal, options: SummaryOptions, why: str) -> None:
    await journal.publish(
        SessionWarning, also=partial(_done, options), code=str(Code.SUMMARIZER_UNAVAILABLE), message=why
    )


def _done(options: SummaryOptions, record: Record) -> None:
    # Of two equal requests either will do.
    if options in record.asked:
        record.asked.remove(options)
