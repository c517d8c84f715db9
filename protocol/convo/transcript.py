"""A transcript: what a session heard and what was marked in it, ready to be rendered; its text made fit to be shown.

In: the parts that a store or `get_session` knows. Out: one frozen value. This module never formats anything.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from .messages import Bookmark, GetSessionReply, Segment, Speaker, State, Summary


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """A session with its segments, its marks and, once there is one, its summary.

    `created` is Unix seconds, `duration_s` seconds of audio; segments and marks are in the order of their times, which
    are seconds on the session's sample clock. `speakers` are those that segments name by their numbers.
    """

    session: str
    kind: Literal["live", "file"]
    title: str
    state: State
    created: float
    duration_s: float
    segments: list[Segment]
    summary: Summary | None
    marks: list[Bookmark] = []
    speakers: list[Speaker] = []

    @classmethod
    def of(cls, reply: GetSessionReply) -> Transcript:
        """The transcript in a whole answer to get_session."""
        return cls(**{name: getattr(reply, name) for name in cls.__struct_fields__})

    @property
    def names(self) -> dict[int, str]:
        """What each speaker is called, by number, as one line."""
        return {each.speaker: one_line(each.name) for each in self.speakers}


class Ends(Protocol):
    """Something said that ends at a time, seconds."""

    @property
    def end(self) -> float:
        """Seconds on the session's sample clock."""


def place_of(time: float, said: Sequence[Ends]) -> int:
    """Where a mark belongs: what is being said at that time, else what is said next; `len(said)` behind the last."""
    return bisect_left(said, time, key=lambda each: each.end)


def one_line(text: str) -> str:
    """Text as one line: white space of any kind is a single space, and nothing moves a terminal's cursor.

    Control characters (Unicode's Cc) and lone surrogates (Cs) are left out.
    """
    spaced = " ".join(text.split())
    if spaced.isprintable():
        return spaced
    kept = "".join(char for char in spaced if unicodedata.category(char) not in ("Cc", "Cs"))
    return " ".join(kept.split())
