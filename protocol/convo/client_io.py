"""Adds the waiting to a `ClientCore`: for answers, for credit, for room in the outbox.

In: bytes from the daemon, requests and audio of the application. Out: coroutines that wait for what a `ClientCore`
makes of them, and the bytes for one writer task. Under trio and asyncio alike, through anyio; this module reads no
socket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar, cast

import anyio

from .client_core import Answered, Answering, Attachment, Changed, ClientCore, CoreEvent, Fetching, Lost, Opened
from .messages import (
    AnswerProgress,
    Ask,
    AskReply,
    Attach,
    CancelAsk,
    CreateSession,
    CreateSessionReply,
    Message,
    ModelProgress,
    Reply,
    Request,
    Welcome,
)

R = TypeVar("R", bound=Reply)

_OUTBOX_MESSAGES = 32
"""Messages queued for the writer before senders have to wait: 2 MiB of audio."""


class ControlFrames(Protocol):
    """The control frames of a WebSocket: pongs and closes, which it sends by itself."""

    ended: str | None
    """Why the WebSocket has ended, as a sentence."""

    def data_to_send(self) -> bytes:
        """Return the bytes to send, perhaps none."""

    def close(self) -> None:
        """Queue a close frame."""


class Broadcast:
    """Wakes all tasks that are waiting, and only those. A woken task checks its condition again."""

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    async def wait(self) -> None:
        """Wait for the next `set`."""
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()

    def set(self) -> None:
        """Wake all waiting tasks."""
        if self._event is not None:
            self._event.set()
            self._event = None


class _Answer:
    def __init__(self) -> None:
        self.arrived = anyio.Event()
        self.result: Reply | Exception | None = None


class ClientIO:
    """Coroutines around a `ClientCore`; `convo.transport` moves the bytes.

    The transport passes bytes to `received`, and calls `lost` when it ends. One of its tasks writes: `next_outgoing`,
    then `written` once the bytes are sent. So a caller that is cancelled never leaves half a message behind.
    """

    def __init__(self, core: ClientCore, websocket: ControlFrames | None = None) -> None:
        self.core = core
        self._websocket = websocket
        self._outbox: deque[bytes] = deque([core.start()])
        self._outbox_changed = Broadcast()
        self._opened = Broadcast()
        self._ended = Broadcast()
        self._answers: dict[int, _Answer] = {}
        self._changes: dict[Attachment, Broadcast] = {}
        self._asks: dict[int, Callable[[AnswerProgress], None]] = {}
        self._watchers: list[Callable[[ModelProgress], None]] = []

    # --- for the transport --------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Take bytes from the daemon."""
        self._handle(self.core.receive(data))
        if self._websocket is not None:
            self._send_control_frames()
            if self._websocket.ended is not None:
                self.lost(self._websocket.ended)

    def lost(self, reason: str) -> None:
        """Take note that the transport ended; `reason` is one sentence."""
        self._handle(self.core.lose(reason))

    async def next_outgoing(self) -> bytes:
        """Wait for the next bytes to write; call `written` once all of them are sent."""
        while not self._outbox:
            await self._outbox_changed.wait()
        return self._outbox[0]

    def written(self) -> None:
        """Take note that the bytes of `next_outgoing` are sent."""
        self._outbox.popleft()
        self._outbox_changed.set()

    async def drained(self) -> None:
        """Wait until everything is written, or the connection has ended."""
        while self._outbox and not self.core.lost:
            await self._outbox_changed.wait()

    def start_close(self) -> bool:
        """Send a WebSocket's close frame; return whether an answer to it will come."""
        if self._websocket is None or self.core.lost:
            return False
        self._websocket.close()
        self._send_control_frames()
        return True

    async def wait_lost(self) -> None:
        """Wait until the connection has ended."""
        while not self.core.lost:
            await self._ended.wait()

    # --- for the client -----------------------------------------------------------------------------------

    async def opened(self) -> Welcome:
        """Wait for the handshake.

        Raises:
            RequestError: the daemon refused the hello.
            ConnectionLost: the connection ended.
        """
        while True:
            if self.core.welcome is not None:
                return self.core.welcome
            self.core.check()
            await self._opened.wait()

    async def request(self, request: Request[R]) -> R:
        """Send a request and wait for its answer; for errors see `Client.request`."""
        return await self._wait_answer(request, *await self._submit(request))

    async def ask(self, request: Ask, watcher: Callable[[AnswerProgress], None]) -> AskReply:
        """Send a question and wait for its answer; `watcher` gets what is known of it meanwhile.

        Cancelled, it tells the daemon, which would otherwise go on for nobody.
        """
        number, answer = await self._submit(request)
        self._asks[number] = watcher
        try:
            return await self._wait_answer(request, number, answer)
        except BaseException:
            if not answer.arrived.is_set() and not self.core.lost:
                cancel, data = self.core.request(CancelAsk(ask=number))
                self.core.abandon(cancel)
                self._send(data)
            raise
        finally:
            del self._asks[number]

    async def _submit(self, request: Request[R]) -> tuple[int, _Answer]:
        await self._wait_outbox()
        number, data = self.core.request(request)
        self._send(data)
        answer = self._answers[number] = _Answer()
        return number, answer

    async def _wait_answer(self, request: Request[R], number: int, answer: _Answer) -> R:
        try:
            await answer.arrived.wait()
        except BaseException:  # cancelled: the answer is not wanted any more
            self._abandon(number, request, answer)
            raise
        if isinstance(answer.result, Exception):
            raise answer.result
        return cast("R", answer.result)

    async def send_audio(self, attachment: Attachment, data: bytes) -> None:
        """Send whole samples, as credit allows. Cancelled, the rest is dropped."""
        view = memoryview(data)
        while view:
            await self._wait_outbox()
            piece = self.core.audio(attachment, view)
            if piece is None:
                await self.wait_changed(attachment)
                continue
            size, message = piece
            self._send(message)
            view = view[size:]

    async def wait_changed(self, attachment: Attachment) -> None:
        """Wait until something happens to a session, or to the connection."""
        changed = self._changes.setdefault(attachment, Broadcast())
        await changed.wait()

    def watch_models(self, watcher: Callable[[ModelProgress], None]) -> Callable[[], None]:
        """Call `watcher` at every `model_progress`; return the function that stops this."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    # --- internals ----------------------------------------------------------------------------------------

    async def _wait_outbox(self) -> None:
        while len(self._outbox) >= _OUTBOX_MESSAGES and not self.core.lost:
            await self._outbox_changed.wait()

    def _send(self, data: bytes) -> None:
        self._outbox.append(data)
        self._outbox_changed.set()

    def _send_control_frames(self) -> None:
        assert self._websocket is not None
        data = self._websocket.data_to_send()
        if data:
            self._send(data)

    def _abandon(self, number: int, request: Message, answer: _Answer) -> None:
        self._answers.pop(number, None)
        self.core.abandon(number)
        # The answer may have come at the same moment: then the session is attached, and its events would pile up.
        if isinstance(request, CreateSession) and isinstance(answer.result, CreateSessionReply):
            self.core.forget(answer.result.session)
        elif isinstance(request, Attach) and isinstance(answer.result, Reply):
            self.core.forget(request.session)

    def _handle(self, events: Iterable[CoreEvent]) -> None:
        for event in events:
            match event:
                case Opened():
                    self._opened.set()
                case Answered():
                    self._answer(event.id, event.result)
                case Changed():
                    changed = self._changes.get(event.session)
                    if changed is not None:
                        changed.set()
                    if event.session.detached:
                        self._changes.pop(event.session, None)
                case Fetching():
                    for watcher in tuple(self._watchers):
                        watcher(event.progress)
                case Answering():
                    if (asker := self._asks.get(event.progress.ask)) is not None:
                        asker(event.progress)
                case Lost():
                    self._wake_all()

    def _answer(self, number: int, result: Reply | Exception) -> None:
        answer = self._answers.pop(number, None)
        if answer is not None:
            answer.result = result
            answer.arrived.set()

    def _wake_all(self) -> None:
        for number in tuple(self._answers):
            try:
                self.core.check()
            except Exception as error:  # each waiter gets an error of its own
                self._answer(number, error)
        self._opened.set()
        self._ended.set()
        self._outbox_changed.set()
        for changed in self._changes.values():
            changed.set()
