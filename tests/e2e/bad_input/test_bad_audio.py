"""Audio that no client should send: refused on its session, and nobody else notices."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from tests.support.daemon import Daemon
from tests.support.speech import pcm
from tests.support.wire import Map, wired

BOTH = pytest.mark.parametrize("transport", ["url", "web"])


async def live(wire: Any, **audio: Any) -> tuple[str, int]:
    """A new live session: its id and credit."""
    reply = await wire.ask("create_session", kind="live", audio=audio, summary={"mode": "off"})
    assert reply["type"] == "ok", reply
    return reply["session"], reply["credit"]


def piece(session: str, offset: int, data: bytes) -> Map:
    return {"type": "audio", "session": session, "offset": offset, "data": data}


async def hear_to_the_end(wire: Any, session: str) -> str:
    """End the session; what was said in it."""
    assert (await wire.ask("end_session", session=session))["type"] == "ok"
    await wire.wait(lambda message: message.get("session") == session and message.get("state") == "completed")
    heard = [m for m in wire.passed if m["type"] == "transcript_segment" and m["session"] == session]
    return " ".join(message["text"] for message in heard)


def spooled(daemon: Daemon, session: str) -> list[Path]:
    """The session's audio on disk."""
    return list((daemon.state / "spool").glob(f"{session}*"))


async def assert_refused(wire: Any, session: str, code: str) -> Map:
    """The next error is about this session's audio."""
    error: Map = await wire.wait_error()
    assert error["code"] == code
    assert error["session"] == session
    assert "id" not in error
    return error


@BOTH
async def test_audio_before_create_is_for_an_unknown_session(daemon: Daemon, transport: str) -> None:
    async with wired(getattr(daemon, transport)) as wire:
        await wire.send(piece("000000000000", 0, bytes(3200)))
        await assert_refused(wire, "000000000000", "unknown_session")
        assert (await wire.ask("ping"))["type"] == "ok"


@pytest.mark.parametrize(
    "wrong",
    [{"data": "text"}, {"data": None}, {"offset": "0"}, {"offset": 0.5}, {"offset": None}],
    ids=repr,
)
async def test_audio_with_wrong_fields_is_refused_on_its_session(daemon: Daemon, wrong: Map) -> None:
    async with wired(daemon.url) as wire:
        session, _ = await live(wire)
        await wire.send(piece(session, 0, bytes(3200)) | wrong)
        await assert_refused(wire, session, "bad_request")
        await wire.send(piece(session, 0, pcm("single.flac")))
        assert "contract" in await hear_to_the_end(wire, session)


@BOTH
async def test_a_gap_is_refused_and_says_where_to_go_on(daemon: Daemon, transport: str) -> None:
    async with wired(getattr(daemon, transport)) as wire:
        session, _ = await live(wire)
        audio = pcm("single.flac")
        await wire.send(piece(session, 0, audio[:3200]), piece(session, 6400, audio[6400:]))
        error = await assert_refused(wire, session, "bad_audio")
        assert "3200" in error["message"]
        await wire.send(piece(session, 3200, audio[3200:]))
        assert "contract" in await hear_to_the_end(wire, session)


@pytest.mark.parametrize("offset", [-2, -(1 << 62)])
async def test_an_offset_before_the_beginning_is_refused(daemon: Daemon, offset: int) -> None:
    async with wired(daemon.url) as wire:
        session, _ = await live(wire)
        await wire.send(piece(session, offset, bytes(3200)))
        error = await wire.wait_error()
        assert error["code"] in ("bad_audio", "bad_request")
        assert error["session"] == session
        assert (await wire.ask("finalize", session=session))["offset"] == 0


async def test_an_overlap_is_skipped(daemon: Daemon) -> None:
    async with wired(daemon.url) as wire:
        session, _ = await live(wire)
        audio = pcm("single.flac")
        await wire.send(*(piece(session, at, audio[at : at + 32000]) for at in range(0, len(audio), 8000)))
        await wire.send(piece(session, 0, audio))
        assert (await wire.ask("finalize", session=session))["offset"] == len(audio)
        once, _ = await live(wire)
        await wire.send(piece(once, 0, audio))
        assert await hear_to_the_end(wire, session) == await hear_to_the_end(wire, once)


@BOTH
async def test_audio_beyond_the_credit_closes_the_connection_and_the_session_can_be_resumed(
    daemon: Daemon, transport: str
) -> None:
    url = getattr(daemon, transport)
    async with wired(url) as wire:
        session, credit = await live(wire, encoding="mulaw", rate=8000)
        await wire.send(piece(session, 0, b"\xff" * (credit + 1)))
        said = await wire.wait_end()
        assert said[-1]["code"] == "out_of_credit"
        assert said[-1]["session"] == session
        assert wire.close_code in (None, 1008)
    async with wired(url) as wire:
        attached = await wire.ask("attach", session=session, produce=True)
        assert attached["audio_offset"] == 0
        assert attached["credit"] == credit
        await wire.send(piece(session, 0, b"\xff" * 8000))
        await wire.wait(lambda message: message.get("offset") == 8000)
        assert await hear_to_the_end(wire, session) == ""


async def test_the_last_byte_of_the_credit_may_be_sent(daemon: Daemon) -> None:
    async with wired(daemon.url) as wire:
        session, credit = await live(wire, encoding="mulaw", rate=8000)
        await wire.send(piece(session, 0, b"\xff" * credit))
        await wire.wait(lambda message: message.get("offset") == credit)
        await wire.ask("cancel_session", session=session)


@BOTH
async def test_audio_after_the_end_is_refused(daemon: Daemon, transport: str) -> None:
    async with wired(getattr(daemon, transport)) as wire:
        session, _ = await live(wire)
        audio = pcm("single.flac")
        await wire.send(piece(session, 0, audio))
        assert (await wire.ask("end_session", session=session))["type"] == "ok"
        await wire.send(piece(session, len(audio), bytes(3200)))
        await assert_refused(wire, session, "bad_state")
        assert (await wire.ask("end_session", session=session))["code"] == "bad_state"
        if not any(message.get("state") == "completed" for message in wire.passed):  # it may have passed meanwhile
            await wire.wait(lambda message: message.get("state") == "completed")
        await wire.send(piece(session, len(audio), bytes(3200)))
        await assert_refused(wire, session, "bad_state")
        assert (await wire.ask("attach", session=session, produce=True))["credit"] == 0
        assert (await wire.ask("cancel_session", session=session))["code"] == "bad_state"


async def test_audio_from_a_connection_that_only_watches_is_refused(daemon: Daemon) -> None:
    async with wired(daemon.url) as wire, wired(daemon.url) as watcher:
        session, _ = await live(wire)
        assert (await watcher.ask("attach", session=session))["type"] == "ok"
        await watcher.send(piece(session, 0, bytes(3200)))
        await assert_refused(watcher, session, "bad_state")
        assert (await wire.ask("finalize", session=session))["offset"] == 0
        await wire.ask("cancel_session", session=session)


async def test_the_newer_connection_sends_the_audio_and_the_older_may_no_more(daemon: Daemon) -> None:
    # The older link may be dead without the daemon knowing it yet: nobody waits for it.
    audio = pcm("single.flac")
    async with wired(daemon.url) as older, wired(daemon.url) as newer:
        session, _ = await live(older)
        await older.send(piece(session, 0, audio[:32000]))
        await older.wait(lambda message: message.get("offset") == 32000)
        attached = await newer.ask("attach", session=session, produce=True)
        assert (attached["type"], attached["audio_offset"]) == ("ok", 32000)
        await older.send(piece(session, 32000, bytes(3200)))
        await assert_refused(older, session, "bad_state")
        await older.cut()  # is not taken for the newer one's going away
        await newer.send(piece(session, 32000, audio[32000:]))
        assert "contract" in await hear_to_the_end(newer, session)


@pytest.mark.parametrize(("encoding", "size"), [("s16le", 3201), ("f32le", 6), ("f32le", 1)])
async def test_a_part_of_a_sample_is_refused(daemon: Daemon, encoding: str, size: int) -> None:
    async with wired(daemon.url) as wire:
        session, _ = await live(wire, encoding=encoding)
        await wire.send(piece(session, 0, bytes(size)))
        error = await assert_refused(wire, session, "bad_audio")
        assert str(size) in error["message"]
        assert (await wire.ask("finalize", session=session))["offset"] == 0
        await wire.ask("cancel_session", session=session)


UNSUPPORTED: list[tuple[Map, str]] = [
    ({"rate": 0}, "8000 to 48000"),
    ({"rate": -16000}, "8000 to 48000"),
    ({"rate": 7999}, "8000 to 48000"),
    ({"rate": 96000}, "8000 to 48000"),
    ({"channels": 9}, "1 to 8"),
    ({"channels": 0}, "1 to 8"),
    ({"encoding": "opus"}, "s16le"),
    ({"encoding": ""}, "s16le"),
]


@pytest.mark.parametrize(("audio", "helps"), UNSUPPORTED, ids=[str(audio) for audio, _ in UNSUPPORTED])
async def test_a_live_format_that_cannot_be_heard_is_refused_with_what_can(
    daemon: Daemon, audio: Map, helps: str
) -> None:
    async with wired(daemon.url) as wire:
        error = await wire.ask("create_session", kind="live", audio=audio)
        assert error["code"] == "unsupported_audio"
        assert helps in error["message"]


async def test_a_container_that_is_not_known_is_refused(daemon: Daemon) -> None:
    async with wired(daemon.url) as wire:
        error = await wire.ask("create_session", kind="file", audio={"container": "cassette"})
        assert error["code"] == "unsupported_audio"


@pytest.mark.parametrize("encoding", ["f32le", "mulaw", "s16le"])
async def test_noise_in_place_of_samples_does_no_harm(daemon: Daemon, encoding: str) -> None:
    async with wired(daemon.url) as wire:
        session, _ = await live(wire, encoding=encoding, channels=3)
        await wire.send(piece(session, 0, Random(7).randbytes(192_000)))  # as floats: infinities, no numbers at all
        await hear_to_the_end(wire, session)
        ends = [m for m in wire.passed if m["type"] == "transcript_segment"]
        assert all(np.isfinite([m["start"], m["end"], m["confidence"]]).all() for m in ends)


async def test_a_deleted_session_leaves_nothing_behind(daemon: Daemon) -> None:
    async with wired(daemon.url) as wire:
        session, _ = await live(wire)
        await wire.send(piece(session, 0, pcm("single.flac")))
        await wire.ask("finalize", session=session)
        assert spooled(daemon, session)
        assert (await wire.ask("delete_session", session=session))["type"] == "ok"
        assert not spooled(daemon, session)
        assert (await wire.ask("get_session", session=session))["code"] == "unknown_session"
        await wire.send(piece(session, 0, bytes(3200)))
        await assert_refused(wire, session, "unknown_session")
