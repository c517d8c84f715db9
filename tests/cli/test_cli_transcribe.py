"""Files to transcripts, against a scripted daemon."""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from convo.messages import Attach, Audio, CancelSession, CreateSession, EndSession, Error
from convo_cli.link import linked
from tests.cli.conftest import Run, Start
from tests.cli.fake import TRUSTED, WAIT_S, FakeDaemon, FakeSession


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three files, and a daemon that hears the name of each in it (see `names`)."""
    made = []
    for name in ("one", "two", "three"):
        path = tmp_path / f"{name}.mp3"
        path.write_bytes(name.encode() * 1000)
        made.append(path)
    return made


@pytest.fixture
def names(fake: FakeDaemon) -> None:
    def hears_its_name(session: FakeSession) -> None:
        session.said = [f"This is {session.title}."]

    fake.on_created = hears_its_name


def test_one_file(fake: FakeDaemon, run: Run, files: list[Path]) -> None:
    result = run("transcribe", files[0])
    assert (result.code, result.out, result.err) == (0, "Hello there.\nGood bye.\n", "")
    assert bytes(fake.only.audio) == files[0].read_bytes()
    (request,) = fake.of(CreateSession)
    assert request.kind == "file"
    assert request.summary.mode == "off"
    assert (request.audio.container, request.audio.name, request.audio.size) == ("auto", "one.mp3", 3000)
    assert (request.title, request.interim, request.words) == ("one", False, False)


def test_options_are_passed_on(fake: FakeDaemon, run: Run, files: list[Path]) -> None:
    line = "--languages de,en --words --task translate --prompt P --hotwords H --model small --summary"
    run("transcribe", files[0], *line.split())
    (request,) = fake.of(CreateSession)
    assert (request.languages, request.words, request.task) == (["de", "en"], True, "translate")
    assert (request.prompt, request.hotwords, request.model) == ("P", "H", "small")
    assert request.summary.mode == "final"


def test_a_file_larger_than_the_credit(fake: FakeDaemon, run: Run, tmp_path: Path) -> None:
    fake.credit = 1000
    (tmp_path / "big.mp3").write_bytes(bytes(range(250)) * 200)
    assert run("transcribe", tmp_path / "big.mp3").code == 0
    assert bytes(fake.only.audio) == bytes(range(250)) * 200
    assert max(len(audio.data) for audio in fake.of(Audio)) <= 1000


@pytest.mark.usefixtures("names")
def test_several_files_in_the_order_that_was_asked_for(fake: FakeDaemon, run: Run, files: list[Path]) -> None:
    result = run("transcribe", *files)
    assert result.code == 0
    assert result.out == "\n".join(f"==> {path} <==\nThis is {path.stem}.\n" for path in files)


@pytest.mark.usefixtures("names")
def test_several_files_as_json_documents(fake: FakeDaemon, run: Run, files: list[Path]) -> None:
    out = run("transcribe", *files, "--format", "jsonl").out
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["title"] for line in lines if line["type"] == "session"] == ["one", "two", "three"]


def test_more_files_than_go_side_by_side(fake: FakeDaemon, run: Run, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.mp3" for number in range(11)]
    for path in paths:
        path.write_bytes(b"x")
    assert run("transcribe", *paths, "--format", "json").code == 0
    assert len(fake.sessions) == 11


def test_events_as_json(fake: FakeDaemon, run: Run, files: list[Path]) -> None:
    lines = [json.loads(line) for line in run("transcribe", files[0], files[1], "--json").out.splitlines()]
    assert [line["type"] for line in lines].count("transcript_segment") == 4
    assert [line["file"] for line in lines] == sorted(line["file"] for line in lines)
    assert lines[-1]["state"] == "completed"


def test_into_a_file(fake: FakeDaemon, run: Run, files: list[Path], tmp_path: Path) -> None:
    assert run("transcribe", files[0], "-o", tmp_path / "x.srt").out == ""
    assert (tmp_path / "x.srt").read_text().startswith("1\n00:00:00,000 --> ")


def test_into_a_directory(fake: FakeDaemon, run: Run, files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert run("transcribe", *files, "-o", tmp_path / "out", "--format", "vtt").code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.vtt", "three.vtt", "two.vtt"]


def test_several_files_into_one_is_refused_before_anything_is_done(
    fake: FakeDaemon, run: Run, files: list[Path], tmp_path: Path
) -> None:
    assert run("transcribe", *files, "-o", tmp_path / "x.txt").code == 2
    assert not fake.asked


def test_the_summary_follows_the_words(fake: FakeDaemon, run: Run, files: list[Path]) -> None:
    out = run("transcribe", files[0], "--summary").out
    assert out.startswith("Hello there.\nGood bye.\n\nThe plan\n\nThey made a plan.\n")
    assert "## Summary" in run("transcribe", files[0], "--summary", "--format", "md").out


def test_the_summary_says_when_its_points_were_said(fake: FakeDaemon, run: Run, files: list[Path]) -> None:
    fake.sums_up = TRUSTED
    assert "  - A plan was made. [00:02, 00:00]\n" in run("transcribe", files[0], "--summary").out
    assert "  - Write it down. (Ada, today) [00:02]\n" in run("transcribe", files[0], "--summary").out


def test_captions_have_no_place_for_a_summary(fake: FakeDaemon, run: Run, files: list[Path]) -> None:
    result = run("transcribe", files[0], "--summary", "--format", "srt")
    assert "plan" not in result.out
    assert "`convo show 0001new`" in result.err


def test_what_the_daemon_heard_is_cleaned(fake: FakeDaemon, run: Run, files: list[Path]) -> None:
    def evil(session: FakeSession) -> None:
        session.said = ["I say \x1b]0;owned\x07\x9b2Jthis."]

    fake.on_created = evil
    for format in ("txt", "srt", "vtt", "md", "json", "jsonl"):
        out = run("transcribe", files[0], "--format", format).out
        assert not [char for char in out if char < " " and char != "\n"]
        assert "\x9b" not in out
    assert "\x1b" not in run("transcribe", files[0], "--json").out


@pytest.mark.parametrize(
    ("why", "code"),
    [(("bad_audio", "No audio."), 4), (("unsupported_audio", "What is that?"), 4), (("internal", "Broken."), 6)],
)
def test_a_file_that_fails(fake: FakeDaemon, run: Run, files: list[Path], why: tuple[str, str], code: int) -> None:
    fake.fail_with = why
    result = run("transcribe", files[0])
    assert (result.code, result.out) == (code, "")
    assert result.err == f"convo: {files[0]}: {why[1]}\n"


def test_a_file_that_is_not_there_does_not_stop_the_others(
    fake: FakeDaemon, run: Run, files: list[Path], tmp_path: Path
) -> None:
    result = run("transcribe", files[0], tmp_path / "none.mp3", files[1])
    assert result.code == 4
    assert result.out.count("Hello there.") == 2
    assert result.err.splitlines() == [
        f"convo: Cannot read {tmp_path}/none.mp3: No such file or directory.",
        "convo: 1 of 3 files could not be transcribed.",
    ]


def test_a_request_that_is_refused(fake: FakeDaemon, run: Run, files: list[Path]) -> None:
    fake.refuse[CreateSession] = Error(code="unknown_model", message="There is no model big.")
    result = run("transcribe", files[0], "--model", "big")
    assert result.code == 1
    assert "no model big" in result.err


def test_standard_input(fake: FakeDaemon, start: Start) -> None:
    child = start("transcribe", "-", "--format", "txt")
    out, err = child.communicate(b"a file's bytes" * 10_000, timeout=WAIT_S)
    assert (child.returncode, out, err) == (0, b"Hello there.\nGood bye.\n", b"")
    assert bytes(fake.only.audio) == b"a file's bytes" * 10_000
    assert fake.of(CreateSession)[0].audio.size is None


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_upload_that_is_interrupted_is_cancelled(fake: FakeDaemon, start: Start, signum: int, code: int) -> None:
    child = start("transcribe", "-")
    assert child.stdin is not None
    child.stdin.write(b"the beginning")
    child.stdin.flush()
    fake.wait_for(Audio)
    child.send_signal(signum)
    assert child.wait(WAIT_S) == code
    fake.wait_for(CancelSession)
    assert not fake.of(EndSession)
    assert child.stderr is not None
    assert child.stderr.read() == b"convo: Interrupted: no file goes on by itself.\n"


def test_after_ctrl_c_what_was_sent_goes_on_and_a_line_says_so(
    fake: FakeDaemon, start: Start, files: list[Path]
) -> None:
    fake.stays_at_work = True
    child = start("transcribe", files[0], "--json")
    assert child.stdout is not None
    while b'"processing"' not in (line := child.stdout.readline()):
        assert line
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=WAIT_S)
    assert child.returncode == 130
    assert err.decode() == (
        f"convo: Goes on by itself: {files[0]} ({fake.only.id}). "
        "`convo watch ID` follows it, `convo cancel ID` stops it.\n"
    )
    assert not fake.of(CancelSession)


def test_a_closed_pipe_cancels_the_rest(fake: FakeDaemon, start: Start, files: list[Path]) -> None:
    def long(session: FakeSession) -> None:
        session.said = ["Words without end." * 20] * 1000

    fake.on_created = long
    child = start("transcribe", files[0])
    assert child.stdout is not None
    assert child.stdout.readline().startswith(b"Words without end.")
    child.stdout.close()
    assert child.wait(WAIT_S) == 141
    assert child.stderr is not None
    assert child.stderr.read() == b""


def everything(screen: int) -> bytes:
    """All that was written to a terminal whose other end is closed."""
    shown = b""
    with suppress(OSError):
        while data := os.read(screen, 65536):
            shown += data
    os.close(screen)
    return shown


def test_a_folder_becomes_a_folder(fake: FakeDaemon, run: Run, files: list[Path], tmp_path: Path) -> None:
    talks, out = tmp_path / "talks", tmp_path / "new" / "out"
    (talks / "day two").mkdir(parents=True)
    for path, place in zip(files, (talks, talks / "day two", talks / "day two"), strict=True):
        path.rename(place / path.name)
    (talks / "notes.txt").write_text("no recording")
    result = run("transcribe", talks, "--output-dir", out, "--format", "srt")
    assert (result.code, result.out) == (0, "")
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*.*"))
    assert names == ["day two/three.srt", "day two/two.srt", "one.srt"]
    assert len(result.err.splitlines()) == 3
    assert f"-> {out}/one.srt" in result.err
    # Again: nothing is left to do, and nothing is asked of the daemon.
    asked = len(fake.asked)
    result = run("transcribe", talks, "--output-dir", out, "--format", "srt", "--skip-existing")
    assert (result.code, result.err) == (0, "convo: 3 of 3 files have a transcript already and are left out.\n")
    assert len(fake.asked) == asked
    (out / "one.srt").unlink()
    assert run("transcribe", talks, "--output-dir", out, "--format", "srt", "--skip-existing").code == 0
    assert len(fake.sessions) == 4


def test_a_folder_without_recordings(fake: FakeDaemon, run: Run, tmp_path: Path) -> None:
    result = run("transcribe", tmp_path)
    assert result.code == 2
    assert "holds no recordings" in result.err
    assert not fake.asked


def test_what_the_queue_is_told(fake: FakeDaemon, run: Run, files: list[Path]) -> None:
    run("transcribe", files[0], *["--priority", "high", "--track", "2", "--keep-audio"])
    (request,) = fake.of(CreateSession)
    assert (request.priority, request.audio.track, request.keep_audio) == ("high", 2, True)


def screen_of(data: bytes) -> list[str]:
    """The lines that stand on a terminal after all that: enough of one for what the bars send."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", data.decode()):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part.endswith("A") and part[0] == "\x1b":
            row = max(0, row - int(part[2:-1] or 1))
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part[0] != "\x1b":
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines if line.strip()]


def test_what_is_said_beside_the_bars_stays_and_the_bars_do_not(fake: FakeDaemon, start: Start, tmp_path: Path) -> None:
    talks = tmp_path / "talks"
    talks.mkdir()
    for number in range(9):
        (talks / f"{number}.mp3").write_bytes(b"talk" * 5000)
    screen, theirs = os.openpty()
    child = start("transcribe", talks, "--output-dir", tmp_path / "out", stderr=theirs)
    os.close(theirs)
    child.communicate(timeout=WAIT_S)
    assert child.returncode == 0
    shown = everything(screen)
    assert b"all 9 files" in shown
    stays = screen_of(shown)
    assert len(stays) == 9, stays
    for number in range(9):
        assert sum(f"{number}.mp3: 00:00 of sound in " in line for line in stays) == 1
    begun = [request.title for request in fake.of(CreateSession)]
    assert sorted(begun[:4]) == ["0", "1", "2", "3"]  # they begin in their order
    assert begun[-1] == "8"


def test_names_that_are_no_text_or_as_long_as_can_be(fake: FakeDaemon, run: Run, tmp_path: Path) -> None:
    names = [b"caf\xe9.mp3", b"x" * 251 + b".mp3", b"two\nlines\x1b[31m.mp3", b"-dash.mp3", "会議🎤.mp3".encode()]
    talks = tmp_path / "talks"
    talks.mkdir()
    for name in names:
        Path(os.fsdecode(os.fsencode(talks) + b"/" + name)).write_bytes(b"talk")
    (talks / "._dash.mp3").write_bytes(b"what macOS leaves beside it")
    result = run("transcribe", talks, "--output-dir", tmp_path / "out")
    assert result.code == 0, result.err
    made = sorted(os.listdir(os.fsencode(tmp_path / "out")))
    assert made == sorted(name.removesuffix(b".mp3") + b".txt" for name in names)
    assert "caf\ufffd" in {request.title for request in fake.of(CreateSession)}
    assert "\x1b" not in result.err
    spoken = run("transcribe", talks)
    assert "==> " in spoken.out
    assert "\x1b" not in spoken.out
    assert spoken.out.count("==> ") == len(re.findall(r"^==> .* <==$", spoken.out, re.M)) == 5


def test_a_broken_link_is_made_again_and_the_file_goes_on(fake: FakeDaemon, run: Run, files: list[Path]) -> None:
    for path in files:
        path.write_bytes(path.read_bytes() * 100)
    fake.credit = 64_000
    fake.drop_after = 150_000
    result = run("transcribe", *files, "--json")
    assert result.code == 0, result.err
    assert result.err.count("Trying again.") == 1
    assert sorted(bytes(session.audio) for session in fake.sessions.values()) == sorted(p.read_bytes() for p in files)
    again = fake.of(Attach)
    assert len(again) == 3
    assert all(attach.produce and attach.after_seq >= 1 for attach in again)
    events = [json.loads(line) for line in result.out.splitlines()]
    for session in fake.sessions:  # and no event is told twice
        seqs = [event["seq"] for event in events if event["session"] == session and "seq" in event]
        assert seqs == list(range(1, len(seqs) + 1))


def test_a_daemon_that_stays_away(
    fake: FakeDaemon, run: Run, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(linked.__wrapped__.__kwdefaults__, "patience_s", 0.0)  # type: ignore[attr-defined]
    fake.drop_after = 1
    fake.stays_away = True
    result = run("transcribe", files[0])
    assert result.code == 3
    assert "Trying again." in result.err
    assert len(result.err.splitlines()) == 2


def test_progress_is_for_a_terminal(fake: FakeDaemon, start: Start, files: list[Path]) -> None:
    screen, theirs = os.openpty()
    child = start("transcribe", *files, stderr=theirs)
    os.close(theirs)
    out, _ = child.communicate(timeout=WAIT_S)
    shown = everything(screen)
    assert child.returncode == 0
    assert b"one.mp3" in shown
    for path in files:  # a line that stays for each file that is done
        assert f"{path.name}: 00:00 of sound in ".encode() in shown
    assert shown.rstrip(b"\r\n").endswith((b"\x1b[2K", b"\x1b[?25h", b"\r"))  # all of it is wiped off again
    assert b"\x1b" not in out
