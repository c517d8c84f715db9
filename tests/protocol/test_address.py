from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from convo import address
from convo.address import Address, default_socket, default_url, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unix:/run/convod.sock", Address("unix", "/run/convod.sock")),
        ("unix:///run/convod.sock", Address("unix", "/run/convod.sock")),
        ("unix:here.sock", Address("unix", "here.sock")),
        ("/run/convod.sock", Address("unix", "/run/convod.sock")),
        ("here.sock", Address("unix", "here.sock")),
        ("./a:b", Address("unix", "./a:b")),
        ("ws://localhost:8787", Address("ws", "/", "localhost", 8787)),
        ("ws://127.0.0.1:8787/convo?x=1", Address("ws", "/convo?x=1", "127.0.0.1", 8787)),
        ("ws://[::1]:8787/", Address("ws", "/", "::1", 8787)),
        ("wss://example.org", Address("wss", "/", "example.org", 443)),
        ("ws://example.org", Address("ws", "/", "example.org", 80)),
    ],
)
def test_parse(text: str, expected: Address) -> None:
    assert parse(text) == expected
    assert parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "unix:PATH"),
        ("unix:", "unix:PATH"),
        ("http://localhost:80", "ws://host:port"),
        ("ws://", "host is missing"),
        ("ws:localhost", "host is missing"),
        ("ws://:8787", "host is missing"),
        ("ws://localhost:port", "ws://host:port"),
        ("ws://localhost:99999", "ws://host:port"),
        ("ws://me:secret@localhost", "token"),
        ("ws://localhost/#top", "#fragment"),
        ("ws://localhost/ä", "percent-encode"),
        ("unix:/a\0b", "zero"),
        ("unix:/" + "x" * 107, "at most 107"),
    ],
)
def test_parse_says_what_to_write(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        parse(text)
    assert "secret" not in str(caught.value)


def test_secure_and_authority() -> None:
    assert parse("wss://[::1]").secure
    assert not parse("ws://localhost").secure
    assert parse("wss://[::1]").authority == "[::1]:443"


def test_default_socket_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert default_socket() == str(tmp_path / "convod.sock")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(os, "getuid", lambda: 4242424)
    assert default_socket() == str(tmp_path / "convod-4242424" / "convod.sock")


def test_default_url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own, system = tmp_path / "convod.sock", tmp_path / "system.sock"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(address, "SYSTEM_SOCKET", str(system))
    monkeypatch.delenv("CONVO_URL", raising=False)
    assert default_url() == f"unix:{own}"

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(system))
    assert default_url() == f"unix:{system}"

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(own))
    assert default_url() == f"unix:{own}"

    monkeypatch.setenv("CONVO_URL", "ws://localhost:1")
    assert default_url() == "ws://localhost:1"
