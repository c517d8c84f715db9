"""The queue of files: a table of orders, then any sequence of events against what must always hold."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from convod.owners import is_local
from convod.sessions.file_queue import RANK, FileJob, FileScheduler


def job(name: str, owner: str = "me", priority="normal", created: float = 0.0, started: bool = False) -> FileJob:
    return FileJob(name, owner, created, priority, started)


def drained(queue: FileScheduler) -> list[str]:
    """All jobs in the order in which they run, one at a time."""
    order = []
    while started := queue.start():
        for one in started:
            order.append(one.session)
            queue.leave(one.session)
    return order


@pytest.mark.parametrize(
    ("jobs", "order"),
    [
        ([job("b", created=2), job("a", created=1)], "a b"),
        ([job("a", priority="low"), job("b"), job("c", priority="high")], "c b a"),
        ([job("a", created=1), job("b", created=2, started=True)], "b a"),
        ([job("a", priority="high", created=1), job("b", created=2, started=True)], "a b"),
        ([job("a1", created=1), job("a2", created=2), job("b", "you", created=3)], "a1 b a2"),
        ([job("a1"), job("a2", created=1), job("b1", "you"), job("b2", "you", created=1)], "a1 b1 a2 b2"),
        ([job("a", priority="low"), job("b", "you", created=9)], "b a"),
        ([*(job(f"a{n}", priority="high", created=n) for n in range(3)), job("b", "you", created=9)], "a0 b a1 a2"),
    ],
)
def test_who_comes_first(jobs: list[FileJob], order: str) -> None:
    queue = FileScheduler(1)
    for one in jobs:
        queue.submit(one)
    assert drained(queue) == order.split()


def test_one_who_has_fewer_at_work_comes_first() -> None:
    queue = FileScheduler(3)
    for number in range(4):
        queue.submit(job(f"a{number}", created=number))
    queue.submit(job("b", "you", created=9))
    assert [one.session for one in queue.start()] == ["a0", "b", "a1"]


def test_one_who_has_none_at_work_is_given_a_place_of_one_who_has_several() -> None:
    queue = FileScheduler(2)
    for number in range(3):
        queue.submit(job(f"a{number}", created=number))
    assert [one.session for one in queue.start()] == ["a0", "a1"]
    queue.submit(job("low", "you", "low"))
    assert queue.start() == []
    queue.submit(job("b", "you"))
    assert [one.session for one in queue.start()] == ["b"]
    assert queue.running == ["a0", "b"]
    queue.leave("b")
    assert [one.session for one in queue.start()] == ["a1"], "it goes on before what had not started"


def test_a_user_of_this_machine_is_given_a_place_though_each_token_has_one_only() -> None:
    queue = FileScheduler(2)
    for name in ("a", "b"):
        queue.submit(job(name, f"token:{name}"))
    queue.start()
    queue.submit(job("c", "token:c"))
    assert queue.start() == []
    for name in ("d", "e"):
        queue.submit(job(name, f"uid:{name}"))
    assert [one.session for one in queue.start()] == ["d"]
    assert queue.running == ["a", "d"]


def test_pausing_begins_none_and_resuming_goes_on() -> None:
    queue = FileScheduler(1)
    queue.submit(job("a"))
    queue.submit(job("b", "you", created=1))
    queue.pause("me")
    assert drained(queue) == ["b"]
    queue.resume("me")
    assert drained(queue) == ["a"]


def test_who_pauses_gives_way_and_goes_on_before_its_equals() -> None:
    queue = FileScheduler(1)
    for one in (job("a1"), job("a2", created=1), job("b", "you", created=2)):
        queue.submit(one)
    assert [one.session for one in queue.start()] == ["a1"]
    assert queue.is_running("a1")
    queue.pause("me")
    assert not queue.is_running("a1")
    assert [one.session for one in queue.start()] == ["b"]
    queue.resume("me")
    assert queue.start() == []
    queue.leave("b")
    assert drained(queue) == ["a1", "a2"]


def test_a_job_that_is_preferred_while_it_waits_comes_first() -> None:
    queue = FileScheduler(1)
    for name in "abc":
        queue.submit(job(name, created=ord(name)))
    queue.prefer("c", "high")
    queue.prefer("nobody", "high")
    assert [one.session for one in queue.order("me")] == ["c", "a", "b"]
    assert drained(queue) == ["c", "a", "b"]


OWNERS = ("ann", "bob", "uid:7")


class Machine(RuleBasedStateMachine):
    """Jobs come, run, leave, in any order, with pauses and restarts of the daemon between."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.queue = FileScheduler(2)
        self.known: dict[str, FileJob] = {}
        self.running: set[str] = set()
        self.ran: set[str] = set()
        self.paused: set[str] = set()
        self.count = 0

    @rule(target=jobs, owner=st.sampled_from(OWNERS), priority=st.sampled_from(sorted(RANK)))
    def submit(self, owner: str, priority) -> str:
        self.count += 1
        one = FileJob(f"s{self.count}", owner, float(self.count), priority)
        self.known[one.session] = one
        self.queue.submit(one)
        return one.session

    @rule()
    def start(self) -> None:
        started = self.queue.start()
        for session in self.running - set(self.queue.running):
            one = self.known[session]
            self.known[session] = FileJob(session, one.owner, one.created, one.priority, started=True)
            self.running.remove(session)
            others = [self.known[other].owner for other in self.queue.running]
            assert one.owner in others or is_local(started[-1].owner), "it gave way to one who has more"
        gave_way = [one for one in self.known.values() if one.session not in self.running and one.started]
        for one in started:
            assert one.session not in self.running, "it runs already"
            assert one.owner not in self.paused
            self.running.add(one.session)
            self.ran.add(one.session)
        waiting = [
            one for one in self.known.values() if one.session not in self.running and one.owner not in self.paused
        ]
        for one in started:
            mine = [other for other in waiting if other.owner == one.owner and other not in gave_way]
            assert all(other.place >= one.place for other in mine), "a more urgent one was passed over"
            assert one.priority != "low" or all(other.priority == "low" for other in waiting if other not in gave_way)
        at_work = Counter(self.known[session].owner for session in self.running)
        for one in waiting:
            if one.priority != "low" and not at_work[one.owner]:
                assert max(at_work.values(), default=0) == 1, "one owner has all places"
                assert not is_local(one.owner) or any(map(is_local, at_work)), "the reserve is taken"

    @rule(session=consumes(jobs))
    def leave(self, session: str) -> None:
        self.queue.leave(session)
        self.running.discard(session)
        del self.known[session]

    @rule(session=jobs, priority=st.sampled_from(sorted(RANK)))
    def prefer(self, session: str, priority) -> None:
        self.queue.prefer(session, priority)
        one = self.known[session]
        self.known[session] = FileJob(session, one.owner, one.created, priority, one.started)

    @rule(owner=st.sampled_from(OWNERS))
    def pause(self, owner: str) -> None:
        self.queue.pause(owner)
        self.paused.add(owner)
        for session in [session for session in self.running if self.known[session].owner == owner]:
            self.running.remove(session)
            one = self.known[session]
            self.known[session] = FileJob(session, one.owner, one.created, one.priority, started=True)

    @rule(owner=st.sampled_from(OWNERS))
    def resume(self, owner: str) -> None:
        self.queue.resume(owner)
        self.paused.discard(owner)

    @precondition(lambda self: self.known)
    @rule()
    def restart(self) -> None:
        """The daemon was killed: all that is stored is submitted again, in any order."""
        self.queue = FileScheduler(2)
        for owner in self.paused:
            self.queue.pause(owner)
        for session in sorted(self.known, reverse=True):
            one = self.known[session]
            self.known[session] = FileJob(session, one.owner, one.created, one.priority, started=session in self.ran)
            self.queue.submit(self.known[session])
        self.running = set()

    @invariant()
    def nothing_is_lost(self) -> None:
        listed = [one.session for owner in OWNERS for one in self.queue.order(owner)]
        assert sorted(listed) == sorted(self.known)
        assert set(self.queue.running) == self.running
        assert len(self.running) <= 2
        assert all(self.known[session].owner not in self.paused for session in self.running)

    def teardown(self) -> None:
        """Whatever happened, all that is left can be done."""
        for owner in OWNERS:
            self.queue.resume(owner)
        for session in list(self.running):
            self.queue.leave(session)
            del self.known[session]
        assert sorted(drained(self.queue)) == sorted(self.known)


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnySequence = Machine.TestCase
