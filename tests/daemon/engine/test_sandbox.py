"""What a decoder can no longer do once it has shut itself in, tried from inside."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys

import pytest

from convod.engine import decode, environment, sandbox
from convod.engine.decode import decoding
from tests.support import syscalls
from tests.support.speech import DATA

ATTEMPTS = """
import ctypes, json, os, resource, signal, socket, sys
from convod.engine import sandbox
path, parent, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if len(sys.argv) > 4:
    exec(sys.argv[4])
missing = sandbox.enter(size)

def tried(name, attempt):
    try:
        attempt()
    except (OSError, MemoryError) as error:
        seen[name] = type(error).__name__
    else:
        seen[name] = "done"

seen = {}
tried("read what is open", lambda: os.read(0, 1))
tried("open the database", lambda: os.open(path, os.O_RDONLY))
tried("write a file", lambda: os.open(path + "2", os.O_WRONLY | os.O_CREAT))
tried("list a directory", lambda: os.listdir("/"))
tried("remove a file", lambda: os.unlink(path))
tried("make a Unix socket", lambda: socket.socket(socket.AF_UNIX))
tried("make a TCP socket", lambda: socket.socket(socket.AF_INET))
tried("make a UDP socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
tried("start a process", lambda: os.fork() or os._exit(0))
tried("become another program", lambda: os.execv("/bin/true", ["true"]))
tried("signal the daemon", lambda: os.kill(parent, 0))
tried("take much memory", lambda: bytearray(sandbox.MEMORY))
tried("copy a descriptor", lambda: os.dup(0))
print(json.dumps([missing, seen]))
"""

needs_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.uname().machine not in sandbox.CALLS,
    reason=f"decoders have a filter on Linux on {' and '.join(sandbox.CALLS)}; this is {sys.platform} on "
    f"{os.uname().machine}",
)


def attempts(tmp_path, before: str = "") -> tuple[list[str], dict[str, str]]:
    path = tmp_path / "convod.db"
    path.write_text("secret")
    words = [sys.executable, "-c", ATTEMPTS, str(path), str(os.getpid()), "6", *([before] if before else [])]
    with path.open("rb") as file:
        done = subprocess.run(words, stdin=file, capture_output=True, text=True, timeout=60)
    assert path.exists(), "it was removed"
    assert done.returncode == 0, done.stderr
    missing, seen = json.loads(done.stdout)
    return missing, seen


@needs_linux
def test_nothing_is_left_but_to_read_and_to_compute(tmp_path):
    missing, seen = attempts(tmp_path)
    assert missing == []
    assert seen.pop("read what is open") == "done"
    assert seen.pop("take much memory") == "MemoryError"
    assert set(seen.values()) <= {"PermissionError", "OSError"}, seen


@needs_linux
@pytest.mark.parametrize(("lacking", "files"), [("_filter_calls", True), ("_shut_files_off", False)])
def test_where_one_way_is_missing_the_other_one_holds_and_it_is_told(tmp_path, lacking, files):
    landlock = ctypes.CDLL(None).syscall(444, None, 0, 1) > 0
    missing, seen = attempts(tmp_path, f"sandbox.{lacking} = lambda *_: False")
    if lacking == "_filter_calls":
        assert missing == (["network"] if landlock else ["files", "network"])
        shut = landlock
    else:
        assert missing == []
        shut = True
    if shut:
        assert {seen[one] for one in ("open the database", "write a file", "list a directory", "remove a file")} <= {
            "PermissionError", "OSError"
        }  # fmt: skip


@needs_linux
def test_processor_time_is_bounded_by_the_files_size(tmp_path):
    spin = "sandbox.CPU_S = 1; sandbox.enter(6)\nwhile True: pass"
    words = [sys.executable, "-c", ATTEMPTS, str(tmp_path / "x"), str(os.getpid()), "6", spin]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert done.returncode in (-signal.SIGXCPU, -signal.SIGKILL)


@pytest.mark.skipif(syscalls.library() is None, reason="libseccomp is not installed")
@pytest.mark.parametrize("machine", sandbox.CALLS)
def test_the_numbers_of_the_calls_are_libseccomps(machine):
    library = ctypes.CDLL("libseccomp.so.2")
    arch = library.seccomp_arch_resolve_name
    arch.restype = ctypes.c_uint32
    token = arch(machine.encode())
    assert token == sandbox.ARCHITECTURES[machine]
    resolve = library.seccomp_syscall_resolve_name_arch
    resolve.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    for name, number in sandbox.CALLS[machine].items():
        assert resolve(token, name.encode()) in (number, syscalls.UNKNOWN), name  # younger than the library


@needs_linux
async def test_a_decoder_has_one_file_and_no_environment(monkeypatch):
    monkeypatch.setenv("CONVOD_OPENAI_KEY", "secret")
    async with decoding(DATA / "minutes.flac") as decoded:
        pieces = decoded.pieces()
        await anext(pieces)
        assert decoded.process is not None
        process = decoded.process.pid
        with open(f"/proc/{process}/environ", "rb") as file:  # noqa: ASYNC230
            names = {entry.partition(b"=")[0].decode() for entry in file.read().split(b"\0")}
        assert names <= {"", "LC_CTYPE", *environment.DECODER}
        files = [os.readlink(f"/proc/{process}/fd/{number}") for number in os.listdir(f"/proc/{process}/fd")]
        assert sorted(file.partition(":")[0] for file in files) == [str(DATA / "minutes.flac"), "pipe", "pipe"]
        await pieces.aclose()


def test_what_the_machine_cannot_hold_a_decoder_to_is_told_once(caplog, monkeypatch):
    monkeypatch.setattr(decode, "warned", set())
    for missing in (["network"], ["network"], ["files", "network"]):
        decode.Decoding(None).take_line(json.dumps({"open": missing}).encode())
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "network" in caplog.records[0].getMessage()
