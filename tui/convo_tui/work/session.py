"""Runs a session for the app: a live one of our own, or one that is watched.

In: a link; for our own session, a source of samples and what the user wants (pause, mute, finalise, end). Out:
`SessionEvents` at most 20 times a second, `SessionChanged`, `SessionEnded`. The client library survives broken links.
Nothing here touches a widget.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from textual.message import Message

import convo
from convo.errors import BadAudio
from convo.media import seconds
from convo.messages import Event, GetSession, SpeakerLabel, SpeakersRevised

from ..messages import Notice, SessionChanged, SessionEnded, SessionEvents
from ..model.pace import Batch
from ..model.session import Change, SessionModel
from .sources import FLOOR_DBFS, Source, level

T = TypeVar("T")

_WORTH_REPORTING_S = 0.05  # seconds of microphone audio lost
_YIELD_EVERY = 256  # events, so that other tasks get a turn


class Watch:
    """Follows a session: its past events, then new ones. `post` takes messages for the app."""

    def __init__(self, link: convo.Link, model: SessionModel, post: Callable[[Message], object]) -> None:
        self.model = model
        self._link = link
        self._post = post
        self._batch = Batch()
        self._flush: asyncio.TimerHandle | None = None
        self._called: set[int] = set()  # speakers whose names were asked for

    @property
    def backlog_s(self) -> float:
        """Seconds of audio recorded here and not yet sent."""
        return 0.0

    async def run(self) -> None:
        """Run until cancelled: a new summary, title or mark can come even after the end."""
        try:
            events = convo.Follower(self._link, self.model.session, forever=True, attached=self._attached)
            await self._listen(events)
        except convo.ConvoError as error:
            self._finish(str(error))
        finally:
            self._stop_flush()

    async def _attached(self, client: convo.Client) -> None:
        info = await client.request(GetSession(session=self.model.session, after_segment=2**62))
        self.model.kind, self.model.created = info.kind, info.created
        self._post(SessionChanged(self.model, Change.STATE | Change.TITLE))

    # --- events -------------------------------------------------------------------------------------------

    async def _listen(self, events: AsyncIterator[Event]) -> None:
        count = 0
        async for event in events:
            self._take(event)
            if spoke := _speakers(event) - self._called:
                await self._learn_names(spoke)
            count += 1
            if count % _YIELD_EVERY == 0:
                await asyncio.sleep(0)

    async def _learn_names(self, spoke: set[int]) -> None:
        """Ask what speakers are called: events tell names only where they change."""
        self._called |= spoke
        with suppress(convo.ConvoError):  # they are called by their numbers
            speakers = (await self._link.request(GetSession(session=self.model.session))).speakers
            self._called |= {each.speaker for each in speakers}
            self.model.name_speakers(speakers)
            self._post(SessionChanged(self.model, Change.SPEAKERS))

    def _take(self, event: Event) -> None:
        self._batch.add(event)
        self._tell_soon()

    def _loud(self, dbfs: float) -> None:
        self._batch.level(dbfs)
        self._tell_soon()

    def _tell_soon(self) -> None:
        if self._flush is None:
            loop = asyncio.get_running_loop()
            self._flush = loop.call_later(self._batch.due(loop.time()), self._tell)

    def _tell(self) -> None:
        self._flush = None
        if self._batch:
            events, loud = self._batch.take(asyncio.get_running_loop().time())
            self._post(SessionEvents(self.model, events, loud, self.backlog_s))

    def _stop_flush(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._tell()

    def _finish(self, problem: str = "") -> None:
        self._stop_flush()
        self._post(SessionEnded(self.model, problem))


def _speakers(event: Event) -> set[int]:
    """The speakers that an event is about."""
    match event:
        case SpeakerLabel():
            return {event.speaker}
        case SpeakersRevised():
            return {label.speaker for label in event.labels}
    return set()


class LiveSession(Watch):
    """A live session of our own, with the audio of `source`; `wanted` are its options."""

    def __init__(
        self,
        link: convo.Link,
        model: SessionModel,
        post: Callable[[Message], object],
        source: Source,
        wanted: convo.SessionOptions,
    ) -> None:
        super().__init__(link, model, post)
        self.source = source
        self.muted = False
        self.paused = False
        self.stopped = False
        self.stream = convo.LiveStream(link, busy=self._busy, **(wanted | {"audio": source.format}))
        self._wanted = asyncio.Event()  # wakes the reader for pause, resume, stop
        self._drained = False
        self._problem = ""
        self._end_received = asyncio.Event()

    @property
    def backlog_s(self) -> float:
        """Seconds of audio recorded here and not yet stored by the daemon."""
        waiting = self.stream.taken - max(self.stream.acknowledged, self.model.stored_bytes)
        return seconds(self.source.format, max(0, waiting)) + self.source.waiting_s()

    @property
    def clock_s(self) -> float:
        """The session's sample clock: seconds of audio so far."""
        return seconds(self.source.format, self.stream.taken)

    # --- what the user wants ------------------------------------------------------------------------------

    def mute(self, muted: bool) -> None:
        """Send silence instead of sound; the clock goes on."""
        self.muted = muted

    def pause(self) -> None:
        """Stop recording; the clock stops."""
        if not self.paused:
            self.paused = True
            self._keep(self.source.pause())
            self._wanted.set()
            self._loud(FLOOR_DBFS)

    def resume(self) -> None:
        """Record again.

        Raises:
            BadAudio, NoMicrophone: the microphone cannot be opened again.
        """
        if self.paused:
            self.source.resume()
            self.paused = False
            self._wanted.set()

    def stop(self) -> None:
        """End the audio; the last words, the summary and the end follow."""
        self.stopped = True
        self._wanted.set()

    async def wait_ended(self) -> None:
        """After `stop`, wait until the daemon knows that no more audio comes."""
        await self._end_received.wait()

    async def finalize(self) -> None:
        """Finalise everything said so far."""
        if self.stream.session:
            await self.stream.finalize()

    # --- running ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run from the first sample to the final state."""
        try:
            async with self.stream:
                self.model.session = await self.stream.opened()
                self._post(SessionChanged(self.model, Change.STATE | Change.TITLE))
                feeding = asyncio.create_task(self._feed())
                try:
                    await self._listen(self.stream)
                finally:
                    feeding.cancel()
                    await asyncio.gather(feeding, return_exceptions=True)
        except convo.ConvoError as error:
            self._problem = self._problem or str(error)
        finally:
            self._end_received.set()
            self.source.close()
            if (lost := self.source.lost_s()) > _WORTH_REPORTING_S:
                sentence = f"{lost:.1f} s of microphone audio were lost: the daemon was away or too slow."
                self._post(Notice(sentence, "warning"))
            for sentence in self.source.warnings():
                self._post(Notice(sentence, "warning"))
            self._finish(self._problem or str(self.stream.failure or ""))

    def _busy(self, error: convo.RequestError) -> None:
        self._post(Notice(error.message, "warning"))

    async def _feed(self) -> None:
        """Send the audio, then its end. The stream reports what goes wrong."""
        with suppress(convo.ConvoError):
            while not self._drained:
                self._keep(await self._read())
                await self.stream.send(b"")  # wait until it is sent
        self.stop()
        with suppress(convo.ConvoError):
            await self.stream.end()
        self._end_received.set()

    def _keep(self, data: bytes) -> None:
        if data:
            if self.muted:
                data = bytes(len(data))
            with suppress(convo.ConvoError):  # the feeding task sees it too
                self.stream.send_nowait(data)
            if self.source.format.encoding == "s16le":
                self._loud(level(data[-4096:]))

    async def _read(self) -> bytes:
        """The next samples of the source; empty if the user wants something first."""
        if self.stopped:
            self._drained = True
            return b"" if self.paused else self.source.rest()
        if self.paused:
            await self._wanted.wait()
            self._wanted.clear()
            return b""
        try:
            data = await self._until_wanted(self.source.read())
        except BadAudio as error:  # what came before it still counts
            self._problem = str(error)
            data = b""
        if data is None:
            return b""
        if not data:
            self._drained = True
        return data

    async def _until_wanted(self, work: Awaitable[T]) -> T | None:
        task = asyncio.ensure_future(work)
        wanted = asyncio.create_task(self._wanted.wait())
        try:
            await asyncio.wait({task, wanted}, return_when=asyncio.FIRST_COMPLETED)
            self._wanted.clear()
            return task.result() if task.done() else None
        finally:
            for each in (task, wanted):
                each.cancel()
            await asyncio.gather(task, wanted, return_exceptions=True)
