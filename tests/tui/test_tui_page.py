"""The rows of a transcript, and its margin, without a screen."""

from __future__ import annotations

import pytest
from rich.style import Style

from convo.messages import SpeakerLabel, TranscriptPartial
from convo_tui.glyphs import ASCII
from convo_tui.model.page import Page, chars
from convo_tui.model.session import SessionModel
from convo_tui.widgets.margin import SIGNS, Margin
from tests.tui.test_tui_model import segment

SAID = ("One two three.", "Four five.", "Six seven eight nine.")
STARTS = (0.0, 1.2, 9.0)
"""The second sentence flows on behind the first, the third follows a pause."""


def page_of(width: int, current: str = "") -> Page:
    model = SessionModel()
    for number, (start, text) in enumerate(zip(STARTS, SAID, strict=True)):
        model.apply(segment(number, text, start))
    if current:
        model.apply(TranscriptPartial(session="s", segment=3, start=10.1, end=11, stable=current, tentative="on"))
    page = Page(model)
    page.layout.resize(width)
    page.extend()
    return page


def rows(page: Page) -> list[str]:
    """What stands in each row."""
    found = []
    for row in range(page.height):
        _, text, spans, within = page.place(row)
        found.append(text[slice(*spans[within])] if 0 <= within < len(spans) else "")
    return found


@pytest.mark.parametrize(
    ("width", "current", "expected", "tail"),
    [
        (20, "", ["One two three. Four", "five.", "", "Six seven eight", "nine."], 5),
        (40, "", ["One two three. Four five.", "", "Six seven eight nine."], 3),
        (20, "Ten", ["One two three. Four", "five.", "", "Six seven eight", "nine. Ten on"], 2),
    ],
)
def test_paragraphs_are_wrapped_and_the_current_sentence_flows_on(
    width: int, current: str, expected: list[str], tail: int
) -> None:
    page = page_of(width, current)
    assert rows(page) == expected
    assert [row for row in range(page.height) if page.tail_at(row) is not None] == list(range(tail, page.height))
    assert page.place(page.height).flow is None


@pytest.mark.parametrize("current", ["", "Ten"])
def test_a_line_is_found_by_its_rows_and_a_row_by_its_line(current: str) -> None:
    page = page_of(20, current)
    assert [page.rows_of(line) for line in range(3)] == [(0, 1), (0, 2), (3, 5)]
    assert [page.line_at(row, column) for row, column in ((0, 0), (0, 15), (1, 0), (3, 3), (9, 0))] == [0, 1, 1, 2, 2]


def test_cells_of_wide_characters_are_two() -> None:
    assert [chars(text, 4) for text in ("abcdef", "東京都庁", "ab")] == [4, 2, 2]


def test_a_margin_is_of_one_width_in_all_rows() -> None:
    page = page_of(20)
    margin = Margin(page.model, ASCII, lambda name: Style())

    def drawn(row: int, *, marked: bool = False, here: bool = False) -> str:
        flow, _, _, within = page.place(row)
        first = flow if within == 0 else None
        start = page.model.lines[flow.head].start if flow is not None and within == 0 else None
        return "".join(segment.text for segment in margin.row(start, first, marked=marked, here=here))

    margin.call_speakers(80)
    assert (bool(margin), margin.cells, drawn(0)) == (False, SIGNS, "   ")
    margin.times = True
    for number, speaker in enumerate((1, 1, 2)):
        page.model.apply(
            SpeakerLabel(
                session="s", seq=9 + number, segment=number, speaker=speaker, confidence=0.9 if speaker == 1 else 0.1
            )
        )
    page.reread()
    page.extend()
    margin.call_speakers(80)
    assert drawn(0, here=True, marked=True) == f"{ASCII.cursor}{ASCII.mark} 00:00  Speaker 1  "
    assert drawn(1) == " " * margin.cells
    last, _ = page.rows_of(2)
    assert drawn(last) == "   00:09  Speaker 2? "
    margin.call_speakers(40)
    assert drawn(last) == "   00:09  2? "
