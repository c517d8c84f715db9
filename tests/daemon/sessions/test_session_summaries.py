"""Summaries of a session: final, rolling, requested, and those that wait for a summarizer."""

from __future__ import annotations

import pytest
import trio

from convo.messages import (
    Code,
    CreateSession,
    FinalSummary,
    RollingSummary,
    SessionState,
    SessionWarning,
    State,
    SummaryDelta,
    SummaryOptions,
)
from convod.sessions import Refused
from tests.daemon.support.house import Reader, code_of, house
from tests.daemon.support.talk import talk

# --- summaries --------------------------------------------------------------------------------------------


async def test_a_summary_is_streamed_stored_and_then_the_session_is_completed(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live(summary="final")
        reader = Reader(session.feed)
        home.send(session, talk(1))
        await session.end()
        await reader.until_state(State.COMPLETED)
        kinds = [type(event) for event in reader.events]
        assert kinds[-3:] == [SummaryDelta, FinalSummary, SessionState]
        assert [(event.text, event.restart) for event in reader.of(SummaryDelta)] == [("They spoke.", True)]
        (asked,) = home.summarizers.asked
        assert [segment.text for segment in asked.segments] == ["sentence 0"]
        summary = await home.store.summary(session.id)
        assert summary is not None
        assert summary.summary == "They spoke."


async def test_with_summary_off_completed_follows_transcribed_and_nobody_is_asked(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live(summary="off")
        reader = Reader(session.feed)
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert reader.states[-2:] == [State.TRANSCRIBED, State.COMPLETED]
        assert home.summarizers.asked == []


async def test_while_no_summarizer_is_there_it_stays_transcribed_warns_once_and_tries_again(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.summarizers.away = "the language model is away"
        session = await home.live(summary="final")
        reader = Reader(session.feed)
        home.send(session, talk(1))
        await session.end()
        await reader.until_state(State.TRANSCRIBED)
        began = trio.current_time()
        await trio.sleep(3600)
        assert session.record.state is State.TRANSCRIBED
        await reader.take()
        (warning,) = reader.of(SessionWarning)
        assert warning.code == Code.SUMMARIZER_UNAVAILABLE
        assert "away" in warning.message
        assert 10 <= len(home.summarizers.asked) <= 40  # 2, 4, 8 … 300 s, each up to half shorter
        home.summarizers.away = None
        await reader.until_state(State.COMPLETED)
        assert trio.current_time() - began <= 3600 + 300
        assert len(reader.of(FinalSummary)) == 1
        assert len(reader.of(SessionWarning)) == 1


async def completed(home):
    session = await home.live()
    reader = Reader(session.feed)
    await session.end()
    await reader.until_state(State.COMPLETED)
    await session.wait_finished()
    await trio.testing.wait_all_tasks_blocked()
    return session, reader


async def test_a_summary_that_can_never_be_is_refused_when_the_session_is_created(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        request = CreateSession(kind="live", summary=SummaryOptions(style="sonnet"))
        with pytest.raises(Refused, match="choose one of") as refused:
            await home.create(request)
        assert code_of(refused) is Code.BAD_REQUEST


async def test_who_follows_a_session_that_ended_gets_a_summary_that_another_asks_for(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session, reader = await completed(home)
        await home.manager.summarize("me", session.id, SummaryOptions())
        await reader.until(lambda one: isinstance(one, FinalSummary))


async def test_summaries_that_are_asked_for_side_by_side_leave_no_gap(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session, _ = await completed(home)
        gates = []
        for gate in (trio.Event(), None, trio.Event()):
            home.summarizers.gate = gate
            gates.append(gate)
            await home.manager.summarize("me", session.id, SummaryOptions())
            await trio.testing.wait_all_tasks_blocked()
        for gate in (gates[0], gates[2]):
            gate.set()
            await trio.testing.wait_all_tasks_blocked()
        events = await home.store.events(session.id, 0, 100)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert sum(isinstance(event, FinalSummary) for event in events) == 3


async def test_rolling_summaries_come_while_there_is_new_talk(autojump_clock, tmp_path):
    """A little new talk waits; nothing comes of silence, and each takes in what is new only."""
    async with house(tmp_path, rolling_s=60.0) as home:
        session = await home.live(summary="rolling")
        home.send(session, talk(1))
        await trio.sleep(59)
        assert home.summarizers.rolled == []
        await trio.sleep(3)
        assert home.summarizers.rolled == [[0]]
        await trio.sleep(600)
        assert len(home.summarizers.rolled) == 1
        home.send(session, talk(2))
        await trio.sleep(61)
        assert home.summarizers.rolled == [[0], [1, 2]]
        reader = Reader(session.feed)
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert [event.origin.through for event in reader.of(RollingSummary)] == [0, 2]
        assert len(home.summarizers.asked) == 1  # the final one, of the whole


async def test_rolling_summaries_count_talk_and_not_time(autojump_clock, tmp_path):
    """Sent faster than it was spoken, two minutes of talk are two minutes of talk."""
    async with house(tmp_path, rolling_s=20.0) as home:
        session = await home.live(summary="rolling")
        for _ in range(4):
            home.send(session, talk(8))
            await session.finalize()
            await trio.sleep(0.5)
        assert session.record.duration_s > 60
        assert len(home.summarizers.rolled) >= 2
        assert [at for new in home.summarizers.rolled for at in new] == list(range(home.summarizers.rolled[-1][-1] + 1))


async def test_a_rolling_summary_goes_on_where_a_killed_daemon_left_it(autojump_clock, tmp_path):
    async with house(tmp_path, rolling_s=10.0) as home:
        session = await home.live(summary="rolling")
        home.send(session, talk(2))
        await Reader(session.feed).until(lambda one: isinstance(one, RollingSummary))
    async with house(tmp_path, rolling_s=10.0) as home:
        again = home.manager.find(session.id)
        again.produce(home.producer)
        home.send(again, talk(1))
        reader = Reader(again.feed)
        await reader.until(lambda one: isinstance(one, RollingSummary) and one.origin.through == 2)
        assert home.summarizers.rolled == [[2]]


async def test_a_rolling_summary_that_cannot_be_had_is_left_out_and_comes_later(autojump_clock, tmp_path):
    async with house(tmp_path, rolling_s=10.0) as home:
        home.summarizers.away = "away"
        home.summarizers.wait_s = 100.0
        session = await home.live(summary="rolling")
        home.send(session, talk(1))
        await trio.sleep(90)
        assert home.summarizers.rolled == [[0]]  # a breaker that is open is not asked again and again
        home.summarizers.away = None
        home.summarizers.back.set()
        await Reader(session.feed).until(lambda one: isinstance(one, RollingSummary))
        assert home.summarizers.rolled == [[0], [0]]


async def test_a_fault_in_a_rolling_summary_costs_no_session(autojump_clock, tmp_path, monkeypatch):
    async with house(tmp_path, rolling_s=10.0) as home:

        async def fault(*_):
            raise ZeroDivisionError

        monkeypatch.setattr(home.summarizers, "roll", fault)
        session = await home.live(summary="rolling")
        home.send(session, talk(1))
        await trio.sleep(30)
        assert session.record.state is State.PROCESSING
        reader = Reader(session.feed)
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert len(reader.of(FinalSummary)) == 1


async def test_a_session_that_waits_goes_on_as_soon_as_a_summarizer_is_back(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.summarizers.away = "the language model is away"
        home.summarizers.wait_s = 250.0
        session = await home.live(summary="final")
        home.send(session, talk(1))
        await session.end()
        reader = Reader(session.feed)
        await reader.until(lambda one: isinstance(one, SessionWarning))
        await trio.sleep(100)
        assert len(home.summarizers.asked) == 1
        home.summarizers.away = None
        began = trio.current_time()
        home.summarizers.back.set()
        await reader.until_state(State.COMPLETED)
        assert trio.current_time() - began < 1


async def test_what_the_transcript_does_not_contain_is_warned_of_before_the_summary(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.summarizers.unverified = ["Zebedee", "4711"]
        session = await home.live(summary="final")
        home.send(session, talk(1))
        await session.end()
        reader = Reader(session.feed)
        await reader.until_state(State.COMPLETED)
        (warning,) = reader.of(SessionWarning)
        assert warning.code == Code.UNVERIFIED
        assert '"Zebedee", "4711"' in warning.message
        assert reader.events.index(warning) < reader.events.index(reader.of(FinalSummary)[0])


async def test_of_two_summaries_only_the_one_that_began_last_is_shown(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session, _ = await completed(home)
        journal = await home.manager.journal("me", session.id)
        reader = Reader(journal.feed, journal.feed.seq)
        gate = home.summarizers.gate = trio.Event()
        await home.manager.summarize("me", session.id, SummaryOptions())
        await trio.testing.wait_all_tasks_blocked()
        await reader.take()
        home.summarizers.gate = None
        await home.manager.summarize("me", session.id, SummaryOptions())
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
        await reader.take()
        deltas = [(event.text, event.restart) for event in reader.of(SummaryDelta)]
        assert deltas == [("They spoke.", True), ("They spoke.", True)]
        assert len(await home.store.summaries(session.id, limit=10)) == 2
