"""The newest label of each segment, whichever event it came with."""

from __future__ import annotations

import trio

from convo.messages import CreateSession, Label, SpeakerLabel, SpeakersRevised, State
from convod.store import Database, Record, SessionStore
from convod.store.sessions import PAGE


async def test_the_newest_label_counts(tmp_path):
    database = Database(tmp_path / "convod.sqlite")
    database.open()
    one = Record(
        id="00000000one", owner="me", kind="live", title="", state=State.PENDING, created=1.0,
        config=CreateSession(kind="live", speakers="auto"),
    )  # fmt: skip
    many = PAGE + 3
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.run)
        store = SessionStore(database)
        await store.create(one)
        assert await store.labels(one.id) == {}
        first = [SpeakerLabel(session=one.id, seq=1 + at, segment=at, speaker=1, confidence=0.5) for at in range(many)]
        await store.save(one, first)
        fresh = [Label(segment=0, speaker=2, confidence=1.0), Label(segment=2, speaker=3, confidence=0.75)]
        again = SpeakerLabel(session=one.id, seq=many + 2, segment=2, speaker=4, confidence=0.25)
        await store.save(one, [SpeakersRevised(session=one.id, seq=many + 1, labels=fresh), again])
        labels = await store.labels(one.id)
        nursery.cancel_scope.cancel()
    database.close()
    assert len(labels) == many
    assert labels[0] == fresh[0]
    assert labels[1] == Label(segment=1, speaker=1, confidence=0.5)
    assert labels[2] == Label(segment=2, speaker=4, confidence=0.25)
