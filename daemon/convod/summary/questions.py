"""Let a language model answer a question from passages of talks, and check what it cites.

In: a question, passages, a model. Out: sentences, each with the passages that it rests on. A sentence is left out if it
cites nothing that was shown, or if its words stand in other passages but in none that it cites; names and numbers that
its passages do not have are named beside it. Passages are data, as in a summary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from convo.messages import AnswerSentence, Passage
from convod.summary.base import ChatMessage, PromptTooLong, Question, SummarizerUnavailable
from convod.summary.facts import Facts
from convod.summary.parse import BadAnswer, Draft, SentenceStream, ThoughtsEnd, parse_sentences
from convod.summary.passages import stems
from convod.summary.prompt import answer_schema, for_question, numbered, once_more
from convod.summary.text import line
from convod.summary.tokens import UPPER
from convod.summary.words import is_function_word
from convod.summary.writer import Asked, ask, useless

log = logging.getLogger("convod.summary")

ANSWER_TOKENS: Final = 1024
"""Room for an answer; less in a small context."""

SENTENCES: Final = 20
"""Most sentences of an answer."""

_SHRINKS: Final = 3

ShowSentence = Callable[[AnswerSentence | None], None]
"""Gets each sentence as it is written; None: what came before is void."""


class Answered(msgspec.Struct, frozen=True):
    """An answer, and how many sentences were left out of it."""

    sentences: list[AnswerSentence]
    dropped: int


class Found(msgspec.Struct, frozen=True):
    """Passages in the order of their talks and times, and their places, the most telling first."""

    passages: list[Passage]
    best: list[int]


class Checker:
    """Whether passages say what a sentence says."""

    def __init__(self, question: str, passages: Sequence[Passage]) -> None:
        self._question = question
        self._passages = passages
        self._stems = [_telling(_text(passage)) for passage in passages]
        self._all = frozenset[str]().union(*self._stems)
        self.shown: set[int] = set()
        """Places of the passages that the model was shown."""

    def checked(self, text: str, sources: Sequence[int]) -> AnswerSentence | None:
        """The sentence with what it cites, numbers from 1 as the model saw them; None if that does not hold."""
        cited = [source - 1 for source in dict.fromkeys(sources) if source - 1 in self.shown]
        if not cited:
            return None
        words = _telling(text)
        if words & self._all and not any(words & self._stems[place] for place in cited):
            return None
        facts = Facts()
        facts.add([self._question, *(_text(self._passages[place]) for place in cited)])
        return AnswerSentence(text=text, sources=cited, unverified=facts.missing(Draft(title="", summary=text), ""))


async def answer(question: str, found: Found, asked: Asked, checker: Checker, show: ShowSentence) -> Answered:
    """Ask the model, and show it as many of the passages as it can read.

    Raises:
        SummarizerUnavailable: it does not answer, or twice with what cannot be used.
    """
    room = asked.context_tokens
    for _ in range(_SHRINKS):
        answer_tokens = min(ANSWER_TOKENS, room // 4)
        lines = _fitting(question, found, room - answer_tokens, checker)
        if not lines:
            break
        messages = for_question(lines, question)
        try:
            return await _written(messages, asked, answer_tokens, checker, show)
        except PromptTooLong as error:
            show(None)
            if not error.again:
                room //= 2  # the server's context is smaller than it says
    raise SummarizerUnavailable(
        f"{asked.who} cannot read a single passage: set context_tokens under [summary] to what it can read", retry=False
    )


async def _written(
    messages: Sequence[ChatMessage], asked: Asked, answer_tokens: int, checker: Checker, show: ShowSentence
) -> Answered:
    try:
        return await _asked_once(messages, asked, answer_tokens, checker, show)
    except BadAnswer as error:
        reason = str(error)
    log.warning("%s gave %s; it is asked once more", asked.who, reason)
    show(None)
    try:
        return await _asked_once(once_more(messages), asked, answer_tokens, checker, show)
    except BadAnswer as error:
        raise useless(asked, reason, error) from error


async def _asked_once(
    messages: Sequence[ChatMessage], asked: Asked, answer_tokens: int, checker: Checker, show: ShowSentence
) -> Answered:
    stream = SentenceStream()
    thoughts = ThoughtsEnd()
    shown = 0

    def took(piece: str) -> None:
        nonlocal stream, shown
        if (behind := thoughts.feed(piece)) is not None:
            # What was shown until now were thoughts.
            stream, piece = SentenceStream(), behind
            if shown:
                show(None)
                shown = 0
        for text, sources in stream.feed(piece):
            if shown < SENTENCES and (sentence := checker.checked(text, sources)) is not None:
                show(sentence)
                shown += 1

    question = Question(
        messages=messages,
        schema=answer_schema(),
        model=asked.model,
        context_tokens=asked.context_tokens,
        answer_tokens=answer_tokens,
    )
    written = await ask(asked, question, took)
    said = parse_sentences(written.text, closing=written.cut)
    sentences = [sentence for text, sources in said.items() if (sentence := checker.checked(text, sources)) is not None]
    return Answered(sentences[:SENTENCES], len(said) - len(sentences))


def _fitting(question: str, found: Found, room: int, checker: Checker) -> list[str]:
    """The lines of the best passages that have room, below the titles of their talks; tells `checker` which."""
    passages = found.passages
    room -= UPPER.of_messages(for_question([], question))
    checker.shown = set()
    talks: set[str] = set()
    for place in found.best:
        passage = passages[place]
        cost = UPPER.tokens(_line(place, passage)) + 1
        if passage.session not in talks:
            cost += UPPER.tokens(_head(passage)) + 1
        if cost > room:
            break
        room -= cost
        talks.add(passage.session)
        checker.shown.add(place)
    lines: list[str] = []
    talk = ""
    for place in sorted(checker.shown):
        if passages[place].session != talk:
            talk = passages[place].session
            lines.append(_head(passages[place]))
        lines.append(_line(place, passages[place]))
    return lines


def _head(passage: Passage) -> str:
    day = datetime.fromtimestamp(passage.created, UTC).strftime("%Y-%m-%d")
    return f"Talk of {day}: {line(passage.title, 120)}"


def _line(place: int, passage: Passage) -> str:
    return numbered(place + 1, _text(passage))


def _text(passage: Passage) -> str:
    return f"{passage.speaker}: {passage.text}" if passage.speaker else passage.text


def _telling(text: str) -> frozenset[str]:
    return frozenset(stem for stem in stems(text) if not is_function_word(stem))
