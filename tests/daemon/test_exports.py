"""Exports: rendered once, a few at once with turns by owner, kept within limits, gone with their session."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from convo import formats
from convo.messages import Code, Mark
from convo.redaction import Redactor
from convo.transcript import Transcript
from convod.owner_limiter import OwnerLimiter
from convod.sessions import Refused, exports
from convod.sessions.exports import AT_ONCE, BLOCK, KEEP_S, MEMORY_BYTES, Text
from tests.daemon.support.house import House, house
from tests.support.history import put_talk

PAGE = 10_000
TALK, OTHER = "0a" * 10, "0b" * 10


@asynccontextmanager
async def told(folder: Path, *talks: str, segments: int = 40) -> AsyncIterator[House]:
    """A house with these talks."""
    async with house(folder) as home:
        for talk in talks:
            await put_talk(home.store, "me", talk, segments, marks=2)
        yield home


async def all_pages(home: House, session: str, format: str, owner: str = "me") -> str:
    journal = await home.manager.journal(None, session)
    text, offset = "", 0
    while True:
        page, following = await home.manager.exports.page(journal, format, offset, PAGE, owner)
        text += page
        if following is None:
            return text
        assert following == offset + PAGE
        offset = following


async def rendered_whole(home: House, session: str, format: str) -> str:
    journal = await home.manager.journal(None, session)
    info = journal.record.info
    transcript = Transcript(
        **{name: getattr(info, name) for name in info.__struct_fields__ if name in Transcript.__struct_fields__},
        segments=await home.store.segments(session),
        summary=await home.store.summary(session),
        marks=await home.store.marks(session),
    )
    return formats.render(transcript, format)


@pytest.mark.parametrize("format", list(formats.FORMATS))
async def test_the_pages_are_the_text_and_are_rendered_once(tmp_path, format, monkeypatch):
    monkeypatch.setattr(exports, "SEGMENTS", 7)
    async with told(tmp_path, TALK) as home:
        whole = await rendered_whole(home, TALK, format)
        assert await all_pages(home, TALK, format) == whole
        assert await all_pages(home, TALK, format, "an admin") == whole
        assert home.manager.exports.rendered == 1


async def test_what_is_taken_out_makes_another_text(tmp_path):
    async with told(tmp_path, TALK) as home:
        journal = await home.manager.journal(None, TALK)
        page = home.manager.exports.page
        whole, _ = await page(journal, "txt", 0, 1000, "me")
        redacted, _ = await page(journal, "txt", 0, 1000, "me", Redactor(["numbers"]))
        assert redacted == Redactor(["numbers"]).text(whole)
        assert (await page(journal, "txt", 0, 1000, "me"))[0] == whole
        assert home.manager.exports.rendered == 2
        home.manager.exports.forget(TALK)
        assert not home.manager.exports.kept


async def test_a_long_text_lies_in_a_file_that_has_no_name(tmp_path):
    async with told(tmp_path, TALK, segments=600) as home:
        before = sorted(tmp_path.rglob("*"))
        whole = await rendered_whole(home, TALK, "json")
        assert len(whole) > MEMORY_BYTES
        assert await all_pages(home, TALK, "json") == whole
        assert sorted(tmp_path.rglob("*")) == before


async def test_a_text_is_rendered_anew_for_one_who_begins_once_the_session_has_changed(tmp_path):
    async with told(tmp_path, TALK) as home:
        journal = await home.manager.journal("me", TALK)
        page = home.manager.exports.page
        first, following = await page(journal, "jsonl", 0, PAGE, "me")
        assert following == PAGE
        before = await rendered_whole(home, TALK, "jsonl")
        await journal.publish(Mark, time=1.0, text="new")
        rest, end = await page(journal, "jsonl", PAGE, 10**6, "me")
        assert (first + rest, end) == (before, None)
        assert '"new"' in await all_pages(home, TALK, "jsonl")
        assert home.manager.exports.rendered == 2
        assert await page(journal, "jsonl", 10**9, PAGE, "me") == ("", None)
        assert home.manager.exports.rendered == 2


async def test_what_is_deleted_is_not_kept_nor_given_away(tmp_path, monkeypatch):
    async with told(tmp_path, TALK, OTHER) as home:
        await all_pages(home, TALK, "txt")
        journal = await home.manager.journal("me", TALK)
        await home.manager.delete("me", TALK)
        assert not home.manager.exports.kept

        begun, go_on = threading.Event(), threading.Event()

        def write(text, pieces):
            begun.set()
            go_on.wait(20)

        monkeypatch.setattr(exports, "write_pieces", write)
        journal = await home.manager.journal("me", OTHER)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(Refused) as refused:
                    await home.manager.exports.page(journal, "txt", 0, PAGE, "me")
                assert refused.value.code is Code.UNKNOWN_SESSION

            nursery.start_soon(ask)
            await trio.to_thread.run_sync(begun.wait, 20)
            await home.manager.delete("me", OTHER)
            go_on.set()
        assert not home.manager.exports.kept


async def test_what_is_kept_has_a_limit_for_each_owner_and_in_all(tmp_path, monkeypatch):
    talks = [f"t{number}" for number in range(6)]
    async with told(tmp_path, *talks, segments=3) as home:
        kept = home.manager.exports.kept
        await all_pages(home, "t0", "txt", "you")
        size = kept["t0", "txt"].text.size
        monkeypatch.setattr(exports, "OWNER_BYTES", 3 * size)
        for talk in talks:
            await all_pages(home, talk, "srt")
        assert ("t0", "txt") in kept, "another's is not pushed out"
        mine = [one.text.size for one in kept.values() if one.owner == "me"]
        assert sum(mine) <= 3 * size
        await all_pages(home, "t1", "json")  # more than an owner may have, and yet it can be had
        assert {key for key, one in kept.items() if one.owner == "me"} == {("t1", "json")}
        monkeypatch.setattr(exports, "OWNER_BYTES", 1 << 30)
        monkeypatch.setattr(exports, "OWNER_TEXTS", 2)
        for talk in talks:
            await all_pages(home, talk, "txt")
        assert [key for key in kept if key[1] == "txt"][-2:] == [("t4", "txt"), ("t5", "txt")]
        assert len(kept) <= 3


async def test_what_nobody_reads_is_dropped(tmp_path, mock_clock):
    async with told(tmp_path, TALK) as home:
        await all_pages(home, TALK, "txt")
        for share, kept in ((0.5, True), (1.5, False)):
            mock_clock.jump(KEEP_S * share)
            await trio.testing.wait_all_tasks_blocked()
            assert bool(home.manager.exports.kept) is kept


async def test_an_unknown_format_and_a_full_disk_are_told(tmp_path, monkeypatch):
    async with told(tmp_path, TALK) as home:
        journal = await home.manager.journal("me", TALK)
        with pytest.raises(Refused, match="format must be one of txt"):
            await home.manager.exports.page(journal, "pdf", 0, PAGE, "me")

        def full(text, pieces):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(exports, "write_pieces", full)
        with pytest.raises(Refused, match="make room on the daemon's disk") as refused:
            await home.manager.exports.page(journal, "txt", 0, PAGE, "me")
        assert refused.value.code is Code.BUSY
        assert not home.manager.exports.rendering
        monkeypatch.undo()
        assert await all_pages(home, TALK, "txt")


async def test_who_stops_waiting_for_a_text_leaves_nothing_behind(tmp_path):
    async with told(tmp_path, TALK, segments=2000) as home:
        journal = await home.manager.journal("me", TALK)
        for _ in range(3):
            with trio.move_on_after(0.02):
                await home.manager.exports.page(journal, "json", 0, PAGE, "me")
        assert not home.manager.exports.rendering
        assert await all_pages(home, TALK, "txt")


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
@pytest.mark.parametrize("letter", ["a", "é", "語", "🙂"])
def test_a_page_begins_at_any_character(tmp_path, size, letter, monkeypatch):
    monkeypatch.setattr(exports, "MEMORY_BYTES", 2 * BLOCK)
    whole = "".join(letter if at % 3 else "x" for at in range(size))
    text = Text(tmp_path)
    for at in range(0, size, 1000):
        text.write(whole[at : at + 1000])
    text.finish()
    assert (text.characters, text.size) == (size, len(whole.encode()))
    assert text.in_memory == (text.size <= 2 * BLOCK)
    for offset in {0, 1, size // 2, max(0, size - 1), size, size + 9, BLOCK - 1, BLOCK}:
        for most in (1, 100, 2 * BLOCK, 10**6):
            assert text.page(offset, most) == whole[offset : offset + most]
    text.drop()


# --- turns ------------------------------------------------------------------------------------------------


async def test_owners_take_turns_and_each_has_one_at_a_time():
    limiter = OwnerLimiter(AT_ONCE)
    order: list[str] = []
    at_work: list[str] = []

    async def work(owner: str) -> None:
        async with limiter.turn(owner):
            assert owner not in at_work
            at_work.append(owner)
            order.append(owner)
            assert len(at_work) <= AT_ONCE
            await trio.testing.wait_all_tasks_blocked()
            at_work.remove(owner)

    async with trio.open_nursery() as nursery:
        for owner in "aaaaaabc":
            nursery.start_soon(work, owner)
    assert sorted(order) == sorted("aaaaaabc")
    assert set(order[:4]) >= set("abc")


async def test_who_gives_up_waiting_takes_no_turn():
    limiter = OwnerLimiter(1)
    async with limiter.turn("a"):
        with trio.move_on_after(0):
            async with limiter.turn("b"):
                raise AssertionError("there is none")
    async with limiter.turn("c"):
        pass
    assert not limiter.running
    assert not limiter.waiting
