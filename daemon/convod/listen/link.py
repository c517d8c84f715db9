"""What carries a connection: a Unix socket and a WebSocket look alike to whoever serves them."""

from __future__ import annotations

from typing import Protocol

from convo.messages import Code


class LinkLost(Exception):
    """The other side is gone."""


class Link(Protocol):
    """A transport with one reader and one writer. `is_json`: its messages are text."""

    is_json: bool

    async def receive(self, *, rest: bool = False) -> bytes | None:
        """Return the next bytes, or one whole WebSocket message; None at the end.

        `rest`: what came last was silence, so the next read may come a little later and bring more.
        """

    async def receive_ready(self) -> bytes | None:
        """Return what arrived together with the last `receive`; None when there is nothing more of it."""

    def trust(self) -> None:
        """Read as much as the settings allow; until then one message, of STRANGER_BYTES at most, can be received."""

    async def send(self, data: list[bytes]) -> None:
        """Send frames, or one WebSocket message each.

        Raises:
            LinkLost: the other side is gone.
        """

    async def close(self, code: Code | None, *, stopping: bool = False) -> None:
        """Say goodbye: with an error's code if there was one, or because the daemon stops."""

    def abort(self) -> None:
        """Cut the connection at once."""
