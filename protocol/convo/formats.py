"""Renders a transcript as text: one function a format, found by its name.

In: a `Transcript`. Out: the text of a file. Rendering is a pure function: the same transcript gives the same text
at any time and place. To add a format, write a function here and put `@renders("name")` above it.

What was said, and what a language model wrote about it, is data: no format lets it break out of its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

import msgspec

from .captions import captions
from .messages import ActionItem, Bookmark, Segment, Summary
from .transcript import Transcript, one_line, place_of

Renderer = Callable[[Transcript], str]

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
    renderer = FORMATS.get(format)
    if renderer is None:
        raise ValueError(f"There is no format {format!r}; use one of {', '.join(FORMATS)}.")
    return renderer(transcript)


@renders("txt")
def _txt(transcript: Transcript) -> str:
    """One line a segment."""
    return "".join(f"{one_line(segment.text)}\n" for segment in transcript.segments)


@renders("srt")
def _srt(transcript: Transcript) -> str:
    """SubRip."""
    return "\n".join(
        f"{number}\n{_clock(caption.start_ms, ',')} --> {_clock(caption.end_ms, ',')}\n"
        + "".join(f"{line}\n" for line in caption.lines)
        for number, caption in enumerate(captions(transcript.segments), 1)
    )


@renders("vtt")
def _vtt(transcript: Transcript) -> str:
    """WebVTT."""
    return "WEBVTT\n" + "".join(
        f"\n{_clock(caption.start_ms, '.')} --> {_clock(caption.end_ms, '.')}\n"
        + "".join(f"{_escape_vtt(line)}\n" for line in caption.lines)
        for caption in captions(transcript.segments)
    )


@renders("json")
def _json(transcript: Transcript) -> str:
    """One object with the fields of get_session."""
    return _dump(msgspec.to_builtins(transcript), indent=2) + "\n"


@renders("jsonl")
def _jsonl(transcript: Transcript) -> str:
    """One object a line: the session, each segment, each mark, the summary; `type` says which."""
    session = msgspec.to_builtins(transcript)
    segments, marks = session.pop("segments"), session.pop("marks")
    summary = session.pop("summary")
    lines = [{"type": "session"} | session]
    lines += [{"type": "segment"} | segment for segment in segments]
    lines += [{"type": "mark"} | mark for mark in marks]
    if summary is not None:
        lines.append({"type": "summary"} | summary)
    return "".join(f"{_dump(line)}\n" for line in lines)


@renders("md")
def _md(transcript: Transcript) -> str:
    """Markdown: the summary with its lists, what was marked, then what was said and when."""
    summary = transcript.summary
    title = transcript.title or (summary.title if summary is not None else "") or transcript.session
    created = datetime.fromtimestamp(transcript.created, UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [f"# {_escape_md(title)}", f"{created} · {_short_clock(transcript.duration_s)}"]
    if summary is not None:
        parts += _md_summary(summary, {segment.segment: segment.start for segment in transcript.segments})
    if transcript.marks:
        parts += ["## Marks", "\n".join(_md_mark(mark, transcript.segments) for mark in transcript.marks)]
    parts.append("## Transcript")
    parts += [f"**{_short_clock(segment.start)}** {_escape_md(segment.text)}" for segment in transcript.segments]
    return "\n\n".join(parts) + "\n"


# --- pieces -----------------------------------------------------------------------------------------------


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
            f"- {_escape_md(point)}{_md_cited(cited, starts)}"
            for point, cited in zip_longest(summary.key_points, sources[: len(summary.key_points)])
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


def _md_mark(mark: Bookmark, segments: Sequence[Segment]) -> str:
    """When, and what was written beside it; else what was said there."""
    place = min(place_of(mark.time, segments), len(segments) - 1)
    about = _escape_md(mark.text) or (f"*{_escape_md(segments[place].text)}*" if place >= 0 else "")
    return f"- **{_short_clock(mark.time)}** {about}".rstrip()


def _md_cited(sources: list[int] | None, starts: Mapping[int, float]) -> str:
    """When what an item rests on was said; that it rests on nothing; or nothing, where neither is known."""
    if sources is None:
        return ""
    if not sources:
        return " *(no source)*"
    times = dict.fromkeys(_short_clock(starts[number]) for number in sources[:3] if number in starts)
    return f" *({', '.join(times)})*" if times else ""


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


def _clock(ms: int, point: str) -> str:
    """hours:minutes:seconds with milliseconds behind a point of one's choice."""
    seconds, ms = divmod(ms, 1000)
    return f"{_long_clock(seconds)}{point}{ms:03d}"


def _long_clock(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _short_clock(seconds: float) -> str:
    whole = max(int(seconds), 0)
    return _long_clock(whole) if whole >= 3600 else f"{whole // 60:02d}:{whole % 60:02d}"


# JSON escapes the control characters below 32 by itself; these are the others that it would let through, and the
# two that end a line for JavaScript.
_JSON_BARE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _dump(value: Any, indent: int | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _JSON_BARE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
