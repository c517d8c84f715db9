"""What the gateway adds to the daemon: to captions, to a session's readers, to a large upload; and its own start."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import trio
import trio_websocket

import convo
from convo.messages import (
    ListSessions,
    SessionState,
    SpeechEnded,
    SpeechStarted,
    State,
    TranscriptPartial,
    TranscriptSegment,
)
from convo_gateway.wyoming_wire import Event, Parser

from .daemon import Daemon
from .figures import Figures, ms, percentile
from .options import Options
from .talk import SECOND, Talk

PIECE_S = 0.03
"""The dialect's own piece: 960 bytes."""

READERS = 200
SECONDS = 30.0
STARTS = 5
UPLOAD_BYTES = 1 << 30


class _Gateway:
    def __init__(self, process: subprocess.Popen[str], url: str, wyoming: str) -> None:
        self.process = process
        self.url = url
        self.wyoming = wyoming

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mb(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmHWM:")[1].split()[0]) / 1024


@contextmanager
def _gateway(daemon: Daemon, *flags: str) -> Iterator[_Gateway]:
    words = [sys.executable, "-m", "convo_gateway", "--listen", "127.0.0.1:0", "--connect", daemon.web, *flags]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    try:
        wyoming = ""
        for line in process.stderr:
            if found := re.search(r"Wyoming is served on tcp://(\S+)", line):
                wyoming = found[1]
            if found := re.search(r"ready on (http\S+)", line):
                break
        else:
            raise SystemExit("convo-gateway did not start")
        yield _Gateway(process, found[1], wyoming)
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()


async def bench(daemon: Daemon, options: Options) -> Figures:
    """Start, captions, readers, uploads."""
    figures: Figures = {}
    await _start(daemon)  # writes the bytecode, as installing a package does
    starts = [await _start(daemon) for _ in range(STARTS)]
    figures["start to the first answer, ms (median, worst)"] = [
        ms(percentile([start for start, _ in starts], 0.5)), ms(max(start for start, _ in starts))
    ]  # fmt: skip
    figures["processor time till then, ms (median)"] = ms(percentile([cpu for _, cpu in starts], 0.5))
    (talk, *_) = options.load_talks()
    with _gateway(daemon) as gateway:
        figures |= await _captions(daemon, gateway, talk)
    with _gateway(daemon, "--open-loopback", "--wyoming", "tcp://127.0.0.1:0") as gateway:
        for name, speak in (("Realtime", _realtime), ("Deepgram", _deepgram), ("Wyoming", _wyoming)):
            figures |= await _finals(daemon, gateway, talk, name, speak)
    with _gateway(daemon) as gateway:
        figures |= await _readers(daemon, gateway, talk)
    for path in ("/api/v1/conversation/request", "/v1/audio/transcriptions"):
        with _gateway(daemon) as gateway:
            figures |= await _upload(gateway, path)
    return figures


async def _start(daemon: Daemon) -> tuple[float, float]:
    """Seconds to the answer, processor seconds till then."""
    begun = trio.current_time()
    with _gateway(daemon) as gateway:
        async with httpx.AsyncClient() as client:
            (await client.get(f"{gateway.url}/openapi.json")).raise_for_status()
        return trio.current_time() - begun, gateway.cpu_s()


# --- captions ---------------------------------------------------------------------------------------------------


async def _captions(daemon: Daemon, gateway: _Gateway, talk: Talk) -> Figures:
    """Tell what the gateway adds on the way in and on the way out.

    In: one talk at the same moments through the gateway and by the protocol; how much later the daemon says of the one
    that speech begins and ends. Out: each caption of the one, by the gateway's WebSocket and by the protocol.
    """
    spoken: dict[str, dict[tuple[str, float], float]] = {"gateway": {}, "protocol": {}}
    captions: dict[str, dict[tuple[Any, ...], float]] = {"gateway": {}, "protocol": {}}
    async with (
        httpx.AsyncClient(base_url=gateway.url) as http,
        convo.connect(daemon.web) as client,
        convo.connect(daemon.web) as watching,
    ):
        job = (await http.post("/api/v1/stream/create")).json()["job_id"]
        direct = await client.create_session()
        watched = await watching.attach(job)
        url = gateway.url.replace("http", "ws", 1)
        async with (
            trio_websocket.open_websocket_url(f"{url}/api/v1/stream/ws/{job}") as websocket,
            trio.open_nursery() as nursery,
        ):
            await websocket.get_message()

            async def hear(name: str, session: convo.ClientSession) -> None:
                async for event in session.events():
                    now = trio.current_time()
                    if isinstance(event, SpeechStarted | SpeechEnded):
                        spoken[name][type(event).__name__, event.time] = now
                    elif name == "gateway" and isinstance(event, TranscriptPartial):
                        captions["protocol"][event.segment, event.stable, event.tentative] = now
                    elif isinstance(event, SessionState) and event.state is State.TRANSCRIBED:
                        return

            async def read() -> None:
                while True:
                    told = msgspec.json.decode(await websocket.get_message())
                    if told["type"] == "transcript_partial":
                        captions["gateway"][told["segment"], told["stable"], told["tentative"]] = trio.current_time()

            for name, session in (("gateway", watched), ("protocol", direct)):
                nursery.start_soon(hear, name, session)
            nursery.start_soon(read)
            for piece in _pieces(talk):
                await trio.sleep_until(piece.due)
                # Neither is always the first.
                first = websocket.send_message if piece.number % 2 else direct.send_audio
                second = direct.send_audio if piece.number % 2 else websocket.send_message
                await first(piece.data)
                await second(piece.data)
            await direct.end()
            nursery.cancel_scope.cancel()
    inward = [at - spoken["protocol"][event] for event, at in spoken["gateway"].items() if event in spoken["protocol"]]
    outward = [
        at - captions["protocol"][said] for said, at in captions["gateway"].items() if said in captions["protocol"]
    ]
    return {
        f"captions, audio in, ms later than by the protocol (p50, p95) of {len(inward)}": _exact(inward),
        f"captions, text out, ms later than by the protocol (p50, p95) of {len(outward)}": _exact(outward),
    }


# --- finals of the other dialects -------------------------------------------------------------------------------

Told = Callable[[str], None]


async def _finals(
    daemon: Daemon, gateway: _Gateway, talk: Talk, name: str, speak: Callable[[_Gateway, Talk, Told], Awaitable[None]]
) -> Figures:
    """Tell how much later a final comes in a dialect than to a follower of the same session by the protocol."""
    told: dict[str, float] = {}
    heard: dict[str, float] = {}
    async with convo.connect(daemon.web) as client, trio.open_nursery() as nursery:
        before = {info.session for info in (await client.request(ListSessions())).sessions}

        async def follow() -> None:
            while not (new := {one.session for one in (await client.request(ListSessions())).sessions} - before):  # noqa: ASYNC110
                await trio.sleep(0.05)
            (session,) = new
            with suppress(convo.RequestError):  # it is deleted once it is over
                async for event in (await client.attach(session)).events():
                    if isinstance(event, TranscriptSegment):
                        heard.setdefault(event.text.strip(), trio.current_time())

        nursery.start_soon(follow)
        await speak(gateway, talk, lambda text: told.setdefault(text.strip(), trio.current_time()) and None)
        nursery.cancel_scope.cancel()
    later = [at - heard[text] for text, at in told.items() if text in heard]
    return {f"finals by {name}, ms later than by the protocol (p50, p95) of {len(later)}": _exact(later)}


async def _realtime(gateway: _Gateway, talk: Talk, told: Told) -> None:
    url = f"{gateway.url.replace('http', 'ws', 1)}/v1/realtime?intent=transcription"
    async with trio_websocket.open_websocket_url(url) as websocket, trio.open_nursery() as nursery:

        async def read() -> None:
            while True:
                event = msgspec.json.decode(await websocket.get_message())
                if event["type"].endswith("transcription.completed"):
                    told(event["transcript"])

        nursery.start_soon(read)
        for piece in _pieces(talk):
            await trio.sleep_until(piece.due)
            data = _faster(piece.data)
            message = {"type": "input_audio_buffer.append", "audio": base64.b64encode(data).decode()}
            await websocket.send_message(msgspec.json.encode(message).decode())
        await trio.sleep(2.0)
        nursery.cancel_scope.cancel()


def _faster(data: bytes) -> bytes:
    """16 kHz as 24 kHz, linearly: good enough for a time."""
    samples = np.frombuffer(data, dtype="<i2")
    at = np.arange(len(samples) * 3 // 2) * (2 / 3)
    return np.interp(at, np.arange(len(samples)), samples).astype("<i2").tobytes()


async def _deepgram(gateway: _Gateway, talk: Talk, told: Told) -> None:
    url = f"{gateway.url.replace('http', 'ws', 1)}/v1/listen?encoding=linear16&sample_rate=16000"
    async with trio_websocket.open_websocket_url(url) as websocket, trio.open_nursery() as nursery:

        async def read() -> None:
            with suppress(trio_websocket.ConnectionClosed):
                while True:
                    event = msgspec.json.decode(await websocket.get_message())
                    if event["type"] == "Results" and event["is_final"]:
                        told(event["channel"]["alternatives"][0]["transcript"])

        nursery.start_soon(read)
        for piece in _pieces(talk):
            await trio.sleep_until(piece.due)
            await websocket.send_message(piece.data)
        await websocket.send_message('{"type": "CloseStream"}')


async def _wyoming(gateway: _Gateway, talk: Talk, told: Told) -> None:
    host, _, port = gateway.wyoming.rpartition(":")
    audio = {"rate": SECOND // 2, "width": 2, "channels": 1}
    async with await trio.open_tcp_stream(host, int(port)) as stream, trio.open_nursery() as nursery:

        async def read() -> None:
            parser = Parser()
            async for data in stream:
                for event in parser.feed(bytes(data)):
                    if event.type == "transcript-chunk":
                        told(event.data["text"])
                    if event.type == "transcript-stop":
                        return

        nursery.start_soon(read)
        await stream.send_all(Event("audio-start", audio).encoded())
        for piece in _pieces(talk):
            await trio.sleep_until(piece.due)
            await stream.send_all(Event("audio-chunk", audio, piece.data).encoded())
        await stream.send_all(Event("audio-stop").encoded())


def _exact(seconds: list[float]) -> list[float]:
    return [round(1000 * percentile(seconds, share), 1) for share in (0.5, 0.95)]


class _Piece(msgspec.Struct):
    number: int
    due: float
    data: bytes


def _pieces(talk: Talk) -> Iterator[_Piece]:
    begin, size = trio.current_time(), int(PIECE_S * SECOND)
    for number, start in enumerate(range(0, len(talk.pcm), size)):
        yield _Piece(number, begin + number * PIECE_S, talk.pcm[start : start + size])


# --- readers ----------------------------------------------------------------------------------------------------


async def _readers(daemon: Daemon, gateway: _Gateway, talk: Talk) -> Figures:
    """Tell what a session's readers cost the gateway while someone speaks."""
    events = 0
    async with convo.connect(daemon.web) as client, AsyncExitStack() as stack, trio.open_nursery() as nursery:
        session = await client.create_session()
        port = int(gateway.url.rpartition(":")[2])
        asked = f"GET /api/v1/conversation/stream-events/{session.id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

        async def read(stream: trio.SocketStream) -> None:
            nonlocal events
            async for data in stream:
                events += data.count(b"\nid: ")

        for _ in range(READERS):
            stream = await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port))
            await stream.send_all(asked)
            assert b" 200 " in await stream.receive_some(1 << 16)
            nursery.start_soon(read, stream)
        shares = {"gateway": gateway.cpu_s(), "daemon": daemon.cpu_s(parent_only=True)}
        memory, told = gateway.peak_mb(), events
        for piece in _pieces(talk):
            if piece.number * PIECE_S >= SECONDS:
                break
            await trio.sleep_until(piece.due)
            await session.send_audio(piece.data)
        shares = {
            "gateway": (gateway.cpu_s() - shares["gateway"]) / SECONDS,
            "daemon": (daemon.cpu_s(parent_only=True) - shares["daemon"]) / SECONDS,
        }
        told = events - told
        nursery.cancel_scope.cancel()
    name = f"{READERS} event streams of one session in {SECONDS:g} s of talk"
    return {
        f"{name}: share of a core, %": round(100 * shares["gateway"], 1),
        f"{name}: of the daemon's process beside, %": round(100 * shares["daemon"], 1),
        f"{name}: events": told,
        f"{name}: memory, MiB": round(memory, 1),
    }


# --- uploads ----------------------------------------------------------------------------------------------------


async def _upload(gateway: _Gateway, path: str) -> Figures:
    async def body() -> AsyncIterator[bytes]:
        part = b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b'
        if path.startswith("/v1/"):
            yield part % (b"model", b"", b"whisper-1\r\n")
        yield part % (b"file", b'; filename="zeros"', b"")
        piece = bytes(1 << 18)
        for _ in range(UPLOAD_BYTES // len(piece)):
            yield piece
        yield b"\r\n--x--\r\n"

    begun = trio.current_time()
    async with httpx.AsyncClient(base_url=gateway.url, timeout=600) as client:
        answer = await client.post(path, content=body(), headers={"content-type": "multipart/form-data; boundary=x"})
    took = trio.current_time() - begun
    name = f"{UPLOAD_BYTES >> 20} MiB to {path} (answered {answer.status_code})"
    return {f"{name}: the most memory, MiB": round(gateway.peak_mb(), 1), f"{name}: s": round(took, 1)}
