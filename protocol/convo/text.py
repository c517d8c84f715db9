"""Text from the network made fit to be shown: no control character or escape sequence gets through.

In: text that a model, a title or a daemon wrote. Out: text that a terminal can only display, its width in columns, and
how times and sizes are written. This module prints nothing.
"""

from __future__ import annotations

import os
import re
import time
import unicodedata

# ECMA-48 sequences: OSC, DCS, SOS, PM and APC strings up to their end, CSI with its parameters, then two-byte ones;
# each begins with ESC or is a single C1 character. A string ends where the next begins, so the search is linear.
_SEQUENCES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*+(?:\x07|\x1b\\|\x9c|$)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
# All that is left of C0 (but tab and line feed), DEL, C1, and what reorders the text around it (Unicode's explicit
# directional embeddings, overrides and isolates).
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_BREAKS = re.compile(r"[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
_RAW_IN_JSON = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """The text on one line, without anything that a terminal would obey."""
    return _CONTROLS.sub("", _BREAKS.sub(" ", _SEQUENCES.sub("", text))).strip()


def clean_lines(text: str) -> str:
    """The text with its line feeds and tabs, without anything else that a terminal would obey."""
    text = text.replace("\r\n", "\n")
    return _CONTROLS.sub("", _SEQUENCES.sub("", text)).replace("\u2028", "\n").replace("\u2029", "\n")


def clean_json(text: str) -> str:
    """JSON with the control characters that it may hold raw (DEL, C1, …) written as escapes; its value is the same."""
    return _RAW_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def file_name(path: str) -> str:
    """A file's name, or a path, as text: what of its bytes is no UTF-8 is shown as U+FFFD."""
    return os.fsencode(path).decode(errors="replace")


def clock(seconds: float) -> str:
    """A place in a recording: 04:09, or 1:04:09 from an hour on. Rounded down: a caption is never announced late."""
    whole = int(max(0.0, seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60:02}:{rest % 60:02}"


def moment(unix: float) -> str:
    """A wall time, to the minute, in this machine's time zone."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(unix))
    except (OverflowError, OSError, ValueError):  # a number that is no time
        return "?"


def size(count: int) -> str:
    """Bytes in the unit that a person would use: 740 kB, 1.5 GB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the last unit takes all")


def width(text: str) -> int:
    """Columns that a terminal uses for a text: two for East Asian wide characters, none for combining marks."""
    if text.isascii():
        return len(text)
    return sum(map(columns_of, text))


def columns_of(char: str) -> int:
    """Columns of one character: 0, 1 or 2."""
    if unicodedata.combining(char) or unicodedata.category(char) in ("Cf", "Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
