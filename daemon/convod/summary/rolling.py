"""The summary of a talk that goes on: each is built on the last, so that its cost is that of the new talk.

In: the segments since the last time, and a function that writes. Out: a draft of the whole talk so far. It remembers
what was written, which segments that covers, and the words that were said; it does no I/O and reads no clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from convo.messages import Segment, Summary
from convod.summary.extractive import Digest, extract
from convod.summary.facts import Facts
from convod.summary.parse import Draft
from convod.summary.promises import UNKNOWN, Names
from convod.summary.styles import Style

Load = Callable[[int], Awaitable[Sequence[Segment]]]
"""The segments that are numbered above this."""
Refine = Callable[[Draft | None, Sequence[Segment]], Awaitable[Draft]]
"""The last draft, None for the first, and the segments since, to the next draft."""


@dataclass
class _Read:
    """Something that has read the talk up to a segment."""

    through: int = -1


class Rolling:
    """One talk's summary as it grows. `last`: what was written before a restart, and need not be read again."""

    def __init__(self, title: str = "", last: Summary | None = None) -> None:
        through = last.origin.through if last is not None and last.origin is not None else None
        self._draft = None if last is None or through is None else draft_of(last)
        self._written = _Read(-1 if self._draft is None or through is None else through)
        self._digest: Digest | None = None
        self._digested = _Read()
        self._heard = _Read()
        self.facts = Facts()
        """Everything that was said."""
        self.facts.add([title])

    @property
    def through(self) -> int:
        """The last segment that the last summary takes in; -1 before there is one."""
        return self._written.through

    async def extracted(self, load: Load, style: Style, language: str, names: Names = UNKNOWN) -> Draft:
        """The next draft, without a language model; `names`: what speakers are called."""
        segments = await self._hear(load, self._digested)
        digest = await trio.to_thread.run_sync(partial(extract, segments, style, language, self._digest, names))
        self._digest = digest
        self._reach(segments, self._digested)
        self._draft = digest.draft
        return digest.draft

    async def refined(self, load: Load, refine: Refine, names: Names = UNKNOWN) -> Draft:
        """The next draft, by a language model; `names`: what speakers are called."""
        self.facts.add(names.values())
        segments = await self._hear(load, self._written)
        self._draft = await refine(self._draft, segments)
        self._reach(segments, self._written)
        return self._draft

    async def _hear(self, load: Load, reader: _Read) -> Sequence[Segment]:
        """What the reader has not read yet; its words are known from now on."""
        segments = await load(min(reader.through, self._heard.through))
        new = [segment.text for segment in segments if segment.segment > self._heard.through]
        await trio.to_thread.run_sync(partial(self.facts.add, new))
        self._reach(segments, self._heard)
        return [segment for segment in segments if segment.segment > reader.through]

    def _reach(self, segments: Sequence[Segment], reader: _Read) -> None:
        if segments:
            reader.through = max(reader.through, segments[-1].segment)
            if reader is self._digested:
                self._written.through = max(self._written.through, reader.through)


def draft_of(summary: Summary) -> Draft:
    """What was written, as what comes next is built on it."""
    points = summary.key_points
    return Draft(
        title=summary.title,
        summary=summary.summary,
        key_points=points,
        key_point_sources=summary.key_point_sources or [[] for _ in points],
        action_items=summary.action_items,
        keywords=summary.keywords,
        sections=summary.sections or [],
    )
