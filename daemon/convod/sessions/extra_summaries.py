"""Summaries that somebody asks for beside a session's own: begun, tried again, gone on with after a restart.

In: a session's journal and options. Out: a summary among its events, or a warning that says why there is none. What was
asked for is stored with the session until one of the two is, in the same transaction, so that a daemon that is killed
meanwhile begins it anew. It never changes a session's state.
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
from convod.store import Record
from convod.summary import Backoff, SummarizerUnavailable

log = logging.getLogger("convod.sessions")

MOST: Final = 8
"""Summaries of one session that may be under way beside its own."""

TRIES: Final = 2
"""While somebody waits for it. Another one is for them to ask for: they may rather have another provider."""


class SummaryRequests:
    """Runs in the nursery of its caller. `written` is told the id of a session that got a summary."""

    def __init__(self, nursery: trio.Nursery, written: Callable[[str], None]) -> None:
        self._nursery = nursery
        self._written = written
        self._running: dict[str, set[trio.CancelScope]] = {}

    def check(self, journal: Journal) -> None:
        """Raise Refused if too many are under way."""
        if len(journal.record.asked) >= MOST:
            raise Refused(Code.BUSY, f"{MOST} summaries of this session are being written already; wait for one")

    async def ask(self, journal: Journal, options: SummaryOptions) -> None:
        """Store the wish and begin.

        Raises:
            Refused: too many are under way.
        """
        self.check(journal)
        asked = journal.record.asked
        asked.append(options)
        try:
            await journal.save(wait=False)
        except BaseException:
            asked.remove(options)  # cancelled before it was stored: nobody was promised it
            raise
        self._begin(journal, options, patient=False)

    def resume(self, journal: Journal) -> None:
        """Begin anew what a former daemon did not finish. Nobody waits for it now, so it waits for its summarizer."""
        for options in journal.record.asked:
            log.info("summary is begun anew", extra={"session": journal.id})
            self._begin(journal, options, patient=True)

    def forget(self, session: str) -> None:
        """Stop all that is under way for a session."""
        for scope in self._running.get(session, ()):
            scope.cancel()

    def _begin(self, journal: Journal, options: SummaryOptions, *, patient: bool) -> None:
        self._nursery.start_soon(partial(self._run, journal, options, patient=patient))

    async def _run(self, journal: Journal, options: SummaryOptions, *, patient: bool) -> None:
        scopes = self._running.setdefault(journal.id, set())
        with trio.CancelScope() as scope:
            scopes.add(scope)
            try:
                await self._write(journal, options, patient=patient)
            except Exception:
                # Nothing of it may take the daemon along. Of a session that is deleted meanwhile nothing is stored.
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
                # `wait_s`: it keeps failing, and is left alone for a while.
                if not error.retry or (not patient and (tries >= TRIES or error.wait_s)):
                    await _give_up(journal, options, str(error))
                    return
                log.info("summary waits: %s", error, extra={"session": journal.id})
                pause = max(backoff.pause(), error.wait_s)
            else:
                self._written(journal.id)
                return
            await journal.wait_summarizer(pause)


async def _give_up(journal: Journal, options: SummaryOptions, why: str) -> None:
    await journal.publish(
        SessionWarning, also=partial(_done, options), code=str(Code.SUMMARIZER_UNAVAILABLE), message=why
    )


def _done(options: SummaryOptions, record: Record) -> None:
    # Of two that are alike it does not matter which.
    if options in record.asked:
        record.asked.remove(options)
