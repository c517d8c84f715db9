"""Sessions whose audio we send and that survive their connections: live audio, and files.

In: a `Link`, audio. Out: events, each stored one exactly once. After a broken connection, the audio continues from the
byte that the daemon has. `convo.resume` decides what to do; `convo.follower` keeps the events in order.
"""

from __future__ import annotations

import os
import secrets
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, Unpack

import anyio
from anyio.lowlevel import checkpoint

from .client import Client, ClientSession, EventStream, SessionOptions
from .client_io import Broadcast
from .errors import ConnectionLost, ConvoError, EventsLost, RequestError
from .follower import ResumedEvents
from .link import Link
from .media import PIECE
from .messages import AttachReply, AudioFormat, CancelSession, Code, Event
from .resume import Create, End, ResumableSession, Send
from .text import file_name
from .transport import background_tasks

_BUSY_S = 1.0  # before a daemon that has no room is asked again
_GOODBYE_S = 3.0  # for cancelling a session while we ourselves are told to stop

Read = Callable[[], Awaitable[bytes]]
"""Returns the next bytes of a file, none at its end."""


class _Producer(ResumedEvents):
    """A session whose audio we send, for the length of an `async with` block."""

    def __init__(
        self, link: Link, kind: Literal["live", "file"], options: SessionOptions, state: ResumableSession | None = None
    ) -> None:
        super().__init__(link, state or ResumableSession())
        self._kind = kind
        self._busy: Callable[[RequestError], None] | None = None
        # If the answer is lost and it is requested again, this makes it the same session.
        self._options: SessionOptions = {"key": secrets.token_hex(16), **options}
        self._changed = Broadcast()
        self._current: ClientSession | None = None
        self._attempt: anyio.CancelScope | None = None
        self._reader: anyio.CancelScope | None = None
        self._gave_up: Exception | None = None
        self._opened = False
        self._background = background_tasks()

    async def __aenter__(self) -> Self:
        tasks = await self._background.__aenter__()
        tasks.start_soon(self._run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._background.__aexit__(kind, error, traceback)

    @property
    def failure(self) -> Exception | None:
        """Why the daemon does not have all of the audio, or why the session was given up; None if all is well."""
        return self._state.failure or self._gave_up

    @property
    def ended(self) -> bool:
        """Whether the daemon knows that no more audio comes."""
        return self._state.ended

    @property
    def taken(self) -> int:
        """Bytes of audio so far."""
        return self._state.buffer.end

    @property
    def acknowledged(self) -> int:
        """Bytes of audio that the daemon has stored safely, as far as is known now."""
        return 0 if self._current is None else self._current.acknowledged

    async def opened(self) -> str:
        """Wait until the session is created or attached to; return its id. Raises like iterating."""
        await self._until(lambda: self._opened)
        return self._state.session

    async def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            if self.failure is not None:
                raise self.failure
            if self._over:
                raise _over()
            await self._changed.wait()

    # --- events -------------------------------------------------------------------------------------------

    async def _next(self, stream: EventStream) -> Event | None:
        with anyio.CancelScope() as self._reader:  # left when the session is given up
            if self._gave_up is not None:
                raise self._gave_up
            try:
                return await anext(stream)
            except RequestError as error:  # the audio was refused: events of earlier audio still come
                self._refused(error)
        return None

    async def _reopened(self, older: ClientSession | None) -> ClientSession:
        while self._current is None or self._current is older:
            if self._gave_up is not None:
                raise self._gave_up
            await self._changed.wait()
        return self._current

    def _lose(self, session: ClientSession | None) -> None:
        if session is self._current:
            self._stop_attempt()

    def _finished(self) -> None:
        if not self._state.unsent:  # the last event may be taken before the answer to the end
            self._state.end_answered()
        self._stop_attempt()

    # --- the connection, in a task of its own -------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while not self._over and self._gave_up is None:
                client = await self._link.client()
                with suppress(ConnectionLost, EventsLost):
                    await self._once(client)
                self._current = None
                await checkpoint()  # let the link notice
        except (ConvoError, OSError) as error:
            self._give_up(error)

    async def _once(self, client: Client) -> None:
        """Send on one connection, until that is lost or the session is over."""
        session = await self._create_or_attach(client)
        async with anyio.create_task_group() as tasks:
            self._attempt = tasks.cancel_scope
            self._current, self._opened = session, True
            self._changed.set()
            tasks.start_soon(self._send_all, session)
            await client.wait_lost()
            tasks.cancel_scope.cancel()

    async def _create_or_attach(self, client: Client) -> ClientSession:
        step = self._state.opening()
        if isinstance(step, Create):
            session = await self._create(client)
        else:
            session = await client.attach(step.session, after_seq=step.after_seq, produce=step.produce)
        reply = session.reply
        if isinstance(reply, AttachReply):
            self._state.opened(session.id, reply.audio_offset, ended=reply.ended)
        else:
            self._state.opened(session.id)
        return session

    async def _create(self, client: Client) -> ClientSession:
        while True:
            try:
                return await client.create_session(self._kind, **self._options)
            except RequestError as error:
                if error.code != Code.BUSY or self._busy is None:
                    raise
                self._busy(error)
            await anyio.sleep(_BUSY_S)

    async def _send_all(self, session: ClientSession) -> None:
        """Send the audio as it comes, then the end."""
        try:
            while not self._state.ended:
                await self._send_next(session)
                self._changed.set()
        except ConnectionLost:
            return  # `_once` waits for that, too
        except ConvoError as error:
            self._give_up(error)

    async def _send_next(self, session: ClientSession) -> None:
        match self._state.next_step():
            case Send(data):
                try:
                    await session.send_audio(data)
                except RequestError as error:
                    self._refused(error)
                else:
                    self._state.sent(len(data), session.acknowledged)
            case End():
                try:
                    await session.end()
                except RequestError as error:
                    if error.code != Code.BAD_STATE:  # else it had ended already
                        raise
                self._state.end_answered()
            case None:
                await self._changed.wait()

    # --- what ends it early -------------------------------------------------------------------------------

    @abstractmethod
    def _refused(self, error: RequestError) -> None:
        """Take note that the daemon takes no more of this audio."""

    def _give_up(self, error: Exception) -> None:
        self._gave_up = self._gave_up or error
        self._stop_attempt()
        if self._reader is not None:
            self._reader.cancel()

    def _stop_attempt(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
        self._changed.set()


class LiveStream(_Producer):
    """A live session whose audio we send: audio in, events out. Open for the length of an `async with` block.

    The session is created as soon as there is a connection, unless `session` names one. Leaving the block before `end`
    leaves it to the daemon, which waits for `limits.resume_s` and then finishes it.

    Args:
        link: the connection, shared with the program's other requests.
        session: the id of one to continue, from the byte that the daemon has; it keeps its own options.
        after_seq: number of its last stored event that is known.
        busy: called when the daemon has no room for the session, which is then requested again every second; without
            it, that is an error.
        options: fields of `CreateSession`; `audio` says what the bytes are, 16 kHz mono s16le unless said otherwise.

    Iterating raises:
        RequestError: the daemon refused the session, or its end.
        CannotConnect, ConnectionLost: the link has given up.
        RemoteProtocolError: the daemon lost audio that it had stored.
    """

    def __init__(
        self,
        link: Link,
        *,
        session: str = "",
        after_seq: int = 0,
        busy: Callable[[RequestError], None] | None = None,
        **options: Unpack[SessionOptions],
    ) -> None:
        super().__init__(link, "live", options, ResumableSession(session, after_seq))
        self._busy = busy

    async def send(self, data: bytes) -> None:
        """Send audio of any length; waits while the daemon has no room for it, and while there is no connection.

        Cancelled, the audio was taken all the same: it is sent in the background.

        Raises:
            RequestError: the daemon refused this session's audio; events of earlier audio still come.
            SessionCutShort: the connection was broken for too long.
            ConvoError: the session was given up, as iterating says.
        """
        self.send_nowait(data)
        await self._until(lambda: not self._state.unsent)

    def send_nowait(self, data: bytes) -> None:
        """Have audio sent in the background: for a last piece, as nothing slows down a program that sends too much.

        Raises like `send`.
        """
        if self.failure is not None:
            raise self.failure
        if self._state.ended or self._over:
            raise _over()
        self._state.add(data)
        self._changed.set()

    async def end(self) -> None:
        """Wait until the daemon knows that no more audio comes; the last events follow. Raises like `send`."""
        self._state.finish()
        self._changed.set()
        while not (self._state.ended or self._over or self._gave_up is not None):
            await self._changed.wait()
        if self.failure is not None:
            raise self.failure

    async def finalize(self) -> None:
        """Have everything sent so far transcribed now; returns once its segments are here. Raises like `send`."""
        while not self._state.ended:
            await self._until(lambda: not self._state.unsent and self._current is not None)
            session = self._current
            if session is None:
                continue
            try:
                await session.finalize()
            except ConnectionLost:
                await checkpoint()  # let the link notice
            else:
                return

    def _refused(self, error: RequestError) -> None:
        self._state.refused(error)
        self._changed.set()


class FileUpload(_Producer):
    """A file that we upload: its bytes in, events out. Open for the length of an `async with` block.

    Leaving the block before the daemon has all of the file cancels the session; after that it continues by itself.

    Args:
        link: the connection, shared with the program's other requests.
        source: a path, or a function that returns the next bytes; what it raises, iterating and `uploaded` raise.
        progress: called with the bytes sent so far, and whether the daemon has them all.
        options: fields of `CreateSession`; for a path, `audio` and `title` default to its name.

    Entering raises:
        OSError: the file cannot be opened.

    Iterating raises:
        OSError: it cannot be read.
        RequestError: the daemon refused it.
        CannotConnect, ConnectionLost: the link has given up.
        RemoteProtocolError: the daemon lost audio that it had stored.
    """

    def __init__(
        self,
        link: Link,
        source: Path | Read,
        *,
        progress: Callable[[int, bool], None] = lambda sent, whole: None,
        **options: Unpack[SessionOptions],
    ) -> None:
        super().__init__(link, "file", options)
        self._source = source
        self._progress = progress
        self._descriptor: int | None = None
        self._cancelled = False

    async def __aenter__(self) -> Self:
        if isinstance(self._source, Path):
            self._descriptor = os.open(self._source, os.O_RDONLY | os.O_CLOEXEC)
            size = os.fstat(self._descriptor).st_size
            name = file_name(self._source.name)
            self._options = {
                "audio": AudioFormat(name=name, size=size),
                "title": file_name(self._source.stem),
                **self._options,
            }
        tasks = await self._background.__aenter__()
        tasks.start_soon(self._run)
        tasks.start_soon(self._send_file)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return await super().__aexit__(kind, error, traceback)
        finally:
            if self._descriptor is not None:
                os.close(self._descriptor)
            if not self._over and not self._state.ended:
                await self.cancel()

    async def uploaded(self) -> None:
        """Wait until the daemon has all of the file. Raises like iterating."""
        await self._until(lambda: self._state.ended)

    async def cancel(self, within_s: float | None = _GOODBYE_S) -> None:
        """Cancel the session at the daemon, even while we are being cancelled ourselves.

        Args:
            within_s: how long to wait for a connection and the answer; None for ever.
        """
        if self._state.session and not self._cancelled:
            with anyio.move_on_after(within_s, shield=within_s is not None), suppress(ConvoError):
                await self._link.request(CancelSession(session=self._state.session))
                self._cancelled = True

    async def _send_file(self) -> None:
        try:
            while not self._state.ended and (data := await self._read()):
                self._state.add(data)
                self._changed.set()
                await self._until(lambda: not self._state.unsent)
                self._progress(self.taken, False)
            self._state.finish()
            self._changed.set()
            await self._until(lambda: self._state.ended)
            self._progress(self.taken, True)
        except ConvoError:
            return  # iterating raises it
        except Exception as error:
            self._give_up(error)

    async def _read(self) -> bytes:
        if isinstance(self._source, Path):
            assert self._descriptor is not None
            return await anyio.to_thread.run_sync(os.read, self._descriptor, PIECE)
        return await self._source()

    def _refused(self, error: RequestError) -> None:
        if error.code == Code.BAD_STATE:  # it ended meanwhile: its last event says why
            self._state.end_answered()
            self._changed.set()
        else:
            self._give_up(error)


def _over() -> RequestError:
    return RequestError(Code.BAD_STATE, "The session has ended: start another one.")
