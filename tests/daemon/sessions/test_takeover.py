"""Which sessions of convods that stopped are taken over, when, and how: from a table."""

from __future__ import annotations

import pytest

from convod.sessions.takeover import TakeOver, TakeOvers
from convod.store import Held, Member

MEMBER = Member("home", "spool")


def held(**fields) -> Held:
    about = {
        "session": "one", "epoch": 7, "spool": "elsewhere", "home": "another", "alive": False, "final": False,
        "transcribed": False,
    }  # fmt: skip
    return Held(**about | fields)


def machine() -> TakeOvers:
    return TakeOvers(MEMBER, grace_s=10.0, audio_grace_s=60.0)


NEVER = None

TABLE = [
    ("a convod that is alive", {"alive": True, "spool": "spool"}, NEVER, None),
    ("one with its audio here", {"spool": "spool"}, 10.0, "resume"),
    ("one whose audio only it has", {}, 60.0, "fail"),
    ("all of its text is stored", {"transcribed": True}, 10.0, "finish"),
    ("all of it, and its audio here", {"transcribed": True, "spool": "spool"}, 10.0, "resume"),
    ("a summary was requested", {"final": True}, 10.0, "resume"),
    ("this convod, before", {"home": "home", "spool": "spool"}, 0.0, "resume"),
    ("this convod, before its audio went to another folder", {"home": "home"}, 60.0, "fail"),
    ("nobody, and its audio here", {"epoch": 0, "home": "", "spool": "spool"}, 0.0, "resume"),
    ("nobody, and no audio", {"epoch": 0, "home": "", "spool": ""}, 60.0, "fail"),
]


@pytest.mark.parametrize(("fields", "due", "how"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_is_taken_over_when_and_how(fields, due, how):
    one, decide = held(**fields), machine()
    first = {}
    for now in (100.0, 109.9, 110.0, 159.9, 160.0, 10_000.0):
        for action in decide.look(now, 1, [one]):
            first.setdefault(action, now - 100.0)
    assert first == ({} if due is NEVER else {TakeOver(one, how): due})


def test_one_that_comes_back_is_waited_for_anew():
    one, decide = held(spool="spool"), machine()
    assert decide.look(0.0, 1, [one]) == []
    assert decide.look(9.0, 1, [one._replace(alive=True)]) == []
    assert decide.look(18.0, 1, [one]) == []
    assert decide.look(28.0, 1, [one]) == [TakeOver(one, "resume")]


def test_after_an_outage_of_the_server_all_have_time_to_come_back():
    one, decide = held(spool="spool"), machine()
    assert decide.look(0.0, 1, [one]) == []
    assert decide.look(50.0, 2, [one]) == []  # this convod was cut off itself
    assert decide.look(59.9, 2, [one]) == []
    assert decide.look(60.0, 2, [one]) == [TakeOver(one, "resume")]


def test_of_one_that_is_gone_nothing_is_remembered():
    decide = machine()
    decide.look(0.0, 1, [held(spool="spool")])
    decide.look(1.0, 1, [])
    assert decide.look(20.0, 1, [held(spool="spool")]) == []
