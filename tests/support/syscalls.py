"""A program under a filter for system calls, as systemd puts one around a service; no systemd and no root are needed.

In: the text of a unit, or names of calls. Out: the calls that a unit allows; a command line that runs a program
with those only: each other call gives EPERM.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.EPERM  # SCMP_ACT_ERRNO
UNKNOWN = -1
"""The number of what libseccomp does not know (__NR_SCMP_ERROR); that of what this architecture lacks is lower."""


def available() -> bool:
    """Whether systemd's lists of calls and libseccomp are here."""
    return shutil.which("systemd-analyze") is not None and library() is not None


def allowed(unit: str) -> set[str]:
    """The calls that SystemCallFilter= of a unit allows: lines add and (~) take away, in order."""
    calls = _expanded("@default")
    for line in unit.splitlines():
        key, _, value = line.partition("=")
        if key != "SystemCallFilter":
            continue
        named = set().union(*map(_expanded, value.removeprefix("~").split()))
        calls = calls - named if value.startswith("~") else calls | named
    return calls


def only(calls: Iterable[str], *words: str) -> list[str]:
    """A command line: the program `words` with these calls only."""
    return [sys.executable, __file__, ",".join(sorted(calls)), *words]


@cache
def _expanded(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    done = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    members = [line.strip() for line in done.stdout.splitlines()[1:]]
    return set().union(*(_expanded(one) for one in members if one and not one.startswith("#")))


@cache
def library() -> ctypes.CDLL | None:
    try:
        loaded = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError:
        return None
    loaded.seccomp_init.restype = ctypes.c_void_p
    loaded.seccomp_rule_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint]
    loaded.seccomp_load.argtypes = [ctypes.c_void_p]
    return loaded


def main() -> None:
    """Put the filter around this process, and become the program."""
    names, *words = sys.argv[1:]
    loaded = library()
    assert loaded is not None
    filtered = loaded.seccomp_init(_REFUSE)
    for name in names.split(","):
        number = loaded.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # else this architecture has no such call
            loaded.seccomp_rule_add(filtered, _ALLOW, number, 0)
    if loaded.seccomp_load(filtered) != 0:  # sets no_new_privs first
        raise SystemExit("the filter cannot be loaded")
    os.execv(words[0], words)


if __name__ == "__main__":
    main()
