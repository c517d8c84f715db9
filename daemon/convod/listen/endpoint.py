"""What serves the WebSocket connections of one listener. Types only: `tcp` accepts them, `websocket` shakes hands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from convod.listen.limits import ConnectionLimiter, Slot
from convod.listen.link import Link
from convod.listen.settings import ListenSettings
from convod.listen.tls import Certificate


class WebSocketEndpoint(msgspec.Struct, frozen=True):
    """The limits of a listener, and what serves its connections.

    `settings` and `requires_token` are called for each connection, as both may change while the daemon runs.
    """

    settings: Callable[[], ListenSettings]
    requires_token: Callable[[], bool]
    limiter: ConnectionLimiter
    serve: Callable[[Link, Slot], Awaitable[None]]
    certificate: Certificate | None = None
