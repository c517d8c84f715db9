"""Names and numbers that nobody said are found, and those that were said are not."""

from __future__ import annotations

import pytest

from convo.messages import ActionItem, Section
from convod.summary.facts import FLAGS, Facts
from convod.summary.numbers import numbers
from convod.summary.parse import Draft


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("twenty five and one hundred and five", [25, 105]),
        ("fifteen hundred, two thousand and twenty four", [1500, 2024]),
        ("five hundred thousand; two million three hundred thousand", [500_000, 2_300_000]),
        ("two five", [2, 5]),
        ("the twenty-first and the thirty first", [21, 31]),
        ("1,000 at 3:30 for 2.5%", [1000, 2.5, 3, 30]),
        ("이천이십사 년에 오십만 원", [2024, 500_000]),
        ("3만 5천 원", [30_000, 5000]),
        ("열두 명이 세 시에", [12, 3]),
        ("一千二百 二〇二四年", [1200, 2024]),
        ("일하는 사람이 이 사람이다", []),
        ("Someone often attends", []),
    ],
)
def test_numbers_however_they_are_written(text: str, values: list[float]) -> None:
    assert sorted(value for value, _ in numbers(text)) == sorted(values)


def missing(said: list[str], summary: str, language: str = "en", **more: object) -> list[str]:
    facts = Facts()
    facts.add(said)
    return facts.missing(Draft(title="", summary=summary, **more), language)  # type: ignore[arg-type]


SAID = ["Laura needs fifteen more servers by March.", "The O'Brien contract, with Acme-Soft, costs 2,500 dollars."]
GESAGT = ["김민수 과장님이 오십만 원을 요청했습니다.", "회의는 세 시에 시작합니다."]


@pytest.mark.parametrize(
    ("said", "summary", "language", "found"),
    [
        (SAID, "Laura asked for 15 servers at O'Brien's, 2500 dollars.", "en", []),
        (SAID, "The team of Laura and Acme will decide on Friday in May.", "en", []),
        (SAID, "Then Zebedee asked for 16 servers.", "en", ["16", "Zebedee"]),
        (SAID, "It costs twenty five dollars, said Laura Smith.", "en", ["twenty five", "Smith"]),
        (SAID, "1. Laura asked.\n2. Servers cost.\n3) More.", "en", []),
        (SAID, "Two people spoke, one of them first.", "en", []),
        (SAID, "Laura braucht Server und einen Vertrag von Acme.", "de", []),
        (SAID, "", "en", []),
        (GESAGT, "김민수 과장이 50만 원을 요청했고 3시에 시작한다.", "ko", []),
        (GESAGT, "이영희 과장이 60만 원을 요청했다.", "ko", ["60만", "이영희"]),
        (GESAGT, "Kim Min-su asked for 500,000 won.", "en", []),
        (["王经理说需要一千二百元。"], "李经理需要1300元。", "zh", ["1300", "李"]),
        ([], "Anna paid 5 dollars to Bob.", "en", ["5"]),
    ],
)
def test_what_was_not_said(said: list[str], summary: str, language: str, found: list[str]) -> None:
    assert missing(said, summary, language) == found


def test_every_part_of_a_summary_is_looked_at() -> None:
    found = missing(
        SAID,
        "Findings\nNothing.",
        sections=[Section(name="findings", label="Findings 77", text="They saw 71.")],
        key_points=["They saw 72."],
        action_items=[ActionItem(text="See 73", owner="Zoe", due="by the 24th, at 74")],
    )
    assert found == ["71", "72", "73", "24", "74", "Zoe"]


def test_an_owner_is_a_name_even_at_the_beginning() -> None:
    items = [ActionItem(text="Do it", owner="Laura"), ActionItem(text="Do it", owner="The mobile team")]
    assert missing([*SAID, "the mobile team"], "", action_items=items) == []
    assert missing(GESAGT, "", "ko", action_items=[ActionItem(text="보고", owner="김민수 과장")]) == []
    assert missing(GESAGT, "", "ko", action_items=[ActionItem(text="보고", owner="박서준")]) == ["박서준"]


def test_flags_are_few_and_fit_to_be_shown() -> None:
    found = missing(SAID, " ".join(str(at) for at in range(100, 200)) + " \x1b[31m9\x07")
    assert len(found) == FLAGS
    assert all(text.isprintable() for text in found)


def test_words_that_come_later_count() -> None:
    facts = Facts()
    facts.add(["Laura speaks."])
    draft = Draft(title="", summary="It was Laura, then Kevin.")
    assert facts.missing(draft, "en") == ["Kevin"]
    facts.add(["Kevin speaks."])
    assert facts.missing(draft, "en") == []


def test_a_title_may_have_capitals_and_no_numbers_of_its_own() -> None:
    facts = Facts()
    facts.add(SAID)
    assert facts.missing(Draft(title="Weekly Server Review 99", summary=""), "en") == ["99"]
