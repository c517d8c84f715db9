from __future__ import annotations

import json
import logging
import sys

import pytest

from convod.ops import logs
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
    root.handlers[:], level = before
    root.setLevel(level)


@pytest.mark.parametrize("form", ["text", "json"])
def test_logs_go_to_stderr_in_the_form_and_from_the_level_that_were_set(root, capsys, form):
    logs.begin(LogSettings(level="warning", format=form))
    logging.getLogger("convod.x").info("not this")
    logging.getLogger("convod.x").warning("but this", extra={"session": "abc"})
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    if form == "json":
        assert json.loads(line)["session"] == "abc"
    else:
        assert line.endswith("but this session=abc")


def test_requests_of_libraries_are_not_logged(root, capsys):
    logs.begin(LogSettings(level="info"))
    logging.getLogger("httpx").info("GET http://token@host/")
    assert capsys.readouterr().err == ""
