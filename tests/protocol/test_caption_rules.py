from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convo.captions import COLUMNS, Caption, captions, width
from convo.messages import Segment, Word

SPEECH = (
    "So what I wanted to say today, before we get started with the numbers, is that the whole team did an "
    "amazing job on the release; we shipped on time. There are a few things left to do: the installer, the "
    "docs, and a better demo for the conference in May."
)


def segment(text: str, start: float = 0.0, end: float = 5.0, words: list[Word] | None = None) -> Segment:
    return Segment(segment=0, start=start, end=end, text=text, language="en", confidence=1.0, words=words)


def word(text: str, start: float, end: float) -> Word:
    return Word(word=text, start=start, end=end, confidence=1.0)


def text_of(shown: list[Caption]) -> list[str]:
    return [" / ".join(caption.lines) for caption in shown]


def times_of(shown: list[Caption]) -> list[tuple[int, int]]:
    return [(caption.start_ms, caption.end_ms) for caption in shown]


def test_short_segment_is_one_line() -> None:
    assert captions([segment("Good morning.", 1.0, 2.5)]) == [Caption(1000, 2500, ("Good morning.",))]


def test_long_segment_is_cut_at_its_clauses() -> None:
    assert text_of(captions([segment(SPEECH, 0, 16)])) == [
        "So what I wanted to say today, / before we get started with the numbers,",
        "is that the whole team did an amazing / job on the release; we shipped on time.",
        "There are a few things / left to do: the installer,",
        "the docs, and a better demo / for the conference in May.",
    ]


def test_times_follow_the_characters_without_words() -> None:
    shown = captions([segment("a" * 40 + " " + "b" * 40 + " " + "c" * 40, 0, 12.2)])
    assert times_of(shown) == [(0, 4000), (4100, 8100), (8200, 12_200)]


def test_times_follow_the_words() -> None:
    words = [word(" One", 1.0, 1.5), word(" two.", 1.5, 2.2), word(" Three", 9.0, 9.5), word(" four.", 9.5, 11.0)]
    shown = captions([segment("One two. Three four.", 0.5, 12.0, words)])
    assert times_of(shown) == [(1000, 2200), (9000, 11000)]
    assert text_of(shown) == ["One two.", "Three four."]


def test_words_that_are_not_in_the_text_change_nothing() -> None:
    plain = captions([segment("One two three.", 0, 3)])
    assert captions([segment("One two three.", 0, 3, [word(" Eins", 0.0, 1.0), word("", 1.0, 2.0)])]) == plain


def test_wide_scripts_get_half_the_characters() -> None:
    text = (
        "今日はとても良い天気ですね、散歩に行きましょう。それから、買い物をして、家に帰って料理を作りたいと思います。"
    )
    shown = captions([segment(text, 0, 12)])
    assert "".join("".join(caption.lines) for caption in shown) == text
    assert all(len(line) <= 21 for caption in shown for line in caption.lines)
    assert all(line[0] not in "、。" for caption in shown for line in caption.lines)


def test_korean_is_cut_between_its_words() -> None:
    text = (
        "오늘 회의에서는 다음 주에 있을 제품 출시 일정과 관련된 여러 가지 문제를 논의하겠습니다. 먼저 개발팀에서 "
        "준비한 TV자료를 살펴보고, 그다음에 마케팅팀의 의견을 들어 보도록 하겠습니다."
    )
    shown = captions([segment(text, 0, 12)])
    assert [word for caption in shown for line in caption.lines for word in line.split()] == text.split()
    assert all(width(line) <= COLUMNS for caption in shown for line in caption.lines)
    (one,) = captions([segment("가" * 30, 0, 6)])  # but for one that is longer than a line
    assert one.lines == ("가" * 21, "가" * 9)


@pytest.mark.parametrize(
    ("text", "together"),
    [
        ("まず開発チームが準備したたいへん長い資料を、「ゆっくりと」確認しましょう。", "「ゆ"),
        ("Vous êtes sûrs que c'est possible, vous ? Je ne le crois pas du tout, moi : qui sait donc ?", "vous ?"),
        ("x" * 41 + "e\u0301" + "x" * 10, "e\u0301"),
        ("👨\u200d👩\u200d👧" * 20, "👨\u200d👩\u200d👧"),
    ],
)
def test_what_belongs_together_stands_on_one_line(text: str, together: str) -> None:
    lines = [line for caption in captions([segment(text, 0, 12)]) for line in caption.lines]
    assert len(lines) > 1
    assert all(width(line) <= COLUMNS for line in lines)
    assert sum(line.count(together) for line in lines) == text.count(together)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "新しいコンピューターシステムのインターネットセキュリティについて説明したいと思います。",
            ["新しいコンピューターシステムの", "インターネットセキュリティに", "ついて説明したいと思います。"],
        ),
        (
            "来週の会議ではプロジェクトマネージャーがスケジュールを発表する予定です。",
            ["来週の会議ではプロジェクトマネージャーが", "スケジュールを発表する予定です。"],
        ),
        (
            "東京オリンピックのボランティアスタッフとしてインターナショナルコミュニケーションを担当しました。",
            [
                "東京オリンピックの",
                "ボランティアスタッフとして",
                "インターナショナルコミュニケーションを",
                "担当しました。",
            ],
        ),
        (
            "昨日ＡＢＣデパートで１２３４５円のワンピースとスニーカーを買いましたが、少し大きかったです。",
            ["昨日ＡＢＣデパートで１２３４５円の", "ワンピースとスニーカーを買いましたが、", "少し大きかったです。"],
        ),
        ("ア" * 50, ["ア" * 21, "ア" * 21, "ア" * 8]),
    ],
)
def test_no_line_ends_inside_a_word_of_katakana(text: str, lines: list[str]) -> None:
    assert [line for caption in captions([segment(text, 0, 8)]) for line in caption.lines] == lines


@pytest.mark.parametrize("end", ["؟", "۔", "।", "。", "?"])
def test_captions_end_with_sentences_of_any_script(end: str) -> None:
    text = " ".join(["ماذا"] * 8) + end + " " + " ".join(["نعم"] * 12)
    shown = captions([segment(text, 0, 10)])
    assert shown[0].lines[-1].endswith(end)


def test_a_word_longer_than_a_line_is_cut() -> None:
    shown = captions([segment("x" * 100, 0, 6)])
    assert [len(line) for caption in shown for line in caption.lines] == [42, 42, 16]


def test_a_short_caption_stays_for_a_second_and_is_joined_by_the_next() -> None:
    shown = captions([segment("Yes.", 0, 0.2), segment("No.", 0.4, 2.0), segment("Well.", 5.0, 5.1)])
    assert shown == [Caption(0, 2000, ("Yes.", "No.")), Caption(5000, 6000, ("Well.",))]


def test_a_caption_waits_for_the_one_before() -> None:
    two_lines = "x" * 40 + " " + "y" * 40
    shown = captions([segment(two_lines, 0, 0.2), segment(two_lines, 0.2, 3.0)])
    assert times_of(shown) == [(0, 4000), (4000, 8000)]  # 80 characters each


def test_nothing_stays_longer_than_seven_seconds() -> None:
    assert times_of(captions([segment("Hm.", 3, 30)])) == [(3000, 10_000)]


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\x00\x1b", "\u2028"])
def test_no_text_no_caption(text: str) -> None:
    assert captions([segment(text)]) == []


def test_marks_need_no_room_and_no_time() -> None:
    (caption,) = captions([segment("e" + "\u0301" * 500, 0, 0.5)])
    assert (caption.end_ms, len(caption.lines)) == (1000, 1)


def test_text_holds_no_arrow() -> None:
    assert text_of(captions([segment("a --> b ---\x00-> c")])) == ["a -> b -> c"]


_TIME = st.floats(0, 100_000) | st.floats(allow_nan=True)
_TEXT = st.text(
    st.sampled_from("ab,.;!? \n\t->&<\x00\x1b\u2028今日。、ーé\u0301𝒳\ud800") | st.characters(), max_size=200
)


@st.composite
def _segments(draw: st.DrawFn) -> list[Segment]:
    made = []
    for _ in range(draw(st.integers(0, 5))):
        text = draw(_TEXT)
        words: Any = None
        if draw(st.booleans()):
            words = [word(piece, draw(_TIME), draw(_TIME)) for piece in text.split()]
        start = draw(_TIME)
        made.append(segment(text, start, start + draw(st.floats(0, 40)), words))
    return made


@given(segments=_segments())
def test_every_rule_for_any_transcript(segments: list[Segment]) -> None:
    shown = captions(segments)
    before = 0
    for caption in shown:
        assert 1 <= len(caption.lines) <= 2
        assert all(line == line.strip() and line for line in caption.lines)
        assert all(width(line) <= COLUMNS for line in caption.lines)
        assert all("-->" not in line and "\n" not in line for line in caption.lines)
        assert before <= caption.start_ms
        assert 1000 <= caption.end_ms - caption.start_ms <= 7000
        assert (
            sum(width(char) > 0 for line in caption.lines for char in line)
            <= 20 * (caption.end_ms - caption.start_ms) / 1000
        )
        before = caption.end_ms
    assert captions(segments) == shown


@given(words=st.lists(st.text("abcdefgh,.", min_size=1, max_size=12), max_size=60), end=st.floats(0, 60))
def test_no_word_is_lost(words: list[str], end: float) -> None:
    shown = captions([segment(" ".join(words), 0, end)])
    assert [word for caption in shown for line in caption.lines for word in line.split()] == words
