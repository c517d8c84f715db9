"""Lines corrected from the app, and what becomes a rule of it: offered, listed, changed, removed; sessions get them."""

from __future__ import annotations

from pathlib import Path

import pytest

from convo.messages import CorrectSegment, CreateSession, Rule
from convo.vocabulary_file import path
from convo_tui.model.session import Line
from convo_tui.work.vocabulary import offered
from tests.cli.fake import FakeDaemon
from tests.fakes.portaudio import FakePortAudio
from tests.tui.conftest import Open


def read() -> str:
    return path().read_text()


def write(text: str) -> None:
    path().parent.mkdir(parents=True, exist_ok=True)
    path().write_text(text)


def said(*texts: tuple[str, str | None]) -> list[Line]:
    return [Line(at, 0.0, 1.0, text, original=original) for at, (text, original) in enumerate(texts)]


@pytest.mark.parametrize(
    ("lines", "text", "known", "declined", "found"),
    [
        (said(("a budget", "a butcher"), ("the butcher", None)), "the budget", [], [], ("butcher", "budget", 2)),
        (said(("a budget", "a butcher"), ("the butcher", None)), "the butchers", [], [], None),
        (said(("a budget", "a butcher"), ("the butcher", None)), "the budget", ["Butcher"], [], None),
        (said(("a budget", "a butcher"), ("the butcher", None)), "the budget", [], ["butcher"], None),
        (said(("the butcher", None), ("the butcher", None)), "the budget", [], [], None),
        (said(("a b", "x y"), ("a b", "x y"), ("x y", None)), "a b", ["x y"], [], None),
        (said(("", "butcher"), ("the butcher", None)), "", [], [], None),
    ],
)
def test_what_is_offered_as_a_rule(
    lines: list[Line], text: str, known: list[str], declined: list[str], found: tuple[str, str, int] | None
) -> None:
    rules = [Rule(wrong=wrong, right="x") for wrong in known]
    assert offered(lines, lines[-1].number, text, rules, declined) == found


async def test_words_corrected_twice_become_a_rule_or_not(connected: Open, fake: FakeDaemon) -> None:
    write("# mine\n[words]\n")
    fake.add("aaaa0001", "The pie torch.", "A pie torch!", "Teh one.", "Teh two.", title="Talk")
    async with connected("--session", "aaaa0001", size=(80, 24)) as stage:
        await stage.sees("The pie torch.")
        await stage.press("e")
        await stage.until(lambda: any("Select the line" in toast for toast in stage.toasts()), "told")
        for text in ("The PyTorch.", "A PyTorch!"):
            await stage.press("j", "e")
            await stage.sees("Correct the line at")
            await stage.answer(text)
            await stage.until(lambda said=text: said in [one.text for one in fake.of(CorrectSegment)], "corrected")
        await stage.sees("'pie torch' became 'PyTorch' twice.", "add it to the vocabulary")
        await stage.press("enter")
        await stage.until(lambda: "'pie torch' will be 'PyTorch' in later sessions." in stage.toasts(), "told")
        assert read() == '# mine\n[words]\n"pie torch" = "PyTorch"\n'
        for text in ("The one.", "The two."):
            await stage.press("j", "e")
            await stage.sees("Correct the line at")
            await stage.answer(text)
            await stage.until(lambda said=text: said in [one.text for one in fake.of(CorrectSegment)], "corrected")
        await stage.sees("'teh' became 'The' twice.")
        await stage.press("down", "enter")
        await stage.sees_no("became")
        await stage.press("e", "ctrl+u", "enter")
        await stage.until(lambda: any("`convo edit aaaa0001` shows it again" in one for one in stage.toasts()), "told")
        await stage.sees_no("The two.")
        assert [one.text for one in fake.of(CorrectSegment)] == [
            "The PyTorch.", "A PyTorch!", "The one.", "The two.", "",
        ]  # fmt: skip
    assert "teh" not in read()


async def test_the_vocabulary_is_looked_at_and_changed_in_the_settings_and_sessions_get_it(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio, tmp_path: Path
) -> None:
    write('[words]\nteh = "the"\n')
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    async with connected(size=(80, 24)) as stage:
        await stage.press("S")
        await stage.sees("vocabulary     1 rule")
        await stage.choose("vocabulary")
        await stage.sees("Vocabulary", "teh                           the")
        await stage.press("a")
        await stage.answer("um")
        await stage.sees("What should 'um' be?")
        await stage.press("enter")
        await stage.sees("um                            nothing")
        await stage.press("enter", *"se", "enter")
        await stage.until(lambda: 'teh = "these"' in read() or '"teh" = "these"' in read(), "kept")
        await stage.press("home", "x")
        await stage.until(lambda: read().count("=") == 1, "removed")
        await stage.press("a")
        await stage.answer("a" * 101)
        await stage.press("enter")
        await stage.until(lambda: any("at most 100 characters" in toast for toast in stage.toasts()), "refused")
        await stage.press("escape")
        await stage.sees("vocabulary     1 rule")
        await stage.press("escape", "s")
        await stage.sees("● live")
        await stage.press("s")
        await stage.sees("✓ done")
        write("[words")
        await stage.press("4")
        await stage.answer("a.wav")
        await stage.until(lambda: len(fake.of(CreateSession)) == 2, "sent")
        await stage.until(lambda: any("vocabulary.toml cannot be used" in one for one in stage.toasts()), "told")
    rules = [[(rule.wrong, rule.right) for rule in one.vocabulary] for one in fake.of(CreateSession)]
    assert rules[1] == []
    assert len(rules[0]) == 1
