"""The link to the daemon, and a private daemon for a first start.

In: an address, a token. Out: `LinkChanged`, a sentence for each state, a private daemon started and ended.
"""

from __future__ import annotations

import asyncio
from functools import cached_property

from textual.dom import DOMNode
from textual.worker import Worker

import convo
from convo.errors import CannotConnect, RequestError
from convo.messages import Code
from convo.resume import LinkPhase, LinkState
from convo.text import clean

from ..messages import LinkChanged
from .private import PrivateDaemon
from .start import ended, start

_PING_S = 5.0  # a connection silent for this long is pinged
_HURRY_S = 0.1  # between two attempts while a private daemon starts


class DaemonLink:
    """`state` is what screens show of the link; only the app sets it. `url` and `token` are as for `convo.Link`."""

    def __init__(self, owner: DOMNode, url: str | None, token: str | None) -> None:
        self.state = LinkState(LinkPhase.CONNECTING)
        self.private = PrivateDaemon()
        self._owner = owner
        self._url = url
        self._token = token
        self._worker: Worker[None] | None = None

    @cached_property
    def link(self) -> convo.Link:
        """The link; created, and its module imported, after the first paint."""
        return convo.Link(
            self._url,
            token=self._token,
            client=f"convo-tui/{convo.__version__}",
            patience_s=None,
            ping_s=_PING_S,
            changed=lambda state: self._owner.post_message(LinkChanged(state)),
        )

    def begin(self) -> None:
        """Connect, and stay connected."""
        self._worker = start(self._owner, self.link.run, group="link")

    async def start_private(self, *, keep: bool) -> str:
        """Start a private daemon. Returns what went wrong, or an empty string once it answers."""
        self.private.keep = keep
        try:
            await self.private.start(self.link.address)
        except OSError as error:
            return f"convod could not be started: {error.strerror or error}."
        ended = asyncio.create_task(self.private.wait_ended())
        answers = asyncio.create_task(self.link.client())
        hurrying = asyncio.create_task(self._hurry())
        try:
            done, _ = await asyncio.wait({ended, answers}, return_when=asyncio.FIRST_COMPLETED)
            return "" if answers in done else clean(ended.result())
        finally:
            for task in (ended, answers, hurrying):
                task.cancel()
            await asyncio.gather(ended, answers, hurrying, return_exceptions=True)

    async def _hurry(self) -> None:
        while True:
            await asyncio.sleep(_HURRY_S)
            self.link.hurry()

    async def close(self) -> None:
        """Disconnect, and end the private daemon."""
        await ended(self._worker)
        await self.private.close()


def reason(state: LinkState) -> str:
    """Why there is no connection, as a sentence; empty if there is one."""
    match state.error:
        case None:
            return ""
        case CannotConnect() as error:
            return f"No daemon at {error.url}: {error.reason}."
        case RequestError() as error:
            return error.message if error.code == Code.BUSY else f"{error.message} (the token comes from CONVO_TOKEN)"
        case ValueError() as error:
            return str(error)
    return "The connection to the daemon was lost; reconnecting."
