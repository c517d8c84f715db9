"""Whatever a model writes becomes a valid draft or a clear refusal; a reader never sees JSON."""

from __future__ import annotations

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convo.messages import ActionItem
from convod.summary.parse import (
    ITEM_CHARS,
    ITEMS,
    KEYWORDS,
    SUMMARY_CHARS,
    TITLE_CHARS,
    BadAnswer,
    SummaryText,
    parse_answer,
)

ANSWER = {
    "title": "Weekly sync",
    "summary": 'They said "hé" \\ 한국어 😀\nand more.',
    "key_points": ["one", "two"],
    "action_items": [{"text": "do it", "owner": "Ann", "due": "Friday"}],
    "keywords": ["alpha", "beta"],
}
WHOLE = json.dumps(ANSWER)
AROUND = [
    ("", ""),
    ("```json\n", "\n```"),
    ("Sure, here it is:\n\n", "\n\nAnything {else}?"),
    ('<think>A {"summary": "wrong"} maybe?</think>\n', ""),
    ("<thinking>\n{hm}\n</thinking>", ""),
    ("\n  ", "  \n"),
]


def streamed(text: str, size: int = 1) -> tuple[str, bool]:
    summary = SummaryText()
    shown = "".join(summary.feed(text[at : at + size]) for at in range(0, len(text), size))
    return shown, summary.ended


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(("before", "after"), AROUND)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_summary_is_shown_while_it_is_written(before: str, after: str, size: int, ascii_only: bool) -> None:
    text = before + json.dumps(ANSWER, ensure_ascii=ascii_only) + after
    assert streamed(text, size) == (ANSWER["summary"], True)


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.recursive(st.text() | st.integers(), st.lists, max_leaves=5)), st.text())
def test_any_json_around_the_summary(others: dict[str, object], said: str) -> None:
    others.pop("summary", None)
    text = json.dumps({**others, "nested": {"summary": "not this"}, "list": ["summary", {"summary": "nor this"}]})
    shown, ended = streamed(f'{text[:-1]}, "summary": {json.dumps(said)}}}')
    expected, _ = streamed(f'{{"summary": {json.dumps(said)}}}')
    assert shown == expected
    assert ended


@settings(deadline=None)
@given(st.text())
def test_any_text_is_safe_to_stream_and_to_parse(text: str) -> None:
    shown, _ = streamed(text)
    shown.encode()
    for closing in (False, True):
        with suppress(BadAnswer):
            msgspec.msgpack.encode(parse_answer(text, closing=closing).action_items)


def test_what_is_shown_is_safe_and_bounded() -> None:
    assert streamed('{"summary": "a\\u001b[31mb\\ud83d\\ude00\\ud83dc\\u202ed')[0] == "a[31mb😀cd"
    assert len(streamed(f'{{"summary": "{"x" * 20000}"}}')[0]) == SUMMARY_CHARS


@pytest.mark.parametrize(("before", "after"), AROUND)
def test_a_whole_answer(before: str, after: str) -> None:
    draft = parse_answer(before + WHOLE + after)
    assert draft.title == "Weekly sync"
    assert draft.summary == ANSWER["summary"]
    assert draft.key_points == ["one", "two"]
    assert draft.action_items == [ActionItem(text="do it", owner="Ann", due="Friday")]
    assert draft.keywords == ["alpha", "beta"]


def test_trailing_commas_and_raw_line_ends() -> None:
    draft = parse_answer('{"title": "t",\n "summary": "a\nb, ]}",\n "key_points": ["x", "y",\n ],\n}')
    assert (draft.summary, draft.key_points) == ("a\nb, ]}", ["x", "y"])


def test_missing_fields_and_other_types() -> None:
    draft = parse_answer(
        json.dumps(
            {
                "summary": ["First this.", "Then that."],
                "key_points": "- one\n- two\n\n3. three",
                "action_items": [
                    "call Bob",
                    {"task": "write", "assignee": "Eve", "deadline": None},
                    {"description": "rest", "owner": "N/A", "due": 5},
                    {"owner": "nobody"},
                    7,
                    None,
                ],
                "keywords": "a, b;c、d",
            }
        )
    )
    assert draft.title == "First this."
    assert draft.summary == "First this.\nThen that."
    assert draft.key_points == ["one", "two", "three"]
    assert draft.action_items == [
        ActionItem(text="call Bob"),
        ActionItem(text="write", owner="Eve"),
        ActionItem(text="rest", due="5"),
        ActionItem(text="7"),
    ]
    assert draft.keywords == ["a", "b", "c", "d"]


def test_points_alone_are_a_summary() -> None:
    assert parse_answer('{"key_points": ["a", "b"]}').summary == "a\nb"


def test_a_model_does_not_choose_sizes() -> None:
    draft = parse_answer(
        json.dumps(
            {
                "title": "t" * 9999,
                "summary": "s " * 9999,
                "key_points": [f"{at} {'k' * 999}" for at in range(99)],
                "action_items": [{"text": f"{at} {'a' * 999}", "owner": "o" * 999} for at in range(99)],
                "keywords": [f"k{at}" for at in range(999)],
            }
        )
    )
    assert len(draft.title) <= TITLE_CHARS
    assert len(draft.summary) <= SUMMARY_CHARS
    assert len(draft.key_points) == len(draft.action_items) == ITEMS
    assert max(map(len, draft.key_points)) <= ITEM_CHARS
    assert len(draft.keywords) == KEYWORDS


def test_control_characters_are_stripped_everywhere() -> None:
    bad = "a\x1b[2Jb\u202ec\x00"
    draft = parse_answer(
        json.dumps(
            {
                "title": bad,
                "summary": bad,
                "key_points": [bad],
                "action_items": [{"text": bad, "owner": bad, "due": bad}],
                "keywords": [bad],
            }
        )
    )
    assert (draft.title, draft.summary, draft.key_points, draft.keywords) == ("abc", "abc", ["abc"], ["abc"])
    assert draft.action_items == [ActionItem(text="abc", owner="abc", due="abc")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "an empty answer"),
        ("<think>never ends", "an empty answer"),
        ("I cannot do that.", "no JSON object of a summary"),
        ("{}", "no JSON object of a summary"),
        ('["summary"]', "no JSON object of a summary"),
        ('{"summary": ""}', "an empty summary"),
        ('{"summary": null, "key_points": []}', "an empty summary"),
        (WHOLE[:60], "no JSON object of a summary"),
        pytest.param("[" * 200_000, "no JSON object of a summary", id="lists without end"),
        pytest.param('{"summary":' * 50_000, "no JSON object of a summary", id="objects without end"),
        pytest.param("{" * 200_000, "no JSON object of a summary", id="braces without end"),
    ],
)
def test_what_is_no_summary(text: str, reason: str) -> None:
    with pytest.raises(BadAnswer, match=reason):
        parse_answer(text)


def test_an_answer_that_ends_too_early_is_closed() -> None:
    """At every place, and never with half a value made up."""
    begins = WHOLE.index("They")
    for end in range(begins + 4, len(WHOLE)):
        draft = parse_answer(WHOLE[:end], closing=True)
        assert draft.title == "Weekly sync"
        assert str(ANSWER["summary"]).startswith(draft.summary)
        assert len(draft.key_points) <= 2
        assert all(item.text == "do it"[: len(item.text)] for item in draft.action_items)
