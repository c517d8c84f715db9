"""What `import convo` is, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

import convo
from convo import transport

CORE = [
    "annotations",
    "address",
    "captions",
    "client_core",
    "connection",
    "credit",
    "errors",
    "explain",
    "feed",
    "formats",
    "framing",
    "messages",
    "transcript",
    "vocabulary",
]


def test_the_core_imports_no_loop_and_no_socket() -> None:
    modules = ", ".join(f"convo.{name}" for name in CORE)
    code = (
        f"import sys, msgspec, msgpack; before = set(sys.modules)\nimport convo, {modules}\n"
        "banned = {'anyio', 'trio', 'asyncio', 'socket', 'wsproto', 'trio_websocket', 'numpy', 'ssl'}\n"
        "sys.exit(', '.join(sorted(banned & (set(sys.modules) - before))) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_every_name_is_there() -> None:
    for name in convo.__all__:
        assert getattr(convo, name) is not None
    assert convo.connect is transport.connect


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'disconnect'"):
        _ = convo.disconnect  # type: ignore[attr-defined]
