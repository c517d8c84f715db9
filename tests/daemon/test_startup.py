from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from convod import startup
from convod.ops.config import Settings, SpoolSettings, StoreSettings, build
from convod.startup import CannotStart, check, folder_id, spool_directory, state_directory


def test_the_state_directory_is_made_for_its_user_alone(tmp_path):
    path = tmp_path / "deep" / "state"
    before = os.umask(0o022)
    try:
        with state_directory(path) as made:
            assert made == path
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
            assert stat.S_IMODE((path / "spool").stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_two_daemons_do_not_work_in_one_place(tmp_path):
    with state_directory(tmp_path):
        with pytest.raises(CannotStart, match="another convod") as refused, state_directory(tmp_path):
            pass
        assert "--state-dir" in str(refused.value)
    with state_directory(tmp_path):
        pass


def test_a_place_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="--state-dir"), state_directory(tmp_path / "file" / "state"):
        pass


def test_a_folder_has_one_id_for_all_who_look(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: folder_id(tmp_path), range(8)))
    assert len(ids) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["id"]
    other = tmp_path / "other"
    other.mkdir()
    assert folder_id(other) not in ids
    (tmp_path / "id").write_text("../../etc")
    with pytest.raises(CannotStart, match="delete it"):
        folder_id(tmp_path)


def test_audio_may_be_in_a_folder_that_convods_share(tmp_path):
    def settings(path: object, url: str = "postgresql://h/db") -> Settings:
        return Settings(spool=SpoolSettings(path=str(path)), store=StoreSettings(url=url))

    assert spool_directory(Settings(), tmp_path) == tmp_path / "spool"
    shared = tmp_path / "deep" / "shared"
    assert spool_directory(settings(shared), tmp_path) == shared
    assert stat.S_IMODE(shared.stat().st_mode) == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match=r"spool\.path"):
        spool_directory(settings(tmp_path / "file" / "x"), tmp_path)
    check(settings(shared))
    with pytest.raises(CannotStart, match=r"set store\.url"):
        check(settings(shared, url=""))


@pytest.mark.parametrize(
    ("broker", "remote_only", "worker", "said"),
    [
        ("", False, False, None),
        ("redis://h", False, False, None),
        ("rediss://u:p@h:1/2?ssl_ca_certs=/c", True, True, None),
        ("", False, True, "convod worker --broker redis://HOST"),
        ("", True, False, "set engine.broker as well"),
        ("amqp://h", False, False, "expected a URL redis://"),
    ],
)
def test_what_a_broker_needs_is_said_before_the_start(broker, remote_only, worker, said):
    settings = build({"engine.model": "builtin", "engine.broker": broker, "engine.remote_only": remote_only})
    if said is None:
        startup.check(settings, worker=worker)
    else:
        with pytest.raises(CannotStart, match=said):
            startup.check(settings, worker=worker)


def test_a_broker_without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setattr(startup.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CannotStart, match=r"pip install 'convo\[cluster\]'"):
        startup.check(build({"engine.model": "builtin", "engine.broker": "redis://h"}))
