"""Files: typed, pasted, picked; watched, cancelled, done again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from textual.events import Paste

from convo.messages import (
    CancelSession,
    CreateSession,
    EndSession,
    Error,
    ListQueue,
    PauseQueue,
    QueuedFile,
    ResumeQueue,
    RetrySession,
    State,
)
from convo_tui.model.files import Step
from convo_tui.work import queue
from tests.cli.fake import FakeDaemon, FakeSession
from tests.tui.conftest import Open, Stage


def steps(stage: Stage) -> list[Step]:
    return [job.step for job in stage.app.context.uploads.jobs]


async def test_a_typed_path_becomes_a_transcript(connected: Open, fake: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "my talk.flac").write_bytes(b"x" * 200_000)
    async with connected() as stage:
        await stage.press("4")
        await stage.sees("No files yet.")
        await stage.press(*str(tmp_path / "my ta"))
        await stage.sees("my talk.flac")
        await stage.press("right", "enter")
        await stage.until(lambda: steps(stage) == [Step.DONE], "done")
        await stage.sees("✓ my talk.flac", "done  en", "1 of 1 done")
        (request,) = fake.of(CreateSession)
        assert (request.kind, request.audio.name, request.audio.size, request.title) == (
            "file", "my talk.flac", 200_000, "my talk",
        )  # fmt: skip
        assert bytes(fake.only.audio) == b"x" * 200_000
        await stage.press("enter")
        await stage.sees("convo   my talk", "Hello there.")


async def test_pasted_paths_go_to_the_queue_at_once(connected: Open, fake: FakeDaemon, tmp_path: Path) -> None:
    for name in ("a.wav", "b c.wav", "d.wav"):
        (tmp_path / name).write_bytes(b"data")
    async with connected() as stage:
        await stage.press("4")
        await stage.sees("No files yet.")
        text = f"'{tmp_path}/a.wav' {tmp_path}/b\\ c.wav\nfile://{tmp_path}/d.wav\n/nowhere.wav"
        stage.app.post_message(Paste(text))  # as the terminal does it: the input line has the focus
        await stage.until(lambda: steps(stage) == [Step.DONE] * 3, "done")
        assert [job.path.name for job in stage.app.context.uploads.jobs] == ["a.wav", "b c.wav", "d.wav"]
        assert "/nowhere.wav is not a file." in stage.toasts()
        stage.app.post_message(Paste(f"{tmp_path}/a.wav"))  # the list has it
        await stage.until(lambda: steps(stage) == [Step.DONE] * 4, "done")
        await stage.press("a")
        stage.app.post_message(Paste("plain text"))
        await stage.sees("plain text")


async def test_cancelled_and_done_again(connected: Open, fake: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"data")
    fake.silent_end = True
    async with connected() as stage:
        await stage.press("4")
        await stage.press(*"a.wav", "enter")
        await stage.until(lambda: bool(fake.of(EndSession)), "sent")
        await stage.sees("transcribing")
        await stage.press("x")
        await stage.sees("✗ a.wav", "cancelled")
        fake.wait_for(CancelSession)
        fake.silent_end = False
        await stage.press("r")
        await stage.until(lambda: steps(stage) == [Step.DONE], "done")
        assert len(fake.sessions) == 2
        await stage.sees("x Clear")
        await stage.press("x")
        await stage.sees_no("a.wav")


async def test_an_upload_goes_on_after_a_broken_link(connected: Open, fake: FakeDaemon, tmp_path: Path) -> None:
    data = bytes(range(256)) * 2000
    (tmp_path / "a.wav").write_bytes(data)
    fake.drop_after = 200_000
    async with connected() as stage:
        await stage.press("4")
        await stage.press(*"a.wav", "enter")
        await stage.until(lambda: steps(stage) == [Step.DONE], "done")
        assert bytes(fake.only.audio) == data
        assert len(fake.sessions) == 1


async def test_what_is_no_audio_is_told_in_its_row(connected: Open, fake: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"data")
    fake.fail_with = ("bad_audio", "This is no audio.")
    async with connected() as stage:
        await stage.press("4")
        await stage.press(*"a.wav", "enter")
        await stage.sees("✗ a.wav", "This is no audio.", "This may help: ffprobe a.wav")
        await stage.press("a", *"/nowhere.wav", "enter")
        await stage.until(lambda: any("is not a file" in toast for toast in stage.toasts()), "told")


async def test_picked_in_a_tree(connected: Open, fake: FakeDaemon, tmp_path: Path) -> None:
    for name in ("a.wav", "b.mp3", "notes.txt"):
        (tmp_path / name).write_bytes(b"data")
    async with connected() as stage:
        await stage.press("4", "escape", "4")
        await stage.press("tab", "p")
        await stage.sees("Pick recordings", "a.wav", "b.mp3")
        assert "notes.txt" not in stage.text()
        place = [line for line in stage.text().splitlines() if "config" in line]
        await stage.press(*["down"] * (1 + bool(place)), "space")
        await stage.sees("1 selected.")
        await stage.press("down", "enter")
        await stage.until(lambda: steps(stage) == [Step.DONE] * 2, "done")
        assert sorted(job.path.name for job in stage.app.context.uploads.jobs) == ["a.wav", "b.mp3"]


def queue_file(session: str, title: str, **fields: Any) -> QueuedFile:
    return QueuedFile(**{
        "session": session, "title": title, "priority": "normal", "state": State.PENDING, "created": 1.0, **fields,
    })  # fmt: skip


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue is looked at all the time."""
    monkeypatch.setattr(queue, "POLL_S", 0.02)


@pytest.mark.usefixtures("quick")
async def test_the_daemons_own_queue_is_watched_and_files_of_others_are_cancelled(
    connected: Open, fake: FakeDaemon
) -> None:
    fake.queue = [
        queue_file("q1", "Interview", state=State.PROCESSING, done_s=30.0, total_s=120.0),
        queue_file("q2", "A \x1b[31mlecture", priority="high"),
    ]
    for file in fake.queue:
        fake.sessions[file.session] = FakeSession(file.session, kind="file", title=file.title)
    async with connected() as stage:
        await stage.press("4")
        await stage.sees("Sent by other programs", "Interview", "00:30 of 02:00", "A lecture", "high priority  waiting")
        await stage.sees("2 in the daemon's queue")
        fake.queue[0] = queue_file("q1", "Interview", state=State.PROCESSING, done_s=60.0, total_s=120.0)
        await stage.sees("01:00 of 02:00")
        await stage.press("escape", "end")
        await stage.sees("x Cancel")
        await stage.press("x")
        await stage.until(lambda: [one.session for one in fake.of(CancelSession)] == ["q2"], "cancelled")
        del fake.queue[1:]
        await stage.sees("✗ A lecture", "1 in the daemon's queue")
        fake.sessions["q1"].language = "ko"
        await stage.sees("transcribing  ko  01:00 of 02:00")
        fake.sessions["q1"].state = State.COMPLETED
        del fake.queue[:]
        await stage.sees("✓ Interview", "done  ko", "0 in the daemon's queue")
        await stage.press("home", "x")
        await stage.sees_no("Interview")


@pytest.mark.usefixtures("quick")
async def test_the_queue_rests_and_goes_on(connected: Open, fake: FakeDaemon) -> None:
    async with connected() as stage:
        await stage.press("4", "tab")
        await stage.sees("space Pause")
        await stage.press("space")
        await stage.sees("○ paused", "The queue is paused: press space to resume.", "space Resume")
        assert len(fake.of(PauseQueue)) == 1
        await stage.press("space")
        await stage.sees("space Pause")
        await stage.sees_no("paused")
        assert len(fake.of(ResumeQueue)) == 1


@pytest.mark.usefixtures("quick")
async def test_a_file_that_failed_before_is_tried_again_and_one_that_is_refused_says_why(
    connected: Open, fake: FakeDaemon
) -> None:
    session = FakeSession("f1", kind="file", title="Broken", created=time.time())
    session.fail("internal", "The disk \x1b[2Jis full.")
    fake.sessions["f1"] = session
    async with connected() as stage:
        await stage.press("4")
        await stage.sees("✗ Broken", "The disk is full.", "This may help: convo retry f1")
        await stage.press("tab", "r")
        await stage.until(lambda: [one.session for one in fake.of(RetrySession)] == ["f1"], "tried again")
        fake.refuse[RetrySession] = Error(code="bad_state", message="Its audio is not there any more.")
        await stage.press("r")
        await stage.until(lambda: "Its audio is not there any more." in stage.toasts(), "told")


async def test_files_of_ours_are_not_shown_twice_and_an_old_daemon_without_a_queue_is_fine(
    connected: Open, fake: FakeDaemon, tmp_path: Path
) -> None:
    (tmp_path / "a.wav").write_bytes(b"data")
    fake.refuse[ListQueue] = Error(code="bad_message", message="What is that?")
    async with connected() as stage:
        await stage.press("4", *"a.wav", "enter")
        await stage.until(lambda: steps(stage) == [Step.DONE], "done")
        await stage.sees("✓ a.wav")
        assert "other programs" not in stage.text()
        assert not any("What is that" in toast for toast in stage.toasts())
        del fake.refuse[ListQueue]
        fake.only.state = State.PROCESSING
        fake.queue = [queue_file(fake.only.id, "a")]
        await stage.press("escape", "4")
        await stage.until(lambda: bool(stage.app.context.queue.model.jobs), "told")
        await stage.sees("✓ a.wav")
        assert "other programs" not in stage.text()
