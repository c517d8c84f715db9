"""Sandbox the current process before it reads untrusted data: no files, no network, bounded memory and time.

In: the size of the one file that it has open. Out: what this machine could not enforce. Afterwards the process can read
and write its open descriptors and allocate memory; it cannot open, start or reach anything, and cannot go back.

Limits are those of setrlimit(2). Files are shut off by Landlock (Linux 5.13) and by a filter for system calls
(seccomp), each enough by itself; the network by the filter. It imports nothing heavy and keeps to one thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import struct
import sys
from pathlib import Path
from typing import Final

MEMORY: Final = 440 << 20
"""Bytes that decoding may take beside the 40 MiB that the process has before it. The index of an MP4 of 24 hours needs
390 MiB of it, for a moment; nothing else comes near."""

MEMORY_ELSEWHERE: Final = 1 << 30
"""Bytes of address space in all, where the system does not say what the process has."""

CPU_S: Final = 1200
"""Seconds of processor time for any file: a day of silence, at 100 times the speed of speech, takes 864. That a decoder
gives nothing meanwhile is noticed by who waits for it (`decode.STALL_S`) …"""

CPU_BYTES: Final = 32_000
"""… and one more for each so many bytes. Of what decodes slowly for its size, Opus at 6 kbit/s, a slow machine (100
times faster than speech) does twice as much."""

_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2

_LANDLOCK_CREATE_RULESET: Final = 444  # the same on every architecture
_LANDLOCK_RESTRICT_SELF: Final = 446

CALLS: Final[dict[str, dict[str, int]]] = {
    "x86_64": {
        "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
        "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "readv": 19,
        "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28, "nanosleep": 35, "getpid": 39, "exit": 60,
        "gettimeofday": 96, "getrusage": 98, "sigaltstack": 131, "gettid": 186, "time": 201, "futex": 202,
        "sched_getaffinity": 204, "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229,
        "clock_nanosleep": 230, "exit_group": 231, "set_robust_list": 273, "getrandom": 318, "rseq": 334,
    },
    "aarch64": {
        "close": 57, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67, "ppoll": 73,
        "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98, "set_robust_list": 99, "nanosleep": 101,
        "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115, "sched_getaffinity": 123,
        "sched_yield": 124, "restart_syscall": 128, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135,
        "rt_sigreturn": 139, "getrusage": 165, "gettimeofday": 169, "getpid": 172, "gettid": 178, "brk": 214,
        "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226, "madvise": 233, "getrandom": 278, "rseq": 293,
    },
}  # fmt: skip
"""The system calls that decoding needs once everything is imported and open, by architecture. Each other one fails with
EPERM: none that takes a path, makes a socket or a process, or names another process."""

ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_… of linux/audit.h, by which a filter knows whose numbers it is given."""


def enter(size: int) -> list[str]:
    """Enter the sandbox with a file of `size` bytes open; return what could not be enforced, in words."""
    missing = _limit(size)
    if not sys.platform.startswith("linux"):
        return [*missing, "files", "network"]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return [*missing, "files", "network"]
    has_landlock = _shut_files_off(libc)
    _limit_to(resource.RLIMIT_NOFILE, 3)  # what is open stays so; Landlock needs one more for a moment
    if _filter_calls(libc):
        return missing
    return [*missing, *([] if has_landlock else ["files"]), "network"]


def _limit(size: int) -> list[str]:
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        _limit_to(kind, 0)
    missing = [] if _limit_to(resource.RLIMIT_AS, _memory()) else ["memory"]
    return missing if _limit_to(resource.RLIMIT_CPU, CPU_S + size // CPU_BYTES) else [*missing, "processor time"]


def _memory() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return MEMORY_ELSEWHERE
    return pages * resource.getpagesize() + MEMORY


def _limit_to(kind: int, most: int) -> bool:
    """Whether the sandbox is in force."""
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
        return True
    return False


def _shut_files_off(libc: ctypes.CDLL) -> bool:
    """Landlock, without a rule that would allow anything (Documentation/userspace-api/landlock.rst)."""
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    rights = {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)  # number of kinds of access to files that it knows
    fields = [(1 << rights) - 1]
    if version >= 4:
        fields.append(0b11)  # binding and connecting of TCP sockets
    if version >= 6:
        fields.append(0b11)  # abstract Unix sockets and signals beyond this process
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    try:
        return bool(libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


class _Program(ctypes.Structure):
    """`struct sock_fprog` of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _filter_calls(libc: ctypes.CDLL) -> bool:
    machine = os.uname().machine
    if machine not in CALLS or sys.maxsize < 1 << 32:
        return False
    program = filter_program(machine)
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def filter_program(machine: str) -> _Program:
    """The filter in the kernel's own code (classic BPF over `struct seccomp_data`)."""
    load, equal, give = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | errno.EPERM
    calls = sorted(CALLS[machine].values())
    lines = [(load, 0, 0, 4), (equal, 1, 0, ARCHITECTURES[machine]), (give, 0, 0, refuse), (load, 0, 0, 0)]
    lines += [(equal, len(calls) - at, 0, call) for at, call in enumerate(calls)]
    lines += [(give, 0, 0, refuse), (give, 0, 0, allow)]
    return _Program(len(lines), b"".join(struct.pack("=HBBI", *line) for line in lines))
