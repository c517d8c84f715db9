"""Sentences, terms and keywords in any script."""

from __future__ import annotations

import pytest

from convod.summary.words import fluent, keywords, says_nothing, sentences, weigh
from tests.fakes.talks import CHINESE, KOREAN, MEETING


def terms(text: str) -> list[str]:
    return weigh(text)[0]


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


def test_what_polite_korean_sentences_share_says_nothing() -> None:
    assert terms("회의를 시작하겠습니다") == ["회의", "시작"]
    assert terms("일정을 결정했습니다") == ["일정", "결정"]
    assert terms("네 좋습니다") == []
    assert not {*terms("예산은 충분합니다.")} & {*terms("배송이 늦었습니다.")}
    assert {*terms("예산을 검토해야 합니다.")} & {*terms("예산이 부족해요.")} == {"예산"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("We decided to publish the release next week.", 2),  # publish, release
        ("예산은 네 충분합니다.", 2),
        ("语音识别", 2),
        ("Yes.", 0),
        ("", 0),
    ],
)
def test_how_much_a_sentence_says(text: str, words: float) -> None:
    assert weigh(text)[1] == words


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("So, um, the main thing is the budget.", "The main thing is the budget."),
        ("Yeah I will do that.", "I will do that."),
        ("Okay then, we agreed.", "We agreed."),
        ("So far we have three.", "So far we have three."),
        ("Right now we wait.", "Right now we wait."),
        ("Well done.", "Well done."),
        ("Oklahoma is far.", "Oklahoma is far."),
        ("Umbrellas are here.", "Umbrellas are here."),
        ("네, 지난주에 옮겼습니다.", "지난주에 옮겼습니다."),
        ("그럼 회의 시작하겠습니다.", "회의 시작하겠습니다."),
        ("자동차가 왔습니다.", "자동차가 왔습니다."),
        ("어제 왔습니다.", "어제 왔습니다."),
        ("아, 네 맞습니다.", "맞습니다."),
        ("아 하고 벌리세요.", "아 하고 벌리세요."),
        ("Okay.", ""),
        ("네.", ""),
    ],
)
def test_hesitation_is_left_out(text: str, rest: str) -> None:
    assert fluent(text) == rest


def test_a_korean_noun_of_one_syllable_and_a_verb() -> None:
    assert keywords(["키를 찾습니다.", "키는 불편해서 나오나요?", "키가 배열에 있으니 배열을 봅니다."], 8) == [
        "키",
        "배열",
    ]
    assert "목를" not in keywords(["목를"], 8)


def test_a_number_is_no_keyword() -> None:
    assert keywords(["Two hundred customers.", "Three hundred customers.", "고객 삼백 명", "고객 이백 명"], 8) == [
        "customers",
        "고객",
    ]


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
