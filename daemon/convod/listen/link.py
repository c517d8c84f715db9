"""The transport of a connection: the same interface for a Unix socket and a WebSocket."""

from __future__ import annotations

from typing import Protocol

from convo.messages import Code


class LinkLost(Exception):
    """The peer is gone."""


class Link(Protocol):
    """A transport with one reader and one writer. `is_json`: its messages are text."""

    is_json: bool

    async def receive(self, *, rest: bool = False) -> bytes | None:
        """Return the next bytes, or one whole WebSocket message; None at the end.

        `rest`: what came last was silence, so the next read may come a little later and bring more.
        """

    async def receive_ready(self) -> bytes | None:
        """Return more of what arrived together with the last `receive`; None when there is no more."""

    def trust(self) -> None:
        """Read as much as the settings allow; before, only one message of at most STRANGER_BYTES can be received."""

    async def send(self, data: list[bytes]) -> None:
        """Send frames, or one WebSocket message each.

        Raises:
            LinkLost: the peer is gone.
        """

    async def close(self, code: Code | None, *, stopping: bool = False) -> None:
        """Say goodbye: with an error's code if there was one, or because the daemon stops."""

    def abort(self) -> None:
        """Cut the connection at once."""
