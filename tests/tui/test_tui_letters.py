"""Large letters, from tables: our own, and those of a font that is installed. No screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from convo_tui.widgets.letters import LARGE, LATIN, MIDDLE, NARROW, draw, letter
from convo_tui.widgets.unifont import Unifont


def test_letters_for_what_europeans_write() -> None:
    assert LATIN.has("The quick brown fox jumps over the lazy dog. 0123456789 !?,;:'\"()-")
    assert LATIN.has("Größe, façade, naïve, Ångström, žluťoučký, año, ÉÜÑ, đaëïöü“”’…–")
    assert not LATIN.has("日")
    assert not LATIN.has("ж")
    for char in "AaÄçéÅgjI.ñ":
        rows = letter(char)
        assert rows is not None
        assert len(rows) == LATIN.height
        assert len({len(row) for row in rows}) == 1
    assert letter("a") != letter("ä")
    assert letter("E") != letter("É")


@pytest.mark.parametrize("size", [NARROW, MIDDLE, LARGE])
def test_large_lines_fit_and_lose_no_letter(size) -> None:  # type: ignore[no-untyped-def]
    text = "It will take about three days. Extraordinarilylongword!"
    lines = LATIN.wrap(text, 60, size)
    assert "".join(text[start:end] for start, end in lines).replace(" ", "") == text.replace(" ", "")
    for start, end in lines:
        rows = draw(text[start:end], size)
        assert len(rows) == LATIN.rows(size)
        assert len({len(row) for row in rows}) == 1
        assert len(rows[0]) <= 60 + 2 or end - start == 1


ICHI, COMMA, A = "0000" * 7 + "7FFE" + "0000" * 8, "0000" * 12 + "3000" * 4, "00" * 4 + "18" * 12


def test_letters_of_a_font_that_is_installed(tmp_path: Path) -> None:
    font = tmp_path / "unifont.hex"
    font.write_text(f"0041:{A}\n0416:{ICHI}\n0627:{A}\n0E31:{A}\n3001:{COMMA}\n4E00:{ICHI}\n4E01:bad\n4E02:{A}")
    face = Unifont(font)
    # Not: as wide as no terminal shows it, from the right, above another, missing, broken, the end of the file.
    assert [face.letter(char) is not None for char in "一、AЖا\u0e31二丁丂"] == [True] * 3 + [False] * 6
    assert draw("A一", MIDDLE, face)[3] == "   ██    " + "▄" * 14 + " "
    assert [len(row) for row in draw("A一", NARROW, face)] == [12] * 8
    assert len(draw("A一", LARGE, face)) == face.rows(LARGE) == 16
    # As in the terminal itself: a comma begins no line.
    assert face.wrap("一一一、A", 24, NARROW) == [(0, 2), (2, 5)]
