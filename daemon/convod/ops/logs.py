"""Logs: one event a line on stderr, as text for people, JSON for programs, or fields for the journal.

In: the standard library's log records; what is in `extra` becomes fields, `session` and `connection` among them.
Tokens are never logged. Transcript text is only ever given as the field `text`, and left out here unless `log.text`
and the level debug ask for it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from convod.ops.background_handler import BackgroundHandler
from convod.ops.config import LogSettings

JOURNAL: Final = Path("/run/systemd/journal/socket")
"""Where journald takes entries with fields (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_PRIORITIES: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
"""Priorities of syslog(3)."""

_STDERR: Final = 2

_LONGEST: Final = 48_000
"""Bytes of one field's value in a journal entry: an entry must fit into a datagram."""


_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""C0, DEL, C1, line separators, and what reorders the text around it."""


def _escaped(text: str) -> str:
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _escaped_json(text: str) -> str:
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class TextFormatter(logging.Formatter):
    """`time level message key=value …`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback under it if there is one."""
        fields = "".join(f" {key}={value}" for key, value in _fields(record).items())
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():7} {record.getMessage()}{fields}"
        # What came from outside (a path, a peer's word) must not forge a line of its own, or command a terminal.
        line = _escaped(line)
        if not record.exc_info:
            return line
        return "\n".join([line, *map(_escaped, self.formatException(record.exc_info).split("\n"))])


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """`time` (Unix seconds), `level`, `logger`, `message`, then the record's own fields."""
        event: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        } | _fields(record)
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return _escaped_json(json.dumps(event, default=str, ensure_ascii=False))


class JournalHandler(logging.Handler):
    """Entries for journald: `MESSAGE`, `PRIORITY`, and each field as `CONVO_NAME`.

    Raises:
        OSError: there is no journal at `path`, which is journald's own if it is None.
    """

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        # A journal that takes nothing must not stop the event loop, which writes here itself.
        self._socket.setblocking(False)
        self._path = str(path or JOURNAL)
        self._lost = 0
        try:
            self._socket.connect(self._path)
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record as an entry."""
        message = record.getMessage()
        if self._lost:
            message += f" ({self._lost} entries before this one were lost: the journal took none)"
        if record.exc_info:
            message += "\n" + logging.Formatter().formatException(record.exc_info)
        entry = {
            "MESSAGE": message,
            "PRIORITY": _PRIORITIES.get(record.levelname.lower(), 6),
            "SYSLOG_IDENTIFIER": "convod",
            "LOGGER": record.name,
        } | {f"CONVO_{_journal_name(key)}": value for key, value in _fields(record).items()}
        try:
            self._socket.send(b"".join(_journal_field(name, str(value)) for name, value in entry.items()))
            self._lost = 0
        except BlockingIOError:
            self._lost += 1
        except OSError:
            self._lost += 1
            with suppress(OSError):  # it may have been restarted
                self._socket.connect(self._path)

    def close(self) -> None:
        """Send nothing more."""
        self._socket.close()
        super().close()


def _journal_name(key: str) -> str:
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in key.upper())


def _journal_field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "replace")[:_LONGEST]
    # A value with a line feed carries its length, so that it cannot pass for another field.
    return name.encode() + (
        b"\n" + struct.pack("<Q", len(data)) + data + b"\n" if b"\n" in data else b"=" + data + b"\n"
    )


class _Discretion(logging.Filter):
    """Removes transcript text, unless the settings ask for it."""

    def __init__(self, text: bool) -> None:
        super().__init__()
        self._text = text

    def filter(self, record: logging.LogRecord) -> bool:
        if not (self._text and record.levelno <= logging.DEBUG):
            vars(record).pop("text", None)
        return True


def _is_journal() -> bool:
    """Whether stderr goes to journald (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        about = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"


def make_handler(wanted: str) -> logging.Handler:
    """Make the handler for a `log.format`."""
    if wanted == "journal" or (wanted == "auto" and _is_journal()):
        try:
            return JournalHandler()
        except OSError:
            pass  # what it would have said is said as text
    handler = BackgroundHandler(_STDERR)
    handler.setFormatter(JsonFormatter() if wanted == "json" else TextFormatter())
    return handler


def begin(settings: LogSettings) -> None:
    """Log as the settings say from now on."""
    handler = make_handler(settings.format)
    handler.addFilter(_Discretion(settings.text))
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    # httpx logs every request at info, with its address.
    for noisy in ("httpx", "httpcore", "hypercorn", "wsproto"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def flush() -> None:
    """Write what was logged so far, so that later output comes after it."""
    for handler in logging.getLogger().handlers:
        handler.flush()
