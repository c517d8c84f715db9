"""The queue, tries and names from the command line, against a scripted daemon."""

from __future__ import annotations

import json

from convo.messages import Error, PauseQueue, QueuedFile, ResumeQueue, Retranscribe, RetrySession, State, UpdateSession
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon

TALK = QueuedFile(
    session="ab12",
    title="Talk\x1b[2J",
    priority="high",
    state=State.PROCESSING,
    created=1.0,
    done_s=65.0,
    total_s=3600.0,
)
NEXT = QueuedFile(session="cd34", title="Next", priority="low", state=State.PENDING, created=2.0)


def test_the_queue_as_a_table(fake: FakeDaemon, run: Run) -> None:
    fake.queue = [TALK, NEXT]
    result = run("queue")
    assert result.code == 0
    assert result.out == "ab12\tprocessing\thigh\t01:05 of 1:00:00\tTalk\ncd34\tpending\tlow\t\tNext\n"
    assert [json.loads(line)["session"] for line in run("queue", "--json").out.splitlines()] == ["ab12", "cd34"]


def test_pause_and_resume(fake: FakeDaemon, run: Run) -> None:
    assert run("queue", "pause").code == 0
    assert fake.of(PauseQueue)
    assert "paused" in run("queue").err
    assert run("queue", "resume").code == 0
    assert fake.of(ResumeQueue)
    assert run("queue").err == ""


def test_priority_and_name(fake: FakeDaemon, run: Run) -> None:
    fake.add("ab12", "Hello.", title="Old")
    assert run("priority", "ab", "high").code == 0
    assert run("rename", "ab", "New").code == 0
    asked = [(request.session, request.title, request.priority) for request in fake.of(UpdateSession)]
    assert asked == [("ab12", None, "high"), ("ab12", "New", None)]
    assert fake.sessions["ab12"].title == "New"
    assert run("priority", "ab", "urgent").code == 2


def test_retry(fake: FakeDaemon, run: Run) -> None:
    fake.add("ab12")
    assert "convo watch ab12" in run("retry", "ab").err
    assert [request.session for request in fake.of(RetrySession)] == ["ab12"]
    fake.refuse[RetrySession] = Error(code="bad_state", message="Only a failed one can be tried again.")
    result = run("retry", "ab")
    assert result.code == 1
    assert "Only a failed one" in result.err


def test_retranscribe(fake: FakeDaemon, run: Run) -> None:
    fake.add("ab12")
    assert run("retranscribe", "ab", "--model", "small", "--language", "de").out == "0009new\n"
    (request,) = fake.of(Retranscribe)
    assert (request.session, request.model, request.language, request.words) == ("ab12", "small", "de", None)
    run("retranscribe", "ab", "--languages", "de,ko")
    assert fake.of(Retranscribe)[-1].languages == ["de", "ko"]
