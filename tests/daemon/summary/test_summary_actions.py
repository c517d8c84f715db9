"""Who does what until when, by the words that announce it."""

from __future__ import annotations

import pytest

from convod.summary.actions import action_item
from convod.summary.cues import consultation_field, is_decision, is_open

FOUND = [
    ("The action item for David is to finish the test plan.", "David", None),
    ("Laura will review the budget before lunch.", "Laura", "before lunch"),
    ("I will take notes today.", None, "today"),
    ("David, can you send the contract by Friday?", "David", "Friday"),
    ("Please send the minutes tomorrow.", None, "tomorrow"),
    ("Laura agreed to write the report by Friday.", "Laura", "Friday"),
    ("The mobile team needs to fix the login by the end of the week.", "mobile team", "the end of the week"),
    ("Can you check the logs, Kevin?", "Kevin", None),
    ("We'll ship it on March 3rd.", None, "March 3rd"),
    ("Anna Schmidt has to update the slides by 2025-03-01.", "Anna Schmidt", "2025-03-01"),
    ("Dr. Smith will call the lab tomorrow morning.", "Dr. Smith", "tomorrow morning"),
    ("Marketing should publish the post within two weeks.", "Marketing", "within two weeks"),
    ("Then Sarah'll book a room for Tuesday afternoon.", "Sarah", "Tuesday afternoon"),
    ("Everyone must fill in the form until Monday.", "Everyone", "until Monday"),
    ("To-do: order the cables", None, None),
    ("김민수 과장님이 금요일까지 보고서를 보내야 합니다.", "김민수 과장님", "금요일"),
    ("제가 내일까지 자료를 정리하겠습니다.", None, "내일"),
    ("디자인팀에서 다음 주 월요일까지 시안을 공유해 주세요.", "디자인팀", "다음 주 월요일"),
    ("박지성이 3월 5일까지 계약서를 검토해야 해요.", "박지성", "3월 5일"),
    ("김민수 과장님이 다음 주까지 초안을 쓰기로 했습니다.", "김민수 과장님", "다음 주"),
    ("이영희 씨, 오후 3시까지 메일을 보내 주세요.", "이영희 씨", "오후 3시"),
    ("I'll have a draft by Wednesday.", None, "Wednesday"),
    ("Tom, please give us an update by Friday.", "Tom", "Friday"),
    ("다음 주까지 개발을 시작하겠습니다.", None, "다음 주"),
    ("금요일까지 진행 상황을 공유해 주세요.", None, "금요일"),
    ("For next week, please read chapter eleven.", None, "next week"),
    ("다음 주까지 연습 문제를 풀어 오세요.", None, "다음 주"),
    ("제가 직접 고쳐야 합니다.", None, None),
]
NOT_FOUND = [
    "Priya, can you give us an update?",
    "I will do that.",
    "한번 볼게요.",
    "다시 오세요.",
    "We will have a problem.",
    "오늘은 예산에 대해서 이야기하겠습니다.",
    "먼저 진행 상황을 공유해 주세요.",
    "두 서버의 비용을 모두 내야 합니다.",  # nobody, and no day
    "We decided to publish the release next week.",  # a decision is nobody's task
    "최종안은 다음 주까지 확정하기로 했습니다.",
    "Could you repeat that, please?",
    "It will take about three days.",
    "That will be fine.",
    "Who will take this one?",
    "Wendy is flying to Rome on Saturday.",
    "We need a decision today.",
    "There should be more servers.",
    "Please speak a little louder.",
    "Laura will be late.",
    "알겠습니다.",
    "회의를 시작하겠습니다.",
    "오늘 날씨가 좋네요.",
    "他明天来。",
    "",
]


@pytest.mark.parametrize(("text", "owner", "due"), FOUND)
def test_found(text: str, owner: str | None, due: str | None) -> None:
    item = action_item(text)
    assert item is not None
    assert (item.text, item.owner, item.due) == (text, owner, due)


@pytest.mark.parametrize("text", NOT_FOUND)
def test_not_found(text: str) -> None:
    assert action_item(text) is None


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("I will send the minutes tomorrow.", "Ann"),
        ("I'll send the minutes tomorrow.", "Ann"),
        ("Okay, I’m going to book the room.", "Ann"),
        ("I'll have a draft by Wednesday.", "Ann"),
        ("We will ship it on Friday.", None),  # one of us
        ("We'll have a draft by Wednesday.", None),
        ("I think we should call the lab.", None),
        ("Ben will call the lab.", "Ben"),
        ("Ben, can you call the lab?", "Ben"),
        ("Please call the lab.", None),
        ("To-do: order the cables", None),
        ("제가 내일까지 자료를 정리하겠습니다.", "Ann"),
        ("다음 주까지 개발을 시작하겠습니다.", "Ann"),
        ("우리가 내일까지 자료를 정리하겠습니다.", None),
        ("금요일까지 진행 상황을 공유해 주세요.", None),
        ("김민수 과장님이 금요일까지 보고서를 보내야 합니다.", "김민수 과장님"),
    ],
)
def test_the_speaker_who_promises_it_is_the_owner(text: str, owner: str | None) -> None:
    item = action_item(text, "Ann")
    assert item is not None
    assert item.owner == owner


def test_no_sentence_takes_long() -> None:
    """No pattern backtracks without bound, however long and strange a sentence is."""
    for text in (
        "A" * 20_000,
        "Aa " * 7000,
        "the x " * 5000,
        "please " * 5000,
        "and, " * 5000,
        "가" * 20_000,
        "네 " * 9000,
    ):
        action_item(text)
        is_decision(text)
        is_open(text)
        consultation_field(text)
        action_item(f"{text} will do it by Friday")
