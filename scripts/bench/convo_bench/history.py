"""Search and lists over years of talk: a store of CONVO_BENCH_STORED_HOURS (10,000) in half-hour sessions.

CONVO_BENCH_STORE_URL names an empty PostgreSQL database to use in place of SQLite. Words are drawn from a vocabulary by
Zipf's law, as in speech: the commonest stands in every other segment, the rarest in a few. Queries are drawn like the
words, so common ones are asked for often.
"""

from __future__ import annotations

import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import accumulate
from pathlib import Path

import trio

from convo.messages import CreateSession, State
from convod.store import Database, Record, SessionStore
from convod.store.soundness import take_clean_shutdown
from convod.store.sql import Connection
from convod.store.tables import insert, rows

from .daemon import Daemon
from .figures import Figures, percentile
from .options import Options

HOURS = int(os.environ.get("CONVO_BENCH_STORED_HOURS", "10000"))
SEGMENTS_AN_HOUR = 400
WORDS_A_SEGMENT = 22
VOCABULARY = 50_000
QUERIES = 300
OWNER = "me"
URL = os.environ.get("CONVO_BENCH_STORE_URL", "")


async def bench(daemon: Daemon, options: Options) -> Figures:
    """Fill a store of its own, then ask it."""
    chance = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgk"
    words = sorted({"".join(chance.choices(letters, k=chance.randint(2, 11))) for _ in range(VOCABULARY)})
    chance.shuffle(words)
    weights = list(accumulate(1 / (rank + 3) for rank in range(len(words))))
    if URL:
        return await _bench_postgres(chance, words, weights)
    with tempfile.TemporaryDirectory(prefix="convo-bench-") as folder:
        database = Database(Path(folder) / "convod.sqlite")
        database.open()
        begun = time.perf_counter()
        with closing(sqlite3.connect(database.path, isolation_level=None)) as plain:
            _fill(plain, chance, words, weights)
        filled_s = time.perf_counter() - begun
        size = (Path(folder) / "convod.sqlite").stat().st_size
        store = SessionStore(database)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.run)
            figures = await _ask(store, chance, words, weights)
            nursery.cancel_scope.cancel()
        database.close()
        opened_s = _open(database)
        take_clean_shutdown(database.path)  # as after a kill
        checked_s = _open(database)
    return {
        "hours stored": HOURS,
        "size of the store, GB": round(size / 1e9, 2),
        "time to fill it, s": round(filled_s),
        "time to open it after a clean stop, s": round(opened_s, 2),
        "time to open it after a kill, looking it through first, s": round(checked_s, 1),
        **figures,
    }


def _open(database: Database) -> float:
    begun = time.perf_counter()
    database.open()
    opened_s = time.perf_counter() - begun
    database.close()
    return opened_s


async def _bench_postgres(chance: random.Random, words: list[str], weights: list[float]) -> Figures:
    from convod.store.postgres import PostgresDatabase
    from convod.store.tsvector import AGE, BLOCK, _vector
    from convod.store.tsvector import OWNER as WHOSE

    database = PostgresDatabase(URL, alone=True)
    database.open()
    begun = time.perf_counter()
    writer = database.writer
    writer.run("BEGIN")
    sessions = _fill_sessions(writer, chance)
    writer.run("COMMIT")
    # An index is made faster from what is there than row by row.
    writer.run("DROP INDEX lines_by_word")
    columns = ("id", "session", "source", "segment", "start", "end", "text", "words")
    lines = enumerate(_lines(sessions, chance, words, weights), 1)
    marks = ((id, line, (WHOSE + OWNER, f"{AGE}{id // BLOCK}")) for id, line in lines)
    writer.copy("lines", columns, ((id, *line, _vector([*line[-1].split(), *more])) for id, line, more in marks))
    writer.run("SET maintenance_work_mem = '1GB'")
    writer.run("CREATE INDEX lines_by_word ON lines USING gin (words) WITH (fastupdate = off)")
    writer.run("VACUUM ANALYZE")
    filled_s = time.perf_counter() - begun
    store = SessionStore(database)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.run)
        figures = await _ask(store, chance, words, weights)
        size = await store.size()
        nursery.cancel_scope.cancel()
    database.close()
    return {
        "hours stored": HOURS,
        "size of the store, GB": round(size / 1e9, 2),
        "time to fill it, s": round(filled_s),
        **figures,
    }


def _fill(connection: sqlite3.Connection, chance: random.Random, words: list[str], weights: list[float]) -> None:
    connection.execute("BEGIN")
    sessions = _fill_sessions(connection, chance)
    connection.executemany(
        'INSERT INTO lines (session, source, segment, start, "end", text) VALUES (?, ?, ?, ?, ?, ?)',
        _lines(sessions, chance, words, weights),
    )
    connection.execute("INSERT INTO words (rowid, text) SELECT id, text FROM lines")
    connection.execute("COMMIT")


def _fill_sessions(connection: Connection, chance: random.Random) -> list[str]:
    sessions = []
    for number in range(2 * HOURS):
        record = Record(
            id=f"{chance.getrandbits(80):020x}", owner=OWNER, kind="file", title=f"Talk {number}",
            state=State.COMPLETED, created=float(number), config=CreateSession(kind="file"), duration_s=1800.0,
            segments=SEGMENTS_AN_HOUR // 2,
        )  # fmt: skip
        sessions.append(record.id)
        for table, row in rows(record).items():
            insert(connection, table, row)
    return sessions


def _lines(
    sessions: list[str], chance: random.Random, words: list[str], weights: list[float]
) -> Iterator[tuple[str, str, int, float, float, str]]:
    for session in sessions:
        said = chance.choices(words, cum_weights=weights, k=WORDS_A_SEGMENT * SEGMENTS_AN_HOUR // 2)
        for segment in range(SEGMENTS_AN_HOUR // 2):
            text = " ".join(said[segment * WORDS_A_SEGMENT : (segment + 1) * WORDS_A_SEGMENT])
            yield session, "segment", segment, 9.0 * segment, 9.0 * segment + 8, text


async def _ask(store: SessionStore, chance: random.Random, words: list[str], weights: list[float]) -> Figures:
    took: dict[str, list[float]] = {"one word": [], "two words": [], "the beginning of a word": [], "list": []}
    for _ in range(QUERIES):
        drawn = chance.choices(words, cum_weights=weights, k=2)
        queries = {
            "one word": drawn[0],
            "two words": " ".join(drawn),
            "the beginning of a word": chance.choice([word for word in words[:5000] if len(word) > 5])[:5],
        }
        for kind, query in queries.items():
            begun = time.perf_counter()
            await store.search(OWNER, query, 50)
            took[kind].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        await store.newest(OWNER, before=chance.uniform(0, 2 * HOURS), limit=100)
        took["list"].append(time.perf_counter() - begun)
    return {
        f"{kind}, p50 / p95 / most, ms": [round(1000 * percentile(times, share), 1) for share in (0.5, 0.95, 1.0)]
        for kind, times in took.items()
    }
