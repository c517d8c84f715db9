"""A session on this app's screen, over as many connections as that takes: one that we speak, or one that we watch.

In: a link, for our own a source of samples, and what somebody wants of it (pause, mute, finalise, end). Out: `Heard`
at most 20 times a second, `Began`, `Ended`. A broken link is waited for; the audio then goes on from where the daemon
has it, the events from the last one that was taken. Nothing here touches a widget.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from textual.message import Message

import convo
from convo.errors import BadAudio
from convo.media import seconds
from convo.messages import AttachReply, Code, Event, GetSession
from convo.resume import UnackedBuffer

from ..model.pace import Batch
from ..model.session import SessionModel
from .link import Link
from .messages import Began, Ended, Heard, Say
from .sources import FLOOR_DBFS, Source, level

T = TypeVar("T")

_BUSY_S = 1.0  # before a daemon that has no room is asked again
_WORTH_TELLING_S = 0.05  # seconds of microphone that are missing
_BREATHER = 256  # events after which others get a turn


class Watch:
    """Follows a session: all its events, then those that come. `post` takes messages for the app."""

    def __init__(self, link: Link, model: SessionModel, post: Callable[[Message], object]) -> None:
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
        """Until it is over; then until cancelled, for what may still come: a new summary, a title, a mark."""
        try:
            while True:
                client = await self._link.client()
                try:
                    await self._follow(client)
                except (convo.ConnectionLost, convo.EventsLost):
                    await asyncio.sleep(0)
        except convo.RequestError as error:
            self._finish(error.message)
        finally:
            self._stop_flush()

    async def _follow(self, client: convo.Client) -> None:
        info = await client.request(GetSession(session=self.model.session, after_segment=2**62))
        self.model.kind, self.model.created = info.kind, info.created
        session = await client.attach(self.model.session, after_seq=self._seq)
        self._post(Began(self.model))
        await self._listen(session, forever=True)

    # --- events -------------------------------------------------------------------------------------------

    _seq = 0

    async def _listen(self, session: convo.ClientSession, *, forever: bool) -> None:
        count = 0
        stream = session.events(until=(lambda event: False) if forever else None)
        async for event in stream:
            self._take(event)
            count += 1
            if count % _BREATHER == 0:
                await asyncio.sleep(0)

    def _take(self, event: Event) -> None:
        if isinstance(event, convo.DurableEvent):
            self._seq = max(self._seq, event.seq)
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
            self._post(Heard(self.model, events, loud, self.backlog_s))

    def _stop_flush(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._tell()

    def _finish(self, problem: str = "") -> None:
        self._stop_flush()
        self._post(Ended(self.model, problem))


class Talk(Watch):
    """A live session of ours. `fields` are those of `CreateSession`, `source` what is heard."""

    def __init__(
        self, link: Link, model: SessionModel, post: Callable[[Message], object], source: Source, **fields: Any
    ) -> None:
        super().__init__(link, model, post)
        self.source = source
        self.muted = False
        self.paused = False
        self.stopped = False
        self._fields = fields | {"key": uuid.uuid4().hex, "audio": source.format}
        self._tape = UnackedBuffer()
        self._acknowledged = 0
        self._wanted = asyncio.Event()  # somebody wants something of the reader: pause, resume, stop
        self._drained = False
        self._ended = False
        self._problem = ""
        self._client_session: convo.ClientSession | None = None
        self._end_was_heard = asyncio.Event()

    @property
    def backlog_s(self) -> float:
        """Seconds of audio that are here and not yet safe with the daemon."""
        waiting = self._tape.end - max(self._acknowledged, self.model.stored_bytes)
        return seconds(self.source.format, max(0, waiting)) + self.source.waiting_s()

    @property
    def clock_s(self) -> float:
        """The session's sample clock: seconds of audio so far."""
        return seconds(self.source.format, self._tape.end)

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
        await self._end_was_heard.wait()

    async def finalize(self) -> None:
        """Have everything said so far written now."""
        session = self._client_session
        if session is not None and not self._ended:
            await session.finalize()

    # --- its life -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """From the first sample to the final state."""
        try:
            while not await self._once():
                pass
        finally:
            self._client_session = None
            self._end_was_heard.set()
            self.source.close()
            if (lost := self.source.lost_s()) > _WORTH_TELLING_S:
                sentence = f"{lost:.1f} s of the microphone are missing: the daemon was away or too slow."
                self._post(Say(sentence, "warning"))
            self._finish(self._problem)

    async def _once(self) -> bool:
        """As long as one connection lasts; whether everything is done."""
        client = await self._link.client()
        try:
            session = await self._open(client)
            if session is None:
                return True
            self._client_session = session
            await self._speak(session)
            return True
        except (convo.ConnectionLost, convo.EventsLost):
            await asyncio.sleep(0)
            return False
        except convo.RequestError as error:
            if error.code == Code.BUSY and not self.model.session:
                self._post(Say(error.message, "warning"))
                await asyncio.sleep(_BUSY_S)
                return False
            self._problem = self._problem or error.message
            return True
        except convo.ConvoError as error:
            self._problem = self._problem or str(error)
            return True
        finally:
            self._client_session = None

    async def _open(self, client: convo.Client) -> convo.ClientSession | None:
        if self.model.session:
            session = await client.attach(self.model.session, after_seq=self._seq, produce=True)
            assert isinstance(session.reply, AttachReply)
            if session.reply.ended and not self._ended:
                # The end may have been heard just before the link broke; or the daemon did not wait any longer.
                self._ended = True
                if not self._drained or session.reply.audio_offset < self._tape.end:
                    self._problem = (
                        "The connection was broken for too long: the daemon ended the session without the rest."
                    )
            return session
        if self.stopped:
            return None
        session = await client.create_session("live", **self._fields)
        self.model.session = session.id
        self._post(Began(self.model))
        return session

    async def _speak(self, session: convo.ClientSession) -> None:
        feeding = None if self._ended else asyncio.create_task(self._feed(session))
        try:
            while True:
                try:
                    await self._listen(session, forever=False)
                    return
                except convo.RequestError as error:  # the audio was refused: what was heard before still comes
                    self._problem = self._problem or error.message
                    self.stop()
        finally:
            if feeding is not None:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)

    async def _feed(self, session: convo.ClientSession) -> None:
        """Send the audio, then say that it ended. A broken link is the listener's to tell."""
        try:
            await self._send(session)
            await session.end()
            self._ended = True
            self._end_was_heard.set()
        except convo.RequestError as error:
            if error.code != Code.BAD_STATE:
                self._problem = self._problem or error.message
        except convo.RemoteProtocolError as error:
            self._problem = str(error)
        except (convo.ConnectionLost, convo.LocalProtocolError):
            return

    async def _send(self, session: convo.ClientSession) -> None:
        at = session.reply.audio_offset if isinstance(session.reply, AttachReply) else 0
        while True:
            data = self._tape.after(at)
            at += len(data)
            if data:
                await session.send_audio(data)
            self._acknowledged = session.acknowledged
            self._tape.acknowledge(session.acknowledged)
            if self._tape.end > at:
                continue  # a pause left something
            if self._drained:
                return
            self._keep(await self._read())

    def _keep(self, data: bytes) -> None:
        if data:
            if self.muted:
                data = bytes(len(data))
            self._tape.add(data)
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
