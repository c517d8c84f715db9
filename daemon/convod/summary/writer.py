"""Ask a model one question, until there is a valid draft or a sentence that says why there is none.

In: a provider and a question. Out: a draft, and the summary's text while it grows. It enforces the time-outs,
because every provider would do it alike, and asks once more when an answer cannot be used. It never decides
what is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
import trio

from convod.summary.base import AnswerCut, ChatMessage, Provider, Question, Show, SummarizerUnavailable
from convod.summary.parse import BadAnswer, Draft, Labels, ThoughtsEnd, parse_answer
from convod.summary.preview import SummaryText
from convod.summary.prompt import Wanted, once_more, schema

log = logging.getLogger("convod.summary")

_ANSWER_CHARS: Final = 200_000
"""A model that writes more characters than this repeats itself."""


@dataclass(frozen=True)
class Asked:
    """Where a question goes, and what it may cost in tokens and seconds.

    `silence_s` is the longest time between two signs of life of the model, `total_s` that of a whole answer.
    """

    provider: Provider
    model: str
    context_tokens: int
    silence_s: float
    total_s: float
    learn: Callable[[Sequence[ChatMessage], int], None] = lambda *_: None
    """Told what a prompt did cost, in tokens, if the provider knows."""

    @property
    def who(self) -> str:
        """For sentences."""
        return f"{self.model} at {self.provider.name}"


@dataclass(frozen=True)
class Answer:
    """What a model wrote."""

    text: str
    cut: bool
    """It ended because there was no more room."""


async def write_draft(
    asked: Asked,
    messages: Sequence[ChatMessage],
    wanted: Wanted,
    answer_tokens: int,
    show: Show | None,
) -> Draft:
    """Ask, show the summary as it is written, check the answer.

    A second question, after an answer that could not be used, is shown from its beginning.

    Raises:
        SummarizerUnavailable: no answer in time, a failing server, or two answers that cannot be used.
        PromptTooLong: the model did not see the whole question.
    """
    labels = wanted.labels
    question = Question(
        messages=messages,
        schema=schema(wanted.style),
        model=asked.model,
        context_tokens=asked.context_tokens,
        answer_tokens=answer_tokens,
    )
    answer, ended = await _shown(asked, question, labels, show)
    try:
        if not answer.cut or ended:
            return parse_answer(answer.text, labels, closing=answer.cut)
        reason = "an answer that was cut off"
    except BadAnswer as error:
        reason = str(error)
    log.warning("%s gave %s; it is asked once more", asked.who, reason)
    answer, _ = await _shown(asked, msgspec.structs.replace(question, messages=once_more(messages)), labels, show)
    try:
        return parse_answer(answer.text, labels, closing=True)
    except BadAnswer as error:
        raise useless(asked, reason, error) from error


def useless(asked: Asked, reason: str, error: BadAnswer) -> SummarizerUnavailable:
    """What to say of a model that gave two answers that cannot be used."""
    return SummarizerUnavailable(f"{asked.who} gave {reason}, then {error}: try again, or choose another model")


async def _shown(asked: Asked, question: Question, labels: Labels, show: Show | None) -> tuple[Answer, bool]:
    """The answer, and whether the end of its summary came; the summary is shown as it is written."""
    summary, begun = SummaryText(labels), False
    thoughts = ThoughtsEnd()

    def took(piece: str) -> None:
        nonlocal summary, begun
        if (behind := thoughts.feed(piece)) is not None:
            # What was shown until now were thoughts.
            summary, begun, piece = SummaryText(labels), False, behind
        if (added := summary.feed(piece)) and show is not None:
            show(added, not begun)
            begun = True

    answer = await ask(asked, question, took)
    return answer, summary.ended


async def ask(asked: Asked, question: Question, took: Callable[[str], None]) -> Answer:
    """Ask a model, within its time-outs; `took` gets each piece of the answer as it comes.

    Raises:
        SummarizerUnavailable: no answer in time, or a failing server.
        PromptTooLong: the model did not see the whole question.
    """
    pieces: list[str] = []
    length = 0
    cut = False
    question = msgspec.structs.replace(question, counted=partial(asked.learn, question.messages))
    stream = asked.provider.complete(question)
    deadline = trio.current_time() + asked.total_s
    async with aclosing(stream):
        while length < _ANSWER_CHARS:
            # A time-out is a cancellation inside the generator: it ends there, and the request with it.
            with trio.CancelScope(deadline=min(deadline, trio.current_time() + asked.silence_s)) as patience:
                try:
                    piece = await anext(stream)
                except StopAsyncIteration:
                    break
                except AnswerCut:
                    cut = True
                    break
            if patience.cancelled_caught:
                raise _timed_out(asked, total=trio.current_time() >= deadline)
            pieces.append(piece)
            length += len(piece)
            took(piece)
    return Answer(text="".join(pieces), cut=cut or length >= _ANSWER_CHARS)


def _timed_out(asked: Asked, *, total: bool) -> SummarizerUnavailable:
    waited, setting = (
        (f"was not done after {asked.total_s:g} s", "total_timeout_s")
        if total
        else (f"wrote nothing for {asked.silence_s:g} s", "first_token_timeout_s")
    )
    return SummarizerUnavailable(f"{asked.who} {waited}: choose a smaller model, or raise {setting} under [summary]")
