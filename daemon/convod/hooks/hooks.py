"""Delivers hooks: notes a session's end before it is stored, and forgets it once all targets have been told.

In: final states. Out: deliveries. No session waits for a target. A delivery is noted on the disk before the state that
it tells of is stored, and made only once that state is there: a crash in between loses none and invents none.
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
from convod.hooks.outbox import Outbox
from convod.hooks.schedule import Schedule
from convod.hooks.settings import HookSettings
from convod.hooks.targets import Command, HookFailed, Target, Webhook, secret_of
from convod.store import Store, StoreFailed

log = logging.getLogger("convod.hooks")

AT_ONCE: Final = 4
"""Deliveries tried at once: one slow target does not hold up all others."""

SEGMENTS: Final = 500
"""Read at once for `content`."""


class BadHook(Exception):
    """The settings of hooks cannot work; the text is a sentence that says what to do."""


class Hooks:
    """All deliveries. `prepare` and `stored` are called around a final state; `run` delivers until it is cancelled."""

    def __init__(self, settings: HookSettings, folder: Path, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._outbox = Outbox(folder)
        self._schedule = Schedule(settings.give_up_days * 86400)
        self._changed = AutoResetEvent()
        self.failures = 0
        """Tries that failed since the start."""
        self._slots = trio.CapacityLimiter(AT_ONCE)
        self._targets = _targets(settings)
        try:
            found = self._outbox.open()
        except OSError as error:
            raise BadHook(
                f"hooks: {folder} cannot be written ({error.strerror}); choose another --state-dir"
            ) from error
        now, wall = trio.current_time(), time.time()
        self._seq = {session: seq for session, (seq, _) in found.items()}
        for session, (_, since) in found.items():
            self._schedule.add(session, now, now - max(0.0, wall - since))

    @property
    def waiting(self) -> int:
        """Deliveries that are still to be made."""
        return len(self._schedule)

    def end_in(self, events: Sequence[DurableEvent]) -> SessionState | None:
        """The one of these events that targets are told of."""
        ends = [one for one in events if isinstance(one, SessionState) and one.state in self._settings.events]
        return ends[-1] if ends else None

    async def prepare(self, end: SessionState) -> None:
        """Note that a session is about to end. A power cut does not undo it.

        Raises:
            StoreFailed: the disk does not take it.
        """
        try:
            await trio.to_thread.run_sync(self._outbox.put, end.session, end.seq)
        except OSError as error:
            raise StoreFailed(f"a hook cannot be noted on the daemon's disk: {error.strerror}") from error

    def stored(self, end: SessionState) -> None:
        """The end of a session was stored: tell of it."""
        self._seq[end.session] = end.seq
        self._schedule.add(end.session, trio.current_time())
        self._changed.set()

    async def run(self) -> None:
        """Deliver until cancelled; what is not delivered then is, after the next start."""
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    with trio.move_on_at(self._schedule.next_due()):
                        await self._changed.wait()
                    while self._slots.available_tokens and (session := self._schedule.take(trio.current_time())):
                        self._slots.acquire_on_behalf_of_nowait(session)
                        nursery.start_soon(self._one, session)
        finally:
            with trio.CancelScope(shield=True):
                for target in self._targets:
                    await target.aclose()

    async def _one(self, session: str) -> None:
        try:
            told = await self._tell(session)
        except HookFailed as error:
            self.failures += 1
            if self._schedule.failed(session, trio.current_time()):
                log.warning("a hook is tried again later: %s", error, extra={"session": session})
            else:
                log.error("a hook is given up: %s", error, extra={"session": session})
                await self._forget(session)
        else:
            self._schedule.done(session)
            if told:
                await self._forget(session)
        finally:
            self._slots.release_on_behalf_of(session)
            self._changed.set()

    async def _forget(self, session: str) -> None:
        self._seq.pop(session, None)
        await trio.to_thread.run_sync(self._outbox.remove, session)

    async def _tell(self, session: str) -> bool:
        """Tell all targets. Returns whether the delivery is over; not if the session has not ended after all."""
        try:
            body = await self._body(session)
        except StoreFailed as error:
            raise HookFailed(f"the session cannot be read: {error}") from error
        if body is None:
            return True
        if body["session"]["state"] not in self._settings.events:
            return False  # it was killed just before its end, or tried again: it ends later
        id = f"{session}-{self._seq[session]}"
        data = msgspec.json.encode(body)
        failures: list[str] = []
        for target in self._targets:
            try:
                await target.deliver(id, int(time.time()), data)
            except HookFailed as error:
                failures.append(f"{target.name}: {error}")
        if failures:
            raise HookFailed("; ".join(failures))
        return True

    async def _body(self, session: str) -> dict[str, Any] | None:
        """Return what is told; None if the session was deleted."""
        record = await self._store.get(session)
        if record is None:
            return None
        body: dict[str, Any] = {
            "type": f"session.{record.state}",
            "timestamp": time.time(),
            "session": msgspec.to_builtins(record.info),
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
