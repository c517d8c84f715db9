"""convod as the system's service, under a real systemd that runs the units which `convod install` wrote.

In: a directory. Out: the socket of a convod that systemd starts when somebody connects, and its log. systemd boots in
namespaces of its own, with copies of /etc, /run and /var: nothing on the machine is changed. That takes root, and is
refused in many containers: then `booted` says why.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
SYSTEMD = Path("/usr/lib/systemd/systemd")
BOOT_S = 20.0

HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
"""What the unit hides: a checkout or a Python that lies there is shown to it again, as an installed one would be."""

TARGETS = ("sysinit", "basic", "sockets", "shutdown", "umount", "network", "multi-user")

STAGE = """
set -eu
mount --make-rprivate /
cp -a /etc/. "$D/etc"
rm -rf "$D/etc/systemd/system"
for place in etc run var/lib var/cache; do mount --bind "$D/$place" "/$place"; done
umount -R /sys/fs/cgroup 2>/dev/null || umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up 2>/dev/null || :
"$PYTHON" -m convod install
systemd-sysusers convod.conf
systemd-tmpfiles --create convod.conf
cp -a "$D/more/." /etc/systemd/system
export container=convo-test SYSTEMD_UNIT_PATH=/etc/systemd/system SYSTEMD_GENERATOR_PATH=/nowhere
exec "$SYSTEMD" --system --unit=test.target --log-target=console --log-level=warning --show-status=no
"""


class CannotBoot(Exception):
    """Why systemd does not run here."""


class Booted:
    """A systemd and its convod. `url` is where users of group `gid` may connect."""

    def __init__(self, directory: Path, process: int) -> None:
        self._directory = directory
        self._process = process
        self.socket = directory / "run/convod/convod.sock"
        self.url = f"unix:{self.socket}"
        self.state = directory / "var/lib/convod"

    @property
    def log(self) -> str:
        """What convod said on stderr, and what systemd did."""
        texts = [self._directory / "run/convod.log", self._directory / "systemd.log"]
        return "".join(path.read_text(errors="replace") for path in texts if path.exists())

    def pid(self) -> int:
        """The main process of the service, which runs once somebody connected."""
        (systemd,) = _children(self._process)
        (main,) = [pid for pid in _children(systemd) if b"/etc/convod/convod.toml" in _words(pid)]
        return main

    @contextmanager
    def user(self, uid: int) -> Iterator[None]:
        """Be another user of the machine, in the group of the socket, while connecting."""
        gid = self.socket.stat().st_gid
        before = os.getgroups()
        os.setgroups([gid])
        os.seteuid(uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setgroups(before)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _words(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


@contextmanager
def booted(**environment: str) -> Iterator[Booted]:
    """A systemd with convod.socket, until the end of the block; `environment` is convod's.

    Raises:
        CannotBoot: systemd does not run here.
    """
    if os.geteuid() != 0 or not SYSTEMD.exists() or not shutil.which("unshare"):
        raise CannotBoot("systemd is booted by root only, and needs systemd and unshare")
    # Not pytest's directory: other users cannot reach that.
    with tempfile.TemporaryDirectory(prefix="convo-booted-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        _furnish(directory, environment)
        told = os.open(directory / "run/booted", os.O_RDONLY | os.O_NONBLOCK)
        with (directory / "systemd.log").open("wb") as log:
            process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "--ipc", "--cgroup",
                 "--net", "sh", "-c", STAGE],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "D": name, "SYSTEMD": str(SYSTEMD),
                     "PYTHON": sys.executable},
            )  # fmt: skip
        try:
            _wait_booted(directory, process, told)
            yield Booted(directory, process.pid)
        finally:
            process.kill()  # and with it the first process in there, and so all of them
            process.wait(10)
            os.close(told)


def _furnish(directory: Path, environment: dict[str, str]) -> None:
    for place in (
        "etc",
        "run",
        "run/lock",
        "var/lib",
        "var/cache",
        "more/convod.service.d",
        "more/sockets.target.wants",
    ):
        (directory / place).mkdir(parents=True)
    os.mkfifo(directory / "run/booted")  # written to at the end of the boot
    more = directory / "more"
    for target in TARGETS:
        (more / f"{target}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    (more / "test.target").write_text("[Unit]\nRequires=sockets.target\nWants=told.service\n")
    (more / "told.service").write_text(
        "[Unit]\nAfter=sockets.target convod.socket\n[Service]\nType=oneshot\n"
        "ExecStart=/bin/sh -c 'echo >/run/booted'\n"
    )
    (more / "sockets.target.wants/convod.socket").symlink_to("../convod.socket")
    variables = {
        "CONVOD_MODEL": "builtin",
        "CONVOD_SUMMARY_PROVIDER": "extractive",
        "CONVOD_ENGINE_WORKERS": "1",
    } | environment
    shown = {path for path in (Path(sys.base_prefix), ROOT) if str(path.resolve()).startswith(HIDDEN)}
    lines = [f'Environment="{key}={value}"' for key, value in variables.items()]
    lines += ["StandardError=append:/run/convod.log"]
    if shown:
        lines += ["ProtectHome=tmpfs", *(f"BindReadOnlyPaths={path.resolve()}" for path in sorted(shown))]
    (more / "convod.service.d/test.conf").write_text("[Service]\n" + "\n".join(lines) + "\n")


def _wait_booted(directory: Path, process: subprocess.Popen[bytes], told: int) -> None:
    ended = os.pidfd_open(process.pid)
    try:
        ready, _, _ = select.select([told, ended], [], [], BOOT_S)
    finally:
        os.close(ended)
    if told not in ready:
        raise CannotBoot("systemd does not boot here: " + (directory / "systemd.log").read_text()[-2000:])
