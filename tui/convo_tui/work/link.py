"""One connection to the daemon that makes itself again when it breaks, for everything that this app asks.

In: an address. Out: a `Client` for whoever waits for one, and what became of the connection to whoever listens. It
stops trying only where waiting does not help: a wrong token, a URL that is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

import convo
from convo.address import default_url, parse
from convo.messages import Code, Ping, Reply, Request

R = TypeVar("R", bound=Reply)
T = TypeVar("T")

_PAUSE_S = 0.1  # before the next try; doubles up to the next
_LONGEST_PAUSE_S = 2.0
_PING_S = 5.0  # a link that says nothing for so long is asked
_SILENCE_S = 10.0  # and broken if it does not answer within this


class Phase(Enum):
    """What became of the connection."""

    CONNECTING = auto()
    UP = auto()
    LOST = auto()
    NONE = auto()  # there was never one: no daemon
    REFUSED = auto()  # and there will be none


@dataclass(frozen=True, slots=True)
class LinkState:
    """`why` is a sentence for people, empty while it is up."""

    phase: Phase
    why: str = ""
    server: str = ""

    @property
    def up(self) -> bool:
        """Whether requests are answered now."""
        return self.phase is Phase.UP


class Link:
    """Connected as long as `run` runs.

    Args:
        url: where the daemon listens; None for the usual place, looked for again at every try.
        token: what proves who this is.
        tell: called with every new state.
    """

    def __init__(self, url: str | None, token: str | None, tell: Callable[[LinkState], None]) -> None:
        self.url = url
        self.state = LinkState(Phase.CONNECTING)
        self._token = token
        self._tell = tell
        self._client: convo.Client | None = None
        self._changed = asyncio.Event()
        self._hurry = asyncio.Event()
        self._was_up = False

    @property
    def address(self) -> str:
        """Where it connects to."""
        return self.url or default_url()

    def hurry(self) -> None:
        """Try again now."""
        self._hurry.set()

    async def client(self) -> convo.Client:
        """The connection, as soon as there is one."""
        while True:
            client = self._client
            if client is not None and not client.lost:
                return client
            self._changed.clear()  # the next one sets it; one that was just lost may not have been noticed yet
            await self._changed.wait()

    async def request(self, request: Request[R]) -> R:
        """Ask once there is a connection; asked again if the connection breaks. Only for what may be asked twice.

        Raises:
            RequestError: the daemon refused it.
        """

        async def ask(client: convo.Client) -> R:
            return await client.request(request)

        return await self.do(ask)

    async def do(self, work: Callable[[convo.Client], Awaitable[T]]) -> T:
        """Do something with a connection, again with the next one if it breaks."""
        while True:
            client = await self.client()
            try:
                return await work(client)
            except (convo.ConnectionLost, convo.EventsLost):
                await asyncio.sleep(0)  # to let the link notice

    async def run(self) -> None:
        """Keep the connection until cancelled."""
        from convo.transport import connect  # not before the first screen is painted

        pause = _PAUSE_S
        while True:
            try:
                address = self.address
                parse(address)
                async with connect(address, token=self._token, client=f"convo-tui/{convo.__version__}") as client:
                    pause = _PAUSE_S
                    self._become(client, LinkState(Phase.UP, server=client.welcome.server))
                    await self._watch(client)
                    self._become(None, LinkState(Phase.LOST, "The connection to the daemon broke: trying again."))
            except convo.CannotConnect as error:
                phase = Phase.LOST if self._was_up else Phase.NONE
                self._become(None, LinkState(phase, f"No daemon at {error.url}: {error.reason}."))
            except convo.ConnectionLost as error:
                self._become(None, LinkState(Phase.LOST, str(error)))
            except convo.RequestError as error:
                if error.code != Code.BUSY:
                    self._become(None, LinkState(Phase.REFUSED, f"{error.message} (it is taken from CONVO_TOKEN)"))
                    return
                self._become(None, LinkState(Phase.LOST, error.message))
            except ValueError as error:
                self._become(None, LinkState(Phase.REFUSED, str(error)))
                return
            self._hurry.clear()
            try:
                async with asyncio.timeout(pause):
                    await self._hurry.wait()
                pause = _PAUSE_S
            except TimeoutError:
                pause = min(_LONGEST_PAUSE_S, pause * 2)

    async def _watch(self, client: convo.Client) -> None:
        """Until the connection is lost, or silent for too long."""
        lost = asyncio.create_task(client.wait_lost())
        try:
            while not client.lost:
                done, _ = await asyncio.wait({lost}, timeout=_PING_S)
                if done:
                    return
                try:
                    async with asyncio.timeout(_SILENCE_S):
                        await client.request(Ping())
                except (TimeoutError, convo.ConvoError):
                    return
        finally:
            lost.cancel()
            await asyncio.gather(lost, return_exceptions=True)

    def _become(self, client: convo.Client | None, state: LinkState) -> None:
        self._client = client
        self._was_up = self._was_up or state.up
        if client is not None:
            self._changed.set()
        if state != self.state:
            self.state = state
            self._tell(state)
