"""Whatever a model writes becomes a valid draft or a clear refusal; a reader never sees JSON."""

from __future__ import annotations

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convo.messages import ActionItem, Section
from convod.summary.parse import (
    ITEM_CHARS,
    ITEMS,
    KEYWORDS,
    NO_LABELS,
    SOURCES,
    SUMMARY_CHARS,
    TITLE_CHARS,
    BadAnswer,
    Labels,
    parse_answer,
)
from convod.summary.preview import SummaryText

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


LABELS = {"complaint": "Complaint", "findings": "Findings", "advice": "What to do"}


def streamed(text: str, size: int = 1, labels: Labels = NO_LABELS) -> tuple[str, bool]:
    summary = SummaryText(labels)
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
    assert draft.action_items == [ActionItem(text="do it", owner="Ann", due="Friday", sources=[])]
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
        ActionItem(text="call Bob", sources=[]),
        ActionItem(text="write", owner="Eve", sources=[]),
        ActionItem(text="rest", due="5", sources=[]),
        ActionItem(text="7", sources=[]),
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
    assert draft.action_items == [ActionItem(text="abc", owner="abc", due="abc", sources=[])]


DRAFT = '{"title": "Draft", "summary": "A draft", "key_points": ["x"], "action_items": [], "keywords": ["y"]}'


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"Let me see. {DRAFT} But no.\n</think>\n\n{WHOLE}", id="thoughts that never began"),
        pytest.param(f"{DRAFT}</thinking>```json\n{WHOLE}\n```", id="of the other name"),
        pytest.param(f"<think>{DRAFT}</think> Hm. {DRAFT} </think>{WHOLE}", id="twice"),
        pytest.param(f"{WHOLE}</think>", id="nothing behind"),
        pytest.param(f"{WHOLE}</think> That is it.", id="words behind"),
    ],
)
def test_the_answer_stands_behind_the_last_thought(text: str) -> None:
    assert parse_answer(text).title == "Weekly sync"


def test_a_summary_may_speak_of_the_mark_that_ends_thoughts() -> None:
    said = "They met </think> in a template."
    assert parse_answer(json.dumps({"title": "t", "summary": said, "key_points": ["{a}"]})).summary == said


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


# --- sources ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("point", "text", "sources"),
    [
        ({"text": "They spoke.", "sources": [3, 1, 3]}, "They spoke.", [1, 3]),
        ({"text": "They spoke.", "sources": []}, "They spoke.", []),
        ({"text": "They spoke."}, "They spoke.", []),
        ("They spoke.", "They spoke.", []),
        ("They spoke. [4, 7]", "They spoke.", [4, 7]),
        ({"text": "They spoke [4] twice [segment 7].", "sources": [1]}, "They spoke twice.", [1, 4, 7]),
        ({"text": "They spoke.", "sources": ["12", "[13]", "S14", "15-17"]}, "They spoke.", [12, 13, 14, 15, 17]),
        ({"text": "They spoke.", "sources": "5, 6"}, "They spoke.", [5, 6]),
        ({"text": "They spoke.", "sources": 8}, "They spoke.", [8]),
        ({"text": "They spoke.", "sources": [True, None, -3, 1.5, 10**30, "1" * 99, {}, [[[9]]]]}, "They spoke.", []),
        ({"text": "They said [sic] so.", "segments": [2]}, "They said [sic] so.", [2]),
    ],
)
def test_what_a_point_cites(point: object, text: str, sources: list[int]) -> None:
    draft = parse_answer(json.dumps({"summary": "s", "key_points": [point], "action_items": [point]}))
    assert (draft.key_points, draft.key_point_sources) == ([text], [sources])
    assert draft.action_items == [ActionItem(text=text, sources=sources)]


def test_a_point_that_comes_twice_cites_what_both_do() -> None:
    points = [{"text": "a", "sources": [1]}, {"text": "b", "sources": [2]}, {"text": "a", "sources": [3]}]
    draft = parse_answer(json.dumps({"summary": "s", "key_points": points}))
    assert (draft.key_points, draft.key_point_sources) == (["a", "b"], [[1, 3], [2]])


def test_the_number_of_sources_is_bounded() -> None:
    point = {"text": "a", "sources": list(range(100_000))}
    draft = parse_answer(json.dumps({"summary": "s", "key_points": [point]}))
    assert len(draft.key_point_sources[0]) == SOURCES


def test_citations_of_what_is_not_there_are_taken_away() -> None:
    draft = parse_answer(
        json.dumps(
            {
                "summary": "s",
                "key_points": [{"text": "a", "sources": [1, 2, 99]}, {"text": "b", "sources": [99]}],
                "action_items": [{"text": "c", "sources": [98, 2]}],
            }
        )
    )
    assert draft.cited == {1, 2, 98, 99}
    kept = draft.citing_only({1, 2, 3})
    assert kept.key_points == ["a", "b"]
    assert kept.key_point_sources == [[1, 2], []]
    assert kept.action_items[0].sources == [2]


def test_citations_in_the_summary_are_taken_out_of_it() -> None:
    draft = parse_answer('{"title": "T [1]", "summary": "They spoke [1, 2]. And left [3]."}')
    assert (draft.title, draft.summary) == ("T", "They spoke. And left.")


# --- fields -----------------------------------------------------------------------------------------------

FIELDS = {"complaint": "A cough.", "findings": ["Fever.", "A rash."], "other": "?", "advice": "Rest\nand drink."}
AS_TEXT = "Complaint\nA cough.\n\nFindings\nFever.\nA rash.\n\nWhat to do\nRest\nand drink."


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_fields_are_shown_below_their_labels_while_they_are_written(size: int) -> None:
    answer = json.dumps({"title": "t", "summary": FIELDS, "key_points": ["{", "summary"]})
    assert streamed(answer, size, LABELS) == (AS_TEXT, True)
    assert parse_answer(answer, LABELS).summary == AS_TEXT


def test_fields_are_sections_in_the_order_of_the_style() -> None:
    draft = parse_answer(json.dumps({"summary": {"findings": "F", "complaint": ""}}), LABELS)
    assert draft.sections == [
        Section(name="complaint", label="Complaint", text=""),
        Section(name="findings", label="Findings", text="F"),
        Section(name="advice", label="What to do", text=""),
    ]
    assert (draft.title, draft.summary) == ("F", "Findings\nF")
    shown, ended = streamed('{"summary": {"findings": "", "complaint": "C", "advice": ""}, "title": "t"}', 1, LABELS)
    assert (shown, ended) == ("Complaint\nC", True)


@pytest.mark.parametrize("said", ["plain text", ["plain text"], {"text": "plain text"}])
def test_a_model_that_ignores_the_fields_has_written_a_summary_all_the_same(said: object) -> None:
    draft = parse_answer(json.dumps({"summary": said}), LABELS)
    assert draft.summary == "plain text"
    assert not draft.sections


def test_fields_that_end_too_early() -> None:
    whole = json.dumps({"title": "t", "summary": FIELDS})
    for end in range(whole.index("cough") + 5, len(whole)):
        draft = parse_answer(whole[:end], LABELS, closing=True)
        assert draft.sections[0].text.startswith("A cough")


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*LABELS, "x"]), st.text() | st.lists(st.text(), max_size=3)), st.integers(1, 9))
def test_any_fields_stream_as_they_are_cut(fields: dict[str, object], size: int) -> None:
    answer = json.dumps({"summary": fields, "after": "no"})
    assert streamed(answer, size, LABELS) == streamed(answer, 10_000, LABELS)
