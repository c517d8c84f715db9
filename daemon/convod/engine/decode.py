"""A recording to PCM, streamed, in a process of its own: the daemon's side, and (run as a program) the decoding side.

In: the path of a spooled file in any format FFmpeg reads. Out: mono s16le at 16 kHz in pieces, in bounded memory; a
warning where the file broke half-way; or one sentence that says what is wrong with it. The child writes PCM to
stdout and JSON lines to stderr: `{"total_s"}` first, `{"warning"}` or `{"code", "error"}` where due.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from convo.messages import Code

RATE: Final = 16000
PIECE: Final = 1 << 16


class Decoding:
    """A file being decoded.

    `total_s` is what the container claims, None while it says nothing. After the last piece, `refusal` is an error
    code and a sentence if nothing could be heard, `warning` a sentence if the file was damaged.
    """

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._said = b""
        self._said_all = trio.Event()
        self.total_s: float | None = None
        self.warning: str | None = None
        self.refusal: tuple[Code, str] | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        """Mono s16le at 16 kHz."""
        assert self._process.stdout is not None
        while data := await self._process.stdout.receive_some(PIECE):
            yield bytes(data)
        await self._said_all.wait()
        if await self._process.wait() != 0 and self.refusal is None:
            self.refusal = (
                Code.BAD_AUDIO,
                "the file stopped its decoder; convert it with ffmpeg and send that",
            )

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


@asynccontextmanager
async def decoding(path: Path) -> AsyncIterator[Decoding]:
    """Decode the file at `path`; the process ends with the block."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "convod.engine.decode", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    decoded = Decoding(process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(decoded._listen)
            yield decoded
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    await stream.aclose()


def main() -> int:
    """Decode the file `argv[1]`."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def say(**fields: object) -> None:
        print(json.dumps(fields), file=sys.stderr, flush=True)

    def refuse(code: Code, sentence: str) -> int:
        say(code=code, error=sentence)
        return 1

    path = Path(sys.argv[1])
    if path.stat().st_size == 0:
        return refuse(Code.BAD_AUDIO, "the file is empty; send one that holds audio")

    import av

    av.logging.set_level(None)
    try:
        container = av.open(str(path), metadata_errors="ignore")
    except (av.FFmpegError, ValueError):
        return refuse(Code.BAD_AUDIO, "this is no audio file that FFmpeg can read; convert it to flac, mp3 or wav")
    with container:
        if not container.streams.audio:
            return refuse(Code.BAD_AUDIO, "the file has no audio track; send one that has")
        say(total_s=container.duration / av.time_base if container.duration else None)
        return _decode(container, say, refuse)


def _decode(container: Any, say: Callable[..., None], refuse: Callable[[Code, str], int]) -> int:
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    out = sys.stdout.buffer
    written = 0
    broken: str | None = None
    faults = 0

    def write(frame: av.AudioFrame | None) -> None:
        nonlocal written
        for piece in resampler.resample(frame):
            data = piece.to_ndarray().tobytes()
            out.write(data)
            written += len(data)

    packets = container.demux(container.streams.audio[0])
    while True:
        try:
            packet = next(packets)
            for frame in packet.decode():
                write(frame)
        except StopIteration:
            break
        except (av.FFmpegError, ValueError) as error:
            # A damaged packet is skipped; a file that is nothing but damage is not read to its end.
            broken = str(error)
            faults += 1
            if faults > 1000:
                break
    with contextlib.suppress(av.FFmpegError, ValueError):  # nothing was ever resampled
        write(None)
    out.flush()
    if not written:
        return refuse(Code.BAD_AUDIO, "no sound could be read from the file; convert it with ffmpeg and send that")
    if broken is not None:
        say(warning=f"the file is damaged ({broken}); what could be read was transcribed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
