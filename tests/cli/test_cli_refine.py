"""`convo refine`: its request, what it says at the end, how it is stopped and left."""

from __future__ import annotations

import json
import signal

import pytest

from convo.messages import Error, Refine
from tests.cli.conftest import Run, Start
from tests.cli.fake import FakeDaemon


def test_refine_says_what_was_heard_and_corrected(fake: FakeDaemon, run: Run) -> None:
    fake.add("ab12")
    result = run("refine", "ab", "--model", "small", "--below", "0.5")
    assert (result.code, result.out) == (0, "")
    assert result.err == "convo: small heard 01:02 of speech again; 1 segment reads otherwise.\n"
    (request,) = fake.of(Refine)
    assert (request.session, request.model, request.below, request.cancel) == ("ab12", "small", 0.5, False)
    lines = [json.loads(line) for line in run("refine", "ab", "--json").out.splitlines()]
    assert [line["type"] for line in lines] == ["refine_progress", "session_refined"]


def test_an_end_before_all_was_heard_is_an_error(fake: FakeDaemon, run: Run) -> None:
    fake.add("ab12")
    fake.refined = {"heard_s": 0.0, "corrected": 0, "code": "model_unavailable", "message": "It is gone; fetch it."}
    result = run("refine", "ab")
    assert result.code == 6
    assert "It is gone; fetch it." in result.err
    fake.refuse[Refine] = Error(code="bad_state", message="The audio was not kept.")
    result = run("refine", "ab")
    assert (result.code, result.err) == (1, "convo: The audio was not kept.\n")


def test_refine_is_cancelled(fake: FakeDaemon, run: Run) -> None:
    fake.add("ab12")
    assert "what was corrected stays" in run("refine", "ab", "--cancel").err
    assert [request.cancel for request in fake.of(Refine)] == [True]


def test_an_interrupted_command_says_how_to_stop_the_daemon(fake: FakeDaemon, start: Start) -> None:
    fake.add("ab12")
    fake.refined = None
    child = start("refine", "ab", "--json")
    assert child.stdout is not None
    assert b"refine_progress" in child.stdout.readline()
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert b"convo refine ab12 --cancel" in err


@pytest.mark.parametrize("below", ["-0.1", "1.5", "much"])
def test_a_limit_that_is_no_share_is_refused(run: Run, below: str) -> None:
    result = run("refine", "ab", "--below", below)
    assert result.code == 2
    assert "is not between 0 and 1" in result.err
