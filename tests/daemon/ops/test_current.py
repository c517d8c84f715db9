from __future__ import annotations

import msgspec
import pytest

from convod.ops.config import BadSettings, Settings, load
from convod.ops.current import Current


def settings(**flags) -> Settings:
    return load({key.replace("__", "."): value for key, value in flags.items()}, {})[0]


def test_what_may_change_changes_and_the_rest_waits():
    fresh = settings(
        listen__idle_s=5.0, listen__socket="/elsewhere", log__level="debug", sessions__resume_s=1.0, drain_s=3.0,
        engine__model="small", sessions__files_at_once=9,
    )  # fmt: skip
    current = Current(settings(), lambda: fresh)
    changed, waiting = current.reload()
    assert sorted(changed) == ["drain_s", "listen.idle_s", "log.level", "sessions.resume_s"]
    assert sorted(waiting) == ["engine.model", "listen.socket", "sessions.files_at_once"]
    now = current.settings
    assert (now.listen.idle_s, now.log.level, now.sessions.resume_s, now.drain_s) == (5.0, "debug", 1.0, 3.0)
    assert (now.engine.model, now.listen.socket, now.sessions.files_at_once) == ("auto", "", 2)
    assert current.reload()[0] == []


def test_wrong_settings_leave_the_old_ones():
    def read() -> Settings:
        raise BadSettings("f: k: expected v")

    current = Current(settings(drain_s=4.0), read)
    with pytest.raises(BadSettings):
        current.reload()
    assert current.settings.drain_s == 4.0


def test_without_a_way_to_read_them_nothing_changes():
    before = settings()
    current = Current(before)
    assert current.reload() == ([], [])
    assert msgspec.to_builtins(current.settings) == msgspec.to_builtins(before)
