"""The disk is full, the database is held or broken, the summarizer is gone, the clock jumps."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

import convo
from convo import messages
from tests.support.daemon import Daemon
from tests.support.faults import Row, started, unharmed, warm
from tests.support.sessions import OFF, assert_whole, of, segments, states, text
from tests.support.speech import pcm, truth, word_error_rate

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A state directory with three MiB of room in all."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    state = tmp_path / "state"
    state.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(state)], capture_output=True).returncode:
        pytest.skip("mount is not allowed here")
    try:
        yield state
    finally:
        subprocess.run(["umount", str(state)], check=True)


async def test_a_full_disk(small_disk: Path, row: Row) -> None:
    row.promise(
        "disk full, at spool and store",
        "`busy` with a sentence; what was acknowledged stays; all goes on once there is room",
    )
    with started(small_disk.parent) as daemon:
        await warm(daemon)
        audio = pcm("single.flac")
        half = len(audio) // 4 * 2
        async with unharmed(daemon) as witness, convo.connect(daemon.url) as client:
            session = await client.create_session("live", summary=OFF)
            await session.send_audio(audio[:half])
            await session.finalize()
            blocker = small_disk / "something else"
            with contextlib.suppress(OSError), blocker.open("wb", buffering=0) as taken:
                while True:
                    taken.write(bytes(4096))
            with pytest.raises(convo.RequestError) as refused:
                await session.send_audio(bytes(64000))
                async for _ in session.events():
                    pass
            assert refused.value.code == "busy"
            blocker.unlink()
            async with convo.connect(daemon.url) as other:
                resumed = await other.attach(session.id, produce=True)
                stored = resumed.reply.audio_offset
                assert stored >= half
                await resumed.send_audio(audio[stored:])
                await resumed.end()
                events = [event async for event in resumed.events()]

            async def nothing() -> None:
                await trio.lowlevel.checkpoint()

            await witness.during(nothing)
        assert states(events)[-1] == "completed"
        row.saw(f"refused as busy, resumed at byte {stored}; {witness.seen}")


@pytest.mark.slow
async def test_a_database_that_is_held_by_somebody_else(daemon: Daemon, row: Row) -> None:
    row.promise(
        "database locked by another process for 8 s",
        "sessions wait and lose nothing; connections go on",
    )
    await warm(daemon)
    async with unharmed(daemon) as witness:

        async def fault() -> None:
            holder = sqlite3.connect(daemon.state / "convod.sqlite", isolation_level=None)
            holder.execute("BEGIN IMMEDIATE")
            try:
                async with convo.connect(daemon.url) as client:
                    with trio.move_on_after(8):
                        while True:
                            await client.request(messages.Ping())
                            await trio.sleep(0.1)
            finally:
                holder.execute("ROLLBACK")
                holder.close()

        await witness.during(fault)
    row.saw(f"answered all the while; {witness.seen}")


async def start_refused(directory: Path) -> str:
    done = await trio.run_process(
        [sys.executable, "-m", "convod", "--socket", str(directory / "s"), "--state-dir", str(directory / "state")],
        check=False, capture_stderr=True, stdin=b"",
    )  # fmt: skip
    assert done.returncode == 1
    sentences: list[str] = done.stderr.decode().strip().splitlines()
    assert len(sentences) == 1, sentences
    return sentences[0]


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param("cut off", marks=pytest.mark.slow),
        "overwritten in the middle",
        pytest.param("no database at all", marks=pytest.mark.slow),
    ],
)
async def test_a_database_that_is_broken(tmp_path: Path, row: Row, harm: str) -> None:
    row.promise(
        f"database corrupt: {harm}",
        "the start is refused in a sentence that names the file and how to keep a copy; nothing is overwritten",
    )
    with started(tmp_path) as daemon:
        await warm(daemon)
    path = daemon.state / "convod.sqlite"
    # All of it in the one file.
    keeper = sqlite3.connect(path)
    keeper.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    keeper.close()
    whole = path.read_bytes()
    broken = {
        "cut off": whole[: len(whole) // 2 // 4096 * 4096 - 100],
        "overwritten in the middle": whole[:8192] + os.urandom(len(whole) - 8192),
        "no database at all": b"not a database" * 500,
    }[harm]
    path.write_bytes(broken)
    sentence = await start_refused(tmp_path)
    assert str(path) in sentence
    assert "copy" in sentence
    assert path.read_bytes() == broken
    path.write_bytes(whole)
    daemon.start()
    try:
        async with convo.connect(daemon.url) as client:
            kept = (await client.request(messages.ListSessions())).sessions
    finally:
        daemon.stop()
    row.saw(f"“{sentence.replace(str(path), 'FILE')}”; put back, {len(kept)} session(s) are there")


async def test_a_database_that_is_moved_aside_and_put_back(tmp_path: Path, row: Row) -> None:
    row.promise(
        "begin anew without the database, then restore it",
        "audio that no session knows is set aside and told; with the database it is taken up again",
    )
    audio = pcm("single.flac")
    half = len(audio) // 4 * 2
    with started(tmp_path) as daemon:
        async with convo.connect(daemon.url) as client:
            session = await client.create_session("live", summary=OFF)
            await session.send_audio(audio[:half])
            await session.finalize()
            daemon.kill()
        (tmp_path / "kept").mkdir()
        for file in daemon.state.glob("convod.sqlite*"):
            file.rename(tmp_path / "kept" / file.name)
        daemon.start()
        async with convo.connect(daemon.url) as client:
            told = (await client.request(messages.Status())).storage
            assert told is not None
            assert (told.unclaimed_files, told.unclaimed_bytes) == (1, half)
        daemon.stop()
        assert any("no session here knows" in line for line in daemon.log)
        for file in daemon.state.glob("convod.sqlite*"):
            file.unlink()
        for file in (tmp_path / "kept").iterdir():
            file.rename(daemon.state / file.name)
        # Something that is no audio lies there, too.
        (daemon.state / "spool" / "0123456789abcdef0123.audio").mkdir()
        daemon.start()
        async with convo.connect(daemon.url) as client:
            resumed = await client.attach(session.id, produce=True)
            assert isinstance(resumed.reply, messages.AttachReply)
            assert resumed.reply.audio_offset == half
            await resumed.send_audio(audio[half:])
            await resumed.end()
            events = [event async for event in resumed.events()]
    assert states(events)[-1] == "completed"
    assert_whole(events)
    assert word_error_rate(truth("single"), text(events)) < 0.3
    row.saw(f"{told.unclaimed_files} file set aside; put back, the session went on at byte {half}, whole")


async def test_a_backup_that_is_restored_while_audio_lies_in_the_spool(tmp_path: Path, row: Row) -> None:
    row.promise(
        "an older backup restored while audio of later sessions lies in the spool, then the newer database again",
        "what the backup knows goes on with all its audio; audio that it does not know is set aside and told, and "
        "taken up again with the newer database",
    )
    audio = pcm("single.flac")
    half = len(audio) // 4 * 2
    copy = tmp_path / "copy.sqlite"

    def put(folder: str | None) -> None:
        """Move the database aside to a folder, and the backup in its place, or back from there (None)."""
        aside = tmp_path / "aside"
        aside.mkdir(exist_ok=True)
        if folder is None:
            for file in daemon.state.glob("convod.sqlite*"):
                file.unlink()
            for file in aside.iterdir():
                file.rename(daemon.state / file.name)
        else:
            for file in daemon.state.glob("convod.sqlite*"):
                file.rename(aside / file.name)
            shutil.copyfile(copy, daemon.state / "convod.sqlite")

    async def goes_on(client: convo.Client, session: str, stored: int) -> None:
        resumed = await client.attach(session, produce=True)
        assert isinstance(resumed.reply, messages.AttachReply)
        assert resumed.reply.audio_offset == stored
        await resumed.send_audio(audio[stored:])
        await resumed.end()
        events = [event async for event in resumed.events()]
        assert states(events)[-1] == "completed"
        assert word_error_rate(truth("single"), text(events)) < 0.3

    with started(tmp_path) as daemon:
        async with convo.connect(daemon.url) as client:
            known = await client.create_session("live", summary=OFF)
            await known.send_audio(audio[: half // 2])
            words = [sys.executable, "-m", "convod", "--state-dir", str(daemon.state), "backup", str(copy)]
            await trio.run_process(words)
            later = await client.create_session("live", summary=OFF)
            for one, begin in ((known, half // 2), (later, 0)):
                await one.send_audio(audio[begin:half])
                await one.finalize()
            daemon.kill()
        put("aside")
        daemon.start()
        async with convo.connect(daemon.url) as client:
            told = (await client.request(messages.Status())).storage
            assert told is not None
            assert (told.unclaimed_files, told.unclaimed_bytes) == (1, half)
            await goes_on(client, known.id, half)
            with pytest.raises(convo.RequestError, match="no session"):
                await client.attach(later.id)
        daemon.stop()
        put(None)
        daemon.start()
        async with convo.connect(daemon.url) as client:
            assert (await client.request(messages.Status())).storage is None
            await goes_on(client, later.id, half)
    row.saw(f"{told.unclaimed_files} file set aside and taken up again; both sessions went on at byte {half}, whole")


async def test_two_daemons_on_one_state_directory(daemon: Daemon, row: Row, tmp_path: Path) -> None:
    row.promise("a second daemon on the same state directory", "refused by the lock, in a sentence")
    await warm(daemon)
    async with unharmed(daemon) as witness:
        said = ""

        async def fault() -> None:
            nonlocal said
            said = await start_refused(tmp_path)

        await witness.during(fault)
    assert "another convod" in said
    row.saw(f"“{said.replace(str(tmp_path), '…')}”; {witness.seen}")


async def test_a_summarizer_that_is_gone(tmp_path: Path, row: Row) -> None:
    row.promise(
        "summarizer gone", "the session is `transcribed` with every word, says why in a warning, and is tried again"
    )
    with started(tmp_path, CONVOD_SUMMARY_PROVIDER="ollama") as daemon:
        await warm(daemon)
        async with unharmed(daemon) as witness, convo.connect(daemon.url) as client:
            session = await client.create_session("live")
            await session.send_audio(pcm("single.flac"))
            await session.end()
            events = []
            async for event in session.events():
                events.append(event)
                if isinstance(event, messages.SessionWarning):
                    break

            async def nothing() -> None:
                await trio.lowlevel.checkpoint()

            await witness.during(nothing)
            assert (await client.get_session(session.id)).state == "transcribed"
            await session.cancel()
        assert word_error_rate(truth("single"), text(events)) < 0.3
        row.saw(f"“{of(messages.SessionWarning, events)[0].message}”; {witness.seen}")


@pytest.mark.slow
@pytest.mark.skipif(FAKETIME is None, reason="faketime is not installed")
async def test_a_clock_that_jumps(tmp_path: Path, row: Row) -> None:
    row.promise(
        "wall clock jumps: ten years ahead, then twenty back, in the middle of a sentence",
        "audio time and time limits do not notice; sessions stay in order of their making as far as the clock tells",
    )
    clock = tmp_path / "clock"
    clock.write_text("+0")
    environment = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with started(tmp_path, **environment) as daemon:
        await warm(daemon)
        times = []

        async def fault() -> None:
            for jump in ("+10y", "-10y", "+0"):
                clock.write_text(jump)
                async with convo.connect(daemon.url) as client:
                    times.append((await client.request(messages.Ping())).time)
                    session = await client.create_session("live", summary=OFF)
                    await session.send_audio(pcm("single.flac")[:32000])
                    await session.end()
                    events = [event async for event in session.events()]
                    assert_whole(events)
                    assert all(segment.lag_ms < 30_000 for segment in segments(events))

        async with unharmed(daemon) as witness:
            await witness.during(fault)
        year = 365 * 86400
        assert times[0] - times[2] > 9 * year, "the clock did jump"
        assert times[2] - times[1] > 9 * year
        row.saw(f"nothing; {witness.seen}")
