from __future__ import annotations

import random
import time
from contextlib import asynccontextmanager

import pytest
import trio

from convo.messages import (
    AudioAck,
    CreateSession,
    SessionWarning,
    SpeechStarted,
    State,
    SummaryDelta,
    TranscriptPartial,
    TranscriptSegment,
)
from convod.sessions.feed import DELTA_CHARACTERS, PAGE, RECENT, TRANSIENT, EventLog
from convod.store import Database, Record, SessionStore


class Source:
    """A feed over a real store, and the events that go through it."""

    def __init__(self, store: SessionStore, record: Record) -> None:
        self.store, self.record = store, record
        self.feed = EventLog(record.id, store, 0)
        self.segments = 0

    async def store_event(self, event) -> None:
        await self.store.save(self.record, [event])
        self.record.seq = event.seq
        self.feed.append(event)

    async def warn(self, count: int = 1) -> None:
        for _ in range(count):
            seq = self.feed.seq + 1
            await self.store_event(SessionWarning(session=self.record.id, seq=seq, code="c", message=f"{seq}"))

    async def segment(self) -> None:
        self.segments += 1
        await self.store_event(
            TranscriptSegment(
                session=self.record.id, seq=self.feed.seq + 1, segment=self.segments - 1, start=0.0, end=1.0,
                text="so", language="en", confidence=1.0, lag_ms=0.0,
            )
        )  # fmt: skip

    def partial(self, text: str) -> None:
        self.feed.send(
            TranscriptPartial(session=self.record.id, segment=0, start=0.0, end=1.0, stable="", tentative=text)
        )


@asynccontextmanager
async def source(tmp_path):
    database = Database(tmp_path / "convod.sqlite")
    database.open()
    store = SessionStore(database)
    record = Record(
        id="00000000feed", owner="me", kind="live", title="", state=State.PENDING, created=time.time(),
        config=CreateSession(kind="live"),
    )  # fmt: skip
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.run)
            await store.create(record)
            yield Source(store, record)
            nursery.cancel_scope.cancel()
    finally:
        database.close()


def attach(feed: EventLog, after_seq: int = 0):
    return feed.subscribe(after_seq, lambda: None)


async def all_of(attachment) -> list:
    events = []
    while attachment.ready:
        events += await attachment.take()
    return events


async def test_a_reader_is_woken_for_every_event(tmp_path):
    async with source(tmp_path) as talk:
        rung = []
        talk.feed.subscribe(0, lambda: rung.append(1))
        await talk.warn()
        talk.partial("so")
        assert len(rung) == 2


async def test_events_come_in_the_order_in_which_they_happened(tmp_path):
    async with source(tmp_path) as talk:
        reader = attach(talk.feed)
        talk.feed.send(SpeechStarted(session=talk.record.id, time=0.1))
        await talk.warn()
        talk.partial("so")
        await talk.segment()
        talk.feed.send(SpeechStarted(session=talk.record.id, time=2.0))
        talk.partial("we")
        kinds = [type(event) for event in await all_of(reader)]
        assert kinds == [SpeechStarted, SessionWarning, TranscriptSegment, SpeechStarted, TranscriptPartial]
        assert not reader.ready
        assert await reader.take() == []


@pytest.mark.parametrize("after", [0, 1, RECENT - 1, RECENT, RECENT + 1, 3 * PAGE - 1, 3 * PAGE])
async def test_a_reader_that_comes_back_gets_exactly_what_it_missed(tmp_path, after):
    async with source(tmp_path) as talk:
        await talk.warn(3 * PAGE)
        missed = await all_of(attach(talk.feed, after))
        assert [event.seq for event in missed] == list(range(after + 1, 3 * PAGE + 1))


async def test_a_reader_that_claims_to_know_the_future_gets_what_comes_next(tmp_path):
    async with source(tmp_path) as talk:
        await talk.warn(2)
        reader = attach(talk.feed, 1000)
        assert not reader.ready
        await talk.warn()
        assert [event.seq for event in await all_of(reader)] == [3]


async def test_what_happens_while_a_reader_catches_up_comes_after_and_once(tmp_path):
    async with source(tmp_path) as talk:
        await talk.warn(2 * PAGE)
        reader = attach(talk.feed)
        first = await reader.take()
        talk.partial("so")
        await talk.warn(2)
        rest = await all_of(reader)
        seqs = [event.seq for event in first + rest if isinstance(event, SessionWarning)]
        assert seqs == list(range(1, 2 * PAGE + 3))
        at = next(i for i, event in enumerate(rest) if isinstance(event, TranscriptPartial))
        assert [event.seq for event in rest[at + 1 :]] == [2 * PAGE + 1, 2 * PAGE + 2]


async def test_of_captions_and_acknowledgements_only_the_newest_waits(tmp_path):
    async with source(tmp_path) as talk:
        reader = attach(talk.feed)
        for number in range(1000):
            talk.partial(str(number))
            talk.feed.send(AudioAck(session=talk.record.id, offset=number, credit=0))
        partial, ack = await all_of(reader)
        assert (partial.tentative, ack.offset) == ("999", 999)


async def test_a_segment_makes_the_caption_that_waits_needless(tmp_path):
    async with source(tmp_path) as talk:
        reader = attach(talk.feed)
        talk.partial("so")
        await talk.segment()
        assert [type(event) for event in await all_of(reader)] == [TranscriptSegment]


async def test_pieces_of_a_summary_are_joined_and_bounded(tmp_path):
    async with source(tmp_path) as talk:
        reader = attach(talk.feed)
        for piece in ("They ", "spoke", "."):
            talk.feed.send(SummaryDelta(session=talk.record.id, text=piece))
        (delta,) = await all_of(reader)
        assert delta.text == "They spoke."
        for _ in range(20):
            talk.feed.send(SummaryDelta(session=talk.record.id, text="x" * 10_000))
        (delta,) = await all_of(reader)
        assert len(delta.text) == DELTA_CHARACTERS


async def test_a_piece_that_begins_a_summary_anew_takes_the_place_of_those_that_wait(tmp_path):
    async with source(tmp_path) as talk:
        reader = attach(talk.feed)
        for piece, restart in [("They ", True), ("sp", False), ("We", True), (" spoke.", False)]:
            talk.feed.send(SummaryDelta(session=talk.record.id, text=piece, restart=restart))
        (delta,) = await all_of(reader)
        assert (delta.text, delta.restart) == ("We spoke.", True)
        talk.feed.send(SummaryDelta(session=talk.record.id, text=" All."))
        (delta,) = await all_of(reader)
        assert (delta.text, delta.restart) == (" All.", False)


async def test_a_summary_that_begins_anew_comes_after_the_warning_that_says_why(tmp_path):
    async with source(tmp_path) as talk:
        reader = attach(talk.feed)
        talk.feed.send(SummaryDelta(session=talk.record.id, text="They sp", restart=True))
        await talk.warn()
        talk.feed.send(SummaryDelta(session=talk.record.id, text="We", restart=True))
        talk.feed.send(SummaryDelta(session=talk.record.id, text=" spoke."))
        warning, delta = await all_of(reader)
        assert isinstance(warning, SessionWarning)
        assert (delta.text, delta.restart) == ("We spoke.", True)


async def test_a_reader_that_takes_nothing_costs_a_few_slots(tmp_path):
    async with source(tmp_path) as talk:
        reader = attach(talk.feed)
        for number in range(10 * TRANSIENT):
            talk.feed.send(SpeechStarted(session=talk.record.id, time=float(number)))
        await talk.warn(RECENT + 10)
        assert reader.pending <= TRANSIENT
        assert len(talk.feed.recent) == RECENT
        events = await all_of(reader)
        assert events[TRANSIENT - 1].time == 10 * TRANSIENT - 1
        assert [event.seq for event in events[TRANSIENT:]] == list(range(1, RECENT + 11))


async def test_after_detach_nothing_comes(tmp_path):
    async with source(tmp_path) as talk:
        reader = attach(talk.feed)
        talk.feed.unsubscribe(reader)
        talk.partial("so")
        assert not reader.ready
        talk.feed.unsubscribe(reader)  # twice is once


async def test_a_gap_among_stored_events_is_a_fault(tmp_path):
    async with source(tmp_path) as talk:
        with pytest.raises(AssertionError, match="gaps"):
            talk.feed.append(SessionWarning(session=talk.record.id, seq=2, code="c", message="m"))


@pytest.mark.parametrize("seed", range(5))
async def test_however_slow_a_reader_is_it_misses_no_stored_event_and_none_comes_twice(tmp_path, seed):
    dice = random.Random(seed)
    async with source(tmp_path) as talk:
        readers = [attach(talk.feed) for _ in range(3)]
        had: list[list] = [[] for _ in readers]
        for _ in range(120):
            await dice.choice([talk.warn, talk.segment])()
            talk.partial("so")
            for reader, events in zip(readers, had, strict=True):
                if dice.random() < 0.1:
                    events += await reader.take()
        for reader, events in zip(readers, had, strict=True):
            events += await all_of(reader)
            assert [event.seq for event in events if hasattr(event, "seq")] == list(range(1, 121))
