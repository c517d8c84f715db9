from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import psycopg
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from convo.messages import (
    ActionItem,
    AudioFormat,
    CreateSession,
    FinalSummary,
    Mark,
    RollingSummary,
    SessionInfo,
    SessionState,
    SessionWarning,
    State,
    SummaryOptions,
    TranscriptSegment,
    Word,
)
from convod.store import OwnerFull, Record, Refining, SessionStore, StoreFailed, TooMany, Usage, database_at
from convod.store.search import snip

Opened = Callable[..., AbstractAsyncContextManager[SessionStore]]


@asynccontextmanager
async def opened_at(url: str, folder: Path, usage: Usage | None = None) -> AsyncIterator[SessionStore]:
    database = database_at(url, folder / "convod.sqlite")
    database.open()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.run)
            yield SessionStore(database, usage)
            nursery.cancel_scope.cancel()
    finally:
        database.close()


@pytest.fixture
def opened(store_url, tmp_path) -> Opened:
    """Opens a store, the same each time, as an async context manager."""
    return partial(opened_at, store_url, tmp_path)


@pytest.fixture
def opened_file(tmp_path) -> Opened:
    """The same for what only SQLite has."""
    return partial(opened_at, "", tmp_path)


def record(name: str = "one", *, owner: str = "me", created: float = 1.0, **fields) -> Record:
    about = {"id": f"00000000{name}", "kind": "live", "title": name, "state": State.PENDING}
    return Record(**{**about, "config": CreateSession(kind="live"), "owner": owner, "created": created, **fields})


def segment(of: Record, number: int, text: str, **fields) -> TranscriptSegment:
    return TranscriptSegment(
        session=of.id, seq=of.seq + 1, segment=number, start=float(number), end=number + 0.5, text=text,
        language="en", confidence=0.5, lag_ms=1.0, **fields,
    )  # fmt: skip


async def say(store: SessionStore, of: Record, *texts: str) -> None:
    for text in texts:
        event = segment(of, of.segments, text)
        of.segments += 1
        await store.save(of, [event])
        of.seq = event.seq


def summary(of: Record, text: str, kind=FinalSummary):
    return kind(
        session=of.id, seq=of.seq + 1, provider="p", model="m", title="t", summary=text, key_points=["k"],
        action_items=[ActionItem(text="do", owner="Ann", due="Friday")], keywords=["w"], language="en",
    )  # fmt: skip


async def test_a_session_comes_back_as_it_was_stored(opened):
    config = CreateSession(
        kind="file",
        audio=AudioFormat(container="auto", name="ä.flac", size=3),
        title="Täglich",
        language="de",
        words=True,
        endpoint_ms=700,
        summary=SummaryOptions(mode="rolling", style="brief"),
    )
    full = record(
        kind="file", config=config, key="k", state=State.TRANSCRIBED, duration_s=1.25, ended=True, seq=0, segments=3,
        checkpoint_sample=123, checkpoint_utterance=4,
    )  # fmt: skip
    async with opened() as store:
        assert await store.create(full) is full
    async with opened() as store:
        assert await store.get(full.id) == full
        assert await store.get("00000000none") is None


async def test_the_same_key_of_the_same_owner_gets_the_first_session(opened):
    async with opened() as store:
        first = await store.create(record("one", key="k"))
        assert (await store.create(record("two", key="k"))).id == first.id
        assert (await store.create(record("three", key="k", owner="you"))).id == "00000000three"
        assert (await store.create(record("four"))).id == "00000000four"
        assert (await store.create(record("five"))).id == "00000000five"  # no key is nobody's key
        assert await store.get("00000000two") is None
        assert await store.keyed("me", "k") == first
        assert (found := await store.keyed("you", "k")) is not None
        assert found.id == "00000000three"
        assert await store.keyed("me", "another") is None


async def test_events_and_counters_move_together(opened):
    async with opened() as store:
        one = await store.create(record())
        await say(store, one, "first", "second")
        stored = await store.get(one.id)
        assert stored is not None
        assert (stored.seq, stored.segments) == (2, 2)
        again = segment(one, 9, "the same seq once more")
        one.seq, one.segments = 1, 9
        with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
            await store.save(one, [SessionWarning(session=one.id, seq=2, code="c", message="m"), again])
        assert await store.get(one.id) == stored
        assert len(await store.events(one.id, 0, 10)) == 2
        assert await store.search("me", "once", 10) == []


async def test_events_come_back_as_they_were_in_order_and_paged(opened):
    async with opened() as store:
        one = await store.create(record())
        events = [
            SessionState(session=one.id, seq=1, state=State.FAILED, code="internal", message="m"),
            TranscriptSegment(
                session=one.id, seq=2, segment=0, start=0.1, end=0.9, text="Ja.", language="de", confidence=0.25,
                lag_ms=12.5, words=[Word(start=0.1, end=0.9, word="Ja.", confidence=0.5)],
            ),
            SessionWarning(session=one.id, seq=3, code="bad_audio", message="m"),
        ]  # fmt: skip
        one.seq = 3
        await store.save(one, events)
        one.seq = 3
        await store.save(one, [summary(one, "rolling", RollingSummary)])
        one.seq = 4
        await store.save(one, [summary(one, "final")])
        back = await store.events(one.id, 0, 100)
        assert back[:3] == events
        assert [event.seq for event in back] == [1, 2, 3, 4, 5]
        assert [event.seq for event in await store.events(one.id, 1, 2)] == [2, 3]
        assert await store.events(one.id, 5, 10) == []


async def test_segments_come_in_order_and_paged(opened):
    async with opened() as store:
        one = await store.create(record())
        await say(store, one, *(f"text {number}" for number in range(12)))
        assert [one.segment for one in await store.segments(one.id)] == list(range(12))
        assert [one.text for one in await store.segments(one.id, 8, 2)] == ["text 9", "text 10"]


async def test_the_newest_final_summary_counts(opened):
    async with opened() as store:
        one = await store.create(record())
        assert await store.summary(one.id) is None
        for text, kind in (("first", FinalSummary), ("second", FinalSummary), ("rolling", RollingSummary)):
            await store.save(one, [summary(one, text, kind)])
            one.seq += 1
        found = await store.summary(one.id)
        assert found is not None
        assert found.summary == "second"
        assert found.action_items == [ActionItem(text="do", owner="Ann", due="Friday")]


async def test_unfinished_sessions_are_those_in_no_final_state_oldest_first(opened):
    async with opened() as store:
        for created, state in enumerate(State):
            await store.create(record(state.value, state=state, created=-float(created)))
        assert [one.state for one in await store.unfinished()] == [State.TRANSCRIBED, State.PROCESSING, State.PENDING]


async def test_a_list_is_newest_first_the_owners_and_filtered(opened):
    async with opened() as store:
        for number in range(6):
            kind = "live" if number % 2 else "file"
            state = State.COMPLETED if number < 4 else State.PENDING
            await store.create(record(f"n{number}", created=float(number), kind=kind, state=state))
        await store.create(record("foreign", owner="you", created=99.0))

        async def titles(**wanted):
            return [one.title for one in await store.newest("me", **wanted)]

        assert await titles() == ["n5", "n4", "n3", "n2", "n1", "n0"]
        assert await titles(limit=2) == ["n5", "n4"]
        assert await titles(before=3.0) == ["n2", "n1", "n0"]
        assert await titles(kind="live") == ["n5", "n3", "n1"]
        assert await titles(kind="live", state=State.COMPLETED, before=3.0) == ["n1"]
        assert await store.newest("nobody") == []


async def test_lists_tell_the_language_and_why_a_session_failed(opened):
    def state(of: Record, seq: int, state: State, **why) -> SessionState:
        return SessionState(session=of.id, seq=seq, state=state, **why)

    async with opened() as store:
        sound = await store.create(record("sound", created=3.0, heard_language="de"))
        await store.save(sound, [state(sound, 1, State.PENDING)])
        failed = await store.create(record("failed", created=2.0))
        failed.state = State.FAILED
        events = [state(failed, 1, State.FAILED, code="busy", message="Not now."), state(failed, 2, State.PENDING)]
        last = state(failed, 3, State.FAILED, code="bad_audio", message="No audio.")
        await store.save(failed, [*events, last])
        old = await store.create(record("old", created=1.0, state=State.FAILED))  # without a word on why
        retried = await store.create(record("retried", created=0.0))
        await store.save(retried, [state(retried, 1, State.FAILED, code="busy"), state(retried, 2, State.PENDING)])

        def told(info: SessionInfo) -> tuple[str | None, str | None, str | None]:
            return info.language, info.code, info.message

        listed = {info.session: told(info) for info in await store.newest("me")}
        assert listed == {
            sound.id: ("de", None, None),
            failed.id: (None, "bad_audio", "No audio."),
            old.id: (None, None, None),
            retried.id: (None, None, None),
        }
        assert await store.failure(failed.id) == ("bad_audio", "No audio.")
        for other in (sound.id, retried.id, "00000000none"):
            assert await store.failure(other) == (None, None)


async def test_delete_leaves_nothing_and_nobody_else(opened):
    async with opened() as store:
        one, two = await store.create(record("one")), await store.create(record("two"))
        await say(store, one, "the secret")
        await say(store, two, "another secret")
        await store.delete(one.id)
        await store.delete(one.id)
        assert await store.get(one.id) is None
        assert await store.events(one.id, 0, 10) == []
        assert [hit.session for hit in await store.search("me", "secret", 10)] == [two.id]


TEXTS = [
    "We ship the engine on Friday.",
    "The engine room is warm.",
    "Grüße aus Köln",
    "今日は会議です。",
    'He said "quoted" and 100% sure',
    "an ox",
]


QUERIES: list[tuple[str, list[int]]] = [
    ("engine", [0, 1]),
    ("ENGINE friday", [0]),
    ("eng", [0, 1]),
    ("en", []),
    ("ngin", []),
    ("koln", [2]),
    ("engine nowhere", []),
    ("Köln", [2]),
    ("KÖLN", [2]),
    ("会議", [3]),
    ("会議です", [3]),
    ("ox", [5]),
    ("OX an", [5]),
    ("is warm", [1]),
    ('"quoted"', [4]),
    ("100%", [4]),
    ("%", []),
    ("engine %", []),
    ("日", [3]),
    ("今日 会議", [3]),
    ("議今", []),
    ("会議中", []),
    ("eng*", [0, 1]),
    ("engine OR warm", []),
    ("NEAR(engine)", []),
    ("said:engine", []),
    ("'; DROP TABLE said; --", []),
    ("   ", []),
    ("x" * 5000, []),
    ("\x00\x00\x00", []),
]


async def test_a_search_finds_what_holds_all_its_words_and_takes_any_text(opened):
    async with opened() as store:
        one = await store.create(record())
        await say(store, one, *TEXTS)
        for query, found in QUERIES:
            hits = await store.search("me", query, 10)
            assert sorted(hit.segment for hit in hits) == found, query
            for hit in hits:
                assert (hit.text, hit.start, hit.end) == (TEXTS[hit.segment], hit.segment, hit.segment + 0.5)


async def test_a_search_sees_the_owners_sessions_only_and_no_more_than_asked(opened):
    async with opened() as store:
        mine, yours = await store.create(record("mine")), await store.create(record("yours", owner="you"))
        await say(store, mine, *["the engine"] * 5)
        await say(store, yours, "the engine")
        assert {hit.session for hit in await store.search("me", "engine", 10)} == {mine.id}
        assert len(await store.search("me", "engine", 3)) == 3
        assert await store.search("nobody", "engine", 10) == []


# --- snippets and summaries -----------------------------------------------------------------------------------


async def summarise(store: SessionStore, of: Record, text: str, *, title: str = "Plans") -> None:
    summary = FinalSummary(
        session=of.id, seq=of.seq + 1, provider="p", model="m", title=title, summary=text,
        key_points=["The kettle boils."], action_items=[ActionItem(text="Buy tea", owner="Ann", due="Friday")],
        keywords=["leaves"], language="en",
    )  # fmt: skip
    of.seq += 1
    await store.save(of, [summary])


async def test_a_search_finds_summaries_and_only_the_newest_of_a_session(opened):
    async with opened() as store:
        one = await store.create(record("Kitchen"))
        await say(store, one, "Put the kettle on.")
        await summarise(store, one, "An old matter.")
        await summarise(store, one, "A new matter.")
        assert [hit.source for hit in await store.search("me", "kettle", 10)] == ["segment"]
        assert [hit.source for hit in await store.search("me", "kettle", 10, summaries=True)] == ["summary", "segment"]
        for query in ("new", "tea ann", "leaves", "plans"):
            (hit,) = await store.search("me", query, 10, summaries=True)
            assert (hit.source, hit.segment, hit.title) == ("summary", 0, "Kitchen")
        assert await store.search("me", "old", 10, summaries=True) == []


async def test_the_words_as_they_stand_come_before_the_words_anywhere_then_the_newest(opened):
    async with opened() as store:
        one = await store.create(record())
        await say(store, one, "release notes", "notes of the release", "the release notes", "releases and notes")
        assert [hit.segment for hit in await store.search("me", "release notes", 10)] == [2, 0, 1, 3]
        assert [hit.segment for hit in await store.search("me", "release notes", 2)] == [2, 0]


async def test_what_stands_as_it_was_asked_for_comes_first_though_it_is_the_oldest(opened):
    async with opened() as store:
        one = await store.create(record())
        await say(store, one, "red wine", *["wine that is red"] * 5)
        assert [hit.segment for hit in await store.search("me", "red wine", 3)] == [0, 5, 4]
        await say(store, one, "green tea")  # what has all words is the newest, and reaches back far enough
        assert [hit.segment for hit in await store.search("me", "green tea", 3)] == [6]


async def test_a_word_of_very_many_texts_is_no_beginning_of_others(opened, monkeypatch):
    async with opened() as store:
        one = await store.create(record())
        await say(store, one, "plans of old budgets", *["the plan"] * 10, "the plan for budgets", "planned budgets")
        assert [hit.segment for hit in await store.search("me", "plan budget", 9)] == [12, 11, 0]
        monkeypatch.setattr("convod.store.search.COMMON", 8)
        monkeypatch.setattr("convod.store.search.SAMPLE", 4)
        assert [hit.segment for hit in await store.search("me", "plan budget", 9)] == [11]
        # But rare ones are, and any word finds itself.
        assert [hit.segment for hit in await store.search("me", "budget", 9)] == [12, 11, 0]
        assert len(await store.search("me", "plan", 99)) == 13


async def test_short_words_stand_beside_beginnings_of_others(opened):
    async with opened() as store:
        one = await store.create(record())
        await say(store, one, "we go to reviews", "we got a review", "to")
        assert [hit.segment for hit in await store.search("me", "to rev", 9)] == [0]


@pytest.mark.parametrize(
    ("text", "words", "snippet", "marked"),
    [
        ("We ship it.", ["ship"], "We ship it.", ["ship"]),
        ("Ship, ships, worship", ["ship"], "Ship, ships, worship", ["Ship", "ship"]),
        ("Grüße aus Köln", ["koln", "GRUSSE"], "Grüße aus Köln", ["Köln"]),
        ("今日は会議です。", ["会議"], "今日は会議です。", ["会議"]),
        ("a" * 100 + " needle " + "b" * 200, ["needle"], None, ["needle"]),
        ("x" * 400, ["needle"], "x" * 160 + "…", []),
        ("(a+b)* c", ["(a+b)*"], "(a+b)* c", ["(a+b)*"]),
        ("aaaa", ["a", "aa"], "aaaa", ["aa"]),
        ("", ["a"], "", []),
    ],
)
def test_a_snippet_shows_what_was_found(text, words, snippet, marked):
    shown, marks = snip(text, words)
    assert [shown[first:last] for first, last in marks] == marked
    assert len(shown) <= 162
    if snippet is not None:
        assert shown == snippet


@given(text=st.text(max_size=400), words=st.lists(st.text(min_size=1, max_size=8), max_size=4))
def test_marks_lie_in_their_snippet_in_order(text, words):
    shown, marks = snip(text, words)
    assert len(shown) <= 162
    last = 0
    for begin, end in marks:
        assert last <= begin < end <= len(shown)
        last = end


async def test_deleted_words_are_in_no_file_any_more(opened_file, tmp_path):
    async with opened_file() as store:
        one, two = await store.create(record("one")), await store.create(record("two"))
        for number in range(30):
            await say(store, two, f"ordinary sentence {number}")
            await say(store, one, f"xyzzy{number} plugh 秘密の会議{number}")
        await summarise(store, one, "frobnicate")
        await store.delete(one.id)
        assert await store.search("me", "xyzzy1", 10, summaries=True) == []
        assert await store.search("me", "秘密の会議", 10, summaries=True) == []
        assert len(await store.search("me", "ordinary", 50)) == 30
    deleted = b"".join(file.read_bytes() for file in tmp_path.glob("convod.sqlite*"))
    for word in ("xyzzy", "plugh", "frobnicate", "秘密"):
        assert word.encode() not in deleted, word
    assert b"ordinary" in deleted


async def test_pauses_are_remembered(opened):
    async with opened() as store:
        assert await store.paused() == set()
        await store.pause("me", True)
        await store.pause("me", True)
        await store.pause("you", True)
        await store.pause("you", False)
        assert await store.paused() == {"me"}


async def test_a_list_by_the_beginning_of_an_id(opened):
    async with opened() as store:
        one, _ = await store.create(record("one")), await store.create(record("two"))
        assert [info.title for info in await store.newest("me", prefix=one.id[:12])] == ["one"]
        assert await store.newest("me", prefix="%") == []
        assert len(await store.newest("me", prefix="")) == 2


async def test_a_backup_is_whole_while_others_write_and_opens_like_the_original(opened_file, tmp_path):
    async with opened_file() as store:
        one = await store.create(record("one"))
        async with trio.open_nursery() as nursery:

            async def write() -> None:
                for number in range(20):
                    await say(store, one, f"sentence {number}")

            nursery.start_soon(write)
            await store.database.backup(tmp_path / "copy")
        await store.database.backup(tmp_path / "copy")
        assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
        with pytest.raises(StoreFailed, match="choose another place"):
            await store.database.backup(tmp_path / "nowhere" / "copy")
    (tmp_path / "restored").mkdir()
    (tmp_path / "copy").rename(tmp_path / "restored" / "convod.sqlite")
    async with opened_at("", tmp_path / "restored") as store:
        assert len(await store.segments(one.id)) == 20
        assert len(await store.search("me", "sentence", 50)) == 20
    assert sorted(path.name for path in tmp_path.iterdir() if "part" in path.name) == []


# --- what it costs ----------------------------------------------------------------------------------------

LONGEST_CONFIG = CreateSession(
    kind="live", title="ü" * 200, language="x" * 100, prompt="ü" * 10_000, hotwords="ü" * 10_000, key="ü" * 200,
    model="ü" * 1000, audio=AudioFormat(name="ü" * 1000),
    summary=SummaryOptions(provider="ü" * 100, model="ü" * 200, style="ü" * 100, language="ü" * 100),
)  # fmt: skip


async def test_a_mark_writes_little_however_long_the_texts_of_its_session_are(opened_file, tmp_path):
    async with opened_file() as store:
        asked = [LONGEST_CONFIG.summary] * 8
        one = await store.create(record(title="ü" * 200, key="ü" * 200, config=LONGEST_CONFIG, asked=asked))
        await store.database.checkpoint()
        log = tmp_path / "convod.sqlite-wal"
        await store.save(one, [Mark(session=one.id, seq=1, time=1.0, text="here")])
        first = log.stat().st_size
        one.seq = 1
        await store.save(one, [Mark(session=one.id, seq=2, time=1.0, text="here")])
        assert max(first, log.stat().st_size - first) <= 3 * 4120 + 32  # a page of progress, of events, and of an index
        assert await store.get(one.id) == msgspec.structs.replace(one, seq=2)


async def test_what_seldom_changes_is_stored_when_it_does(opened):
    async with opened() as store:
        one = await store.create(record(config=LONGEST_CONFIG))
        one.config = msgspec.structs.replace(LONGEST_CONFIG, priority="high", prompt=None)
        one.title, one.state, one.heard_language, one.digest = "new", State.COMPLETED, "de", "ab" * 32
        one.asked, one.kept_bytes, one.ended = [SummaryOptions(style="brief")], 77, True
        await store.save(one)
        assert await store.get(one.id) == one
        one.asked, one.refining = [], Refining(model="base", below=0.75, done=3, heard_s=2.5, corrected=1)
        await store.save(one)
        assert await store.asked() == [one]
        one.refining = None
        await store.save(one)
        assert await store.asked() == []


async def test_what_a_session_takes_is_counted_and_no_more_once_it_is_gone(opened):
    usage = Usage(10_000)
    async with opened(usage) as store:
        one = await store.create(record("one", state=State.COMPLETED, kept_bytes=500))
        await store.create(record("two", owner="you", kept_bytes=7))
        await say(store, one, "text " * 100)
        used = await store.used()
        assert usage.of("me") == used["me"] - 500  # the spool counts audio
        assert used["me"] > 1000
        assert used["you"] > 7
        assert await store.used("me", final=True) == {"me": used["me"]}
        assert await store.used("you", final=True) == {}
        assert await store.kept() == {one.id: 500, "00000000two": 7}
        await store.set_kept({one.id: 0, "00000000gone": 3})
        assert (await store.used())["me"] == usage.of("me")
        usage.check("me", 10_000 - usage.of("me"))
        with pytest.raises(OwnerFull, match=r"limits\.owner_disk_bytes"):
            usage.check("me", 10_001 - usage.of("me"))
        await store.delete(one.id)
        assert usage.of("me") == 0
        assert usage.of("you") == (await store.used())["you"] - 7


async def test_an_owner_has_as_many_sessions_as_may_be(opened):
    async with opened() as store:
        for name in ("one", "two"):
            await store.create(record(name, key=name), most=2)
        with pytest.raises(TooMany):
            await store.create(record("three"), most=2)
        assert (await store.create(record("three", key="one"), most=2)).id == "00000000one"
        await store.create(record("four", owner="you"), most=2)
        await store.delete("00000000one")
        await store.create(record("three"), most=2)


@pytest.mark.parametrize(
    ("of", "owner"), [("newest", "me"), ("newest", None), ("marks", None), ("summaries", None), ("oldest", "me")]
)
async def test_no_list_sorts_or_reads_all_there_is(opened_file, monkeypatch, of, owner):
    asked = traced(monkeypatch)
    async with opened_file() as store:
        asked.clear()
        if of == "oldest":
            await store.finished(owner=owner)
        elif of == "newest":
            await store.newest(owner)
        else:
            await getattr(store, of)("00000000none")
        statement = next(one for one in asked if one.startswith("SELECT")).replace("Inf", "9e999")
        plan = [row[3] for row in await store.database.read(lambda c: c.execute(f"EXPLAIN QUERY PLAN {statement}"))]
        assert not [step for step in plan if "TEMP B-TREE" in step], plan
        assert all("INDEX" in step or "PRIMARY KEY" in step for step in plan if "SUBQUERY" not in step), plan
        assert of != "newest" or any("events_by_type" in step for step in plan), plan


def traced(monkeypatch) -> list[str]:
    """What is asked of databases from now on."""
    asked: list[str] = []
    connect = sqlite3.connect

    def connecting(*place, **how):
        connection = connect(*place, **how)
        connection.set_trace_callback(asked.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connecting)
    return asked


async def test_a_word_that_is_asked_for_many_times_is_looked_up_once(opened_file, monkeypatch):
    asked = traced(monkeypatch)
    async with opened_file() as store:
        one = await store.create(record())
        await say(store, one, "the engine", "an engine engineers")
        asked.clear()
        hits = await store.search("me", "engine " * 32, 10)
        assert [hit.segment for hit in hits] == [1, 0]
        assert any("MATCH '\"engine\"' " in one for one in asked)
        assert not any('"engine" AND "engine"' in one for one in asked)


def test_a_snippet_of_a_very_long_text_costs_no_more():
    text = "a " * 1_000_000 + "needle"
    shown, marks = snip(text, ["needle"])
    assert (shown, marks) == (text[:160] + "…", [])
    shown, marks = snip("word " * 1_000_000, ["word"] * 32)
    assert len(marks) == 32
