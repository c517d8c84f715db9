"""What no client should send, over real sockets: each a clear error in the right place, and nobody else notices."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import av
import msgpack
import numpy as np
import pytest
import trio

import convo
from convo import messages
from tests.support.daemon import Daemon, running
from tests.support.sessions import LIMIT_S, OFF, segments, states, text, upload
from tests.support.speech import DATA, pcm, truth, word_error_rate, words
from tests.support.wire import HELLO, Map, WebWire, wired

LIMIT = 1 << 20

BOTH = pytest.mark.parametrize("transport", ["url", "web"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    # However long a test takes, the bystander's pause is no end of a sentence.
    with running(tmp_path_factory.mktemp("convod"), environment={"CONVOD_SESSIONS_IDLE_S": "120"}) as daemon:
        yield daemon


@pytest.fixture
async def daemon(shared: Daemon) -> AsyncIterator[Daemon]:
    """The daemon, while somebody else has a session with it: when the test is over, nothing of that may be missing."""
    daemon = shared
    logged, pid = len(daemon.log), daemon.pid
    sentence = pcm("single.flac")
    half = len(sentence) // 4 * 2
    async with convo.connect(daemon.url) as client:
        session = await client.create_session("live", summary=OFF)
        await session.send_audio(sentence[:half])
        yield daemon
        with trio.fail_after(LIMIT_S):
            await session.send_audio(sentence[half:])
            await session.end()
            events = [event async for event in session.events()]
            await client.request(messages.Ping())
    assert states(events) == ["pending", "processing", "transcribed", "completed"]
    # A word of seven may be misheard: the model is small, and this is not the test of it.
    assert word_error_rate(truth("single"), text(events)) < 0.2
    assert daemon.pid == pid
    faults = [line for line in daemon.log[logged:] if "Traceback" in line or "error" in line.split()[1:2]]
    assert not faults


# --- bytes ------------------------------------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    return b"\x82\xa4type\xa4ping\xa1x" + b"\x91" * depth + b"\xc0"


NO_MESSAGE = {
    "nothing": b"",
    "a byte that MessagePack never uses": b"\xc1",
    "noise": Random(1).randbytes(4096),
    "a line of text": b"GET / HTTP/1.1\r\n\r\n",
    "a list": msgpack.packb(["ping"]),
    "a number": msgpack.packb(7),
    "a cut map": msgpack.packb({"type": "ping", "id": 1})[:-1],
    "two maps in one": msgpack.packb({"type": "ping", "id": 1}) * 2,
    "a map without type": msgpack.packb({"id": 1}),
    "a type that is a number": msgpack.packb({"type": 5, "id": 1}),
    "keys that are numbers": msgpack.packb({"type": "ping", 1: 2}),
    "text that is no UTF-8": b"\x81\xa4type\xa2\xff\xff",
    "lists in lists without end": nested(100_000),
    "a list of four billion": b"\x82\xa4type\xa4ping\xa1x\xdd\xff\xff\xff\xff",
    "a string of four gigabytes": b"\x82\xa4type\xa4ping\xa1x\xdb\xff\xff\xff\xff",
}


@BOTH
@pytest.mark.parametrize("payload", NO_MESSAGE.values(), ids=NO_MESSAGE)
async def test_bytes_that_are_no_message_are_told_so_and_the_connection_closes(
    daemon: Daemon, transport: str, payload: bytes
) -> None:
    async with wired(getattr(daemon, transport)) as wire:
        await wire.send_payload(payload)
        (error,) = await wire.wait_end()
    assert error["type"] == "error"
    assert error["code"] == "bad_message"
    assert "id" not in error
    assert error["message"].endswith(".")
    assert wire.close_code in (None, 1008)


@BOTH
async def test_bytes_that_are_no_message_are_refused_before_hello_too(daemon: Daemon, transport: str) -> None:
    async with wired(getattr(daemon, transport), hello=False) as wire:
        await wire.send_payload(b"\xc1")
        (error,) = await wire.wait_end()
    assert error["code"] == "bad_message"


@BOTH
async def test_what_was_asked_before_the_broken_message_does_not_swallow_the_error(
    daemon: Daemon, transport: str
) -> None:
    async with wired(getattr(daemon, transport)) as wire:
        # In one piece, so that the daemon reads the broken message before it has written an answer.
        await wire.send_payload(*[msgpack.packb({"type": "ping", "id": number}) for number in range(1, 9)], b"\xc1")
        said = await wire.wait_end()
    assert said[-1]["code"] == "bad_message"


async def test_a_frame_that_claims_four_gibibytes_is_refused_by_its_header(daemon: Daemon) -> None:
    async with wired(daemon.url) as wire:
        await wire.send_raw(b"\xff\xff\xff\xff" + b"\x80" * 100)
        (error,) = await wire.wait_end()
    assert error["code"] == "too_large"
    assert str(LIMIT) in error["message"]


async def test_a_websocket_frame_that_claims_a_tebibyte_is_not_waited_for(daemon: Daemon) -> None:
    async with wired(daemon.web) as wire:
        header = b"\x82" + bytes([0x80 | 127]) + struct.pack(">Q", 1 << 40) + b"\0\0\0\0"
        await wire.send_raw(header + b"\x80" * (5 * LIMIT))
        await wire.wait_end()
    assert wire.close_code in (1009, None)  # None: it was cut while it still sent


@BOTH
@pytest.mark.parametrize("over", [1, LIMIT])
async def test_a_message_over_the_limit_is_refused_and_the_connection_closes(
    daemon: Daemon, transport: str, over: int
) -> None:
    async with wired(getattr(daemon, transport)) as wire:
        message = {"type": "ping", "id": 1, "x": b""}
        room = LIMIT + over - len(msgpack.packb(message)) - 3  # a longer bin has a longer header
        await wire.send(message | {"x": bytes(room)})
        (error,) = await wire.wait_end()
    assert error["code"] == "too_large"
    assert "id" not in error
    assert wire.close_code == (1009 if transport == "web" else None)


@BOTH
async def test_a_message_at_the_limit_is_taken(daemon: Daemon, transport: str) -> None:
    async with wired(getattr(daemon, transport)) as wire:
        message = {"type": "ping", "id": 1, "x": b""}
        payload = msgpack.packb(message | {"x": bytes(LIMIT - len(msgpack.packb(message)) - 3)})
        assert len(payload) == LIMIT
        await wire.send_payload(payload)
        assert (await wire.receive())["type"] == "ok"


async def test_a_text_message_on_a_websocket_is_no_message(daemon: Daemon) -> None:
    async with wired(daemon.web) as wire:
        await wire.send_text('{"type": "ping", "id": 1}')
        (error,) = await wire.wait_end()
    assert error["code"] == "bad_message"
    assert wire.close_code == 1008


async def test_a_connection_that_breaks_inside_a_frame_is_forgotten(daemon: Daemon) -> None:
    async with wired(daemon.url) as wire:
        await wire.send_raw(struct.pack(">I", 1000) + b"\x82\xa4type")


# --- handshake --------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    "first", [{"type": "ping", "id": 1}, {"type": "create_session", "id": 1}, {"type": "nonsense"}]
)
async def test_hello_comes_first(daemon: Daemon, transport: str, first: Map) -> None:
    async with wired(getattr(daemon, transport), hello=False) as wire:
        await wire.send(first)
        (error,) = await wire.wait_end()
    assert error["code"] == "hello_expected"
    assert "id" not in error
    assert wire.close_code in (None, 1008)


@BOTH
@pytest.mark.parametrize("protocol", [2, 0, -1, "1", None, True, 1.5])
async def test_another_version_of_the_protocol_is_refused(daemon: Daemon, transport: str, protocol: object) -> None:
    async with wired(getattr(daemon, transport), hello=False) as wire:
        await wire.send(HELLO | {"protocol": protocol})
        (error,) = await wire.wait_end()
    assert error["code"] == "unsupported_protocol"
    assert "1" in error["message"]


@pytest.mark.parametrize("wrong", [{"client": 5}, {"client": None}, {"token": ["x"]}])
async def test_a_hello_with_wrong_fields_is_refused(daemon: Daemon, wrong: Map) -> None:
    async with wired(daemon.url, hello=False) as wire:
        await wire.send(HELLO | wrong)
        (error,) = await wire.wait_end()
    assert error["code"] == "bad_message"
    assert next(iter(wrong)) in error["message"]


async def test_a_second_hello_is_refused_and_the_connection_goes_on(daemon: Daemon) -> None:
    async with wired(daemon.url) as wire:
        assert (await wire.hello())["code"] == "bad_message"
        assert (await wire.ask("ping"))["type"] == "ok"


@pytest.mark.parametrize("subprotocols", [(), ("convo.v2",), ("chat", "superchat")])
async def test_a_websocket_without_the_subprotocol_is_answered_with_http_400(
    daemon: Daemon, subprotocols: tuple[str, ...]
) -> None:
    async with wired(daemon.web, subprotocols=subprotocols, hello=False) as wire:
        assert isinstance(wire, WebWire)
        assert wire.status == 400
        await wire.wait_end()
        assert b"convo.v1" in wire.rejection


async def test_the_subprotocol_is_found_among_others(daemon: Daemon) -> None:
    async with wired(daemon.web, subprotocols=("chat", "convo.v1")) as wire:
        assert (await wire.ask("ping"))["type"] == "ok"


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)],
    ids=["a browser", "TLS"],
)
async def test_what_is_no_websocket_is_turned_away(daemon: Daemon, sent: bytes) -> None:
    host, port = daemon.web.removeprefix("ws://").split(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(sent)
        answer = b""
        while data := await stream.receive_some():
            answer += data
    assert not answer or answer.startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("subprotocol", [b"", b"Sec-WebSocket-Protocol: convo.v1\r\n"], ids=["refused", "welcome"])
async def test_peers_that_reset_their_handshake_end_nothing_but_themselves(daemon: Daemon, subprotocol: bytes) -> None:
    host, port = daemon.web.removeprefix("ws://").split(":")
    handshake = (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + subprotocol + b"\r\n"
    )
    for _ in range(300):  # one in many arrives in the wrong moment
        stream = await trio.open_tcp_stream(host, int(port))
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.send_all(handshake)
        await stream.aclose()
    async with wired(daemon.web) as wire:
        assert (await wire.ask("ping"))["type"] == "ok"


# --- requests ---------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("number", [7, None])
async def test_an_unknown_type_is_told_so_and_the_connection_goes_on(
    daemon: Daemon, transport: str, number: int | None
) -> None:
    async with wired(getattr(daemon, transport)) as wire:
        await wire.send({"type": "make_coffee"} | ({"id": number} if number else {}))
        error = await wire.wait_error()
        assert error["code"] == "bad_message"
        assert "make_coffee" in error["message"]
        assert error.get("id") == number
        assert (await wire.ask("ping"))["type"] == "ok"


WRONG: list[tuple[str, Map, str]] = [
    ("create_session", {}, "kind"),
    ("create_session", {"kind": "video"}, "kind"),
    ("create_session", {"kind": "live", "audio": "s16le"}, "audio"),
    ("create_session", {"kind": "live", "audio": {"rate": "fast"}}, "rate"),
    ("create_session", {"kind": "live", "audio": {"rate": 16000.5}}, "rate"),
    ("create_session", {"kind": "live", "audio": {"channels": None}}, "channels"),
    ("create_session", {"kind": "live", "audio": {"encoding": 16}}, "encoding"),
    ("create_session", {"kind": "live", "task": "sing"}, "task"),
    ("create_session", {"kind": "live", "words": "yes"}, "words"),
    ("create_session", {"kind": "live", "title": 5}, "title"),
    ("create_session", {"kind": "live", "endpoint_ms": "soon"}, "endpoint_ms"),
    ("create_session", {"kind": "live", "endpoint_ms": 0}, "endpoint_ms"),
    ("create_session", {"kind": "live", "endpoint_ms": 1 << 40}, "endpoint_ms"),
    ("create_session", {"kind": "live", "summary": "final"}, "summary"),
    ("create_session", {"kind": "live", "summary": {"mode": "often"}}, "mode"),
    ("create_session", {"kind": "live", "summary": {"provider": "oracle"}}, "oracle"),
    ("create_session", {"kind": "live", "summary": {"style": "sonnet"}}, "sonnet"),
    ("create_session", {"kind": "live", "language": 1}, "language"),
    ("attach", {"session": None}, "session"),
    ("attach", {"session": "x", "after_seq": "all"}, "after_seq"),
    ("attach", {"session": "x", "produce": 1}, "produce"),
    ("finalize", {}, "session"),
    ("end_session", {"session": ["x"]}, "session"),
    ("get_session", {"session": 5}, "session"),
    ("export", {"session": "x"}, "format"),
    ("search", {"query": 5}, "query"),
    ("search", {"query": ""}, "query"),
    ("search", {"query": "word", "limit": 0}, "limit"),
    ("list_sessions", {"limit": -1}, "limit"),
    ("list_sessions", {"state": "asleep"}, "state"),
    ("list_sessions", {"before": "yesterday"}, "before"),
    ("pull_model", {"model": {}}, "model"),
    ("summarize", {"session": "x", "provider": 5}, "provider"),
]


@pytest.mark.parametrize(("kind", "fields", "named"), WRONG, ids=[f"{kind} {fields}" for kind, fields, _ in WRONG])
async def test_a_wrong_field_is_named_and_the_connection_goes_on(
    daemon: Daemon, kind: str, fields: Map, named: str
) -> None:
    async with wired(daemon.url) as wire:
        error = await wire.ask(kind, **fields)
        assert error["type"] == "error"
        assert error["code"] == "bad_request"
        assert named in error["message"]
        assert "\n" not in error["message"]
        assert (await wire.ask("ping"))["type"] == "ok"


@pytest.mark.parametrize("number", [None, "1", -1, 1.0, True, [1]])
async def test_a_request_without_a_proper_id_is_refused_without_one(daemon: Daemon, number: object) -> None:
    async with wired(daemon.url) as wire:
        await wire.send({"type": "ping"} | ({} if number is None else {"id": number}))
        error = await wire.wait_error()
        assert error["code"] == "bad_request"
        assert "id" not in error
        assert (await wire.ask("ping"))["type"] == "ok"


async def test_unknown_fields_are_passed_over(daemon: Daemon) -> None:
    async with wired(daemon.url) as wire:
        assert (await wire.ask("ping", colour="green", x=[{"y": b"z"}]))["type"] == "ok"


OF_A_SESSION: list[tuple[str, Map]] = [
    ("finalize", {}),
    ("end_session", {}),
    ("cancel_session", {}),
    ("delete_session", {}),
    ("get_session", {}),
    ("attach", {}),
    ("attach", {"produce": True}),
    ("detach", {}),
    ("export", {"format": "txt"}),
    ("summarize", {}),
]
NOBODYS = ["000000000000", "", "../../../etc/passwd", "nul\0", "x" * 100_000, "' OR 1=1 --"]


@pytest.mark.parametrize(("kind", "fields"), OF_A_SESSION, ids=[f"{kind} {fields}" for kind, fields in OF_A_SESSION])
async def test_a_session_that_does_not_exist_is_unknown(daemon: Daemon, kind: str, fields: Map) -> None:
    async with wired(daemon.url) as wire:
        for session in NOBODYS:
            error = await wire.ask(kind, session=session, **fields)
            assert error["code"] == "unknown_session", session
        assert (await wire.ask("ping"))["type"] == "ok"


@pytest.mark.parametrize(("kind", "fields"), OF_A_SESSION, ids=[f"{kind} {fields}" for kind, fields in OF_A_SESSION])
async def test_a_session_of_another_owner_is_unknown(daemon: Daemon, kind: str, fields: Map) -> None:
    async with wired(daemon.url) as owner, wired(daemon.web) as other:
        session = (await owner.ask("create_session", kind="live"))["session"]
        assert (await other.ask(kind, session=session, **fields))["code"] == "unknown_session"
        # Nothing happened to it: its owner still sends and ends it.
        await owner.send({"type": "audio", "session": session, "offset": 0, "data": bytes(3200)})
        await owner.wait(lambda message: message.get("offset") == 3200)
        assert (await owner.ask("end_session", session=session))["type"] == "ok"


async def test_audio_for_a_session_of_another_owner_is_for_an_unknown_session(daemon: Daemon) -> None:
    async with wired(daemon.url) as owner, wired(daemon.web) as other:
        session = (await owner.ask("create_session", kind="live"))["session"]
        await other.send({"type": "audio", "session": session, "offset": 0, "data": bytes(3200)})
        assert (await other.wait_error())["code"] == "unknown_session"
        assert (await owner.ask("finalize", session=session))["offset"] == 0


async def test_sessions_of_another_owner_are_neither_listed_nor_found(daemon: Daemon) -> None:
    async with convo.connect(daemon.url) as client:
        session = await client.create_session("live", summary=OFF)
        await session.send_audio(pcm("single.flac"))
        await session.finalize()
    async with wired(daemon.url) as owner, wired(daemon.web) as other:
        for wire, here in ((owner, True), (other, False)):
            listed = (await wire.ask("list_sessions", limit=1000))["sessions"]
            hits = (await wire.ask("search", query="contract", limit=1000))["hits"]
            assert any(one["session"] == session.id for one in listed) is here
            assert any(hit["session"] == session.id for hit in hits) is here


@pytest.mark.parametrize("query", ['"', '""" AND', "a* OR", "NEAR(", "nul\0nul", "%_", "x" * 1000, "((((", "text:x"])
async def test_a_search_takes_any_text_for_words(daemon: Daemon, query: str) -> None:
    async with wired(daemon.url) as wire:
        assert (await wire.ask("search", query=query))["hits"] == []


@pytest.mark.parametrize("query", ["x" * 10_000, "x " * 33, ""])
async def test_a_search_for_too_much_or_nothing_is_refused_with_a_sentence(daemon: Daemon, query: str) -> None:
    async with wired(daemon.url) as wire:
        error = await wire.ask("search", query=query)
        assert (error["type"], error["code"]) == ("error", "bad_request")
        assert 20 < len(error["message"]) < 100
        assert (await wire.ask("search", query="x"))["hits"] == []


async def test_a_model_that_the_daemon_does_not_run_is_unknown(daemon: Daemon) -> None:
    async with wired(daemon.url) as wire:
        error = await wire.ask("create_session", kind="live", model="gigantic")
        assert error["code"] == "unknown_model"


async def test_a_language_that_the_model_does_not_know_is_refused(daemon: Daemon) -> None:
    async with convo.connect(daemon.url) as client:
        session = await client.create_session("live")
        await session.send_audio(pcm("short.wav"))
        await session.finalize()  # so that the model is loaded, and its languages are known
        with pytest.raises(convo.RequestError, match="xx") as refused:
            await client.create_session("live", language="xx")
        assert refused.value.code == "bad_request"
        await session.cancel()


async def test_an_export_format_that_is_none_is_refused_by_name(daemon: Daemon) -> None:
    async with wired(daemon.url) as wire:
        session = (await wire.ask("create_session", kind="live"))["session"]
        error = await wire.ask("export", session=session, format="docx")
        assert error["code"] == "bad_request"
        assert "srt" in error["message"]


# --- audio ------------------------------------------------------------------------------------------------------


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


# --- files ------------------------------------------------------------------------------------------------------


def silent_film() -> bytes:
    """A video of four frames, without sound."""
    file = BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 60 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


NO_AUDIO = {
    "an empty file": (lambda: b"", "empty"),
    "a text file": (lambda: (DATA / "README.md").read_bytes(), "no audio file"),
    "noise": (lambda: Random(3).randbytes(200_000), "audio"),
    "zeros": (lambda: bytes(100_000), "audio"),
    "a film without sound": (silent_film, "no audio track"),
    "a header and nothing else": (lambda: (DATA / "short.wav").read_bytes()[:44], "sound"),
    "the first bytes of a flac": (lambda: (DATA / "single.flac").read_bytes()[:60], "audio"),
    "a playlist of local files": (lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n", "audio"),
}


@pytest.mark.parametrize("name", NO_AUDIO)
async def test_a_file_that_holds_no_audio_fails_with_a_sentence(daemon: Daemon, name: str) -> None:
    make, named = NO_AUDIO[name]
    async with convo.connect(daemon.url) as client:
        events = await upload(client, make(), summary=OFF)
        failed = events[-1]
        assert isinstance(failed, messages.SessionState)
        assert (failed.state, failed.code) == ("failed", "bad_audio")
        assert failed.message is not None
        assert named in failed.message
        assert "\n" not in failed.message
        assert not segments(events)
        shown = await client.get_session(failed.session)
        assert shown.state == "failed"


async def test_a_truncated_mp3_is_transcribed_as_far_as_it_goes_with_a_warning(daemon: Daemon) -> None:
    whole = (DATA / "talk.mp3").read_bytes()
    async with convo.connect(daemon.url) as client:
        events = await upload(client, whole[: len(whole) // 2], summary=OFF)
    assert states(events)[-1] == "completed"
    assert 0.4 < len(words(text(events))) / len(words(truth("talk"))) < 0.6
    warnings = [event for event in events if isinstance(event, messages.SessionWarning)]
    assert [warning.code for warning in warnings] == ["bad_audio"]


async def test_a_file_with_damage_inside_is_transcribed_around_it_with_a_warning(daemon: Daemon) -> None:
    whole = bytearray((DATA / "talk.mp3").read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 4000] = Random(5).randbytes(4000)
    async with convo.connect(daemon.url) as client:
        events = await upload(client, bytes(whole), summary=OFF)
    assert states(events)[-1] == "completed"
    assert len(words(text(events))) > 0.7 * len(words(truth("talk")))
    assert [event.code for event in events if isinstance(event, messages.SessionWarning)] == ["bad_audio"]


async def test_finalize_is_for_live_sessions(daemon: Daemon) -> None:
    async with wired(daemon.url) as wire:
        session = (await wire.ask("create_session", kind="file"))["session"]
        error = await wire.ask("finalize", session=session)
        assert error["code"] == "bad_state"
        assert "end_session" in error["message"]
        await wire.ask("delete_session", session=session)


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
