"""A recording to PCM, streamed from a process of its own: the daemon's side of `decoder`.

In: the path of a spooled file in any format FFmpeg reads. Out: mono s16le at 16 kHz in pieces, in bounded memory; a
warning where the file broke half-way; or one sentence that says what is wrong with it; or that the process ended before
it could say. FFmpeg never runs in here. The process gets the open file and nothing else: no environment, no other
descriptor, and `sandbox` for the rest. One that gives nothing for too long is killed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from convo.messages import Code
from convod.engine import environment
from convod.engine.reap import reap
from convod.engine.wire import RATE

log = logging.getLogger("convod.engine")

PIECE: Final = 1 << 16

STALL_S: Final = 60.0
"""How long a decoder may give nothing while it is waited for; and how much longer than the sound lasts it may be waited
for in all. It decodes some hundred times faster than people speak."""

STALLED: Final = (
    f"the file's decoder gave nothing for too long ({STALL_S:.0f} s) and was ended; the audio is kept: retry the "
    "session, or convert the file with ffmpeg and send that"
)
TOO_SLOW: Final = (
    "decoding the file takes far more processor time than a recording of its size needs; convert it with ffmpeg and "
    "send that"
)


class Decoding:
    """A file being decoded.

    `total_s` is what the container claims, None while it says nothing; `track` of its `tracks` is decoded. After the
    last piece, `refusal` is an error code and a sentence if it has no audio, `warning` a sentence if the file was
    damaged, `hint` one about the track that was chosen. `died` is what ended a process that did not come to its end and
    said nothing of the file: a signal's name, its exit status, or why it could not be started.
    """

    def __init__(self, process: trio.Process | None) -> None:
        self.process = process
        self._said = b""
        self._said_all = trio.Event()
        self._given_s = self._waited_s = 0.0
        self.total_s: float | None = None
        self.track = self.tracks = 1
        self.warning: str | None = None
        self.hint: str | None = None
        self.refusal: tuple[Code, str] | None = None
        self.died: str | None = None

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Mono s16le at 16 kHz."""
        if self.process is None:
            return
        assert self.process.stdout is not None
        with contextlib.suppress(trio.TooSlowError):
            while data := await self._waited_for(self.process.stdout):
                self._given_s += len(data) / 2 / RATE
                yield data
            with trio.fail_after(STALL_S):
                await self._said_all.wait()
                self._ended(await self.process.wait())
            return
        self.refusal = Code.INTERNAL, STALLED

    async def _waited_for(self, stdout: trio.abc.ReceiveStream) -> bytes:
        """The next bytes. Time counts only while they are waited for: a busy engine is not the file's fault."""
        begun = trio.current_time()
        with trio.fail_after(min(STALL_S, STALL_S + self._given_s - self._waited_s)):
            data = await stdout.receive_some(PIECE)
        self._waited_s += trio.current_time() - begun
        return bytes(data)

    def _ended(self, status: int) -> None:
        if status == 0 or self.refusal is not None:
            return
        if status == -signal.SIGXCPU:
            self.refusal = Code.BAD_AUDIO, TOO_SLOW
        else:
            self.died = _what_ended(status)

    async def listen(self) -> None:
        """Take what the process says beside the sound, until it ends."""
        assert self.process is not None
        assert self.process.stderr is not None
        async for data in self.process.stderr:
            *lines, self._said = (self._said + data)[-65536:].split(b"\n")
            for line in lines:
                self.take_line(line)
        self._said_all.set()

    def take_line(self, line: bytes) -> None:
        """Take a line of that: an object in JSON, or what a library prints."""
        try:
            said = json.loads(line)
        except ValueError:
            return  # FFmpeg's libraries may print lines of their own
        if not isinstance(said, dict):
            return
        if "open" in said:
            _warn_once(said["open"])
        if "error" in said:
            self.refusal = Code(said["code"]), said["error"]
        self.warning = said.get("warning", self.warning)
        self.hint = said.get("hint", self.hint)
        self.total_s = said.get("total_s", self.total_s)
        self.track, self.tracks = said.get("track", self.track), said.get("tracks", self.tracks)


def _what_ended(status: int) -> str:
    if status > 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:  # a real-time signal, which has no name
        return f"signal {-status}"


@asynccontextmanager
async def decoding(
    path: Path, *, track: int | None = None, limit_s: float = 0.0, split: bool = False
) -> AsyncIterator[Decoding]:
    """Decode an audio track of the file at `path`; the process ends with the block.

    The track counts from 1; None is the one that a listener would choose. A file of more than `limit_s` seconds (0: as
    many as there are) is refused. If `split`, the first byte says how many channels there are, and their samples are
    interleaved.
    """
    try:
        process = await _start(path, track or 0, limit_s, split)
    except OSError as error:  # the file may not be to blame
        decoded = Decoding(None)
        decoded.died = error.strerror or str(error)
        yield decoded
        return
    decoded = Decoding(process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(decoded.listen)
            yield decoded
            nursery.cancel_scope.cancel()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await reap(process)
        with trio.CancelScope(shield=True):
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    await stream.aclose()


async def _start(path: Path, track: int, limit_s: float, split: bool) -> trio.Process:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return await trio.lowlevel.open_process(
            # -P: no module is taken from the directory that the daemon happens to be in.
            [
                sys.executable,
                "-P",
                "-m",
                "convod.engine.decoder",
                str(track),
                str(limit_s),
                "split" if split else "mix",
            ],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment.for_decoder(),
            # Ctrl-C and the hang-up of a terminal are for the daemon. Not in a session of its own: where Linux shares
            # processors out among sessions (autogroup), it would be nice to nobody there.
            process_group=0,
        )
    finally:
        os.close(file)


warned: set[str] = set()


def _warn_once(missing: list[str]) -> None:
    """Say what this machine lets a decoder do that it should not; the same for every file, so once."""
    what = ", ".join(missing)
    if what not in warned:
        warned.add(what)
        log.warning(
            "decoders of files cannot be shut off from everything on this machine (%s): its system has no way", what
        )
