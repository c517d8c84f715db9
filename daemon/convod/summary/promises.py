"""Who promised what: the owners of action items, by who says the segments that they rest on.

In: a draft, the segments of the talk with the numbers of their speakers, what those are called. Out: the draft with its
owners. The speaker who says "I will" is the owner, even if a model wrote another name; else the owner is the one who
was named. What speakers are called is data as much as what they say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import msgspec

from convo.messages import ActionItem, Segment
from convod.summary.parse import NAME_CHARS, Draft
from convod.summary.text import line

Names = Mapping[int, str]
"""What speakers are called, by their numbers."""

UNKNOWN: Final[Names] = MappingProxyType({})
"""For talks that do not say who speaks."""

_SAID_BY: Final = "\0"
"""Stands for the speaker of a sentence: no name is like it."""

_NOT_NAMED: Final = re.compile(
    "(?i:i|me|we|us|you|he|she|they|(?:the )?speaker|the person (?:who is )?speaking|나|저|제가|저희|본인|화자)"
)
"""What models write as an owner in the place of a name."""


def name_of(segment: Segment, names: Names) -> str | None:
    """What the speaker of a segment is called; None if that is not known."""
    name = names.get(segment.speaker) if segment.speaker is not None else None
    return line(name, NAME_CHARS) or None if name is not None else None


def with_owners(draft: Draft, segments: Sequence[Segment], names: Names) -> Draft:
    """The draft with owners by who says what its action items cite; of segments that are not here nothing is known."""
    if not names or not draft.action_items:
        return draft
    cited = {source for item in draft.action_items for source in item.sources or ()}
    said = {one.segment: one for one in segments if one.segment in cited}
    items = [msgspec.structs.replace(item, owner=_owner(item, said, names)) for item in draft.action_items]
    return replace(draft, action_items=items)


def _owner(item: ActionItem, said: Mapping[int, Segment], names: Names) -> str | None:
    cited = [said[source] for source in item.sources or () if source in said]
    speakers = {name for one in cited if (name := name_of(one, names)) is not None}
    owner = item.owner
    if owner is not None and _NOT_NAMED.fullmatch(owner.strip(" .")) and owner not in names.values():
        owner = None
    if owner is None and item.owner is not None and len(speakers) == 1:
        return next(iter(speakers))
    promised: set[str] = set()
    for segment in cited:
        for found in _announced(segment):
            if found == _SAID_BY and (name := name_of(segment, names)) is not None:
                promised.add(name)
            elif owner is not None and found is not None and found.casefold() == owner.casefold():
                return owner  # a request to them by name stands beside the promise
    return next(iter(promised)) if len(promised) == 1 else owner


def _announced(segment: Segment) -> Iterator[str | None]:
    """The owners of what the sentences of a segment announce."""
    from convod.summary.actions import action_item  # its patterns take 30 ms to compile, which the start can do without
    from convod.summary.words import sentences

    for sentence in sentences(segment.text):
        if (found := action_item(sentence, _SAID_BY)) is not None:
            yield found.owner
