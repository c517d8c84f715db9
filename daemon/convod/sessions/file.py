"""A file session: an upload in any format FFmpeg reads, segments as they come.

In: the file's bytes in the spool, then its end. Out: see `session`. The file is decoded in a process of its own and
heard like speech; after a restart it is decoded again from its start and utterances already stored are passed over,
so the text is the same as if nothing had happened.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

import trio

from convo.messages import Code, Progress, SessionWarning, State
from convod.engine.decode import RATE, decoding
from convod.engine.wire import Kind
from convod.sessions.session import Session, SessionFailed
from convod.sessions.transcriber import Settings, Transcriber

AHEAD: Final = 16
"""Utterances that may wait for the engine before decoding of the file pauses."""


class FileSession(Session):
    """A session of kind file."""

    def _granted(self) -> int:
        return self._spool.size + self._parts.settings.upload_credit_bytes

    async def _hear(self) -> None:
        await self._wait_uploaded()
        if self._spool.size == 0:
            raise SessionFailed(Code.BAD_AUDIO, "the file is empty; send one that holds audio")
        async with self._parts.file_slots:
            if self.record.state is State.PENDING:
                await self.journal.enter(State.PROCESSING)
            await self._transcribe()

    async def _wait_uploaded(self) -> None:
        while not self.record.ended:
            limit = float("inf")
            if self._gone_at is not None:
                limit = self._gone_at + self._parts.settings.upload_idle_s
            with trio.CancelScope(deadline=limit) as scope:
                await self._bell.wait()
            if scope.cancelled_caught and self._gone_at is not None:
                raise SessionFailed(Code.BAD_AUDIO, "the upload was never finished; send the file again")

    async def _transcribe(self) -> None:
        config = self.record.config
        transcriber = Transcriber(
            Settings(
                session=self.id,
                rate=RATE,
                kind=Kind.FILE,
                interim=False,
                words=config.words,
                language=config.language,
            ),
            self._parts.guard,
            segment=self.record.segments,
            utterance=self.record.mark_utterance,
            sample=self.record.mark_sample,
            replay=True,
        )
        refusal: tuple[Code, str] | None = None
        async with decoding(self._parts.spool.path(self.id)) as decoded, aclosing(decoded.pieces()) as pieces:
            async for piece in pieces:
                await self._do(transcriber.audio(piece, trio.current_time()), transcriber)
                self.record.duration_s = transcriber.now / RATE
                await self._take_outcomes(transcriber)
                self._say_progress(transcriber, decoded.total_s)
                while transcriber.waiting > AHEAD:
                    await self._bell.wait()
                    await self._take_outcomes(transcriber)
                    self._say_progress(transcriber, decoded.total_s)
            refusal = decoded.refusal
        if refusal is not None:
            raise SessionFailed(*refusal)
        await self._do(transcriber.flush(), transcriber)
        while transcriber.waiting:
            await self._bell.wait()
            await self._take_outcomes(transcriber)
            self._say_progress(transcriber, self.record.duration_s)
        if decoded.warning is not None:
            await self.journal.publish(SessionWarning, code=str(Code.BAD_AUDIO), message=decoded.warning)

    def _say_progress(self, transcriber: Transcriber, total_s: float | None) -> None:
        done = transcriber.settled / RATE
        total = None if total_s is None else round(max(total_s, done), 3)
        self.feed.say(Progress(session=self.id, done_s=round(done, 3), total_s=total))
