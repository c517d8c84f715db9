"""Talks of any length through a model of any context: one question if it fits, else parts, notes and a merge.

In: a talk, what is wanted, a model's context in tokens, and a function that answers one question. Out: one
draft. It never speaks to a server: `ask` does.

Map and merge: the talk is cut at the borders of its segments into parts of about equal length, each part
becomes notes, and the notes are merged; notes that do not fit together are merged in groups first, as often as
that takes. What the first part did cost decides how large the others are. Notes are remembered by their question, and
where the talk was cut, so that a retry after a failure in part 39 begins there.

A talk that goes on is refined instead: what was written last and what is new make the next draft (`update`), so that
the cost is that of the new talk. Each answer may cite only segments that its question showed.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import cached_property
from typing import Final

import msgspec
import trio

from convo.messages import Segment
from convod.summary.base import ChatMessage, PromptTooLong, SummarizerUnavailable, Transcript
from convod.summary.parse import Draft
from convod.summary.promises import UNKNOWN, Names, name_of
from convod.summary.prompt import Wanted, for_merge, for_part, for_update, for_whole, numbered
from convod.summary.text import clip
from convod.summary.tokens import MOST, UPPER, Costs, Gauge, costs_of

ANSWER_TOKENS: Final = 2048
"""Room for an answer; less in a small context."""
LEAST_CONTEXT: Final = 1024
"""A smaller context does not even hold the instructions."""
_REMEMBERED: Final = 256
_SHRINKS: Final = 4

Ask = Callable[[list[ChatMessage], int, bool], Awaitable[Draft]]
"""Messages, the tokens that the answer may have, and whether its summary is to be shown as it grows."""


class Room(msgspec.Struct, frozen=True):
    """How a context is shared out, in tokens: `data` for what the talk says, `answer` for the model."""

    data: int
    answer: int


class ContextTooSmall(SummarizerUnavailable):
    """The context has no room for anything beside the instructions."""


def room_in(context_tokens: int, question: Sequence[ChatMessage]) -> Room:
    """What a context has room for beside the words of an (empty) question, whatever the model's vocabulary.

    Raises:
        ContextTooSmall: it is too small for any talk.
    """
    answer = min(ANSWER_TOKENS, context_tokens // 4)
    data = context_tokens - answer - UPPER.of_messages(question)
    if context_tokens < LEAST_CONTEXT or data < 128:
        raise ContextTooSmall(
            f"A context of {context_tokens} tokens is too small for a summary: "
            "choose another model, or correct context_tokens under [summary]",
            retry=False,
        )
    return Room(data=data, answer=answer)


class Line(msgspec.Struct, frozen=True, dict=True):
    """A segment's text, or a part of it, with the segment's number and what its speaker is called, if that is known."""

    number: int
    text: str
    speaker: str | None = None

    def __str__(self) -> str:
        return numbered(self.number, self.text, self.speaker)

    @cached_property
    def costs(self) -> Costs:
        """What it costs at most."""
        return costs_of(str(self))

    def tokens(self, gauge: Gauge = UPPER) -> int:
        """Tokens that it has in a prompt, its end included."""
        return gauge.of(self.costs) + 1


def lines_of(segments: Sequence[Segment], names: Names = UNKNOWN) -> list[Line]:
    """The lines of a transcript, weighed; segments without words are left out."""
    lines = [
        Line(segment.segment, text, name_of(segment, names)) for segment in segments if (text := segment.text.strip())
    ]
    for line in lines:
        line.tokens()
    return lines


async def _lines_of(transcript: Transcript) -> list[Line]:
    # Counting the tokens of 8 hours takes a tenth of a second, too long for the loop.
    return await trio.to_thread.run_sync(lines_of, transcript.segments, transcript.speakers, abandon_on_cancel=True)


def pieces_of(lines: Sequence[Line], most: int) -> list[Line]:
    """The lines; one that is longer than `most` tokens, by upper values, in pieces that are not.

    It is cut between its words, and words between their characters.
    """
    return [piece for line in lines for piece in _within(line, most)]


def split(lines: Sequence[Line], most: int, gauge: Gauge = UPPER) -> list[list[Line]]:
    """Parts of at most `most` tokens, in order, about equally long, cut between lines."""
    pieces = [(line, line.tokens(gauge)) for line in lines]
    total = sum(cost for _, cost in pieces)
    aim = total / max(1, -(-total // most))
    parts: list[list[Line]] = []
    filled = 0
    for piece, cost in pieces:
        if not parts or filled + cost > most or filled >= aim:
            parts.append([])
            filled = 0
        parts[-1].append(piece)
        filled += cost
    return parts


def _within(line: Line, most: int) -> list[Line]:
    if line.tokens() <= most:
        return [line]
    # At the most tokens a character none of these pieces has more than `most` tokens.
    width = max(1, int((most - 2 - Line(line.number, "", line.speaker).tokens()) / MOST))
    text = line.text
    pieces = []
    while len(text) > width:
        cut = text.rfind(" ", width // 2, width) + 1 or width
        pieces.append(text[:cut].strip())
        text = text[cut:]
    return [Line(line.number, piece, line.speaker) for piece in (*pieces, text.strip()) if piece]


class Notes:
    """Drafts of parts by the question that they answer, and where talks were cut; the oldest are forgotten."""

    def __init__(self) -> None:
        self._drafts: OrderedDict[str, Draft] = OrderedDict()
        self._cuts: OrderedDict[str, list[int]] = OrderedDict()

    def get(self, key: str) -> Draft | None:
        """The draft that was remembered under `key`, if it still is."""
        return self._drafts.get(key)

    def put(self, key: str, draft: Draft) -> None:
        """Remember a draft."""
        self._drafts[key] = draft
        while len(self._drafts) > _REMEMBERED:
            self._drafts.popitem(last=False)

    def cuts(self, key: str) -> list[int]:
        """How many lines each finished part of a talk has, in order; append one for each that is finished."""
        cuts = self._cuts.setdefault(key, [])
        while len(self._cuts) > _REMEMBERED:
            self._cuts.popitem(last=False)
        return cuts


class Work(msgspec.Struct, frozen=True):
    """Who answers, and what was answered already. `writer` (provider and model) keeps notes of models apart.

    `gauge`: what texts cost that model, as far as it is known.
    """

    ask: Ask
    notes: Notes
    writer: str
    context_tokens: int
    gauge: Gauge = msgspec.field(default_factory=Gauge)


async def summarise(transcript: Transcript, wanted: Wanted, work: Work) -> Draft:
    """One draft of the whole talk.

    Raises:
        SummarizerUnavailable: from `ask`, or because the model's context stays too small.
    """
    lines = await _lines_of(transcript)
    return await _shrinking(work, lambda context: _Job(wanted, context, work).of_whole(lines))


async def update(before: Draft, new: Transcript, wanted: Wanted, work: Work) -> Draft:
    """The draft of a talk so far, from the last one and what was said since. Raises as `summarise`."""
    lines = await _lines_of(new)
    return await _shrinking(work, lambda context: _Job(wanted, context, work).since(before, lines))


async def _shrinking(work: Work, write: Callable[[int], Awaitable[Draft]]) -> Draft:
    shrink = 0
    while shrink < _SHRINKS:
        try:
            return await write(work.context_tokens >> shrink)
        except PromptTooLong:
            # What was learned of the vocabulary does not hold for this text. Or the estimate was too low, or the
            # server's context is smaller than it says: then the same in smaller parts.
            shrink += not work.gauge.distrust()
        except ContextTooSmall:
            if not shrink:
                raise
            break  # the number that it names would be ours, not the model's
    raise SummarizerUnavailable(
        f"{work.writer} cuts the transcript off at any length: set context_tokens under [summary] to what it can read",
        retry=False,
    )


class _Job(msgspec.Struct, frozen=True):
    """One try to summarise a talk, within one size of context."""

    wanted: Wanted
    context: int
    work: Work

    async def of_whole(self, lines: Sequence[Line]) -> Draft:
        room = room_in(self.context, for_whole([], self.wanted))
        if sum(line.tokens(self.work.gauge) for line in lines) <= room.data:
            question = for_whole([str(line) for line in lines], self.wanted)
            return await self._asked(question, room, _numbers(lines), show=True)
        return await self._merged(await self._of_parts(lines))

    async def _of_parts(self, lines: Sequence[Line]) -> list[Draft]:
        # Instructions for a part are longer than those for a whole talk.
        room = room_in(self.context, for_part([], self.wanted, 999))
        pieces = pieces_of(lines, room.data)
        cuts = self.work.notes.cuts(self._key([self.context, repr(self.wanted), [str(line) for line in lines]]))
        gauge = self.work.gauge
        drafts: list[Draft] = []
        done, parts, version = 0, list[list[Line]](), -1
        while done < len(pieces):
            known = len(drafts) < len(cuts)
            if known:
                part = pieces[done : done + cuts[len(drafts)]]
            else:
                if gauge.version != version:
                    parts, version = split(pieces[done:], room.data, gauge), gauge.version
                part = parts.pop(0)
            question = for_part([str(line) for line in part], self.wanted, len(drafts) + 1)
            drafts.append(await self._remembered(question, room, _numbers(part)))
            if not known:
                cuts.append(len(part))
            done += len(part)
        return drafts

    async def since(self, before: Draft, lines: Sequence[Line]) -> Draft:
        """What is new after what is known; so much that it does not fit goes in parts, one after the other."""
        room = room_in(self.context, for_update([], [], self.wanted))
        page_tokens = room.data // 3
        parts = split(pieces_of(lines, room.data - page_tokens), room.data - page_tokens, self.work.gauge)
        draft = before
        for at, part in enumerate(parts, 1):
            page = _page(draft, "So far", page_tokens, self.work.gauge)
            question = for_update(page, [str(line) for line in part], self.wanted)
            draft = await self._asked(question, room, draft.cited | _numbers(part), show=at == len(parts))
        return draft

    async def _merged(self, drafts: Sequence[Draft]) -> Draft:
        """Merge until one is left. Each round has at most half as many, since two notes fit in a question."""
        room = room_in(self.context, for_merge([], self.wanted))
        while True:
            gauge = self.work.gauge
            pages = [_page(draft, f"Part {number}", room.data // 2, gauge) for number, draft in enumerate(drafts, 1)]
            groups = _groups(pages, room.data, gauge)
            if len(groups) == 1:
                lines = [text for page in pages for text in page]
                cited = set[int]().union(*(draft.cited for draft in drafts))
                return await self._asked(for_merge(lines, self.wanted), room, cited, show=True)
            drafts = [await self._merged_group(drafts, pages, group, room) for group in groups]

    async def _merged_group(
        self, drafts: Sequence[Draft], pages: Sequence[list[str]], group: Sequence[int], room: Room
    ) -> Draft:
        if len(group) == 1:
            return drafts[group[0]]
        lines = [text for index in group for text in pages[index]]
        cited = set[int]().union(*(drafts[index].cited for index in group))
        return await self._remembered(for_merge(lines, self.wanted), room, cited)

    async def _asked(self, question: list[ChatMessage], room: Room, shown: Collection[int], *, show: bool) -> Draft:
        ask = self.work.ask
        try:
            draft = await ask(question, room.answer, show)
        except PromptTooLong as error:
            if not error.again:
                raise
            draft = await ask(question, room.answer, show)
        return draft.citing_only(shown)

    async def _remembered(self, question: list[ChatMessage], room: Room, shown: Collection[int]) -> Draft:
        notes = self.work.notes
        key = self._key(question)
        draft = notes.get(key)
        if draft is None:
            draft = await self._asked(question, room, shown, show=False)
            notes.put(key, draft)
        return draft

    def _key(self, what: object) -> str:
        return hashlib.sha256(json.dumps([self.work.writer, what]).encode()).hexdigest()


def _numbers(lines: Sequence[Line]) -> set[int]:
    return {line.number for line in lines}


def _page(draft: Draft, head: str, most: int, gauge: Gauge) -> list[str]:
    """Return a draft as lines of fewer than `most` tokens; the least important come last and are dropped first."""
    lines = [f"{head}: {draft.title}", *(row for row in draft.summary.splitlines() if row)]
    for item in draft.action_items:
        about = ", ".join(filter(None, (item.owner, item.due)))
        lines.append(f"Action: {item.text}{f' ({about})' if about else ''}{_citation(item.sources or ())}")
    for point, sources in zip(draft.key_points, draft.key_point_sources, strict=True):
        lines.append(f"- {point}{_citation(sources)}")
    lines.append(f"Keywords: {', '.join(draft.keywords)}")
    kept = []
    left = most
    for text in lines:
        if gauge.tokens(text) >= left:
            text = clip(text, max(8, int(left / MOST)))
        left -= gauge.tokens(text) + 1
        if left < 0:
            break
        kept.append(text)
    return kept


def _citation(sources: Sequence[int]) -> str:
    return f" [{', '.join(map(str, sources))}]" if sources else ""


def _groups(pages: Sequence[list[str]], most: int, gauge: Gauge) -> list[list[int]]:
    """Neighbours that fit together, by index. Two pages always do, so every round has about half as many."""
    groups: list[list[int]] = []
    filled = 0
    for index, page in enumerate(pages):
        cost = sum(gauge.tokens(text) + 1 for text in page)
        if not groups or filled + cost > most:
            groups.append([])
            filled = 0
        groups[-1].append(index)
        filled += cost
    return groups
