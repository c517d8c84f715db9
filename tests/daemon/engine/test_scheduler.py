from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from convod.engine.scheduler import FINALS_AHEAD, LOSSES, TRIES, Scheduler
from convod.owners import OTHERS_AHEAD
from convod.speech.decoding import DecodeJob, Kind, Lead, Options, Window

RATE = 16000


def job(
    session: str = "a", kind: Kind = Kind.FINAL, seconds: float = 2.0, rate: int = RATE, owner: str = "", **options
) -> DecodeJob:
    audio = bytes(2 * round(seconds * rate))
    return DecodeJob(session, kind, Window(audio=audio), rate, Options(**{"language": "en", **options}), owner=owner)


def scheduler_with(*jobs: DecodeJob, **options) -> Scheduler:
    scheduler = Scheduler(**options)
    for one in jobs:
        scheduler.submit(one)
    return scheduler


def drained(scheduler: Scheduler) -> list[list[DecodeJob]]:
    batches = []
    while batch := scheduler.take():
        batches.append(batch)
    return batches


def test_nothing_waits_at_first():
    scheduler = Scheduler()
    assert not scheduler
    assert scheduler.take() == []


def test_a_job_knows_its_seconds():
    assert job(seconds=1.5, rate=48000).seconds == 1.5


def test_finals_go_before_interims_and_these_before_files():
    file, interim, final = (job(kind=kind) for kind in (Kind.FILE, Kind.INTERIM, Kind.FINAL))
    scheduler = scheduler_with(file, interim, final)
    assert [scheduler.waiting(kind) for kind in Kind] == [1, 1, 1]
    assert drained(scheduler) == [[final], [interim], [file]]


def test_within_a_kind_sessions_take_turns_and_each_keeps_its_order():
    a, b = [job("a") for _ in range(3)], [job("b") for _ in range(2)]
    assert drained(scheduler_with(*a, *b)) == [[a[0]], [b[0]], [a[1]], [b[1]], [a[2]]]


def test_a_newer_interim_replaces_one_that_waits_at_its_place_and_nobody_elses():
    old, other, new = job("a", Kind.INTERIM), job("b", Kind.INTERIM), job("a", Kind.INTERIM)
    old.since, other.since, new.since = 1.0, 2.0, 3.0
    scheduler = scheduler_with(old, other)
    assert scheduler.holds(old)
    assert not scheduler.holds(new)
    assert scheduler.submit(new) is old
    assert not scheduler.holds(old)
    assert scheduler.holds(new)
    assert drained(scheduler) == [[new], [other]]
    assert [one.since for one in (new, other)] == [1.0, 2.0]  # pressure is told by how long a place waits
    assert not scheduler.holds(new)


def test_what_is_due_goes_before_what_is_needed_later():
    """At a pause a final is decoded before anybody needs it: who waits for theirs does not wait for that."""
    early, late, now, also_now = (job(session, Kind.FINAL) for session in "abcd")
    early.due, late.due, now.due, also_now.due = 10.4, 10.3, 9.0, 9.5
    scheduler = scheduler_with(early, late, now, also_now)
    assert scheduler.take(10.0) == [now]
    assert scheduler.take(10.0) == [also_now]  # of two that are due none is more so: they take turns
    assert scheduler.take(10.0) == [late]  # with nothing else to do it is not waited for
    assert scheduler.take(10.0) == [early]


def test_of_what_is_due_no_session_gets_more_than_its_turn():
    mine, yours = [job("a") for _ in range(3)], job("b")
    for number, one in enumerate([*mine, yours]):
        one.due = float(number)
    scheduler = scheduler_with(*mine, yours)
    assert [scheduler.take(5.0) for _ in range(4)] == [[mine[0]], [yours], [mine[1]], [mine[2]]]


def test_finals_never_replace_each_other():
    scheduler = scheduler_with(job())
    assert scheduler.submit(job()) is None
    assert scheduler.waiting(Kind.FINAL) == 2


@pytest.mark.parametrize(
    ("other", "together"),
    [
        ({}, True),
        ({"seconds": 2.9}, True),
        ({"seconds": 3.0}, False),  # another bucket
        ({"rate": 48000}, False),
        ({"language": "de"}, False),
        ({"beam": 1}, False),
        ({"prompt": "Convo"}, False),
        ({"margin": 400}, False),
        ({"kind": Kind.FILE}, False),
    ],
)
def test_a_batch_holds_what_can_share_a_run(other, together):
    one, two = job("a"), job("b", **other)
    batches = drained(scheduler_with(one, two, batch=8))
    assert batches == ([[one, two]] if together else [[one], [two]])


def test_sessions_whose_language_is_not_known_share_a_batch():
    """The worker detects the language of each window, whatever comes before it and is expected of it."""
    a, again, b = (job(session, language=None) for session in "aab")
    a.window = Window(audio=a.audio, expected="de")
    b.window = Window(audio=b.audio, expected="en", lead=Lead(audio=bytes(2), text="So"))
    assert drained(scheduler_with(a, again, b, batch=8)) == [[a, b, again]]


def test_without_buckets_any_length_goes_together():
    one, two = job("a", seconds=1), job("b", seconds=20)
    assert drained(scheduler_with(one, two, batch=8, bucketed=False)) == [[one, two]]


def test_without_buckets_windows_of_a_file_go_together_whose_answers_have_the_same_room():
    jobs = {seconds: job(kind=Kind.FILE, seconds=seconds) for seconds in (2, 28, 4.9, 9, 12, 5.1)}
    batches = drained(scheduler_with(*jobs.values(), batch=8, bucketed=False))
    assert batches == [[jobs[2], jobs[4.9]], [jobs[28], jobs[12]], [jobs[9], jobs[5.1]]]


def test_a_batch_is_no_larger_than_it_may_be_and_takes_from_all_sessions_first():
    jobs = [job(session) for session in "aaab" for _ in range(2)]
    batches = drained(scheduler_with(*jobs, batch=3))
    assert [len(batch) for batch in batches] == [3, 3, 2]
    assert {one.session for one in batches[0]} == {"a", "b"}


@pytest.mark.parametrize("died", [False, True])
def test_what_is_dropped_is_not_taken(died):
    one, two = job("a"), job("a")
    scheduler = scheduler_with(one, two, batch=2)
    if died:
        scheduler.died(scheduler.take())
    scheduler.drop(one)
    scheduler.drop(one)
    assert drained(scheduler) == [[two]]


def test_the_windows_of_a_batch_that_died_are_tried_first_and_alone():
    one, two, later = job("a"), job("b"), job("c")
    scheduler = scheduler_with(one, two, batch=2)
    assert scheduler.died(scheduler.take()) == []
    scheduler.submit(later)
    assert scheduler.waiting(Kind.FINAL) == 3
    assert drained(scheduler) == [[one], [two], [later]]


def test_what_is_tried_again_keeps_the_order_of_kinds():
    file, interim, final = (job(kind=kind, seconds=1.0) for kind in (Kind.FILE, Kind.INTERIM, Kind.FINAL))
    for died in (file, interim):
        scheduler = scheduler_with(died)
        scheduler.died(scheduler.take())
        scheduler.submit(final)
        assert drained(scheduler) == [[final], [died]]
    scheduler = scheduler_with(file)
    scheduler.died(scheduler.take())
    assert scheduler.take(files=False) == []  # a worker is left to those who speak
    assert scheduler.take() == [file]


def test_an_interim_that_waits_for_another_try_is_replaced_too():
    old, new = job(kind=Kind.INTERIM), job(kind=Kind.INTERIM)
    scheduler = scheduler_with(old)
    scheduler.died(scheduler.take())
    assert scheduler.holds(old)
    assert scheduler.submit(new) is old
    assert not scheduler.holds(old)
    assert drained(scheduler) == [[new]]


def test_one_that_kills_is_found_though_it_is_renewed_between_its_tries():
    scheduler = Scheduler(batch=4)
    for name in "abcd":
        scheduler.submit(job(name, Kind.INTERIM))
    given_up: list[str] = []
    deaths = 0
    while batch := scheduler.take():
        if any(one.session == "c" for one in batch):
            deaths += 1
            given_up += [one.session for one in scheduler.died(batch)]
            for other in [one for one in batch if scheduler.holds(one)]:  # their sessions go on speaking meanwhile
                assert scheduler.submit(job(other.session, Kind.INTERIM)) is other
    assert given_up == ["c"]
    assert deaths == 1 + TRIES


def all_leave(_: DecodeJob) -> bool:
    return True


def test_finals_that_may_leave_leave_alone_then_files_in_their_batches_and_interims_never():
    finals = [job(name, Kind.FINAL) for name in "abc"]
    interim = job("d", Kind.INTERIM)
    files = [job("f", Kind.FILE) for _ in range(4)]
    scheduler = scheduler_with(*finals, interim, *files, batch=8, workers=2)
    taken = []
    while batch := scheduler.take_leaving(lambda one: one.kind is Kind.FILE or one is finals[1]):
        taken.append(batch)
    assert taken == [[finals[1]], files[:2], files[2:]]
    assert drained(scheduler) == [[finals[0], finals[2]], [interim]]


def test_a_file_that_may_not_leave_keeps_none_from_leaving():
    stays, leaves, others = job("a", Kind.FILE), job("a", Kind.FILE), job("b", Kind.FILE)
    scheduler = scheduler_with(stays, leaves, others, batch=8)
    assert scheduler.take_leaving(lambda one: one is not stays) == [leaves]
    assert scheduler.take_leaving(lambda one: one is not stays) == [others]
    assert scheduler.take_leaving(lambda one: one is not stays) == []
    assert scheduler.take() == [stays]


def test_owners_take_turns_at_what_leaves_too():
    a, b = [job("a", Kind.FILE, owner="a") for _ in range(2)], [job("b", Kind.FILE, owner="b") for _ in range(2)]
    scheduler = scheduler_with(*a, *b, files=1)
    assert [scheduler.take_leaving(all_leave) for _ in range(4)] == [[a[0]], [b[0]], [a[1]], [b[1]]]
    assert scheduler.take_leaving(all_leave) == []


def test_a_window_whose_worker_was_lost_is_not_to_blame_and_stays_if_it_is_told_to():
    one = job(kind=Kind.FILE)
    scheduler = scheduler_with(one)
    for lost in range(TRIES + 1):
        assert scheduler.take_leaving(all_leave) == [one]
        assert scheduler.died([one], lost=True) == []
        assert (one.losses, one.deaths) == (lost + 1, 0)
    assert scheduler.take_leaving(lambda window: not window.losses) == []
    assert scheduler.take() == [one]


def test_what_kills_whole_machines_is_given_up():
    one = job(kind=Kind.FILE)
    scheduler = scheduler_with(one)
    for _ in range(LOSSES - 1):
        assert scheduler.died(scheduler.take_leaving(all_leave), lost=True) == []
    assert scheduler.died(scheduler.take_leaving(all_leave), lost=True) == [one]
    assert not scheduler


def test_it_tells_how_much_audio_waits():
    scheduler = scheduler_with(job(seconds=2.0), job("b", Kind.FILE, seconds=3.0), job("b", Kind.FILE, seconds=1.0))
    scheduler.died(scheduler.take())
    assert scheduler.waiting_s == 6.0


@pytest.mark.parametrize("again", [Scheduler.died, Scheduler.failed])
@pytest.mark.parametrize("kind", list(Kind))
def test_what_nobody_wants_any_more_is_not_tried_again(kind, again):
    dropped, wanted = job("a", kind), job("a" if kind is Kind.FILE else "b", kind)
    scheduler = scheduler_with(dropped, wanted, batch=2)
    assert again(scheduler, scheduler.take(), {wanted}) == []
    assert wanted.deaths == 0  # it was not alone, though it is now
    assert scheduler.submit(job("a", kind)) is None  # nothing that it could replace
    assert scheduler.take() == [wanted]


def test_a_window_that_was_alone_each_time_is_given_up():
    bad = job()
    scheduler = scheduler_with(bad)
    for _ in range(TRIES - 1):
        assert scheduler.died(scheduler.take()) == []
    assert scheduler.died(scheduler.take()) == [bad]
    assert not scheduler


def test_the_windows_of_a_batch_that_failed_are_tried_alone_and_one_that_fails_alone_is_given_up():
    one, two, later = job("a"), job("b"), job("c")
    scheduler = scheduler_with(one, two, batch=2)
    assert scheduler.failed(scheduler.take()) == []
    scheduler.submit(later)
    assert scheduler.take() == [one]
    assert scheduler.failed([one]) == [one]
    assert drained(scheduler) == [[two], [later]]


def test_an_interim_of_a_batch_that_failed_gives_way_to_a_newer_one():
    old, other, new = job("a", Kind.INTERIM), job("b", Kind.INTERIM), job("a", Kind.INTERIM)
    scheduler = scheduler_with(old, other, batch=2)
    batch = scheduler.take()
    scheduler.submit(new)
    assert scheduler.failed(batch) == [old]
    assert drained(scheduler) == [[other], [new]]


JOBS = st.builds(
    job,
    st.sampled_from("abcd"),
    st.sampled_from([Kind.FINAL, Kind.FILE]),
    st.sampled_from([0.5, 2.0, 2.5]),
    language=st.sampled_from([None, "en"]),
)


@given(st.lists(JOBS, max_size=30), st.integers(1, 8))
def test_every_window_is_taken_once_and_finals_in_the_order_of_their_session(jobs, batch):
    batches = drained(scheduler_with(*jobs, batch=batch))
    taken = [one for group in batches for one in group]
    assert sorted(map(id, taken)) == sorted(map(id, jobs))
    assert all(len(group) <= batch for group in batches)
    for group in batches:
        assert len({(one.kind, one.rate, one.options, int(one.seconds)) for one in group}) == 1
    for session in "abcd":  # windows of files are put in order again by who asked
        mine = [one for one in jobs if (one.session, one.kind) == (session, Kind.FINAL)]
        assert [one for one in taken if (one.session, one.kind) == (session, Kind.FINAL)] == mine


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=60), st.sampled_from([Kind.FINAL, Kind.FILE]))
def test_nobody_has_two_turns_while_another_waits(happenings, kind):
    """A letter is a session that submits a window; None a worker that takes one."""
    scheduler = Scheduler(1)
    waiting: Counter[str] = Counter()
    since: dict[str, Counter[str]] = {}
    for session in [*happenings, *[None] * len(happenings)]:
        if session is not None:
            scheduler.submit(job(session, kind))
            waiting[session] += 1
            since.setdefault(session, Counter())
        elif batch := scheduler.take():
            (turn,) = {one.session for one in batch}
            waiting[turn] -= 1
            del since[turn]
            for other, passed in since.items():
                passed[turn] += 1
                assert passed[turn] == 1, f"{other} was passed over"
            if waiting[turn]:
                since[turn] = Counter()
    assert not scheduler


def test_windows_of_a_file_go_together_wherever_they_stand_if_they_are_padded_alike():
    scheduler = Scheduler(1, files=3)
    windows = [job(kind=Kind.FILE, seconds=seconds) for seconds in (1.0, 5.0, 1.2, 1.5, 1.65, 1.1, 5.1)]
    for window in windows:
        scheduler.submit(window)
    # 1.65 s and the margin are more than 1.9 s: padded to two seconds, as 1.0 s is.
    assert scheduler.take() == [windows[0], windows[2], windows[3]]
    assert scheduler.take(files=False) == []
    assert scheduler.take(live=True) == [windows[1]]
    assert scheduler.take() == [windows[4], windows[5]]
    assert scheduler.take() == [windows[6]]
    assert not scheduler


@pytest.mark.parametrize(
    ("waiting", "workers", "together"),
    [(8, 1, [8]), (8, 2, [4, 2, 2]), (14, 2, [7, 4, 2, 1]), (40, 2, [8, 8, 8, 8, 4, 2, 2]), (3, 4, [2, 1])],
)
def test_the_windows_of_a_file_are_shared_out_among_the_workers(waiting, workers, together):
    scheduler = scheduler_with(*(job(kind=Kind.FILE) for _ in range(waiting)), batch=8, workers=workers)
    assert [len(batch) for batch in iter(scheduler.take, [])] == together


def test_files_take_turns_by_session():
    scheduler = Scheduler(1, files=2)
    mine = [job("mine", kind=Kind.FILE) for _ in range(3)]
    yours = [job("yours", kind=Kind.FILE) for _ in range(2)]
    for window in mine + yours:
        scheduler.submit(window)
    assert [scheduler.take() for _ in range(3)] == [mine[:2], yours, mine[2:]]


# --- owners -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("batch", [1, 4])
def test_a_hundred_sessions_of_one_owner_get_no_more_turns_than_the_one_of_another(kind, batch):
    scheduler = Scheduler(batch)
    for number in range(100):
        scheduler.submit(job(f"many{number}", kind, owner="many"))
    scheduler.take()
    for _ in range(20):  # as one talk does: the next window comes once the last one is decoded
        scheduler.submit(one := job("one", kind, owner="one"))
        scheduler.submit(job("more", kind, owner="many"))
        waited = next(number for number in range(100) if one in scheduler.take())
        assert waited <= 1


def test_the_windows_of_an_owner_go_by_session_in_its_turns():
    windows = [job(session, owner=owner) for owner, session in ("aa", "aa", "ab", "bc", "bc", "bc")]
    a1, a2, b1, c1, c2, c3 = windows
    assert drained(scheduler_with(*windows)) == [[a1], [c1], [b1], [c2], [a2], [c3]]
    assert drained(scheduler_with(*windows, batch=4)) == [[a1, c1, b1, c2], [a2, c3]]


def test_what_is_due_goes_before_what_another_owner_needs_later():
    early, due = job("early", owner="a"), job("due", owner="b")
    early.due, due.due = 10.5, 9.0
    scheduler = scheduler_with(early, due)
    assert scheduler.take(10.0) == [due]


def test_finals_of_one_owner_keep_the_interims_of_another_waiting_for_a_few_batches_only():
    scheduler = scheduler_with(*(job(f"a{number}", owner="a") for number in range(10)))
    for number in range(3):
        scheduler.submit(interim := job("b", Kind.INTERIM, owner="b"))
        scheduler.submit(job(f"a{number}", Kind.INTERIM, owner="a"))  # whose finals are served: it waits for those
        assert [scheduler.take()[0].kind for _ in range(FINALS_AHEAD)] == [Kind.FINAL] * FINALS_AHEAD
        assert scheduler.take() == [interim]


def test_an_owner_who_was_kept_waiting_has_its_final_before_its_interim():
    others = [job("a", owner="a") for _ in range(FINALS_AHEAD + 1)]
    scheduler = scheduler_with(interim := job("b", Kind.INTERIM, owner="b"), *others)
    for _ in range(FINALS_AHEAD):
        scheduler.take()
    scheduler.submit(final := job("c", owner="b"))
    assert drained(scheduler) == [[final], [others[-1]], [interim]]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_user_of_this_machine_waits_for_a_few_of_many_tokens_only(kind):
    scheduler = Scheduler(1)
    for number in range(50):
        for _ in range(2):
            scheduler.submit(job(f"s{number}", kind, owner=f"token:{number}"))
    here = [job("here", kind, owner="uid:1000") for _ in range(1 if kind is Kind.INTERIM else 3)]
    for one in here:
        scheduler.submit(one)
    order = [batch[0] for batch in drained(scheduler) for _ in batch]
    places = [order.index(one) for one in here]
    # Where its last turn is as long ago as that of any other the order is that of coming: then it is the reserve's.
    assert all(after - before <= OTHERS_AHEAD + 1 for before, after in pairwise([0, *places]))


# --- whatever comes ---------------------------------------------------------------------------------------


class Queueing(RuleBasedStateMachine):
    """Windows come, go, are dropped, kill their worker: each is dealt with once, in the order that is promised."""

    jobs = Bundle("jobs")
    batches = Bundle("batches")

    def __init__(self) -> None:
        super().__init__()
        self.batch, self.files = 3, 4
        self.scheduler = Scheduler(self.batch, files=self.files)
        self.waiting: list[DecodeJob] = []
        self.dropped: list[DecodeJob] = []
        self.again: list[DecodeJob] = []  # those that wait for another try
        self.now = 10.0

    @rule(seconds=st.sampled_from([0.1, 0.3, 1.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(
        target=jobs,
        session=st.sampled_from("abc"),
        kind=st.sampled_from(list(Kind)),
        seconds=st.sampled_from([0.5, 2.0, 2.5]),
        language=st.sampled_from(["en", None]),
        spare=st.sampled_from([0.0, 0.0, 0.3]),
    )
    def submit(self, session, kind, seconds, language, spare):
        new = job(session, kind, seconds, owner="ann" if session == "c" else "bob", language=language)
        new.due = self.now + spare if spare else 0.0
        before = [one for one in self.waiting if (one.session, one.kind) == (session, Kind.INTERIM)]
        replaced = self.scheduler.submit(new)
        if replaced in self.again:
            self.again.append(new)
        if kind is Kind.INTERIM:
            assert before == ([] if replaced is None else [replaced])
        else:
            assert replaced is None
        self.waiting = [*(one for one in self.waiting if one is not replaced), new]
        return new

    @rule(target=batches, live=st.booleans(), files=st.booleans())
    def take(self, live, files):
        batch = self.scheduler.take(self.now, live=live, files=files)
        may = [one for one in self.waiting if files or one.kind is not Kind.FILE]
        if not may:
            assert batch == []
            return batch
        kind = min(one.kind for one in may)
        if batch[0].kind is Kind.INTERIM and kind is Kind.FINAL:  # for one who was kept waiting by others
            assert all(one.owner != batch[0].owner for one in may if one.kind is kind)
            kind = Kind.INTERIM
        assert {one.kind for one in batch} == {kind}
        assert len(batch) <= (self.batch if kind is not Kind.FILE else 1 if live else self.files)
        assert all(one in self.waiting for one in batch)
        assert len(set(map(id, batch))) == len(batch)
        assert len({(one.rate, one.options) for one in batch}) == 1
        if kind is Kind.FILE:
            assert len({one.session for one in batch}) == 1
        if kind is not Kind.FILE and batch[0] not in self.again:
            heads = {one.session: one for one in reversed(self.waiting) if one.kind is kind and one not in self.again}
            assert batch[0].due <= self.now or all(one.due >= batch[0].due for one in heads.values())
        self.waiting = [one for one in self.waiting if one not in batch]
        return batch

    @rule(batch=consumes(batches))
    def die(self, batch):
        wanted = [one for one in batch if one not in self.dropped]
        given_up = self.scheduler.died(batch, wanted)
        interims = {one.session for one in self.waiting if one.kind is Kind.INTERIM}
        for one in given_up:
            assert one in wanted
            assert one.deaths >= TRIES or (one.kind is Kind.INTERIM and one.session in interims)
        self.waiting += [one for one in wanted if one not in given_up]
        self.again += [one for one in wanted if one not in given_up]

    @rule(batch=consumes(batches))
    def fail(self, batch):
        given_up = self.scheduler.failed(batch, [one for one in batch if one not in self.dropped])
        if len(batch) == 1:
            assert given_up == batch
            return
        interims = {one.session for one in self.waiting if one.kind is Kind.INTERIM}
        assert all(one.kind is Kind.INTERIM and one.session in interims for one in given_up)
        self.waiting += [one for one in batch if one not in (*given_up, *self.dropped)]
        self.again += [one for one in batch if one not in (*given_up, *self.dropped)]

    @rule(one=consumes(jobs))
    def drop(self, one):
        assert self.scheduler.drop(one) == (one in self.waiting)
        self.waiting = [other for other in self.waiting if other is not one]
        self.dropped.append(one)

    @invariant()
    def what_waits_is_known(self):
        for kind in Kind:
            assert self.scheduler.waiting(kind) == sum(one.kind is kind for one in self.waiting)
        assert bool(self.scheduler) == bool(self.waiting)

    @invariant()
    def no_session_has_two_interims(self):
        interims = Counter(one.session for one in self.waiting if one.kind is Kind.INTERIM)
        assert all(count == 1 for count in interims.values())


TestQueueing = Queueing.TestCase
TestQueueing.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
