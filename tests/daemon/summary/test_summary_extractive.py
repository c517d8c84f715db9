"""The talk's own sentences: the same everywhere, in any language, for any length."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import accumulate

import pytest

from convo.messages import ActionItem
from convod.summary import extractive
from convod.summary.extractive import extract
from convod.summary.parse import Draft
from convod.summary.words import sentences
from tests.fakes.talks import CHINESE, KOREAN, MEETING, talk


def test_golden_english() -> None:
    assert extract(talk()) == Draft(
        title="Test plan, budget, release",
        summary=(
            "The action item for David is to finish the test plan. Let us review the budget first, and then send the "
            "proposal. Laura will review the budget before lunch."
        ),
        key_points=[
            "The mobile team finished the payment system on Friday.",
            "I think the test plan is behind schedule.",
            "How long will it take to finish the test plan?",
            "We decided to publish the release next week.",
            "Marketing asked for fifteen more servers.",
        ],
        action_items=[
            ActionItem(text="We decided to publish the release next week.", due="next week"),
            ActionItem(text="The action item for David is to finish the test plan.", owner="David"),
            ActionItem(text="Laura will review the budget before lunch.", owner="Laura", due="before lunch"),
        ],
        keywords=["test plan", "budget", "release", "finish", "review", "Marketing", "schedule", "proposal"],
    )


def test_golden_korean() -> None:
    draft = extract(talk(KOREAN, "ko"))
    assert draft.title == "신제품, 출시, 디자인"
    assert draft.summary == (
        "오늘 회의의 주제는 신제품 출시 일정입니다. 디자인 팀은 신제품 포장 디자인을 완료했습니다. "
        "신제품 광고 예산도 검토해 주세요."
    )
    assert draft.action_items == [
        ActionItem(text=KOREAN[4], owner="김민수 과장님", due="금요일"),
        ActionItem(text=KOREAN[6]),
    ]


def test_golden_chinese() -> None:
    draft = extract(talk(CHINESE, "zh"))
    assert draft.title.startswith("语音识别")
    assert draft.summary == "今天我们讨论语音识别项目的预算。下周五之前提交语音识别项目的报告。"


@pytest.mark.parametrize("texts", [MEETING, KOREAN, CHINESE])
@pytest.mark.parametrize("style", ["brief", "minutes", "bullets", "lecture", "consultation", "unheard of"])
def test_it_says_nothing_that_was_not_said(texts: tuple[str, ...], style: str) -> None:
    draft = extract(talk(texts), style)
    said = " ".join(texts)
    assert draft.summary
    assert all(sentence in said for row in draft.summary.split("\n") for sentence in sentences(row.removeprefix("- ")))
    assert all(point in said for point in draft.key_points)
    assert not set(draft.key_points) & set(draft.summary.split("\n"))


def test_the_same_in_another_process() -> None:
    """Nothing depends on the order of a set or on a hash."""
    code = (
        "from convod.summary.extractive import extract; from tests.fakes.talks import *; "
        "print(extract(talk(MEETING)), extract(talk(KOREAN)), extract(talk(CHINESE)))"
    )
    results = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path), "PYTHONUTF8": "1"},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(results) == 1


def test_repeated_sentences_are_told_once() -> None:
    draft = extract(talk(["The budget is too small for the project."] * 40 + list(MEETING)))
    told = draft.summary + " ".join(draft.key_points)
    assert told.count("The budget is too small for the project.") <= 1


@pytest.mark.parametrize(
    "texts",
    [[""], ["..."], ["Yes."], ["Yes.", "No."], ["1 2 3"], ["😀😀"], ["\x1b[31m\x00"], ["ok"] * 500, ["的的的"]],
)
def test_talks_that_say_little(texts: list[str]) -> None:
    draft = extract(talk(texts))
    assert "\x1b" not in draft.summary + draft.title
    assert len(draft.summary) <= sum(map(len, texts)) + 10


def test_one_endless_segment() -> None:
    draft = extract(talk([" ".join(MEETING), "word " * 200_000]))
    assert "budget" in draft.summary + " ".join(draft.key_points)
    assert len(draft.summary) <= 2000


@pytest.mark.parametrize("script", ["en", "ko", "zh"])
def test_eight_hours(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost grows with the words and not with the pairs of sentences: steps are counted, not seconds."""
    links = 0
    step = extractive._step

    def counted(rows: list[tuple[list[int], list[float]]], *rest: object) -> list[float]:
        nonlocal links
        links += sum(len(numbers) for numbers, _ in rows)
        return step(rows, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(extractive, "_step", counted)
    rng = random.Random(1)
    words = {
        "en": ["".join(rng.choices("abcdefghij", k=rng.randint(3, 9))) for _ in range(6000)],
        "ko": ["".join(rng.choices([chr(0xAC00 + at) for at in range(900)], k=3)) for _ in range(6000)],
        "zh": [chr(0x4E00 + at) for at in range(2000)],
    }[script]
    weights = list(accumulate(1 / (rank + 1) for rank in range(len(words))))
    glue = "" if script == "zh" else " "
    texts = [glue.join(rng.choices(words, cum_weights=weights, k=rng.randint(5, 15))) + "." for _ in range(10_000)]
    draft = extract(talk(texts))
    assert draft.summary
    assert len(draft.keywords) == 8
    assert links <= 10_000 * extractive._TERMS * (extractive._STEPS + 1)
