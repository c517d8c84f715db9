"""Wyoming's wire, and the settings that open it."""

from __future__ import annotations

from pathlib import Path

import pytest

from convo_gateway import settings
from convo_gateway.errors import Refused
from convo_gateway.wyoming_wire import DATA_BYTES, HEADER_BYTES, Event, Parser


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--wyoming", "127.0.0.1:1"], "--wyoming must be tcp://HOST:PORT"),
        (["--wyoming", "tcp://127.0.0.1:1"], "Wyoming has no tokens"),
        (["--wyoming", "tcp://0.0.0.0:1", "--open-loopback"], "Wyoming has no tokens"),
        (["--wyoming", "tcp://0.0.0.0:1", "--wyoming-token-file", "TOKEN"], "Wyoming has no TLS"),
        (["--wyoming", "tcp://127.0.0.1:1", "--wyoming-token-file", "NONE"], "cannot be read"),
    ],
)
def test_it_is_never_more_open_than_meant(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "TOKEN").write_text("secret-token\n")
    words = [str(tmp_path / word) if word in ("TOKEN", "NONE") else word for word in words]
    with pytest.raises(SystemExit):
        settings.read(["--connect", "ws://127.0.0.1:9", *words], {})
    told = capsys.readouterr().err
    assert sentence in told
    assert "secret-token" not in told


def test_the_token_of_its_clients(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret-token\n")
    words = ["--wyoming", "tcp://0.0.0.0:1", "--insecure", "--wyoming-token-file", str(tmp_path / "token")]
    assert settings.read(["--connect", "ws://127.0.0.1:9", *words], {}).wyoming_token == "secret-token"


def test_the_wire() -> None:
    events = [Event("a"), Event("b", {"text": "한국어\n"}), Event("c", {"x": 1}, b"\n\0{}")]
    data = b"".join(event.encoded() for event in events)
    for size in (1, 2, 3, 7, len(data)):
        parser = Parser()
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        assert [event for piece in pieces for event in parser.feed(piece)] == events
    assert list(Parser().feed(b'{"type": "x", "data": {"y": 1}}\n')) == [Event("x", {"y": 1})]


@pytest.mark.parametrize(
    "data",
    [
        b" " * (HEADER_BYTES + 1),
        b'{"type": "x", "payload_length": 99999999}\n',
        b'{"type": "x", "data_length": %d}\n' % (DATA_BYTES + 1),
        b'{"type": "x", "data_length": 2}\n[]',
    ],
    ids=["a long line", "a long payload", "long data", "data that is no object"],
)
def test_what_the_wire_refuses(data: bytes) -> None:
    with pytest.raises(Refused):
        list(Parser().feed(data))
