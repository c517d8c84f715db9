"""A recording to PCM, streamed from a process of its own: the daemon's side of `decoder`.

In: the path of a spooled file in any format FFmpeg reads. Out: mono s16le at 16 kHz in pieces, in bounded memory; a
warning where the file broke half-way; or one sentence that says what is wrong with it; or that the process ended before
it could say. FFmpeg never runs in here.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from convo.messages import Code
from convod.engine.ending import end

PIECE: Final = 1 << 16


class Decoding:
    """A file being decoded.

    `total_s` is what the container claims, None while it says nothing. After the last piece, `refusal` is an error
    code and a sentence if nothing could be heard, `warning` a sentence if the file was damaged. `died` is what ended a
    process that did not come to its end and said nothing of the file: a signal's name, or its exit status.
    """

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._said = b""
        self._said_all = trio.Event()
        self.total_s: float | None = None
        self.warning: str | None = None
        self.refusal: tuple[Code, str] | None = None
        self.died: str | None = None

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Mono s16le at 16 kHz."""
        assert self._process.stdout is not None
        while data := await self._process.stdout.receive_some(PIECE):
            yield bytes(data)
        await self._said_all.wait()
        status = await self._process.wait()
        if status != 0 and self.refusal is None:
            self.died = _what_ended(status)

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        async for data in self._process.stderr:
            *lines, self._said = (self._said + data)[-65536:].split(b"\n")
            for line in lines:
                self._read(line)
        self._said_all.set()

    def _read(self, line: bytes) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            return  # FFmpeg's libraries may print lines of their own
        if "error" in said:
            self.refusal = Code(said["code"]), said["error"]
        self.warning = said.get("warning", self.warning)
        self.total_s = said.get("total_s", self.total_s)


def _what_ended(status: int) -> str:
    if status > 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:  # a real-time signal, which has no name
        return f"signal {-status}"


@asynccontextmanager
async def decoding(path: Path, *, track: int | None = None, limit_s: float = 0.0) -> AsyncIterator[Decoding]:
    """Decode an audio track (from 1; None is the first) of the file at `path`; the process ends with the block.

    A file of more than `limit_s` seconds (0: as many as there are) is refused.
    """
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "convod.engine.decoder", str(path), str(track or 1), str(limit_s)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Ctrl-C and the hang-up of a terminal are for the daemon. Not in a session of its own: where Linux shares
        # processors out among sessions (autogroup), it would be nice to nobody there.
        process_group=0,
    )
    decoded = Decoding(process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(decoded._listen)
            yield decoded
            nursery.cancel_scope.cancel()
    finally:
        await end(process)
        with trio.CancelScope(shield=True):
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    await stream.aclose()
