"""A live session: PCM as it is spoken, captions while it comes, segments at each endpoint.

In: PCM in the spool, `finalize`, the end, results of the engine. Out: windows for the engine, and what `session` says.
`speech.live` decides what is decoded and published, and when; here it is done. Audio is read from the spool, so what
waits costs no memory, and a restarted daemon continues where the last segment ended.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

import msgspec
import trio

from convo.messages import Code, SessionWarning, SpeechStarted, State
from convod.sessions.journal import Journal
from convod.sessions.segments import publish_segments
from convod.sessions.session import Refused, Session, SessionDeps
from convod.sessions.vocabulary import hotwords_of
from convod.speech.commands import (
    Command,
    Commit,
    Decode,
    Drop,
    Emit,
    Prioritize,
)
from convod.speech.decoding import Kind, Options
from convod.speech.dull import Dullness
from convod.speech.endpointer import EndpointSettings
from convod.speech.live import LiveTranscriber
from convod.speech.pcm import FRAME_MS, RATES, PcmFormat, PcmReader
from convod.speech.split import SplitLive
from convod.speech.vad import VadSettings
from convod.speech.windows import LiveSettings

log = logging.getLogger("convod.sessions")

PIECE: Final = 1 << 15
"""Bytes that are read at a time: a second of the default format."""

GATHER_MS: Final = 80
"""Audio that is read at once while nobody speaks."""

DOUBTFUL: Final = 0.6
"""Mean confidence of all words below which dull sound may be of another rate. Of speech at three times the rate that
was said, base was 0.4 to 0.65 sure of each segment."""


class LiveSession(Session):
    """A session of kind live."""

    def __init__(self, journal: Journal, deps: SessionDeps) -> None:
        super().__init__(journal, deps)
        record = journal.record
        config = record.config
        self._pcm = PcmFormat(config.audio.encoding, config.audio.rate, config.audio.channels)
        self._splits = config.channels == "split"
        self._reader = PcmReader(self._pcm, split=self._splits)
        self._read = record.checkpoint_sample * self._pcm.frame_bytes  # bytes of the spool that the transcriber has
        endpoint = EndpointSettings(
            endpoint_ms=config.endpoint_ms or EndpointSettings().endpoint_ms, patient_ms=deps.settings.patient_ms
        )
        settings = LiveSettings(
            session=record.id,
            rate=self._pcm.rate,
            kind=Kind.FINAL,
            endpoint=endpoint,
            vad=VadSettings(mode=VadSettings().mode if config.vad_mode is None else config.vad_mode),
            frame_ms=config.frame_ms or FRAME_MS,
            interim=config.interim and not record.ended,  # nobody follows the transcription of kept audio
            words=config.words,
            language=config.language,
            owner=record.owner,
            options=Options(
                languages=None if config.languages is None else tuple(config.languages),
                task=config.task,
                prompt=config.prompt,
                hotwords=hotwords_of(config),
                beam=deps.settings.beam,
            ),
            voiceprints=config.speakers != "off",
        )
        self._transcriber = self._split(settings) if self._splits else self._mixed(settings)
        self._engine.subscribe(self.id, self._transcriber.tell, owner=record.owner)

        self._arrivals: deque[tuple[int, float]] = deque()
        self._finalizing: deque[tuple[int, trio.Event]] = deque()
        self._credit_announced = 0
        self._gather_bytes = GATHER_MS * self._pcm.bytes_per_second // 1000
        self._most_granted = 0
        self._all_out = False
        self._dullness = Dullness(self._pcm.channels if self._splits else 1)
        self._spoken_s = self._sure_s = 0.0

    def _mixed(self, settings: LiveSettings) -> LiveTranscriber | SplitLive:
        record = self.record
        return LiveTranscriber(
            settings,
            self._deps.hallucination_filter,
            segment=record.segments,
            utterance=record.checkpoint_utterance,
            sample=record.checkpoint_sample,
            language=record.heard_language,
        )

    def _split(self, settings: LiveSettings) -> SplitLive:
        def make(channel: int, sample: int) -> LiveTranscriber:
            return LiveTranscriber(
                msgspec.structs.replace(settings, channel=channel),
                self._deps.hallucination_filter,
                sample=sample,
                language=self.record.heard_language,
            )

        return SplitLive(
            make,
            self._pcm.channels,
            self._pcm.rate,
            segment=self.record.segments,
            sample=self.record.checkpoint_sample,
            ends=self.speakers.ends if self.speakers is not None else None,
        )

    @property
    def quiet(self) -> bool:
        """Whether nobody speaks, and no client waits for `finalize`."""
        return not self._transcriber.speaking and not self._finalizing

    def _granted(self) -> int:
        settled = self._transcriber.settled * self._pcm.frame_bytes
        granted = settled + int(self._deps.settings.credit_s * self._pcm.bytes_per_second)
        # A new utterance begins before its onset, but credit given to the client is never taken back.
        self._most_granted = max(self._most_granted, granted)
        return self._most_granted

    def _check_audio(self, data: bytes) -> None:
        if len(data) % self._pcm.sample_bytes:
            raise Refused(
                Code.BAD_AUDIO,
                f"{self._pcm.encoding} has {self._pcm.sample_bytes} bytes a sample; send whole samples, "
                f"not {len(data)} bytes",
            )

    def _arrived(self, at: float) -> None:
        self._arrivals.append((self._spool.size, at))
        # In silence nothing is urgent: a few pieces are read at once. The rest before a client stops sending is read
        # with its next piece, or when it ends or goes; it is too short for a word.
        unread = self._spool.size - self._read
        if self._transcriber.speaking or self._finalizing or unread >= self._gather_bytes:
            self._wakeup.set()

    async def finalize(self) -> int:
        """Transcribe all audio so far; return how many bytes it was, once its segments are published."""
        if self._all_out or self.record.state.final or self.record.state is State.TRANSCRIBED:
            return self._spool.size
        offset = self._spool.size
        done = trio.Event()
        self._finalizing.append((offset, done))
        self._wakeup.set()
        await done.wait()
        return offset

    async def run(self) -> None:
        """Run until a final state; then let no client wait for segments that will not come."""
        try:
            await super().run()
        finally:
            self._release()

    def _release(self) -> None:
        self._all_out = True
        while self._finalizing:
            self._finalizing.popleft()[1].set()

    async def _transcribe(self) -> None:
        async with trio.open_nursery() as nursery:
            if self.record.config.summary.mode == "rolling":
                nursery.start_soon(self.journal.roll, self._deps.settings.rolling_s)
            await self._transcribe_spool()
            self._release()
            nursery.cancel_scope.cancel()

    async def _transcribe_spool(self) -> None:
        while True:
            await self._take_outcomes()
            if self._is_behind():
                await self._wakeup.wait()
                continue
            if await self._transcribe_piece():
                if self._spool.size > self._read:  # perhaps hours, after a restart or with kept audio
                    await trio.lowlevel.checkpoint()
                continue
            if self._finalizing or self.record.ended:
                await self._execute(self._transcriber.flush())
                if not self._transcriber.waiting:
                    if not self._finalizing:
                        break
                    while self._finalizing and self._finalizing[0][0] <= self._read:
                        self._finalizing.popleft()[1].set()
                    continue  # more audio may have come after what was to be finalized
            self._announce_credit()
            await self._wait()
        if self.record.state is State.PENDING:
            await self.journal.enter(State.PROCESSING)
        if self._reader.rest_bytes:
            await self._warn_about_rest()
        await self._warn_about_rate()

    def _is_behind(self) -> bool:
        """Whether as much audio waits for the engine as a client may send ahead: no more is read before that."""
        ahead = self._transcriber.now - self._transcriber.settled
        return bool(self._transcriber.waiting) and ahead > self._deps.settings.credit_s * self._pcm.rate

    async def _transcribe_piece(self) -> bool:
        """Transcribe some of the spool; return False when there is nothing new in it."""
        until = self._finalizing[0][0] if self._finalizing else self._spool.size
        data = self._spool.read(self._read, min(PIECE, until - self._read)) if until > self._read else b""
        if not data:
            return False
        if self.record.state is State.PENDING:
            await self.journal.enter(State.PROCESSING)
        self._read += len(data)
        while len(self._arrivals) > 1 and self._arrivals[0][0] < self._read:
            self._arrivals.popleft()
        arrived = self._arrivals[0][1] if self._arrivals else trio.current_time()
        samples = self._reader.feed(data)
        self._dullness.feed(samples)
        await self._execute(self._transcriber.audio(samples, arrived))
        self.record.duration_s = self._transcriber.now / self._pcm.rate
        return True

    def _announce_credit(self) -> None:
        # Announce credit that grew while no audio came, or a client that used it all would wait for ever.
        granted = self._granted()
        if granted - self._credit_announced >= self._pcm.bytes_per_second and self.producer is not None:
            self._credit_announced = granted
            self._acknowledge()

    async def _wait(self) -> None:
        """Wait until something happens: audio, a result, a request, or a deadline."""
        settings = self._deps.settings
        now = trio.current_time()
        deadline = float("inf")
        # While finals wait for the engine, a client may send nothing because it has no credit, and not because a word
        # has ended; nor could the next final be published before them.
        idle = self._transcriber.speaking and not self._transcriber.waiting
        if idle:
            deadline = now + settings.idle_s + self._transcriber.settings.endpoint.endpoint_ms / 1000
        if self._gone_at is not None and not self.record.ended:
            deadline = min(deadline, self._gone_at + settings.resume_s)
        if deadline == float("inf"):
            await self._wakeup.wait()
            return
        with trio.CancelScope(deadline=deadline) as scope:
            await self._wakeup.wait()
        if not scope.cancelled_caught:
            return
        if idle:
            await self._execute(self._transcriber.flush())
        if self._gone_at is not None and trio.current_time() >= self._gone_at + settings.resume_s:
            self._end()

    def _advice(self) -> str:
        pcm = self._pcm
        channels = "1 channel" if pcm.channels == 1 else f"{pcm.channels} channels"
        return (
            f"it was taken for {pcm.encoding} at {pcm.rate} Hz with {channels}: check that it is, "
            "and that the right microphone is on"
        )

    async def _warn_about_rest(self) -> None:
        await self.journal.publish(
            SessionWarning,
            code=str(Code.BAD_AUDIO),
            message=f"the audio ended inside a sample; its last {self._reader.rest_bytes} byte(s) were left out",
        )

    async def _warn_about_rate(self) -> None:
        rate = self._pcm.rate
        if self._spoken_s and self._sure_s < DOUBTFUL * self._spoken_s and self._dullness.dull and 3 * rate <= RATES[1]:
            await self.journal.publish(
                SessionWarning,
                code=str(Code.WRONG_RATE),
                message=f"the words are doubtful, and the sound is as dull as if it were slowed down: it was taken for "
                f"{rate} Hz; if it was recorded at {3 * rate} Hz, say so",
            )

    # --- the engine ---------------------------------------------------------------------------------------

    async def _execute(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Decode):
                self._engine.submit(command.job, self._deliver)
            elif isinstance(command, Emit):
                if isinstance(command.event, SpeechStarted):
                    self._engine.wake(live=True)
                self.feed.send(command.event)
            elif isinstance(command, Drop):
                self._engine.drop(command.job)
            elif isinstance(command, Prioritize):
                command.job.due = trio.current_time()
            else:
                await self._commit(command)

    async def _take_outcomes(self) -> None:
        for commands in self._commands_of(self._transcriber):
            await self._execute(commands)

    async def _commit(self, commit: Commit) -> None:
        # Stored with the segment that told it: a restart must not detect another one.
        self.record.heard_language = self._transcriber.language
        lag_s = await publish_segments(self.journal, commit, self.speakers)
        for text in commit.texts:
            self._spoken_s += text.end - text.start
            self._sure_s += text.confidence * (text.end - text.start)
        if commit.texts:
            self._deps.metrics.segment_lag.observe(lag_s)
