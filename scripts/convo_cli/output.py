"""Output: data to standard output, everything else to standard error, files whole or not at all.

In: text that is safe to show (see `text.py`) and messages. Out: bytes on the two streams and in files. This module does
not word anything; when the reader of our output goes away, the command ends with `ClosedPipe`.
"""

from __future__ import annotations

import json
import math
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TextIO

import msgspec
import trio

from .errors import ClosedPipe, Exit, Problem
from .text import clean, clean_json, file_name


def on_screen(stream: TextIO) -> bool:
    """Whether this stream is a terminal that can redraw a line."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # closed
        return False


def colours(stream: TextIO) -> bool:
    """Whether this stream shows bold and dim."""
    return on_screen(stream) and not os.environ.get("NO_COLOR")


def put(text: str) -> None:
    """Write to standard output, at once.

    Raises:
        ClosedPipe: its reader is gone.
        Problem: it cannot be written, such as on a full disk.
    """
    # Past Python's buffer: a thread that waits in a write must not hold its lock when the program ends.
    data = memoryview(text.encode(sys.stdout.encoding or "utf-8", errors="replace"))
    try:
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]
    except BrokenPipeError:
        raise ClosedPipe from None
    except OSError as error:
        raise Problem(Exit.OTHER, f"Cannot write to standard output: {error.strerror}.") from None


def note(sentence: str) -> None:
    """Print a sentence on standard error; if that is closed, continue without."""
    with suppress(OSError):
        sys.stderr.write(f"convo: {clean(sentence)}\n")
        sys.stderr.flush()


def json_line(value: Any, **more: Any) -> str:
    """Return one line of JSON; a message keeps its wire form, after the fields `more`."""
    plain = msgspec.to_builtins(value)
    line = json.dumps({**more, **plain} if more else plain, ensure_ascii=False, allow_nan=False)
    return clean_json(line) + "\n"


class Lines:
    """Standard output as a task: a slow reader (`| less`) never delays the connection to the daemon.

    Lines wait in memory; they are a few bytes a second of speech. A terminal is written to at once, so that the order
    of lines on both streams is kept.
    """

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[str](math.inf)
        self._at_once = on_screen(sys.stdout)

    def put(self, text: str) -> None:
        """Queue the text."""
        if self._at_once:
            put(text)
        else:
            with suppress(trio.BrokenResourceError):  # the reader is gone, and `run` has said so
                self._send.send_nowait(text)

    def close(self) -> None:
        """End the queue: `run` returns once everything is written."""
        self._send.close()

    async def run(self) -> None:
        """Write until `close`; raises what the function `put` raises."""
        async with self._receive:
            async for text in self._receive:
                # A write may block for as long as the reader does not read; it is abandoned with the command.
                await trio.to_thread.run_sync(put, text, abandon_on_cancel=True)


def write_file(path: Path, content: str | bytes, *, follow: bool = True) -> None:
    """Write a file (see `replacing`).

    Raises:
        Problem: it cannot be written.
    """
    with replacing(path, follow=follow) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path, *, follow: bool = True) -> Iterator[IO[bytes]]:
    """A file to write to, so that its name stands for the old content or, after the block, the whole new one.

    A link is followed, or replaced if `follow` is false. A device or a pipe is written to as it is.

    Raises:
        Problem: it cannot be written.
    """
    try:
        target = Path(os.path.realpath(path)) if follow else path
        try:
            mode = os.stat(target, follow_symlinks=follow).st_mode
        except FileNotFoundError:
            mode = stat.S_IFREG | (0o666 & ~_umask())
        if not follow and stat.S_ISLNK(mode):
            mode = 0o666 & ~_umask()
        elif not stat.S_ISREG(mode):
            with target.open("wb") as file:
                yield file
            return
        # Not called after the target, whose name may be as long as names can be.
        descriptor, name = tempfile.mkstemp(prefix=".convo-", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                yield file
                file.flush()
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
                os.fsync(file.fileno())
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise Problem(Exit.OTHER, f"Cannot write {file_name(str(path))}: {error.strerror}.") from None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
