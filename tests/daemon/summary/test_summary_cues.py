"""Decisions, open questions and the parts of a consultation, by the words that give them away."""

from __future__ import annotations

import pytest

from convod.summary.cues import consultation_field, is_about_the_call, is_decision, is_open, leans_on_another


@pytest.mark.parametrize(
    ("text", "decision", "open_question"),
    [
        ("We decided to publish the release next week.", True, False),
        ("They have all agreed on the second design.", True, False),
        ("The board approved the budget.", True, False),
        ("Let's go with the blue one.", True, False),
        ("출시를 다음 달로 연기하기로 했습니다.", True, False),
        ("예산이 승인됐습니다.", True, False),
        ("Who pays for it is still open.", False, True),
        ("That remains to be seen, and we don't know yet who comes.", False, True),
        ("광고 예산은 아직 미정입니다.", False, True),
        ("We have not yet decided who pays.", False, True),
        ("Laura will review the budget.", False, False),
        ("오늘 날씨가 좋네요.", False, False),
    ],
)
def test_meetings(text: str, decision: bool, open_question: bool) -> None:
    assert (is_decision(text), is_open(text)) == (decision, open_question)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("My back hurts since last week.", "complaint"),
        ("어제부터 기침이 나고 열이 있어요.", "complaint"),
        ("Your blood pressure is one forty over ninety.", "findings"),
        ("혈압은 정상입니다.", "findings"),
        ("Take two tablets a day.", "recommendation"),
        ("You should avoid salt for your blood pressure.", "recommendation"),
        ("하루 세 번 복용하세요.", "recommendation"),
        ("Does it hurt here?", ""),
        ("Nice to meet you.", ""),
    ],
)
def test_consultations(text: str, field: str) -> None:
    assert consultation_field(text) == field


@pytest.mark.parametrize(
    ("text", "is_it"),
    [
        ("Hi everyone, can you hear me?", True),
        ("Let us get started.", True),
        ("Good morning everyone.", True),
        ("Thank you all, have a nice day.", True),
        ("Is there anything else?", True),
        ("Can you give us an update?", True),
        ("Good morning, this lecture is about graphs and their walks.", False),
        ("To get started with the interface, you need a key.", False),
        ("We have a day to repair the pump.", False),
        ("Hold on to the contract until June.", False),
        ("다들 들리시나요?", True),
        ("안녕하세요.", True),
        ("회의 시작하겠습니다.", True),
        ("수고하셨습니다.", True),
        ("먼저 진행 상황을 공유해 주세요.", True),
        ("다른 안건 있으신가요?", True),
        ("다음 주에 개발을 시작하겠습니다.", False),
        ("금요일까지 작업을 마치겠습니다.", False),
        ("다른 의견이 많았습니다.", False),
    ],
)
def test_what_is_about_the_call_alone(text: str, is_it: bool) -> None:
    assert is_about_the_call(text) is is_it


@pytest.mark.parametrize(
    ("text", "leans"),
    [
        ("This is called rehashing.", True),
        ("That's about twelve hundred euros.", True),
        ("이것을 충돌이라고 합니다.", True),
        ("This array holds the keys.", False),
        ("Items are in the list.", False),
        ("이번 주에 끝납니다.", False),
    ],
)
def test_what_says_little_alone(text: str, leans: bool) -> None:
    assert leans_on_another(text) is leans
