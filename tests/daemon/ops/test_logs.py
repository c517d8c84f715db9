from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import sys
import time
from pathlib import Path

import pytest

from convod.ops import background_handler, logs
from convod.ops.config import LogSettings
from convod.ops.logs import JsonFormatter, TextFormatter


def record(message: str = "session is %s", *args, error: bool = False, **fields) -> logging.LogRecord:
    exc_info = None
    if error:
        try:
            raise ValueError("no\nsuch thing")
        except ValueError:
            exc_info = sys.exc_info()
    made = logging.makeLogRecord({"name": "convod.x", "levelno": 20, "levelname": "INFO", "msg": message, "args": args})
    made.exc_info = exc_info
    vars(made).update(fields)
    return made


def test_a_line_for_people_has_time_level_message_and_fields():
    line = TextFormatter().format(record("session is %s", "pending", session="abc", pause_s=2.0))
    time, rest = line.split(" ", 1)
    assert time.count(":") == 2
    assert rest == "info    session is pending session=abc pause_s=2.0"


def test_what_came_from_outside_forges_no_line():
    line = TextFormatter().format(record("%s", "a\nERROR b\r\x1b[31m", peer="x\ny"))
    assert "\n" not in line
    assert "\r" not in line
    assert "\x1b" not in line
    assert r"peer=x\ny" in line


@pytest.mark.parametrize("evil", ["\x1b[2J", "\x9b2J", "\x90q\x9c", "\x7f", "\x07", "\u202e", "\u2028"])
@pytest.mark.parametrize("formatter", [TextFormatter, JsonFormatter])
def test_what_came_from_outside_commands_no_terminal(formatter, evil):
    line = formatter().format(record("a client %s", f"a{evil}b", client=f"c{evil}d"))
    assert evil[0] not in line
    if formatter is JsonFormatter:
        assert json.loads(line)["client"] == f"c{evil}d"


def test_a_traceback_stands_under_its_line():
    first, *rest = TextFormatter().format(record("oh", error=True)).split("\n")
    assert first.endswith("oh")
    assert rest[0].startswith("Traceback")


def test_a_line_for_programs_is_one_json_object():
    line = JsonFormatter().format(record("session is %s", "pending", session="ä\nb", owner=None, peer=object()))
    assert "\n" not in line
    event = json.loads(line)
    assert isinstance(event["time"], float)
    assert {key: event[key] for key in ("level", "logger", "message", "session", "owner")} == {
        "level": "info",
        "logger": "convod.x",
        "message": "session is pending",
        "session": "ä\nb",
        "owner": None,
    }


def test_a_traceback_is_in_its_json_object():
    line = JsonFormatter().format(record("oh", error=True))
    assert "\n" not in line
    assert "ValueError: no\nsuch thing" in json.loads(line)["exception"]


@pytest.fixture
def root():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield root
    for handler in set(root.handlers) - set(before[0]):
        handler.close()
    root.handlers[:], level = before
    root.setLevel(level)


@pytest.mark.parametrize("form", ["text", "json"])
def test_logs_go_to_stderr_in_the_form_and_from_the_level_that_were_set(root, capfd, form):
    logs.begin(LogSettings(level="warning", format=form))
    logging.getLogger("convod.x").info("not this")
    logging.getLogger("convod.x").warning("but this", extra={"session": "abc"})
    logs.flush()
    printed = capfd.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    if form == "json":
        assert json.loads(line)["session"] == "abc"
    else:
        assert line.endswith("but this session=abc")


def test_requests_of_libraries_are_not_logged(root, capfd):
    logs.begin(LogSettings(level="info"))
    logging.getLogger("httpx").info("GET http://token@host/")
    logs.flush()
    assert capfd.readouterr().err == ""


def entry(data: bytes) -> dict[str, str]:
    """A journal entry, read back as journald would."""
    fields = {}
    while data:
        name, _, rest = data.partition(b"\n")
        if b"=" in name:
            key, _, value = name.partition(b"=")
            data = rest
        else:
            key, size = name, int.from_bytes(rest[:8], "little")
            value, data = rest[8 : 8 + size], rest[8 + size + 1 :]
        fields[key.decode()] = value.decode()
    return fields


@pytest.fixture
def journal(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "journal"))
        one.settimeout(10)
        yield one


def test_the_journal_gets_priorities_and_fields(journal):
    handler = logs.JournalHandler(Path(journal.getsockname()))
    handler.handle(record("session is %s", "pending", session="abc", connection=7, **{"odd key": "a\nFORGED=1"}))
    handler.handle(record("oh", error=True))
    first, second = entry(journal.recv(65536)), entry(journal.recv(65536))
    handler.close()
    assert first == {
        "MESSAGE": "session is pending",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "convod",
        "LOGGER": "convod.x",
        "CONVO_SESSION": "abc",
        "CONVO_CONNECTION": "7",
        "CONVO_ODD_KEY": "a\nFORGED=1",
    }
    assert "Traceback" in second["MESSAGE"]


@pytest.mark.parametrize(
    ("name", "priority"), [("DEBUG", "7"), ("INFO", "6"), ("WARNING", "4"), ("ERROR", "3"), ("CRITICAL", "2")]
)
def test_levels_are_priorities(journal, name, priority):
    handler = logs.JournalHandler(Path(journal.getsockname()))
    handler.handle(logging.makeLogRecord({"levelname": name, "msg": "x" * 100_000}))
    assert entry(journal.recv(1 << 17))["PRIORITY"] == priority
    handler.close()


def test_stderr_that_is_the_journal_is_known(monkeypatch, journal, tmp_path):
    with (tmp_path / "stream").open("w") as stream:
        about = os.fstat(stream.fileno())
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(logs, "JOURNAL", Path(journal.getsockname()))
        assert not isinstance(logs.make_handler("auto"), logs.JournalHandler)
        monkeypatch.setenv("JOURNAL_STREAM", f"{about.st_dev}:{about.st_ino}")
        assert not isinstance(logs.make_handler("text"), logs.JournalHandler)
        found = logs.make_handler("auto")
        assert isinstance(found, logs.JournalHandler)
        found.close()


def test_without_a_journal_what_it_would_say_is_text(monkeypatch, tmp_path):
    monkeypatch.setattr(logs, "JOURNAL", tmp_path / "nobody")
    assert isinstance(logs.make_handler("journal").formatter, TextFormatter)


@pytest.mark.parametrize(
    ("settings", "shown"),
    [({}, False), ({"level": "debug"}, False), ({"text": True}, False), ({"level": "debug", "text": True}, True)],
)
def test_what_was_said_is_logged_only_at_debug_and_only_if_asked_for(root, capfd, settings, shown):
    logs.begin(LogSettings(**settings))
    logging.getLogger("convod.sessions").debug("segment is out", extra={"text": "a secret plan"})
    logging.getLogger("convod.sessions").warning("odd", extra={"text": "a secret plan"})
    logs.flush()
    printed = capfd.readouterr().err
    assert "odd" in printed
    assert ("a secret plan" in printed) == shown


def test_a_journal_that_takes_nothing_holds_nobody_up_and_what_was_lost_is_counted(journal):
    handler = logs.JournalHandler(Path(journal.getsockname()))
    for number in range(2000):  # more than its queue holds
        handler.emit(record("entry %s", number))
    had = []
    journal.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            had.append(entry(journal.recv(65536))["MESSAGE"])
    handler.emit(record("after"))
    handler.emit(record("and on"))
    assert entry(journal.recv(65536))["MESSAGE"] == (
        f"after ({2000 - len(had)} entries before this one were lost: the journal took none)"
    )
    assert entry(journal.recv(65536))["MESSAGE"] == "and on"
    handler.close()


def test_a_terminal_that_takes_nothing_holds_nobody_up_and_what_was_lost_is_counted(monkeypatch):
    monkeypatch.setattr(background_handler, "GOODBYE_S", 0.05)
    reads, writes = os.pipe()
    handler = background_handler.BackgroundHandler(writes)
    size = fcntl.fcntl(writes, fcntl.F_GETPIPE_SZ)
    for number in range(3 * background_handler.WAITING):  # more than a pipe and its own room hold
        handler.emit(record(f"line {number}" + "x" * (size // background_handler.WAITING)))
    with open(reads, "rb") as pipe:
        before = [pipe.readline() for _ in range(background_handler.WAITING // 2)]
        with handler.changed:
            assert handler.changed.wait_for(lambda: len(handler.lines) < background_handler.WAITING, 60)
        handler.emit(record("after"))
        rest = iter(pipe.readline, b"after\n")
        lines = [*before, *rest]
        handler.close()
        os.close(writes)
        assert pipe.read() == b""
    notes = [int(line[1:].split()[0]) for line in lines if line.endswith(b" lines were lost: the log was not read)\n")]
    kept = [int(line.split(b"x")[0].split()[1]) for line in lines if line.startswith(b"line")]
    assert len(notes) + len(kept) == len(lines)
    assert sum(notes) == 3 * background_handler.WAITING - len(kept) > 0
    assert kept == sorted(kept)


def test_a_terminal_that_takes_nothing_delays_no_goodbye(monkeypatch):
    monkeypatch.setattr(background_handler, "GOODBYE_S", 0.05)
    reads, writes = os.pipe()
    handler = background_handler.BackgroundHandler(writes)
    handler.emit(record("x" * 2 * fcntl.fcntl(writes, fcntl.F_GETPIPE_SZ)))
    begun = time.monotonic()
    handler.close()
    assert time.monotonic() - begun < 5
    os.close(reads)
    os.close(writes)


def test_a_file_on_a_disk_that_is_full_for_a_while_has_whole_lines_again_and_the_number_of_the_others(
    tmp_path, monkeypatch
):
    full = [False]
    write = os.write

    def writing(descriptor, data):
        if not full[0]:
            return write(descriptor, data)
        if data.startswith(b"half"):
            return write(descriptor, data[:4])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", writing)
    path = tmp_path / "log"
    with path.open("wb") as file:
        handler = background_handler.BackgroundHandler(file.fileno())
        for line in ("before", "half of a line", "lost", "lost too"):
            handler.emit(record(line))
            handler.flush()
            full[0] = True
        full[0] = False
        handler.emit(record("after"))
        handler.close()
    lines = path.read_text().splitlines()
    assert lines == ["before", "half", "(3 lines were lost: the log was not read)", "after"]


def test_a_journal_that_begins_anew_is_found_again(tmp_path):
    path = tmp_path / "journal"
    first = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    first.bind(str(path))
    handler = logs.JournalHandler(path)
    first.close()
    path.unlink()
    handler.emit(record("lost"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
        second.bind(str(path))
        handler.emit(record("lost, too"))
        handler.emit(record("found"))
        assert entry(second.recv(65536))["MESSAGE"].startswith("found (2 entries before this one were lost")
    handler.close()
