"""How the operator controls a running daemon: signals in, notices to the service manager out.

In: SIGTERM and SIGINT (stop; a second one stops at once), SIGHUP (read the settings and the certificate again). Out:
whether to stop, readiness, a status line, the watchdog's keep-alive. It knows nothing of sessions but their number.
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
from convod.listen.tls import BadCertificate
from convod.ops.config import BadSettings
from convod.ops.reload import ReloadableSettings
from convod.ops.systemd import Notifier

log = logging.getLogger("convod")

STATUS_S: Final = 5.0
"""Between two updates of the status line."""

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class ProcessControl:
    """Within its block no signal ends the process: signals are kept until `run` handles them."""

    def __init__(self, settings: ReloadableSettings, notifier: Notifier) -> None:
        self._settings = settings
        self._notifier = notifier
        self._receiver: AbstractContextManager[AsyncIterator[int]] = trio.open_signal_receiver(*SIGNALS)
        self._signals: AsyncIterator[int] | None = None
        self._cancel_on_stop: trio.CancelScope | None = None
        self._stop = trio.Event()
        self._started = False
        self._reload_waits = False

    def __enter__(self) -> ProcessControl:
        self._signals = self._receiver.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._receiver.__exit__(kind, error, traceback)

    @property
    def stopping(self) -> bool:
        """Whether the daemon was told to stop."""
        return self._stop.is_set()

    def ready(self) -> None:
        """Announce that the start is done, and catch up on a reload that was asked for meanwhile."""
        self._started = True
        self._notifier.ready()
        if self._reload_waits:
            self.reload()

    async def report(self, engine: Engine, counts: Callable[[], SessionCounts]) -> None:
        """Keep the status line current and the watchdog fed, until cancelled.

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

    async def run(self) -> None:
        """Handle signals, until cancelled."""
        assert self._signals is not None
        async for number in self._signals:
            name = signal.Signals(number).name
            if number == signal.SIGHUP and not self._started:
                self._reload_waits = True
            elif number == signal.SIGHUP:
                self.reload()
            else:
                log.info("told to stop", extra={"signal": name})
                self._stop.set()
                if self._cancel_on_stop is not None:
                    self._cancel_on_stop.cancel()

    def reload(self) -> None:
        """Read the settings again; where they cannot be used, log why and keep the old ones."""
        self._notifier.reloading()
        try:
            changes = self._settings.reload()
        except (BadSettings, BadCertificate) as error:
            log.error("settings were not read again: %s", error)
        else:
            log.info("settings were read again", extra={"changed": ", ".join(changes.applied) or "nothing"})
            if changes.waiting:
                log.warning("some changes wait for a restart", extra={"settings": ", ".join(changes.waiting)})
        self._notifier.ready()

    async def wait_stop(self) -> None:
        """Wait for SIGTERM or SIGINT."""
        await self._stop.wait()
        log.info("convod is stopping")
        self._notifier.stopping(self._settings.settings.drain_s)
        self._notifier.status("stopping")

    @contextmanager
    def cancel_on_stop(self) -> Iterator[None]:
        """Cancel the block at the next signal to stop: during a slow start, or a drain that the operator cuts short."""
        with trio.CancelScope() as self._cancel_on_stop:
            yield
        self._cancel_on_stop = None
