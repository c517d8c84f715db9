"""Accept connections while there are descriptors, and again as soon as there are.

In: a listening socket. Out: a task for each connection. A connection that would take one of the last descriptors is
closed: requests need them. The log says so once, not for each connection.
"""

from __future__ import annotations

import errno
import logging
import resource
from collections.abc import Awaitable, Callable
from typing import Final

import trio

log = logging.getLogger("convod.listen")

PAUSE_S: Final = 0.1
"""How long to wait before the next try when there are no descriptors, or no memory, for another connection."""

FEW: Final = 256
"""Where a process may have fewer descriptors than this, fewer are left free in proportion."""

SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


async def accept(
    listener: trio.SocketListener,
    handle: Callable[[trio.SocketStream], Awaitable[None]],
    connections: trio.Nursery | None,
    *,
    spare: int,
) -> None:
    """Accept until cancelled. Connections go on in `connections`, or end with this if it is None.

    Args:
        listener: closed at the end.
        handle: serves a connection, which is closed afterwards.
        connections: where the tasks of the connections run.
        spare: descriptors below the limit that are left free.
    """
    async with listener, trio.open_nursery() as own:
        nursery = connections or own
        short = False
        while True:
            stream = await _next(listener, spare)
            if (stream is None) is not short:
                short = stream is None
                if short:
                    log.warning("no connections are accepted: files are open up to the limit; raise LimitNOFILE=")
                else:
                    log.info("connections are accepted again")
            if stream is None:
                await trio.sleep(PAUSE_S)
            else:
                nursery.start_soon(_run, handle, stream)


async def _next(listener: trio.SocketListener, spare: int) -> trio.SocketStream | None:
    """Return the next connection, None if there is no descriptor for it."""
    try:
        stream = await listener.accept()
    except OSError as error:
        if error.errno in SHORTAGES:
            return None
        raise
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The system gives the lowest number that is free.
    if limit != resource.RLIM_INFINITY and stream.socket.fileno() >= limit - min(spare, limit * spare // FEW):
        stream.socket.close()
        return None
    return stream


async def _run(handle: Callable[[trio.SocketStream], Awaitable[None]], stream: trio.SocketStream) -> None:
    try:
        await handle(stream)
    finally:
        await trio.aclose_forcefully(stream)
