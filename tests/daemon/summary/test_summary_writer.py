"""One question to a scripted model: what counts as alive, as cut, as too much, and when it is asked again."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from convod.summary import STYLES, SummarizerUnavailable
from convod.summary.base import AnswerCut, ChatMessage, ProbeResult, PromptTooLong, Question
from convod.summary.prompt import Wanted
from convod.summary.writer import Asked, write_draft
from tests.daemon.support.summaries import Shown

QUESTION: list[ChatMessage] = [{"role": "system", "content": "rules"}, {"role": "user", "content": "data"}]
WANTED = Wanted(style=STYLES["brief"], language="en")
GOOD = json.dumps({"title": "t", "summary": "They spoke.", "key_points": ["a", "b"]})

Script = list[str | float | Exception]
"""Pieces, pauses in seconds, and errors, in order."""


@dataclass
class Scripted:
    scripts: list[Script]
    name: str = "scripted"
    asked: list[list[ChatMessage]] = field(default_factory=list)
    closed: int = 0

    async def probe(self, model: str) -> ProbeResult:
        raise NotImplementedError

    async def context_tokens(self, model: str) -> int:
        raise NotImplementedError

    async def complete(self, question: Question) -> AsyncGenerator[str, None]:
        self.asked.append(list(question.messages))
        try:
            for step in self.scripts.pop(0):
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, float):
                    await trio.sleep(step)
                else:
                    await trio.lowlevel.checkpoint()
                    yield step
        finally:
            self.closed += 1


async def drafted(provider: Scripted) -> tuple[str, list[str], str]:
    shown = Shown()
    asked = Asked(provider=provider, model="m", context_tokens=4096, silence_s=10.0, total_s=100.0)
    draft = await write_draft(asked, QUESTION, WANTED, 1024, shown)
    assert provider.closed == len(provider.asked)
    return draft.summary, draft.key_points, shown.text


async def test_an_answer_in_pieces(autojump_clock: trio.testing.MockClock) -> None:
    provider = Scripted([[9.0, GOOD[:20], 9.0, GOOD[20:30], GOOD[30:]]])
    assert await drafted(provider) == ("They spoke.", ["a", "b"], "They spoke.")


async def test_empty_pieces_are_signs_of_life(autojump_clock: trio.testing.MockClock) -> None:
    provider = Scripted([[9.0, "", 9.0, "", 9.0, "", 9.0, GOOD]])
    assert (await drafted(provider))[0] == "They spoke."


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ([11.0, GOOD], r"m at scripted wrote nothing for 10 s.*first_token_timeout_s"),
        ([GOOD[:20], 11.0, GOOD[20:]], r"m at scripted wrote nothing for 10 s"),
        (["", 9.0] * 20, r"m at scripted was not done after 100 s.*total_timeout_s"),
    ],
)
async def test_patience_ends(script: Script, message: str, autojump_clock: trio.testing.MockClock) -> None:
    provider = Scripted([script])
    with pytest.raises(SummarizerUnavailable, match=message):
        await drafted(provider)
    assert provider.closed == 1


async def test_an_answer_cut_after_its_summary_is_used() -> None:
    provider = Scripted([[GOOD[:-1], AnswerCut()]])
    assert await drafted(provider) == ("They spoke.", ["a", "b"], "They spoke.")


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_thoughts_that_never_began_are_neither_shown_nor_kept(size: int) -> None:
    text = GOOD.replace("They", "Perhaps they") + "\n</think>\n" + GOOD
    provider = Scripted([[text[at : at + size] for at in range(0, len(text), size)]])
    assert await drafted(provider) == ("They spoke.", ["a", "b"], "They spoke.")


async def test_an_answer_cut_in_its_summary_is_asked_again_and_shown_anew() -> None:
    provider = Scripted([[GOOD[:30], AnswerCut()], [GOOD.replace("They spoke", "We spoke")]])
    summary, _, shown = await drafted(provider)
    assert summary == shown == "We spoke."
    assert provider.asked[1][1]["content"].startswith("data\n\nThat answer could not be used.")


async def test_a_model_that_runs_in_circles_is_stopped() -> None:
    endless: Script = ['{"summary": "a", "key_points": ['] + ['"again", ' * 100] * 10_000  # type: ignore[operator]
    summary, points, _ = await drafted(Scripted([endless]))
    assert (summary, points) == ("a", ["again"])


@pytest.mark.parametrize("error", [PromptTooLong(again=True), SummarizerUnavailable("gone")])
async def test_errors_of_the_provider_pass(error: Exception) -> None:
    provider = Scripted([[GOOD[:10], error]])
    with pytest.raises(type(error)):
        await drafted(provider)


async def test_two_useless_answers() -> None:
    with pytest.raises(
        SummarizerUnavailable, match="m at scripted gave an empty answer, then no JSON object"
    ) as caught:
        await drafted(Scripted([[""], ["no"]]))
    assert caught.value.retry


async def test_cancelling_closes_the_generator() -> None:
    provider = Scripted([["", 1e9]])
    with trio.CancelScope() as scope:
        scope.cancel()
        await drafted(provider)
    assert provider.closed == len(provider.asked)
