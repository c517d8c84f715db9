"""Files: typed, pasted, picked; watched, cancelled, done again."""

from __future__ import annotations

from pathlib import Path

from convo.messages import CancelSession, CreateSession, EndSession
from convo_tui.model.files import Step
from tests.cli.fake import FakeDaemon
from tests.tui.conftest import Open, Stage


def steps(stage: Stage) -> list[Step]:
    return [job.step for job in stage.app.uploads.jobs]


async def test_a_typed_path_becomes_a_transcript(connected: Open, fake: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "my talk.flac").write_bytes(b"x" * 200_000)
    async with connected() as stage:
        await stage.press("4")
        await stage.sees("No files yet.")
        await stage.press(*str(tmp_path / "my ta"), "right", "enter")
        await stage.until(lambda: steps(stage) == [Step.DONE], "done")
        await stage.sees("✓ my talk.flac", "1 of 1 done")
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
        from textual.events import Paste

        text = f"'{tmp_path}/a.wav' {tmp_path}/b\\ c.wav\nfile://{tmp_path}/d.wav"
        stage.app.screen.post_message(Paste(text))
        await stage.until(lambda: steps(stage) == [Step.DONE] * 3, "done")
        assert [job.path.name for job in stage.app.uploads.jobs] == ["a.wav", "b c.wav", "d.wav"]


async def test_cancelled_and_done_again(connected: Open, fake: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"data")
    fake.silent_end = True
    async with connected() as stage:
        await stage.press("4")
        await stage.press(*"a.wav", "enter")
        await stage.until(lambda: bool(fake.of(EndSession)), "sent")
        await stage.sees("listening")
        await stage.press("x")
        await stage.sees("✗ a.wav", "cancelled")
        fake.wait_for(CancelSession)
        fake.silent_end = False
        await stage.press("r")
        await stage.until(lambda: steps(stage) == [Step.DONE], "done")
        assert len(fake.sessions) == 2
        await stage.press("x")
        await stage.sees("No files yet.")


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
        await stage.sees("✗ a.wav", "This is no audio.")
        await stage.press("a", *"/nowhere.wav", "enter")
        await stage.until(lambda: any("is no file" in toast for toast in stage.toasts()), "told")


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
        await stage.sees("1 chosen.")
        await stage.press("down", "enter")
        await stage.until(lambda: steps(stage) == [Step.DONE] * 2, "done")
        assert sorted(job.path.name for job in stage.app.uploads.jobs) == ["a.wav", "b.mp3"]
