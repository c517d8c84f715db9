"""What a session has published: its record, its stored events, its summaries. Alive as long as something may come.

In: facts to publish. Out: first the store, then those attached. It hears nothing and decides nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import trio

from convo.messages import (
    DurableEvent,
    FinalSummary,
    RollingSummary,
    SessionState,
    State,
    Summary,
    SummaryDelta,
    SummaryOptions,
)
from convod.sessions.feed import Feed
from convod.store import Record, SessionStore, StoreFailed
from convod.summary import Summarizers, SummarizerUnavailable, Talk

log = logging.getLogger("convod.sessions")

NEXT: Final[dict[State, frozenset[State]]] = {
    State.PENDING: frozenset({State.PROCESSING, State.FAILED, State.CANCELLED}),
    State.PROCESSING: frozenset({State.TRANSCRIBED, State.FAILED, State.CANCELLED}),
    State.TRANSCRIBED: frozenset({State.COMPLETED, State.CANCELLED}),
    State.COMPLETED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}
"""From each state, the states that may follow."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What a journal writes with; shared by all."""

    store: SessionStore
    summarizers: Summarizers


class Journal:
    """The published side of one session."""

    def __init__(self, record: Record, desk: Desk) -> None:
        self.record = record
        self.feed = Feed(record.id, desk.store, record.seq)
        self.feed.keeper = self
        self._desk = desk
        self._writing = trio.Lock()

    @property
    def id(self) -> str:
        """The session's id."""
        return self.record.id

    async def publish(
        self, kind: type[DurableEvent], *, changes: Mapping[str, Any] | None = None, **fields: Any
    ) -> None:
        """Store an event and the record with its `changes`, then send the event to those attached.

        Waits while the store has no room: what is not stored is not sent, and what was heard is not lost.
        """
        async with self._writing:
            # Not before it is this event's turn: a mark that stands for a segment must not be stored without it.
            for name, value in (changes or {}).items():
                setattr(self.record, name, value)
            event = kind(session=self.id, seq=self.feed.seq + 1, **fields)
            await self._save([event])
            self.record.seq = event.seq
            self.feed.stored(event)

    async def save(self) -> None:
        """Store the record as it is."""
        async with self._writing:
            await self._save([])

    async def _save(self, events: list[DurableEvent]) -> None:
        pause = 0.5
        while True:
            try:
                # What is being stored is stored and sent whatever is cancelled meanwhile, or seq would have a gap.
                with trio.CancelScope(shield=True):
                    await self._desk.store.save(self.record, events)
                    return
            except StoreFailed as error:
                log.error("session waits for the store: %s", error, extra={"session": self.id})
            await trio.sleep(pause)
            pause = min(10.0, pause * 2)

    async def enter(self, state: State, **why: str) -> None:
        """Publish a new state; `why` is the code and message of a failure."""
        if self.record.seq:
            assert state in NEXT[self.record.state], f"{self.record.state} -> {state}"
        before, self.record.state = self.record.state, state
        try:
            about: dict[str, Any] = {"state": state, **why}
            await self.publish(SessionState, **about)
        except trio.Cancelled:
            self.record.state = before  # it was not published: what comes instead follows the old one
            raise
        # `message` is a name that logging keeps for itself.
        fields = {"reason" if key == "message" else key: value for key, value in why.items()}
        log.info("session is %s", state, extra={"session": self.id, "kind": self.record.kind, **fields})

    async def summarize(self, options: SummaryOptions) -> None:
        """Write a summary of the transcript and publish it.

        Raises:
            SummarizerUnavailable: not now.
        """
        summary = await self._write(options)
        await self.publish(FinalSummary, **msgspec.structs.asdict(summary))

    async def roll(self, every_s: float) -> None:
        """Publish a summary of the talk so far every so often, as long as there is new talk; until cancelled."""
        done = self.record.segments
        while True:
            await trio.sleep(every_s)
            if self.record.segments > done:
                done = self.record.segments
                try:
                    summary = await self._write(self.record.config.summary)
                except SummarizerUnavailable as error:
                    log.info("rolling summary left out: %s", error, extra={"session": self.id})
                else:
                    await self.publish(RollingSummary, **msgspec.structs.asdict(summary))

    async def _write(self, options: SummaryOptions) -> Summary:
        segments = await self._desk.store.segments(self.id)
        language = self.record.config.language or (segments[0].language if segments else "")
        talk = Talk(title=self.record.title, language=language, segments=segments)

        def on_delta(text: str) -> None:
            self.feed.say(SummaryDelta(session=self.id, text=text))

        return await self._desk.summarizers.write(talk, options, on_delta)
