"""Sentences, terms and keywords in any script."""

from __future__ import annotations

import pytest

from convod.summary.words import keywords, says_nothing, sentences, terms
from tests.fakes.talks import CHINESE, KOREAN, MEETING


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? four", ["One.", "Two!", "Three?", "four"]),
        ('He said "go." Then left.', ['He said "go."', "Then left."]),
        ("Version 1.2 is 3.5 times Dr. Smith's.", ["Version 1.2 is 3.5 times Dr. Smith's."]),
        ("你好。再见！真的？是", ["你好。", "再见！", "真的？", "是"]),
        ("彼は「はい。」と言った。終わり", ["彼は「はい。」", "と言った。", "終わり"]),
        ("안녕하세요. 반갑습니다.", ["안녕하세요.", "반갑습니다."]),
        ("मैं घर जाता हूँ। वह आता है।", ["मैं घर जाता हूँ।", "वह आता है।"]),
        ("  \n ", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Releases weren't ＲＥＡＤＹ", ["the", "release", "weren't", "ready"]),
        ("语音识别", ["语音", "音识", "识别"]),
        ("새로운 릴리스", ["새로", "로운", "릴리", "리스"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("naïve Straße", ["naïve", "strasse"]),
        ("... !", []),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


def test_keywords() -> None:
    assert keywords(MEETING, 3) == ["test plan", "budget", "release"]
    assert keywords(KOREAN, 3) == ["신제품", "출시", "디자인"]
    assert keywords(CHINESE, 2) == ["语音识别", "项目"]
    assert keywords(["来週の会議で予算を見ます。", "予算は会議で決めました。データベース"], 3) == [
        "会議",
        "予算",
        "データベース",
    ]
    assert keywords(["Das Budget ist nicht für die Planung.", "Die Planung und das Budget."], 2) == [
        "Planung",
        "Budget",
    ]
    assert keywords(["the and of it is", "그리고 그래서"], 5) == []


def test_a_word_of_every_sentence_is_no_keyword() -> None:
    texts = [f"Basically topic{at // 3} matters." for at in range(60)]
    assert "Basically" not in keywords(texts, 8)


@pytest.mark.parametrize(
    ("text", "nothing"),
    [
        ("네 알겠습니다.", True),
        ("감사합니다!", True),
        ("네, 예산은 충분합니다.", False),
        ("Yes.", False),
        ("...", False),
    ],
)
def test_sentences_that_say_nothing(text: str, nothing: bool) -> None:
    assert says_nothing(text) is nothing
