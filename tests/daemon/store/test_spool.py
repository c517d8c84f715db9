from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys

import pytest

from convod.store import NoRoom, Spool
from convod.store.spool import LAST

ID = "0123456789abcdef"


def test_what_was_appended_can_be_read_from_anywhere(tmp_path):
    file = Spool(tmp_path).open(ID)
    file.append(b"hello ")
    file.append(b"world")
    assert file.size == 11
    assert file.read(0, 100) == b"hello world"
    assert file.read(6, 3) == b"wor"
    assert file.read(11, 5) == file.read(99, 5) == b""
    file.close()
    file.close()


@pytest.mark.parametrize("fsync", [False, True])
def test_it_is_on_disk_when_append_returns(tmp_path, fsync):
    spool = Spool(tmp_path, fsync=fsync)
    file = spool.open(ID)
    file.append(b"audio")
    assert spool.path(ID).read_bytes() == b"audio"
    file.close()


def test_what_was_written_last_is_read_without_the_disk(tmp_path, monkeypatch):
    file = Spool(tmp_path).open(ID)
    file.append(b"abc")
    file.append(b"defg")
    assert [file.read(3, n) for n in (0, 3, 4, 9)] == [b"", b"def", b"defg", b"defg"]
    assert (file.read(0, 9), file.read(4, 9), file.read(7, 9)) == (b"abcdefg", b"efg", b"")
    reads = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *args: reads.append(args) or pread(*args))
    assert file.read(3, 4) == b"defg"
    assert not reads
    file.append(bytes(LAST + 1))
    assert file.read(7, LAST + 1) == bytes(LAST + 1)
    assert len(reads) == 1  # what is long is not kept
    file.close()


def test_sync_waits_for_the_bytes_and_the_name(tmp_path, monkeypatch):
    synced = []
    for name in ("fdatasync", "fsync"):
        monkeypatch.setattr(
            os, name, lambda file, name=name: synced.append((name, os.path.realpath(f"/proc/self/fd/{file}")))
        )
    file = Spool(tmp_path).open(ID)
    file.append(b"abc")
    assert not synced
    file.sync()
    assert synced == [("fdatasync", str(file.path)), ("fsync", str(tmp_path))]
    file.close()
    file.sync()
    assert len(synced) == 2


def test_what_the_disk_does_not_take_is_said(tmp_path, monkeypatch):
    def broken(file):
        raise OSError(errno.EIO, "Input/output error")

    file = Spool(tmp_path).open(ID)
    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    file.close()


def test_it_goes_on_where_it_ended(tmp_path):
    spool = Spool(tmp_path)
    for piece in (b"one ", b"two"):
        file = spool.open(ID)
        file.append(piece)
        file.close()
    again = spool.open(ID)
    assert (again.size, again.read(0, 10)) == (7, b"one two")
    again.close()


def test_audio_is_for_its_user_alone(tmp_path):
    spool = Spool(tmp_path)
    spool.open(ID).close()
    assert stat.S_IMODE(spool.path(ID).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "session", ["", "..", "../../etc/passwd", "ABCDEFGH", "short", "a" * 65, "12345678/x", "1234567\n8"]
)
def test_a_name_that_is_no_session_id_is_no_path(tmp_path, session):
    with pytest.raises(ValueError, match="no session id"):
        Spool(tmp_path).path(session)


def test_remove_and_list(tmp_path):
    spool = Spool(tmp_path)
    for session in (ID, "fedcba9876543210"):
        spool.open(session).close()
    assert sorted(spool.sessions()) == [ID, "fedcba9876543210"]
    spool.remove(ID)
    spool.remove(ID)
    assert list(spool.sessions()) == ["fedcba9876543210"]


FILL = """
import resource, sys
from pathlib import Path
from convod.store import NoRoom, Spool
from convod.store.spool import LAST
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
spool = Spool(Path(sys.argv[1]))
file = spool.open("{id}")
file.append(b"a" * 900)
try:
    file.append(b"b" * 901)
except NoRoom as error:
    print(error.strerror)
assert file.size == 900, file.size
assert file.read(0, 5000) == b"a" * 900
file.append(b"c" * 100)
file.close()
again = spool.open("{id}")
assert again.size == 1000, again.size
assert again.read(0, 5000) == b"a" * 900 + b"c" * 100
"""


def fill(tmp_path, then: str = "") -> subprocess.CompletedProcess[str]:
    script = FILL.format(id=ID) + then
    return subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )


def test_of_what_does_not_fit_nothing_counts_and_what_fits_goes_on(tmp_path):
    done = fill(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no room on the disk" in done.stdout


def test_what_did_not_fit_is_not_there_after_a_restart(tmp_path, monkeypatch):
    spool = Spool(tmp_path)
    file = spool.open(ID)
    file.append(b"kept")
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: write(fd, data[:3], offset))
    with pytest.raises(NoRoom):
        file.append(b"not acknowledged")
    monkeypatch.undo()
    file.close()
    again = spool.open(ID)
    assert again.read(0, 100) == b"kept"
    again.close()


def test_a_digest_is_of_all_bytes_and_can_be_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("convod.store.spool.DIGESTED", 1000)
    spool = Spool(tmp_path)
    file = spool.open("0123456789")
    data = os.urandom(2500)
    file.append(data)
    file.close()
    assert spool.digest("0123456789") == hashlib.sha256(data).hexdigest()
    left = iter([True, True, False])
    assert spool.digest("0123456789", lambda: next(left)) == hashlib.sha256(data[:2000]).hexdigest()
