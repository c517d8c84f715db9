"""How the speakers of a talk are told apart on the screen: by a name or an initial, and by a colour.

In: their names by number, in the order in which they first spoke; lines. Out: short names, numbers of colours, what
each said. Nothing here draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .layout import clusters
from .session import Line

COLOURS = 6
"""Colours of a theme; a seventh speaker has the colour of the first again, and another name."""


@dataclass(frozen=True, slots=True)
class Spoke:
    """What a speaker said: how many lines and seconds, and the longest of them."""

    speaker: int
    lines: int = 0
    seconds: float = 0.0
    longest: str = ""


def colour_of(speakers: Mapping[int, str], speaker: int) -> int:
    """The number of a speaker's colour, from 1."""
    place = next((place for place, known in enumerate(speakers) if known == speaker), 0)
    return place % COLOURS + 1


def initial(speakers: Mapping[int, str], speaker: int) -> str:
    """A speaker in one character, or in their number if they have no name or share the character with another."""
    firsts = {known: _first(known, name) for known, name in speakers.items()}
    first = firsts.get(speaker, "")
    return first if first and list(firsts.values()).count(first) == 1 else str(speaker)


def _first(speaker: int, name: str) -> str:
    return "" if is_unnamed(speaker, name) else next(clusters(name.upper()), "")


def is_unnamed(speaker: int, name: str) -> bool:
    """Whether a speaker is called by their number."""
    return name in ("", f"Speaker {speaker}", f"Channel {speaker}")


def spoke(speakers: Mapping[int, str], lines: Iterable[Line]) -> list[Spoke]:
    """What each speaker said, those who said nothing left out."""
    found: dict[int, Spoke] = dict.fromkeys(speakers, Spoke(0))
    for line in lines:
        if line.speaker is not None and line.text:
            said = found.get(line.speaker) or Spoke(0)
            longest = max(said.longest, line.text, key=len)
            found[line.speaker] = Spoke(
                line.speaker, said.lines + 1, said.seconds + line.end - line.start, longest
            )  # fmt: skip
    return [said for said in found.values() if said.lines]
