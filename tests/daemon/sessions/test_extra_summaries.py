"""Summaries that somebody asks for: stored until they are written, tried again, begun anew after any death."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from convo.messages import Code, FinalSummary, SessionWarning, State, SummaryDelta, SummaryOptions
from convod.sessions.extra_summaries import MOST
from convod.sessions.journal import SEGMENTS
from convod.sessions.session import Refused
from convod.summary import SummarizerUnavailable
from tests.daemon.support.house import Reader, house
from tests.support.history import put_talk

KOREAN = SummaryOptions(provider="ollama", model="m", style="minutes", language="ko")


async def completed(home, summary="off"):
    session = await home.live(summary=summary)
    reader = Reader(session.feed)
    await session.end()
    await reader.until_state(State.COMPLETED)
    await session.wait_finished()
    await trio.testing.wait_all_tasks_blocked()
    return session


async def stored(home, session):
    record = await home.store.get(session)
    assert record is not None
    return record.asked


async def warnings_of(home, session):
    return [event for event in await home.store.events(session, 0, 100) if isinstance(event, SessionWarning)]


async def summaries_of(home, session):
    return [event for event in await home.store.events(session, 0, 100) if isinstance(event, FinalSummary)]


async def test_one_that_a_killed_daemon_was_writing_is_written_by_the_next_once(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await completed(home)
        home.summarizers.gate = trio.Event()
        await home.manager.summarize("me", session.id, KOREAN)
        assert await stored(home, session.id) == [KOREAN]  # before the answer
        await trio.testing.wait_all_tasks_blocked()
        assert home.summarizers.wanted == [KOREAN]
    for _ in range(2):
        async with house(tmp_path) as home:
            await trio.testing.wait_all_tasks_blocked()
            assert len(await summaries_of(home, session.id)) == 1
            assert await stored(home, session.id) == []
            record = await home.store.get(session.id)
            assert record.state is State.COMPLETED
            later = home.summarizers.wanted
    assert later == []


async def test_after_a_restart_it_waits_for_its_summarizer(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await completed(home)
        home.summarizers.gate = trio.Event()
        await home.manager.summarize("me", session.id, KOREAN)
        await trio.testing.wait_all_tasks_blocked()
    async with house(tmp_path) as home:
        home.summarizers.away = "the language model is away"
        await trio.sleep(3600)
        assert 10 <= len(home.summarizers.wanted) <= 40
        assert await stored(home, session.id) == [KOREAN]
        home.summarizers.away = None
        home.summarizers.back.set()
        await trio.sleep(300)
        assert len(await summaries_of(home, session.id)) == 1
        assert await warnings_of(home, session.id) == []


async def test_one_that_breaks_off_is_tried_again(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await completed(home)
        home.summarizers.breaks = [SummarizerUnavailable("it broke off")]
        await home.manager.summarize("me", session.id, KOREAN)
        await trio.sleep(10)
        assert home.summarizers.wanted == [KOREAN, KOREAN]
        assert len(await summaries_of(home, session.id)) == 1
        assert await warnings_of(home, session.id) == []


async def test_readers_are_told_that_one_broke_off(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live(summary="final")
        reader = Reader(session.feed)
        home.summarizers.breaks = [SummarizerUnavailable("it broke off")]
        await session.end()
        await reader.until(lambda one: isinstance(one, SessionWarning))
        pieces = [(one.text, one.restart) for one in reader.of(SummaryDelta)]
        # Pieces that wait for their reader are joined, and what is void is left out of them.
        assert pieces == [("", True)]
        await reader.until_state(State.COMPLETED)
        assert [(one.text, one.restart) for one in reader.of(SummaryDelta)][1:] == [("They spoke.", True)]


async def test_one_that_was_never_begun_breaks_nothing_off(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.summarizers.away = "away"
        session = await home.live(summary="final")
        reader = Reader(session.feed)
        await session.end()
        await reader.until(lambda one: isinstance(one, SessionWarning))
        assert reader.of(SummaryDelta) == []


@pytest.mark.parametrize(
    ("breaks", "tries", "says"),
    [
        ([SummarizerUnavailable("it broke off")] * 2, 2, "it broke off"),
        ([SummarizerUnavailable("it is left alone", wait_s=30.0)], 1, "it is left alone"),
        ([SummarizerUnavailable("no such model", retry=False)], 1, "no such model"),
        ([ZeroDivisionError()], 1, "its log says which"),
    ],
)
async def test_one_that_cannot_be_had_ends_in_one_warning_and_is_forgotten(
    autojump_clock, tmp_path, breaks, tries, says
):
    async with house(tmp_path) as home:
        session = await completed(home)
        home.summarizers.breaks = list(breaks)
        await home.manager.summarize("me", session.id, KOREAN)
        await trio.sleep(600)
        assert len(home.summarizers.wanted) == tries
        (warning,) = await warnings_of(home, session.id)
        assert warning.code == Code.SUMMARIZER_UNAVAILABLE
        assert says in warning.message
        assert await stored(home, session.id) == []
        assert await summaries_of(home, session.id) == []


async def test_of_two_alike_each_is_written_and_there_is_a_limit(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await completed(home)
        gate = home.summarizers.gate = trio.Event()
        for _ in range(MOST):
            await home.manager.summarize("me", session.id, KOREAN)
        with pytest.raises(Refused, match="wait for one") as refused:
            await home.manager.summarize("me", session.id, KOREAN)
        assert refused.value.code is Code.BUSY
        assert await stored(home, session.id) == [KOREAN] * MOST
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert len(await summaries_of(home, session.id)) == MOST
        assert await stored(home, session.id) == []


async def test_deleting_a_session_stops_what_is_written_of_it(autojump_clock, tmp_path, caplog):
    async with house(tmp_path) as home:
        session = await completed(home)
        home.summarizers.gate = trio.Event()
        await home.manager.summarize("me", session.id, KOREAN)
        await trio.testing.wait_all_tasks_blocked()
        await home.manager.delete("me", session.id)
        home.summarizers.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert await home.store.get(session.id) is None
        assert await home.store.asked() == []
    assert "was not summarised" not in caplog.text


async def test_who_asks_for_a_session_that_waits_gets_one_and_its_own_is_not_tried_any_more(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.summarizers.away = "away"
        session = await home.live(summary="final")
        reader = Reader(session.feed)
        await session.end()
        await reader.until(lambda one: isinstance(one, SessionWarning))
        home.summarizers.away = None
        await home.manager.summarize("me", session.id, KOREAN)
        await reader.until_state(State.COMPLETED)
        assert len(await summaries_of(home, session.id)) == 1


async def test_a_summary_is_of_all_that_was_said_without_the_times_of_its_words(tmp_path, autojump_clock):
    session = "0a" * 10
    async with house(tmp_path) as home:
        await put_talk(home.store, "me", session, SEGMENTS + 1)
        journal = await home.manager.summarize("me", session, SummaryOptions())
        reader = Reader(journal.feed, journal.feed.seq)
        await reader.until(lambda event: isinstance(event, FinalSummary))
        (talk,) = home.summarizers.asked
        assert [segment.segment for segment in talk.segments] == list(range(SEGMENTS + 1))
        assert all(segment.words is None for segment in talk.segments), "they would take ten times as much memory"
        assert talk.owner == "me"
