from __future__ import annotations

import msgspec
import pytest

from convod.ops.config import BadSettings, Settings, load
from convod.ops.reload import ReloadableSettings


def settings(**flags) -> Settings:
    return load({key.replace("__", "."): value for key, value in flags.items()}, {})[0]


def test_what_may_change_changes_and_the_rest_waits():
    fresh = settings(
        listen__idle_s=5.0, listen__socket="/elsewhere", log__level="debug", sessions__resume_s=1.0, drain_s=3.0,
        engine__model="small", sessions__files_at_once=9,
    )  # fmt: skip
    current = ReloadableSettings(settings(), lambda: fresh)
    seen = []

    def prepare(new: Settings):
        seen.append(current.settings.drain_s)  # what was read holds only once all have agreed
        return lambda: seen.append(current.settings.drain_s)

    current.before_reload(prepare)
    changes = current.reload()
    assert seen == [10.0, 3.0]
    changed, waiting = changes.applied, changes.waiting
    assert sorted(changed) == ["drain_s", "listen.idle_s", "log.level", "sessions.resume_s"]
    assert sorted(waiting) == ["engine.model", "listen.socket", "sessions.files_at_once"]
    now = current.settings
    assert (now.listen.idle_s, now.log.level, now.sessions.resume_s, now.drain_s) == (5.0, "debug", 1.0, 3.0)
    assert (now.engine.model, now.listen.socket, now.sessions.files_at_once) == ("auto", "", 2)
    assert current.reload().applied == []


def test_wrong_settings_leave_the_old_ones():
    def read() -> Settings:
        raise BadSettings("f: k: expected v")

    current = ReloadableSettings(settings(drain_s=4.0), read)
    with pytest.raises(BadSettings):
        current.reload()
    assert current.settings.drain_s == 4.0


def test_without_a_way_to_read_them_nothing_changes():
    before = settings()
    current = ReloadableSettings(before)
    changes = current.reload()
    assert (changes.applied, changes.waiting) == ([], [])
    assert msgspec.to_builtins(current.settings) == msgspec.to_builtins(before)


def test_what_opens_a_port_waits_for_a_restart_and_what_closes_it_does_not():
    fresh = settings(listen__open_loopback=True, listen__insecure=True)
    current = ReloadableSettings(settings(), lambda: fresh)
    changes = current.reload()
    assert (changes.applied, sorted(changes.waiting)) == ([], ["listen.insecure", "listen.open_loopback"])
    assert not current.settings.listen.open_loopback
    current = ReloadableSettings(settings(listen__open_loopback=True), settings)
    changes = current.reload()
    assert (changes.applied, changes.waiting) == (["listen.open_loopback"], [])
