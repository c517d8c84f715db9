"""What is fuzzed, each a function of bytes: it may refuse them as its contract says, and do nothing else.

In: any bytes. Out: nothing, or an exception that nobody foresaw, which is a finding.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from convo.codec import RAW, Json
from convo.connection import NEED_DATA, Connection, Malformed, Role
from convo.errors import RemoteProtocolError
from convo.framing import LengthPrefixed, WholeMessages
from convo.messages import (
    DURABLE,
    PROTOCOL,
    CreateSession,
    Error,
    Hello,
    Limits,
    Message,
    State,
    SummaryOptions,
    Welcome,
)

LIMIT = 1 << 16

CORPUS = Path(__file__).parent / "corpus"

WELCOME = Welcome(protocol=PROTOCOL, server="d", limits=Limits(message_bytes=LIMIT), features=[])


def server(data: bytes) -> None:
    """A stream of frames from a client, in pieces, the hello before it or within it."""
    connection = Connection(Role.SERVER, LengthPrefixed(LIMIT))
    greeted = bool(data) and data[0] % 2 == 0
    if greeted:
        client = Connection(Role.CLIENT, LengthPrefixed())
        connection.receive_data(client.send(Hello(protocol=PROTOCOL, client="fuzz")))
    size = 1 + (data[1] if len(data) > 1 else 0)
    for at in range(2, len(data), size):
        if not _take(connection, data[at : at + size]):
            return


def json(data: bytes) -> None:
    """Text and binary messages of a browser, divided by a byte that no text holds."""
    connection = Connection(Role.SERVER, WholeMessages(LIMIT), Json())
    _take(connection, b'{"type":"hello","protocol":1,"client":"fuzz"}')
    for message in data.split(b"\xff"):
        if not _take(connection, message):
            return
        if not _take(connection, RAW + message):
            return


def client(data: bytes) -> None:
    """What a daemon gone mad would send."""
    connection = Connection(Role.CLIENT, LengthPrefixed(LIMIT))
    connection.send(Hello(protocol=PROTOCOL, client="fuzz"))
    _take(connection, data)


def _take(connection: Connection, data: bytes) -> bool:
    """Give a connection some bytes, and answer as the daemon does; False when it is over."""
    try:
        connection.receive_data(data)
        while (event := connection.next_event()) is not NEED_DATA:
            if isinstance(event, Hello):
                connection.send(WELCOME)
            elif isinstance(event, Malformed):
                assert isinstance(event.error, Error)
                connection.send(event.error)
            else:
                assert isinstance(event, Message)
    except RemoteProtocolError as error:
        assert str(error)  # noqa: PT017 - a fuzz target has no pytest
        if connection.role is Role.SERVER:
            connection.send(error.reply)
        return False
    return True


def events(data: bytes) -> None:
    """The stored body of an event, of every kind, and the stored settings of a session: as they come, and as changes of
    sound ones, as what decodes them is no Python and shows nobody the way in.
    """
    from convod.store import StoreFailed
    from convod.store.tables import COLUMNS, event_of, record_of

    for body in (data, edited("events", data)):
        for kind in (*DURABLE, "nonsense"):
            with contextlib.suppress(StoreFailed):
                Json().encode(event_of((kind, body)))
    for name in ("config", "asked", "state"):
        with contextlib.suppress(StoreFailed):
            fields = _stored() | {name: _changed(str(_stored()[name]).encode(), data)}
            record_of([fields[column] for column in COLUMNS])


def tokens(data: bytes) -> None:
    """The file of tokens: as it comes, and as changes of a sound one."""
    from convod.listen.tokens import FILE, BadToken, TokenFile

    with tempfile.TemporaryDirectory() as folder:
        for content in (data, edited("tokens", data)):
            Path(folder, FILE).write_bytes(content)
            with contextlib.suppress(BadToken):
                assert TokenFile(Path(folder)).find(data[:64].decode("utf-8", "replace"), 0.0) is None


def edited(target: str, data: bytes) -> bytes:
    """A seed of the corpus with changes: its number, then what `_changed` takes."""
    seeds = _SEEDS.setdefault(target, [])
    if not seeds:
        seeds += [file.read_bytes() for file in sorted((CORPUS / target).glob("seed-*"))]
    return _changed(seeds[data[0] % len(seeds)] if data else seeds[0], data[1:])


def _changed(sound: bytes, data: bytes) -> bytes:
    """Bytes with changes, three bytes each: where, what (put, insert, remove, repeat from there), with which byte."""
    made = bytearray(sound)
    for at in range(0, len(data) - 2, 3):
        place, what, value = data[at] * max(1, len(made) // 256) % (len(made) or 1), data[at + 1] % 4, data[at + 2]
        if what == 0:
            made[place : place + 1] = bytes([value])
        elif what == 1:
            made[place:place] = bytes([value])
        elif what == 2:
            del made[place : place + 1 + value % 8]
        elif len(made) < LIMIT:
            made[place:place] = made[place : place + value]
    return bytes(made)


def _stored() -> dict[str, Any]:
    from convod.store.base import Record
    from convod.store.tables import rows

    if not _STORED:
        config = CreateSession(kind="live", title="a", language="en", prompt="b", summary=SummaryOptions(style="brief"))
        record = Record(
            id="s", owner="o", kind="live", title="a", state=State.PENDING, created=1.0, config=config,
            asked=[SummaryOptions()],
        )  # fmt: skip
        for row in rows(record).values():
            _STORED.update({name: value for name, value in row.items() if name in Record.__struct_fields__})
    return _STORED


_STORED: dict[str, Any] = {}
_SEEDS: dict[str, list[bytes]] = {}


def database(data: bytes) -> None:
    """A database with some bytes of it changed: place and value, three bytes and one at a time."""
    from convod.store import Database, StoreFailed

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "convod.sqlite")
        damaged = bytearray(_whole())
        for at in range(0, len(data) - 3, 4):
            damaged[int.from_bytes(data[at : at + 3], "little") % len(damaged)] = data[at + 3]
        path.write_bytes(damaged)
        opened = Database(path)
        try:
            opened.open()
        except StoreFailed as error:
            assert "\n" not in str(error)  # noqa: PT017
        finally:
            opened.close()


_WHOLE: list[bytes] = []


def _whole() -> bytes:
    """A database with a session in it, in one file."""
    from convod.store import Database
    from convod.store.fts5 import Fts5

    if not _WHOLE:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "convod.sqlite")
            fresh = Database(path)
            fresh.open()
            fresh.close()
            with contextlib.closing(sqlite3.connect(path)) as plain:
                Fts5().add(plain, "s", "segment", 0, 0.0, 1.0, "words")
                plain.commit()
                plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                plain.execute("PRAGMA journal_mode = DELETE")
            _WHOLE.append(path.read_bytes())
    return _WHOLE[0]


TARGETS: dict[str, Callable[[bytes], None]] = {
    "server": server,
    "json": json,
    "client": client,
    "events": events,
    "tokens": tokens,
    "database": database,
}
