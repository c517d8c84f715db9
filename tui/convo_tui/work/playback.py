"""Plays what was said, where the daemon kept the sound.

In: a session, from when to when. Out: sound, or one sentence on why not. Of a live session only the passage is fetched;
a file is fetched whole, once, into a temporary directory, and decoded as far as need be.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import convo
from convo.errors import BadAudio
from convo.media import DECODED, decode, frame_bytes, wave_header
from convo.messages import Code, GetAudio, GetAudioReply

from .loudspeaker import Loudspeaker, resampled, usual_rate

MOST_S = 300.0
"""Seconds that are played at once."""

_BEFORE_S, _AFTER_S = 0.1, 0.2
"""What is played around a passage: words do not begin and end at once."""

_BEHIND = 2**62
"""An offset behind any audio: asked for, the daemon tells only what there is."""


class Playback:
    """The sound of one session. `close` it with the screen that plays it."""

    def __init__(self, link: convo.Link, session: str) -> None:
        self._link = link
        self._session = session
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._recording: Recording | None = None

    async def play(self, start: float, end: float, began: Callable[[], object]) -> None:
        """Play from `start` to `end`, in seconds; `began` is called with the first sound. Cancelling stops it.

        Raises:
            ConvoError: it was not kept, cannot be decoded, or cannot be played; the text is a sentence.
        """
        first, last = max(0.0, start - _BEFORE_S), min(end, start + MOST_S) + _AFTER_S
        rate = await asyncio.to_thread(usual_rate)
        data = await asyncio.to_thread(resampled, await self._sound(first, last), rate)
        if not data:
            raise BadAudio("There is no sound at this place.")
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def over() -> None:
            with suppress(RuntimeError):  # the event loop has ended
                loop.call_soon_threadsafe(done.set)

        loudspeaker = Loudspeaker(data, rate, over)  # not in a thread: cancelled there, it would play on
        try:
            began()
            await done.wait()
        finally:
            loudspeaker.close()

    def close(self) -> None:
        """Give up what was fetched."""
        if self._recording is not None:
            self._recording.close()
        if self._folder is not None:
            self._folder.cleanup()

    async def _sound(self, first: float, last: float) -> bytes:
        """The sound from `first` to `last`, as `DECODED`."""
        try:
            if self._recording is None:
                about = await self._link.request(GetAudio(session=self._session, offset=_BEHIND))
                if about.kind == "live":
                    return await self._live(about, first, last)
                self._recording = await self._fetched()
            return await asyncio.to_thread(self._recording.read, first, last)
        except convo.RequestError as error:
            if error.code == Code.BAD_STATE:
                raise BadAudio(
                    "The sound of this session was not kept: keep_audio in the settings (S) is for the next ones."
                ) from None
            raise
        except OSError as error:
            raise BadAudio(f"There is no room for the sound: {error.strerror or error}.") from None

    async def _live(self, about: GetAudioReply, first: float, last: float) -> bytes:
        frame, raw = frame_bytes(about.audio), b""
        offset, stop = (int(at * about.audio.rate) * frame for at in (first, last))
        while offset + len(raw) < stop:
            reply = await self._link.request(GetAudio(session=self._session, offset=offset + len(raw)))
            raw += reply.data
            if reply.next is None or not reply.data:
                break
        raw = raw[: stop - offset]
        if not raw:
            return b""
        path = self._place("passage")
        path.write_bytes(wave_header(about.audio, len(raw)) + raw)
        return await asyncio.to_thread(lambda: b"".join(decode(path)))

    async def _fetched(self) -> Recording:
        path = self._place("recording")

        async def fetch(client: convo.Client) -> GetAudioReply:
            with path.open("wb") as file:
                return await client.get_audio(self._session, file.write)

        last = await self._link.ask(fetch)
        return Recording(path, self._place("decoded"), last.audio.track)

    def _place(self, name: str) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="convo-tui-")
        return Path(self._folder.name, name)


class Recording:
    """A file of any kind, decoded into another one as far as somebody read."""

    def __init__(self, path: Path, decoded: Path, track: int | None) -> None:
        self._pieces: Generator[bytes] = decode(path, track=track)
        self._file = decoded.open("w+b")
        self._size = 0
        self._lock = threading.Lock()  # who was cancelled may still be inside
        self._closed = False

    def read(self, first: float, last: float) -> bytes:
        """The sound from `first` to `last`, in seconds. Raises BadAudio, OSError."""
        start, stop = (int(at * DECODED.rate) * frame_bytes(DECODED) for at in (first, last))
        with self._lock:
            while self._size < stop and not self._closed and (piece := next(self._pieces, b"")):
                self._file.seek(self._size)
                self._file.write(piece)
                self._size += len(piece)
            if self._closed:
                return b""
            self._file.seek(start)
            return self._file.read(max(0, min(stop, self._size) - start))

    def close(self) -> None:
        """Stop reading, and close the files."""
        self._closed = True
        with self._lock:
            self._pieces.close()
            self._file.close()
