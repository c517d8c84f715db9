"""`convo vocabulary`, what sessions get of it, and what `convo edit` offers for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from convo.messages import CreateSession, Rule, Segment
from convo_cli import sheet
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "convo" / "vocabulary.toml"


def test_rules_are_added_listed_and_removed(run: Run) -> None:
    assert "There are no rules" in run("vocabulary").err
    assert run("vocabulary", "add", "pie torch", "PyTorch").code == 0
    assert run("vocabulary", "add", "Um", "").code == 0
    assert run("vocabulary", "add", "PIE  torch", "pytorch").code == 0  # in place of the first
    assert run("vocabulary").out == "Um\t\nPIE torch\tpytorch\n"
    assert [json.loads(line)["wrong"] for line in run("vocabulary", "--json").out.splitlines()] == ["Um", "PIE torch"]
    assert run("vocabulary", "rm", "um").code == 0
    assert run("vocabulary").out == "PIE torch\tpytorch\n"
    result = run("vocabulary", "rm", "um")
    assert (result.code, result.err) == (1, "convo: No rule is for 'um': `convo vocabulary` lists them.\n")


def test_the_file_keeps_its_comments_its_mode_and_a_link(run: Run, file: Path, tmp_path: Path) -> None:
    file.parent.mkdir(parents=True)
    own = tmp_path / "dotfiles.toml"
    own.write_text('# mine\n[words]\na = "b"  # a word\n')
    own.chmod(0o600)
    file.symlink_to(own)
    assert run("vocabulary", "add", "c", "d").code == 0
    assert own.read_text() == '# mine\n[words]\na = "b"  # a word\n"c" = "d"\n'
    assert own.stat().st_mode & 0o777 == 0o600
    assert file.is_symlink()
    assert list(tmp_path.glob(".convo-*")) == []
    own.unlink()
    file.unlink()
    file.mkdir()
    result = run("vocabulary", "add", "a", "b")
    assert (result.code, result.err.count("\n")) == (2, 1)


@pytest.mark.parametrize(("wrong", "right"), [(" ", "x"), ("x" * 101, "y"), ("x", "y" * 101)])
def test_what_is_no_rule(run: Run, file: Path, wrong: str, right: str) -> None:
    result = run("vocabulary", "add", wrong, right)
    assert result.code == 2
    assert result.err.startswith("convo: This is no rule: ")
    assert not file.exists()


@pytest.mark.parametrize("content", [b"[words", b"\xff", b"words = 3"])
def test_a_file_that_is_broken_is_named_and_left_alone(run: Run, file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    for words in (("vocabulary",), ("vocabulary", "add", "a", "b"), ("stream", "/dev/null", "--encoding", "s16le")):
        result = run(*words)
        assert result.code == 2
        assert "vocabulary.toml cannot be used" in result.err
        assert result.err.count("\n") == 1
    assert file.read_bytes() == content


def test_sessions_get_the_rules_and_captions_show_them(fake: FakeDaemon, run: Run, tmp_path: Path) -> None:
    run("vocabulary", "add", "hello", "Good morning")
    (tmp_path / "talk.pcm").write_bytes(bytes(3200))
    result = run("stream", tmp_path / "talk.pcm")
    assert (result.code, result.out) == (0, "Good morning there.\nGood bye.\n")
    assert run("transcribe", tmp_path / "talk.pcm").code == 0
    rule = [Rule(wrong="hello", right="Good morning")]
    assert [one.vocabulary for one in fake.of(CreateSession)] == [rule, rule]


def said(*texts: tuple[str, str | None]) -> list[Segment]:
    return [
        Segment(segment=at, start=0.0, end=1.0, text=text, language="en", confidence=1.0, original=original)
        for at, (text, original) in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("segments", "changed", "offered"),
    [
        (
            said(("The butcher, then.", None), ("A Butcher!", None)),
            {0: "The budget, then.", 1: "A budget!"},
            [("butcher", "budget", 2)],
        ),
        (said(("a budget", "a butcher"), ("the butcher", None)), {1: "the budget"}, [("butcher", "budget", 2)]),
        (said(("a budget", "a butcher"), ("the budget", "the butcher"), ("c d", None)), {2: "c e"}, []),
        (
            said(("pie torch is", None), ("pie torch", None)),
            {0: "PyTorch is", 1: "PyTorch"},
            [("pie torch", "PyTorch", 2)],
        ),
        (said(("a b c d", None), ("a b c d", None)), {0: "w x y z", 1: "w x y z"}, []),
        (said(("a", None), ("a", None)), {0: "", 1: ""}, []),
        (said(("a!", None), ("a!", None)), {0: "a?", 1: "a."}, []),
        (said(("a", None), ("a", None)), {0: "b", 1: "c"}, []),
    ],
)
def test_what_was_corrected_twice_is_offered(
    segments: list[Segment], changed: dict[int, str], offered: list[tuple[str, str, int]]
) -> None:
    assert sheet.repeated(segments, changed) == offered


def test_edit_says_how_it_becomes_a_rule_until_it_is_one(fake: FakeDaemon, run: Run, tmp_path: Path) -> None:
    fake.add("aaaa1111", "The pie torch.", "A pie torch.", "pie torch")
    lines = tmp_path / "lines.txt"
    lines.write_text("0 The PyTorch.\n1 A PyTorch.\n")
    told = run("edit", "aaaa", "--from", lines).err
    assert "'pie torch' became 'PyTorch' 2 times" in told
    assert "convo vocabulary add 'pie torch' PyTorch\n" in told
    run("vocabulary", "add", "pie torch", "PyTorch")
    lines.write_text("2 PyTorch\n")
    assert run("edit", "aaaa", "--from", lines).err == "convo: Corrected 1 segment.\n"
