"""A Word document as python-docx reads it."""

from __future__ import annotations

import io
import subprocess
import sys

import docx
import msgspec
import pytest

from convo.docx_file import render_docx
from convo.messages import ActionItem, Bookmark, Section, Segment, Speaker, State, Summary
from convo.transcript import Transcript

SUMMARY = Summary(
    provider="p",
    model="m",
    title="Weekly",
    summary="On time.\n\nReally.",
    key_points=["One", "Two"],
    key_point_sources=[[0, 1], []],
    action_items=[ActionItem(text="Write it", owner="Ana", due="Friday", sources=[1]), ActionItem(text="Rest")],
    keywords=["release", "budget"],
    language="en",
    unverified=["Ano"],
)
TALK = Transcript(
    session="s",
    kind="file",
    title="",
    state=State.COMPLETED,
    created=1_767_225_600.0,
    duration_s=75.0,
    segments=[
        Segment(segment=0, start=0, end=2, text="<w:p>Hello & welcome", language="en", confidence=1, speaker=1),
        Segment(segment=1, start=65, end=70, text="a\x00b\ufffe\ud800\x1b", language="en", confidence=1),
    ],
    summary=SUMMARY,
    marks=[Bookmark(time=1.0), Bookmark(time=66.0, text="who?")],
    speakers=[Speaker(speaker=1, name="Ana\n<b>")],
)


def lines(transcript: Transcript) -> list[str]:
    document = docx.Document(io.BytesIO(render_docx(transcript)))
    return [
        f"{style.name}: {paragraph.text}" for paragraph in document.paragraphs if (style := paragraph.style) is not None
    ]


def test_a_document_has_everything() -> None:
    assert lines(TALK) == [
        "Title: Weekly",
        "Normal: 2026-01-01 00:00 UTC · 01:15",
        "Heading 1: Summary",
        "Normal: On time.",
        "Normal: Really.",
        "Heading 1: Key points",
        "List Bullet: One (00:00, 01:05)",
        "List Bullet: Two (no source)",
        "Heading 1: Action items",
        "List Bullet: ☐ Write it (Ana, Friday) (01:05)",
        "List Bullet: ☐ Rest",
        "Heading 1: Keywords",
        "Normal: release, budget",
        "Normal: Not in the transcript: Ano",
        "Heading 1: Marks",
        "List Bullet: 00:01 <w:p>Hello & welcome",
        "List Bullet: 01:06 who?",
        "Heading 1: Transcript",
        "Normal: 00:00 Ana <b>: <w:p>Hello & welcome",
        "Normal: 01:05 ab",
    ]


def test_fields_of_a_style_are_headings_and_an_empty_talk_is_a_document() -> None:
    sections = [Section(name="a", label="Findings", text="A cough."), Section(name="b", label="Empty", text=" ")]
    text = lines(msgspec.structs.replace(TALK, summary=msgspec.structs.replace(SUMMARY, sections=sections)))
    assert text[2:5] == ["Heading 1: Summary", "Heading 2: Findings", "Normal: A cough."]
    bare = msgspec.structs.replace(TALK, summary=None, segments=[], marks=[], title="x" * 300)
    assert lines(bare) == [f"Title: {'x' * 300}", "Normal: 2026-01-01 00:00 UTC · 01:15", "Heading 1: Transcript"]


@pytest.mark.parametrize("module", ["convod.daemon", "convo.docx_file", "convo_cli.history"])
def test_the_package_is_imported_when_a_document_is_made(module: str) -> None:
    code = f"import sys, {module}; sys.exit('docx' in sys.modules or 'lxml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
