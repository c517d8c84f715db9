"""A transcript as a Word document, for clients: the daemon offers formats of text only.

In: a transcript. Out: the bytes of a .docx file. The package python-docx is imported when a document is made. What was
said is text of the document: it never becomes a field, a link or markup.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .errors import ConvoError
from .formats import cited, said_at, short_clock, title_of, when_of, xml_text
from .transcript import Transcript, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docx.document import Document

    from .messages import Summary

DOCX = "docx"
"""The format's name, which is also the suffix of its files."""


class NoDocx(ConvoError):
    """The package that writes Word documents is missing."""


def render_docx(transcript: Transcript) -> bytes:
    """Title, date, summary, marks, and what was said with times and speakers; the same parts as the format md.

    Raises:
        NoDocx: python-docx is not installed.
    """
    try:
        import docx
    except ImportError:
        raise NoDocx("Word documents need the package python-docx: run `pip install 'convo[docx]'`.") from None
    document = docx.Document()
    title = xml_text(title_of(transcript))
    properties = document.core_properties
    properties.title, properties.author, properties.comments = title[:255], "", ""
    properties.created = properties.modified = datetime.fromtimestamp(transcript.created, UTC)
    document.add_heading(title, 0)
    document.add_paragraph(when_of(transcript))
    if transcript.summary is not None:
        _add_summary(document, transcript.summary, {each.segment: each.start for each in transcript.segments})
    if transcript.marks:
        document.add_heading("Marks", 1)
        said = said_at([mark.time for mark in transcript.marks], transcript.segments)
        for mark, text in zip(transcript.marks, said, strict=True):
            _add(document, xml_text(mark.text or text), short_clock(mark.time), style="List Bullet")
    document.add_heading("Transcript", 1)
    names = transcript.names
    for segment in transcript.segments:
        name = "" if segment.speaker is None else names.get(segment.speaker, "")
        _add(document, xml_text(segment.text), short_clock(segment.start), f"{xml_text(name)}:" if name else "")
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def _add_summary(document: Document, summary: Summary, starts: Mapping[int, float]) -> None:
    document.add_heading("Summary", 1)
    for section in summary.sections or ():
        if one_line(section.text):
            document.add_heading(xml_text(section.label), 2)
            _add_lines(document, section.text)
    if not summary.sections:
        _add_lines(document, summary.summary)
    if summary.key_points:
        document.add_heading("Key points", 1)
        for number, point in enumerate(summary.key_points):
            sources = (summary.key_point_sources or [])[number : number + 1]
            _add_item(document, point, sources[0] if sources else None, starts)
    if summary.action_items:
        document.add_heading("Action items", 1)
        for item in summary.action_items:
            about = ", ".join(filter(None, (item.owner, item.due)))
            _add_item(document, f"☐ {item.text}" + (f" ({about})" if about else ""), item.sources, starts)
    if summary.keywords:
        document.add_heading("Keywords", 1)
        document.add_paragraph(xml_text(", ".join(summary.keywords)))
    if summary.unverified:
        _add_italic(document, f"Not in the transcript: {', '.join(summary.unverified)}")


def _add_lines(document: Document, text: str) -> None:
    for line in text.splitlines():
        if one_line(line):
            document.add_paragraph(xml_text(line))


def _add_item(document: Document, text: str, sources: list[int] | None, starts: Mapping[int, float]) -> None:
    paragraph = document.add_paragraph(xml_text(text), style="List Bullet")
    if when := cited(sources, starts):
        paragraph.add_run(f" ({when})").italic = True


def _add_italic(document: Document, text: str) -> None:
    document.add_paragraph().add_run(xml_text(text)).italic = True


def _add(document: Document, text: str, *strong: str, style: str | None = None) -> None:
    """A paragraph that begins with what is strong: a time, perhaps a name."""
    paragraph = document.add_paragraph(style=style)
    paragraph.add_run(" ".join(filter(None, strong))).bold = True
    paragraph.add_run(f" {text}")
