"""`convod install`: write the systemd units for this convod, its gateway, and what they need.

In: a root directory, system or user. Out: files below it; what to type next. It overwrites its own units and never a
settings file, and starts nothing.
"""

from __future__ import annotations

import grp
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import convod
from convod.disk import FAILING, write_whole

SYSTEM: Final = {
    "system/convod.service": "etc/systemd/system/convod.service",
    "system/convod.socket": "etc/systemd/system/convod.socket",
    "system/convod-web.socket": "etc/systemd/system/convod-web.socket",
    "system/convod-worker@.service": "etc/systemd/system/convod-worker@.service",
    "system/convo-gateway.service": "etc/systemd/system/convo-gateway.service",
    "convod.sysusers": "etc/sysusers.d/convod.conf",
    "convod.tmpfiles": "etc/tmpfiles.d/convod.conf",
    "convod.toml": "etc/convod/convod.toml",
}
"""Templates, and where they go below the root."""

USER: Final = ("convod.service", "convod.socket")

HOMES: Final = ("/home", "/root", "/run/user")
"""Directories that ProtectHome= hides."""


def templates() -> Path:
    """The directory of the units: in the package where it is installed, beside it in a checkout."""
    package = Path(convod.__file__).parent
    installed = package / "systemd"
    return installed if installed.is_dir() else package.parent / "systemd"


def program() -> Path:
    """Return the path of the convod that runs now."""
    beside = Path(sys.executable).with_name("convod")
    return beside if beside.exists() else Path(shutil.which("convod") or sys.argv[0]).resolve()


def install(root: Path, *, user: bool) -> int:
    """Write the units, and return the exit status."""
    try:
        for path in _write_user(root) if user else _write_system(root):
            print(path)
    except OSError as error:
        todo = "look at its disk" if error.errno in FAILING else "run this as root, or with --user"
        print(f"convod: {error.filename} cannot be written ({error.strerror}); {todo}", file=sys.stderr)
        return 1
    if root == Path("/"):
        _tell_systemd(user)
        if not user:
            restrict(root / SYSTEM["convod.toml"])
        _say_next(user)
    return 0


def _write_system(root: Path) -> Iterator[Path]:
    convod_program = program()
    at_home = str(convod_program).startswith(HOMES)
    if at_home:
        print(
            f"convod: {convod_program} lies in a home directory: the service can run it only if the user convod may "
            "read it there; better install convod below /opt or /usr/local",
            file=sys.stderr,
        )
    for template, place in SYSTEM.items():
        path = root / place
        if path.suffix == ".toml" and path.exists():
            continue
        text = (templates() / template).read_text().replace("@CONVOD@", _quoted(convod_program))
        text = text.replace("@GATEWAY@", _quoted(convod_program.with_name("convo-gateway")))
        yield _put(path, text.replace("@PROTECT_HOME@", "read-only" if at_home else "yes"))


def _write_user(root: Path) -> Iterator[Path]:
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    folder = root / home.relative_to("/") / "systemd" / "user"
    for name in USER:
        text = (templates() / "user" / name).read_text()
        yield _put(folder / name, text.replace("@CONVOD@", _quoted(program())))


def _quoted(path: Path) -> str:
    # In a unit % begins a specifier and $ a variable; quotes are as a shell's.
    return shlex.quote(str(path)).replace("%", "%%").replace("$", "$$")


def _put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.resolve()
    if target.is_file() or not target.exists():  # else the unit is masked, and stays so
        write_whole(target, text.encode(), 0o666)
    return path


def restrict(settings: Path) -> None:
    """Let only root and the service read the settings, which may hold a token."""
    try:
        os.chown(settings, 0, grp.getgrnam("convod").gr_gid)
        settings.chmod(0o640)
    except (KeyError, OSError):
        print(f"convod: {settings} stays readable to all users; keep tokens out of it", file=sys.stderr)


def _tell_systemd(user: bool) -> None:
    """Have systemd read the units, where it runs."""
    if not Path("/run/systemd/system").is_dir():
        return
    steps = [["systemctl", "--user", "daemon-reload"]] if user else [
        ["systemd-sysusers", "convod.conf"],
        ["systemd-tmpfiles", "--create", "convod.conf"],
        ["systemctl", "daemon-reload"],
    ]  # fmt: skip
    for step in steps:
        if shutil.which(step[0]) and subprocess.run(step).returncode:
            print(f"convod: `{shlex.join(step)}` failed; run it again by hand", file=sys.stderr)


def _say_next(user: bool) -> None:
    if user:
        print("Next: systemctl --user enable --now convod.socket", file=sys.stderr)
    else:
        print(
            "Next: systemctl enable --now convod.socket (and convod-web.socket for WebSockets, and\n"
            "      convo-gateway.service for HTTP), and\n"
            "      usermod -aG convod USER for each user who may connect",
            file=sys.stderr,
        )
