"""Settings of convo-tui: `tui.toml` in `$XDG_CONFIG_HOME/convo`, written by people and by the app.

In: a file. Out: `Settings`. An unknown key or a bad value becomes one sentence and does not stop the app. Writing
replaces the file atomically, and keeps lines that are not settings (comments, unknown keys).
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from convo.languages import codes_in


@dataclass(frozen=True)
class Settings:
    """The settings, by their names in the file."""

    connect: str = ""
    device: str = ""
    theme: str = "convo-dark"
    ascii: bool = False
    captions: bool = False
    times: bool | None = None
    doubts: bool = False
    summary_width: int = 38
    summary: bool = True
    rolling: bool = True
    language: str = ""
    languages: str = ""
    model: str = ""
    speakers: str = "off"
    keep_audio: bool = False

    @property
    def spoken(self) -> list[str]:
        """The languages that may be spoken; none if any may. `languages` takes the place of `language`."""
        return codes_in(self.languages or self.language)

    @property
    def summary_mode(self) -> Literal["off", "final", "rolling"]:
        """The kind of summary that a session gets."""
        if not self.summary:
            return "off"
        return "rolling" if self.rolling else "final"


def settings_path() -> Path:
    """The path of the file."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "convo" / "tui.toml"


def kind_of(name: str) -> type:
    """The type of a setting: str, bool or int. One that is None until it is set is a bool."""
    default = getattr(Settings(), name)
    return bool if default is None else type(default)


_WORDED = {bool: "true or false", int: "a whole number", str: "a string in quotes"}


def load(path: Path) -> tuple[Settings, list[str]]:
    """Read a file. Returns its settings (the defaults if there is no file) and a sentence for each problem."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings(), []
    except OSError as error:
        return Settings(), [f"Cannot read {path}: {error.strerror or error}."]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return Settings(), [f"{path} is not valid TOML: {error}. The defaults apply."]
    kinds = {field.name: kind_of(field.name) for field in fields(Settings)}
    wrong: list[str] = []
    good: dict[str, Any] = {}
    for name, value in found.items():
        if name not in kinds:
            wrong.append(f"{path}: unknown setting {name!r}; known are {', '.join(kinds)}.")
        elif type(value) is not kinds[name]:
            wrong.append(f"{path}: {name} must be {_WORDED[kinds[name]]}.")
        elif problem := _unknown_language(name, value):
            wrong.append(f"{path}: {name}: {problem}")
        else:
            good[name] = value
    return replace(Settings(), **good), wrong


def _unknown_language(name: str, value: object) -> str:
    if isinstance(value, str) and name in ("language", "languages"):
        try:
            codes_in(value)
        except ValueError as error:
            return str(error)
    return ""


def remember(path: Path, **changes: str | bool | int | None) -> str:
    """Write changed settings; None removes one. Returns what went wrong, or an empty string."""
    path = Path(os.path.realpath(path))  # a link to it stays one
    try:
        old = path.read_bytes().decode("utf-8") if path.exists() else ""
        for name, value in changes.items():
            old = edited(old, name, value)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, delete=False) as file:
            file.write(old.encode("utf-8"))
            if path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
        os.replace(file.name, path)
    except (OSError, ValueError) as error:
        return f"Cannot save this setting in {path}: {error}."
    return ""


_VALUE = r"""(?:\"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^"'#\s][^#\s]*)"""


def edited(text: str, name: str, value: str | bool | int | None) -> str:
    """Change one setting in a file's text; everything else, comments too, stays as it is.

    Raises:
        ValueError: the text is not valid TOML, or the setting is written in a way that only a person can change.
    """
    try:
        before = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not valid TOML ({error}); correct it first") from None
    wanted = {key: old for key, old in before.items() if key != name} | ({} if value is None else {name: value})
    if before == wanted and type(before.get(name)) is type(value):  # 1 and true are equal, and not the same
        return text
    newline = "\r\n" if "\r\n" in text else "\n"
    line = "" if value is None else f"{name} = {_toml(value)}"
    for changed in _ways(text, name, line, newline):
        with suppress(tomllib.TOMLDecodeError):
            if tomllib.loads(changed) == wanted:
                return changed
    raise ValueError(f"write `{line or 'no ' + name}` there yourself")


def _ways(text: str, name: str, line: str, newline: str) -> Iterator[str]:
    """Texts in which the setting may be as it should, the one nearest to what a person would write first."""
    key = rf"""(?:{name}|"{name}"|'{name}')"""
    for found in re.finditer(rf"^[ \t]*{key}[ \t]*=[ \t]*{_VALUE}(?=[ \t]*(?:\#|\r?$))", text, re.MULTILINE):
        if not line:  # the whole line goes, unless it has a comment
            rest = re.compile(r"[ \t]*\r?\n?").match(text, found.end())
            assert rest is not None
            if rest.group().endswith("\n") or rest.end() == len(text):
                yield text[: found.start()] + text[rest.end() :]
        yield text[: found.start()] + line + text[found.end() :]
    if not line:
        return
    # A new setting goes behind the others, above any table; or to the top.
    table = re.search(r"^[ \t]*\[", text, re.MULTILINE)
    above = text[: table.start()] if table is not None else text
    others = list(re.finditer(r"^[ \t]*[\w\"'-]+[ \t]*=.*(?:\n|$)", above, re.MULTILINE))
    if others:
        end = others[-1].end()
        yield text[:end] + ("" if text[:end].endswith("\n") else newline) + line + newline + text[end:]
    yield line + newline + text


def _toml(value: str | bool | int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in escaped) + '"'
