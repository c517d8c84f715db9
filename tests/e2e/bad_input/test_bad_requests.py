"""Requests that no client should make: each a clear error, and the connection goes on."""

from __future__ import annotations

import pytest

import convo
from tests.support.daemon import Daemon
from tests.support.sessions import OFF
from tests.support.speech import pcm
from tests.support.wire import Map, wired

BOTH = pytest.mark.parametrize("transport", ["url", "web"])


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
