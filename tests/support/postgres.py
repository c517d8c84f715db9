"""A real PostgreSQL of the tests' own: a server in a folder of its own, reached by a Unix socket alone.

In: nothing. Out: addresses of fresh databases. It never runs as root, and ends with the process that started it, even
one that is killed. What it holds is not safe from a power cut, and nobody minds.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg

from convod.store import database_at
from convod.store.postgres import TABLES, PostgresDatabase

START_S = 60.0
USER = "convo"
TEMPLATE = "template_convo"
READY = b"ready to accept connections"
LEFT = b"is still in use"


def programs() -> Path | None:
    """The folder of the newest PostgreSQL that is installed here."""
    found = shutil.which("postgres")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(folders) if (folder / "postgres").exists()), None)


def _follow(pipe: IO[bytes], log: list[bytes], told: threading.Event) -> None:
    """Read what a server logs, and set `told` once it takes connections or has ended."""
    with pipe:
        for line in pipe:
            if not told.is_set():
                log.append(line)
            if READY in line:
                told.set()
    told.set()


class Server:
    """A server that can be stopped, killed and started again."""

    def __init__(self, folder: Path) -> None:
        found = programs()
        assert found is not None, "PostgreSQL is not installed"
        self._programs = found
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        # `--pdeathsig` tells of the end of the thread that started it, and threads of trio end when nobody needs them.
        self._starter = ThreadPoolExecutor(1)
        self._numbers = itertools.count(1)
        self._as: list[str] = []
        self._kept = ""
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            self._as = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]

    def create(self) -> None:
        """Create its files."""
        # The locale C is the one that knows least: what works there works everywhere.
        words = ["-D", self.folder / "data", "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            [*self._as, self._programs / "initdb", *words],
            check=True, capture_output=True, timeout=START_S, cwd=self.folder,
        )  # fmt: skip

    def start(self, *settings: str) -> None:
        """Start it, and wait until it takes connections."""
        dies_with_us = ["--pdeathsig", "INT"] if self._as else []
        options = ["fsync=off", "full_page_writes=off", "shared_buffers=16MB", "listen_addresses=", *settings]
        words = [word for option in options for word in ("-c", option)]
        until = time.monotonic() + START_S
        while True:
            self._process = self._starter.submit(
                subprocess.Popen,
                [
                    *self._as, *dies_with_us, self._programs / "postgres", "-D", self.folder / "data",
                    "-k", self.folder, *words,
                ],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder,
            ).result()  # fmt: skip
            log: list[bytes] = []
            told = threading.Event()
            threading.Thread(target=_follow, args=(self._process.stdout, log, told), daemon=True).start()
            told.wait(START_S)
            if any(READY in line for line in log):
                return
            # Processes of one that was killed may take a moment to end.
            assert any(LEFT in line for line in log) and time.monotonic() < until, log  # noqa: PT018
            self._process.wait(START_S)

    def signal(self, number: int) -> None:
        """SIGINT ends it with all its connections, SIGQUIT as a crash does; wait for its end."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(START_S)

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGQUIT)
        self._starter.shutdown()

    def address(self, database: str, user: str = USER) -> str:
        """The address of a database."""
        return f"postgresql://{user}@{quote(str(self.folder), safe='')}/{database}"

    def run(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as the database's owner."""
        with psycopg.connect(self.address(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def empty(self) -> str:
        """The address of a new database without tables."""
        name = f"empty{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name}")
        return self.address(name)

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The address of a new database with convod's tables, until the end of the block."""
        name = f"test{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        try:
            yield self.address(name)
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def emptied(self) -> str:
        """The address of a database with convod's tables, empty; the same each time, which is quick."""
        if not self._kept:
            self._kept = "kept"
            self.run(f"CREATE DATABASE kept TEMPLATE {TEMPLATE}")
        self.run(*(f"DELETE FROM {table}" for table in ("lines", *TABLES)), database=self._kept)
        return self.address(self._kept)

    def make_template(self) -> None:
        """Create what `fresh` copies."""
        self.run(f"CREATE DATABASE {TEMPLATE}")
        database = database_at(self.address(TEMPLATE), Path())
        database.open()
        database.close()


@contextmanager
def running() -> Iterator[Server]:
    """A server until the end of the block."""
    # Not below pytest's folders: those are its user's alone, and the path of a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="convo-pg-"))
    server = Server(folder)
    try:
        server.create()
        server.start()
        server.make_template()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def lose_at_commit(database: PostgresDatabase, *, committed: bool = True) -> None:
    """Let the next commit happen, or not, and its answer get lost with the connection."""
    run = database.writer.run

    def losing(sql: str) -> None:
        if sql != "COMMIT" or committed:
            run(sql)
        if sql == "COMMIT":
            database.writer.run = run  # type: ignore[method-assign]
            database.writer.close()
            raise psycopg.OperationalError("the connection is lost")

    database.writer.run = losing  # type: ignore[method-assign]
