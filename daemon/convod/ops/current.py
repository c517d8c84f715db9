"""The settings in force, which may be read again while the daemon runs.

In: settings at the start, and what reads them anew. Out: the settings of now; which changes wait for a restart. It
applies nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from convod.ops.config import Settings

RELOADED: Final = ("listen.", "sessions.", "log.", "drain_s")
"""Settings that take effect when they are read again: for connections and sessions that come after."""

FIXED: Final = frozenset(
    {"listen.socket", "listen.socket_mode", "listen.socket_group", "listen.websocket", "sessions.files_at_once"}
)
"""Of those, the ones that wait for a restart all the same."""


class Current:
    """`settings` is what holds now."""

    def __init__(self, settings: Settings, read: Callable[[], Settings] | None = None) -> None:
        self.settings = settings
        self._read = read

    def reload(self) -> tuple[list[str], list[str]]:
        """Read the settings again. The keys that changed, and those whose change waits for a restart.

        Raises:
            BadSettings: what was in force stays in force.
        """
        if self._read is None:
            return [], []
        before, fresh = _flat(self.settings), _flat(self._read())
        changed = [key for key, value in fresh.items() if value != before[key]]
        waiting = [key for key in changed if key in FIXED or not key.startswith(RELOADED)]
        self.settings = _nested(fresh | {key: before[key] for key in waiting})
        return [key for key in changed if key not in waiting], waiting


def _flat(settings: Settings) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in msgspec.structs.asdict(settings).items():
        if isinstance(value, msgspec.Struct):
            flat |= {f"{name}.{inner}": one for inner, one in msgspec.structs.asdict(value).items()}
        else:
            flat[name] = value
    return flat


def _nested(flat: dict[str, Any]) -> Settings:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        section, dot, name = key.partition(".")
        if dot:
            nested.setdefault(section, {})[name] = value
        else:
            nested[section] = value
    return msgspec.convert(nested, Settings)
