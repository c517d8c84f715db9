"""The session protocol against a model of it: any order of what clients may do, and what must come of it.

The machine plays two owners with three connections to one daemon in memory; its clock moves only when a rule moves it.
`CONVO_MODEL_EXAMPLES` says how many games are played.
The model knows of each session who owns it, how many bytes are stored, and whether more are taken.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from convo.connection import NEED_DATA
from convo.messages import (
    Attach,
    AttachReply,
    Audio,
    AudioAck,
    CancelSession,
    CreateSession,
    CreateSessionReply,
    DeleteSession,
    Detach,
    DurableEvent,
    EndSession,
    Error,
    Finalize,
    FinalizeReply,
    GetSession,
    ListSessions,
    SessionState,
    State,
    SummaryOptions,
)
from tests.daemon.support.hall import Hall, Peer, hall
from tests.daemon.support.house import run_inline

RESUME_S = 30.0


@dataclass
class Modelled:
    """What must be true of a session."""

    owner: str
    stored: int = 0
    takes: bool = True
    state: State | None = None  # a final one, once it is known
    producer: int | None = None
    left_at: float | None = None
    seqs: dict[int, int] = field(default_factory=dict)  # by connection: the last number it was told


class Loop:
    """A trio loop in a thread of its own, with a virtual clock; calls run in it one at a time."""

    def __init__(self, folder: Path) -> None:
        self._calls: Queue[Any] = Queue()
        self._clock = trio.testing.MockClock()
        self._folder = folder
        self._token: trio.lowlevel.TrioToken | None = None
        self._begun = threading.Event()
        self._stop: trio.Event
        self.place: Hall
        self.fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._begun.wait(30)

    def _run(self) -> None:
        async def main() -> None:
            self._stop = trio.Event()
            async with hall(self._folder, resume_s=RESUME_S) as self.place:
                self._token = trio.lowlevel.current_trio_token()
                self._begun.set()
                await self._stop.wait()

        try:
            trio.run(main, clock=self._clock)
        except BaseException as error:
            self.fault = error
        finally:
            self._begun.set()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run an async function in the loop, then let everything settle."""

        async def settled() -> Any:
            result = await function(*arguments)
            await trio.testing.wait_all_tasks_blocked()
            return result

        return trio.from_thread.run(settled, trio_token=self._token)

    def jump(self, seconds: float) -> None:
        async def nothing() -> None:
            self._clock.jump(seconds)
            await trio.lowlevel.checkpoint()

        self.call(nothing)

    def close(self) -> None:
        trio.from_thread.run_sync(self._stop.set, trio_token=self._token)
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self.fault is not None:
            raise self.fault


class Player:
    """One connection, and all that came on it."""

    def __init__(self, owner: str, peer: Peer) -> None:
        self.owner, self.peer = owner, peer
        self.inbox: list[Any] = []

    async def read(self) -> None:
        peer = self.peer
        while True:
            while (event := peer.connection.next_event()) is not NEED_DATA:
                self.inbox.append(event)
            try:
                data = await peer.stream.receive_some(1 << 16)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            if not data:
                return
            peer.connection.receive_data(bytes(data))


class Protocol(RuleBasedStateMachine):
    """Clients at random."""

    sessions = Bundle("sessions")

    @initialize()
    def begin(self) -> None:
        self.patches = pytest.MonkeyPatch()
        run_inline(self.patches)
        self.folder = tempfile.TemporaryDirectory()
        self.loop = Loop(Path(self.folder.name))
        self.model: dict[str, Modelled] = {}
        self.gone: set[str] = set()
        self.players: dict[int, Player] = {}
        self.now = 0.0
        for number, owner in enumerate(("ann", "ann", "bob")):
            self._connect(number, owner)

    def _connect(self, number: int, owner: str) -> None:
        async def connect() -> Player:
            peer = await self.loop.place.client(owner=owner)
            player = Player(owner, peer)
            self.loop.place.nursery.start_soon(player.read)
            return player

        self.players[number] = self.loop.call(connect)

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.close()
            self.folder.cleanup()
            self.patches.undo()

    def ask(self, number: int, kind: Any, /, **fields: Any) -> Any:
        player = self.players[number]
        request = player.peer.numbered(kind, **fields)
        self.loop.call(player.peer.send, request)
        answer = next(one for one in player.inbox if getattr(one, "id", None) == request.id)
        player.inbox.remove(answer)
        return answer

    def mine(self, number: int, session: str) -> bool:
        return session not in self.gone and self.model[session].owner == self.players[number].owner

    def read(self) -> None:
        """Hold what came against the model."""
        for number, player in self.players.items():
            for event in player.inbox:
                self._check(number, event)
            player.inbox.clear()

    def _check(self, number: int, event: Any) -> None:
        session = getattr(event, "session", None)
        if session in self.gone or session not in self.model or isinstance(event, CreateSessionReply):
            return
        known = self.model[session]
        if isinstance(event, DurableEvent):
            expected = known.seqs.get(number, 0) + 1
            assert event.seq == expected, f"gap or repetition: {event.seq} after {expected - 1}"
            known.seqs[number] = event.seq
            if isinstance(event, SessionState) and event.state.final:
                known.state, known.takes = event.state, False
        elif isinstance(event, AudioAck):
            assert event.offset <= known.stored, "acknowledged what was not sent"

    # --- what clients do ---

    @rule(target=sessions, number=st.integers(0, 2))
    def create(self, number: int) -> str:
        reply = self.ask(number, CreateSession, kind="live", summary=SummaryOptions(mode="off"))
        assert isinstance(reply, CreateSessionReply)
        assert reply.session not in self.model
        self.model[reply.session] = Modelled(self.players[number].owner, producer=number)
        self.read()
        return str(reply.session)

    @rule(
        number=st.integers(0, 2),
        session=sessions,
        samples=st.integers(1, 4000),
        shift=st.sampled_from([0, 0, 0, -2, 2]),
        odd=st.sampled_from([0, 0, 0, 1]),
    )
    def send(self, number: int, session: str, samples: int, shift: int, odd: int) -> None:
        known = self.model[session]
        offset = max(0, known.stored + shift)
        data = bytes(2 * samples + odd)
        player = self.players[number]
        self.read()
        self.loop.call(player.peer.send, Audio(session=session, offset=offset, data=data))
        errors = [event for event in player.inbox if isinstance(event, Error)]
        producing = self.mine(number, session) and known.takes and known.producer == number
        taken = producing and not odd and offset <= known.stored
        assert bool(errors) != taken, (errors, taken)
        if taken:
            known.stored = max(known.stored, offset + len(data))
            assert self.loop.place.home.spool.path(session).stat().st_size == known.stored
        else:
            assert errors[0].session == session
            expected = "unknown_session" if not self.mine(number, session) else None
            assert expected is None or errors[0].code == expected
        self.read()

    @rule(number=st.integers(0, 2), session=sessions, produce=st.booleans())
    def attach(self, number: int, session: str, produce: bool) -> None:
        known = self.model[session]
        after = 0
        self.read()
        if self.mine(number, session):
            known.seqs[number] = after  # told anew from there
        reply = self.ask(number, Attach, session=session, after_seq=after, produce=produce)
        if not self.mine(number, session):
            assert isinstance(reply, Error)
            assert reply.code == "unknown_session"
            return
        assert isinstance(reply, AttachReply)
        assert reply.audio_offset == known.stored
        assert reply.ended == (not known.takes)
        assert (reply.credit > 0) == (produce and known.takes)
        if produce and known.takes:
            known.producer, known.left_at = number, None
        self.read()

    @rule(number=st.integers(0, 2), session=sessions)
    def detach(self, number: int, session: str) -> None:
        reply = self.ask(number, Detach, session=session)
        self.read()  # what came before
        if not isinstance(reply, Error):
            known = self.model[session]
            known.seqs.pop(number, None)
            if known.producer == number:
                known.producer, known.left_at = None, self.now

    @rule(number=st.integers(0, 2), session=sessions)
    def end(self, number: int, session: str) -> None:
        reply = self.ask(number, EndSession, session=session)
        known = self.model[session]
        if self.mine(number, session) and known.takes:
            assert not isinstance(reply, Error)
            known.takes = False
        else:
            assert isinstance(reply, Error)
            assert reply.code == ("bad_state" if self.mine(number, session) else "unknown_session")

    @rule(number=st.integers(0, 2), session=sessions)
    def finalize(self, number: int, session: str) -> None:
        reply = self.ask(number, Finalize, session=session)
        if isinstance(reply, FinalizeReply):
            assert self.mine(number, session)
            assert reply.offset == self.model[session].stored
        elif self.mine(number, session):
            assert not self.model[session].takes

    @rule(number=st.integers(0, 2), session=sessions)
    def cancel(self, number: int, session: str) -> None:
        reply = self.ask(number, CancelSession, session=session)
        known = self.model[session]
        if not isinstance(reply, Error):
            assert self.mine(number, session)
            known.takes, known.state = False, State.CANCELLED
        else:
            assert not self.mine(number, session) or not known.takes

    @rule(number=st.integers(0, 2), session=consumes(sessions))
    def delete(self, number: int, session: str) -> None:
        mine = self.mine(number, session)
        reply = self.ask(number, DeleteSession, session=session)
        assert isinstance(reply, Error) != mine
        if mine:
            self.gone.add(session)

    @rule(number=st.integers(0, 2))
    def vanish(self, number: int) -> None:
        """The link breaks, and the client comes back with another."""
        self.read()
        player = self.players.pop(number)
        self.loop.call(player.peer.stream.aclose)
        for known in self.model.values():
            known.seqs.pop(number, None)
            if known.producer == number:
                known.producer, known.left_at = None, self.now
        self._connect(number, player.owner)

    @precondition(lambda self: any(one.left_at is not None and one.takes for one in self.model.values()))
    @rule()
    def time_passes(self) -> None:
        """Longer than a session waits for its client."""
        self.loop.jump(RESUME_S + 1)
        self.now += RESUME_S + 1
        for known in self.model.values():
            if known.left_at is not None and known.takes:
                known.takes = False
        self.loop.jump(2.0)
        self.read()

    # --- what is always true ---

    @invariant()
    def everybody_sees_their_own(self) -> None:
        if not hasattr(self, "loop"):
            return
        for number, player in self.players.items():
            reply = self.ask(number, ListSessions)
            listed = {info.session for info in reply.sessions}
            assert listed == {
                name for name, one in self.model.items() if one.owner == player.owner and name not in self.gone
            }
            for info in reply.sessions:
                known = self.model[info.session]
                if known.state is not None:
                    assert info.state == known.state

    @rule(session=sessions, number=st.integers(0, 2))
    def look(self, session: str, number: int) -> None:
        reply = self.ask(number, GetSession, session=session)
        assert isinstance(reply, Error) != self.mine(number, session)


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(
    max_examples=int(os.environ.get("CONVO_MODEL_EXAMPLES", "8")), stateful_step_count=20, deadline=None
)
