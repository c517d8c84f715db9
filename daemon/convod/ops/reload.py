"""The settings in force, and how others take their place while the daemon runs.

In: settings at the start, and a function that reads them again. Out: the settings of now; which keys changed, and which
wait for a restart. Most of the daemon simply asks for its section whenever it needs it; a part that must do something
with new settings registers with `on_reload`, or, if it may refuse them, as a certificate may, with `before_reload`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from convod.listen.settings import ListenSettings
from convod.ops.config import Settings, build, flatten
from convod.sessions.session import SessionSettings

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

Prepare = Callable[[Settings], Callable[[], None]]
"""Gets ready for new settings without changing anything; raises BadSettings or BadCertificate to refuse all of them.
Returns what puts them in force, and must not fail."""


class Changes(msgspec.Struct, frozen=True):
    """Keys that differ from before: those that `applied` take effect now, those that are `waiting` need a restart."""

    applied: list[str] = []
    waiting: list[str] = []


class ReloadableSettings:
    """`settings` is what holds now; `listen` and `sessions` return sections of it."""

    def __init__(self, settings: Settings, read: Callable[[], Settings] | None = None) -> None:
        self.settings = settings
        self._read = read
        self._prepare: list[Prepare] = []
        self._apply: list[Callable[[Settings], None]] = []

    def listen(self) -> ListenSettings:
        """Return section `[listen]` as it is now."""
        return self.settings.listen

    def sessions(self) -> SessionSettings:
        """Return section `[sessions]` as it is now."""
        return self.settings.sessions

    def on_reload(self, apply: Callable[[Settings], None]) -> None:
        """Have `apply` called with settings that take effect; it must not fail."""
        self._apply.append(apply)

    def before_reload(self, prepare: Prepare) -> None:
        """Have `prepare` called before settings take effect, and what it returns once all have agreed."""
        self._prepare.append(prepare)

    def reload(self) -> Changes:
        """Read the settings again and put them in force, all of them or none.

        Raises:
            BadSettings, BadCertificate: what was read is wrong, or cannot be used; nothing has changed.
        """
        fresh, changes = self._reread()
        prepared = [prepare(fresh) for prepare in self._prepare]
        self.settings = fresh
        for finish in prepared:
            finish()
        for apply in self._apply:
            apply(fresh)
        return changes

    def _reread(self) -> tuple[Settings, Changes]:
        if self._read is None:
            return self.settings, Changes()
        before, fresh = flatten(self.settings), flatten(self._read())
        changed = [key for key, value in fresh.items() if value != before[key]]
        waiting = [key for key in changed if _waits(key, fresh[key])]
        settings = build(fresh | {key: before[key] for key in waiting})
        return settings, Changes([key for key in changed if key not in waiting], waiting)


def _waits(key: str, value: Any) -> bool:
    if key in ONLY_STRICTER:
        return bool(value)
    return key in FIXED or not key.startswith(RELOADED)
