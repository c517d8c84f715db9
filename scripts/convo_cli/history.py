"""Stored sessions: list, read, follow, search, rename, stop, delete.

In: a session's ID or its beginning, and the daemon's replies. Out: text for people, JSON lines for programs. Titles,
words and summaries are data: they are cleaned before they are printed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

import convo
from convo.docx_file import DOCX, NoDocx, render_docx
from convo.errors import BadAudio
from convo.messages import (
    CancelSession,
    DeleteSession,
    GetSessionReply,
    Search,
    SessionInfo,
    State,
    UpdateSession,
)
from convo.redaction import NAME, NAMES, Redactor, silences
from convo.transcript import Transcript

from .arguments import EXPORTS, Options
from .captions import Captions
from .errors import Exit, Problem, failed
from .link import connected, find, linked, sessions
from .output import Lines, colours, json_line, note, on_screen, put, write_file
from .sound import export_sound
from .summaries import BOLD, DIM, PLAIN, starts_of, summary_for_output
from .text import clean, clock, file_name, moment, table
from .transcripts import fit, format_of


async def ls(options: Options) -> None:
    """`convo ls`."""
    state = State(options.state) if options.state else None
    async with connected(options) as client:
        found = await sessions(client, limit=options.limit, state=state, kind=options.kind)
    if options.json:
        put("".join(json_line(info) for info in found))
        return
    # New columns come last: scripts count them.
    head = ("ID", "STATE", "KIND", "BEGUN", "LENGTH", "TITLE", "LANGUAGE", "WHY")
    rows = [
        (
            info.session, info.state, info.kind, moment(info.created), clock(info.duration_s), info.title,
            info.language or "", info.message or info.code or "",
        )
        for info in found
    ]  # fmt: skip
    put(table(head, rows, screen=on_screen(sys.stdout)))


async def show(options: Options) -> None:
    """`convo show ID`."""
    async with connected(options) as client:
        info = await find(client, options.session)
        record = await client.get_session(info.session)
    put(_record_line(record) if options.json else _record_text(record, bold=colours(sys.stdout)))


async def watch(options: Options) -> None:
    """`convo watch ID`."""
    lines = Lines()
    captions = Captions(lines, times=options.times, json=options.json)
    try:
        async with linked(options, captions.note) as link, trio.open_nursery() as nursery:
            nursery.start_soon(lines.run)
            info = await link.ask(lambda client: find(client, options.session))
            async for event in convo.Follower(link, info.session):
                captions.show(event)
            lines.close()
    finally:
        captions.erase()
    if captions.state is not None and captions.state.state is State.FAILED:
        raise failed(captions.state.code, captions.state.message)


async def export(options: Options) -> None:
    """`convo export ID --format F [-o OUT] [--audio OUT.wav]`."""
    output = Path(options.output) if options.output is not None else None
    format = format_of(options.format, output, json=options.json, formats=EXPORTS)
    if format == DOCX and output is None:
        raise Problem(Exit.USAGE, "A Word document needs a file: give -o OUT.docx.")
    names = _names(options.redact_names)
    async with connected(options) as client:
        info = await find(client, options.session)
        if options.audio is not None:
            await _export_sound(client, info.session, Path(options.audio), options.redact, names)
            if output is None:
                return
        if format == DOCX:
            content: str | bytes = await _document(client, info.session, options.redact, names)
        else:
            text = await client.export(info.session, format, redact=options.redact, redact_names=names)
            content = fit(text, format)
    if output is None:
        put(str(content))
    else:
        write_file(output, content)


async def _document(client: convo.Client, session: str, redact: list[str], names: list[str]) -> bytes:
    transcript = Transcript.of(await client.get_session(session))

    def render() -> bytes:
        return render_docx(Redactor(redact, names).redacted(transcript) if redact else transcript)

    try:
        return await trio.to_thread.run_sync(render)
    except NoDocx as error:
        raise Problem(Exit.USAGE, str(error)) from None


async def _export_sound(client: convo.Client, session: str, output: Path, redact: list[str], names: list[str]) -> None:
    silent: list[tuple[float, float]] = []
    if redact:
        transcript = Transcript.of(await client.get_session(session))
        silent = await trio.to_thread.run_sync(silences, Redactor(redact, names), transcript)
        if silent and not any(segment.words for segment in transcript.segments):
            note("This session has no times of words: whole segments are silent. `--words` keeps them.")
    try:
        await export_sound(client, session, output, silent)
    except BadAudio as error:
        raise Problem(Exit.BAD_AUDIO, str(error)) from None


def _names(path: str | None) -> list[str]:
    """The names in a file, one a line."""
    if path is None:
        return []
    try:
        names = [name for line in Path(path).read_text(encoding="utf-8").splitlines() if (name := line.strip())]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise Problem(Exit.USAGE, f"Cannot read {file_name(path)}: {reason}.") from None
    try:
        Redactor(["names"], names)
    except ValueError:
        raise Problem(
            Exit.USAGE,
            f"{file_name(path)}: put at most {NAMES} names into it, one a line, of at most {NAME} characters.",
        ) from None
    return names


async def search(options: Options) -> None:
    """`convo search WORDS`."""
    async with connected(options) as client:
        hits = (await client.request(Search(query=options.query, limit=options.limit, summaries=True))).hits
    if options.json:
        put("".join(json_line(hit) for hit in hits))
        return
    rows = [
        (hit.session, clock(hit.start) if hit.source == "segment" else "summary", hit.snippet or hit.text)
        for hit in hits
    ]
    put(table(("ID", "AT", "TEXT"), rows, screen=on_screen(sys.stdout)))


async def rename(options: Options) -> None:
    """`convo rename ID TITLE`."""
    async with connected(options) as client:
        info = await find(client, options.session)
        await client.request(UpdateSession(session=info.session, title=options.title))


async def cancel(options: Options) -> None:
    """`convo cancel ID`."""
    async with connected(options) as client:
        info = await find(client, options.session)
        await client.request(CancelSession(session=info.session))
    note(f"Cancelled {info.session}; what was transcribed is kept.")


async def rm(options: Options) -> None:
    """`convo rm ID`."""
    async with connected(options) as client:
        info = await find(client, options.session)
        await client.request(DeleteSession(session=info.session))
    note(f"Forgot {info.session}{_called(info)}.")


def _called(info: SessionInfo) -> str:
    return f" ({clean(info.title)})" if clean(info.title) else ""


def _record_line(record: GetSessionReply) -> str:
    import msgspec

    plain = msgspec.to_builtins(record)
    for name in ("type", "id", "more"):
        plain.pop(name, None)
    return json_line(plain)


def _record_text(record: GetSessionReply, *, bold: bool) -> str:
    strong, dim, plain = (BOLD, DIM, PLAIN) if bold else ("", "", "")
    title = clean(record.title) or record.session
    about = f"{record.session}, {record.kind}, {record.state}, {moment(record.created)}, {clock(record.duration_s)}"
    if record.language:
        about += f", {record.language}"
    text = f"{strong}{title}{plain}\n{clean(about)}\n"
    if why := clean(record.message or record.code or ""):
        text += f"{why}\n"
    names = {speaker.speaker: f"{clean(speaker.name)}: " for speaker in record.speakers}
    said = [segment for segment in record.segments if segment.text or segment.original is None]
    if said:
        text += "\n" + "".join(
            f"{dim}{clock(segment.start)}{plain}  {names.get(segment.speaker or 0, '')}{clean(segment.text)}\n"
            for segment in said
        )
    if record.summary is not None:
        text += "\n" + summary_for_output(record.summary, starts_of(record.segments))
    return text
