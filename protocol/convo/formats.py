"""Renders a transcript as text: one function a format, found by its name.

In: a `Transcript`. Out: the text of a file, piece by piece: a talk of hours is never there as a whole unless the caller
wants it. Rendering is a pure function: the same transcript gives the same text at any time and place. To add a format,
write a generator here and put `@renders("name")` above it.

What was said, and what a language model wrote about it, is data: no format lets it break out of its place.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

import msgspec

from .captions import each_caption
from .messages import ActionItem, Bookmark, Segment, Summary
from .transcript import Transcript, one_line

Segments = Iterable[Segment]
"""In their order, to be read as often as a format needs: no iterator."""

Renderer = Callable[[Transcript, Segments], Iterator[str]]

FORMATS: dict[str, Renderer] = {}
"""Every format by its name, which is also the suffix of its files."""


def renders(name: str) -> Callable[[Renderer], Renderer]:
    """Make a function the renderer of a format."""

    def register(renderer: Renderer) -> Renderer:
        FORMATS[name] = renderer
        return renderer

    return register


def render(transcript: Transcript, format: str) -> str:
    """The transcript in a format: the text of a file, which ends with a line feed unless it is empty.

    Raises:
        ValueError: there is no such format; the text names those there are.
    """
    return "".join(render_pieces(transcript, format, transcript.segments))


def render_pieces(transcript: Transcript, format: str, segments: Segments) -> Iterator[str]:
    """The same in pieces of about a segment each, with `segments` in place of the transcript's own.

    Raises:
        ValueError: there is no such format; the text names those there are.
    """
    renderer = FORMATS.get(format)
    if renderer is None:
        raise ValueError(f"There is no format {format!r}; use one of {', '.join(FORMATS)}.")
    return renderer(transcript, segments)


@renders("txt")
def _txt(transcript: Transcript, segments: Segments) -> Iterator[str]:
    """One line a segment."""
    names = transcript.names
    for segment in segments:
        yield f"{_said_by(names, segment)}{one_line(segment.text)}\n"


@renders("srt")
def _srt(transcript: Transcript, segments: Segments) -> Iterator[str]:
    """SubRip."""
    for number, caption in enumerate(each_caption(_with_names(transcript.names, segments)), 1):
        if number > 1:
            yield "\n"
        yield f"{number}\n{_clock(caption.start_ms, ',')} --> {_clock(caption.end_ms, ',')}\n"
        yield from (f"{line}\n" for line in caption.lines)


@renders("vtt")
def _vtt(transcript: Transcript, segments: Segments) -> Iterator[str]:
    """WebVTT."""
    names = {speaker: _escape_vtt(name) for speaker, name in transcript.names.items()}
    yield "WEBVTT\n"
    for caption in each_caption(segments):
        yield f"\n{_clock(caption.start_ms, '.')} --> {_clock(caption.end_ms, '.')}\n"
        for line, speaker in zip(caption.lines, caption.speakers, strict=True):
            name = None if speaker is None else names.get(speaker)
            yield f"{_escape_vtt(line)}\n" if not name else f"<v {name}>{_escape_vtt(line)}</v>\n"


@renders("ttml")
def _ttml(transcript: Transcript, segments: Segments) -> Iterator[str]:
    """Timed text as broadcasters exchange it (W3C, TTML2): captions, each line's speaker as its agent."""
    language = next((segment.language for segment in segments), "")
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttm="http://www.w3.org/ns/ttml#metadata" '
        f'xml:lang="{language if _LANGUAGE_TAG.fullmatch(language) else ""}">\n<head>\n<metadata>\n'
        f"<ttm:title>{_escape_xml(title_of(transcript))}</ttm:title>\n"
    )
    if transcript.summary is not None:
        yield f"<ttm:desc>{_escape_xml(transcript.summary.summary)}</ttm:desc>\n"
    names = transcript.names
    for speaker, name in names.items():
        yield f'<ttm:agent xml:id="speaker{speaker}" type="person"><ttm:name type="full">{_escape_xml(name)}</ttm:name>'
        yield "</ttm:agent>\n"
    yield "</metadata>\n</head>\n<body>\n<div>\n"
    for caption in each_caption(segments):
        lines = [
            f'<span ttm:agent="speaker{speaker}">{_escape_xml(line)}</span>' if speaker in names else _escape_xml(line)
            for line, speaker in zip(caption.lines, caption.speakers, strict=True)
        ]
        begin, end = _clock(caption.start_ms, "."), _clock(caption.end_ms, ".")
        yield f'<p begin="{begin}" end="{end}">{"<br/>".join(lines)}</p>\n'
    yield "</div>\n</body>\n</tt>\n"


@renders("json")
def _json(transcript: Transcript, segments: Segments) -> Iterator[str]:
    """One object with the fields of get_session."""
    # No text can hold this: its quotation marks are escaped.
    before, place, after = _dump(_without_segments(transcript), indent=2).partition('"segments": []')
    yield before
    first = True
    for segment in segments:
        yield '"segments": [' if first else ","
        yield "\n    " + _dump(msgspec.to_builtins(segment), indent=2).replace("\n", "\n    ")
        first = False
    yield place if first else "\n  ]"
    yield after + "\n"


@renders("jsonl")
def _jsonl(transcript: Transcript, segments: Segments) -> Iterator[str]:
    """One object a line: the session, each segment, each mark, the summary; `type` says which."""
    session = _without_segments(transcript)
    del session["segments"]
    marks, summary = session.pop("marks"), session.pop("summary")
    yield _dump({"type": "session"} | session) + "\n"
    for segment in segments:
        yield _dump({"type": "segment"} | msgspec.to_builtins(segment)) + "\n"
    for mark in marks:
        yield _dump({"type": "mark"} | mark) + "\n"
    if summary is not None:
        yield _dump({"type": "summary"} | summary) + "\n"


@renders("md")
def _md(transcript: Transcript, segments: Segments) -> Iterator[str]:
    """Markdown: the summary with its lists, what was marked, then what was said and when."""
    summary = transcript.summary
    parts = [f"# {_escape_md(title_of(transcript))}", when_of(transcript)]
    if summary is not None:
        parts += _md_summary(summary, {segment.segment: segment.start for segment in segments})
    if transcript.marks:
        said = said_at([mark.time for mark in transcript.marks], segments)
        parts += ["## Marks", "\n".join(map(_md_mark, transcript.marks, said))]
    parts.append("## Transcript")
    yield "\n\n".join(parts)
    names = transcript.names
    for segment in segments:
        said_by = _escape_md(_said_by(names, segment))
        yield f"\n\n**{short_clock(segment.start)}** {f'**{said_by}** ' if said_by else ''}{_escape_md(segment.text)}"
    yield "\n"


def title_of(transcript: Transcript) -> str:
    """Its title, else its summary's, else the session's id; as one line."""
    written = "" if transcript.summary is None else one_line(transcript.summary.title)
    return one_line(transcript.title) or written or transcript.session


def when_of(transcript: Transcript) -> str:
    """When it was, and how long."""
    created = datetime.fromtimestamp(transcript.created, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{created} · {short_clock(transcript.duration_s)}"


def said_at(times: Sequence[float], segments: Segments) -> list[str]:
    """What is said at each of these times, else what is said next, or last; see `transcript.place_of`."""
    said = [""] * len(times)
    coming = deque(sorted(range(len(times)), key=times.__getitem__))
    text = ""
    for segment in segments:
        text = segment.text
        while coming and segment.end >= times[coming[0]]:
            said[coming.popleft()] = text
    for place in coming:
        said[place] = text
    return said


def cited(sources: list[int] | None, starts: Mapping[int, float]) -> str:
    """When what an item rests on was said; that it rests on nothing; or nothing, where neither is known."""
    if sources is None:
        return ""
    if not sources:
        return "no source"
    return ", ".join(dict.fromkeys(short_clock(starts[number]) for number in sources[:3] if number in starts))


def short_clock(seconds: float) -> str:
    """minutes:seconds, with hours where there are any."""
    whole = max(int(seconds), 0)
    return _long_clock(whole) if whole >= 3600 else f"{whole // 60:02d}:{whole % 60:02d}"


# --- pieces -----------------------------------------------------------------------------------------------


def _said_by(names: Mapping[int, str], segment: Segment) -> str:
    """What stands before a segment's text: the name of its speaker, if that is known."""
    name = None if segment.speaker is None else names.get(segment.speaker)
    return f"{name}: " if name else ""


def _with_names(names: Mapping[int, str], segments: Segments) -> Iterator[Segment]:
    """The segments, the name of the speaker before the text of each that is another one's than the last."""
    before: int | None = None
    for segment in segments:
        said_by = "" if segment.speaker == before else _said_by(names, segment)
        yield msgspec.structs.replace(segment, text=said_by + segment.text) if said_by else segment
        before = segment.speaker


def _md_summary(summary: Summary, starts: Mapping[int, float]) -> list[str]:
    parts = ["## Summary"]
    if summary.sections:
        for section in summary.sections:
            if text := [_escape_md(line) for line in section.text.splitlines() if one_line(line)]:
                parts += [f"### {_escape_md(section.label)}", *text]
    else:
        parts += [_escape_md(line) for line in summary.summary.splitlines() if one_line(line)]
    if summary.key_points:
        sources: Sequence[list[int] | None] = summary.key_point_sources or [None] * len(summary.key_points)
        points = [
            f"- {_escape_md(point)}{_md_cited(places, starts)}"
            for point, places in zip_longest(summary.key_points, sources[: len(summary.key_points)])
        ]
        parts += ["## Key points", "\n".join(points)]
    if summary.action_items:
        parts += ["## Action items", "\n".join(_md_task(item, starts) for item in summary.action_items)]
    if summary.keywords:
        parts += ["## Keywords", ", ".join(_escape_md(keyword) for keyword in summary.keywords)]
    if summary.unverified:
        parts.append(f"*Not in the transcript: {', '.join(map(_escape_md, summary.unverified))}*")
    return parts


def _md_task(item: ActionItem, starts: Mapping[int, float]) -> str:
    about = [_escape_md(text) for text in (item.owner, item.due) if text]
    return (
        f"- [ ] {_escape_md(item.text)}" + (f" ({', '.join(about)})" if about else "") + _md_cited(item.sources, starts)
    )


def _md_mark(mark: Bookmark, said: str) -> str:
    """When, and what was written beside it; else what was said there."""
    about = _escape_md(mark.text) or (f"*{_escape_md(said)}*" if said else "")
    return f"- **{short_clock(mark.time)}** {about}".rstrip()


def _without_segments(transcript: Transcript) -> dict[str, Any]:
    builtins: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(transcript, segments=[]))
    if not transcript.speakers:
        del builtins["speakers"]  # as before there were any
    return builtins


def _md_cited(sources: list[int] | None, starts: Mapping[int, float]) -> str:
    text = cited(sources, starts)
    return f" *({text})*" if text else ""


_MD_ANYWHERE = re.compile(r"([\\`*_\[\]<>|~$])")
_MD_FIRST = re.compile(r"^(?:([#+=-])|(\d+)([.)]))")
_MD_ENTITY = re.compile(r"&(?=#?\w+;)")


def _escape_md(text: str) -> str:
    """Text that Markdown shows as it is."""
    text = _MD_ANYWHERE.sub(r"\\\1", one_line(text))
    text = _MD_FIRST.sub(lambda found: f"\\{found[1]}" if found[1] else f"{found[2]}\\{found[3]}", text)
    return _MD_ENTITY.sub("&amp;", text)


def _escape_vtt(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_LANGUAGE_TAG = re.compile("[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


def xml_text(text: str) -> str:
    """Text as one line of characters that XML has."""
    return one_line(text).replace("\ufffe", "").replace("\uffff", "")


def _escape_xml(text: str) -> str:
    return _escape_vtt(xml_text(text))


def _clock(ms: int, point: str) -> str:
    """hours:minutes:seconds with milliseconds behind a point of one's choice."""
    seconds, ms = divmod(ms, 1000)
    return f"{_long_clock(seconds)}{point}{ms:03d}"


def _long_clock(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


# JSON escapes the control characters below 32 by itself; these are the others that it would let through, and the
# two that end a line for JavaScript.
_JSON_BARE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _dump(value: Any, indent: int | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _JSON_BARE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
