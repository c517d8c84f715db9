"""Create sessions: new ones, those that are found by their key, and those that transcribe kept audio again.

In: requests, with the owner who makes them. Out: sessions that run, or `Refused`. `request` checks what is asked for,
`admission` the owner's limits; the registry runs what is created here.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

import msgspec
import trio

from convo.messages import Code, CreateSession, Retranscribe, State
from convod.sessions.admission import Admission
from convod.sessions.journal import Journal
from convod.sessions.lengths import check_text
from convod.sessions.registry import Registry
from convod.sessions.request import validate_request
from convod.sessions.session import Refused, Session, refused_by_disk
from convod.store import Record, SpoolFailed, Store, StoreFailed
from convod.summary import Summarizers


class Creation:
    """Creates sessions until it is `stopped`."""

    def __init__(self, store: Store, registry: Registry, admission: Admission, summarizers: Summarizers) -> None:
        self._store = store
        self._registry = registry
        self._admission = admission
        self._summarizers = summarizers
        self._keys: WeakValueDictionary[tuple[str, str], trio.Lock] = WeakValueDictionary()
        self.stopped = False

    async def create(self, owner: str, request: CreateSession, producer: object) -> tuple[Journal, Session | None]:
        """Create a session, or find the owner's session with the same key; None stands for one that is over.

        Raises:
            Refused: the request cannot be met.
        """
        self._check_not_stopped()
        check_text("key", request.key)
        async with self._lock_of(owner, request.key):
            # An existing session is found whatever the limits are and whatever else the request says.
            record = await self._with_key(owner, request.key) or await self._store_new(owner, request)
            self._check_not_stopped()  # what was stored starts with the next daemon, and is found by its key
            session = self._registry.find(record.id)
            if session is None:
                if not record.state.final and (leases := self._store.leases) is not None:
                    record = await leases.lease(record.id) or record  # perhaps another convod's, by its key
                if record.state.final:
                    return self._registry.journal_of(record), None
                session = await self._start_or_refuse(record)
        session.prepare()
        if session.takes_audio:
            session.produce(producer)
        return session.journal, session

    def _check_not_stopped(self) -> None:
        if self.stopped:
            raise Refused(Code.BUSY, "the daemon is stopping; connect again in a moment")

    def _lock_of(self, owner: str, key: str | None) -> trio.Lock:
        """Return the lock for requests with that key: of two at once, the second finds what the first created."""
        return trio.Lock() if key is None else self._keys.setdefault((owner, key), trio.Lock())

    async def _with_key(self, owner: str, key: str | None) -> Record | None:
        if key is None:
            return None
        for session in self._registry:
            if (session.record.owner, session.record.key) == (owner, key):
                return session.record
        return await self._store.keyed(owner, key)

    async def _store_new(self, owner: str, request: CreateSession) -> Record:
        config = self._validated(request)
        self._admission.check_room(owner, config.audio.size or 1)
        with self._admission.reserve(owner):
            record = _new_record(owner, config, title=config.title or "", key=config.key)
            return await self._admission.create(self._store, record)

    def _validated(self, request: CreateSession) -> CreateSession:
        return validate_request(request, self._registry.deps_now(), self._summarizers)

    async def _start_or_refuse(self, record: Record) -> Session:
        """Start a new session, or one that was found by its key and is not running.

        Raises:
            Refused: its audio could not be opened.
        """
        try:
            return self._registry.start(record)
        except SpoolFailed as error:
            if record.seq == 0:  # no client knows of it
                with suppress(StoreFailed):  # otherwise the next start finds it, and times it out
                    await self._store.delete(record.id)
            raise refused_by_disk(error) from error

    async def retranscribe(self, reach: str | None, owner: str, request: Retranscribe) -> str:
        """Create a session with the audio of one whose audio was kept, and return its id.

        Raises:
            Refused: there is no such session, its audio was not kept, or the request cannot be met.
        """
        source = (await self._registry.journal(reach, request.session)).record
        spool = self._registry.deps_now().spool
        if not source.ended or not spool.size(source.id):
            raise Refused(
                Code.BAD_STATE, "the audio of this session was not kept (keep_audio); send it again as a new session"
            )
        changes = {name: getattr(request, name) for name in ("task", "words")}
        changes = {name: value for name, value in changes.items() if value is not None}
        if request.language is not None or request.languages:  # one takes the other's place
            changes |= {"language": request.language, "languages": request.languages}
        config = self._validated(
            msgspec.structs.replace(source.config, model=request.model, key=None, priority=request.priority, **changes)
        )
        record = _new_record(owner, config, title=source.title, ended=True)
        with self._admission.reserve(owner):
            try:
                await trio.to_thread.run_sync(spool.share, source.id, record.id, owner)
            except SpoolFailed as error:
                raise refused_by_disk(error) from error
            try:
                await self._admission.create(self._store, record, durable=True)
            except BaseException:
                with suppress(SpoolFailed):
                    spool.remove(record.id, owner)
                raise
        self._registry.start_soon(record)
        return record.id


def _new_record(owner: str, config: CreateSession, **fields: Any) -> Record:
    """Make the record of a session that starts now; its id is hard to guess, and unique in its first few characters."""
    return Record(
        id=secrets.token_hex(10),
        owner=owner,
        kind=config.kind,
        state=State.PENDING,
        created=time.time(),
        config=config,
        heard_language=config.language,
        **fields,
    )
