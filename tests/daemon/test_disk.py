"""New names are on the disk before anybody is told so: of backups, tokens, copied audio, the state directory."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from convod.disk import sync_folder
from convod.listen.tokens import TokenFile
from convod.startup import state_directory
from convod.store import Database, Spool, backup


@pytest.fixture
def synced(monkeypatch) -> list[str]:
    """What was renamed, linked, removed and synced, in its order; of folders their name."""
    seen: list[str] = []

    def after(name, call):
        def called(*args, **options):
            result = call(*args, **options)
            seen.append(name)
            return result

        return called

    def fsync(descriptor):
        seen.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")

    monkeypatch.setattr(os, "fsync", fsync)
    for name in ("replace", "rename", "link", "unlink"):
        monkeypatch.setattr(os, name, after(name, getattr(os, name)))
    return seen


def test_a_backup_is_there_after_a_power_cut(tmp_path, synced):
    database = Database(tmp_path / "convod.sqlite")
    database.open()
    database.close()
    folder = tmp_path / "backups"
    folder.mkdir()
    synced.clear()
    backup(tmp_path / "convod.sqlite", folder / "copy")
    done = [step for step in synced if step != "unlink"]
    assert done == ["sync .copy.part", "replace", "sync backups"]
    sqlite3.connect(folder / "copy").close()


def test_tokens_are_made_and_revoked_for_good(tmp_path, synced):
    book = TokenFile(tmp_path)
    for change in (lambda: book.add("ann"), lambda: book.revoke("ann")):
        synced.clear()
        change()
        assert synced == ["sync tokens.json.new", "replace", f"sync {tmp_path.name}"]


def test_copied_audio_has_its_name_and_deleted_audio_loses_it(tmp_path, synced):
    spool = Spool(tmp_path)
    spool.open("1234567890").close()
    synced.clear()
    spool.share("1234567890", "1234567891")
    assert synced == ["link", f"sync {tmp_path.name}"]
    synced.clear()
    spool.remove("1234567890", durable=True)
    assert synced == ["unlink", f"sync {tmp_path.name}"]


def test_a_new_state_directory_has_its_name(tmp_path, synced):
    with state_directory(tmp_path / "state"):
        assert synced == ["sync state", f"sync {tmp_path.name}"]
    synced.clear()
    with state_directory(tmp_path / "state"):
        assert synced == []


def test_a_file_system_that_syncs_no_folders_is_no_fault(tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    sync_folder(tmp_path)
