"""Text from outside is safe before anyone sees it."""

from __future__ import annotations

import pytest

from convod.summary.text import block, clip, line, safe


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\x00b\x07c\x7fd\x9be", "abcde"),
        ("abc\u202edef\u2066ghi", "abcdefghi"),
        ("tab\there", "tab here"),
        ("one\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
        ("lone \ud800 surrogate", "lone  surrogate"),
        ("می\u200cخواهم 👨‍👩‍👧", "می\u200cخواهم 👨‍👩‍👧"),
        ("\U000e0041hidden", "hidden"),
    ],
)
def test_safe(text: str, expected: str) -> None:
    assert safe(text) == expected
    safe(text).encode()


def test_clip_falls_between_words_and_shows() -> None:
    assert clip("one two three", 10) == "one two…"
    assert clip("한" * 20, 5) == "한한한한…"
    assert clip("short", 5) == "short"


def test_line_and_block() -> None:
    assert line(" a \n b\t c ", 100) == "a b c"
    assert block("  a   b \n\n\n\n c ", 100) == "a b\n\nc"
