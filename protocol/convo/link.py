"""A connection to a daemon that reconnects when it breaks, shared by everything that a program asks.

In: an address. Out: a `Client` for each task that waits for one, and the state of the connection. It stops trying where
waiting does not help (a wrong token, an invalid URL), or when the daemon has been away for too long.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint

from .address import default_url, parse
from .client import Client
from .client_io import Broadcast
from .errors import CannotConnect, ConnectionLost, ConvoError, EventsLost, RequestError
from .messages import Ping, Reply, Request
from .resume import Backoff, LinkPhase, LinkState
from .transport import background_tasks, connect

R = TypeVar("R", bound=Reply)
T = TypeVar("T")

PATIENCE_S = 60.0
"""How long a daemon may be away: it may be restarting, and checking its store."""


class Link:
    """Connected while `run` runs.

    Args:
        url: as for `convo.connect`; None for the default, which is looked up again at every try.
        token: authenticates the client.
        client: name and version of this program, for the daemon's log.
        patience_s: seconds that the daemon may be away before `client` raises; None waits for ever, also for the first
            connection.
        ping_s: after how many seconds without a sign of life the daemon is pinged; None never does.
        changed: called with every new state.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        client: str = "convo",
        patience_s: float | None = PATIENCE_S,
        ping_s: float | None = None,
        changed: Callable[[LinkState], object] = lambda state: None,
    ) -> None:
        self.url = url
        self.state = LinkState(LinkPhase.CONNECTING)
        self._token = token
        self._name = client
        self._backoff = Backoff(patience_s)
        self._ping_s = ping_s
        self._tell = changed
        self._client: Client | None = None
        self._gave_up: ConvoError | None = None
        self._changed = Broadcast()
        self._hurry = Broadcast()

    @property
    def address(self) -> str:
        """Where it connects to."""
        return self.url or default_url()

    @property
    def patience_s(self) -> float | None:
        """As the argument; a new value holds from the next broken connection on."""
        return self._backoff.patience_s

    @patience_s.setter
    def patience_s(self, seconds: float | None) -> None:
        self._backoff.patience_s = seconds

    def hurry(self) -> None:
        """Try again now."""
        self._backoff.hurry()
        self._hurry.set()

    async def client(self) -> Client:
        """Wait for the connection.

        Raises:
            CannotConnect, ConnectionLost, RequestError: the link has given up.
        """
        while self._client is None or self._client.lost:
            if self._gave_up is not None:
                raise self._gave_up
            await self._changed.wait()
        return self._client

    async def ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        """Call `question`, again on the next connection if this one breaks. Raises like `client` and `question`."""
        while True:
            client = await self.client()
            try:
                return await question(client)
            except (ConnectionLost, EventsLost):
                await checkpoint()  # let the reader notice

    async def request(self, request: Request[R]) -> R:
        """Send a request that may be sent twice, and wait for its answer. Raises like `client` and `Client.request`."""

        async def question(client: Client) -> R:
            return await client.request(request)

        return await self.ask(question)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep a connection until cancelled, or until the link gives up.

        Raises:
            ValueError: the URL is invalid, and there never was a connection.
            CannotConnect, ConnectionLost, RequestError: the first connection failed, with `patience_s`.
        """
        try:
            await self._run(task_status)
        finally:  # wakes the tasks that wait for a client
            self._gave_up = self._gave_up or ConnectionLost("The link to the daemon was closed.")
            self._client = None
            self._changed.set()

    async def _run(self, task_status: TaskStatus[None]) -> None:
        was_up = False
        while True:
            error: Exception | None = None
            lost: Exception
            try:
                async with connect(self.address, token=self._token, client=self._name) as client:
                    if not was_up:
                        task_status.started()
                    was_up = True
                    self._backoff.connected()
                    self._become(client, LinkState(LinkPhase.UP, server=client.welcome.server))
                    await self._watch(client)
                    lost = client.loss or ConnectionLost("The daemon does not answer any more.")
            except (CannotConnect, ConnectionLost, RequestError, ValueError) as trouble:
                error = lost = trouble
            pause = self._backoff.pause(anyio.current_time(), error)
            if pause is None:
                self._gave_up = lost if isinstance(lost, ConvoError) else CannotConnect(self.address, str(lost))
                self._become(None, LinkState(LinkPhase.REFUSED, lost))
                if not was_up and self.patience_s is not None:
                    raise lost
                return
            self._become(None, LinkState(LinkPhase.LOST if was_up else LinkPhase.ABSENT, lost))
            with anyio.move_on_after(pause):
                await self._hurry.wait()

    async def _watch(self, client: Client) -> None:
        """Wait until the connection is lost, or the daemon does not answer a ping."""
        if self._ping_s is None:
            await client.wait_lost()
            return
        while True:
            with anyio.move_on_after(self._ping_s):
                await client.wait_lost()
                return
            answered = False
            with anyio.move_on_after(2 * self._ping_s):
                try:
                    await client.request(Ping())
                except ConvoError:
                    return
                answered = True
            if not answered:
                return

    def _become(self, client: Client | None, state: LinkState) -> None:
        self._client = client
        changed, self.state = state != self.state, state
        self._changed.set()
        if changed:
            self._tell(state)


@asynccontextmanager
async def open_link(
    url: str | None = None,
    *,
    token: str | None = None,
    client: str = "convo",
    patience_s: float | None = PATIENCE_S,
    ping_s: float | None = None,
    changed: Callable[[LinkState], object] = lambda state: None,
) -> AsyncIterator[Link]:
    """Keep a `Link` for the length of an `async with` block. Arguments and errors are those of `Link` and its `run`."""
    parse(url or default_url())
    link = Link(url, token=token, client=client, patience_s=patience_s, ping_s=ping_s, changed=changed)
    async with background_tasks() as tasks:
        if patience_s is None:
            tasks.start_soon(link.run)
        else:
            await tasks.start(link.run)
        yield link
