"""What is said of segments that are stored already: who speaks, what speakers are called, and corrections.

In: durable events; out: rows beside the segments, and the index as it reads now.
"""

from __future__ import annotations

from convo.messages import (
    DurableEvent,
    Label,
    SegmentCorrected,
    SpeakerLabel,
    SpeakerRenamed,
    SpeakersMerged,
    SpeakersRevised,
)
from convod.store import search
from convod.store.base import BY_USER, SpeakerNames
from convod.store.sql import Connection, Index


def annotate(index: Index, connection: Connection, event: DurableEvent) -> None:
    """Store what an event says about segments that were stored before it."""
    match event:
        case SpeakerLabel():
            _label(connection, event.session, event)
        case SpeakersRevised():
            for label in event.labels:
                _label(connection, event.session, label)
        case SpeakerRenamed():
            connection.execute(
                "INSERT INTO speakers (session, speaker, name, folded) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (session, speaker) DO UPDATE SET name = excluded.name, folded = excluded.folded",
                (event.session, event.speaker, event.name, search.folded_name(event.name)),
            )
        case SpeakersMerged():
            connection.execute(
                "UPDATE annotations SET speaker = ? WHERE session = ? AND speaker = ?",
                (event.into, event.session, event.speaker),
            )
            connection.execute(
                "INSERT INTO speakers (session, speaker, into_speaker) VALUES (?, ?, ?) "
                "ON CONFLICT (session, speaker) DO UPDATE SET into_speaker = excluded.into_speaker",
                (event.session, event.speaker, event.into),
            )
            connection.execute(
                "UPDATE speakers SET into_speaker = ? WHERE session = ? AND into_speaker = ?",
                (event.into, event.session, event.speaker),
            )
            connection.execute(
                "UPDATE speakers SET into_speaker = NULL WHERE session = ? AND speaker = ?", (event.session, event.into)
            )
        case SegmentCorrected():
            connection.execute(
                "INSERT INTO annotations (session, segment, text) VALUES (?, ?, ?) "
                "ON CONFLICT (session, segment) DO UPDATE SET text = excluded.text",
                (event.session, event.segment, event.text),
            )
            index.correct(connection, event.session, event.segment, event.text)


def _label(connection: Connection, session: str, label: Label | SpeakerLabel) -> None:
    by_hand = isinstance(label, SpeakerLabel) and label.by == BY_USER
    connection.execute(
        "INSERT INTO annotations (session, segment, speaker, by_hand) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (session, segment) DO UPDATE SET speaker = excluded.speaker, by_hand = excluded.by_hand",
        (session, label.segment, label.speaker, int(by_hand)),
    )


def speakers(connection: Connection, session: str) -> SpeakerNames:
    """The speakers of a session, and what was said of them."""
    speaking = connection.execute(
        "SELECT DISTINCT speaker FROM annotations WHERE session = ? AND speaker IS NOT NULL ORDER BY speaker",
        (session,),
    ).fetchall()
    known = connection.execute(
        "SELECT speaker, name, into_speaker FROM speakers WHERE session = ?", (session,)
    ).fetchall()
    fixed = connection.execute(
        "SELECT segment FROM annotations WHERE session = ? AND by_hand = 1", (session,)
    ).fetchall()
    return SpeakerNames(
        speaking=[number for (number,) in speaking],
        names={number: name for number, name, *_ in known if name is not None},
        merged={number: into for number, *_, into in known if into is not None},
        fixed={segment for (segment,) in fixed},
    )


def said_by(connection: Connection, session: str, speaker: int) -> set[int]:
    """The segments that a speaker says, by their newest labels."""
    rows = connection.execute("SELECT segment FROM annotations WHERE session = ? AND speaker = ?", (session, speaker))
    return {segment for (segment,) in rows}
