"""`convo watch-folder DIR`: transcribes each recording that appears, and writes the transcript beside it.

In: a folder, looked at twice a second. Out: `NAME.FORMAT` for each recording, or `NAME.error.txt` with a sentence if it
cannot be transcribed. A recording is taken once it is whole: not growing, and not open for writing. One that is older
than its transcript is done. Until it is, the daemon knows its session by a key, so that no crash makes it two sessions.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from collections.abc import AsyncIterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

import convo
from convo.media import PIECE
from convo.messages import AttachReply, Event, SessionState, SessionWarning, State

from .arguments import Options
from .errors import Exit, Problem, explain, failed
from .link import linked
from .output import note, put, write_file
from .settling import Settling, Stamp
from .sources import read_some
from .text import clean, file_name
from .transcribe import session_options
from .transcripts import fit, is_recording

_LOOK_S = 0.5
_AT_ONCE = 4  # files sent and waited for at once; the daemon decides how many it works on


async def watch_folder(options: Options) -> None:
    """`convo watch-folder DIR`."""
    if not os.path.isdir(options.directory):  # noqa: ASYNC240 - before anything else runs
        raise Problem(Exit.USAGE, f"{file_name(options.directory)} is not a directory: name the folder to watch.")
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # see _open_for_writing
    async with linked(options, note, patience_s=None) as link:
        await _Watch(options, link).run()


class _Watch:
    def __init__(self, options: Options, link: convo.Link) -> None:
        self.options = options
        self.link = link
        self.folder = Path(options.directory)
        self.format = options.format or "txt"
        self.settling = Settling(options.settle)
        self.slots = trio.CapacityLimiter(_AT_ONCE)
        self.told: set[str] = set()  # what is wrong with the folder; said once, until it is right again

    async def run(self) -> None:
        """Look and transcribe until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                files = await trio.to_thread.run_sync(self._list)
                for path in self.settling.look(trio.current_time(), files):
                    if not self.slots.available_tokens:
                        break
                    stamp = self.settling.begin(path)
                    if await trio.to_thread.run_sync(_open_for_writing, path):
                        self.settling.put_back(path, stamp, trio.current_time())
                    elif await trio.to_thread.run_sync(self._is_done, path, stamp):
                        self.settling.end(path, stamp)
                    else:
                        self.slots.acquire_on_behalf_of_nowait(stamp)
                        nursery.start_soon(self._one, path, stamp)
                await trio.sleep(_LOOK_S)

    def _list(self) -> dict[Path, Stamp]:
        found: dict[Path, Stamp] = {}
        try:
            for directory, below, names in os.walk(self.folder, onerror=_raise):
                below[:] = sorted(name for name in below if self.options.recursive and not name.startswith("."))
                for name in names:
                    path = Path(directory, name)
                    if is_recording(Path(name)):
                        about = _regular(path)
                        if about is not None:
                            found[path] = about
            self.told.discard("folder")
        except OSError as error:
            self._say_once("folder", f"{file_name(str(self.folder))}: {error.strerror}. Waiting until it can be read.")
        return found

    def _is_done(self, path: Path, stamp: Stamp) -> bool:
        """Whether the transcript, or the sentence that there will be none, is newer than the recording."""
        for target in (self._target(path), self._error(path)):
            try:
                if os.stat(target).st_mtime_ns >= stamp.modified_ns:
                    return True
            except OSError:
                continue
        return False

    def _target(self, path: Path) -> Path:
        return self._beside(path, self.format)

    def _error(self, path: Path) -> Path:
        return self._beside(path, "error.txt")

    def _beside(self, path: Path, ending: str) -> Path:
        return path.with_name(f"{path.name}.{ending}")  # the whole name: talk.mp3 and talk.wav are two recordings

    async def _one(self, path: Path, stamp: Stamp) -> None:
        """Transcribe one recording. Its own faults are written beside it; after any other, it is tried again."""
        name = file_name(str(path.relative_to(self.folder)))
        try:
            try:
                session = await self._transcribed(path, stamp, name)
                text = fit(await self.link.ask(lambda client: client.export(session, self.format)), self.format)
            except (Problem, convo.ConvoError) as error:
                problem = explain(error)
                if not isinstance(problem, Problem) or problem.code in (Exit.NO_DAEMON, Exit.NOT_ALLOWED):
                    raise
                if isinstance(error, convo.RequestError) and error.code in (convo.Code.BUSY, convo.Code.INTERNAL):
                    raise problem from None
                note(f"{name}: {problem.sentence}")
                await self._write(self._error(path), f"{clean(problem.sentence)}\nTouch the recording to try again.\n")
            else:
                await self._write(self._target(path), text)
                await trio.to_thread.run_sync(lambda: self._error(path).unlink(missing_ok=True))
                put(f"{clean(file_name(str(self._target(path))))}\n")
            self.told.discard(name)
            self.settling.end(path, stamp)
        except _Changed:
            self.settling.put_back(path, stamp, trio.current_time())
        except (Problem, OSError) as error:
            if isinstance(error, Problem) and error.code in (Exit.NO_DAEMON, Exit.NOT_ALLOWED):
                raise
            self._say_once(name, f"{name}: {error} It is tried again.")
            self.settling.put_back(path, stamp, trio.current_time())
        finally:
            self.slots.release_on_behalf_of(stamp)

    async def _write(self, target: Path, text: str) -> None:
        # Others may write into the folder: a link of theirs must not lead us elsewhere.
        await trio.to_thread.run_sync(lambda: write_file(target, text, follow=False))

    async def _transcribed(self, path: Path, stamp: Stamp, name: str) -> str:
        """The session of the recording, completed: a new one, or the one that there is already."""
        fields = session_options(self.options, path.name, stamp.size)
        fields["key"] = stamp.key
        session, ended = await self.link.ask(lambda client: _begin(client, fields))
        if ended:
            state = await self._follow(convo.Follower(self.link, session), name)
        else:
            with _opened(path, stamp) as descriptor:

                async def read() -> bytes:
                    piece = await read_some(descriptor, PIECE)
                    if not piece and _stamp(os.fstat(descriptor)) != stamp:
                        raise _Changed
                    return piece

                async with convo.FileUpload(self.link, read, **fields) as upload:
                    try:
                        state = await self._follow(upload, name)
                    except _Changed:
                        await upload.cancel()
                        raise
        if state.state is State.FAILED:
            raise failed(state.code, state.message)
        if state.state is State.CANCELLED:
            raise Problem(Exit.FAILED, "The session was cancelled.")
        return session

    async def _follow(self, events: AsyncIterable[Event], name: str) -> SessionState:
        state: SessionState | None = None
        async for event in events:
            if isinstance(event, SessionState):
                state = event
            if isinstance(event, SessionWarning):
                note(f"{name}: {event.message}")
        assert state is not None, "a session whose events ended is in a final state"
        return state

    def _say_once(self, about: str, sentence: str) -> None:
        if about not in self.told:
            self.told.add(about)
            note(sentence)


class _Changed(OSError):
    """The recording changed, or went away, while it was sent."""


async def _begin(client: convo.Client, fields: convo.SessionOptions) -> tuple[str, bool]:
    """The session with that key, and whether it has all of its audio."""
    session = await client.create_session("file", **fields)
    reply = (await client.attach(session.id, after_seq=0, produce=True)).reply
    await session.detach()
    return session.id, isinstance(reply, AttachReply) and reply.ended


@contextmanager
def _opened(path: Path, stamp: Stamp) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _Changed from error
    try:
        if _stamp(os.fstat(descriptor)) != stamp:
            raise _Changed
        yield descriptor
    finally:
        os.close(descriptor)


def _regular(path: Path) -> Stamp | None:
    """The stamp of a regular file; None for anything else. A link could show what does not belong to the folder."""
    try:
        about = os.lstat(path)
    except OSError:
        return None
    return _stamp(about) if stat.S_ISREG(about.st_mode) else None


def _stamp(about: os.stat_result) -> Stamp:
    return Stamp(about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)


def _open_for_writing(path: Path) -> bool:
    """Whether a program on this machine has the file open for writing, as far as can be told (Linux, own files).

    A read lease is granted only if nobody has the file open for writing (fcntl(2)); it is given back at once. A program
    that opens the file for writing in between waits that long, and the kernel sends us SIGIO, which is ignored.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False


def _raise(error: OSError) -> None:
    raise error
