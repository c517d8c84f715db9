"""One live session from its first sample to its last word, over as many connections as that takes.

In: a source of samples and the options that name the daemon. Out: the session's events, shown by `captions.py`. The end
of the audio, Ctrl-C and a closed pipe all end the session at the daemon, so that the last words are transcribed; after
a broken connection, the audio continues from where the daemon has it.
"""

from __future__ import annotations

from contextlib import suppress

import trio

import convo
from convo.messages import Event
from convo.transport import background_tasks

from .arguments import Options
from .captions import Captions
from .errors import ClosedPipe, Exit, Problem, explain
from .interrupts import on_interrupt
from .link import linked
from .output import Lines, note
from .sources import Source

_WORTH_TELLING_S = 0.05  # seconds of microphone that are missing


class Live:
    """Streams `source` into a session that is as `wanted`. `announce`: say on standard error which one it is."""

    def __init__(
        self,
        options: Options,
        wanted: convo.SessionOptions,
        source: Source,
        captions: Captions,
        lines: Lines,
        *,
        announce: bool = False,
    ) -> None:
        self._options = options
        self._wanted = wanted
        self._source = source
        self._captions = captions
        self._lines = lines
        self._announce = announce
        self._stream: convo.LiveStream | None = None
        self._stopped = False  # the session is to end now
        self._rested = False  # what was left in the source then was taken
        self._trouble: Problem | ClosedPipe | None = None
        self._scope = trio.CancelScope()
        self._reading: trio.CancelScope | None = None

    async def run(self) -> None:
        """Run the session; every word that was transcribed is printed before this raises.

        Raises:
            Problem: the source or the session failed, or there is no daemon.
            Interrupted: a signal ended it.
            ClosedPipe: the reader of its output is gone.
        """
        failure: Exception | None = None
        with on_interrupt(self._interrupted) as interrupts:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._print)
                try:
                    with self._scope:
                        await self._stream_source()
                except (Problem, convo.ConvoError) as error:
                    failure = error
                self._lines.close()
            self._captions.erase()
            if (lost := self._source.lost_s()) > _WORTH_TELLING_S:
                note(f"{lost:.1f} s of the microphone are missing: this machine or the daemon was too slow for them.")
            for sentence in self._source.warnings():
                note(sentence)
            if self._trouble is not None:
                raise self._trouble
            if failure is not None:
                raise failure
            self._captions.outcome()
            interrupts.check()

    # --- what ends it early -------------------------------------------------------------------------------

    def _interrupted(self) -> None:
        if self._stream is None or not self._stream.session:
            self._scope.cancel()
        else:
            self._captions.note("Ending the session; its last words follow. Ctrl-C again leaves at once.")
            self._stop()

    def _stop(self) -> None:
        self._stopped = True
        if self._reading is not None:
            self._reading.cancel()

    def _give_up(self, trouble: Problem | ClosedPipe) -> None:
        """End the session without waiting for its last words: nothing more can be printed."""
        self._trouble = self._trouble or trouble
        self._stop()
        if self._stream is None or not self._stream.session or self._stream.ended:
            self._scope.cancel()

    async def _print(self) -> None:
        try:
            await self._lines.run()
        except (ClosedPipe, Problem) as trouble:
            self._give_up(trouble)

    # --- the session --------------------------------------------------------------------------------------

    async def _stream_source(self) -> None:
        async with linked(self._options, self._captions.note, why=True) as link:
            resume_s = (await link.client()).welcome.limits.resume_s
            first = await self._read()  # before the session is created: an empty pipe leaves no empty session behind
            if not first:
                raise self._trouble or Problem(Exit.BAD_AUDIO, f"{self._source.name} ended before any audio came.")
            link.patience_s = resume_s  # after that, the daemon has ended the session
            async with convo.LiveStream(link, **self._wanted) as stream, background_tasks() as tasks:
                self._stream = stream
                session = await stream.opened()
                if self._announce:
                    self._captions.note(f"session {session}; Ctrl-C ends it.")
                tasks.start_soon(self._feed, stream, first)
                async for event in stream:
                    self._show(event)
                if stream.failure is not None and self._trouble is None:
                    told = explain(stream.failure)
                    self._trouble = told if isinstance(told, Problem) else None

    def _show(self, event: Event) -> None:
        if isinstance(self._trouble, ClosedPipe):
            return
        try:
            self._captions.show(event)
        except (ClosedPipe, Problem) as trouble:
            self._give_up(trouble)

    async def _feed(self, stream: convo.LiveStream, data: bytes) -> None:
        """Send the audio, then its end. Errors are reported by the stream's iteration."""
        with suppress(convo.ConvoError):
            while data:
                await stream.send(data)
                data = await self._read()
        with suppress(convo.ConvoError):
            await stream.end()
        if isinstance(self._trouble, ClosedPipe):
            self._scope.cancel()

    async def _read(self) -> bytes:
        if not self._stopped:
            with trio.CancelScope() as self._reading:
                try:
                    return await self._source.read()
                except Problem as trouble:  # what came before it is still transcribed
                    self._trouble = trouble
                    return b""
        if self._rested:
            return b""
        self._rested = True
        return self._source.rest()
