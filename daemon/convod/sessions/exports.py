"""Transcripts as text, rendered once and returned page by page.

In: a session's journal, a format, a place in the text. Out: a page. Rendering a talk of hours takes seconds, so it is
done in a thread, a few at once with turns by owner, and its text is kept for the pages that follow: a short one in
memory, a longer one in a file without a name. What is kept has a limit, of each owner and in all, and goes with its
session. Segments come from the store a few at a time: no talk is ever in memory as a whole.
"""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Final
from weakref import WeakValueDictionary

import msgspec
import trio

from convo import formats
from convo.messages import Code, Segment
from convo.redaction import Redactor, render_redacted
from convo.transcript import Transcript
from convod.owner_limiter import OwnerLimiter
from convod.sessions.journal import Journal
from convod.sessions.session import Refused
from convod.sessions.speaker_names import named, with_names
from convod.store import Store

AT_ONCE: Final = 2
"""Texts that are rendered at once, each for a different owner."""

BLOCK: Final = 32_768
"""Characters of a block of a text."""

MEMORY_BYTES: Final = 256 << 10
"""Most characters of a text in memory; a longer one goes to a file."""

OWNER_BYTES: Final = 64 << 20
"""Of an owner's kept texts. A single one may be longer: then it is the only one."""

ALL_BYTES: Final = 256 << 20
"""Of all texts that are kept."""

OWNER_TEXTS: Final = 8
ALL_TEXTS: Final = 64
"""How many are kept."""

KEEP_S: Final = 120.0
"""How long a text is kept after it was last read."""

SEGMENTS: Final = 250
"""Segments that are read from the store at once."""

Revision = tuple[object, ...]
"""What a text is of: as long as that stays the same, so does the text."""


class Text:
    """A text of any length. Written once by one thread, then read by any."""

    def __init__(self, folder: Path) -> None:
        self.characters = 0
        self.size = 0
        self._folder = folder
        self._rest: list[str] = []
        self._rest_characters = 0
        self._blocks: list[bytes] = []  # until there is a file
        self._places = [0]  # in bytes, of each block and of the end
        self._file: IO[bytes] | None = None
        self._readers = 0
        self._dropped = False

    @property
    def in_memory(self) -> bool:
        """Whether a page can be read without the disk."""
        return self._file is None

    def write(self, piece: str) -> None:
        """Append a piece. Blocks.

        Raises:
            OSError: the disk refused it.
        """
        self._rest.append(piece)
        self._rest_characters += len(piece)
        if self._rest_characters >= BLOCK:
            text = "".join(self._rest)
            whole = len(text) // BLOCK * BLOCK
            for at in range(0, whole, BLOCK):
                self._add(text[at : at + BLOCK])
            self._rest, self._rest_characters = [text[whole:]], len(text) - whole

    def finish(self) -> None:
        """Write out the rest; nothing may follow. Blocks.

        Raises:
            OSError: the disk refused it.
        """
        if self._rest_characters:
            self._add("".join(self._rest))
        self._rest, self._rest_characters = [], 0
        if self._file is not None:
            self._file.flush()

    def _add(self, text: str) -> None:
        block = text.encode("utf-8", "surrogatepass")
        self.characters += len(text)
        self.size += len(block)
        self._places.append(self.size)
        if self._file is None and self.size > MEMORY_BYTES:
            self._file = tempfile.TemporaryFile(dir=self._folder, prefix=".export")  # noqa: SIM115 - see `close`
            self._file.writelines(self._blocks)
            self._blocks.clear()
        if self._file is None:
            self._blocks.append(block)
        else:
            self._file.write(block)

    def page(self, offset: int, most: int) -> str:
        """Return at most `most` characters from `offset` on. Blocks, unless it is in memory."""
        first, end = offset // BLOCK, min(-(-(offset + most) // BLOCK), len(self._places) - 1)
        if first >= end:
            return ""
        if self._file is None:
            data = b"".join(self._blocks[first:end])
        else:
            place = self._places[first]
            data = os.pread(self._file.fileno(), self._places[end] - place, place)
        start = offset - first * BLOCK
        return data.decode("utf-8", "surrogatepass")[start : start + most]

    async def read(self, offset: int, most: int) -> str:
        """Return the same without blocking; a text that is dropped meanwhile is still read."""
        if self.in_memory:
            return self.page(offset, most)
        self._readers += 1
        try:
            return await trio.to_thread.run_sync(self.page, offset, most)
        finally:
            self._readers -= 1
            if self._dropped:
                self.drop()

    def drop(self) -> None:
        """Close its file as soon as no reader uses it."""
        self._dropped = True
        if self._file is not None and not self._readers:
            self._file.close()


class _Kept(msgspec.Struct):
    text: Text
    revision: Revision
    owner: str
    used: float


class _Segments:
    """A session's first `count` segments, read from the store as they are iterated over; for another thread."""

    def __init__(self, store: Store, session: str, count: int) -> None:
        self._store = store
        self._session = session
        self._count = count

    def __iter__(self) -> Iterator[Segment]:
        after = -1
        while after < self._count - 1:
            most = min(SEGMENTS, self._count - 1 - after)
            segments = trio.from_thread.run(self._store.segments, self._session, after, most)
            yield from segments
            if len(segments) < most:
                return
            after = segments[-1].segment


class Exports:
    """`run` it; then ask for pages."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self.kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()  # by session and text, last read last
        self._locks: WeakValueDictionary[tuple[str, str], trio.Lock] = WeakValueDictionary()
        self.rendering: dict[tuple[str, str], bool] = {}  # whether it is void, as its session was deleted meanwhile
        self._limiter = OwnerLimiter(AT_ONCE)
        self.rendered = 0

    async def run(self) -> None:
        """Drop texts that are not read any more, until cancelled; then drop all."""
        try:
            while True:
                await trio.sleep(KEEP_S / 4)
                until = trio.current_time() - KEEP_S
                self._drop([key for key, kept in self.kept.items() if kept.used <= until])
        finally:
            self._drop(list(self.kept))

    async def page(
        self, journal: Journal, format: str, offset: int, most: int, owner: str, redactor: Redactor | None = None
    ) -> tuple[str, int | None]:
        """Return at most `most` characters from `offset` on, and where the next page begins; None at the end.

        All pages of a text come from one rendering, whatever happens to the session meanwhile. It is rendered again
        for a reader who starts over, or who has read to the end.

        Raises:
            Refused: the format is unknown, or the disk is full.
        """
        if format not in formats.FORMATS:
            raise Refused(Code.BAD_REQUEST, f"format must be one of {', '.join(formats.FORMATS)}, not {format!r}")
        key = (journal.id, format + (redactor.key if redactor is not None else ""))
        async with self._locks.setdefault(key, trio.Lock()):
            kept = self.kept.get(key)
            stale = kept is not None and kept.revision != _revision(journal)
            if kept is None or (stale and (offset == 0 or offset >= kept.text.characters)):
                kept = await self._render(journal, format, owner, key, redactor)
            kept.used = trio.current_time()
            if key in self.kept:
                self.kept.move_to_end(key)
            content = await kept.text.read(offset, most)
        end = offset + len(content)
        return content, end if content and end < kept.text.characters else None

    def forget(self, session: str) -> None:
        """Drop all texts of a session, those that are being rendered included."""
        self._drop([key for key in self.kept if key[0] == session])
        for key in self.rendering:
            if key[0] == session:
                self.rendering[key] = True

    async def _render(
        self, journal: Journal, format: str, owner: str, key: tuple[str, str], redactor: Redactor | None
    ) -> _Kept:
        async with self._limiter.turn(owner):
            revision = _revision(journal)
            record = journal.record
            info, segments = journal.info, _Segments(self._store, journal.id, record.segments)
            text = Text(self._folder)
            self.rendering[key] = False
            try:
                said = await self._store.speakers(journal.id)
                summary = await self._store.summary(journal.id)
                transcript = Transcript(
                    session=info.session,
                    kind=info.kind,
                    title=info.title,
                    state=info.state,
                    created=info.created,
                    duration_s=info.duration_s,
                    segments=[],
                    summary=None if summary is None else with_names(summary, record.config, said),
                    marks=await self._store.marks(journal.id),
                    speakers=named(record.config, said),
                )
                if redactor is None:
                    pieces = formats.render_pieces(transcript, format, segments)
                else:
                    pieces = render_redacted(transcript, format, segments, redactor)
                await trio.to_thread.run_sync(write_pieces, text, pieces)
                if self.rendering[key]:
                    raise Refused(
                        Code.UNKNOWN_SESSION, f"session {journal.id!r} was deleted; list_sessions shows yours"
                    )
            except BaseException as error:
                text.drop()
                if isinstance(error, OSError):
                    raise Refused(
                        Code.BUSY, f"the text cannot be written ({error.strerror}); make room on the daemon's disk"
                    ) from error
                raise
            finally:
                del self.rendering[key]
        self.rendered += 1
        kept = _Kept(text, revision, owner, trio.current_time())
        self._drop([key] if key in self.kept else [])
        self.kept[key] = kept
        self._make_room()
        return kept

    def _make_room(self) -> None:
        """Drop texts over the limits: the least recently read of each owner, then of the owner with the most."""
        sizes: dict[str, list[int]] = {}
        for kept in self.kept.values():
            sizes.setdefault(kept.owner, []).append(kept.text.size)
        newest = next(reversed(self.kept))
        while True:
            total, count = sum(map(sum, sizes.values())), sum(map(len, sizes.values()))
            greedy = max(sizes, key=lambda owner: sum(sizes[owner]))
            crowded = max(sizes, key=lambda owner: len(sizes[owner]))
            if sum(sizes[greedy]) > OWNER_BYTES or total > ALL_BYTES:
                owner = greedy
            elif len(sizes[crowded]) > OWNER_TEXTS or count > ALL_TEXTS:
                owner = crowded
            else:
                return
            old = [key for key, kept in self.kept.items() if kept.owner == owner and key != newest]
            if not old:
                return
            sizes[owner].remove(self.kept[old[0]].text.size)
            self._drop(old[:1])

    def _drop(self, keys: list[tuple[str, str]]) -> None:
        for key in keys:
            self.kept.pop(key).text.drop()


def _revision(journal: Journal) -> Revision:
    return journal.feed.seq, journal.info


def write_pieces(text: Text, pieces: Iterator[str]) -> None:
    """Write a text whole. Blocks."""
    while batch := list(islice(pieces, 64)):
        text.write("".join(batch))
    text.finish()
