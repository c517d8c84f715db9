from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from convod.ops import install

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def units(tmp_path, monkeypatch) -> Path:
    """The system's units, below a root of the test's own."""
    for name in ("convod", "convo-gateway"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.setattr(install, "program", lambda: tmp_path / "convod")
    assert install.install(tmp_path / "root", user=False) == 0
    return tmp_path / "root/etc/systemd/system"


def analyze(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60,
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", **environment},
    )  # fmt: skip


def test_no_place_holder_is_left_and_the_program_is_the_one_that_ran(units, tmp_path):
    texts = {path.name: path.read_text() for path in tmp_path.joinpath("root").rglob("*") if path.is_file()}
    assert set(texts) == {
        "convod.service", "convod.socket", "convod-web.socket", "convod-worker@.service", "convo-gateway.service",
        "convod.conf", "convod.toml",
    }  # fmt: skip
    assert not [name for name, text in texts.items() if re.search(r"@[A-Z_]+@", text)]
    assert f"ExecStart={tmp_path}/convod" in texts["convod.service"]
    assert f"ExecStart={tmp_path}/convo-gateway" in texts["convo-gateway.service"]
    assert "ProtectHome=yes" in texts["convod.service"]


def test_a_program_in_a_home_directory_may_be_read_there_and_that_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(install, "program", lambda: Path("/home/me/a b%/convod"))
    assert install.install(tmp_path, user=False) == 0
    text = (tmp_path / "etc/systemd/system/convod.service").read_text()
    assert "ProtectHome=read-only" in text
    assert "ExecStart='/home/me/a b%%/convod'" in text
    assert "home directory" in capsys.readouterr().err


def test_settings_that_are_there_stay(units, tmp_path):
    settings = tmp_path / "root/etc/convod/convod.toml"
    settings.write_text("drain_s = 3\n")
    assert install.install(tmp_path / "root", user=False) == 0
    assert settings.read_text() == "drain_s = 3\n"


@pytest.mark.parametrize("group", [True, False])
def test_settings_are_for_root_and_the_service_alone(tmp_path, monkeypatch, capsys, group):
    settings, given = tmp_path / "convod.toml", []
    settings.write_text("")
    settings.chmod(0o644)

    def find(name: str) -> SimpleNamespace:
        if not group:
            raise KeyError(name)
        return SimpleNamespace(gr_gid=4242)

    monkeypatch.setattr(install.grp, "getgrnam", find)
    monkeypatch.setattr(install.os, "chown", lambda *words: given.append(words))
    install.restrict(settings)
    assert settings.stat().st_mode & 0o777 == (0o640 if group else 0o644)
    assert given == ([(settings, 0, 4242)] if group else [])
    assert ("keep tokens out of it" in capsys.readouterr().err) is not group


def test_a_place_that_cannot_be_written_is_told(tmp_path, capsys):
    (tmp_path / "etc").touch()
    assert install.install(tmp_path, user=False) == 1
    assert "as root" in capsys.readouterr().err


@needs_systemd
@pytest.mark.parametrize("service", ["convod.service", "convod-worker@.service", "convo-gateway.service"])
def test_the_service_is_exposed_to_2_0_at_most(units, service):
    done = analyze("security", "--offline=true", "--threshold=20", units / service)
    rated = re.search(rf"exposure level for {service.replace('@', '@[^.]*')}: (\d+\.\d)", done.stdout)
    assert rated, done.stdout + done.stderr
    assert float(rated[1]) <= 2.0
    assert done.returncode == 0


@needs_systemd
def test_systemd_finds_no_fault_with_the_systems_units(units):
    done = analyze("verify", *sorted(units.iterdir()))
    assert (done.returncode, done.stderr.strip()) == (0, "")


@needs_systemd
def test_systemd_finds_no_fault_with_a_users_units(units, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", "/cfg")
    assert install.install(tmp_path / "mine", user=True) == 0
    folder = tmp_path / "mine/cfg/systemd/user"
    done = analyze("verify", "--user", *sorted(folder.iterdir()), XDG_RUNTIME_DIR=str(tmp_path))
    assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed")
def test_user_and_directories_are_made(units, tmp_path):
    root = tmp_path / "root"
    for command in ("systemd-sysusers", "systemd-tmpfiles --create"):
        done = subprocess.run([*command.split(), f"--root={root}"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    assert "convod:" in (root / "etc/passwd").read_text()
    assert (root / "run/convod").is_dir()
