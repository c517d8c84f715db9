"""The last lines of a session, as large as the widget allows.

In: a `SessionModel` that others change. Out: rows, the newest words always at the bottom; what does not fit is left
out.
"""

from __future__ import annotations

from contextlib import suppress
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from ..model.layout import wrap
from ..model.paragraphs import joint
from ..model.session import Line, SessionModel, is_turn
from ..model.speakers import COLOURS, colour_of, is_unnamed
from .letters import LARGE, LATIN, MIDDLE, NARROW, Face, Size, draw
from .unifont import Unifont, find_font

_LINES = 12  # finished lines to consider
_SIZES: tuple[Size | None, ...] = (None, NARROW, MIDDLE, LARGE)

NO_FONT = (
    "Large letters of this script need the font Unifont: install it (Debian and Ubuntu: apt install unifont; else put "
    "unifont.hex into ~/.local/share/unifont), or enlarge the terminal's own font, in most terminals with ctrl and +."
)
"""Shown while the last words cannot be drawn. No font of these scripts is a part of convo: they are of another licence,
or larger than it."""

NO_LETTERS = (
    "There are no large letters for what was said last: enlarge the terminal's own font, in most terminals with "
    "ctrl and +."
)
"""The same where Unifont is installed."""

Run = tuple[str, str]
"""A piece of text, and the name of its style."""


class BigCaptions(Widget):
    """Draws `model`; refresh it after a change. `note` is shown while there are no words."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "captions--final",
        "captions--stable",
        "captions--tentative",
        "captions--note",
        *(f"captions--speaker-{number}" for number in range(1, COLOURS + 1)),
    }

    def __init__(self, model: SessionModel, *, ascii_only: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self.model = model
        self.note = ""
        self._ascii = ascii_only
        self._faces: list[Face] = [LATIN]
        if (font := find_font()) is not None:
            with suppress(OSError):  # as if there were none
                self._faces.append(Unifont(font))
        self._step = 0
        self._rows: list[list[Segment]] | None = None
        self._drawn: object = None

    def resize_letters(self, step: int) -> None:
        """Make letters larger or smaller than the automatic choice."""
        self._step = max(-3, min(3, self._step + step))
        self.refresh()

    def letters(self, face: Face = LATIN) -> Size | None:
        """The current size of a face's letters; None is the terminal's own text."""
        if self._ascii:
            return None
        best = 0
        for place, size in enumerate(_SIZES):
            if size is not None:
                across = self.size.width / (face.wide * size.across)
                if across >= face.enough and self.size.height // face.rows(size) >= face.lines:
                    best = place
        wanted = max(0, min(len(_SIZES) - 1, best + self._step))
        # Letters higher than the widget would leave it empty.
        fits = [size for size in _SIZES[: wanted + 1] if size is None or face.rows(size) <= self.size.height - 2]
        return fits[-1]

    def _face(self, text: str) -> Face | None:
        """The face that has all letters of a text."""
        return next((face for face in self._faces if face.has(text)), None)

    def render_line(self, y: int) -> Strip:
        """Draw one row."""
        state = (
            self.size, self._step, self.note, self.model.lines[-_LINES:], self.model.partial, id(self.model),
            list(self.model.speakers.items()), self.app.theme,
        )  # fmt: skip
        if self._rows is None or state != self._drawn:
            self._drawn = state
            self._rows = self._all()
        place = y - (self.size.height - len(self._rows))
        segments = self._rows[place] if 0 <= place < len(self._rows) else []
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style).apply_style(self.rich_style)

    # --- rows ---------------------------------------------------------------------------------------------

    def _all(self) -> list[list[Segment]]:
        """The rows that fit, the newest last."""
        rows: list[list[Segment]] = []
        for runs in reversed(self._said()):
            drawn = self._draw(runs)
            if len(rows) + len(drawn) > self.size.height:
                room = self.size.height - len(rows)
                whole = self._row_height(runs)
                rows = drawn[len(drawn) - room // whole * whole :] + rows if room >= whole else rows
                break
            rows = drawn + rows
        if self._small_by_need and self.size.height - len(rows) >= 2:
            style = self._style("note")
            why = NO_LETTERS if len(self._faces) > 1 else NO_FONT
            said = [[Segment("  "), Segment(row, style)] for row in wrap(why, self.size.width - 4)]
            if self.size.height - len(rows) > len(said):
                rows = [*said, *[[] for _ in range(self.size.height - len(rows) - len(said))], *rows]
        return rows

    @property
    def _small_by_need(self) -> bool:
        """Whether large letters are wanted, and there are none for what was said last."""
        said = self._said()
        return bool(said) and self.letters() is not None and self._face(_text(said[-1])) is None

    def _said(self) -> list[list[Run]]:
        said: list[list[Run]] = []
        lines = [line for line in self.model.lines[-_LINES:] if line.text]
        for before, line in zip([None, *lines], lines, strict=False):
            runs = [(line.text, "final")]
            other = line.speaker is not None and (before is None or before.speaker != line.speaker)
            if other and line.speaker is not None:
                runs.insert(0, self._who(line.speaker, line))
            self._flow(said, runs, other or (before is not None and is_turn(before, line.start)))
        partial = self.model.partial
        if partial is not None:
            runs = [(partial.stable, "stable")] if partial.stable else []
            if partial.tentative:
                runs.append(((" " if runs else "") + partial.tentative, "tentative"))
            self._flow(said, runs, bool(lines) and is_turn(lines[-1], partial.start))
        if not said and self.note:
            said.append([(self.note, "note")])
        return [runs for runs in said if runs]

    def _who(self, speaker: int, line: Line) -> Run:
        """Who speaks, before what they say: a name, or only the number where there is none, to leave room."""
        name = self.model.speakers.get(speaker, "")
        # A name in another script would keep the line from being drawn large.
        short = is_unnamed(speaker, name) or (self._face(line.text) is not self._face(line.text + name))
        called = str(speaker) if short else name
        if not line.sure:
            return f"{called}?: ", "tentative"
        return f"{called}: ", f"speaker-{colour_of(self.model.speakers, speaker)}"

    def _row_height(self, runs: list[Run]) -> int:
        face = self._face(_text(runs))
        size = self.letters(face) if face is not None else None
        return face.rows(size) if face is not None and size is not None else 1

    def _draw(self, runs: list[Run]) -> list[list[Segment]]:
        text = _text(runs)
        face = self._face(text)
        size = self.letters(face) if face is not None else None
        if face is None or size is None:
            return self._plain(text, runs)
        room = self.size.width - 4
        rows: list[list[Segment]] = []
        for start, end in face.wrap(text, room, size):
            pieces = list(_pieces(runs, start, end))
            # In the narrow size two pixels share a cell: a piece starts at a whole cell, or its letters would shift.
            drawn = [(draw(part, size, face), self._style(style)) for part, style in pieces if part]
            for row in range(face.rows(size)):
                rows.append([Segment("  "), *(Segment(lines[row], style) for lines, style in drawn)])
        return rows

    def _plain(self, text: str, runs: list[Run]) -> list[list[Segment]]:
        rows: list[list[Segment]] = []
        at = 0
        roomy = self.size.height >= 16
        for row in wrap(text, self.size.width - 4):
            at = max(at, text.find(row, at))
            pieces = _pieces(runs, at, at + len(row))
            at += len(row)
            rows.append([Segment("  "), *(Segment(part, self._style(style)) for part, style in pieces)])
        return [*rows, []] if roomy else rows

    def _flow(self, said: list[list[Run]], runs: list[Run], turn: bool) -> None:
        """Add what was said: it flows on unless a pause precedes it, or it is drawn in other letters."""
        text = _text(runs)
        before = _text(said[-1]) if said else ""
        if not before or turn or self._face(before) is not self._face(text):
            said.append(runs)
            return
        if gap := joint(before, text):
            said[-1].append((gap, runs[0][1]))
        said[-1].extend(runs)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"captions--{name}")


def _text(runs: list[Run]) -> str:
    return "".join(text for text, _ in runs)


def _pieces(runs: list[Run], start: int, end: int) -> list[Run]:
    """The part of the runs between two places of their whole text."""
    pieces: list[Run] = []
    at = 0
    for text, style in runs:
        piece = text[max(0, start - at) : max(0, end - at)]
        if piece:
            pieces.append((piece, style))
        at += len(text)
    return pieces
