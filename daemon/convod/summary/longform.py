"""Talks of any length through a model of any context: one question if it fits, else parts, notes and a merge.

In: a talk, what is wanted, a model's context in tokens, and a function that answers one question. Out: one
draft. It never speaks to a server: `ask` does.

Map and merge: the talk is cut at the borders of its segments into parts of about equal length, each part
becomes notes, and the notes are merged; notes that do not fit together are merged in groups first, as often as
that takes. Notes are remembered by their question, so that a retry after a failure in part 39 begins there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from .base import ChatMessage, PromptTooLong, SummarizerUnavailable, Talk
from .parse import Draft
from .prompt import Wanted, for_merge, for_part, for_talk
from .text import clip

ANSWER_TOKENS = 2048
"""Room for an answer; less in a small context."""
LEAST_CONTEXT = 1024
"""A context below this holds no instructions, let alone a talk."""
_REMEMBERED = 256
_SHRINKS = 4

# Tokens a character, by kind. No tokenizer is asked, because each model has its own; these are upper values, so
# that a prompt that is said to fit does. Assumed, not measured: English text has about 0.22 to 0.27 tokens a
# character in the vocabularies of today's models; digits often are tokens of their own; Chinese, Japanese and
# Korean run from 0.6 (vocabularies of 150,000) to beyond 1 (of 32,000, where rare characters fall into bytes).
_DIGIT = 1.0
_LATIN = 0.3
_MARK = 0.6
_WIDE = 1.3
_OTHER = 0.8
_KINDS = re.compile(
    "(?P<latin>[A-Za-z ]+)|(?P<digit>[0-9]+)|(?P<mark>[\x00-\x7f]+?)|"
    "(?P<wide>[\u1100-\u11ff\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef"
    "\U00020000-\U0003ffff]+)|(?P<other>.)",
    re.DOTALL,
)
_COSTS = {"digit": _DIGIT, "latin": _LATIN, "mark": _MARK, "wide": _WIDE, "other": _OTHER}

Ask = Callable[[list[ChatMessage], int, bool], Awaitable[Draft]]
"""Messages, the tokens that the answer may have, and whether its summary is to be shown as it grows."""


def estimate_tokens(text: str) -> int:
    """Tokens that `text` has at most, give or take; for any script."""
    # str.lastgroup is the kind of each run, so the cost of a long talk is one pass in C and a short loop.
    return 1 + int(sum(len(run[0]) * _COSTS[run.lastgroup or "other"] for run in _KINDS.finditer(text)))


def estimate_messages(messages: Sequence[ChatMessage]) -> int:
    """Tokens of messages with the marks that a chat template puts around each."""
    return sum(estimate_tokens(message["content"]) + 8 for message in messages)


@dataclass(frozen=True)
class Room:
    """How a context is shared out, in tokens: `data` for what the talk says, `answer` for the model."""

    data: int
    answer: int


def room_in(context_tokens: int, question: Sequence[ChatMessage]) -> Room:
    """What a context has room for beside the words of an (empty) question.

    Raises:
        SummarizerUnavailable: the context is too small for any talk.
    """
    answer = min(ANSWER_TOKENS, context_tokens // 4)
    data = context_tokens - answer - estimate_messages(question)
    if context_tokens < LEAST_CONTEXT or data < 128:
        raise SummarizerUnavailable(
            f"A context of {context_tokens} tokens is too small for a summary: "
            "choose another model, or correct context_tokens under [summary]",
            retry=False,
        )
    return Room(data=data, answer=answer)


def split(lines: Sequence[str], most: int) -> list[list[str]]:
    """Parts of at most `most` tokens, in order, about equally long, cut between lines where that is possible.

    A line that is longer than a part is cut between its words, and words between their characters.
    """
    pieces = [(piece, estimate_tokens(piece) + 1) for text in lines for piece in _within(text, most)]
    total = sum(cost for _, cost in pieces)
    aim = total / max(1, -(-total // most))
    parts: list[list[str]] = []
    filled = 0
    for piece, cost in pieces:
        if not parts or filled + cost > most or filled >= aim:
            parts.append([])
            filled = 0
        parts[-1].append(piece)
        filled += cost
    return parts


def _within(text: str, most: int) -> list[str]:
    if estimate_tokens(text) < most:
        return [text]
    # At 1.3 tokens a character none of these pieces has more than `most` tokens.
    width = max(1, int((most - 2) / _WIDE))
    pieces = []
    while len(text) > width:
        cut = text.rfind(" ", width // 2, width) + 1 or width
        pieces.append(text[:cut].strip())
        text = text[cut:]
    return [*pieces, text.strip()]


class Notes:
    """Drafts of parts by the question that they answer; the oldest are forgotten."""

    def __init__(self) -> None:
        self._drafts: OrderedDict[str, Draft] = OrderedDict()

    def get(self, key: str) -> Draft | None:
        """The draft that was remembered under `key`, if it still is."""
        return self._drafts.get(key)

    def put(self, key: str, draft: Draft) -> None:
        """Remember a draft."""
        self._drafts[key] = draft
        while len(self._drafts) > _REMEMBERED:
            self._drafts.popitem(last=False)


async def summarise(talk: Talk, wanted: Wanted, *, context_tokens: int, ask: Ask, notes: Notes, writer: str) -> Draft:
    """One draft of the whole talk. `writer` (provider and model) keeps the notes of different models apart.

    Raises:
        SummarizerUnavailable: from `ask`, or because the model's context stays too small.
    """
    lines = [text for segment in talk.segments if (text := segment.text.strip())]
    for shrink in range(_SHRINKS):
        job = _Job(wanted, context_tokens >> shrink, ask, notes, writer)
        try:
            return await job.of_talk(lines)
        except PromptTooLong:
            # The estimate was too low for this language and vocabulary, or the server's context is smaller
            # than it says: the same in smaller parts.
            continue
    raise SummarizerUnavailable(
        f"{writer} cuts the transcript off at any length: set context_tokens under [summary] to what it can read",
        retry=False,
    )


@dataclass(frozen=True)
class _Job:
    """One try to summarise a talk, within one size of context."""

    wanted: Wanted
    context: int
    ask: Ask
    notes: Notes
    writer: str

    async def of_talk(self, lines: Sequence[str]) -> Draft:
        room = room_in(self.context, for_talk([], self.wanted))
        if sum(estimate_tokens(text) + 1 for text in lines) <= room.data:
            return await self._asked(for_talk(lines, self.wanted), room, show=True)
        # Instructions for a part are longer than those for a whole talk.
        room = room_in(self.context, for_part([], self.wanted, 99, 99))
        parts = split(lines, room.data)
        drafts = [
            await self._remembered(for_part(part, self.wanted, number, len(parts)), room)
            for number, part in enumerate(parts, 1)
        ]
        return await self._merged(drafts)

    async def _merged(self, drafts: Sequence[Draft]) -> Draft:
        """Merge until one is left. Each round has at most half as many, since two notes fit in a question."""
        room = room_in(self.context, for_merge([], self.wanted))
        while True:
            pages = [_page(draft, number, room.data // 2) for number, draft in enumerate(drafts, 1)]
            groups = _groups(pages, room.data)
            if len(groups) == 1:
                lines = [text for page in pages for text in page]
                return await self._asked(for_merge(lines, self.wanted), room, show=True)
            drafts = [await self._merged_group(drafts, pages, group, room) for group in groups]

    async def _merged_group(
        self, drafts: Sequence[Draft], pages: Sequence[list[str]], group: Sequence[int], room: Room
    ) -> Draft:
        if len(group) == 1:
            return drafts[group[0]]
        lines = [text for index in group for text in pages[index]]
        return await self._remembered(for_merge(lines, self.wanted), room)

    async def _asked(self, question: list[ChatMessage], room: Room, *, show: bool) -> Draft:
        try:
            return await self.ask(question, room.answer, show)
        except PromptTooLong as error:
            if not error.again:
                raise
            return await self.ask(question, room.answer, False)

    async def _remembered(self, question: list[ChatMessage], room: Room) -> Draft:
        key = hashlib.sha256(json.dumps([self.writer, question]).encode()).hexdigest()
        draft = self.notes.get(key)
        if draft is None:
            draft = await self._asked(question, room, show=False)
            self.notes.put(key, draft)
        return draft


def _page(draft: Draft, number: int, most: int) -> list[str]:
    """Notes of a part as lines, of fewer than `most` tokens; what is less important stands later and goes first."""
    lines = [f"Part {number}: {draft.title}", *draft.summary.splitlines()]
    for item in draft.action_items:
        about = ", ".join(filter(None, (item.owner, item.due)))
        lines.append(f"Action: {item.text}{f' ({about})' if about else ''}")
    lines += [f"- {point}" for point in draft.key_points]
    lines.append(f"Keywords: {', '.join(draft.keywords)}")
    kept = []
    left = most
    for text in lines:
        text = clip(text, max(8, int(left / _WIDE)))
        left -= estimate_tokens(text) + 1
        if left < 0:
            break
        kept.append(text)
    return kept


def _groups(pages: Sequence[list[str]], most: int) -> list[list[int]]:
    """Neighbours that fit together, by index. Two pages always do, so every round has about half as many."""
    groups: list[list[int]] = []
    filled = 0
    for index, page in enumerate(pages):
        cost = sum(estimate_tokens(text) + 1 for text in page)
        if not groups or filled + cost > most:
            groups.append([])
            filled = 0
        groups[-1].append(index)
        filled += cost
    return groups
