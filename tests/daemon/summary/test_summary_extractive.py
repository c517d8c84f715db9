"""The talk's own sentences: the same everywhere, in any language, for any length."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import accumulate

import pytest

from convo.messages import ActionItem
from convod.summary import STYLES, Transcript, extractive
from convod.summary.parse import Draft
from convod.summary.styles import Style
from convod.summary.words import sentences
from tests.fakes.talks import CHINESE, CONSULTATION, KOREAN, MEETING, STATUS, STATUS_KOREAN, talk


def extract(of: Transcript, style: str = "brief") -> Draft:
    return extractive.extract(of.segments, STYLES.get(style, Style(style, "")), of.language).draft


def test_golden_english() -> None:
    assert extract(talk()) == Draft(
        title="Test plan, budget, release",
        summary=(
            "I think the test plan is behind schedule. We decided to publish the release next week. "
            "Let us review the budget first, and then send the proposal."
        ),
        key_points=[
            "The mobile team finished the payment system on Friday.",
            "The second item is the budget.",
            "Marketing asked for fifteen more servers.",
        ],
        key_point_sources=[[3], [10], [11]],
        action_items=[
            ActionItem(text="The action item for David is to finish the test plan.", owner="David", sources=[9]),
            ActionItem(
                text="Laura will review the budget before lunch.", owner="Laura", due="before lunch", sources=[13]
            ),
        ],
        keywords=["test plan", "budget", "release", "finish", "review", "Marketing", "schedule", "proposal"],
    )


def test_golden_korean() -> None:
    draft = extract(talk(KOREAN, "ko"))
    assert draft.title == "신제품, 출시, 디자인"
    assert draft.summary == (
        "오늘 회의의 주제는 신제품 출시 일정입니다. 디자인 팀은 신제품 포장 디자인을 완료했습니다. "
        "출시 일정이 두 주 늦어질 것 같습니다."
    )
    assert draft.action_items == [
        ActionItem(text=KOREAN[4], owner="김민수 과장님", due="금요일", sources=[4]),
        ActionItem(text=KOREAN[6], sources=[6]),
    ]


def test_golden_chinese() -> None:
    draft = extract(talk(CHINESE, "zh"))
    assert draft.title.startswith("语音识别")
    assert draft.summary == "今天我们讨论语音识别项目的预算。下周五之前提交语音识别项目的报告。"


@pytest.mark.parametrize("texts", [MEETING, KOREAN, CHINESE, CONSULTATION])
@pytest.mark.parametrize("style", [*STYLES, "unheard of"])
def test_it_says_nothing_that_was_not_said_and_cites_where_it_was(texts: tuple[str, ...], style: str) -> None:
    draft = extract(talk(texts), style)
    said = " ".join(texts)
    assert draft.summary
    told = [part.text for part in draft.sections] or [draft.summary]
    assert all(
        sentence in said for text in told for row in text.split("\n") for sentence in sentences(row.removeprefix("- "))
    )
    assert len(draft.key_points) == len(draft.key_point_sources)
    for point, sources in zip(draft.key_points, draft.key_point_sources, strict=True):
        assert [point in texts[at] for at in sources] == [True]
    assert all(item.text in texts[at] for item in draft.action_items for at in item.sources or [-1])


LONG_TASKS = (
    *(f"Laura will send the {word} of the {'very ' * 80}old project to the customer." for word in ("map", "plan")),
    "We have to find out who pays for the servers.",
    "박지영 팀장님이 내일 재무팀과 예산을 논의하기로 했습니다.",
    *MEETING,
)


@pytest.mark.parametrize("texts", [MEETING, KOREAN, CHINESE, CONSULTATION, STATUS, STATUS_KOREAN, LONG_TASKS])
@pytest.mark.parametrize("style", STYLES)
def test_a_sentence_stands_in_one_list_only(texts: tuple[str, ...], style: str) -> None:
    """Lists cut long sentences at different lengths, so beginnings are compared."""
    digest = None
    for begin in range(0, len(texts), 20):  # as a talk that goes on, too
        segments = talk(texts).segments[begin : begin + 20]
        digest = extractive.extract(segments, STYLES[style], "en", digest)
        for draft in (digest.draft, extract(talk(texts[: begin + 20]), style)):
            tasks = [item.text for item in draft.action_items]
            rows = [row for part in draft.sections if part.name != "discussion" for row in part.text.split("\n")]
            told = [*draft.key_points, *tasks, *(rows if style == "minutes" else [])]
            begun = [text.casefold()[:150] for text in told if text]
            assert len(set(begun)) == len(begun)
            assert not {text[:150] for text in draft.key_points} & {row[:150] for row in rows}


def test_a_meeting_as_people_talk() -> None:
    """Greetings, yeses and questions are told by nobody; decisions are, and who does what."""
    for texts, language in ((STATUS, "en"), (STATUS_KOREAN, "ko")):
        draft = extract(talk(texts, language), "minutes")
        everything = (
            [part.text for part in draft.sections] + draft.key_points + [one.text for one in draft.action_items]
        )
        for noise in ("hear me", "Sounds good", "thank you", "좋습니다.", "들립니다", "수고하셨", "시작하겠습니다"):
            assert not any(noise in text for text in everything)
        assert not any(point.endswith("?") for point in draft.key_points)
    draft = extract(talk(STATUS), "minutes")
    sections = {part.name: part.text.split("\n") for part in draft.sections}
    assert sections["decisions"] == [
        "We agreed to do the final switch on Sunday the fourteenth.",
        "We decided to release the app without the French translation and add it in the next version.",
    ]
    assert [(item.owner, item.due) for item in draft.action_items if item.owner] == [
        ("Support", "the end of next week"),
        ("Tom", None),
        ("Maria", "tomorrow"),
    ]


def test_minutes_tell_decisions_and_open_questions_apart() -> None:
    texts = [*MEETING, "Who pays for the servers is still open.", "We agreed to meet on Monday."]
    sections = {part.name: part.text.split("\n") for part in extract(talk(texts), "minutes").sections}
    assert sections["decisions"] == ["We decided to publish the release next week.", "We agreed to meet on Monday."]
    assert sections["open_questions"] == ["Who pays for the servers is still open."]
    assert not set(sections["decisions"] + sections["open_questions"]) & set(sections["discussion"])


def test_minutes_in_korean_have_korean_labels() -> None:
    texts = [*KOREAN, "출시를 다음 달로 연기하기로 했습니다.", "광고 예산은 아직 미정입니다."]
    sections = {part.label: part.text for part in extract(talk(texts, "ko"), "minutes").sections}
    assert sections["결정 사항"] == "출시를 다음 달로 연기하기로 했습니다."
    assert sections["미결 사항"] == "광고 예산은 아직 미정입니다."


def test_a_consultation_has_its_fields() -> None:
    sections = {part.name: part.text.split("\n") for part in extract(talk(CONSULTATION), "consultation").sections}
    assert sections == {
        "complaint": [CONSULTATION[1], CONSULTATION[2]],
        "findings": [CONSULTATION[4], CONSULTATION[5]],
        "recommendation": [CONSULTATION[6], CONSULTATION[7], CONSULTATION[8]],
    }


def test_a_talk_that_is_no_consultation_is_summed_up_all_the_same() -> None:
    draft = extract(talk(), "consultation")
    assert not draft.sections
    assert draft.summary


def test_a_talk_that_goes_on_costs_what_is_new_and_forgets_nothing_that_was_to_be_done() -> None:
    of = talk([f"{text[:-1]} in round {at}." for at, text in enumerate(MEETING * 100)])
    digest = None
    for begin in range(0, 1600, 100):
        digest = extractive.extract(of.segments[begin : begin + 100], STYLES["brief"], "en", digest)
        assert len(digest.kept) <= extractive.KEPT
        assert max(source for sources in digest.draft.key_point_sources for source in sources) < begin + 100
    assert digest is not None
    assert {item.sources[0] for item in digest.draft.action_items if item.sources} >= {1593, 1597}
    # What was said at the beginning can still be told: it is not only the end.
    assert min(said.segment for said in digest.kept) < 400


def test_the_same_in_another_process() -> None:
    """Nothing depends on the order of a set or on a hash."""
    code = (
        "from convod.summary import STYLES; from convod.summary.extractive import extract; "
        "from tests.fakes.talks import *; "
        "print(*(extract(talk(t).segments, STYLES['minutes']).draft for t in (MEETING, KOREAN, CHINESE)))"
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


# How words are told apart by script is the same in a shorter talk.
@pytest.mark.parametrize(("script", "sentences"), [("en", 10_000), ("ko", 2500), ("zh", 2500)])
def test_eight_hours(script: str, sentences: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost grows with the words and not with the pairs of sentences: steps are counted, not seconds."""
    links = 0
    step = extractive.step

    def counted(rows: list[tuple[list[int], list[float]]], *rest: object) -> list[float]:
        nonlocal links
        links += sum(len(numbers) for numbers, _ in rows)
        return step(rows, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(extractive, "step", counted)
    rng = random.Random(1)
    words = {
        "en": ["".join(rng.choices("abcdefghij", k=rng.randint(3, 9))) for _ in range(6000)],
        "ko": ["".join(rng.choices([chr(0xAC00 + at) for at in range(900)], k=3)) for _ in range(6000)],
        "zh": [chr(0x4E00 + at) for at in range(2000)],
    }[script]
    weights = list(accumulate(1 / (rank + 1) for rank in range(len(words))))
    glue = "" if script == "zh" else " "
    texts = [glue.join(rng.choices(words, cum_weights=weights, k=rng.randint(5, 15))) + "." for _ in range(sentences)]
    draft = extract(talk(texts))
    assert draft.summary
    assert len(draft.keywords) == 8
    assert links <= sentences * extractive.TERMS * (extractive.STEPS + 1)
