"""What convo-tui remembers: `tui.toml` in `$XDG_CONFIG_HOME/convo`, written by people and by the app.

In: a file. Out: `Settings`. A key that is not known or not as it should be is one sentence, and does not stop the app.
Writing replaces the whole file at once, and keeps lines that are not settings (comments, unknown keys).
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
    """Settings by their names in the file."""

    connect: str = ""
    device: str = ""
    theme: str = "convo-dark"
    ascii: bool = False
    captions: bool = False
    times: bool = False
    summary: bool = True
    rolling: bool = True
    language: str = ""

    @property
    def summary_mode(self) -> Literal["off", "final", "rolling"]:
        """What kind of summary a session gets."""
        if not self.summary:
            return "off"
        return "rolling" if self.rolling else "final"


def settings_path() -> Path:
    """Where the file is."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "convo" / "tui.toml"


def load(path: Path) -> tuple[Settings, list[str]]:
    """The settings in a file, and what is wrong with it; defaults where there is none."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings(), []
    except OSError as error:
        return Settings(), [f"Cannot read {path}: {error.strerror or error}."]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return Settings(), [f"{path} is no TOML: {error}. The defaults are in force."]
    kinds = {field.name: type(getattr(Settings(), field.name)) for field in fields(Settings)}
    wrong: list[str] = []
    good: dict[str, Any] = {}
    for name, value in found.items():
        if name not in kinds:
            wrong.append(f"{path}: there is no setting {name!r}; there are {', '.join(kinds)}.")
        elif type(value) is not kinds[name]:
            wrong.append(f"{path}: {name} must be {'true or false' if kinds[name] is bool else 'a text in quotes'}.")
        else:
            good[name] = value
    return replace(Settings(), **good), wrong


def remember(path: Path, **changes: str | bool) -> str:
    """Write changed settings; what went wrong, or nothing."""
    try:
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        for name, value in changes.items():
            line = f"{name} = {_toml(value)}"
            pattern = re.compile(rf"^[ \t]*{name}[ \t]*=.*$", re.MULTILINE)
            found = pattern.search(old)
            # A new one stands above any table.
            old = f"{line}\n{old}" if found is None else old[: found.start()] + line + old[found.end() :]
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            file.write(old)
        os.replace(file.name, path)
    except (OSError, UnicodeDecodeError) as error:
        return f"Cannot remember this in {path}: {error}."
    return ""


def _toml(value: str | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in escaped) + '"'
