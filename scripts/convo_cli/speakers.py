"""Who speaks in a session: list and name them, say that two are one, or who says what; and voices that are remembered.

In: a session's ID, numbers and names, the daemon's replies. Out: requests; a table or JSON lines on standard output.
"""

from __future__ import annotations

import sys

import msgspec

import convo
from convo.messages import (
    DeleteVoice,
    GetSessionReply,
    ListVoices,
    MergeSpeakers,
    RenameSpeaker,
    SetSpeaker,
)

from .arguments import Options
from .errors import Exit, Problem
from .link import connected, find
from .output import json_line, note, on_screen, put
from .text import clean, clock, moment, table


async def speakers(options: Options) -> None:
    """`convo speakers ID [NUMBER [NAME]]`."""
    async with connected(options) as client:
        _needs(client, "names")
        session = (await find(client, options.session)).session
        if options.speaker is None:
            _list(options, await client.get_session(session))
        else:
            await _change(client, options, session, options.speaker)


async def voices(options: Options) -> None:
    """`convo voices [--forget NAME]`."""
    async with connected(options) as client:
        _needs(client, "voices")
        if options.forget is not None:
            await client.request(DeleteVoice(name=options.forget))
            note(f"Forgot the voice of {clean(options.forget)}.")
            return
        known = (await client.request(ListVoices())).voices
    if options.json:
        put("".join(json_line(voice) for voice in known))
        return
    rows = [(voice.name, moment(voice.created), clock(voice.seconds)) for voice in known]
    put(table(("NAME", "SINCE", "HEARD"), rows, screen=on_screen(sys.stdout)))


def _needs(client: convo.Client, feature: str) -> None:
    if feature not in client.welcome.features:
        raise Problem(Exit.OTHER, "The daemon is too old for names of speakers: update it.")


async def _change(client: convo.Client, options: Options, session: str, number: int) -> None:
    if options.into is not None:
        await client.request(MergeSpeakers(session=session, speaker=number, into=options.into))
        note(f"Speaker {number} is speaker {options.into} now.")
        return
    for segment in options.segments or ():
        reply = await client.request(SetSpeaker(session=session, segment=segment, speaker=number or None))
        number = reply.speaker
    if options.segments:
        note(f"{len(options.segments)} segments are speaker {number}'s.")
    if options.called is not None:
        await client.request(
            RenameSpeaker(session=session, speaker=number, name=options.called, remember=options.remember)
        )
    elif not options.segments:
        _list(options, await client.get_session(session), number)


def _list(options: Options, record: GetSessionReply, only: int | None = None) -> None:
    """What each speaker is called, how much they say, and an example of it."""
    rows = []
    for speaker in record.speakers:
        said = [segment for segment in record.segments if segment.speaker == speaker.speaker and segment.text]
        if only in (None, speaker.speaker):
            seconds = sum(segment.end - segment.start for segment in said)
            longest = max(said, key=lambda segment: len(segment.text), default=None)
            rows.append((speaker, len(said), seconds, "" if longest is None else longest.text))
    if options.json:
        put("".join(
            json_line(msgspec.to_builtins(speaker) | {"segments": count, "seconds": round(seconds, 3)})
            for speaker, count, seconds, _ in rows
        ))  # fmt: skip
        return
    cells = [
        (str(speaker.speaker), speaker.name, str(count), clock(seconds), _short(text))
        for speaker, count, seconds, text in rows
    ]
    put(table(("NUMBER", "NAME", "SEGMENTS", "TIME", "SUCH AS"), cells, screen=on_screen(sys.stdout)))


def _short(text: str) -> str:
    text = clean(text)
    return text if len(text) <= 50 else text[:49] + "…"
