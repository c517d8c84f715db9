"""The power is cut under a daemon at work: what it answered is there afterwards, as SPEC.md says of each answer."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

import convo
from convo import messages
from convod.listen.tokens import TokenFile
from convod.store import backup
from tests.support import power
from tests.support.daemon import Daemon, running
from tests.support.faults import Row
from tests.support.power import Disk
from tests.support.sessions import OFF, segments, states, text
from tests.support.speech import DATA, pcm, truth, word_error_rate

QUIET_S = 2.5
"""After so long without work names on the disk are as they should be, and data is not yet written."""


@dataclass
class Answered:
    """What somebody was told by now."""

    created: set[str] = field(default_factory=set)
    acknowledged: dict[str, int] = field(default_factory=dict)
    segments: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    completed: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    backups: set[str] = field(default_factory=set)


class Work:
    """Keeps a daemon busy, one kind of work a method, and notes what is answered."""

    def __init__(self, daemon: Daemon, dice: random.Random) -> None:
        self.daemon = daemon
        self.dice = dice
        self.answered = Answered()

    async def file(self, client: convo.Client) -> str:
        """Upload a file, until its session is completed."""
        session = await client.create_session("file", summary=OFF)
        self.answered.created.add(session.id)
        await session.send_audio((DATA / "short.wav").read_bytes())
        await session.end()
        self.answered.ended.add(session.id)
        await self.follow(session)
        return session.id

    async def live(self, client: convo.Client) -> str:
        """Say a sentence twice, a piece at a time, until the session is completed."""
        session = await client.create_session("live", summary=OFF)
        self.answered.created.add(session.id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.follow, session)
            audio = pcm("single.flac") * 2
            for at in range(0, len(audio), 16000):
                await session.send_audio(audio[at : at + 16000])
                await trio.sleep(self.dice.uniform(0, 0.1))
            await session.end()
            self.answered.ended.add(session.id)
        return session.id

    async def follow(self, session: convo.ClientSession) -> None:
        events = []
        async for event in session.events():
            events.append(event)
            if isinstance(event, messages.AudioAck):
                self.answered.acknowledged[session.id] = event.offset
            self.answered.segments[session.id] = len(segments(events))
            if states(events)[-1:] == ["completed"]:
                self.answered.completed[session.id] = text(events)

    async def delete(self, client: convo.Client, session: str) -> None:
        # Until it is answered, the session may be there or not.
        for kept in (self.answered.created, self.answered.ended):
            kept.discard(session)
        self.answered.completed.pop(session, None)
        await client.request(messages.DeleteSession(session=session))
        self.answered.deleted.add(session)

    def operate(self) -> None:
        """Make a token, revoke another, write a backup."""
        book = TokenFile(self.daemon.state)
        tokens = self.answered.tokens
        name = f"t{self.dice.randrange(10**9)}"
        book.add(name)
        tokens.add(name)
        if len(tokens) > 2:
            gone = sorted(tokens)[0]
            book.revoke(gone)
            tokens.discard(gone)
        name = f"backup{self.dice.randrange(4)}"
        backup(self.daemon.state / "convod.sqlite", self.daemon.state / name)
        self.answered.backups.add(name)

    async def files_and_deletions(self) -> None:
        async with convo.connect(self.daemon.url) as client:
            while True:
                done = await self.file(client)
                if self.dice.random() < 0.5:
                    await self.delete(client, done)

    async def talks(self) -> None:
        async with convo.connect(self.daemon.url) as client:
            while True:
                await self.live(client)

    async def operations(self) -> None:
        while True:
            await trio.sleep(self.dice.uniform(0.2, 1.0))
            self.operate()


@contextlib.contextmanager
def at_work(disk: Disk, *, fsync: bool, seed: int) -> Iterator[Work]:
    environment = {"CONVOD_SPOOL_FSYNC": "true"} if fsync else {}
    with running(disk.mounted, environment=environment) as daemon:
        yield Work(daemon, random.Random(seed))


async def check(image: Path, where: Path, told: Answered, *, fsync: bool) -> None:
    """Start a daemon on what a cut left, and hold it to what was answered before."""
    with power.mounted(image, where), running(where) as daemon:
        async with convo.connect(daemon.url) as client:
            for session in told.ended | told.completed.keys():
                attached = await client.attach(session)
                assert isinstance(attached.reply, messages.AttachReply)
                if session in told.completed:
                    assert attached.reply.state == "completed"
                events = [event async for event in attached.events()]
                assert states(events)[-1] == "completed", events[-1]
                assert text(events) == told.completed.get(session, text(events))
                kind = (await client.get_session(session)).kind
                said = truth("short") if kind == "file" else f"{truth('single')} {truth('single')}"
                assert word_error_rate(said, text(events)) <= 0.35
            for session in told.deleted:
                with pytest.raises(convo.RequestError, match="no session"):
                    await client.attach(session)
                assert not found(where, session)
            if fsync:
                for session in told.created:
                    attached = await client.attach(session, produce=True)
                    assert isinstance(attached.reply, messages.AttachReply)
                    if session not in told.completed and session not in told.ended:
                        assert attached.reply.audio_offset >= told.acknowledged.get(session, 0)
                    assert len((await client.get_session(session)).segments) >= told.segments.get(session, 0)
        assert {token.name for token in TokenFile(daemon.state).tokens()} == told.tokens
        for name in told.backups:
            with contextlib.closing(sqlite3.connect(daemon.state / name)) as copy:
                assert copy.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert not [line for line in daemon.log if "fault of convod" in line]


def found(where: Path, session: str) -> list[Path]:
    return list(where.rglob(f"{session}*"))


def promised(fsync: bool) -> str:
    return (
        "everything that was acknowledged or answered, audio and words too, is there"
        if fsync
        else "files that were sent whole, `completed` sessions, deletions, tokens and backups are as they were answered"
    )


async def test_the_power_goes_when_a_session_is_completed(tmp_path: Path, row: Row) -> None:
    row.promise(
        "power cut as an upload is complete, and after its audio was deleted",
        "the file is transcribed again; then the transcript is there",
    )
    images = [tmp_path / "ended.img", tmp_path / "completed.img"]
    told = []
    with power.disk(tmp_path) as disk, at_work(disk, fsync=False, seed=1) as work:
        async with convo.connect(work.daemon.url) as client:
            session = await client.create_session("file", summary=OFF)
            await session.send_audio((DATA / "short.wav").read_bytes())
            await session.end()
            work.answered.ended.add(session.id)
            told.append(deepcopy(work.answered))
            disk.cut(work.daemon.pid, images[0])
            await work.follow(session)
        await trio.sleep(QUIET_S)  # for the kernel to write names, and not yet data
        told.append(deepcopy(work.answered))
        disk.cut(work.daemon.pid, images[1])
    for image, answered in zip(images, told, strict=True):
        await check(image, tmp_path / "after", answered, fsync=False)
    row.saw("both were whole")


@pytest.mark.parametrize("fsync", [False, True], ids=["as it is", "with spool.fsync"])
@pytest.mark.parametrize("points", [1, pytest.param(20, marks=pytest.mark.slow)])
async def test_the_power_goes_at_any_moment(tmp_path: Path, row: Row, points: int, fsync: bool) -> None:
    row.promise(
        f"power cut at {points} random {'point' if points == 1 else 'points'} under load"
        f"{', with `spool.fsync`' if fsync else ''}",
        promised(fsync),
    )
    dice = random.Random()
    seed = dice.randrange(10**6)
    cuts: list[tuple[Path, Answered]] = []
    with power.disk(tmp_path) as disk, at_work(disk, fsync=fsync, seed=seed) as work:
        async with trio.open_nursery() as nursery:
            for task in (work.files_and_deletions, work.talks, work.operations):
                nursery.start_soon(task)
            for number in range(points):
                await trio.sleep(dice.uniform(0.3, 2.5))
                cuts.append((tmp_path / f"{number}.img", deepcopy(work.answered)))
                disk.cut(work.daemon.pid, cuts[-1][0])
            nursery.cancel_scope.cancel()
    for image, answered in cuts:
        await check(image, tmp_path / "after", answered, fsync=fsync)
        image.unlink()
    last = cuts[-1][1]
    row.saw(
        f"{points} times started on what was left: nothing of {len(last.created)} sessions, {len(last.completed)} of "
        f"them completed, of {len(last.deleted)} deletions, of tokens and backups was otherwise than it was answered"
    )
