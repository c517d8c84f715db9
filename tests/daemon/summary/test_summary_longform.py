"""Talks of any length end in one draft, and no question is larger than the model's context."""

from __future__ import annotations

import re

import pytest
import trio

from convo.messages import ActionItem, Segment
from convod.summary import STYLES, SummarizerUnavailable, Transcript
from convod.summary.base import ChatMessage, PromptTooLong
from convod.summary.longform import (
    Ask,
    Line,
    Notes,
    Work,
    pieces_of,
    room_in,
    split,
    summarise,
    update,
)
from convod.summary.parse import Draft
from convod.summary.prompt import Wanted, for_whole
from convod.summary.tokens import UPPER
from tests.fakes.talks import talk

WANTED = Wanted(style=STYLES["brief"], language="en")


class Model:
    """Answers with what it saw; fails where it is told to."""

    def __init__(self, *, reads: int = 1_000_000) -> None:
        self.reads = reads
        self.questions: list[list[ChatMessage]] = []
        self.shown: list[bool] = []
        self.fail_at = 0
        self.room_made = False
        self.cites: list[int] = []

    async def ask(self, question: list[ChatMessage], answer_tokens: int, show: bool) -> Draft:
        await trio.lowlevel.checkpoint()
        self.questions.append(question)
        self.shown.append(show)
        if len(self.questions) == self.fail_at:
            raise SummarizerUnavailable("away")
        if UPPER.of_messages(question) + answer_tokens > self.reads:
            raise PromptTooLong(again=self.room_made)
        seen = re.findall(r"#\d+", question[1]["content"])
        return Draft(
            title=f"{len(seen)} segments",
            summary=" ".join(seen[:200]),
            key_points=[f"point {seen[0] if seen else ''}"],
            key_point_sources=[[*self.cites, 1_000_000]],
            action_items=[ActionItem(text="act", owner="Ann", due="Friday", sources=[*self.cites, 1_000_000])],
            keywords=["k"],
        )


async def summary_of(model: Model, count: int, context: int, notes: Notes | None = None) -> Draft:
    texts = [f"#{at} and then somebody said something about it." for at in range(count)]
    return await summarise(talk(texts), WANTED, work(model.ask, context, notes))


def work(ask: Ask, context: int, notes: Notes | None = None) -> Work:
    return Work(ask=ask, notes=notes or Notes(), writer="m", context_tokens=context)


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
    parts = split([Line(at, "word " * 20) for at in range(101)], 700)
    sizes = [sum(line.tokens() for line in part) for part in parts]
    assert max(sizes) <= 700
    assert min(sizes) > 0.7 * max(sizes)


@pytest.mark.parametrize("text", ["word " * 5000, "한국어" * 5000, "x" * 20_000, "1" * 3000], ids=lambda text: text[:3])
def test_a_segment_longer_than_a_part_is_cut(text: str) -> None:
    parts = split(pieces_of([Line(7, "before"), Line(8, text), Line(9, "after")], 400), 400)
    assert all(sum(line.tokens() for line in part) <= 400 for part in parts)
    lines = [line for part in parts for line in part]
    assert {line.number for line in lines[1:-1]} == {8}
    joined = "".join(line.text for line in lines)
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
    draft = await summarise(talk(texts), WANTED, work(ask, 16384))
    assert draft.title == "300 segments"
    assert model.questions[0] == model.questions[1]
    assert model.shown == [True, True]


async def test_a_model_that_reads_nothing_is_a_clear_error() -> None:
    with pytest.raises(SummarizerUnavailable, match="context"):
        await summary_of(Model(reads=10), 100, 16384)


async def test_a_context_too_small_for_any_talk() -> None:
    model = Model()
    with pytest.raises(SummarizerUnavailable, match="A context of 512 tokens is too small") as caught:
        await summary_of(model, 5, 512)
    assert not caught.value.retry
    assert not model.questions


def test_room_is_what_is_left() -> None:
    question = for_whole([], WANTED)
    room = room_in(4096, question)
    assert room.answer == 1024
    assert room.data + room.answer + UPPER.of_messages(question) == 4096


async def test_citations_are_of_segments_that_the_question_showed() -> None:
    model = Model()
    model.cites = [3, 49, 50]
    draft = await summary_of(model, 50, 8192)
    assert draft.key_point_sources == [[3, 49]]
    assert draft.action_items[0].sources == [3, 49]


async def test_citations_survive_the_merge_and_only_those_of_the_notes_may_be_repeated() -> None:
    model = Model()
    model.cites = list(range(0, 400, 40))
    draft = await summary_of(model, 400, 4096)
    assert len(model.questions) > 2
    last = model.questions[-1][1]["content"]
    cited = {int(found) for found in re.findall(r"\d+", " ".join(re.findall(r"\[([\d, ]+)\]", last)))}
    assert cited == set(model.cites)
    assert draft.cited == set(model.cites)
    # Each part could cite only what it saw.
    first = model.questions[0][1]["content"]
    assert "[0] #0 and" in first
    assert "[399] #399 and" not in first


# --- a talk that goes on ----------------------------------------------------------------------------------


def since(segments: list[Segment]) -> Transcript:
    return Transcript("", "en", segments)


def fresh(begin: int, end: int) -> list[Segment]:
    texts = [f"#{at} and then somebody said something about it." for at in range(end)]
    return list(talk(texts).segments[begin:])


async def test_an_update_sees_the_last_draft_and_what_is_new_only() -> None:
    model = Model()
    model.cites = [7, 105, 300]
    before = Draft(
        title="So it was", summary="What was said.", key_points=["k"], key_point_sources=[[7]], keywords=["old"]
    )
    draft = await update(before, since(fresh(100, 110)), WANTED, work(model.ask, 8192))
    (question,) = model.questions
    data = question[1]["content"]
    assert "So far: So it was\nWhat was said.\n- k [7]\nKeywords: old\nSaid since:\n[100] #100 and" in data
    assert re.findall(r"#\d+", data) == [f"#{at}" for at in range(100, 110)]
    assert draft.key_point_sources == [[7, 105]]
    assert model.shown == [True]


async def test_the_cost_of_an_update_does_not_grow_with_the_talk() -> None:
    model = Model()
    draft = Draft(title="", summary="")
    for begin in range(0, 10_000, 50):
        draft = await update(draft, since(fresh(begin, begin + 50)), WANTED, work(model.ask, 8192))
    sizes = [UPPER.of_messages(question) for question in model.questions]
    assert len(sizes) == 200
    assert max(sizes) < 1.5 * sizes[2]


async def test_more_news_than_fit_go_one_after_the_other() -> None:
    model = Model(reads=4096)
    await update(Draft(title="", summary=""), since(fresh(0, 400)), WANTED, work(model.ask, 4096))
    seen = [found for question in model.questions for found in re.findall(r"\[(\d+)\] #", question[1]["content"])]
    assert seen == [str(at) for at in range(400)]
    assert model.shown == [False] * (len(model.shown) - 1) + [True]


async def test_an_update_that_was_cut_goes_in_smaller_parts() -> None:
    model = Model(reads=3000)  # the server says 16384
    draft = await update(Draft(title="", summary="x"), since(fresh(0, 300)), WANTED, work(model.ask, 16384))
    assert draft.summary
    assert len(model.questions) > 2
