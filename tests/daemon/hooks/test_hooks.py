"""Hooks against a real store, a real HTTP server and real commands."""

from __future__ import annotations

import base64
import json
import sqlite3
import sys
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trio
from standardwebhooks import Webhook

from convo.messages import CreateSession, SessionState, State, SummaryOptions, TranscriptSegment
from convod.hooks import Hooks, HookSettings
from convod.hooks.hooks import BadHook
from convod.hooks.targets import secret_of
from convod.store import Database, Record, SessionStore
from tests.fakes.httpserver import serving
from tests.support.until import until

SECRET = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def secret(tmp_path: Path) -> str:
    file = tmp_path / "secret"
    file.write_text(f"whsec_{SECRET}\n")
    return str(file)


@asynccontextmanager
async def store_in(folder: Path):
    database = Database(folder / "convod.sqlite")
    database.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.run)
        yield SessionStore(database)
        nursery.cancel_scope.cancel()
    database.close()


class Place:
    """Hooks, and the store whose sessions they tell of."""

    def __init__(self, hooks: Hooks, store: SessionStore) -> None:
        self.hooks = hooks
        self.store = store

    async def ends(self, session: str, state: State = State.COMPLETED) -> None:
        config = CreateSession(id=0, kind="file", summary=SummaryOptions(mode="off"))
        record = await self.store.create(
            Record(id=session, owner="me", kind="file", title="Title", state=State.PENDING, created=1.0, config=config)
        )
        record.state, record.duration_s = state, 2.5
        segment = TranscriptSegment(
            session=session, seq=1, segment=0, start=0, end=1, text="Hello.", language="en", confidence=1, lag_ms=0
        )
        message = "It broke." if state is State.FAILED else None
        end = SessionState(session=session, seq=2, state=state, message=message)
        assert self.hooks.end_in([segment, end]) == end
        record.segments = 1
        await self.store.save(record, [segment, end], deliver=end.seq)
        self.hooks.stored(end)

    async def enters(self, session: str, state: State) -> None:
        """A session goes from one state to the next, as the journal has it."""
        record = await self.store.get(session)
        record.state = state
        event = SessionState(session=session, seq=record.seq + 1, state=state)
        end = self.hooks.end_in([event])
        await self.store.save(record, [event], deliver=0 if end is None else end.seq)
        if end is not None:
            self.hooks.stored(end)


@asynccontextmanager
async def running(folder: Path, **settings: Any):
    async with store_in(folder) as store, trio.open_nursery() as nursery:
        hooks = Hooks(HookSettings(**settings), store)
        nursery.start_soon(hooks.run)
        yield Place(hooks, store)
        nursery.cancel_scope.cancel()


def waiting_in(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "convod.sqlite")) as plain:
        return [session for (session,) in plain.execute("SELECT session FROM deliveries ORDER BY session")]


class Receiver:
    """A webhook that answers as it is told, and keeps what it got."""

    def __init__(self, *answers: int, headers=()) -> None:
        self.answers = list(answers)
        self.headers = headers
        self.got: list[Any] = []

    async def __call__(self, request, reply) -> None:
        self.got.append(request)
        await reply.send(self.answers.pop(0) if self.answers else 204, b"", headers=self.headers)


async def test_a_signed_post_that_its_receivers_own_library_accepts(tmp_path, secret):
    receiver = Receiver()
    async with serving(receiver) as url, running(tmp_path, url=f"{url}/hook", secret_file=secret) as place:
        await place.ends("one")
        await until(lambda: not place.hooks.waiting)
    (request,) = receiver.got
    told = Webhook(f"whsec_{SECRET}").verify(request.body, request.headers)
    assert (told["type"], told["session"]["session"], told["session"]["title"]) == ("session.completed", "one", "Title")
    assert "segments" not in told
    assert request.headers["webhook-id"] == "one-2"
    assert (request.method, request.path) == ("POST", "/hook")
    assert waiting_in(tmp_path) == []


async def test_what_was_said_if_that_is_wanted(tmp_path, secret):
    receiver = Receiver()
    async with serving(receiver) as url, running(tmp_path, url=url, secret_file=secret, content=True) as place:
        await place.ends("one", State.FAILED)
        await until(lambda: not place.hooks.waiting)
    told = receiver.got[0].json
    assert told["type"] == "session.failed"
    assert told["session"]["message"] == "It broke."
    assert [segment["text"] for segment in told["segments"]] == ["Hello."]
    assert told["summary"] is None


@pytest.fixture
def no_pause(monkeypatch):
    """Between two tries: real sockets do not wait for a virtual clock."""
    monkeypatch.setattr("convod.hooks.schedule.FIRST_PAUSE_S", 0.0)


@pytest.mark.parametrize("answer", [500, 404, 302])
async def test_what_is_not_taken_is_tried_again_with_the_same_id_and_nowhere_else(tmp_path, secret, no_pause, answer):
    elsewhere, receiver = Receiver(), Receiver(answer, answer)
    async with serving(elsewhere) as other, serving(receiver) as url:
        receiver.headers = [("location", other)]
        async with running(tmp_path, url=url, secret_file=secret) as place:
            await place.ends("one")
            await until(lambda: len(receiver.got) == 3 and not place.hooks.waiting)
    assert elsewhere.got == []
    assert {request.headers["webhook-id"] for request in receiver.got} == {"one-2"}
    assert waiting_in(tmp_path) == []


async def test_a_target_that_is_away_for_long_is_given_up(tmp_path, secret, no_pause):
    async with running(tmp_path, url="http://127.0.0.1:9", secret_file=secret, give_up_days=1e-9) as place:
        await place.ends("one")
        await until(lambda: not place.hooks.waiting and waiting_in(tmp_path) == [])
    assert place.hooks.failures >= 1


async def test_one_that_is_slow_is_left_in_time(tmp_path, secret):
    async def slow(request, reply):
        await reply.wait_hung_up()

    async with serving(slow) as url, running(tmp_path, url=url, secret_file=secret, timeout_s=0.1) as place:
        await place.ends("one")
        await until(lambda: place.hooks.failures == 1)
    assert waiting_in(tmp_path) == ["one"]


async def test_what_is_not_delivered_is_after_a_restart(tmp_path, secret):
    async with running(tmp_path, url="http://127.0.0.1:9", secret_file=secret) as place:
        await place.ends("one")
        await until(lambda: place.hooks.failures == 1)
    assert waiting_in(tmp_path) == ["one"]
    receiver = Receiver()
    async with serving(receiver) as url, running(tmp_path, url=url, secret_file=secret) as place:
        await until(lambda: receiver.got and not place.hooks.waiting)
    assert [request.headers["webhook-id"] for request in receiver.got] == ["one-2"]
    assert waiting_in(tmp_path) == []


async def test_one_that_is_tried_again_before_its_failure_was_told_is_told_once(tmp_path, secret, no_pause):
    asked, answered = trio.Event(), trio.Event()
    got = []

    async def slow(request, reply):
        got.append(request)
        asked.set()
        await answered.wait()
        await reply.send(204 if len(got) > 1 else 500, b"")

    async with serving(slow) as url, running(tmp_path, url=url, secret_file=secret) as place:
        await place.ends("one", State.FAILED)
        await asked.wait()
        await place.enters("one", State.PENDING)
        await place.enters("one", State.COMPLETED)
        answered.set()
        await until(lambda: len(got) > 1 and not place.hooks.waiting)
    assert [(one.headers["webhook-id"], one.json["type"]) for one in got] == [
        ("one-2", "session.failed"),
        ("one-4", "session.completed"),
    ]
    assert waiting_in(tmp_path) == []


async def test_a_session_that_was_deleted_is_told_to_nobody(tmp_path, secret):
    async with running(tmp_path, url="http://127.0.0.1:9", secret_file=secret) as place:
        await place.ends("one")
        await until(lambda: place.hooks.failures == 1)
        await place.store.delete("one")
    receiver = Receiver()
    async with serving(receiver) as url, running(tmp_path, url=url, secret_file=secret) as place:
        await until(lambda: not place.hooks.waiting and waiting_in(tmp_path) == [])
    assert receiver.got == []


COMMAND = """
import json, os, sys
out = {"told": json.load(sys.stdin), "id": os.environ["CONVO_HOOK_ID"], "secret": os.environ.get("CONVOD_OPENAI_KEY")}
open(sys.argv[1], "w").write(json.dumps(out))
"""


async def test_a_command(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVOD_OPENAI_KEY", "secret")
    out = tmp_path / "out"
    async with running(tmp_path, command=[sys.executable, "-c", COMMAND, str(out)], timeout_s=60) as place:
        await place.ends("one")
        await until(lambda: not place.hooks.waiting)
    told = json.loads(out.read_text())
    assert (told["told"]["type"], told["id"], told["secret"]) == ("session.completed", "one-2", None)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["/nonexistent/program"], "it cannot be started: No such file or directory"),
        (["false"], "it ended with status 1"),
        (["sh", "-c", "sleep 1000 & wait"], "it did not end within 0.2 s"),
    ],
)
async def test_a_command_that_fails_is_tried_again(tmp_path, caplog, command, why):
    async with running(tmp_path, command=command, timeout_s=0.2) as place:
        await place.ends("one")
        await until(lambda: place.hooks.failures == 1)
    assert why in caplog.text
    assert waiting_in(tmp_path) == ["one"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"url": "http://x"}, "hooks.url: name a file with a secret in hooks.secret_file"),
        ({"url": "http://x", "secret_file": "/nonexistent"}, "holds no secret (No such file or directory)"),
    ],
)
async def test_settings_that_cannot_work_are_said_at_the_start(tmp_path, settings, sentence):
    with pytest.raises(BadHook) as raised:
        Hooks(HookSettings(**settings), None)  # type: ignore[arg-type]
    assert sentence in str(raised.value)


@pytest.mark.parametrize("text", ["", "short", "no base64!", SECRET[:20]])
def test_what_is_no_secret(text):
    with pytest.raises(ValueError):  # noqa: PT011 - its text is for the sentence around it
        secret_of(text)
