"""What the operator tells a running daemon, and what it answers: signals in, notices to the service manager out.

In: SIGTERM and SIGINT (stop; said again: at once), SIGHUP (read settings and certificate again). Out: what was asked
for, readiness, a status line, signs of life. It knows nothing of sessions but their number.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Final

import trio

from convo.messages import SessionCounts
from convod.engine.supervisor import Engine
from convod.ops import logs
from convod.ops.config import BadSettings, Settings
from convod.ops.reload import ReloadableSettings
from convod.ops.systemd import Notifier

log = logging.getLogger("convod")

STATUS_S: Final = 5.0
"""Between two looks at what to say in the status line."""

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class ProcessControl:
    """Within its block no signal ends the process: they are kept until somebody waits for them."""

    def __init__(self, current: ReloadableSettings, notifier: Notifier) -> None:
        self._current = current
        self._notifier = notifier
        self._receiver: AbstractContextManager[AsyncIterator[int]] = trio.open_signal_receiver(*SIGNALS)
        self._signals: AsyncIterator[int] | None = None
        self._prepare: Callable[[Settings], Callable[[], None]] = lambda settings: lambda: None
        self._refusals: tuple[type[Exception], ...] = (BadSettings,)
        self._until_told: trio.CancelScope | None = None
        self._told = trio.Event()
        self._started = False
        self._reload_waits = False

    def __enter__(self) -> ProcessControl:
        self._signals = self._receiver.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._receiver.__exit__(kind, error, traceback)

    def on_reload(self, prepare: Callable[[Settings], Callable[[], None]], *refusals: type[Exception]) -> None:
        """What makes ready for new settings, and returns what puts them in force.

        Where `prepare` raises one of `refusals` nothing has changed: all of the old settings stay.
        """
        self._prepare = prepare
        self._refusals = (BadSettings, *refusals)

    def why_not_alive(self, engine: Engine) -> Callable[[], str | None]:
        """What says why the daemon had better be restarted, if so."""
        return lambda: None if engine.answers else "the engine does not answer"

    def why_not_ready(self, engine: Engine, why_not_stored: Callable[[], str | None]) -> Callable[[], str | None]:
        """What says why no work should be sent here now, if so."""

        def why_not() -> str | None:
            if self._told.is_set():
                return "convod is stopping"
            if (trouble := why_not_stored()) is not None:
                return trouble
            if engine.state in ("ready", "unloaded"):
                return None
            return f"the speech model is {engine.state}" + (f": {engine.message}" if engine.message else "")

        return why_not

    def ready(self) -> None:
        """The start is done: say so, and do what could not be done before."""
        self._started = True
        self._notifier.ready()
        if self._reload_waits:
            self._reload()

    async def report(self, engine: Engine, counts: Callable[[], SessionCounts]) -> None:
        """Keep the status line true and the watchdog fed, until cancelled.

        The watchdog is fed from the loop itself and only while the engine answers: a daemon that hangs is restarted.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._feed_watchdog, engine)
            while True:
                now = counts()
                self._notifier.status(
                    f"{engine.state}: {engine.choice.model}; {now.live} live, {now.file} file sessions"
                )
                await trio.sleep(STATUS_S)

    async def _feed_watchdog(self, engine: Engine) -> None:
        if self._notifier.watchdog_s is None:
            return
        while True:
            if engine.answers:
                self._notifier.alive()
            else:
                log.error("the engine does not answer: the watchdog is not fed")
            await trio.sleep(self._notifier.watchdog_s / 3)

    async def listen(self) -> None:
        """Hear signals, until cancelled."""
        assert self._signals is not None
        async for number in self._signals:
            name = signal.Signals(number).name
            if number == signal.SIGHUP and not self._started:
                self._reload_waits = True
            elif number == signal.SIGHUP:
                self._reload()
            else:
                log.info("told to stop", extra={"signal": name})
                self._told.set()
                if self._until_told is not None:
                    self._until_told.cancel()

    def _reload(self) -> None:
        self._notifier.reloading()
        try:
            fresh = self._current.read()
            put_in_force = self._prepare(fresh.settings)
        except self._refusals as error:
            log.error("settings were not read again: %s", error)
        else:
            self._current.apply(fresh)
            logs.begin(fresh.settings.log)
            put_in_force()
            log.info("settings were read again", extra={"changed": ", ".join(fresh.changed) or "nothing"})
            if fresh.waiting:
                log.warning("some changes wait for a restart", extra={"settings": ", ".join(fresh.waiting)})
        self._notifier.ready()

    async def wait_told_to_stop(self) -> None:
        """Until SIGTERM or SIGINT came."""
        await self._told.wait()
        log.info("convod is stopping")
        self._notifier.stopping(self._current.settings.drain_s)
        self._notifier.status("stopping")

    @contextmanager
    def until_told(self) -> Iterator[None]:
        """A block that is left early when the next word to stop comes: a start that takes long, or the second word of
        an impatient operator.
        """
        with trio.CancelScope() as self._until_told:
            yield
        self._until_told = None
