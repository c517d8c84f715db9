"""SRT and WebVTT as parsers that others wrote read them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st
from ttconv.imsc.reader import to_model
from ttconv.model import Br, P, Text

from convo.captions import captions
from convo.formats import render
from convo.messages import Segment, State
from convo.transcript import Transcript

JAPANESE = (
    "今日はとても良い天気ですね、散歩に行きましょう。それから、買い物をして、家に帰って料理を作りたいと思います。"
)
SPEECH = [
    (0.0, 4.2, "Good morning, everyone; before we begin I should say that the numbers are better than last year's."),
    (4.4, 5.0, "Yes & no."),
    (5.1, 6.0, "<i>Really</i> --> really?"),
    (12.0, 40.0, JAPANESE * 3),
    (3700.5, 3702.25, "Goodbye."),
]  # fmt: skip


def transcript(said: list[tuple[float, float, str]]) -> Transcript:
    segments = [
        Segment(segment=number, start=start, end=end, text=text, language="en", confidence=1.0)
        for number, (start, end, text) in enumerate(said)
    ]
    return Transcript(
        session="s", kind="file", title="", state=State.COMPLETED, created=0.0, duration_s=1.0,
        segments=segments, summary=None,
    )  # fmt: skip


def seconds(time: timedelta) -> float:
    return round(time.total_seconds(), 3)


def of_srt(text: str) -> list[tuple[float, float, str]]:
    return [(seconds(cue.start), seconds(cue.end), cue.content) for cue in srt.parse(text, ignore_errors=False)]


def of_vtt(text: str) -> list[tuple[float, float, str]]:
    unescaped = [("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")]
    cues = []
    for cue in webvtt.from_buffer(io.StringIO(text)):
        content = cue.raw_text
        for escaped, plain in unescaped:
            content = content.replace(escaped, plain)
        cues.append((round(cue.start_in_seconds, 3), round(cue.end_in_seconds, 3), content))
    return cues


def leaves(element: Any) -> Iterator[Any]:
    for child in element:
        if isinstance(child, Text | Br):
            yield child
        else:
            yield from leaves(child)


def of_ttml(text: str) -> list[tuple[float, float, str]]:
    document = to_model(ElementTree.ElementTree(ElementTree.fromstring(text)))
    assert document is not None
    cues = []
    for paragraph in document.get_body().dfs_iterator():
        if isinstance(paragraph, P):
            words = [each.get_text() if isinstance(each, Text) else "\n" for each in leaves(paragraph)]
            cues.append((float(paragraph.get_begin() or 0), float(paragraph.get_end()), "".join(words)))
    return cues


def test_all_formats_hold_the_captions() -> None:
    talk = transcript(SPEECH)
    shown = [(cue.start_ms / 1000, cue.end_ms / 1000, "\n".join(cue.lines)) for cue in captions(talk.segments)]
    assert len(shown) > 6
    assert of_srt(render(talk, "srt")) == shown
    assert of_ttml(render(talk, "ttml")) == shown
    parsed = of_vtt(render(talk, "vtt"))
    assert [text for _, _, text in parsed] == [text for _, _, text in shown]
    for (start, end, _), (begin, finish, _) in zip(parsed, shown, strict=True):
        # webvtt-py tells whole seconds in some versions.
        assert start in (begin, int(begin))
        assert end in (finish, int(finish))


def test_the_rules_hold_for_what_was_parsed() -> None:
    before = 0.0
    for start, end, text in of_srt(render(transcript(SPEECH), "srt")):
        lines = text.split("\n")
        assert len(lines) <= 2
        assert all(len(line) <= (21 if line[0] > "\u2e80" else 42) for line in lines)
        assert 1.0 <= end - start <= 7.0
        assert sum(map(len, lines)) <= 20 * (end - start) + 1e-6
        assert start >= before
        before = end


_said = st.lists(
    st.tuples(st.floats(0, 1e4), st.floats(0, 40), st.text(min_size=1, max_size=120).filter(str.isprintable)),
    max_size=6,
)


@pytest.mark.parametrize("format", ["srt", "vtt", "ttml"])
@given(said=_said)
def test_any_text_is_read_back_as_many_cues(format: str, said: list[tuple[float, float, str]]) -> None:
    talk = transcript(sorted((start, start + length, text) for start, length, text in said))
    read = {"srt": of_srt, "vtt": of_vtt, "ttml": of_ttml}[format]
    cues = read(render(talk, format))
    assert [text.strip() for _, _, text in cues] == ["\n".join(cue.lines).strip() for cue in captions(talk.segments)]
