"""What this machine plays, alone or beside the microphone, as a source of a live session's samples (Linux).

In: the recorders of PulseAudio or PipeWire, one process for each side: `parec`, which PipeWire's pulse server serves
too, else `pw-record`. Out: 16 kHz s16le: one channel, or two, the microphone first. A side that gives nothing while the
other does is silent. Every process that was started has ended when the source is closed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from array import array
from collections.abc import Callable
from typing import Final

import trio

from convo.media import PIECE
from convo.messages import AudioFormat

from .errors import Exit, Problem
from .sources import Source, read_some

RATE: Final = 16000

LATE_S: Final = 0.3
"""A side that is this much behind the other gives nothing now: a sink that nobody plays to may stand still."""

WAIT_S: Final = 0.1
"""How long neither side may give anything before both are looked at again."""

END_S: Final = 2.0
"""How long a recorder may take to end."""

MISSING: Final = (
    "To hear what this machine plays, parec (package pulseaudio-utils) or pw-record (package pipewire-bin) is needed: "
    "install one of them."
)


def command_of(program: str, *, monitor: bool, device: str | None = None) -> list[str]:
    """How a recorder is started: on what is played, or on a microphone (the usual one, unless it is named)."""
    if program == "parec":
        source = "@DEFAULT_MONITOR@" if monitor else device or "@DEFAULT_SOURCE@"
        shape = ["--format=s16le", f"--rate={RATE}", "--channels=1", "--latency-msec=50"]
        return [program, "--raw", *shape, f"--device={source}"]
    chosen = ["-P", "{ stream.capture.sink=true }"] if monitor else ["--target", device] if device else []
    return [program, "--raw", "--format", "s16", "--rate", str(RATE), "--channels", "1", *chosen, "-"]


class Recorder:
    """A recording process: what it gave waits in `data`."""

    def __init__(self, what: str, command: list[str]) -> None:
        self.what = what
        self.data = bytearray()
        self.ended = False
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
            )
        except OSError as error:
            raise Problem(Exit.OTHER, f"Cannot start {command[0]}: {error.strerror or error}.") from None

    async def more(self, done: Callable[[], object]) -> None:
        """Wait until something came or the process ended, then call `done`."""
        if self.ended:
            await trio.sleep_forever()
        assert self._process.stdout is not None
        data = await read_some(self._process.stdout.fileno(), PIECE)
        self.data += data
        self.ended = not data
        done()

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    def why(self) -> str:
        """What an ended process said last."""
        assert self._process.stderr is not None
        os.set_blocking(self._process.stderr.fileno(), False)
        said = (self._process.stderr.read() or b"").decode(errors="replace").strip().splitlines()
        return said[-1] if said else "it ended"

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


class SystemAudio(Source):
    """Listens from the moment it is made until `close`.

    Args:
        mic: Whether to listen to the microphone too.
        device: Which one, by the name that `pactl list sources` or `wpctl status` says; None for the usual.
    """

    def __init__(self, *, mic: bool, device: str | None = None) -> None:
        program = next((name for name in ("parec", "pw-record") if shutil.which(name)), None)
        if program is None:
            raise Problem(Exit.OTHER, MISSING)
        self.name = "The system's sound"
        self.format = AudioFormat(encoding="s16le", rate=RATE, channels=2 if mic else 1)
        self.recorders: list[Recorder] = []
        """One for each side."""
        try:
            if mic:
                self.recorders.append(Recorder("microphone", command_of(program, monitor=False, device=device)))
            self.recorders.append(Recorder("system's sound", command_of(program, monitor=True)))
        except BaseException:
            self.close()
            raise

    async def read(self) -> bytes:
        """What both sides have; waits if that is nothing."""
        while not (data := self._take()):
            for recorder in self.recorders:
                if recorder.ended:
                    raise Problem(Exit.BAD_AUDIO, f"The {recorder.what} cannot be recorded: {recorder.why()}.")
            with trio.move_on_after(WAIT_S):
                async with trio.open_nursery() as nursery:
                    for recorder in self.recorders:
                        nursery.start_soon(recorder.more, nursery.cancel_scope.cancel)
        return data

    def rest(self) -> bytes:
        """What came by now."""
        return self._take(all_of_it=True)

    def close(self) -> None:
        """Stop listening."""
        while self.recorders:
            self.recorders.pop().close()

    def _take(self, *, all_of_it: bool = False) -> bytes:
        """Whole frames of what is there; the side that is late is filled up with silence."""
        waiting = [recorder.data for recorder in self.recorders]
        most = max(len(data) for data in waiting)
        late = most - (0 if all_of_it else 2 * round(LATE_S * RATE))
        for data in waiting:
            if len(data) < late:
                data += bytes(late - len(data))
        size = min(len(data) for data in waiting) & ~1
        sides = [array("h", bytes(data[:size])) for data in waiting]
        for data in waiting:
            del data[:size]
        if len(sides) == 1:
            return sides[0].tobytes()
        frames = array("h", bytes(2 * size))
        for place, side in enumerate(sides):
            frames[place :: len(sides)] = side
        return frames.tobytes()
