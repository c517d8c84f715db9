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
    {
        "listen.socket", "listen.socket_mode", "listen.socket_group", "listen.websocket", "listen.insecure",
        "sessions.files_at_once",
    }
)  # fmt: skip
"""Of those, the ones that wait for a restart all the same."""

ONLY_STRICTER: Final = frozenset({"listen.open_loopback"})
"""Switched off at once, switched on by a restart: a port that is open already is never opened wider."""


class Fresh(msgspec.Struct, frozen=True):
    """Settings that were read again. `changed`: keys that take effect now; `waiting`: those that need a restart."""

    settings: Settings
    changed: list[str] = []
    waiting: list[str] = []


class ReloadableSettings:
    """`settings` is what holds now."""

    def __init__(self, settings: Settings, read: Callable[[], Settings] | None = None) -> None:
        self.settings = settings
        self._read = read

    def read(self) -> Fresh:
        """Read the settings again; they hold once they are given to `apply`.

        Raises:
            BadSettings: what was read is wrong.
        """
        if self._read is None:
            return Fresh(self.settings)
        before, fresh = _flat(self.settings), _flat(self._read())
        changed = [key for key, value in fresh.items() if value != before[key]]
        waiting = [key for key in changed if _waits(key, fresh[key])]
        return Fresh(
            _nested(fresh | {key: before[key] for key in waiting}),
            [key for key in changed if key not in waiting],
            waiting,
        )

    def apply(self, fresh: Fresh) -> None:
        """Put them in force."""
        self.settings = fresh.settings


def _waits(key: str, value: Any) -> bool:
    if key in ONLY_STRICTER:
        return bool(value)
    return key in FIXED or not key.startswith(RELOADED)


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
