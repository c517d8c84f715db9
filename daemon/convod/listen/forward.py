"""Requests for sessions that another convod works on: that one does them.

In: requests of clients here, and those that other convods have stored for this one. Out: one reply to each, as if the
session were here. They go through the store, so convods need no way to each other, and no tokens. A request is begun
at most once unless it may be repeated; where its convod dies, the one that takes the session over does it. Audio is not
forwarded.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, TypeGuard

import msgspec
import trio

from convo.messages import (
    REQUESTS,
    AddMark,
    CancelSession,
    Code,
    CorrectSegment,
    EndSession,
    Error,
    Finalize,
    MergeSpeakers,
    Message,
    Refine,
    RenameSpeaker,
    Reply,
    Request,
    Retranscribe,
    RetrySession,
    SetSpeaker,
    Summarize,
    UpdateSession,
    encode,
    from_map,
)
from convod.listen.auth import LOCAL, Grant, Right
from convod.listen.client import Client
from convod.listen.outbox import Outbox
from convod.sessions import Manager, Refused
from convod.store import Asked, Asking, Holder, Leases, StoreFailed

log = logging.getLogger("convod.listen")

Forwarded = (
    AddMark
    | CancelSession
    | CorrectSegment
    | EndSession
    | Finalize
    | MergeSpeakers
    | Refine
    | RenameSpeaker
    | Retranscribe
    | RetrySession
    | SetSpeaker
    | Summarize
    | UpdateSession
)
"""What the convod does that works on the session. `delete_session` and reading work at each."""

ANSWER_S: Final = 30.0
LEASES: Final = 2
"""A request is given up after so many seconds and lengths of a lease: within these, a dead convod is replaced."""

LOOKS: Final = 6
"""Looks at what became of a request, within the length of a lease; notes come sooner."""

AGAIN_S: Final = 0.1
"""Until a session that has just changed hands is looked for again."""

AT_ONCE: Final = 64
"""Requests of other convods that are done side by side."""

WITHDRAW_S: Final = 2.0


class Forwarder:
    """`run` does what others ask; `forward` asks them.

    Args:
        manager: what works here.
        leases: says who works on what.
        answer: puts the reply to a request into its client's outbox.
    """

    def __init__(
        self, manager: Manager, leases: Leases, answer: Callable[[Client, Request[Any]], Awaitable[None]]
    ) -> None:
        self._manager = manager
        self._requests = leases.requests
        self._answer = answer
        lease_s = leases.member.lease_s
        self._every_s = lease_s / LOOKS
        self._limit_s = ANSWER_S + LEASES * lease_s
        self._room = trio.CapacityLimiter(AT_ONCE)

    # --- for clients here -----------------------------------------------------------------------------------------

    def may_leave(self, request: Request[Any]) -> TypeGuard[Forwarded]:
        """Whether another convod may have to do it."""
        return isinstance(request, Forwarded) and self._manager.find(request.session) is None

    async def forward(self, client: Client, request: Forwarded) -> Message | None:
        """Have the convod do it that works on the session, and return what it says; None if this one may do it.

        Raises:
            Refused: that one is gone or does not answer; the sentence names it.
        """
        session, until = request.session, trio.current_time() + self._limit_s
        while (holder := await self._requests.holder(session, client.reach, audio=_needs_audio(request))) is not None:
            if not holder.alive and holder.has_audio:
                raise Refused(Code.AUDIO_ELSEWHERE, holder.sentence)
            if trio.current_time() >= until:
                raise Refused(Code.BUSY, holder.sentence)
            if holder.alive and (answer := await self._ask(holder, client, request, until)):
                return _reply(answer, request)
            await trio.sleep(AGAIN_S if holder.alive else self._every_s)
        return None

    async def _ask(self, holder: Holder, client: Client, request: Forwarded, until: float) -> bytes:
        """Return the answer of a convod; empty if the session must be looked for again."""
        body = msgspec.msgpack.encode((client.owner, client.reach, encode(request)))
        id = await self._requests.ask(request.session, holder.epoch, body)
        if id is None:
            return b""
        try:
            with self._requests.answered(id) as told:
                while (asking := await self._requests.look(id)) is not None:
                    if asking.answer is not None or not asking.alive or trio.current_time() >= until:
                        break
                    with trio.move_on_at(min(until, trio.current_time() + self._every_s)):
                        await told.wait()
            asking = await self._requests.withdraw(id)
        except BaseException:
            with trio.move_on_after(WITHDRAW_S, shield=True), suppress(StoreFailed):
                await self._requests.withdraw(id)
            raise
        return outcome(asking, holder, repeatable=is_repeatable(request))

    # --- for other convods ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Do what other convods ask, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                with trio.move_on_after(self._every_s):
                    await self._requests.wait_asked()
                try:
                    while asked := await self._requests.take(AT_ONCE):
                        # Those for one session in their order.
                        asked.sort(key=attrgetter("session", "id"))
                        for _, group in groupby(asked, attrgetter("session")):
                            turn = list(group)
                            await self._room.acquire_on_behalf_of(turn[0])
                            nursery.start_soon(self._do, turn)
                except StoreFailed as error:
                    log.warning("requests of other convods are not read: %s", error)

    async def _do(self, asked: Sequence[Asked]) -> None:
        try:
            for one in asked:
                try:
                    answer = await self._done(one)
                except Exception:
                    log.exception("a request of another convod could not be done", extra={"session": one.session})
                    answer = encode(Error(code=Code.INTERNAL, message=FAULT))
                try:
                    await self._requests.answer(one.id, answer)
                except StoreFailed as error:
                    log.warning("a request of another convod is not answered: %s", error)
        finally:
            self._room.release_on_behalf_of(asked[0])

    async def _done(self, one: Asked) -> bytes:
        if await self._requests.holder(one.session, None) is not None:
            return b""
        owner, reach, data = msgspec.msgpack.decode(one.body, type=tuple[str, str | None, bytes])
        fields = msgspec.msgpack.decode(data)
        client = Client(Outbox(), "another convod", 0)
        client.grant = Grant(owner, LOCAL if reach is not None else LOCAL | Right.ALL_SESSIONS)
        await self._answer(client, from_map(fields, REQUESTS[fields["type"]]))  # type: ignore[arg-type]
        client.outbox.close()
        messages = await client.outbox.next() or []
        return encode(next(message for message in messages if isinstance(message, Reply | Error)))


FAULT: Final = "the convod that works on this session made a mistake; its log says which"


def outcome(asking: Asking | None, holder: Holder, *, repeatable: bool) -> bytes:
    """Return the answer to a request that was taken back; empty if it must be asked for again.

    Raises:
        Refused: it may have been done, or not, and must not be done twice.
    """
    if asking is None:
        raise Refused(Code.BUSY, f"the store lost this request, and {holder} may have done it; {LOOK}")
    if asking.answer is not None:
        return asking.answer
    if not asking.taken or (not asking.alive and repeatable):
        return b""
    if not asking.alive:
        raise Refused(Code.BUSY, f"{holder} has stopped, and may have done this before; {LOOK}")
    raise Refused(Code.BUSY, f"{holder} works on this session, has begun to do this, and does not answer; {LOOK}")


LOOK: Final = "look at the session, and ask again if it was not done"


def is_repeatable(request: Forwarded) -> bool:
    """Whether to do a request twice is to do it once."""
    if isinstance(request, SetSpeaker):
        return request.speaker is not None
    if isinstance(request, RenameSpeaker):
        return not request.remember
    if isinstance(request, Refine):
        return request.cancel
    return not isinstance(request, AddMark | Retranscribe | Summarize)


def _needs_audio(request: Forwarded) -> bool:
    if isinstance(request, RenameSpeaker):
        return request.remember  # the voice is beside the audio
    if isinstance(request, Refine):
        return not request.cancel
    return isinstance(request, Retranscribe | RetrySession)


def _reply(answer: bytes, request: Forwarded) -> Message:
    fields = msgspec.msgpack.decode(answer) | {"id": request.id}
    kind: type[Message] = Error if fields["type"] == "error" else request.Reply
    return from_map(fields, kind)
