"""A transcript as lines to edit, and what was changed in them.

In: segments; the lines as somebody left them. Out: text; new texts by the number of their segment. This module reads
and writes nothing, and never guesses: a line that it cannot read is named, and then nothing of the sheet counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from convo import vocabulary
from convo.messages import Segment

from .text import clean

_HEAD: Final = """\
# {title}
# Each line is a segment: its number, then what was said. Change what stands behind a number; a segment without words
# is hidden. Lines that are missing, and those that begin with #, change nothing.
"""

_LINE: Final = re.compile(r"(\d{1,15})(?:\s+(.*))?")


class BrokenSheet(ValueError):
    """A line that is no segment; the text is one sentence."""


def write(title: str, segments: Sequence[Segment]) -> str:
    """The lines to edit."""
    digits = len(str(segments[-1].segment)) if segments else 1
    lines = [f"{segment.segment:>{digits}}  {clean(segment.text)}".rstrip() for segment in segments]
    return _HEAD.format(title=clean(title)) + "".join(f"{line}\n" for line in lines)


def changes(sheet: str, segments: Sequence[Segment]) -> dict[int, str]:
    """What each segment whose line differs should read, in the order of the lines.

    Raises:
        BrokenSheet: a line has no number, one that no segment has, or one that an earlier line has.
    """
    shown = {segment.segment: clean(segment.text) for segment in segments}
    seen: set[int] = set()
    changed: dict[int, str] = {}
    for place, line in enumerate(sheet.removeprefix("\ufeff").split("\n"), 1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        found = _LINE.fullmatch(bare)
        if found is None:
            raise BrokenSheet(f"Line {place} does not begin with the number of a segment: {_short(bare)}")
        number, text = int(found[1]), clean(found[2] or "")
        if number not in shown:
            raise BrokenSheet(f"Line {place} begins with {number}, which no segment has: {_short(bare)}")
        if number in seen:
            raise BrokenSheet(f"Line {place} is the second one for segment {number}: {_short(bare)}")
        seen.add(number)
        if text != shown[number]:
            changed[number] = text
    return changed


def repeated(segments: Sequence[Segment], changed: Mapping[int, str]) -> list[tuple[str, str, int]]:
    """Words that were corrected the same way twice or more, one of these now: wrong, right, and how often."""
    return vocabulary.repeated(
        (
            clean(segment.text if segment.original is None else segment.original),
            clean(changed.get(segment.segment, segment.text)),
            segment.segment in changed,
        )
        for segment in segments
    )


def _short(line: str) -> str:
    line = clean(line)
    return line if len(line) <= 60 else line[:59] + "…"
