"""The way to the daemon, and the only module that holds a `convo.Client`.

In: a client's token, and what a dialect wants done. Out: typed replies and events, or `Refused`. Streams survive a lost
connection: audio that the daemon had not stored is sent again, and events go on where they stopped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final

import trio

import convo
from convo.address import parse
from convo.messages import (
    AttachReply,
    CancelSession,
    Code,
    DeleteSession,
    DurableEvent,
    Event,
    GetSessionReply,
    ListModels,
    ModelInfo,
    Request,
    SessionState,
)

from .errors import UNAVAILABLE, Refused, translated

PATIENCE_S: Final = 30.0
"""How long a stream waits for a daemon that went away."""

_PAUSE_S: Final = 0.2  # before a broken connection is tried again; doubles up to the next
_LONGEST_PAUSE_S: Final = 2.0
_EVENTS: Final = 16  # events that wait for a slow client here; the client library bounds the rest
_GOODBYE_S: Final = 5.0
_PROBE_S: Final = 2.0


class Daemon:
    """A daemon at `url`, asked with the token of each client."""

    def __init__(self, url: str) -> None:
        self._url = url

    def connect(self, token: str | None) -> AbstractAsyncContextManager[convo.Client]:
        """Connect for the length of a block; raises what the client library raises."""
        return convo.connect(self._url, token=token, client=f"convo-gateway/{convo.__version__}")

    async def ask(self, token: str | None, *requests: Request[Any]) -> list[Any]:
        """Send requests over one connection and return their replies.

        Raises:
            Refused: one of them was refused, or no daemon is there.
        """
        with translated():
            async with self.connect(token) as client:
                return [await client.request(request) for request in requests]

    async def session(self, token: str | None, job: str) -> GetSessionReply:
        """Return a session with all its segments. Raises like `ask`."""
        with translated():
            async with self.connect(token) as client:
                return await client.get_session(job)

    async def why_failed(self, token: str | None, job: str) -> tuple[str, str]:
        """Return code and sentence of a session that failed. Raises like `ask`."""
        why = (str(Code.INTERNAL), "The session failed, and the daemon did not say why: see its log.")
        with translated():
            async with self.connect(token) as client:
                async for event in (await client.attach(job)).events():
                    if isinstance(event, SessionState) and event.message:
                        why = (event.code or why[0], event.message)
        return why

    async def export(self, token: str | None, job: str, format: str) -> str:
        """Return a transcript in a format of the daemon's. Raises like `ask`."""
        with translated():
            async with self.connect(token) as client:
                return await client.export(job, format)

    async def models(self, token: str | None) -> list[ModelInfo]:
        """Return the speech models that are on the daemon's disk. Raises like `ask`."""
        (reply,) = await self.ask(token, ListModels())
        return [model for model in reply.models if model.here]

    async def forget(self, token: str | None, job: str) -> None:
        """Delete a session, though the caller may be being cancelled; a daemon that is away keeps it."""
        with trio.move_on_after(_GOODBYE_S, shield=True), suppress(Refused):
            await self._stop_and_delete(token, job)

    async def _stop_and_delete(self, token: str | None, job: str) -> None:
        with translated():
            async with self.connect(token) as client:
                with suppress(convo.RequestError):  # it may be over
                    await client.request(CancelSession(session=job))
                await client.request(DeleteSession(session=job))

    async def reachable(self) -> bool:
        """Return whether something listens at the daemon's address."""
        address = parse(self._url)
        with trio.move_on_after(_PROBE_S):
            try:
                stream: trio.abc.Stream
                if address.scheme == "unix":
                    stream = await trio.open_unix_socket(address.path)
                else:
                    stream = await trio.open_tcp_stream(address.host, address.port)
            except OSError:
                return False
            await trio.aclose_forcefully(stream)
            return True
        return False

    @asynccontextmanager
    async def open(
        self,
        token: str | None,
        *,
        job: str | None = None,
        after_seq: int = 0,
        produce: bool = True,
        sample_bytes: int = 1,
        **fields: Any,
    ) -> AsyncIterator[Stream]:
        """Follow a session for the length of a block: `job`, or a new one made with `fields` (of `CreateSession`).

        Args:
            produce: send audio to it, too.
            sample_bytes: its samples are never cut.

        Raises:
            Refused: the daemon refused it, or is not there.
        """
        stream = Stream(self, token, job, after_seq, produce, sample_bytes, fields)
        # What the block raises is kept and raised outside of the nursery, which would put it into a group.
        kept: BaseException | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.run)
            try:
                await stream.wait_open()
                yield stream
            except (trio.Cancelled, GeneratorExit):
                raise
            except BaseException as error:
                kept = error
            finally:
                nursery.cancel_scope.cancel()
        if kept is not None:
            raise kept


class Stream:
    """One session: audio in, events out, over as many connections as that takes. `Daemon.open` makes one and runs it.

    One task sends, one reads the events.
    """

    def __init__(
        self,
        daemon: Daemon,
        token: str | None,
        job: str | None,
        after_seq: int,
        produce: bool,
        sample_bytes: int,
        fields: dict[str, Any],
    ) -> None:
        self._daemon = daemon
        self._token = token
        self._job = job
        self._seq = after_seq
        self._produce = produce
        self._fields = fields
        self._sample_bytes = sample_bytes
        self._split = b""  # the beginning of a sample
        self._unsafe = bytearray()  # audio that the daemon may not have stored: as much as its credit
        self._unsafe_start = 0
        self._position = 0  # bytes handed to the connection that is open
        self._session: convo.ClientSession | None = None
        self._failure: Refused | None = None
        self._changed = trio.lowlevel.ParkingLot()
        self._put, self._events = trio.open_memory_channel[Event](_EVENTS)

    @property
    def job(self) -> str:
        """The session's id, once it is open."""
        assert self._job is not None
        return self._job

    @property
    def received(self) -> int:
        """Bytes of audio taken so far, from the start of the stream."""
        return self._unsafe_start + len(self._unsafe) + len(self._split)

    @property
    def ended(self) -> bool:
        """Whether the session took no more audio when this connection attached to it."""
        reply = self._session.reply if self._session is not None else None
        return isinstance(reply, AttachReply) and reply.ended

    async def wait_open(self) -> None:
        """Wait until the daemon has said yes.

        Raises:
            Refused: it said no.
        """
        await self._ready()

    async def events(self) -> AsyncIterator[Event]:
        """Yield events until the session's final state, each stored one once.

        Raises:
            Refused: the daemon refused the session's audio, or went away for too long.
        """
        async for event in self._events:
            yield event
        if self._failure is not None:
            raise self._failure

    async def send(self, data: bytes) -> None:
        """Send audio; waits while the daemon has no room for it.

        Raises:
            Refused: the daemon refused it, or went away for too long.
        """
        data = self._split + data
        cut = len(data) - len(data) % self._sample_bytes
        self._split = data[cut:]
        self._unsafe += data[:cut]
        await self._flush()

    async def finalize(self) -> int:
        """Wait until all audio so far is transcribed; returns its bytes. Raises like `send`."""
        while True:
            session = await self._flush()
            try:
                with translated():
                    return await session.finalize()
            except Refused as error:
                await self._lost(session, error)

    async def end(self) -> None:
        """Tell the daemon that this was all. Raises like `send`."""
        while True:
            session = await self._flush()
            if self.ended:  # an earlier connection broke behind the end
                return
            try:
                with translated():
                    await session.end()
                return
            except Refused as error:
                await self._lost(session, error)

    async def leave(self) -> None:
        """End the session of a client that is gone, so that its summary is stored; cancelling does not stop it."""
        with trio.move_on_after(_GOODBYE_S, shield=True), suppress(Refused):
            await self.end()

    async def _flush(self) -> convo.ClientSession:
        """Hand everything to the connection that is open, and return it."""
        while True:
            session = await self._ready()
            self._forget_stored(session)
            data = bytes(self._unsafe[self._position - self._unsafe_start :])
            if not data:
                return session
            try:
                with translated():
                    await session.send_audio(data)
            except Refused as error:
                await self._lost(session, error)
                continue
            if session is self._session:
                self._position += len(data)

    def _forget_stored(self, session: convo.ClientSession) -> None:
        safe = min(session.acknowledged, self._position) - self._unsafe_start
        if safe > 0:
            del self._unsafe[:safe]
            self._unsafe_start += safe

    async def _lost(self, session: convo.ClientSession, error: Refused) -> None:
        """Return once another connection is open in place of one that broke; raises any other error."""
        if error.code != UNAVAILABLE:
            raise error
        while self._session is session and self._failure is None:
            await self._changed.park()

    async def _ready(self) -> convo.ClientSession:
        while self._session is None:
            if self._failure is not None:
                raise self._failure
            await self._changed.park()
        return self._session

    # --- the connection ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep a connection until the session is over, the daemon is gone for too long, or this is cancelled."""
        with self._put:
            try:
                await self._keep_connected()
            except Refused as error:
                self._failure = error
            finally:
                self._changed.unpark_all()

    async def _keep_connected(self) -> None:
        until, pause = trio.current_time(), _PAUSE_S  # a first connection that fails is not tried again
        while True:
            try:
                with translated():
                    async with self._daemon.connect(self._token) as client:
                        await self._attach(client)
                        until = trio.current_time() + PATIENCE_S
                        if await self._pass_on():
                            return
            except Refused as error:
                again = error.code in (UNAVAILABLE, Code.BUSY) and trio.current_time() < until
                if not again:
                    raise
            self._session = None
            if trio.current_time() >= until:
                until = trio.current_time() + PATIENCE_S
            await trio.sleep(pause)
            pause = min(_LONGEST_PAUSE_S, pause * 2)

    async def _attach(self, client: convo.Client) -> None:
        if self._job is None:
            session = await client.create_session(**self._fields)
            self._job = session.id
        else:
            session = await client.attach(self._job, after_seq=self._seq, produce=self._produce)
            if isinstance(session.reply, AttachReply):
                self._go_on_from(session.reply.audio_offset)
        self._session = session
        self._changed.unpark_all()

    def _go_on_from(self, offset: int) -> None:
        """Take up the audio where the daemon has it."""
        if not self._unsafe and offset > self._unsafe_start:
            self._unsafe_start = offset  # somebody else sent what was before
        self._position = max(offset, self._unsafe_start)
        stored = min(self._position - self._unsafe_start, len(self._unsafe))
        del self._unsafe[:stored]
        self._unsafe_start += stored

    async def _pass_on(self) -> bool:
        """Pass events on; returns whether the session is over."""
        assert self._session is not None
        try:
            async for event in self._session.events():
                if isinstance(event, DurableEvent):
                    self._seq = max(self._seq, event.seq)
                await self._put.send(event)
        except (convo.ConnectionLost, convo.EventsLost):
            return False
        return True
