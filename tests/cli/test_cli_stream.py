"""A live session from a pipe or file, against a scripted daemon: the last word arrives, whatever happens."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import wave
from pathlib import Path

import pytest

from convo.messages import Attach, Audio, CancelSession, CreateSession, EndSession, Error
from tests.cli.conftest import Run, Start
from tests.cli.fake import WAIT_S, FakeDaemon, FakeSession
from tests.support.speech import DATA

WORDS = "Hello there.\nGood bye.\n"


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Half a minute of raw audio."""
    path = tmp_path / "speech.pcm"
    path.write_bytes(os.urandom(960_000))
    return path


def feed(child: subprocess.Popen[bytes], data: bytes) -> None:
    assert child.stdin is not None
    child.stdin.write(data)
    child.stdin.flush()


def test_a_file(fake: FakeDaemon, run: Run, speech: Path) -> None:
    result = run("stream", speech)
    assert (result.code, result.out, result.err) == (0, WORDS, "")
    assert bytes(fake.only.audio) == speech.read_bytes()
    (request,) = fake.of(CreateSession)
    assert (request.kind, request.audio.encoding, request.audio.rate) == ("live", "s16le", 16000)
    assert (request.interim, request.summary.mode) == (False, "off")


def test_options_are_passed_on(fake: FakeDaemon, run: Run, speech: Path) -> None:
    line = "--encoding mulaw --rate 8000 --language de --title T --prompt P --model M --words --summary"
    result = run("stream", speech, *line.split())
    (request,) = fake.of(CreateSession)
    assert (request.audio.encoding, request.audio.rate, request.audio.channels) == ("mulaw", 8000, 1)
    assert (request.language, request.title, request.prompt, request.model) == ("de", "T", "P", "M")
    assert (request.words, request.summary.mode, request.languages) == (True, "final", None)
    assert result.out.startswith(WORDS + "\nThe plan\n")
    run("stream", speech, "--languages", "de, ko")
    assert fake.of(CreateSession)[-1].languages == ["de", "ko"]


def test_a_wav_at_the_pace_of_the_clock(fake: FakeDaemon, run: Run, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as wav:
        wav.setnchannels(2)
        wav.setsampwidth(2)
        wav.setframerate(48000)
        wav.writeframes(bytes(48_000))
    assert run("stream", tmp_path / "a.wav", "--realtime", "--times").out == "00:00  Hello there.\n00:02  Good bye.\n"
    (request,) = fake.of(CreateSession)
    assert (request.audio.rate, request.audio.channels) == (16000, 1)
    *pieces, last = [len(audio.data) for audio in fake.of(Audio)]
    assert set(pieces) == {1280}  # 40 ms each
    assert 1280 * len(pieces) + last == pytest.approx(8000, abs=100)


def test_what_is_wrong_with_a_file_is_said_after_its_words(fake: FakeDaemon, run: Run, tmp_path: Path) -> None:
    whole = (DATA / "talk.mp3").read_bytes()
    (tmp_path / "hole.mp3").write_bytes(whole[:100_000] + bytes(3000) + whole[103_000:])
    result = run("stream", tmp_path / "hole.mp3")
    assert (result.code, result.out) == (0, WORDS)
    assert re.fullmatch(r"convo: hole\.mp3 is damaged \(.+\); what could be read was sent\.\n", result.err)
    (tmp_path / "evil.wav").write_bytes(b"RIFF$\0\0\0WAVEfmt \x10\0\0\0" + bytes(100))
    result = run("stream", tmp_path / "evil.wav")
    assert result.code == 4
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err


def test_events_as_json(fake: FakeDaemon, run: Run, speech: Path) -> None:
    lines = [json.loads(line) for line in run("stream", speech, "--json").out.splitlines()]
    assert fake.of(CreateSession)[0].interim
    kinds = [line["type"] for line in lines]
    assert kinds[0] == "session_state"
    assert "audio_ack" not in kinds
    assert [line["text"] for line in lines if line["type"] == "transcript_segment"] == WORDS.splitlines()


def test_a_pipe(fake: FakeDaemon, start: Start) -> None:
    child = start("stream", "-")
    out, err = child.communicate(b"abc" * 33_333, timeout=WAIT_S)  # an odd number of bytes: half a sample is left out
    assert (child.returncode, out, err) == (0, WORDS.encode(), b"")
    assert bytes(fake.only.audio) == (b"abc" * 33_333)[:-1]


def test_lines_come_as_they_are_heard(fake: FakeDaemon, start: Start) -> None:
    fake.segment_every = 32_000
    child = start("stream")
    assert child.stdout is not None
    feed(child, bytes(32_000))
    assert child.stdout.readline() == b"Hello there.\n"
    assert not fake.of(EndSession)
    feed(child, bytes(32_000))
    assert child.stdout.readline() == b"Good bye.\n"
    out, _ = child.communicate(timeout=WAIT_S)
    assert (child.returncode, out) == (0, b"")


@pytest.mark.parametrize("words", [["stream", "-"], ["stream", "-", "--realtime"]])
def test_a_pipe_in_which_nothing_comes(fake: FakeDaemon, start: Start, words: list[str]) -> None:
    child = start(*words, stdin=subprocess.DEVNULL)
    out, err = child.communicate(timeout=WAIT_S)
    assert (child.returncode, out) == (4, b"")
    assert err == b"convo: Standard input ended before any audio came.\n"
    assert not fake.sessions


def test_no_daemon(run: Run, speech: Path, tmp_path: Path) -> None:
    result = run("stream", speech, "--connect", f"unix:{tmp_path}/none")
    assert result.code == 3
    assert "`convod`" in result.err


@pytest.mark.parametrize(("code", "exit"), [("forbidden", 5), ("busy", 1), ("bad_audio", 4)])
def test_a_session_that_is_refused(fake: FakeDaemon, run: Run, speech: Path, code: str, exit: int) -> None:
    fake.refuse[CreateSession] = Error(code=code, message="No.")
    result = run("stream", speech)
    assert (result.code, result.out, result.err) == (exit, "", "convo: No.\n")


def test_a_session_that_fails(fake: FakeDaemon, run: Run, speech: Path) -> None:
    fake.fail_with = ("internal", "The engine broke.")
    result = run("stream", speech)
    assert (result.code, result.err) == (6, "convo: The engine broke.\n")


def test_a_file_that_ends_in_garbage_is_heard_up_to_there(fake: FakeDaemon, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"no audio")
    result = run("stream", tmp_path / "a.mp3")
    assert result.code == 4
    assert "a.mp3" in result.err
    assert not fake.sessions


# --- ended early ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_ctrl_c_ends_the_session_and_prints_its_last_words(
    fake: FakeDaemon, start: Start, signum: int, code: int
) -> None:
    child = start("stream", "-", "--summary")
    feed(child, bytes(32_000))
    fake.wait_for(Audio)
    child.send_signal(signum)
    out, err = child.communicate(timeout=WAIT_S)
    assert child.returncode == code
    assert out.startswith(f"{WORDS}\nThe plan\n".encode())
    assert b"last words follow" in err
    assert len(fake.of(EndSession)) == 1
    assert not fake.of(CancelSession)


def test_a_second_ctrl_c_leaves_at_once(fake: FakeDaemon, start: Start) -> None:
    fake.silent_end = True
    child = start("stream", "-")
    feed(child, bytes(32_000))
    fake.wait_for(Audio)
    child.send_signal(signal.SIGINT)
    fake.wait_for(EndSession)
    child.send_signal(signal.SIGINT)
    assert child.wait(WAIT_S) == 130


def test_ctrl_c_before_anything_came(fake: FakeDaemon, start: Start) -> None:
    child = start("stream", "-")
    fake.wait(lambda: bool(fake.asked))  # it said hello, and waits for audio
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=WAIT_S)
    assert (child.returncode, out) == (130, b"")
    assert not fake.sessions


def test_a_closed_pipe_ends_the_session(fake: FakeDaemon, start: Start) -> None:
    def talkative(session: FakeSession) -> None:
        session.said = [f"Line {number}." for number in range(1000)]

    fake.on_created = talkative
    fake.segment_every = 3200
    child = start("stream", "-")
    assert child.stdout is not None
    feed(child, bytes(3200))
    assert child.stdout.readline() == b"Line 0.\n"
    child.stdout.close()
    feed(child, bytes(3200))
    assert child.wait(WAIT_S) == 141  # though its input is still open
    assert child.stderr is not None
    assert child.stderr.read() == b""
    fake.wait_for(EndSession)


# --- broken links -----------------------------------------------------------------------------------------


def test_a_broken_link_is_made_again_and_nothing_is_lost(fake: FakeDaemon, run: Run, speech: Path) -> None:
    fake.credit = 64_000
    fake.drop_after = 500_000
    fake.segment_every = 400_000
    result = run("stream", speech)
    assert (result.code, result.out) == (0, WORDS)
    assert result.err.count("Trying again.") == 1
    (again,) = fake.of(Attach)
    assert again.produce
    assert again.after_seq >= 3  # pending, processing and the first segment were here already
    assert bytes(fake.only.audio) == speech.read_bytes()


def test_a_link_that_stays_broken(fake: FakeDaemon, run: Run, speech: Path) -> None:
    fake.drop_after = 500_000
    fake.resume_s = 0.0
    fake.refuse[Attach] = Error(code="unknown_session", message="There is no such session.")
    result = run("stream", speech)
    assert result.code == 1
    assert "no such session" in result.err


def test_a_daemon_that_did_not_wait(fake: FakeDaemon, run: Run, speech: Path) -> None:
    """The session was ended while the link was broken: its words are printed, and the loss is told."""
    fake.drop_after = 500_000
    take = fake.on_Attach

    async def attach(peer, message, number):  # type: ignore[no-untyped-def]
        session = fake.only
        for text in session.said:
            fake.segment(session, text)
        for state in ("transcribed", "completed"):
            fake.enter(session, type(session.state)(state))
        await take(peer, message, number)

    fake.on_Attach = attach  # type: ignore[method-assign]
    result = run("stream", speech)
    assert (result.code, result.out) == (3, WORDS)
    assert "broken for too long" in result.err
