"""Talks for tests of summaries."""

from __future__ import annotations

from collections.abc import Iterable

from convo.messages import Segment
from convod.summary import Talk

MEETING = (
    "Good morning everyone.",
    "Let us get started.",
    "The first item is the release.",
    "The mobile team finished the payment system on Friday.",
    "I think the test plan is behind schedule.",
    "How long will it take to finish the test plan?",
    "It will take about three days.",
    "We decided to publish the release next week.",
    "That makes sense.",
    "The action item for David is to finish the test plan.",
    "The second item is the budget.",
    "Marketing asked for fifteen more servers.",
    "Let us review the budget first, and then send the proposal.",
    "Laura will review the budget before lunch.",
    "Thanks, that is all from me.",
    "See you next week.",
)
KOREAN = (
    "안녕하세요. 오늘 회의의 주제는 신제품 출시 일정입니다.",
    "디자인 팀은 신제품 포장 디자인을 완료했습니다.",
    "출시 일정이 두 주 늦어질 것 같습니다.",
    "예산은 충분하지만 인력이 부족합니다.",
    "김민수 과장님이 금요일까지 출시 계획을 다시 작성해야 합니다.",
    "네 알겠습니다.",
    "신제품 광고 예산도 검토해 주세요.",
)
CONSULTATION = (
    "Good morning, what brings you here?",
    "I have had a sore throat since Monday.",
    "And a fever since yesterday.",
    "Let me have a look.",
    "Your temperature is thirty eight point five.",
    "The throat looks inflamed.",
    "I would recommend to rest and drink a lot.",
    "Take these tablets twice a day for five days.",
    "Please come back on Friday if it is no better.",
    "Thank you, doctor.",
)
CHINESE = (
    "大家好。今天我们讨论语音识别项目的预算。",
    "语音识别模型的准确率提高了很多。",
    "但是预算不够，需要申请更多资金。",
    "下周五之前提交语音识别项目的报告。",
    "好的，谢谢。",
)


def talk(texts: Iterable[str] = MEETING, language: str = "en", title: str = "") -> Talk:
    """A talk of these segments, one a second."""
    segments = [
        Segment(segment=at, start=float(at), end=at + 0.9, text=text, language=language, confidence=0.9)
        for at, text in enumerate(texts)
    ]
    return Talk(title=title, language=language, segments=segments)
