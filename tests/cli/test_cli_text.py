"""Text from the network: nothing of it moves a cursor, and all of it that can be read stays."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convo_cli.text import clean, clean_json, clean_lines, clock, moment, size, table, tail, width

HOSTILE = st.text(
    st.sampled_from("ab 🙂é\x1b\x9b\x9d\x90\x07\\[]0;31mHJ\r\n\t\b\x00\x7f\x85\u2028\u202e\u2066"), max_size=60
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b2Jgone", "gone"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq secret \x1b\\picture", "picture"),
        ("\x1b]0;never ends", ""),
        ("\x1b]0;a\x1b[1mb", "0;ab"),  # the rest of a broken sequence is only text
        ("\x1bcreset", "reset"),
        ("over\rwrite", "over write"),
        ("back\b\b\b\bspace", "backspace"),
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("bell\x07 del\x7f zero\x00", "bell del zero"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("naïve 日本語 🙂", "naïve 日本語 🙂"),
        ("שלום\u200f!", "שלום\u200f!"),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(HOSTILE)
def test_clean_leaves_no_control_character(text: str) -> None:
    assert not [char for char in clean(text) if unicodedata.category(char) == "Cc"]
    assert not [char for char in clean_lines(text) if unicodedata.category(char) == "Cc" and char not in "\n\t"]


@given(HOSTILE)
def test_clean_text_stays_as_it_is(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_cleaning_takes_no_longer_for_hostile_text() -> None:
    for piece in ("\x1b]", "\x9d", "\x1b[", "\x1bP\x9d"):
        clean(piece * 200_000 + "\x1b")  # quadratic, this would run for hours


def test_lines_keep_their_lines() -> None:
    assert clean_lines("1\r\n00:00 --> 00:01\r\n\x1b[1mbold\n") == "1\n00:00 --> 00:01\nbold\n"


def test_json_keeps_its_value() -> None:
    import json

    value = {"text": "a\x9b2J\x7f\u2028\u202e\x1b é"}
    line = clean_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(line) == value
    assert line.isprintable()


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "00:00"), (9.99, "00:09"), (75, "01:15"), (3600, "1:00:00"), (36_061, "10:01:01"), (-1, "00:00")],
)
def test_clock(seconds: float, expected: str) -> None:
    assert clock(seconds) == expected


def test_moment() -> None:
    assert len(moment(1_700_000_000)) == len("2023-11-14 22:13")
    assert moment(1e300) == "?"


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (5_600_000, "5.6 MB"),
        (74_000, "74 kB"),
        (3_100_000_000, "3.1 GB"),
        (5e12, "5000 GB"),
    ],
)
def test_size(count: int, expected: str) -> None:
    assert size(count) == expected


def test_width_and_tail() -> None:
    assert width("日本") == 4
    assert width("e\u0301") == 1
    assert tail("short", 10) == "short"
    assert tail("the last words", 6) == "…words"
    assert tail("日本語", 5) == "…本語"
    assert tail("日本語", 4) == "…語"


@given(st.text(max_size=30), st.integers(1, 20))
def test_a_tail_fits(text: str, columns: int) -> None:
    assert width(tail(text, columns)) <= columns


def test_a_table_is_aligned_on_a_screen_and_cut_by_tabs_in_a_pipe() -> None:
    rows = [("1", "日本\tx"), ("22", "b\x1b[2J")]
    assert table(("ID", "TITLE"), rows, screen=True) == "ID  TITLE\n1   日本 x\n22  b\n"
    assert table(("ID", "TITLE"), rows, screen=False) == "1\t日本 x\n22\tb\n"
