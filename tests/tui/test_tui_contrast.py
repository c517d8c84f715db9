"""Text can be read: the contrast of the colours that our themes put on each other, measured as WCAG 2.2 does."""

from __future__ import annotations

import pytest
from textual.color import Color
from textual.theme import Theme

from convo_tui.model.speakers import COLOURS
from convo_tui.themes import THEMES

AA = 4.5
"""The least contrast of text, success criterion 1.4.3."""

AAA = 7.0
"""The least of text that is to be read from afar or by weak eyes, criterion 1.4.6."""

SPEAKERS = tuple(f"speaker-{number}" for number in range(1, COLOURS + 1))
SIGNS = ("bright", "foreground", "faint", "accent", "success", "warning", "error", "live", *SPEAKERS)
PAIRS = [
    *[(name, ground) for ground in ("background", "surface", "block-cursor-background") for name in SIGNS],
    *[(name, "panel") for name in ("bright", "foreground", "faint", "accent", "warning", "error")],
    ("footer-key-foreground", "footer-background"),
    ("footer-description-foreground", "footer-background"),
    ("block-cursor-foreground", "block-cursor-background"),
    ("block-cursor-blurred-foreground", "block-cursor-blurred-background"),
    ("background", "accent"),  # what a search found
]


def luminance(colour: Color) -> float:
    """Relative luminance, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    parts = [part / 255 for part in colour.rgb]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Color, other: Color) -> float:
    """https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio, 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def colours(theme: Theme) -> dict[str, Color]:
    named = {**theme.to_color_system().generate(), **theme.variables}
    return {name: Color.parse(named[name]) for pair in PAIRS for name in pair}


def test_the_measure_is_the_standards() -> None:
    assert contrast(Color.parse("#000"), Color.parse("#fff")) == pytest.approx(21)
    assert contrast(Color.parse("#777777"), Color.parse("#ffffff")) == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_text_has_contrast(theme: Theme) -> None:
    named = colours(theme)
    found = {pair: contrast(named[pair[0]], named[pair[1]]) for pair in PAIRS}
    # High contrast promises more, but on the row that is chosen, whose ground must itself be seen.
    least = {pair: AAA if theme.name == "convo-contrast" and not pair[1].startswith("block") else AA for pair in PAIRS}
    assert {pair: round(ratio, 2) for pair, ratio in found.items() if ratio < least[pair]} == {}


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_large_captions_are_readable_from_afar(theme: Theme) -> None:
    ground = Color.parse("#000000" if theme.dark else "#ffffff")  # as app.tcss has it
    assert contrast(Color.parse(theme.variables["bright"]), ground) >= AAA
    assert all(contrast(Color.parse(theme.variables[name]), ground) >= AA for name in ("faint", *SPEAKERS))
