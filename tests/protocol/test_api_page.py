"""The examples of protocol/README.md do what they say, under both loops."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import convo
from tests.cli.fake import FakeDaemon, fake_daemon

if TYPE_CHECKING:
    from tests.protocol.conftest import Loop

PAGE = Path(convo.__file__).parents[1] / "README.md"
SECTIONS = re.findall(r"^## (.+?)$(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
EXAMPLES = [
    pytest.param(code, id=f"{title} {number}")
    for title, text in SECTIONS
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", text, re.S))
]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    with fake_daemon(tmp_path / "fake.sock") as daemon:
        monkeypatch.setenv("CONVO_URL", daemon.url)
        daemon.add("aaaa1111", "The budget is fine.", title="Plans")
        yield daemon


@pytest.mark.parametrize("code", EXAMPLES)
def test_example(code: str, loop: Loop, fake: FakeDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = tmp_path / "talk.wav"
    recording.write_bytes(bytes(1000))
    given: dict[str, Any] = {"pcm": [bytes(320)] * 10, "recording": str(recording), "session": "aaaa1111"}
    exec(compile(code, str(PAGE), "exec"), given)
    loop.run(given["main"])
    said = capsys.readouterr().out
    assert re.search(r"Hello there|aaaa1111", said), said
    if "pcm" in code:
        assert len(next(session.audio for name, session in fake.sessions.items() if name != "aaaa1111")) == 3200


def test_the_page_names_modules_that_are_there() -> None:
    named = set(re.findall(r"`convo\.([a-z_]+)", PAGE.read_text()))
    assert named
    for name in named:
        import_module(f"convo.{name}")


def test_options_are_the_fields_of_create_session() -> None:
    fields = set(convo.CreateSession.__struct_fields__) - {"id", "kind"}
    assert set(convo.SessionOptions.__annotations__) == fields
