"""Sessions that are over, put into a store as the daemon would have stored them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from convo.messages import (
    AudioFormat,
    CreateSession,
    DurableEvent,
    FinalSummary,
    Mark,
    SpeakerLabel,
    State,
    SummaryOptions,
    TranscriptSegment,
    Word,
)
from convod.store import Database, Record, SessionStore

SENTENCE = "We will ship the release on Friday and the budget is twelve thousand pounds."
SECONDS = 6.0


@asynccontextmanager
async def stored(state: Path) -> AsyncIterator[SessionStore]:
    """The store of a daemon that does not run."""
    await trio.Path(state).mkdir(parents=True, exist_ok=True)
    database = Database(state / "convod.sqlite")
    database.open()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.run)
            yield SessionStore(database)
            nursery.cancel_scope.cancel()
    finally:
        database.close()


async def put_talk(
    store: SessionStore,
    owner: str,
    session: str,
    segments: int,
    *,
    marks: int = 0,
    summaries: int = 0,
    words: bool = True,
    state: State = State.COMPLETED,
    keep_audio: bool = False,
    speakers: int = 0,
) -> None:
    """A talk of so many segments, six seconds each, with the times of its words; of so many speakers by turns."""
    record = Record(
        id=session,
        owner=owner,
        kind="file",
        title="Talk",
        state=state,
        created=time.time(),
        duration_s=segments * SECONDS,
        ended=True,
        config=CreateSession(
            kind="file", audio=AudioFormat(), summary=SummaryOptions(mode="off"), keep_audio=keep_audio
        ),
    )
    await store.create(record)
    events: list[DurableEvent] = [_segment(session, number, words=words) for number in range(segments)]
    events += [
        Mark(session=session, seq=len(events) + number + 1, time=float(number), text="m" * 200)
        for number in range(marks)
    ]
    events += [_summary(session, len(events) + number + 1) for number in range(summaries)]
    if speakers:
        events += [
            SpeakerLabel(
                session=session,
                seq=len(events) + number + 1,
                segment=number,
                speaker=1 + number % speakers,
                confidence=0.9,
            )
            for number in range(segments)
        ]
    record.segments = segments
    await _save(store, record, events)


async def _save(store: SessionStore, record: Record, events: Sequence[DurableEvent]) -> None:
    for at in range(0, len(events), 1000):
        piece = events[at : at + 1000]
        await store.save(record, piece)
        record.seq = piece[-1].seq


def _segment(session: str, number: int, *, words: bool) -> TranscriptSegment:
    start = number * SECONDS
    said = SENTENCE.split()
    step = SECONDS / len(said)
    timed = [
        Word(word=word, start=start + at * step, end=start + (at + 1) * step, confidence=0.9)
        for at, word in enumerate(said)
    ]
    return TranscriptSegment(
        session=session,
        seq=number + 1,
        segment=number,
        start=start,
        end=start + SECONDS,
        text=SENTENCE,
        language="en",
        confidence=0.9,
        lag_ms=0.0,
        words=timed if words else None,
    )


def _summary(session: str, seq: int) -> FinalSummary:
    return FinalSummary(
        session=session,
        seq=seq,
        provider="made up",
        model="m",
        title="Talk",
        summary=f"{SENTENCE}\n" * 100,
        key_points=[SENTENCE] * 20,
        action_items=[],
        keywords=["release", "budget"],
        language="en",
    )
