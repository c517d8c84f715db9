"""One session from its creation to its final state: what live and file sessions have in common.

In: requests and audio from its owner. Out: events, stored and others, through its journal. Everything happens in the
session's own task (`run`); the methods for connections only note a request and wake it. Audio is in the spool before it
is acknowledged, a segment in the store before it is sent.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Annotated, Final, Protocol, TypeVar

import msgspec
import trio
from msgspec import Meta

from convo.messages import AudioAck, Code, CreateSession, SessionWarning, State, SummaryOptions
from convod.auto_reset_event import AutoResetEvent
from convod.engine.models import ModelNotHere, UnknownModel
from convod.engine.pool import EnginePool, NoRoomForModel
from convod.engine.supervisor import Engine, Outcome, Refusal
from convod.metrics import SessionMetrics
from convod.sessions.file_queue import FileQueue
from convod.sessions.journal import Journal
from convod.sessions.limits import LimitSettings
from convod.sessions.speaker_names import are_told
from convod.sessions.speakers import Speakers
from convod.speech.commands import Command
from convod.speech.decoding import DecodeJob, Hypothesis
from convod.speech.hallucination import HallucinationFilter
from convod.store import LeaseLost, NoRoom, OverQuota, Spool, SpoolFailed, StoreFailed
from convod.summary import Backoff, SummarizerUnavailable

log = logging.getLogger("convod.sessions")

F = TypeVar("F", bound=Exception)

NO_SPEECH_S: Final = 3.0
"""In less audio than this nobody need have spoken."""

LONGEST_PAUSE_S: Final = 300.0
"""Longest pause between two tries at a summary."""


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings `[sessions]`; seconds and bytes as their names say.

    `resume_s`: how long a live session waits for its client to come back. `idle_s`: a client that stops sending in
    mid-utterance gets its final after this and the endpoint. `rolling_s`: a rolling summary takes in so much new talk
    (or what there is, once it has waited so long). `patient_ms`: after so much silence an utterance ends whose text so
    far is in mid-sentence (0: at the endpoint, as any other). `credit_s`: audio that may wait for the engine, more than
    the longest utterance (28 s). `refine_model`: hears segments of a lower confidence than `refine_below` again, in
    sessions with kept audio, once there was nothing else to do for `refine_idle_s`; empty: none does.
    """

    resume_s: Annotated[float, Meta(ge=0, le=86400)] = 30.0
    idle_s: Annotated[float, Meta(gt=0, le=3600)] = 1.0
    patient_ms: Annotated[int, Meta(ge=0, le=10_000)] = 1000
    upload_idle_s: Annotated[float, Meta(gt=0, le=1e7)] = 3600.0
    files_at_once: Annotated[int, Meta(ge=1, le=64)] = 2
    credit_s: Annotated[float, Meta(ge=40, le=3600)] = 60.0
    upload_credit_bytes: Annotated[int, Meta(ge=65536, le=1 << 30)] = 8 << 20
    beam: Annotated[int, Meta(ge=1, le=20)] = 5
    rolling_s: Annotated[float, Meta(gt=0, le=86400)] = 120.0
    keep_audio: bool = False
    refine_model: str = ""
    refine_below: Annotated[float, Meta(ge=0, le=1)] = 0.75
    refine_idle_s: Annotated[float, Meta(ge=0, le=1e7)] = 300.0


class _CodedError(Exception):
    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class Refused(_CodedError):
    """A request or audio that cannot be taken: an error code and a sentence that says what to do."""


class SessionFailed(_CodedError):
    """The session cannot go on: an error code and a sentence."""


class SessionDeps(msgspec.Struct, frozen=True, kw_only=True):
    """What a session works with: shared by all, except `settings`, which stay as they were when it started."""

    spool: Spool
    engine: Engine
    engine_pool: EnginePool | None = None
    hallucination_filter: HallucinationFilter
    file_queue: FileQueue
    limits: LimitSettings
    settings: SessionSettings = SessionSettings()
    metrics: SessionMetrics = msgspec.field(default_factory=SessionMetrics)
    may_append: Callable[[], bool] = lambda: True
    """Whether no other convod can have begun to write the same audio."""

    def engine_for(self, model: str | None) -> Engine:
        """Return the engine for a model, or the daemon's own engine where that model is not available any more."""
        if self.engine_pool is not None and model is not None and model != self.engine.status().model:
            try:
                return self.engine_pool.get(model)
            except (UnknownModel, ModelNotHere, NoRoomForModel) as error:
                log.warning("a session is transcribed with the daemon's own model: %s", error)
        return self.engine


class Transcriber(Protocol):
    """The state machine of a live or file session."""

    def decoded(self, job: DecodeJob, hypothesis: Hypothesis) -> list[Command]:
        """Take the engine's result for a job."""

    def refused(self, job: DecodeJob, trouble: str) -> list[Command]:
        """Take note that the engine could not decode a job, and why (a sentence)."""


class Session:
    """A session that is not in a final state."""

    def __init__(self, journal: Journal, deps: SessionDeps) -> None:
        self.journal = journal
        self.record = journal.record
        self.feed = journal.feed
        self.producer: object | None = None
        self._deps = deps
        # Before everything else: where it cannot be opened, nothing has begun.
        self._spool = deps.spool.open(self.record.id, self.record.owner)
        transcribed = self.record.state is State.TRANSCRIBED
        self._engine = deps.engine if transcribed else deps.engine_for(self.record.config.model)
        if not transcribed:
            self._engine.join(self.id, owner=self.record.owner, live=self.record.kind == "live")
        self.speakers: Speakers | None = None
        if not transcribed and are_told(self.record.config):
            self.speakers = Speakers(self.record.config, deps.spool.voices(self.id), self.record.segments)
        self.record.audio_bytes = max(self.record.audio_bytes, self._spool.size)
        self.record.kept_bytes = self._spool.size
        self._outcomes: deque[tuple[DecodeJob, Outcome]] = deque()
        self._wakeup = AutoResetEvent()
        self._scope = trio.CancelScope()
        self._summarizing = trio.CancelScope()
        self._cancelled = False
        self._lost = False
        self._ending = False
        self._untaken = False  # the disk did not take all that the producer sent
        self._gone_at: float | None = trio.current_time()
        self._finished = trio.Event()
        self._settled = trio.Event()

    # --- for connections ----------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The session's id."""
        return self.record.id

    @property
    def audio_offset(self) -> int:
        """Bytes safely stored."""
        return self._spool.size

    @property
    def credit(self) -> int:
        """Bytes that may be sent beyond `audio_offset`; none once the session has ended."""
        return max(0, self._granted() - self._spool.size) if self.takes_audio else 0

    def produce(self, producer: object) -> None:
        """Let `producer` (a connection) send this session's audio, instead of the one that did before.

        It does not wait for the earlier one to go: a broken link may look alive for minutes.

        Raises:
            Refused: the session takes no more audio.
        """
        self._must_take_audio()
        self.producer = producer
        self._gone_at = None
        self._untaken = False  # attaching told the client how much is stored

    def producer_gone(self, producer: object = None) -> None:
        """Note that the connection that sent audio is gone; ignored if `producer` is given and is not that one."""
        if producer is not None and self.producer is not producer:
            return
        self.producer = None
        self._gone_at = trio.current_time()
        self._wakeup.set()

    def audio(self, producer: object, offset: int, *pieces: bytes) -> None:
        """Store and acknowledge bytes from a client, in the pieces they came in; they are transcribed soon.

        Raises:
            Refused: they do not continue what came before, or the disk is full; nothing was stored.
        """
        self._must_take_audio()
        if self.producer is not producer:
            raise Refused(Code.BAD_STATE, "this connection does not send the session's audio; attach with produce")
        for piece in pieces:
            self._check_audio(piece)
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        have = self._spool.size
        if offset > have:
            raise Refused(Code.BAD_AUDIO, f"audio is missing: send it from offset {have}, not {offset}")
        if offset + len(data) > self._granted():
            raise Refused(
                Code.OUT_OF_CREDIT, f"send at most {self.credit} bytes beyond offset {have}, then wait for audio_ack"
            )
        if fresh := data[have - offset :]:
            if not self._deps.may_append():
                self._untaken = True
                raise Refused(
                    Code.BUSY,
                    "another convod may have taken this session over, as the store is out of reach; attach again",
                )
            try:
                self._spool.append(fresh)
            except SpoolFailed as error:
                self._untaken = not isinstance(error, OverQuota)
                raise refused_by_disk(error, f" and send again from offset {have}") from error
            self._untaken = False
            self.record.audio_bytes = self.record.kept_bytes = self._spool.size
            self._deps.metrics.audio_bytes += len(fresh)
            self._arrived(trio.current_time())
            self._acknowledge()

    async def end(self) -> None:
        """Note that no more audio comes; all of it, and this fact, is on disk when this returns.

        Raises:
            Refused: the session has ended already, or the disk did not take this or some of the audio.
            StoreFailed: the database's disk did not take it.
        """
        self._must_take_audio()
        if self._untaken:  # the client sent more than is stored, and does not know it yet
            raise Refused(
                Code.BUSY, f"audio from offset {self._spool.size} on was not taken: send it again, then end the session"
            )
        self._ending = True
        try:
            with trio.CancelScope(shield=True):  # even if the client is gone meanwhile
                await trio.to_thread.run_sync(self._spool.sync)
        except SpoolFailed as error:
            self._ending = False
            raise refused_by_disk(error, ", then end it again") from error
        self.record.ended = True
        try:
            await self.journal.save(durable=True, wait=False)
        except StoreFailed:
            self.record.ended = self._ending = False
            raise
        except BaseException:
            self._end()  # the client is gone, but it did end the session
            raise
        self._end()  # last, so that the reply comes before the events that the end causes

    def cancel(self) -> None:
        """Cancel the session; what was transcribed stays.

        Raises:
            Refused: it is in a final state already.
        """
        if self.record.state.final:
            raise Refused(Code.BAD_STATE, f"the session is {self.record.state} already")
        self._cancelled = True
        self._scope.cancel()

    def lose(self) -> None:
        """Stop without a word: another convod has taken the session over, or deleted it."""
        self._lost = True
        self.journal.owned = False
        self._scope.cancel()

    async def finalize(self) -> int:
        """Transcribe all audio so far, and return how many bytes it was.

        Raises:
            Refused: it is not a live session.
        """
        raise Refused(Code.BAD_STATE, "only a live session can be finalized; end_session closes a file's upload")

    async def wait_finished(self) -> None:
        """Wait until `run` has ended."""
        await self._finished.wait()

    async def wait_settled(self) -> None:
        """Wait until `run` has ended, or waits only for a summarizer that is not available."""
        await self._settled.wait()

    @property
    def quiet(self) -> bool:
        """Whether a short delay of its audio would go unnoticed."""
        return False

    def prepare(self) -> None:
        """Wake the engine: audio is about to come."""
        self._engine.wake(live=self.record.kind == "live")

    @property
    def takes_audio(self) -> bool:
        """Whether more audio may come."""
        return not self._ending and not self.record.ended and self.record.state in (State.PENDING, State.PROCESSING)

    def _must_take_audio(self) -> None:
        if not self.takes_audio:
            raise Refused(Code.BAD_STATE, "the session has ended and takes no more audio; create a new one")

    # --- what live and file sessions do differently -------------------------------------------------------

    def _granted(self) -> int:
        """Bytes from the start of the stream that may be sent by now; never shrinks."""
        raise NotImplementedError

    def _check_audio(self, data: bytes) -> None:
        """Raise Refused for bytes that cannot be this session's."""

    def _arrived(self, at: float) -> None:
        """Bytes were stored at time `at`."""

    def _advice(self) -> str:
        """What to try if nothing was said in all of the audio."""
        raise NotImplementedError

    async def _transcribe(self) -> None:
        """Transcribe the audio to the last segment.

        Raises:
            SessionFailed: it cannot go on; alone or in a group.
        """
        raise NotImplementedError

    # --- its life -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until a final state. If it is cancelled from outside, the session continues at the next start.

        If another convod has taken it over, it ends here, and its audio stays.
        """
        failure: SessionFailed | None = None
        try:
            with self._scope:
                try:
                    await self._run_stages()
                except* LeaseLost:
                    self._lost = True
                except* SessionFailed as group:
                    failure = _leaf(group)
                except* SpoolFailed as group:
                    # The audio that is stored is kept: perhaps it can be read another time.
                    self.record.ended = True
                    why = f"{_leaf(group).strerror}; look at the daemon's disk, then retry the session"
                    failure = SessionFailed(Code.INTERNAL, why)
            if self._lost:
                log.warning("session is left to another convod", extra={"session": self.id})
            elif self._cancelled:
                await self._give_up(State.CANCELLED)
            elif failure is not None:
                if not self.record.ended or failure.code in (Code.BAD_AUDIO, Code.LIMIT_EXCEEDED):
                    await self._give_up(State.FAILED, failure)  # a retry would not help, so its audio is removed
                else:
                    await self.journal.enter(State.FAILED, code=str(failure.code), message=str(failure))
        except LeaseLost:
            log.warning("session is left to another convod", extra={"session": self.id})
        finally:
            self._engine.forget(self.id)
            self._spool.close()
            self._settled.set()
            self._finished.set()

    async def _run_stages(self) -> None:
        if self.record.seq == 0:
            await self.journal.enter(State.PENDING)
        if self.record.state is not State.TRANSCRIBED:
            if self.speakers is not None:
                await self.speakers.load(self.journal, self._engine.settings.voices)
            await self._transcribe()
            self._engine.forget(self.id)
            if not self.record.segments and self.record.duration_s >= NO_SPEECH_S:
                sentence = f"no speech was found in {self.record.duration_s:.0f} s of sound; {self._advice()}"
                await self.journal.publish(SessionWarning, code=str(Code.NO_SPEECH), message=sentence)
            if self.speakers is not None:
                await self.speakers.revise(self.journal)
            await self.journal.enter(State.TRANSCRIBED)
        if self.record.config.summary.mode != "off":
            await self._summarize_until_done(self.record.config.summary)
        if not self.record.config.keep_audio:
            self.record.kept_bytes = 0  # stored with the state: a start after a kill removes what is left
        await self.journal.enter(State.COMPLETED)
        if not self.record.config.keep_audio:
            self._remove_audio()  # never before its text is safe, from a power cut too

    async def _give_up(self, state: State, failure: SessionFailed | None = None) -> None:
        code, message = (None, None) if failure is None else (str(failure.code), str(failure))
        self.record.kept_bytes = 0
        # On a full disk the last event needs the room that the audio takes.
        await self.journal.enter(state, code=code, message=message, make_room=self._remove_audio)
        self._remove_audio()

    def _remove_audio(self) -> None:
        self._spool.close()
        try:
            self._deps.spool.remove(self.id, self.record.owner)
        except SpoolFailed as error:  # the next start tries again
            log.error("audio that is no longer needed is left: %s", error.strerror, extra={"session": self.id})

    def summarized(self) -> None:
        """Stop trying to write the session's own summary: a requested one was written."""
        self._summarizing.cancel()

    async def _summarize_until_done(self, options: SummaryOptions) -> None:
        backoff = Backoff(2.0, LONGEST_PAUSE_S)
        warned = False
        with self._summarizing:
            while True:
                try:
                    await self.journal.summarize(options)
                    return
                except SummarizerUnavailable as error:
                    reason, retry, wait_s = str(error), error.retry, error.wait_s
                # Waiting does not repair a wrong key or model name, but an operator may: look again now and then.
                pause = max(backoff.pause(), wait_s) if retry else LONGEST_PAUSE_S
                log.info("summary waits: %s", reason, extra={"session": self.id, "pause_s": round(pause, 1)})
                if not warned:
                    warned = True
                    await self.journal.publish(
                        SessionWarning, code=str(Code.SUMMARIZER_UNAVAILABLE), message=f"{reason}; it is tried again"
                    )
                self._settled.set()
                await self.journal.wait_summarizer(pause)

    def _deliver(self, job: DecodeJob, outcome: Outcome) -> None:
        self._outcomes.append((job, outcome))
        self._wakeup.set()

    def _commands_of(self, transcriber: Transcriber) -> Iterator[list[Command]]:
        """Hand the transcriber what came of its jobs, and yield its commands.

        Raises:
            SessionFailed: there is no model to decode with.
        """
        while self._outcomes:
            job, outcome = self._outcomes.popleft()
            if not isinstance(outcome, Refusal):
                yield transcriber.decoded(job, outcome)
            elif outcome.code is Code.MODEL_UNAVAILABLE:
                raise SessionFailed(outcome.code, outcome.message)
            else:
                yield transcriber.refused(job, outcome.message)

    def _acknowledge(self) -> None:
        self.feed.send(AudioAck(session=self.id, offset=self._spool.size, credit=self.credit))

    def _end(self) -> None:
        self.record.ended = True
        self._wakeup.set()


def keeps_audio(config: CreateSession, settings: SessionSettings) -> bool:
    """Return whether the audio of a session that starts now is kept when it is completed."""
    return settings.keep_audio if config.keep_audio is None else config.keep_audio


def refused_by_disk(error: SpoolFailed, then: str = "") -> Refused:
    """Return the refusal of audio that the disk did not take; `then`: what else to do about it."""
    code = Code.LIMIT_EXCEEDED if isinstance(error, OverQuota) else Code.BUSY
    todo = "free some" if isinstance(error, NoRoom) else "look at the daemon's disk"
    return Refused(code, f"{error.strerror}; {todo}{then}")


def _leaf(group: BaseExceptionGroup[F]) -> F:
    """Return the first error in a group."""
    while isinstance(first := group.exceptions[0], BaseExceptionGroup):
        group = first
    return first
