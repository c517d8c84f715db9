"""Talks of any length end in one draft, and no question is larger than the model's context."""

from __future__ import annotations

import random
import re

import pytest
import trio

from convo.messages import ActionItem
from convod.summary import SummarizerUnavailable
from convod.summary.base import ChatMessage, PromptTooLong
from convod.summary.longform import Notes, estimate_messages, estimate_tokens, room_in, split, summarise
from convod.summary.parse import Draft
from convod.summary.prompt import Wanted, for_talk
from tests.fakes.talks import talk

WANTED = Wanted(style="brief", language="en")


class Model:
    """Answers with what it saw; fails where it is told to."""

    def __init__(self, *, reads: int = 1_000_000) -> None:
        self.reads = reads
        self.questions: list[list[ChatMessage]] = []
        self.shown: list[bool] = []
        self.fail_at = 0
        self.room_made = False

    async def ask(self, question: list[ChatMessage], answer_tokens: int, show: bool) -> Draft:
        await trio.lowlevel.checkpoint()
        self.questions.append(question)
        self.shown.append(show)
        if len(self.questions) == self.fail_at:
            raise SummarizerUnavailable("away")
        if estimate_messages(question) + answer_tokens > self.reads:
            raise PromptTooLong(again=self.room_made)
        seen = re.findall(r"#\d+", question[1]["content"])
        return Draft(
            title=f"{len(seen)} segments",
            summary=" ".join(seen[:200]),
            key_points=[f"point {seen[0] if seen else ''}"],
            action_items=[ActionItem(text="act", owner="Ann", due="Friday")],
            keywords=["k"],
        )


async def summary_of(model: Model, count: int, context: int, notes: Notes | None = None) -> Draft:
    texts = [f"#{at} and then somebody said something about it." for at in range(count)]
    return await summarise(
        talk(texts), WANTED, context_tokens=context, ask=model.ask, notes=notes or Notes(), writer="m"
    )


async def test_what_fits_is_one_question_and_is_shown() -> None:
    model = Model()
    draft = await summary_of(model, 50, 8192)
    assert draft.title == "50 segments"
    assert model.shown == [True]


@pytest.mark.parametrize(("count", "context"), [(400, 4096), (1000, 2048), (10_000, 8192), (3000, 1536)])
async def test_every_segment_is_seen_once_and_every_question_fits(count: int, context: int) -> None:
    model = Model(reads=context)
    await summary_of(model, count, context)
    parts = [q[1]["content"] for q in model.questions if "<transcript>" in q[1]["content"]]
    seen = [found for part in parts for found in re.findall(r"#\d+", part)]
    assert seen == [f"#{at}" for at in range(count)]
    # All but the last question are work behind the scenes.
    assert model.shown == [False] * (len(model.questions) - 1) + [True]
    assert "<notes>" in model.questions[-1][1]["content"]


async def test_parts_are_about_equally_long() -> None:
    parts = split(["word " * 20] * 101, 700)
    sizes = [sum(estimate_tokens(text) + 1 for text in part) for part in parts]
    assert max(sizes) <= 700
    assert min(sizes) > 0.7 * max(sizes)


@pytest.mark.parametrize("text", ["word " * 5000, "한국어" * 5000, "x" * 20_000, "1" * 3000], ids=lambda text: text[:3])
def test_a_segment_longer_than_a_part_is_cut(text: str) -> None:
    parts = split(["before", text, "after"], 400)
    assert all(sum(estimate_tokens(piece) + 1 for piece in part) <= 400 for part in parts)
    joined = "".join(piece for part in parts for piece in part)
    assert joined.replace(" ", "") == f"before{text}after".replace(" ", "")


async def test_a_failure_in_a_late_part_does_not_cost_the_early_ones() -> None:
    notes = Notes()
    model = Model(reads=2048)
    model.fail_at = 6
    with pytest.raises(SummarizerUnavailable):
        await summary_of(model, 500, 2048, notes)
    again = Model(reads=2048)
    await summary_of(again, 500, 2048, notes)
    assert again.questions[0] == model.questions[5]


async def test_a_prompt_that_was_cut_is_asked_in_smaller_parts() -> None:
    model = Model(reads=4096)  # the server says 16384
    draft = await summary_of(model, 600, 16384)
    assert "<notes>" in model.questions[-1][1]["content"]
    assert draft.summary


async def test_the_same_is_asked_again_when_room_was_made() -> None:
    model = Model(reads=4096)
    model.room_made = True

    async def ask(question: list[ChatMessage], answer_tokens: int, show: bool) -> Draft:
        try:
            return await model.ask(question, answer_tokens, show)
        finally:
            model.reads = 16384

    texts = [f"#{at} and then somebody said something about it." for at in range(300)]
    draft = await summarise(talk(texts), WANTED, context_tokens=16384, ask=ask, notes=Notes(), writer="m")
    assert draft.title == "300 segments"
    assert model.questions[0] == model.questions[1]
    assert model.shown == [True, False]  # what was shown of the first is not shown twice


async def test_a_model_that_reads_nothing_is_a_clear_error() -> None:
    with pytest.raises(SummarizerUnavailable, match="context"):
        await summary_of(Model(reads=10), 100, 16384)


async def test_a_context_too_small_for_any_talk() -> None:
    model = Model()
    with pytest.raises(SummarizerUnavailable, match="A context of 512 tokens is too small") as caught:
        await summary_of(model, 5, 512)
    assert not caught.value.retry
    assert not model.questions


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("The quick brown fox jumps over the lazy dog and goes home.", 13, 22),  # 13 tokens in common vocabularies
        ("오늘 회의의 주제는 신제품 출시 일정입니다.", 12, 35),
        ("今天我们讨论语音识别项目的预算。", 10, 25),
        ("сегодня мы обсуждаем бюджет", 8, 24),
        ("2025-01-31 12:00", 10, 20),
        ("", 1, 1),
    ],
)
def test_the_estimate_holds_for_any_script(text: str, least: int, most: int) -> None:
    assert least <= estimate_tokens(text) <= most


def test_an_estimate_never_shrinks_when_text_is_added() -> None:
    rng = random.Random(5)
    text = ""
    before = 0
    for _ in range(300):
        text += rng.choice("ab 1.,é한中😀\n\x00")
        assert estimate_tokens(text) >= before
        before = estimate_tokens(text)


def test_room_is_what_is_left() -> None:
    question = for_talk([], WANTED)
    room = room_in(4096, question)
    assert room.answer == 1024
    assert room.data + room.answer + estimate_messages(question) == 4096
