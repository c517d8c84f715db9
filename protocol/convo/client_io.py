"""The waiting around a `ClientCore`: who waits for which answer, and what is to be written next.

In: bytes that came, requests and audio of the application. Out: coroutines that wait for what a `ClientCore` makes of
them, and the bytes for one writer task. Under trio and asyncio alike, through anyio; this module reads no socket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar, cast

import anyio

from .client_core import Answered, Answering, Attachment, Changed, ClientCore, Fetching, Happening, Lost, Opened
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
"""Messages that wait for the writer before the next sender waits too: 2 MiB of audio."""


class SpeaksItself(Protocol):
    """A framing that has words of its own to send: a WebSocket's pongs and closes."""

    ended: str | None
    """Why nothing more comes, as a sentence."""

    def data_to_send(self) -> bytes:
        """What it wants sent, perhaps nothing."""

    def close(self) -> None:
        """Want a goodbye sent."""


class AutoResetEvent:
    """Wakes every task that waits now, then is unset again. A woken task checks its condition once more."""

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    async def wait(self) -> None:
        """Return at the next `set`."""
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()

    def set(self) -> None:
        """Wake all that wait."""
        if self._event is not None:
            self._event.set()
            self._event = None


class _Answer:
    def __init__(self) -> None:
        self.arrived = anyio.Event()
        self.result: Reply | Exception | None = None


class ClientIO:
    """Coroutines around a `ClientCore`; `convo.transport` moves the bytes.

    The transport gives bytes to `received`, and says `lost` when it ends. One task of it writes: `next_outgoing`, then
    `written` once the bytes are out. So a caller that is cancelled never leaves half a message behind: what it handed
    over is written whole.
    """

    def __init__(self, core: ClientCore, websocket: SpeaksItself | None = None) -> None:
        self.core = core
        self._websocket = websocket
        self._outbox: deque[bytes] = deque([core.start()])
        self._outbox_changed = AutoResetEvent()
        self._opened = AutoResetEvent()
        self._ended = AutoResetEvent()
        self._answers: dict[int, _Answer] = {}
        self._changes: dict[Attachment, AutoResetEvent] = {}
        self._asks: dict[int, Callable[[AnswerProgress], None]] = {}
        self._watchers: list[Callable[[ModelProgress], None]] = []

    # --- for the transport --------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Bytes came from the daemon."""
        self._tell(self.core.receive(data))
        if self._websocket is not None:
            self._send_manners()
            if self._websocket.ended is not None:
                self.lost(self._websocket.ended)

    def lost(self, reason: str) -> None:
        """The transport ended; `reason` is one sentence."""
        self._tell(self.core.lose(reason))

    async def next_outgoing(self) -> bytes:
        """The next bytes to write, whole; call `written` when they are."""
        while not self._outbox:
            await self._outbox_changed.wait()
        return self._outbox[0]

    def written(self) -> None:
        """The bytes that `next_outgoing` gave are out."""
        self._outbox.popleft()
        self._outbox_changed.set()

    async def drained(self) -> None:
        """Return once everything is written, or nothing can be."""
        while self._outbox and not self.core.lost:
            await self._outbox_changed.wait()

    def say_goodbye(self) -> bool:
        """Send what the transport says at the end; whether there is such a thing, and an answer to it."""
        if self._websocket is None or self.core.lost:
            return False
        self._websocket.close()
        self._send_manners()
        return True

    async def wait_lost(self) -> None:
        """Return once the connection has ended."""
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
        except BaseException:  # cancelled: nobody will ask for what this answer brings
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
        """Return when something happened to a session, or to the connection."""
        changed = self._changes.setdefault(attachment, AutoResetEvent())
        await changed.wait()

    def watch_models(self, watcher: Callable[[ModelProgress], None]) -> Callable[[], None]:
        """Call `watcher` at every `model_progress`; returns what ends that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    # --- inside -------------------------------------------------------------------------------------------

    async def _wait_outbox(self) -> None:
        while len(self._outbox) >= _OUTBOX_MESSAGES and not self.core.lost:
            await self._outbox_changed.wait()

    def _send(self, data: bytes) -> None:
        self._outbox.append(data)
        self._outbox_changed.set()

    def _send_manners(self) -> None:
        assert self._websocket is not None
        data = self._websocket.data_to_send()
        if data:
            self._send(data)

    def _abandon(self, number: int, request: Message, answer: _Answer) -> None:
        self._answers.pop(number, None)
        self.core.abandon(number)
        # The answer may have come in the same moment: then the session is here, and its events would pile up.
        if isinstance(request, CreateSession) and isinstance(answer.result, CreateSessionReply):
            self.core.forget(answer.result.session)
        elif isinstance(request, Attach) and isinstance(answer.result, Reply):
            self.core.forget(request.session)

    def _tell(self, happened: Iterable[Happening]) -> None:
        for happening in happened:
            match happening:
                case Opened():
                    self._opened.set()
                case Answered():
                    self._answer(happening.id, happening.result)
                case Changed():
                    changed = self._changes.get(happening.session)
                    if changed is not None:
                        changed.set()
                    if happening.session.detached:
                        self._changes.pop(happening.session, None)
                case Fetching():
                    for watcher in tuple(self._watchers):
                        watcher(happening.progress)
                case Answering():
                    if (asker := self._asks.get(happening.progress.ask)) is not None:
                        asker(happening.progress)
                case Lost():
                    self._tell_all()

    def _answer(self, number: int, result: Reply | Exception) -> None:
        answer = self._answers.pop(number, None)
        if answer is not None:
            answer.result = result
            answer.arrived.set()

    def _tell_all(self) -> None:
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
