"""A session on this app's screen, over as many connections as that takes: one that we speak, or one that we watch.

In: a link, for our own a source of samples, and what somebody wants of it (pause, mute, finalise, end). Out:
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
from convo.messages import Event, GetSession

from ..messages import Notice, SessionChanged, SessionEnded, SessionEvents
from ..model.pace import Batch
from ..model.session import Change, SessionModel
from .sources import FLOOR_DBFS, Source, level

T = TypeVar("T")

_WORTH_TELLING_S = 0.05  # seconds of microphone that are missing
_BREATHER = 256  # events after which others get a turn


class Watch:
    """Follows a session: all its events, then those that come. `post` takes messages for the app."""

    def __init__(self, link: convo.Link, model: SessionModel, post: Callable[[Message], object]) -> None:
        self.model = model
        self._link = link
        self._post = post
        self._batch = Batch()
        self._flush: asyncio.TimerHandle | None = None

    @property
    def backlog_s(self) -> float:
        """Seconds of audio that are here and not yet with the daemon."""
        return 0.0

    async def run(self) -> None:
        """Until cancelled: after the end, too, a new summary, a title or a mark may come."""
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
            count += 1
            if count % _BREATHER == 0:
                await asyncio.sleep(0)

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


class LiveSession(Watch):
    """A live session of ours. `source` is what is heard, `wanted` what the session is to be like."""

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
        self._wanted = asyncio.Event()  # somebody wants something of the reader: pause, resume, stop
        self._drained = False
        self._problem = ""
        self._end_received = asyncio.Event()

    @property
    def backlog_s(self) -> float:
        """Seconds of audio that are here and not yet safe with the daemon."""
        waiting = self.stream.taken - max(self.stream.acknowledged, self.model.stored_bytes)
        return seconds(self.source.format, max(0, waiting)) + self.source.waiting_s()

    @property
    def clock_s(self) -> float:
        """The session's sample clock: seconds of audio so far."""
        return seconds(self.source.format, self.stream.taken)

    # --- what somebody wants ------------------------------------------------------------------------------

    def mute(self, muted: bool) -> None:
        """Send silence in place of what is heard; the clock goes on."""
        self.muted = muted

    def pause(self) -> None:
        """Stop hearing; the clock stops."""
        if not self.paused:
            self.paused = True
            self._keep(self.source.pause())
            self._wanted.set()
            self._loud(FLOOR_DBFS)

    def resume(self) -> None:
        """Hear again.

        Raises:
            BadAudio, NoMicrophone: the microphone cannot be opened any more.
        """
        if self.paused:
            self.source.resume()
            self.paused = False
            self._wanted.set()

    def stop(self) -> None:
        """No more audio: the last words, the summary and the end follow."""
        self.stopped = True
        self._wanted.set()

    async def wait_ended(self) -> None:
        """Until the daemon knows that no more audio comes, after `stop`."""
        await self._end_received.wait()

    async def finalize(self) -> None:
        """Have everything said so far written now."""
        if self.stream.session:
            await self.stream.finalize()

    # --- its life -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """From the first sample to the final state."""
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
            if (lost := self.source.lost_s()) > _WORTH_TELLING_S:
                sentence = f"{lost:.1f} s of the microphone are missing: the daemon was away or too slow."
                self._post(Notice(sentence, "warning"))
            self._finish(self._problem or str(self.stream.failure or ""))

    def _busy(self, error: convo.RequestError) -> None:
        self._post(Notice(error.message, "warning"))

    async def _feed(self) -> None:
        """Send the audio, then say that it ended. What went wrong is the stream's to tell."""
        with suppress(convo.ConvoError):
            while not self._drained:
                self._keep(await self._read())
                await self.stream.send(b"")  # wait until it is out
        self.stop()
        with suppress(convo.ConvoError):
            await self.stream.end()
        self._end_received.set()

    def _keep(self, data: bytes) -> None:
        if data:
            if self.muted:
                data = bytes(len(data))
            with suppress(convo.ConvoError):  # the feeder learns of it
                self.stream.send_nowait(data)
            if self.source.format.encoding == "s16le":
                self._loud(level(data[-4096:]))

    async def _read(self) -> bytes:
        """What the source gives next; empty if somebody wants something instead."""
        if self.stopped:
            self._drained = True
            return b"" if self.paused else self.source.rest()
        if self.paused:
            await self._wanted.wait()
            self._wanted.clear()
            return b""
        try:
            data = await self._until_wanted(self.source.read())
        except BadAudio as error:  # what came before it is heard all the same
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
