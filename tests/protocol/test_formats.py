"""Each format is read back by a strict little parser."""

from __future__ import annotations

import io
import json
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from convo.formats import FORMATS, render
from convo.messages import ActionItem, Bookmark, GetSessionReply, Section, Segment, Speaker, State, Summary, Word
from convo.transcript import Transcript, one_line, place_of

XML, TT, TTM = (
    f"{{{name}}}"
    for name in (
        "http://www.w3.org/XML/1998/namespace", "http://www.w3.org/ns/ttml", "http://www.w3.org/ns/ttml#metadata",
    )
)  # fmt: skip
NASTY = "a\x00b\x1b[2Jc\x07\x9b <i>&</i> -->\r\nd\u2028e \ud800f"

SUMMARY = Summary(
    provider="p",
    model="m",
    title="Weekly",
    summary="On time.\n\n# Really\n",
    key_points=["- One", "2. Two"],
    action_items=[ActionItem(text="Write it", owner="Ana", due="Friday"), ActionItem(text="Rest")],
    keywords=["release", "a*b"],
    language="en",
)


def segment(number: int, start: float, end: float, text: str) -> Segment:
    return Segment(segment=number, start=start, end=end, text=text, language="en", confidence=0.5)


def transcript(*segments: Segment, summary: Summary | None = None, title: str = "Talk") -> Transcript:
    return Transcript(
        session="s",
        kind="live",
        title=title,
        state=State.COMPLETED,
        created=1_767_225_600.0,
        duration_s=3725.5,
        segments=list(segments),
        summary=summary,
    )


TALK = transcript(
    segment(0, 0.0, 1.5, "Good morning."),
    segment(1, 3599.5, 3601.0, "Goodbye & thanks <all>."),
    summary=SUMMARY,
)

Cue = tuple[int, int, list[str]]
_CLOCK = r"(\d{2,}):([0-5]\d):([0-5]\d)%s(\d{3})"


def parse_clock(match: re.Match[str], first: int) -> int:
    hours, minutes, seconds, ms = (int(match[first + at]) for at in range(4))
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + ms


def parse_cue(lines: list[str], point: str) -> Cue:
    clock = _CLOCK % re.escape(point)
    match = re.fullmatch(f"{clock} --> {clock}", lines[0])
    assert match, lines
    text = lines[1:]
    assert text
    assert all("-->" not in line and line.strip() for line in text)
    return parse_clock(match, 1), parse_clock(match, 5), text


def parse_srt(text: str) -> list[Cue]:
    if not text:
        return []
    assert text.endswith("\n")
    cues = []
    for number, block in enumerate(text.removesuffix("\n").split("\n\n"), 1):
        first, *rest = block.split("\n")
        assert first == str(number)
        cues.append(parse_cue(rest, ","))
    return cues


def parse_vtt(text: str) -> list[Cue]:
    assert text.startswith("WEBVTT\n")
    assert text.endswith("\n")
    _, *blocks = text.removesuffix("\n").split("\n\n")
    cues = [parse_cue(block.split("\n"), ".") for block in blocks]
    entity = re.compile(r"&(amp|lt|gt);")
    for _, _, lines in cues:
        for at, line in enumerate(lines):
            assert not set("<>&") & set(entity.sub("", line))
            lines[at] = entity.sub(lambda found: {"amp": "&", "lt": "<", "gt": ">"}[found[1]], line)
    return cues


def test_names() -> None:
    assert list(FORMATS) == ["txt", "srt", "vtt", "ttml", "json", "jsonl", "md"]


def test_unknown_format_names_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no format 'pdf'; use one of txt, srt, vtt, ttml, json, jsonl, md\."):
        render(TALK, "pdf")


def test_txt_is_one_line_a_segment() -> None:
    assert render(TALK, "txt") == "Good morning.\nGoodbye & thanks <all>.\n"
    assert render(transcript(segment(0, 0, 1, NASTY)), "txt").count("\n") == 1


def test_srt() -> None:
    assert render(TALK, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,500\nGood morning.\n\n2\n00:59:59,500 --> 01:00:01,000\nGoodbye & thanks <all>.\n"
    )


def test_vtt() -> None:
    assert render(TALK, "vtt") == (
        "WEBVTT\n"
        "\n00:00:00.000 --> 00:00:01.500\nGood morning.\n"
        "\n00:59:59.500 --> 01:00:01.000\nGoodbye &amp; thanks &lt;all&gt;.\n"
    )


def test_ttml() -> None:
    talk = msgspec.structs.replace(CALL, title='A "<talk>"', summary=SUMMARY)
    root = ElementTree.fromstring(render(talk, "ttml"))
    assert root.attrib[f"{XML}lang"] == "en"
    assert root.findtext(f".//{TTM}title") == 'A "<talk>"'
    assert root.findtext(f".//{TTM}desc") == "On time. # Really"
    agents = {agent.attrib[f"{XML}id"]: agent.findtext(f"{TTM}name") for agent in root.iter(f"{TTM}agent")}
    assert agents == {"speaker1": "Speaker 1", "speaker2": "Ana <b> & *Bo* -->"}
    said = [
        (line.attrib["begin"], line.attrib["end"], *((span.attrib[f"{TTM}agent"], span.text) for span in line))
        for line in root.iter(f"{TT}p")
    ]
    assert said[:2] == [
        ("00:00:00.000", "00:00:02.000", ("speaker1", "Hello.")),
        ("00:00:10.000", "00:00:12.000", ("speaker2", "Yes?")),
    ]
    assert said[3][2:] == ()
    root = ElementTree.fromstring(render(transcript(segment(0, 0, 1, "a\ufffe\uffffb")), "ttml"))
    assert [line.text for line in root.iter(f"{TT}p")] == ["ab"]


def test_json_is_the_whole_transcript() -> None:
    assert msgspec.json.decode(render(TALK, "json"), type=Transcript) == TALK
    words = [Word(start=0.0, end=1.0, word="x", confidence=1.0)]
    spoken = transcript(msgspec.structs.replace(TALK.segments[0], words=words))
    assert msgspec.json.decode(render(spoken, "json"), type=Transcript) == spoken
    assert json.loads(render(spoken, "json"))["summary"] is None


def test_jsonl_is_one_object_a_line() -> None:
    lines = [json.loads(line) for line in render(TALK, "jsonl").splitlines()]
    assert [line.pop("type") for line in lines] == ["session", "segment", "segment", "summary"]
    assert lines[0] == {
        "session": "s",
        "kind": "live",
        "title": "Talk",
        "state": "completed",
        "created": 1_767_225_600.0,
        "duration_s": 3725.5,
    }
    assert msgspec.convert(lines[1], Segment) == TALK.segments[0]
    assert msgspec.convert(lines[3], Summary) == SUMMARY
    assert len(render(transcript(), "jsonl").splitlines()) == 1


def test_md() -> None:
    assert render(TALK, "md") == (
        "# Talk\n\n"
        "2026-01-01 00:00 UTC · 01:02:05\n\n"
        "## Summary\n\nOn time.\n\n\\# Really\n\n"
        "## Key points\n\n- \\- One\n- 2\\. Two\n\n"
        "## Action items\n\n- [ ] Write it (Ana, Friday)\n- [ ] Rest\n\n"
        "## Keywords\n\nrelease, a\\*b\n\n"
        "## Transcript\n\n"
        "**00:00** Good morning.\n\n"
        "**59:59** Goodbye & thanks \\<all\\>.\n"
    )


def test_md_finds_a_title() -> None:
    assert render(transcript(title="", summary=SUMMARY), "md").startswith("# Weekly\n")
    assert render(transcript(title=""), "md").startswith("# s\n")
    assert "&amp;lt;" in render(transcript(title="&lt;"), "md")


@pytest.mark.parametrize("format", list(FORMATS))
def test_no_text_breaks_out_of_its_place(format: str) -> None:
    summary = Summary(
        provider=NASTY,
        model=NASTY,
        title=NASTY,
        summary=NASTY,
        key_points=[NASTY],
        action_items=[ActionItem(text=NASTY, owner=NASTY, due=NASTY)],
        keywords=[NASTY],
        language=NASTY,
    )
    text = render(transcript(segment(0, 0, 3, NASTY), title=NASTY, summary=summary), format)
    text.encode()  # no lone surrogate
    assert all(char == "\n" or char.isprintable() for char in text)


@pytest.mark.parametrize("format", list(FORMATS))
def test_no_segments(format: str) -> None:
    text = render(transcript(), format)
    assert text == "" or text.endswith("\n")


_SEGMENTS = st.lists(
    st.builds(
        segment,
        st.just(0),
        st.floats(0, 400_000),
        st.floats(0, 400_000),
        st.text(st.sampled_from("ab -->&<>;\n\r\x1b今。") | st.characters(), max_size=150),
    ),
    max_size=6,
)


@given(segments=_SEGMENTS)
def test_captions_of_both_formats_are_the_same(segments: list[Any]) -> None:
    talk = transcript(*segments)
    cues = parse_srt(render(talk, "srt"))
    assert parse_vtt(render(talk, "vtt")) == cues
    assert all(start < end for start, end, _ in cues)
    assert all(end <= start for (_, end, _), (start, _, _) in pairwise(cues))
    assert render(talk, "srt") == render(talk, "srt")


@given(segments=_SEGMENTS)
def test_json_reads_back(segments: list[Any]) -> None:
    talk = transcript(*segments)
    assert [line["text"] for line in json.loads(render(talk, "json"))["segments"]] == [
        segment.text for segment in segments
    ]


def test_transcript_of_a_reply() -> None:
    fields = {name: getattr(TALK, name) for name in TALK.__struct_fields__}
    assert Transcript.of(GetSessionReply(id=1, **fields)) == TALK


@given(text=st.text())
def test_one_line_is_one_line(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert line == line.strip()
    assert "  " not in line
    assert one_line(line) == line


TRUSTED = msgspec.structs.replace(
    SUMMARY,
    key_points=["One", "Two", "Three"],
    key_point_sources=[[0, 1], [], [77]],
    action_items=[ActionItem(text="Write it", owner="Ana", sources=[1]), ActionItem(text="Rest", sources=[])],
    unverified=["An*a", "5"],
)


def test_markdown_says_what_each_point_rests_on() -> None:
    text = render(transcript(*TALK.segments, summary=TRUSTED), "md")
    assert "- One *(00:00, 59:59)*\n- Two *(no source)*\n- Three\n" in text
    assert "- [ ] Write it (Ana) *(59:59)*\n- [ ] Rest *(no source)*\n" in text
    assert "*Not in the transcript: An\\*a, 5*" in text


def test_markdown_has_a_heading_for_each_field_that_holds_something() -> None:
    sections = [
        Section(name="complaint", label="# Complaint", text="A cough.\n- dry"),
        Section(name="findings", label="Findings", text=""),
    ]
    text = render(transcript(*TALK.segments, summary=msgspec.structs.replace(SUMMARY, sections=sections)), "md")
    assert "## Summary\n\n### \\# Complaint\n\nA cough.\n\n\\- dry\n\n## Key points" in text
    assert "Findings" not in text
    assert "On time" not in text


def test_json_has_all_of_a_summary() -> None:
    summary = json.loads(render(transcript(summary=TRUSTED), "json"))["summary"]
    assert summary["key_point_sources"] == [[0, 1], [], [77]]
    assert summary["action_items"][1] == {"text": "Rest", "sources": []}


MARKED = msgspec.structs.replace(
    TALK,
    marks=[Bookmark(time=0.5), Bookmark(time=2.0, text="# the *end*"), Bookmark(time=1e5)],
)


def test_markdown_lists_marks_with_what_was_written_or_said_there() -> None:
    text = render(MARKED, "md")
    assert "## Marks\n\n- **00:00** *Good morning.*\n- **00:02** \\# the \\*end\\*\n- **27:46:40** *Goodbye" in text
    assert text.index("## Keywords") < text.index("## Marks") < text.index("## Transcript")
    assert "## Marks" not in render(TALK, "md")
    assert "- **00:00**\n" in render(msgspec.structs.replace(MARKED, segments=[]), "md")


def test_json_has_all_marks() -> None:
    expected = [{"time": 0.5}, {"time": 2.0, "text": "# the *end*"}, {"time": 1e5}]
    assert json.loads(render(MARKED, "json"))["marks"] == expected
    lines = [json.loads(line) for line in render(MARKED, "jsonl").splitlines()]
    assert "marks" not in lines[0]
    assert [line for line in lines if line["type"] == "mark"] == [{"type": "mark"} | mark for mark in expected]
    assert [line["type"] for line in lines] == ["session", *["segment"] * 2, *["mark"] * 3, "summary"]


@pytest.mark.parametrize("name", ["txt", "srt", "vtt"])
def test_captions_and_plain_text_are_the_words_alone(name: str) -> None:
    assert render(MARKED, name) == render(TALK, name)


@pytest.mark.parametrize(("time", "place"), [(0.0, 0), (1.5, 0), (1.6, 1), (3601.0, 1), (3602.0, 2)])
def test_where_a_mark_belongs(time: float, place: int) -> None:
    assert place_of(time, TALK.segments) == place


# --- speakers ---------------------------------------------------------------------------------------------


def talk_of(names: dict[int, str], *said: tuple[int | None, str]) -> Transcript:
    return Transcript(
        session="s_01",
        kind="live",
        title="Call",
        state=State.COMPLETED,
        created=0.0,
        duration_s=10.0 * len(said),
        segments=[
            Segment(
                segment=at,
                start=10.0 * at,
                end=10.0 * at + 2,
                text=text,
                language="en",
                confidence=0.9,
                speaker=speaker,
            )
            for at, (speaker, text) in enumerate(said)
        ],
        summary=None,
        speakers=[Speaker(speaker=number, name=name) for number, name in names.items()],
    )


CALL = talk_of({1: "Speaker 1", 2: "Ana <b> & *Bo*\n-->"}, (1, "Hello."), (2, "Yes?"), (2, "Go on."), (None, "Hm."))


@pytest.mark.parametrize(
    ("format", "lines"),
    [
        ("txt", ["Speaker 1: Hello.", "Ana <b> & *Bo* -->: Yes?", "Ana <b> & *Bo* -->: Go on.", "Hm."]),
        ("srt", ["Speaker 1: Hello.", "Ana <b> & *Bo* ->: Yes?", "Go on.", "Hm."]),
        (
            "vtt",
            [
                "<v Speaker 1>Hello.</v>",
                "<v Ana &lt;b&gt; &amp; *Bo* --&gt;>Yes?</v>",
                "<v Ana &lt;b&gt; &amp; *Bo* --&gt;>Go on.</v>",
                "Hm.",
            ],
        ),
        ("md", ["**00:00** **Speaker 1:** Hello.", r"**00:10** **Ana \<b\> & \*Bo\* --\>:** Yes?", "**00:30** Hm."]),
    ],
)
def test_who_speaks_is_in_every_text(format: str, lines: list[str]) -> None:
    text = render(CALL, format).splitlines()
    assert [line for line in text if line in lines] == lines


def test_two_speakers_in_one_caption_have_a_voice_each() -> None:
    segments = [
        Segment(segment=0, start=0, end=0.2, text="Yes.", language="en", confidence=1, speaker=1),
        Segment(segment=1, start=0.4, end=2.0, text="No.", language="en", confidence=1, speaker=2),
    ]
    both = msgspec.structs.replace(talk_of({1: "A", 2: "B"}), segments=segments)
    assert "<v A>Yes.</v>\n<v B>No.</v>\n" in render(both, "vtt")
    assert [cue.text for cue in webvtt.from_buffer(io.StringIO(render(both, "vtt")))] == ["Yes.\nNo."]


def test_json_names_speakers_and_their_segments_and_leaves_them_out_where_nobody_knows() -> None:
    told = json.loads(render(CALL, "json"))
    assert told["speakers"][0] == {"speaker": 1, "name": "Speaker 1"}
    assert [segment.get("speaker") for segment in told["segments"]] == [1, 2, 2, None]
    assert "speakers" not in json.loads(render(talk_of({}, (None, "Hm.")), "json"))
    assert json.loads(render(CALL, "jsonl").splitlines()[0])["speakers"] == told["speakers"]
