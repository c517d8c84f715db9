"""A WebSocket from its handshake to its end, with TLS or without: trio-websocket, within the daemon's limits.

In: a TCP stream that was accepted, and the endpoint it came to. Out: a link, if the client asks for a subprotocol that
the daemon speaks; others get HTTP 400. It never looks into a message. Imported only where a WebSocket endpoint listens,
because HTTP and frames would be a good part of what the daemon imports.

trio-websocket reads in a task of its own, as fast as it can, and answers pings by itself. So the limits stand below it,
in the stream that it reads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio
import trio_websocket
from wsproto.utilities import LocalProtocolError

from convo.codec import RAW
from convo.messages import WEBSOCKET_JSON, WEBSOCKET_SUBPROTOCOL, Code
from convod.listen.endpoint import WebSocketEndpoint
from convod.listen.frames import FrameCounter
from convod.listen.limits import STRANGER_BYTES, Slot
from convod.listen.link import LinkLost
from convod.listen.pace import READ_BYTES, PacedStream

log = logging.getLogger("convod.listen")

SPOKEN: Final = (WEBSOCKET_SUBPROTOCOL, WEBSOCKET_JSON)

CLOSE_CODES: Final = {Code.TOO_LARGE: 1009, Code.BUSY: 1013}
REFUSED: Final = 1008
GOING_AWAY: Final = 1001
TOO_LARGE: Final = 1009

EXTRA_WEIGHT: Final = 20
"""A frame that carries no message, or a tiny fragment, counts as this many messages."""

REFUSABLE: Final = 4
"""Messages of up to this many times the limit are read, so that they can be refused with a sentence."""

CLOSE_S: Final = 5.0
"""How long a closing handshake may take."""

STOPPING_S: Final = 0.25
"""How long it may take while the daemon stops: only the goodbye must get out, its answer no longer matters."""

_BLANK_LINE: Final = b"\r\n\r\n"


class MeteredStream(trio.abc.Stream):
    """The stream that trio-websocket reads: handed on no faster, and no further, than the limits allow."""

    def __init__(
        self,
        carrier: trio.abc.Stream,
        *,
        stall_s: float,
        pause: Callable[[int, int], float],
        abort: Callable[[], None],
        broke_off: Callable[[], None] = lambda: None,
    ) -> None:
        """Meter a client that has not asked for anything yet.

        Args:
            carrier: the TCP or TLS stream below.
            stall_s: the client is cut if it does not take a frame within this many seconds.
            pause: counts bytes and messages; returns the seconds before the next read.
            abort: closes the connection at once.
            broke_off: called if the connection ends before its request was answered.
        """
        self.frames = FrameCounter()
        self.overflowed = trio.Event()
        self._carrier = carrier
        self._stall_s = stall_s
        self._pause = pause
        self._abort = abort
        self._broke_off = broke_off
        self._requested = False
        self._tail = b""  # the last bytes of a request that is not complete
        self._behind = b""  # what came behind the request
        self._answered = trio.Event()
        self._stranger_bytes: int | None = STRANGER_BYTES  # that may still come; None once the client is trusted
        self._wanted = trio.Event()
        self._closing = False
        self._wait_s = 0.0

    def answered(self) -> None:
        """Hand on what follows the handshake."""
        self._answered.set()

    def trust(self) -> None:
        """Hand on more than STRANGER_BYTES, and more than one message."""
        self._stranger_bytes = None
        self._wanted.set()

    def discard(self) -> None:
        """Hand on what comes until the client answers the goodbye; of a stranger no more than before."""
        self._closing = True
        self._wanted.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return some bytes; none at the end."""
        if not self._requested:
            return await self._receive_request()
        await self._answered.wait()
        if self._stranger_bytes is not None and self.frames.messages:
            await self._wanted.wait()
        if self._wait_s:
            await trio.sleep(self._wait_s)
        data, self._behind = self._behind or await self._read(), b""
        extra = self.frames.receive_data(data)
        self._wait_s = self._pause(0, extra * EXTRA_WEIGHT) if extra else 0.0
        if self._stranger_bytes is not None:
            self._stranger_bytes -= len(data)
            if self._stranger_bytes < 0 and not self.frames.messages:
                self.overflowed.set()
                await trio.sleep_forever()
            if self._stranger_bytes < 0 and self._closing:
                return b""
        return data

    async def _receive_request(self) -> bytes:
        """Return what comes up to the end of the request: wsproto loses frames that it gets before it has accepted."""
        data = await self._read()
        end = (self._tail + data).find(_BLANK_LINE)
        if end < 0:
            self._tail = (self._tail + data)[1 - len(_BLANK_LINE) :]
            return data
        self._requested = True
        size = end + len(_BLANK_LINE) - len(self._tail)
        self._behind = data[size:]
        return data[:size]

    async def _read(self) -> bytes:
        data = b""
        try:
            data = bytes(await self._carrier.receive_some(READ_BYTES))
        finally:
            if not data and not self._answered.is_set():
                self._broke_off()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, and cut a client that takes nothing."""
        with trio.move_on_after(self._stall_s) as sending:
            await self._carrier.send_all(data)
        if sending.cancelled_caught:
            self._abort()
            raise trio.BrokenResourceError("the client takes nothing")

    async def wait_send_all_might_not_block(self) -> None:
        """Wait, as the stream below does."""
        await self._carrier.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close, as the stream below does."""
        if not self._answered.is_set():
            self._broke_off()
        await self._carrier.aclose()


class WebSocketLink:
    """A WebSocket whose handshake is done; each message carries one map, as text if `is_json`."""

    def __init__(
        self,
        websocket: trio_websocket.WebSocketConnection,
        stream: MeteredStream,
        paced: PacedStream,
        *,
        is_json: bool = False,
    ) -> None:
        self.is_json = is_json
        self.trust = stream.trust
        self.abort = paced.abort
        self._paced = paced
        self._websocket = websocket
        self._stream = stream
        self._received = 0
        self._ready = 0

    async def receive(self, *, rest: bool = False) -> bytes | None:
        """Return one message, None at the end. Text becomes bytes, which are refused later if they are no JSON."""
        self._paced.rests = rest
        try:
            message = await self._websocket.get_message()
        except trio_websocket.ConnectionClosed:
            return None
        self._received += 1
        self._ready = self._stream.frames.messages
        if isinstance(message, str):
            return message.encode()
        return RAW + message if self.is_json else message

    async def receive_ready(self) -> bytes | None:
        """Return a message that came together with the last one that was received."""
        if self._received >= self._ready:
            return None
        ready = self._ready
        try:
            return await self.receive(rest=self._paced.rests)
        finally:
            self._ready = ready  # what comes meanwhile is for the next `receive`: a fast client fills no memory

    async def send(self, data: list[bytes]) -> None:
        """Send messages."""
        try:
            for one in data:
                await self._websocket.send_message(one.decode() if self.is_json else one)
        except (trio_websocket.ConnectionClosed, LocalProtocolError) as error:
            raise LinkLost from error

    async def attend(self, ping_s: float) -> None:
        """Send a sign of life every `ping_s` seconds; cut a stranger that sends too much. Runs until the end."""
        while not self._stream.overflowed.is_set():
            with trio.move_on_after(ping_s):
                await self._stream.overflowed.wait()
                break
            try:
                # A pong, because a ping would have to be answered.
                await self._websocket.pong()
            except (trio_websocket.ConnectionClosed, LocalProtocolError):
                return
        await self._websocket.aclose(TOO_LARGE)

    async def close(self, code: Code | None, *, stopping: bool = False) -> None:
        """Say goodbye with the close code that fits, and wait a little for the answer."""
        number = 1000 if code is None else CLOSE_CODES.get(code, REFUSED)
        self._stream.discard()
        with trio.move_on_after(STOPPING_S if stopping else CLOSE_S):
            await self._websocket.aclose(GOING_AWAY if stopping else number)
            await self._stream.aclose()


async def serve_connection(stream: trio.SocketStream, secure: bool, endpoint: WebSocketEndpoint, slot: Slot) -> None:
    """Serve a connection from its handshake to its end.

    Raises:
        BrokenResourceError, OSError: the peer broke off its handshake; alone or in a group.
    """
    try:
        async with trio.open_nursery() as nursery:
            link = None
            with trio.CancelScope(deadline=slot.deadline) as handshake:
                link = await _shake_hands(stream, secure, endpoint, slot, handshake, nursery)
            if link is not None:
                nursery.start_soon(link.attend, slot.settings.ping_s)
                await endpoint.serve(link, slot)
            nursery.cancel_scope.cancel()
    # The first where the peer reset it. The second where a ping came between our goodbye and its answer: no pong may be
    # sent then, but trio-websocket tries to.
    except* (trio_websocket.ConnectionClosed, LocalProtocolError):
        log.debug("a connection broke off", extra={"connection": slot.number})


async def _shake_hands(
    stream: trio.SocketStream, secure: bool, endpoint: WebSocketEndpoint, slot: Slot, handshake: trio.CancelScope,
    nursery: trio.Nursery,
) -> WebSocketLink | None:  # fmt: skip
    """Do the handshakes of TLS and HTTP; None if the request was refused. Anything but a request gets HTTP 400."""
    settings = slot.settings
    paced = PacedStream(stream, abort=stream.socket.close)
    carrier: trio.abc.Stream = paced
    if secure:
        assert endpoint.certificate is not None
        tls = trio.SSLStream(paced, endpoint.certificate.context, server_side=True, https_compatible=True)
        await tls.do_handshake()
        carrier = tls
    metered = MeteredStream(
        carrier, stall_s=settings.stall_s, pause=slot.pause, abort=paced.abort, broke_off=handshake.cancel
    )
    request = await trio_websocket.wrap_server_stream(
        nursery, metered,
        message_queue_size=0,  # a client that asks without reading answers is not read either
        max_message_size=REFUSABLE * settings.message_bytes,
        receive_buffer_size=READ_BYTES,
    )  # fmt: skip
    slot.spoke = True
    spoken = next((one for one in request.proposed_subprotocols if one in SPOKEN), "")
    if not spoken:
        await _refuse(request, 400, f"offer the subprotocol {' or '.join(SPOKEN)}\n")
        return None
    if not _may_come(request, endpoint):
        endpoint.limiter.refused["origin"] += 1
        await _refuse(request, 403, "web pages of this origin may not connect; see listen.origins\n")
        return None
    websocket = await request.accept(subprotocol=spoken)
    metered.answered()
    return WebSocketLink(websocket, metered, paced, is_json=spoken == WEBSOCKET_JSON)


async def _refuse(request: trio_websocket.WebSocketRequest, status: int, text: str) -> None:
    headers = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"Connection", b"close")]
    await request.reject(status, extra_headers=headers, body=text.encode())


def _may_come(request: trio_websocket.WebSocketRequest, endpoint: WebSocketEndpoint) -> bool:
    """Whether a page of this origin may connect. Programs send none."""
    origins = [value.decode("latin-1") for name, value in request.headers if name.lower() == b"origin"]
    allowed = endpoint.settings().origins
    if not allowed:
        return not origins or endpoint.requires_token()
    return all(origin in allowed for origin in origins)
