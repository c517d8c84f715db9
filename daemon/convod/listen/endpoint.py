"""What WebSocket connections to one listener meet. Types only: `front` accepts them, `websocket` shakes hands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from convod.listen.limits import ConnectionLimiter, Slot
from convod.listen.link import Link
from convod.listen.settings import ListenSettings
from convod.listen.tls import Certificate


class WebSocketEndpoint(msgspec.Struct, frozen=True):
    """The limits of a listener, and what serves its connections: `serve` gets link, peer and slot.

    `settings` and `requires_token` are asked anew for each connection, as both may change while the daemon runs.
    """

    settings: Callable[[], ListenSettings]
    requires_token: Callable[[], bool]
    limiter: ConnectionLimiter
    serve: Callable[[Link, str, Slot], Awaitable[None]]
    certificate: Certificate | None = None
