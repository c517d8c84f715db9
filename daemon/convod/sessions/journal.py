"""Publish what happens in a session: its record, its stored events, its summaries.

In: events and changes of the record. Out: first to the store, then to subscribers. It decides nothing.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
import trio

from convo.messages import (
    Code,
    DurableEvent,
    FinalSummary,
    RollingSummary,
    Segment,
    SessionRenamed,
    SessionState,
    SessionWarning,
    State,
    SummaryDelta,
    SummaryOptions,
    TranscriptSegment,
)
from convod.auto_reset_event import AutoResetEvent
from convod.hooks import Hooks
from convod.metrics import SessionMetrics
from convod.sessions.feed import EventLog
from convod.sessions.speaker_names import named
from convod.store import AlreadyStored, InDoubt, LeaseLost, Record, Store, StoreAway, StoreFailed
from convod.summary import Summarizers, SummarizerUnavailable, Transcript

log = logging.getLogger("convod.sessions")

R = TypeVar("R")

SEGMENTS: Final = 500
"""Segments that are read from the store at once for a summary."""

NEXT: Final[dict[State, frozenset[State]]] = {
    State.PENDING: frozenset({State.PROCESSING, State.FAILED, State.CANCELLED}),
    State.PROCESSING: frozenset({State.TRANSCRIBED, State.FAILED, State.CANCELLED}),
    State.TRANSCRIBED: frozenset({State.COMPLETED, State.CANCELLED}),
    State.COMPLETED: frozenset(),
    State.FAILED: frozenset({State.PENDING}),
    State.CANCELLED: frozenset(),
}
"""From each state, the states that may follow."""


Change = Callable[[Record], None]
"""Changes a record in its turn, before it is stored."""

MakeRoom = Callable[[], None]
"""Frees what it can on the disk."""


class JournalDeps(msgspec.Struct, frozen=True):
    """What a journal works with; shared by all."""

    store: Store
    summarizers: Summarizers
    metrics: SessionMetrics = msgspec.field(default_factory=SessionMetrics)
    hooks: Hooks | None = None


class Journal:
    """The published side of one session."""

    def __init__(self, record: Record, deps: JournalDeps) -> None:
        self.record = record
        self.store = deps.store
        self.feed = EventLog(record.id, deps.store, record.seq, keeper=self)
        self._deps = deps
        self.owned = deps.store.leases is None
        """Whether this convod alone writes it, and `record` is as it is stored."""
        self.info = record.info
        """What lists say of the session: as it is stored, which `record` may be ahead of while it is being stored."""
        self._writing = trio.Lock()
        self._segment_stored = AutoResetEvent()
        self._preview: _Preview | None = None  # of the summary that was begun last
        self._failure: StoreFailed | None = None  # why what is to be stored waits
        # Events that may be stored or not, and what changed with them. Readers at another convod see them if they are:
        # so no others may take their places.
        self._doubt: tuple[list[DurableEvent], dict[str, Any]] | None = None
        self._impatient: set[trio.CancelScope] = set()
        self._again = AutoResetEvent()  # a write that waits should be retried now

    @property
    def id(self) -> str:
        """The session's id."""
        return self.record.id

    async def publish(
        self,
        kind: type[DurableEvent],
        *,
        changes: Mapping[str, Any] | None = None,
        also: Change | None = None,
        durable: bool = False,
        make_room: MakeRoom | None = None,
        wait: bool = True,
        **fields: Any,
    ) -> None:
        """Store an event and the record with its `changes`, then send the event to subscribers.

        `also` changes the record further, from what it is by then. If `durable`, a power cut does not undo it. Waits
        while the store has no room: what is not stored is not sent, and nothing is lost. `make_room` is called
        once, when it has none.

        Raises:
            StoreFailed: it has no room and `wait` is false; nothing has changed.
        """
        await self.publish_all(
            [(kind, fields)], also, durable=durable, make_room=make_room, wait=wait, **(changes or {})
        )

    async def publish_all(
        self,
        events: Sequence[tuple[type[DurableEvent], dict[str, Any]]],
        also: Change | None = None,
        *,
        durable: bool = False,
        make_room: MakeRoom | None = None,
        wait: bool = True,
        title_if_none: str = "",
        **changes: Any,
    ) -> None:
        """Store several events, or none, and the record with its changes as one, then send them; as `publish` does.

        `title_if_none`: the session's title from now on if it has none, and no user wants it so.
        """
        async with self._turn(wait):
            if title_if_none and not self.record.title and self.record.config.title is None:
                changes["title"] = title_if_none
                events = [*events, (SessionRenamed, {"title": title_if_none})]
            while True:
                await self._own(wait)
                await self._settle_doubt(wait)
                over = self.record.state.final
                before = {name: getattr(self.record, name) for name in changes}
                # Not before it is their turn: a checkpoint behind a segment must not be stored without it.
                for name, value in changes.items():
                    setattr(self.record, name, value)
                if also is not None:
                    also(self.record)
                made = [
                    kind(session=self.id, seq=seq, **fields)
                    for seq, (kind, fields) in enumerate(events, self.feed.seq + 1)
                ]
                try:
                    await self._save(made, changes, durable=durable, make_room=make_room, wait=wait)
                except (StoreFailed, trio.Cancelled) as error:
                    for name, value in before.items():
                        setattr(self.record, name, value)
                    if isinstance(error, LeaseLost) and over:
                        continue  # another convod has written it meanwhile, and is done
                    raise
                break
            self._stored(made)

    def _stored(self, events: Sequence[DurableEvent]) -> None:
        for event in events:
            self.record.seq = event.seq
            self.feed.append(event)
        if any(isinstance(event, TranscriptSegment) for event in events):
            self._segment_stored.set()

    async def _settle_doubt(self, wait: bool) -> None:
        """Find out whether what an earlier write was in doubt about is stored; if so, it has happened."""
        if self._doubt is None:
            return
        events, changes = self._doubt
        try:
            await self._save([], wait=wait)
        except AlreadyStored:
            self._doubt = None
            for name, value in changes.items():
                setattr(self.record, name, value)
            self.info = self.record.info
            self._stored(events)
            self._tell_hooks(events)

    async def save(self, *, durable: bool = False, wait: bool = True) -> None:
        """Store the record as it is; if `durable`, so that a power cut takes nothing of it.

        Raises:
            StoreFailed: the store has no room and `wait` is false.
        """
        async with self._turn(wait):
            await self._own(wait)
            await self._settle_doubt(wait)
            await self._save([], durable=durable, wait=wait)

    def refresh(self, record: Record) -> None:
        """Take over what another convod has stored of this session."""
        if self.owned:
            return
        self._doubt = None
        for name in Record.__struct_fields__:
            setattr(self.record, name, getattr(record, name))
        self.info = self.record.info
        self.feed.move(record.seq)

    async def _own(self, wait: bool) -> None:
        """Get the right to write, if another convod may have it.

        Raises:
            LeaseLost: another convod works on the session.
            StoreFailed: the store is away and `wait` is false.
        """
        leases = self._deps.store.leases
        if self.owned or leases is None:
            return
        lease = partial(leases.lease, self.id)
        record = await (self.read(lease) if wait else lease())
        if record is None:
            raise LeaseLost("the session was deleted")
        self.refresh(record)
        self.owned = True

    @asynccontextmanager
    async def _turn(self, wait: bool) -> AsyncIterator[None]:
        """Let one write at a time; without `wait` do not wait for a writer that waits for the store."""
        if wait:
            await self._writing.acquire()
        else:
            with self.impatiently():
                await self._writing.acquire()
        try:
            yield
        finally:
            self._writing.release()

    @contextmanager
    def impatiently(self) -> Iterator[None]:
        """End the block as soon as a write of this session waits for the store: a client expects an answer.

        Raises:
            StoreFailed: it does.
        """
        self._again.set()  # a waiting write is retried at once: the disk may have recovered
        with trio.CancelScope() as scope:
            self._impatient.add(scope)
            try:
                yield
            finally:
                self._impatient.discard(scope)
        if scope.cancelled_caught:
            raise StoreFailed(str(self._failure or "the session waits for the store; look at the daemon's disk"))

    async def _save(
        self,
        events: list[DurableEvent],
        changes: Mapping[str, Any] | None = None,
        *,
        durable: bool = False,
        make_room: MakeRoom | None = None,
        wait: bool = True,
    ) -> None:
        pause = 0.5
        try:
            while True:
                try:
                    # What is being stored is stored and sent whatever is cancelled meanwhile, or seq would have a gap.
                    with trio.CancelScope(shield=True):
                        await self._store(events, durable)
                        self._doubt = None
                        self.info = self.record.info
                        # One that is over may be written by any convod.
                        self.owned = self._deps.store.leases is None or not self.record.state.final
                        return
                except LeaseLost:
                    self.owned = False
                    raise
                except StoreFailed as error:
                    if isinstance(error, InDoubt) and events:
                        self._doubt = events, dict(changes or {})
                    if not wait:
                        raise
                    if make_room is not None:
                        make_room()
                        make_room = None
                        continue
                    log.error("session waits for the store: %s", error, extra={"session": self.id})
                    self._failure = error
                for scope in self._impatient:
                    scope.cancel()
                with trio.move_on_after(pause):
                    await self._again.wait()
                pause = min(10.0, pause * 2)
        finally:
            self._failure = None

    async def _store(self, events: list[DurableEvent], durable: bool) -> None:
        hooks = self._deps.hooks
        end = hooks.end_in(events) if hooks is not None else None
        deliver = 0 if end is None else end.seq
        in_doubt = () if self._doubt is None else self._doubt[0]
        try:
            await self._deps.store.save(self.record, events, durable=durable, in_doubt=in_doubt, deliver=deliver)
        except AlreadyStored:
            if in_doubt is not events:
                raise
        self._tell_hooks(events)

    def _tell_hooks(self, events: Sequence[DurableEvent]) -> None:
        hooks = self._deps.hooks
        if hooks is not None and (end := hooks.end_in(events)) is not None:
            hooks.stored(end)

    async def enter(
        self,
        state: State,
        *,
        code: str | None = None,
        message: str | None = None,
        make_room: MakeRoom | None = None,
        wait: bool = True,
    ) -> None:
        """Publish a new state; `code` and `message` say why it failed. A power cut does not undo a final one: audio
        may be deleted for it. `make_room` and `wait`: see `publish`.
        """
        if self.record.seq:
            assert state in NEXT[self.record.state], f"{self.record.state} -> {state}"
        await self.publish(
            SessionState, changes={"state": state}, durable=state.final, make_room=make_room, wait=wait,
            state=state, code=code, message=message,
        )  # fmt: skip
        # logging reserves the name `message`.
        why = {} if code is None else {"code": code, "reason": message}
        log.info("session is %s", state, extra={"session": self.id, "kind": self.record.kind, **why})

    # --- summaries ----------------------------------------------------------------------------------------

    async def summarize(self, options: SummaryOptions, also: Change | None = None) -> None:
        """Write a summary of the transcript and publish it; before it, a warning about what it made up.

        `also`: what of the record changes with it.

        Raises:
            SummarizerUnavailable: not now.
        """
        transcript = Transcript(
            title=self._given_title,
            language=self.record.config.language or "",
            segments=await self._spoken(),
            owner=self.record.owner,
            speakers=await self._names(),
        )
        metrics, begun = self._deps.metrics, trio.current_time()
        preview = self._begin_preview()
        try:
            summary = await self._deps.summarizers.write(transcript, options, preview)
        except SummarizerUnavailable:
            preview.break_off()
            metrics.summaries["unavailable"] += 1
            raise
        metrics.summaries["written"] += 1
        metrics.summary_time.observe(trio.current_time() - begun)
        if summary.unverified:
            named = ", ".join(f'"{text}"' for text in summary.unverified)
            await self.publish(
                SessionWarning,
                code=str(Code.UNVERIFIED),
                message=f"the summary names what the transcript does not contain, look it up: {named}",
            )
        await self.publish(FinalSummary, also=also, **msgspec.structs.asdict(summary))

    async def _spoken(self) -> list[Segment]:
        """Return all segments but hidden ones, without the times of words, which take ten times as much memory."""
        spoken: list[Segment] = []
        after = -1
        while page := await self.read(partial(self.store.segments, self.id, after, SEGMENTS)):
            spoken += [msgspec.structs.replace(segment, words=None) for segment in page if segment.text]
            after = page[-1].segment
        return spoken

    async def _names(self) -> dict[int, str]:
        """Return what the speakers are called, by number; empty if the session does not tell speakers apart."""
        said = await self.read(partial(self.store.speakers, self.id))
        return {each.speaker: each.name for each in named(self.record.config, said)}

    async def read(self, read: Callable[[], Awaitable[R]]) -> R:
        """Read from the store, again and again while it is away: nobody waits for the answer."""
        pause = 0.5
        while True:
            try:
                return await read()
            except StoreAway as error:
                log.error("session waits for the store: %s", error, extra={"session": self.id})
            with trio.move_on_after(pause):
                await self._again.wait()
            pause = min(10.0, pause * 2)

    async def wait_summarizer(self, seconds: float) -> None:
        """Wait for so long, or until an unavailable summarizer is back."""
        with trio.move_on_after(seconds):
            await self._deps.summarizers.wait_back()

    async def roll(self, every_s: float) -> None:
        """Publish a summary of the talk so far whenever so much of it is new; until cancelled.

        `every_s`: seconds of talk; what is new and less is summed up once that much time has passed.
        """
        store = self.store
        config = self.record.config
        last = await self.read(partial(store.summaries, self.id, RollingSummary))
        rolling = self._deps.summarizers.rolling(self._given_title, last[0].summary if last else None)

        async def load(after: int) -> list[Segment]:
            return await self.read(partial(store.segments, self.id, after))

        done_s = self.record.duration_s if rolling.through >= 0 else 0.0
        while True:
            await self._new_talk(rolling.through, done_s, every_s)
            spoken_s = self.record.duration_s
            transcript = Transcript(
                title=self._given_title,
                language=await self._language(),
                segments=(),
                owner=self.record.owner,
                speakers=await self._names(),
            )
            preview = self._begin_preview()
            try:
                summary = await self._deps.summarizers.roll(rolling, transcript, load, config.summary, preview)
            except SummarizerUnavailable as error:
                preview.break_off()
                log.info("rolling summary left out: %s", error, extra={"session": self.id})
                await self.wait_summarizer(max(every_s, error.wait_s))
            except Exception:
                # The transcript is worth more than its summary: the session goes on.
                log.exception("rolling summary left out by a fault of convod", extra={"session": self.id})
                await trio.sleep(every_s)
            else:
                done_s = spoken_s
                await self.publish(RollingSummary, **msgspec.structs.asdict(summary))

    async def _new_talk(self, through: int, done_s: float, every_s: float) -> None:
        """Until there are segments after `through`, and `every_s` seconds of talk after `done_s` or of waiting."""
        waits_since = float("inf")
        while True:
            now = trio.current_time()
            if self.record.segments > through + 1:
                waits_since = min(waits_since, now)
                if self.record.duration_s - done_s >= every_s or now - waits_since >= every_s:
                    return
            with trio.move_on_at(waits_since + every_s):
                await self._segment_stored.wait()

    @property
    def _given_title(self) -> str:
        """The title that a user gave: one of the talk's own words tells a summarizer nothing."""
        return self.record.config.title or ""

    async def _language(self) -> str:
        if self.record.config.language:
            return self.record.config.language
        first = await self.read(partial(self.store.segments, self.id, limit=1))
        return first[0].language if first else ""

    def _begin_preview(self) -> _Preview:
        self._preview = _Preview(self)
        return self._preview

    def show(self, preview: _Preview, text: str, begins: bool) -> None:
        """Send a piece of a summary in progress, unless a later one has started: two would get mixed up."""
        if preview is self._preview:
            self.feed.send(SummaryDelta(session=self.id, text=text, restart=begins))


class _Preview:
    """What subscribers see of a summary while it is written; is a `Show`."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._shown = False

    def __call__(self, text: str, begins: bool) -> None:
        self._shown = True
        self._journal.show(self, text, begins)

    def break_off(self) -> None:
        """Void what was shown: this summary will not be finished, and another may take long to start."""
        if self._shown:
            self._journal.show(self, "", True)
