"""Moves all sessions from one store to another, SQLite or PostgreSQL: `convod migrate-store FROM TO`.

In: two places. Out: the same sessions, events and search in the second; the first stays as it is. Each session goes
over in one transaction and is compared by a digest of all its rows: a move that was killed is finished by another.
Audio stays where it is: both stores go with the same state directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from convod.store import StoreFailed, database_at, is_address
from convod.store.sql import MOVING, without_nul

PAGE: Final = 1000
"""Rows that are read at a time."""

TELL_S: Final = 5.0
"""Between two words on how far it is."""

ROWS: Final = {
    "sessions": ("id, owner, kind, title, state, created, key, heard_language, digest, asked", "id", ""),
    "configs": ("config", "session", ""),
    "progress": (
        "duration_s, ended, audio_bytes, kept_bytes, text_bytes, seq, segments, "
        "checkpoint_sample, checkpoint_utterance",
        "session",
        "",
    ),
    "events": ("seq, type, segment, body", "session", "seq"),
    "annotations": ("segment, speaker, by_hand, text", "session", "segment"),
    "speakers": ("speaker, name, folded, into_speaker", "session", "speaker"),
    "deliveries": ("seq, since", "session", ""),
    "lines": ('id, source, segment, start, "end", text', "session", "id"),
}
"""Of each table of a session's: columns, the one that names the session, the one that numbers its rows."""

VOICES: Final = "owner, name, model, created, seconds, vector"
"""The columns of the voices that are remembered."""

Tell = Callable[[str], None]


def move(source: str, target: str, tell: Tell) -> tuple[int, int]:
    """Move all sessions; how many there are, and how many events.

    Args:
        source: a path (of a database, or of a state directory) or an address of PostgreSQL.
        target: another one, without sessions, or with those of a move that was not finished.
        tell: says how far it is.

    Raises:
        StoreFailed: one of both cannot be used, is in use, or holds something else afterwards than it should.
    """
    with contextlib.ExitStack() as held:
        one = _opened(source, held, there=True)
        other = _opened(target, held, there=False)
        if one.name == other.name:
            raise StoreFailed(f"{source} and {target} are the same store; name another one to move to")
        try:
            return _Move(one, other, tell).run()
        except (one.ERROR, other.ERROR) as error:
            refused = (other if isinstance(error, other.ERROR) else one).unwritten(error)
            raise StoreFailed(str(refused)) from error


def _opened(place: str, held: contextlib.ExitStack, *, there: bool) -> Any:
    """A store that nobody else uses until `held` is closed; with `there` it must exist."""
    url = place if is_address(place) else ""
    path = Path(place)
    if not url:
        if "://" in place:
            raise StoreFailed("a store is a path, or postgresql://USER@HOST/DATABASE")
        if path.is_dir():
            path /= "convod.sqlite"
        if there and not path.is_file():
            raise StoreFailed(f"there is no store at {path}")
        held.enter_context(_locked(path))
    database = database_at(url, path, durable=True, alone=True)
    database.open()
    held.callback(database.close)
    return database


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep convods away from a database in a state directory."""
    try:
        lock = os.open(path.parent / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreFailed(f"{path.parent} cannot be written ({error.strerror}); name another place") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise StoreFailed(f"a convod works with {path}; stop it first") from error
    finally:
        os.close(lock)


class _Move:
    """From `source` to `target`, both open."""

    def __init__(self, source: Any, target: Any, tell: Tell) -> None:
        self._source, self._target = source.writer, target.writer
        self._names = source.name, target.name
        self._index = target.index
        self._tell = tell
        self._told = time.monotonic()

    def run(self) -> tuple[int, int]:
        """Copy what is missing or differs, remove what is too much, and compare all of it."""
        self._begin()
        there = self._sessions(self._source)
        for gone in set(self._sessions(self._target)) - set(there):
            self._in_transaction(partial(self._remove, gone))
        for number, session in enumerate(there):
            if self._digest(self._source, session) != self._digest(self._target, session):
                self._in_transaction(partial(self._copy, session))
            self._say(f"{number} of {len(there)} sessions are moved")
        self._in_transaction(self._copy_rest)
        events = self._compare(there)
        self._in_transaction(self._end)
        return len(there), events

    def _begin(self) -> None:
        row = self._target.execute("SELECT value FROM notes WHERE name = ?", (MOVING,)).fetchone()
        if row is None and self._sessions(self._target):
            raise StoreFailed(f"{self._names[1]} holds sessions already; name an empty one to move to")
        if row is not None and row[0] != self._names[0]:
            raise StoreFailed(
                f"{self._names[1]} is half a copy of {row[0]}; finish that, or name another one to move to"
            )
        if row is None:
            sql = "INSERT INTO notes VALUES (?, ?)"
            self._in_transaction(lambda: self._target.execute(sql, (MOVING, self._names[0])))

    def _in_transaction(self, work: Callable[[], object]) -> None:
        self._target.execute("BEGIN")
        try:
            work()
            self._target.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(Exception):
                self._target.execute("ROLLBACK")
            raise

    @staticmethod
    def _sessions(connection: Any) -> list[str]:
        return [session for (session,) in connection.execute("SELECT id FROM sessions ORDER BY id").fetchall()]

    def _copy(self, session: str) -> None:
        self._remove(session)
        for table, (columns, name, _) in ROWS.items():
            if table == "lines":
                for id, source, segment, start, end, text in _rows(self._source, table, session):
                    self._index.add(self._target, session, source, segment, start, end, text, id)
                continue
            names = columns if name == "id" else f"session, {columns}"
            places = ", ".join("?" * (names.count(",") + 1))
            rows = _rows(self._source, table, session)
            values = (row if name == "id" else (session, *row) for row in rows)
            self._target.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", values)

    def _remove(self, session: str) -> None:
        self._index.remove(self._target, session)
        self._target.execute("DELETE FROM sessions WHERE id = ?", (session,))

    def _copy_rest(self) -> None:
        self._target.execute("DELETE FROM paused")
        self._target.executemany("INSERT INTO paused VALUES (?)", self._source.execute("SELECT owner FROM paused"))
        self._target.execute("DELETE FROM voices")
        voices = self._source.execute(f"SELECT {VOICES} FROM voices")
        self._target.executemany(f"INSERT INTO voices ({VOICES}) VALUES (?, ?, ?, ?, ?, ?)", voices)
        self._target.execute("DELETE FROM notes WHERE name <> ?", (MOVING,))
        notes = self._source.execute("SELECT name, value FROM notes WHERE name <> ?", (MOVING,)).fetchall()
        self._target.executemany("INSERT INTO notes VALUES (?, ?)", notes)
        self._index.renumber(self._target)

    def _compare(self, there: list[str]) -> int:
        events = 0
        for table in (*ROWS, "paused", "voices"):
            counts = [one.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for one in self._both]
            if counts[0] != counts[1]:
                raise StoreFailed(f"{self._names[1]} has {counts[1]} {table} and not {counts[0]}; {AGAIN}")
            events = counts[0] if table == "events" else events
        for number, session in enumerate(there):
            if self._digest(self._source, session) != self._digest(self._target, session):
                raise StoreFailed(f"session {session} in {self._names[1]} is not what it was; {AGAIN}")
            self._say(f"{number} of {len(there)} sessions are compared")
        return events

    @property
    def _both(self) -> tuple[Any, Any]:
        return self._source, self._target

    def _end(self) -> None:
        self._target.execute("DELETE FROM notes WHERE name = ?", (MOVING,))

    @staticmethod
    def _digest(connection: Any, session: str) -> bytes:
        digest = hashlib.sha256()
        for table in ROWS:
            for row in _rows(connection, table, session):
                digest.update(msgspec.msgpack.encode([without_nul(value) for value in row]))
        return digest.digest()

    def _say(self, text: str) -> None:
        if time.monotonic() - self._told >= TELL_S:
            self._told = time.monotonic()
            self._tell(text)


AGAIN: Final = "run `convod migrate-store` again, and look at both disks"


def _rows(connection: Any, table: str, session: str) -> Iterator[tuple[Any, ...]]:
    columns, name, number = ROWS[table]
    if not number:
        yield from connection.execute(f"SELECT {columns} FROM {table} WHERE {name} = ?", (session,)).fetchall()
        return
    after = -1
    while True:
        page = connection.execute(
            f"SELECT {columns} FROM {table} WHERE {name} = ? AND {number} > ? ORDER BY {number} LIMIT ?",
            (session, after, PAGE),
        ).fetchall()
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1][0]
