"""A file session: an upload in any format FFmpeg reads, its turn in the queue, segments as they come.

In: the file's bytes in the spool, then its end. Out: see `session`. The file is decoded in a process of its own and cut
at its silences. After a restart, or when that process was killed, it is decoded again from its start and what is
already stored is skipped, so the text is the same as if nothing had happened. While its owner's queue is paused, none
of its windows goes to the engine.
"""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import Final

import msgspec
import trio

from convo.messages import Code, Progress, QueuedFile, SessionWarning, State
from convod.engine.decode import decoding
from convod.engine.supervisor import Outcome
from convod.engine.wire import RATE
from convod.sessions.file_queue import FileJob
from convod.sessions.journal import Journal
from convod.sessions.segments import publish_segments
from convod.sessions.session import Refused, Session, SessionDeps, SessionFailed
from convod.sessions.vocabulary import hotwords_of
from convod.speech.commands import Command, Commit, Decode
from convod.speech.decoding import DecodeJob, Options
from convod.speech.file import FileSettings, FileTranscriber
from convod.speech.split import SplitFile

log = logging.getLogger("convod.sessions")

AHEAD: Final = 48
"""Windows that may wait for the engine before decoding of the file pauses."""

TRIES: Final = 3
"""How often the decoding process may end early before the session fails; counted anew after progress."""

PATIENCE_S: Final = 10.0
"""Where channels are split, a window of one that falls silent is decoded after so long: others wait for its text."""

PAUSE_S: Final = 2.0
"""Pause before the second try, and twice that before the third: there may be memory by then."""


class FileSession(Session):
    """A session of kind file."""

    def __init__(self, journal: Journal, deps: SessionDeps) -> None:
        super().__init__(journal, deps)

        self._jobs: dict[DecodeJob, None] = {}  # not answered, in their order
        self._held: dict[DecodeJob, None] = {}  # those that wait for the session's turn
        self._too_large = False
        self._track = self._tracks = 1
        self._progress = Progress(session=self.id, done_s=round(self.record.checkpoint_sample / RATE, 3))

    # --- for connections ----------------------------------------------------------------------------------

    @property
    def queued(self) -> QueuedFile:
        """The session as a list of the queue shows it."""
        record = self.record
        return QueuedFile(
            session=self.id,
            title=record.title,
            priority=record.config.priority,
            state=record.state,
            created=record.created,
            done_s=self._progress.done_s,
            total_s=self._progress.total_s,
        )

    # --- its turn -----------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Take back the windows that wait for the engine: the owner's queue was paused."""
        for job in self._jobs:
            if self._engine.retract(job):
                self._held[job] = None

    def _release(self) -> None:
        """Submit the windows that were held: it is the session's turn, for the first time or after a pause."""
        for job in self._held:
            self._engine.submit(job, self._deliver)
        self._held.clear()

    # --- its audio ----------------------------------------------------------------------------------------

    def _granted(self) -> int:
        return self._spool.size + self._deps.settings.upload_credit_bytes

    def _check_audio(self, data: bytes) -> None:
        most = self._deps.limits.upload_bytes
        if most and self._spool.size + len(data) > most:
            self._too_large = True
            self._wakeup.set()
            raise Refused(Code.LIMIT_EXCEEDED, too_large(most))

    # --- its life -----------------------------------------------------------------------------------------

    async def _transcribe(self) -> None:
        await self._wait_uploaded()
        if self._spool.size == 0:
            raise SessionFailed(Code.BAD_AUDIO, "the file is empty; send one that holds audio")
        record = self.record
        if self._spool.size < record.audio_bytes:
            # The power went before the disk had it all, and before the client was told that it has.
            raise SessionFailed(Code.BAD_AUDIO, "a power cut took a part of the audio; send the file again")
        job = FileJob(
            session=self.id,
            owner=record.owner,
            created=record.created,
            priority=record.config.priority,
            started=record.state is State.PROCESSING,
        )
        await self._check_digest()
        async with self._deps.file_queue.turn(job, self._release):
            if record.state is State.PENDING:
                await self.journal.enter(State.PROCESSING)
            await self._engine.wait_ready()
            await self._transcribe_file()

    async def _check_digest(self) -> None:
        """Store the digest of the upload, or check it: checkpoints are positions in these very bytes."""
        # A file of gigabytes takes a while; a cancellation does not wait for it.
        given_up = False
        try:
            digest = await trio.to_thread.run_sync(
                self._deps.spool.digest, self.id, lambda: not given_up, abandon_on_cancel=True
            )
        finally:
            given_up = True
        if self.record.digest is None:
            self.record.digest = digest
            await self.journal.save()
        elif self.record.digest != digest:
            raise SessionFailed(Code.BAD_AUDIO, "the stored audio was damaged since it was sent; send the file again")

    async def _wait_uploaded(self) -> None:
        while not self.record.ended:
            limit = float("inf")
            if self._gone_at is not None:
                limit = self._gone_at + self._deps.settings.upload_idle_s
            with trio.CancelScope(deadline=limit) as scope:
                await self._wakeup.wait()
            if self._too_large:
                raise SessionFailed(Code.LIMIT_EXCEEDED, too_large(self._deps.limits.upload_bytes))
            if scope.cancelled_caught and self._gone_at is not None:
                raise SessionFailed(Code.BAD_AUDIO, "the upload was never finished; send the file again")

    async def _transcribe_file(self) -> None:
        tries, reached = 0, self.record.checkpoint_utterance
        while (died := await self._transcribe_rest()) is not None:
            tries = tries + 1 if self.record.checkpoint_utterance == reached else 1
            reached = self.record.checkpoint_utterance
            log.warning(
                "the decoder of a file ended early", extra={"session": self.id, "by": died, "tries": f"{tries}/{TRIES}"}
            )
            if tries == TRIES:
                # The file may not be to blame, so its audio is kept.
                raise SessionFailed(
                    Code.INTERNAL,
                    f"the file's decoder was ended {TRIES} times ({died}), as happens where memory is short; the audio "
                    "is kept: retry the session, or convert the file with ffmpeg and send that",
                )
            await trio.sleep(PAUSE_S * tries)

    async def _transcribe_rest(self) -> str | None:
        """Transcribe from the checkpoint to the file's end.

        If the decoder ends before that, what it gave is stored, and the reason returned.
        """
        record, config, deps = self.record, self.record.config, self._deps
        splits = config.channels == "split"
        transcriber = None if splits else self._mixed()
        limit_s = deps.limits.file_s
        source = decoding(deps.spool.path(self.id), track=config.audio.track, limit_s=limit_s, split=splits)
        async with source as decoded, aclosing(decoded.pieces()) as pieces:
            async for piece in pieces:
                if transcriber is None:  # the first byte says how many channels there are
                    transcriber, piece = self._split(piece[0]), piece[1:]
                await self._execute(transcriber.audio(piece, trio.current_time()))
                record.duration_s = transcriber.now / RATE
                await self._take_outcomes(transcriber)
                self._send_progress(transcriber, decoded.total_s)
                while transcriber.waiting > AHEAD:
                    await self._wakeup.wait()
                    await self._take_outcomes(transcriber)
                    self._send_progress(transcriber, decoded.total_s)
                await deps.file_queue.wait(self.id)
            refusal = decoded.refusal
        if refusal is not None:
            raise SessionFailed(*refusal)
        self._track, self._tracks = decoded.track, decoded.tracks
        if transcriber is None:
            return decoded.died
        if decoded.died is None:
            await self._execute(transcriber.flush(trio.current_time()))
        while transcriber.waiting:
            await self._wakeup.wait()
            await self._take_outcomes(transcriber)
            self._send_progress(transcriber, record.duration_s)
        if decoded.died is None and decoded.warning is not None:
            await self.journal.publish(SessionWarning, code=str(Code.BAD_AUDIO), message=decoded.warning)
        if decoded.died is None and decoded.hint is not None:
            await self.journal.publish(SessionWarning, code=str(Code.OTHER_TRACK), message=decoded.hint)
        return decoded.died

    def _advice(self) -> str:
        if self._tracks > 1:
            return f"this is track {self._track} of its {self._tracks}: choose another one (--track)"
        return "listen to it, and if somebody speaks in it, name the language, or use a larger model"

    def _mixed(self) -> FileTranscriber | SplitFile:
        record = self.record
        return FileTranscriber(
            self._settings(),
            self._deps.hallucination_filter,
            segment=record.segments,
            utterance=record.checkpoint_utterance,
            language=record.heard_language,
        )

    def _split(self, channels: int) -> SplitFile:
        settings = msgspec.structs.replace(self._settings(), patience_s=PATIENCE_S)

        def make(channel: int, sample: int) -> FileTranscriber:
            language = self.record.heard_language
            return FileTranscriber(settings, self._deps.hallucination_filter, sample=sample, language=language)

        ends = self.speakers.ends if self.speakers is not None else None
        return SplitFile(make, channels, RATE, segment=self.record.segments, ends=ends, whole=True)

    def _settings(self) -> FileSettings:
        config = self.record.config
        return FileSettings(
            rate=RATE,
            joined=self._engine.context == "full",
            words=config.words,
            language=config.language,
            session=self.id,
            owner=self.record.owner,
            options=Options(
                languages=None if config.languages is None else tuple(config.languages),
                task=config.task,
                prompt=config.prompt,
                hotwords=hotwords_of(config),
                deterministic=True,
                beam=self._deps.settings.beam,
            ),
            voiceprints=config.speakers != "off",
        )

    def _send_progress(self, transcriber: FileTranscriber | SplitFile, total_s: float | None) -> None:
        # Silence that turns out to be the pre-roll of speech is not settled any more; progress never goes back.
        done = max(round(max(transcriber.settled, self.record.checkpoint_sample) / RATE, 3), self._progress.done_s)
        total = None if total_s is None else round(max(total_s, done), 3)
        progress = Progress(session=self.id, done_s=done, total_s=total)
        if progress != self._progress:
            self._progress = progress
            self.feed.send(progress)

    # --- the engine ---------------------------------------------------------------------------------------

    async def _execute(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Decode):
                self._ask(command.job)
            elif isinstance(command, Commit):
                await publish_segments(self.journal, command, self.speakers)

    def _ask(self, job: DecodeJob) -> None:
        self._jobs[job] = None
        if not self._deps.file_queue.is_running(self.id):
            self._held[job] = None
        else:
            self._engine.submit(job, self._deliver)

    def _deliver(self, job: DecodeJob, outcome: Outcome) -> None:
        self._jobs.pop(job, None)
        super()._deliver(job, outcome)

    async def _take_outcomes(self, transcriber: FileTranscriber | SplitFile) -> None:
        for commands in self._commands_of(transcriber):
            # A checkpoint is stored with the language that led there: a restart must not detect another one.
            self.record.heard_language = transcriber.language
            await self._execute(commands)


def too_large(most: int) -> str:
    """Word the refusal of a file with more than `most` bytes."""
    return f"the file has more than the {most} bytes that limits.upload_bytes allows; send it in parts or compress it"
