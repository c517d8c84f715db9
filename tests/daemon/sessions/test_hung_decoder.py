"""A decoder that hangs costs its own session, not the next one's turn."""

from __future__ import annotations

import os
import signal
from contextlib import asynccontextmanager

import trio

from convo.messages import Code, CreateSession, SessionState, State, SummaryOptions
from convod.engine import decode
from convod.sessions import file
from tests.daemon.support.house import Reader, house
from tests.support.speech import DATA

SINGLE = (DATA / "single.flac").read_bytes()


async def test_a_file_waits_no_longer_than_the_decoder_before_it_may_be_silent(tmp_path, monkeypatch):
    hung = []

    @asynccontextmanager
    async def hanging(path, **how):
        async with decode.decoding(path, **how) as decoded:
            # The second one has as long as it needs.
            monkeypatch.setattr(decode, "STALL_S", 60.0 if hung else 0.5)
            if not hung:
                hung.append(decoded.process.pid)
                os.kill(hung[0], signal.SIGSTOP)
            yield decoded

    monkeypatch.setattr(file, "decoding", hanging)
    async with house(tmp_path, files_at_once=1) as home:
        readers = []
        for _ in range(2):
            wanted = CreateSession(kind="file", language="en", summary=SummaryOptions(mode="off"))
            session = await home.create(wanted)
            readers.append(Reader(session.feed))
            home.send(session, SINGLE, 100_000)
            await session.end()
        with trio.fail_after(30):
            await readers[0].until_state(State.FAILED)
            await readers[1].until_state(State.COMPLETED)
        failed = readers[0].of(SessionState)[-1]
        assert (failed.code, failed.message) == (Code.INTERNAL, decode.STALLED)
        assert len(list((tmp_path / "spool").iterdir())) == 1, "the audio of what failed is kept"
