"""Settings of convo-tui: `tui.toml` in `$XDG_CONFIG_HOME/convo`, written by people and by the app.

In: a file. Out: `Settings`. An unknown key or a bad value becomes one sentence and does not stop the app. Writing
replaces the file atomically, and keeps lines that are not settings (comments, unknown keys).
"""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal


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
    model: str = ""

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
        else:
            good[name] = value
    return replace(Settings(), **good), wrong


def remember(path: Path, **changes: str | bool | int) -> str:
    """Write changed settings. Returns what went wrong, or an empty string."""
    try:
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        for name, value in changes.items():
            line = f"{name} = {_toml(value)}"
            pattern = re.compile(rf"^[ \t]*{name}[ \t]*=.*$", re.MULTILINE)
            found = pattern.search(old)
            # A new setting goes above any table.
            old = f"{line}\n{old}" if found is None else old[: found.start()] + line + old[found.end() :]
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            file.write(old)
        os.replace(file.name, path)
    except (OSError, UnicodeDecodeError) as error:
        return f"Cannot save this setting in {path}: {error}."
    return ""


def _toml(value: str | bool | int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in escaped) + '"'
