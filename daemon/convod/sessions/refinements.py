"""Second hearings: doubtful segments of a session that is over, heard again by a larger model, from kept audio.

In: a session's journal and what is wanted; what users correct meanwhile. Out: `segment_corrected` events that say which
model, progress, and `session_refined` at the end. Which windows are heard is decided in `speech.refine`; each waits for
a turn of its own in the queue of files, as a file of low priority. What was heard is stored with the session, in one
transaction with its corrections: a daemon that is killed goes on behind them. What a user corrected stays.

With `sessions.refine_model`, sessions are taken by themselves whenever nothing else was to be done for a while, and
wait as soon as there is.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Final

import msgspec
import trio

from convo.messages import (
    Code,
    DurableEvent,
    RefineProgress,
    SegmentCorrected,
    SessionRefined,
    SessionRenamed,
    SpeakerLabel,
    State,
)
from convod.engine import models
from convod.engine.models import ModelNotHere, UnknownModel
from convod.engine.pool import NoRoomForModel
from convod.engine.supervisor import Engine, Outcome, Refusal
from convod.sessions.file_queue import FileJob
from convod.sessions.journal import SEGMENTS, Journal
from convod.sessions.kept_audio import DecoderDied, KeptAudio, kept_audio
from convod.sessions.lengths import check_text
from convod.sessions.registry import Registry
from convod.sessions.segments import title_corrected
from convod.sessions.session import Refused, SessionDeps, SessionFailed
from convod.sessions.vocabulary import hotwords_of, with_rules
from convod.speech.decoding import DecodeJob, Hypothesis, Kind, Options, Window
from convod.speech.refine import RefineWindow, Said, corrections, plan
from convod.store import BY_USER, LeaseLost, Record, Refining, SpoolFailed, StoreFailed

log = logging.getLogger("convod.sessions")

BY_MODEL: Final = "model:"
"""Before the name of the model that corrected something."""

NOT_KEPT: Final = (
    "the audio of this session was not kept, so it cannot be heard again: keep that of later ones with "
    "sessions.keep_audio in the daemon's settings, or keep_audio of a session"
)

LOOK_S: Final = 5.0
"""Between two looks whether the machine is idle, or has room for another model."""

TRIES: Final = 3
"""How often the process that decodes a file may end early without a window between."""

PAUSE_S: Final = 2.0


class Refinements:
    """`run` owns their tasks.

    Args:
        registry: Which sessions run, and what they work with.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._nursery: trio.Nursery | None = None
        self._running: dict[str, _Run] = {}
        self._looked: set[str] = set()  # kept audio that is not for the idle machine, or was already
        self._busy_at = float("-inf")
        self._missed = ""  # the model that nobody was told is not here
        self.next_look = trio.Event()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hear sessions again until cancelled."""
        self._busy_at = trio.current_time()
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            while True:
                await trio.sleep(LOOK_S)
                self.next_look.set()
                self.next_look = trio.Event()
                try:
                    await self._look()
                except (StoreFailed, OSError) as error:
                    log.error("no session was looked for to be heard again: %s", error)

    def count(self, owner: str) -> int:
        """Count an owner's sessions that are being heard again because somebody asked for it."""
        return sum(run.journal.record.owner == owner and not run.refining.idle for run in self._running.values())

    # --- what users ask for -------------------------------------------------------------------------------

    def check(self, record: Record, model: str | None) -> str:
        """Return the model to hear a session with; `model` is the one that is wanted.

        Raises:
            Refused: the session cannot be heard again, or not by that model.
        """
        check_text("model", model)
        deps = self._registry.deps_now()
        run = self._running.get(record.id)
        if run is not None and not run.refining.idle:
            raise Refused(Code.BUSY, "this session is being heard again already; wait for that, or cancel it")
        if record.state is not State.COMPLETED:
            raise Refused(Code.BAD_STATE, f"the session is {record.state}; it can be heard again once it is completed")
        if not record.ended or not deps.spool.size(record.id):
            raise Refused(Code.BAD_STATE, NOT_KEPT)
        if model is None:
            model = _largest(deps)
        elif model == record.config.model:
            raise Refused(Code.BAD_REQUEST, f"model {model!r} is the one that heard it first; name a larger one")
        try:
            _check_here(deps, model)
        except UnknownModel as error:
            raise Refused(Code.UNKNOWN_MODEL, str(error)) from error
        except ModelNotHere as error:
            raise Refused(Code.MODEL_UNAVAILABLE, str(error)) from error
        language = record.config.language or record.heard_language
        if language is not None and language not in (known := models.languages(model)):
            raise Refused(
                Code.BAD_REQUEST,
                f"model {model!r} does not know language {language!r}, which is spoken; it knows {', '.join(known)}",
            )
        return model

    async def ask(self, journal: Journal, refining: Refining) -> None:
        """Store that a session is to be heard again, and begin.

        Raises:
            StoreFailed: it was not stored.
        """
        await self.forget(journal.id)  # what the idle machine does
        await journal.publish_all([], wait=False, refining=refining)
        self._start(journal)

    def resume(self, journal: Journal) -> None:
        """Go on with what an earlier daemon did not finish."""
        if journal.record.refining is not None and journal.id not in self._running:
            log.info("session is heard again from where it was", extra={"session": journal.id})
            self._start(journal)

    async def cancel(self, journal: Journal) -> None:
        """Stop to hear a session; what was corrected stays.

        Raises:
            Refused: nobody does.
        """
        if journal.record.refining is None:
            raise Refused(Code.BAD_STATE, "this session is not being heard again; there is nothing to cancel")
        await self.forget(journal.id)
        await _end(journal, Code.CANCELLED, "it was cancelled; what was corrected stays")

    async def forget(self, session: str) -> None:
        """Stop to hear a session, without a word."""
        if (run := self._running.get(session)) is not None:
            run.scope.cancel()
            await run.ended.wait()

    def corrected(self, session: str, segment: int) -> None:
        """Note that a user is about to correct a segment: no model does any more."""
        if (run := self._running.get(session)) is not None:
            run.by_user.add(segment)

    # --- the idle machine ---------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nobody has wanted anything heard for a while."""
        now = trio.current_time()
        working = (State.PENDING, State.PROCESSING)
        if any(session.record.state in working for session in self._registry) or any(
            not run.refining.idle for run in self._running.values()
        ):
            self._busy_at = now
        return now - self._busy_at >= self._registry.deps_now().settings.refine_idle_s

    async def _look(self) -> None:
        """Take the next session that the idle machine may hear again, one at a time."""
        deps = self._registry.deps_now()
        idle, model = self.idle, deps.settings.refine_model
        if not idle or not model or self._running or not self._is_here(deps, model):
            return
        there = set(deps.spool.sessions())
        self._looked &= there
        for session in sorted(there - self._looked):
            self._looked.add(session)
            try:
                journal = await self._registry.journal(None, session)
                wanted = self.check(journal.record, model)
            except Refused:
                continue
            if journal.record.refining is None and not await journal.store.count(session, SessionRefined):
                await self.ask(journal, Refining(model=wanted, below=deps.settings.refine_below, idle=True))
                return

    def _is_here(self, deps: SessionDeps, model: str) -> bool:
        try:
            _check_here(deps, model)
        except (UnknownModel, ModelNotHere) as error:
            if model != self._missed:
                log.warning("no session is heard again by itself (sessions.refine_model): %s", error)
            self._missed = model
            return False
        return True

    # --- their tasks --------------------------------------------------------------------------------------

    def _start(self, journal: Journal) -> None:
        assert self._nursery is not None, "run has started"
        run = self._running[journal.id] = _Run(journal, self)
        self._nursery.start_soon(self._keep, run)

    async def _keep(self, run: _Run) -> None:
        journal = run.journal
        try:
            with run.scope:
                try:
                    await run.hear()
                except LeaseLost as error:
                    log.warning("session is left to another convod: %s", error, extra={"session": journal.id})
                except SessionFailed as error:
                    await _end(journal, error.code, str(error))
                except SpoolFailed as error:
                    await _end(journal, Code.INTERNAL, f"{error.strerror}; look at the daemon's disk")
                except Exception:
                    # A fault here must not end the daemon.
                    log.exception("session was not heard again", extra={"session": journal.id})
                    await _end(journal, Code.INTERNAL, "convod made a mistake; its log says which")
        finally:
            self._running.pop(journal.id, None)
            run.ended.set()

    @property
    def deps(self) -> SessionDeps:
        """What a window works with that is heard now."""
        return self._registry.deps_now()


class _Run:
    """A session that is heard again."""

    def __init__(self, journal: Journal, house: Refinements) -> None:
        assert journal.record.refining is not None
        self.journal = journal
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.by_user: set[int] = set()
        self._house = house
        self._key = f"{journal.id}/refine"  # the session itself may be in the queue, too: it is retried

    @property
    def refining(self) -> Refining:
        """How far it is."""
        refining = self.journal.record.refining
        return refining if refining is not None else Refining(model="", below=0.0)

    async def hear(self) -> None:
        """Hear all windows that are left, and say that it is done."""
        journal = self.journal
        # Corrections that users made before this run was known are stored once this is; `corrected` notes the others.
        await journal.save()
        for one in await journal.read(partial(journal.store.of_kind, journal.id, SegmentCorrected)):
            if one.by == BY_USER:
                self.by_user.add(one.segment)
        windows = plan(await self._said(), self.refining.below)
        deps, record = self._house.deps, journal.record
        tries, reached = 0, self.refining.done
        while self.refining.done < len(windows):
            await self._wait_idle()
            if not deps.spool.size(record.id):
                raise SessionFailed(Code.BAD_STATE, "the audio is not here any more; what was corrected stays")
            try:
                async with kept_audio(deps.spool, record, deps.limits.file_s) as audio:
                    await self._hear_windows(audio, windows)
            except DecoderDied as death:
                tries = tries + 1 if self.refining.done == reached else 1
                reached = self.refining.done
                if tries == TRIES:
                    raise SessionFailed(
                        Code.INTERNAL, f"the file's decoder was ended {TRIES} times ({death})"
                    ) from death
                await trio.sleep(PAUSE_S * tries)
        await _end(journal)

    async def _said(self) -> list[Said]:
        """The segments as they were sent, and where each was said."""
        journal = self.journal
        channels: dict[int, int] = {}
        if journal.record.config.channels == "split":
            for label in await journal.read(partial(journal.store.of_kind, journal.id, SpeakerLabel)):
                channels.setdefault(label.segment, label.speaker)  # the first is its channel, later ones are a user's
        said: list[Said] = []
        after = -1
        while page := await journal.read(partial(journal.store.segments, journal.id, after, SEGMENTS)):
            after = page[-1].segment
            said += [
                Said(
                    one.segment,
                    one.start,
                    one.end,
                    one.text if one.original is None else one.original,
                    one.language,
                    one.confidence,
                    channels.get(one.segment, 0),
                )
                for one in page
            ]
        return said

    async def _wait_idle(self) -> None:
        while self.refining.idle and not self._house.idle:
            await self._house.next_look.wait()

    async def _hear_windows(self, audio: KeptAudio, windows: list[RefineWindow]) -> None:
        """Hear windows until all are done, or until the idle machine is wanted for something else."""
        languages = models.languages(self.refining.model)
        total_s = round(sum(window.seconds for window in windows), 3)
        for window in windows[self.refining.done :]:
            if self.refining.idle and not self._house.idle:
                return  # with its audio: a decoder need not wait for hours
            texts: dict[int, str] = {}
            heard_s = 0.0
            if window.language in languages and not all(one.segment in self.by_user for one in window.said):
                sound = await audio.cut(window.begin, window.end, window.channel)
                if sound and (hypothesis := await self._decode(window, sound, audio.rate)) is not None:
                    texts = corrections(window, hypothesis, self._house.deps.hallucination_filter)
                    heard_s = window.seconds
            await self._publish(texts, heard_s)
            progress = RefineProgress(
                session=self.journal.id, model=self.refining.model, done_s=self.refining.heard_s, total_s=total_s
            )
            self.journal.feed.send(progress)

    async def _decode(self, window: RefineWindow, sound: bytes, rate: int) -> Hypothesis | None:
        """The text of a window, at a turn of its own; None if the engine cannot make any of it."""
        record, config = self.journal.record, self.journal.record.config
        queued = FileJob(session=self._key, owner=record.owner, created=record.created, priority="low")
        options = Options(
            language=window.language,
            task=config.task,
            prompt=config.prompt,
            hotwords=hotwords_of(config),
            words=True,
            beam=self._house.deps.settings.beam,
            deterministic=True,
        )
        job = DecodeJob(self._key, Kind.FILE, Window(audio=sound), rate, options, owner=record.owner)
        while True:
            async with self._house.deps.file_queue.turn(queued):
                engine = self._engine()
                if engine is not None:
                    outcome = await self._outcome_of(job, engine)
                    break
            await trio.sleep(LOOK_S)
        if not isinstance(outcome, Refusal):
            return outcome
        if outcome.code is Code.MODEL_UNAVAILABLE:
            raise SessionFailed(outcome.code, outcome.message)
        log.warning("a window was not heard again: %s", outcome.message, extra={"session": self.journal.id})
        return None

    def _engine(self) -> Engine | None:
        """The engine of the model; None while the machine has no room for it."""
        deps, model = self._house.deps, self.refining.model
        if deps.engine_pool is None or model == deps.engine.status().model:
            return deps.engine
        try:
            return deps.engine_pool.get(model)
        except NoRoomForModel:
            return None
        except (UnknownModel, ModelNotHere) as error:
            raise SessionFailed(Code.MODEL_UNAVAILABLE, str(error)) from error

    async def _outcome_of(self, job: DecodeJob, engine: Engine) -> Outcome:
        outcomes: list[Outcome] = []
        heard = trio.Event()

        def deliver(job: DecodeJob, outcome: Outcome) -> None:
            outcomes.append(outcome)
            heard.set()

        engine.join(self._key, owner=job.owner, live=False)
        try:
            await engine.wait_ready()
            engine.submit(job, deliver)
            await heard.wait()
        finally:
            engine.forget(self._key)
        return outcomes[0]

    async def _publish(self, texts: dict[int, str], heard_s: float) -> None:
        """Store that a window is done, and with it what it corrects."""
        journal, record = self.journal, self.journal.record
        texts = await self._changes(texts)
        title = await journal.read(partial(title_corrected, journal, texts)) if texts else None
        # No checkpoint from here until the write has its place: what a user corrects after that comes after it.
        texts = {segment: text for segment, text in texts.items() if segment not in self.by_user}
        by = f"{BY_MODEL}{self.refining.model}"
        events: list[tuple[type[DurableEvent], dict[str, Any]]] = [
            (SegmentCorrected, {"segment": segment, "text": text, "by": by}) for segment, text in texts.items()
        ]
        changes: dict[str, Any] = {}
        if title is not None:
            events.append((SessionRenamed, {"title": title}))
            changes["title"] = title
        assert record.refining is not None
        refining = msgspec.structs.replace(
            record.refining,
            done=record.refining.done + 1,
            heard_s=round(record.refining.heard_s + heard_s, 3),
            corrected=record.refining.corrected + len(texts),
        )
        await journal.publish_all(events, refining=refining, **changes)

    async def _changes(self, texts: dict[int, str]) -> dict[int, str]:
        """The corrections that change how a segment reads, by the rules of the session."""
        journal = self.journal
        changes: dict[int, str] = {}
        for segment, text in texts.items():
            text = with_rules(journal.record.config, text)
            (now,) = await journal.read(partial(journal.store.segments, journal.id, segment - 1, 1))
            if now.text != text:
                changes[segment] = text
        return changes


async def _end(journal: Journal, code: Code | None = None, message: str | None = None) -> None:
    """Say that nobody hears a session again any more, and why if it is not done."""
    refining = journal.record.refining
    if refining is None:
        return
    await journal.publish(
        SessionRefined,
        changes={"refining": None},
        model=refining.model,
        heard_s=refining.heard_s,
        corrected=refining.corrected,
        code=None if code is None else str(code),
        message=message,
    )
    log.info("session was heard again", extra={"session": journal.id, "corrected": refining.corrected})


def _largest(deps: SessionDeps) -> str:
    """The largest model here, if it is larger than the daemon's own."""
    own = deps.engine.status().model
    try:
        least = models.find(own).size_bytes
    except (UnknownModel, ModelNotHere):
        least = 0
    sizes = {one.name: one.size_bytes for one in models.here()}
    best = max(sizes, key=sizes.__getitem__)
    if sizes[best] <= least or best == own:
        raise Refused(
            Code.MODEL_UNAVAILABLE, "no larger model is on this machine; fetch one: `convo models pull small`"
        )
    return best


def _check_here(deps: SessionDeps, model: str) -> None:
    """Raise UnknownModel or ModelNotHere for a model that cannot be loaded here."""
    if model == deps.engine.status().model:
        return
    if deps.engine_pool is None:
        raise UnknownModel(f"this daemon runs no model but {deps.engine.status().model!r}")
    deps.engine_pool.check(model)
