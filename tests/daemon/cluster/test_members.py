from __future__ import annotations

import msgspec
import pytest

from convod.cluster.members import LOST_BEATS, MISSED, STUCK_LOOKS, LostWatch, Members, StuckWatch
from convod.cluster.wire import BEAT_S, Beat, Fingerprint

OURS = Fingerprint(digest="d", context="short", device="cpu", compute_type="int8", versions="convod 1")


def beat(worker: str = "w", state: str = "serving", **other: str) -> Beat:
    fingerprint = msgspec.structs.replace(OURS, **other)
    return Beat(
        worker=worker, host="h", fingerprint=fingerprint, model="m", languages=["en"], multilingual=False, state=state
    )


def wanting(**wanted: str) -> Members:
    members = Members()
    members.want(msgspec.structs.replace(OURS, **wanted))
    return members


@pytest.mark.parametrize(
    ("beats", "now", "alive"),
    [
        ([], 100.0, []),
        ([(0.0, "a")], MISSED * BEAT_S - 0.1, ["a"]),
        ([(0.0, "a")], MISSED * BEAT_S, []),
        ([(0.0, "a"), (BEAT_S, "a")], MISSED * BEAT_S, ["a"]),
        ([(0.0, "a"), (BEAT_S, "b")], MISSED * BEAT_S, ["b"]),
    ],
)
def test_a_worker_is_dead_when_three_beats_did_not_come(beats, now, alive):
    members = wanting()
    for at, worker in beats:
        members.beat(beat(worker), at)
    known = {worker for _, worker in beats}
    dead = {member.beat.worker for member in members.silent(now)}
    assert [member.beat.worker for member in members] == alive
    assert dead == known - set(alive)
    assert members.silent(now) == []  # told once


def test_each_worker_says_how_often_it_beats():
    members = wanting()
    members.beat(msgspec.structs.replace(beat("often"), every_s=0.5), 0.0)
    members.beat(beat("seldom"), 0.0)
    assert [member.beat.worker for member in members.silent(MISSED * 0.5)] == ["often"]
    assert [member.beat.worker for member in members] == ["seldom"]


def test_one_that_beats_again_is_back_and_one_that_says_so_is_gone_at_once():
    members = wanting()
    first = members.beat(beat(), 0.0)
    assert members.beat(beat(), 2.0) is first
    members.silent(100.0)
    back = members.beat(beat(), 101.0)
    assert back is not first
    members.beat(beat(state="leaving"), 102.0)
    assert back.beat.state == "leaving"
    assert members.beat(beat(state="gone"), 103.0) is back
    assert back.beat.state == "gone"
    assert list(members) == []
    assert members.beat(beat("unheard of", "gone"), 104.0).beat.state == "gone"
    assert list(members) == []


@pytest.mark.parametrize(
    ("wanted", "theirs", "why"),
    [
        ({}, {}, None),
        ({}, {"digest": "e"}, "another model"),
        ({}, {"context": "full"}, "another model"),
        ({}, {"versions": "convod 2"}, "it runs convod 2, this convod convod 1"),
        ({}, {"device": "cuda"}, "it computes on cuda (int8), this convod on cpu (int8)"),
        ({}, {"compute_type": "float32"}, "it computes on cpu (float32)"),
        ({"device": "", "compute_type": ""}, {"device": "cuda", "compute_type": "float16"}, None),
        ({"device": "", "compute_type": ""}, {"digest": "e"}, "another model"),
    ],
)
def test_only_who_hears_as_this_daemon_does_gets_windows(wanted, theirs, why):
    members = Members()
    early = members.beat(beat("early", **theirs), 0.0)
    assert "still loading its model" in early.why_not
    members.want(msgspec.structs.replace(OURS, **wanted))
    for member in (early, members.beat(beat("late", **theirs), 0.0)):
        assert member.why_not is None if why is None else why in member.why_not


def test_each_part_of_a_fingerprint_has_its_share_in_the_name():
    changed = [msgspec.structs.replace(OURS, **{field: "other"}) for field in OURS.__struct_fields__]
    assert len({one.name for one in (OURS, *changed)}) == 1 + len(OURS.__struct_fields__)
    assert OURS.name == msgspec.structs.replace(OURS).name


@pytest.mark.parametrize(
    ("looks", "stuck"),
    [
        ([(0, False)] * 9, False),
        ([(1, True)] * 9, False),
        ([(1, False)] * (STUCK_LOOKS - 1), False),
        ([(1, False)] * STUCK_LOOKS, True),
        ([(1, False)] * (STUCK_LOOKS - 1) + [(1, True)] + [(1, False)] * (STUCK_LOOKS - 1), False),
        ([(1, False)] * (STUCK_LOOKS - 1) + [(0, False)] + [(2, False)] * STUCK_LOOKS, True),
    ],
)
def test_a_consumer_is_stuck_that_is_idle_beside_a_full_queue_again_and_again(looks, stuck):
    watch = StuckWatch()
    assert [watch.look(queued=queued, busy=busy) for queued, busy in looks][-1] is stuck


@pytest.mark.parametrize(
    ("beats", "lost"),
    [
        ([("1", False)] * LOST_BEATS, False),  # with the first it may have been on its way
        ([("1", False)] * (LOST_BEATS + 1), True),
        ([("1", False)] * LOST_BEATS + [("1", True)], False),
        ([("1", True)] * 100, False),  # a slow model
        ([("", False)] * 100, False),
        ([(str(number // 2), False) for number in range(100)], False),  # each is done before the next beat but one
        ([("", False)] * 9 + [("2", False)] * (LOST_BEATS + 1), True),
    ],
)
def test_a_task_that_its_worker_does_not_know_of_is_lost(beats, lost):
    watch = LostWatch()
    assert [watch.beat(task, busy=busy) for task, busy in beats][-1] is lost
