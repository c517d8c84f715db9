"""What stands left of a transcript: the cursor, a mark, the time, and who speaks.

In: a `SessionModel`, the styles of the theme. Out: segments of as many cells in every row, and how many these are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from rich.segment import Segment
from rich.style import Style

from convo.text import clock, width

from ..glyphs import Glyphs
from ..model.paragraphs import Flow
from ..model.session import SessionModel
from ..model.speakers import colour_of, initial
from .status import cut

SIGNS = 3
"""Cells of the cursor, the mark and a space, left of the times."""

_NAMED = 60  # cells of the view from which on there is room for names of speakers; initials otherwise
_LONGEST_NAME = 12  # cells


class Margin:
    """The margin of `model`. `style` gives the style of a part of the view; `times` says whether they are shown."""

    def __init__(self, model: SessionModel, glyphs: Glyphs, style: Callable[[str], Style]) -> None:
        self.times = False
        self._model = model
        self._glyphs = glyphs
        self._style = style
        self._names: dict[int, tuple[str, Style]] = {}  # of speakers, as they are drawn

    def __bool__(self) -> bool:
        """Whether there is more than signs in it."""
        return self.times or bool(self._names)

    @property
    def cells(self) -> int:
        """Its width."""
        return SIGNS + self._time_cells + self.name_cells

    @property
    def _time_cells(self) -> int:
        if not self.times:
            return 0
        return 7 if self._model.duration_s < 3600 else 9

    @property
    def name_cells(self) -> int:
        """The width of the names, which stand at its right edge: all of one, with room for a question mark."""
        return max((width(name) for name, _ in self._names.values()), default=-2) + 2

    def call_speakers(self, columns: int) -> None:
        """Look up how the speakers are called and drawn, in a view of so many cells."""
        speakers, ellipsis = self._model.speakers, self._glyphs.ellipsis
        if columns < _NAMED:
            names = {speaker: initial(speakers, speaker) for speaker in speakers}
        else:
            names = {speaker: cut(name, _LONGEST_NAME, ellipsis) for speaker, name in speakers.items()}
            shown = Counter(names.values())
            for speaker, name in names.items():  # their numbers tell apart what looks the same
                if shown[name] > 1:
                    names[speaker] = f"{cut(name, _LONGEST_NAME - 1 - len(str(speaker)), ellipsis)} {speaker}"
        self._names = {
            speaker: (name, self._style(f"speaker-{colour_of(speakers, speaker)}")) for speaker, name in names.items()
        }

    def row(self, start: float | None, flow: Flow | None, *, marked: bool, here: bool) -> list[Segment]:
        """Draw it beside a row: with a time, if a paragraph starts there, and with the name of who says `flow`."""
        segments = [
            Segment(self._glyphs.cursor if here else " ", self._style("caret")),
            Segment(self._glyphs.mark if marked else " ", self._style("mark")),
            Segment(" ", None),
        ]
        if room := self._time_cells:
            said = clock(start) if start is not None else ""
            segments.append(Segment(said.rjust(room - 2).ljust(room), self._style("time")))
        if self._names:
            segments.append(self._who(flow))
        return segments

    def _who(self, flow: Flow | None) -> Segment:
        """Who says a paragraph, with a question mark if that is not sure."""
        speaker = self._model.lines[flow.head].speaker if flow is not None else None
        name, style = self._names.get(speaker, ("", None)) if speaker is not None else ("", None)
        if name and flow is not None and not self._is_sure(flow):
            name, style = f"{name}?", self._style("unsure")
        return Segment(name + " " * (self.name_cells - width(name)), style)

    def _is_sure(self, flow: Flow) -> bool:
        lines = self._model.lines[flow.first : flow.first + len(flow.bounds) - 1]
        return any(line.sure for line in lines if line.text)
