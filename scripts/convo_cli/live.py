"""One live session from its first sample to its last word, over as many connections as that takes.

In: a source of samples and a way to the daemon. Out: the session's events, shown by `captions.py`. The end of the
audio, Ctrl-C and a closed pipe all end the session at the daemon, so that the last words are heard; a broken link is
made again, and the audio goes on from where the daemon has it.
"""

from __future__ import annotations

from contextlib import suppress

import trio

import convo
from convo.messages import AttachReply, Code, CreateSession, Event
from convo.resume import UnackedBuffer

from .arguments import Options
from .captions import Captions
from .errors import ClosedPipe, Exit, Problem, refused
from .interrupts import on_interrupt
from .link import connected
from .output import Lines, note
from .sources import Source

_PAUSE_S = 0.1  # before a broken link is tried again; doubles up to the next
_LONGEST_PAUSE_S = 2.0
_WORTH_TELLING_S = 0.05  # seconds of microphone that are missing


class Live:
    """Streams `source` into the session that `request` asks for. `announce`: say on standard error which one it is."""

    def __init__(
        self,
        options: Options,
        request: CreateSession,
        source: Source,
        captions: Captions,
        lines: Lines,
        *,
        announce: bool = False,
    ) -> None:
        self._options = options
        self._request = request
        self._source = source
        self._captions = captions
        self._lines = lines
        self._announce = announce
        self._tape = UnackedBuffer()
        self._session: str | None = None
        self._stopped = False  # somebody wants the session to end now
        self._rested = False  # what stood in the source then was taken
        self._drained = False  # the source has nothing more
        self._ended = False  # and the daemon knows
        self._trouble: Problem | ClosedPipe | None = None
        self._everything = trio.CancelScope()
        self._reading: trio.CancelScope | None = None

    async def run(self) -> None:
        """Do it all; every word that was heard is printed before this raises.

        Raises:
            Problem: the source or the session failed, or there is no daemon.
            Interrupted: a signal ended it.
            ClosedPipe: nobody reads its words any more.
        """
        failure: Exception | None = None
        with on_interrupt(self._interrupted) as interrupts:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._print)
                try:
                    with self._everything:
                        await self._keep_talking()
                except (Problem, convo.ConvoError) as error:
                    failure = error
                self._lines.close()
            self._captions.erase()
            if (lost := self._source.lost_s()) > _WORTH_TELLING_S:
                note(f"{lost:.1f} s of the microphone are missing: this machine or the daemon was too slow for them.")
            if self._trouble is not None:
                raise self._trouble
            if failure is not None:
                raise failure
            self._captions.outcome()
            interrupts.check()

    # --- what ends it early -------------------------------------------------------------------------------

    def _interrupted(self) -> None:
        if self._session is None:
            self._everything.cancel()
        else:
            self._captions.note("Ending the session; its last words follow. Ctrl-C again leaves at once.")
            self._stop()

    def _stop(self) -> None:
        self._stopped = True
        if self._reading is not None:
            self._reading.cancel()

    def _give_up(self, trouble: Problem | ClosedPipe) -> None:
        """There is no point in printing more: end the session, and leave without its last words."""
        self._trouble = self._trouble or trouble
        self._stop()
        if self._session is None or self._ended:
            self._everything.cancel()

    async def _print(self) -> None:
        try:
            await self._lines.run()
        except (ClosedPipe, Problem) as trouble:
            self._give_up(trouble)

    # --- the link -----------------------------------------------------------------------------------------

    async def _keep_talking(self) -> None:
        deadline, pause = 0.0, _PAUSE_S
        while True:
            try:
                async with connected(self._options) as client:
                    session = await self._open(client)
                    resume_s = client.welcome.limits.resume_s
                    deadline, pause = 0.0, _PAUSE_S
                    await self._talk(session)
                    return
            except (convo.ConnectionLost, convo.EventsLost, convo.CannotConnect) as error:
                if self._session is None:
                    raise
                now = trio.current_time()
                if not deadline:
                    self._captions.note(f"{error} Trying again.")
                    deadline = now + resume_s
                elif now > deadline:
                    raise
            await trio.sleep(pause)
            pause = min(_LONGEST_PAUSE_S, pause * 2)

    async def _open(self, client: convo.Client) -> convo.ClientSession:
        if self._session is not None:
            return await self._attach(client, self._session)
        first = await self._read()  # a pipe in which nothing comes leaves no empty session behind
        if not first:
            raise self._trouble or Problem(Exit.BAD_AUDIO, f"{self._source.name} ended before any audio came.")
        self._tape.add(first)
        fields = {name: getattr(self._request, name) for name in self._request.__struct_fields__ if name != "id"}
        session = await client.create_session(**fields)
        self._session = session.id
        if self._announce:
            self._captions.note(f"session {session.id}; Ctrl-C ends it.")
        return session

    async def _attach(self, client: convo.Client, name: str) -> convo.ClientSession:
        after = self._captions.last_seq
        session = await client.attach(name, after_seq=after, produce=True)
        assert isinstance(session.reply, AttachReply)
        if session.reply.ended and not self._ended:
            # The end may have been heard just before the link broke; or the daemon did not wait any longer.
            self._ended = True
            if not self._drained or session.reply.audio_offset < self._tape.end:
                self._trouble = self._trouble or Problem(
                    Exit.NO_DAEMON,
                    "The connection was broken for too long: the daemon ended the session without the rest.",
                )
        return session

    # --- the session --------------------------------------------------------------------------------------

    async def _talk(self, session: convo.ClientSession) -> None:
        async with trio.open_nursery() as nursery:
            if not self._ended:
                nursery.start_soon(self._feed, session)
            lost = await self._listen(session)
            nursery.cancel_scope.cancel()
        if lost is not None:
            raise lost

    async def _listen(self, session: convo.ClientSession) -> convo.ConvoError | None:
        """Show what happens until nothing more does; returns what broke that off."""
        while True:
            try:
                async for event in session.events():
                    self._show(event)
                return None
            except convo.RequestError as error:  # the audio was refused: what was heard before still comes
                self._trouble = self._trouble or refused(error.code, error.message)
                self._stop()
            except (convo.ConnectionLost, convo.EventsLost) as error:
                return error

    def _show(self, event: Event) -> None:
        if isinstance(self._trouble, ClosedPipe):
            return
        try:
            self._captions.show(event)
        except (ClosedPipe, Problem) as trouble:
            self._give_up(trouble)

    async def _feed(self, session: convo.ClientSession) -> None:
        """Send the audio, then say that it ended. A broken link is the listener's to tell."""
        with suppress(convo.ConnectionLost):
            try:
                await self._send(session)
            except convo.RequestError as error:
                self._trouble = self._trouble or refused(error.code, error.message)
            await self._end(session)

    async def _send(self, session: convo.ClientSession) -> None:
        stored = session.reply.audio_offset if isinstance(session.reply, AttachReply) else 0
        await session.send_audio(self._tape.after(stored))
        while not self._drained:
            data = await self._read()
            if not data:
                self._drained = True
                break
            self._tape.add(data)
            await session.send_audio(data)
            self._tape.acknowledge(session.acknowledged)

    async def _end(self, session: convo.ClientSession) -> None:
        try:
            await session.end()
        except convo.RequestError as error:
            if error.code != Code.BAD_STATE:  # else it had ended already
                self._trouble = self._trouble or refused(error.code, error.message)
                self._everything.cancel()
        self._ended = True
        if isinstance(self._trouble, ClosedPipe):
            self._everything.cancel()

    async def _read(self) -> bytes:
        if not self._stopped:
            with trio.CancelScope() as self._reading:
                try:
                    return await self._source.read()
                except Problem as trouble:  # what came before it is heard all the same
                    self._trouble = trouble
                    return b""
        if self._rested:
            return b""
        self._rested = True
        return self._source.rest()
