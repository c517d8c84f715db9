"""Delivers hooks: the store notes each with the end of a session, until all targets have been told.

In: final states. Out: deliveries. No session waits for a target. A delivery is stored in the transaction that ends its
session, and made by one convod: a crash loses none and invents none. What a convod that died has not told, another one
tells where several share a store.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from convo.messages import DurableEvent, FinalSummary, SessionState
from convod.auto_reset_event import AutoResetEvent
from convod.hooks.schedule import Schedule
from convod.hooks.settings import HookSettings
from convod.hooks.targets import Command, HookFailed, Target, Webhook, secret_of
from convod.store import Delivery, Store, StoreFailed

log = logging.getLogger("convod.hooks")

AT_ONCE: Final = 4
"""Deliveries tried at once: one slow target does not hold up all others."""

SEGMENTS: Final = 500
"""Read at once for `content`."""


LOOKS: Final = 3
"""Looks at what other convods have left, within the length of a lease. One that is found dead twice in a row is."""

AGAIN_S: Final = 1.0
"""Until a store is read again that could not be."""


class BadHook(Exception):
    """The settings of hooks cannot work; the text is a sentence that says what to do."""


class Hooks:
    """All deliveries. `stored` is called after a final state; `run` delivers until it is cancelled."""

    def __init__(self, settings: HookSettings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._schedule = Schedule(settings.give_up_days * 86400)
        self._changed = AutoResetEvent()
        self.failures = 0
        """Tries that failed since the start."""
        self._slots = trio.CapacityLimiter(AT_ONCE)
        self._targets = _targets(settings)
        self._ends: dict[str, tuple[str, int]] = {}  # sessions and their events, by the id of the delivery
        self._missing: set[Delivery] = set()  # of convods that were dead at the last look

    @property
    def waiting(self) -> int:
        """Deliveries that are still to be made."""
        return len(self._schedule)

    def end_in(self, events: Sequence[DurableEvent]) -> SessionState | None:
        """The one of these events that targets are told of."""
        ends = [one for one in events if isinstance(one, SessionState) and one.state in self._settings.events]
        return ends[-1] if ends else None

    def stored(self, end: SessionState) -> None:
        """The end of a session was stored, for delivery: tell of it."""
        self._add(end.session, end.seq)

    def _add(self, session: str, seq: int, since: float | None = None) -> None:
        id = f"{session}-{seq}"
        if id in self._ends:
            return
        self._ends[id] = session, seq
        now = trio.current_time()
        self._schedule.add(id, now, None if since is None else now - max(0.0, time.time() - since))
        self._changed.set()

    async def run(self) -> None:
        """Deliver until cancelled; what is not delivered then is, after the next start."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._look_for_more)
                while True:
                    with trio.move_on_at(self._schedule.next_due()):
                        await self._changed.wait()
                    while self._slots.available_tokens and (id := self._schedule.take(trio.current_time())):
                        self._slots.acquire_on_behalf_of_nowait(id)
                        nursery.start_soon(self._one, id)
        finally:
            with trio.CancelScope(shield=True):
                for target in self._targets:
                    await target.aclose()

    async def _look_for_more(self) -> None:
        """Take up what an earlier start has left, and then what other convods leave that stop."""
        leases = self._store.leases
        every_s = float("inf") if leases is None else leases.member.lease_s / LOOKS
        while True:
            try:
                await self._look()
            except StoreFailed as error:
                log.warning("hooks that wait are not read: %s", error)
                await trio.sleep(min(every_s, AGAIN_S))
            else:
                await trio.sleep(every_s)

    async def _look(self) -> None:
        for one in await self._store.deliveries():
            self._add(one.session, one.seq, one.since)
        if (leases := self._store.leases) is None:
            return
        left = await leases.left_deliveries()
        missing, self._missing = self._missing, set(left)
        for one in left:
            if (one.ours or one in missing) and await leases.take_delivery(one):
                self._add(one.session, one.seq, one.since)

    async def _one(self, id: str) -> None:
        session, _ = self._ends[id]
        try:
            await self._tell(id)
        except HookFailed as error:
            self.failures += 1
            if self._schedule.failed(id, trio.current_time()):
                log.warning("a hook is tried again later: %s", error, extra={"session": session})
            else:
                log.error("a hook is given up: %s", error, extra={"session": session})
                await self._forget(id)
        else:
            await self._forget(id)
            self._schedule.done(id)
        finally:
            self._slots.release_on_behalf_of(id)
            self._changed.set()

    async def _forget(self, id: str) -> None:
        """Note that a delivery is over. While that cannot be stored, it is not told again here."""
        session, seq = self._ends[id]
        while True:
            try:
                await self._store.delivered(session, seq)
            except StoreFailed as error:
                log.warning("that a hook was told is not stored yet: %s", error, extra={"session": session})
                await trio.sleep(AGAIN_S)
            else:
                del self._ends[id]
                return

    async def _tell(self, id: str) -> None:
        """Tell all targets, unless this convod need not any more."""
        session, seq = self._ends[id]
        try:
            body = await self._body(session) if await self._store.must_deliver(session, seq) else None
        except StoreFailed as error:
            raise HookFailed(f"the session cannot be read: {error}") from error
        if body is None or body["session"]["state"] not in self._settings.events:
            return  # another convod tells it; or it was deleted, or is tried again and ends later
        data = msgspec.json.encode(body)
        failures: list[str] = []
        for target in self._targets:
            try:
                await target.deliver(id, int(time.time()), data)
            except HookFailed as error:
                failures.append(f"{target.name}: {error}")
        if failures:
            raise HookFailed("; ".join(failures))

    async def _body(self, session: str) -> dict[str, Any] | None:
        """Return what is told; None if the session was deleted."""
        record = await self._store.get(session)
        if record is None:
            return None
        code, message = await self._store.failure(session)
        body: dict[str, Any] = {
            "type": f"session.{record.state}",
            "timestamp": time.time(),
            "session": msgspec.to_builtins(msgspec.structs.replace(record.info, code=code, message=message)),
        }
        if self._settings.content:
            segments: list[Any] = []
            while True:
                page = await self._store.segments(session, segments[-1].segment if segments else -1, SEGMENTS)
                segments += [msgspec.structs.replace(segment, words=None) for segment in page]
                if len(page) < SEGMENTS:
                    break
            summaries = await self._store.summaries(session, FinalSummary)
            body["segments"] = msgspec.to_builtins(segments)
            body["summary"] = msgspec.to_builtins(summaries[0].summary) if summaries else None
        return body


def _targets(settings: HookSettings) -> list[Target]:
    targets: list[Target] = []
    if settings.url:
        if not settings.secret_file:
            raise BadHook("hooks.url: name a file with a secret in hooks.secret_file (openssl rand -base64 32 > FILE)")
        try:
            secret = secret_of(Path(settings.secret_file).expanduser().read_text())
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise BadHook(
                f"hooks.secret_file: {settings.secret_file} holds no secret ({why}); "
                "openssl rand -base64 32 > FILE makes one"
            ) from error
        targets.append(Webhook(settings.url, secret, settings.timeout_s))
    if settings.command:
        targets.append(Command(settings.command, settings.timeout_s))
    return targets
