from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio

from convo.messages import PingReply, SessionWarning, TranscriptPartial
from convod.listen.outbox import REPLIES, TOGETHER, Outbox
from convod.sessions.feed import EventLog


class NoStore:
    """Everything is recent enough here."""


def feed(session: str = "s") -> EventLog:
    return EventLog(session, NoStore(), 0)  # type: ignore[arg-type]


def warn(of: EventLog, count: int = 1) -> None:
    for _ in range(count):
        of.append(SessionWarning(session=of.session, seq=of.seq + 1, code="c", message="m"))


def reply(number: int) -> PingReply:
    return PingReply(id=number, time=0.0)


def short(messages) -> list:
    return [f"reply {one.id}" if isinstance(one, PingReply) else f"{one.session} {one.seq}" for one in messages]


async def test_replies_come_in_order():
    outbox = Outbox()
    for number in range(3):
        outbox.put(reply(number))
    assert short(await outbox.next()) == ["reply 0", "reply 1", "reply 2"]


async def test_a_reply_that_was_put_before_attaching_comes_before_the_first_event():
    outbox, one = Outbox(), feed()
    warn(one, 2)
    outbox.put(reply(1))
    outbox.attach(one, 0)
    assert short(await outbox.next()) == ["reply 1", "s 1", "s 2"]


async def test_a_reply_behind_a_barrier_comes_after_its_event_and_holds_nothing_else_up():
    outbox, one = Outbox(), feed()
    attachment = outbox.attach(one, 0)
    outbox.put(reply(1), after=attachment, seq=2)
    outbox.put(reply(2))
    assert short(await outbox.next()) == ["reply 2"]
    warn(one)
    assert short(await outbox.next()) == ["s 1"]
    warn(one)
    assert short(await outbox.next()) == ["s 2"]
    assert short(await outbox.next()) == ["reply 1"]


async def test_a_barrier_that_was_passed_holds_nothing_up():
    outbox, one = Outbox(), feed()
    attachment = outbox.attach(one, 0)
    warn(one)
    await outbox.next()
    outbox.put(reply(1), after=attachment, seq=1)
    assert short(await outbox.next()) == ["reply 1"]


@pytest.mark.parametrize("how", ["detach", "attach again", "close"])
async def test_a_barrier_that_can_never_be_passed_falls(how):
    outbox, one = Outbox(), feed()
    attachment = outbox.attach(one, 0)
    outbox.put(reply(1), after=attachment, seq=5)
    if how == "detach":
        outbox.detach("s")
    elif how == "attach again":
        outbox.attach(one, 0)
    else:
        outbox.close()
    assert short(await outbox.next()) == ["reply 1"]


async def test_no_barrier_is_no_barrier():
    outbox = Outbox()
    outbox.put(reply(1), after=None, seq=99)
    assert short(await outbox.next()) == ["reply 1"]


async def test_next_waits_until_there_is_something(autojump_clock, nursery):
    outbox, one = Outbox(), feed()
    outbox.attach(one, 0)
    got = []

    async def take():
        got.append(short(await outbox.next()))

    nursery.start_soon(take)
    await trio.sleep(1)
    assert got == []
    warn(one)
    await trio.sleep(1)
    assert got == [["s 1"]]


async def test_attaching_again_begins_anew_and_gives_nothing_twice():
    outbox, one = Outbox(), feed()
    warn(one, 3)
    outbox.attach(one, 0)
    outbox.attach(one, 2)
    assert short(await outbox.next()) == ["s 3"]
    assert one.readers == 1


async def test_detach_says_whether_there_was_an_attachment():
    outbox, one = Outbox(), feed()
    outbox.attach(one, 0)
    assert outbox.attachment("s") is not None
    assert outbox.detach("s") is True
    assert outbox.detach("s") is False
    assert outbox.attachment("s") is None
    assert one.readers == 0


async def test_closing_gives_what_waits_then_ends_and_leaves_no_reader_behind():
    outbox, one = Outbox(), feed()
    outbox.attach(one, 0)
    warn(one)
    outbox.put(reply(1))
    outbox.close()
    assert short(await outbox.next()) == ["reply 1"]
    assert await outbox.next() is None
    assert one.readers == 0


async def test_many_replies_make_the_reader_wait_until_some_are_taken(autojump_clock, nursery):
    outbox = Outbox()
    for number in range(REPLIES):
        outbox.put(reply(number))
    state = SimpleNamespace(room=False)

    async def wait():
        await outbox.wait_room()
        state.room = True

    nursery.start_soon(wait)
    await trio.sleep(1)
    assert not state.room
    await outbox.next()
    await trio.sleep(1)
    assert state.room


async def test_sessions_of_one_connection_are_all_served():
    outbox, one, two = Outbox(), feed("a"), feed("b")
    outbox.attach(one, 0)
    outbox.attach(two, 0)
    warn(one)
    warn(two)
    two.send(TranscriptPartial(session="b", segment=0, start=0.0, end=0.0, stable="", tentative=""))
    assert len(await outbox.next() or []) == 3


async def test_of_many_sessions_some_messages_are_gathered_at_a_time_and_each_has_its_turn():
    outbox, feeds = Outbox(), [feed(f"s{number}") for number in range(50)]
    for one in feeds:
        warn(one, 40)
        outbox.attach(one, 0)
    had: list[str] = []
    while len(had) < 50 * 40:
        messages = await outbox.next()
        assert len(messages) < TOGETHER + 40
        had += [message.session for message in messages]
        warn(feeds[0])  # one that always has more keeps nobody waiting
        if len(had) > 60 * 40:
            break
    assert {one.session for one in feeds} == set(had[: 52 * 40])
