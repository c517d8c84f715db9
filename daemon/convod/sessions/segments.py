"""Publish what live and file sessions commit. In: a `Commit`. Out: its warnings and segments, through the journal."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import trio

from convo.messages import Code, DurableEvent, SessionWarning, TranscriptSegment
from convo.text import clock, width
from convo.transcript import one_line
from convod.sessions.journal import Journal
from convod.sessions.speakers import Speakers
from convod.sessions.vocabulary import correction
from convod.speech.commands import Commit
from convod.summary.text import clip

log = logging.getLogger("convod.sessions")

TITLE: Final = 60
"""Characters of a talk's first words that are its title where nobody gave it one."""

TITLE_FROM: Final = 8
"""Columns of a text that says something: "Hm." does not."""

TITLE_SEGMENTS: Final = 50
"""A title is looked for in so many segments when one of them is corrected."""


async def publish_segments(journal: Journal, commit: Commit, speakers: Speakers | None = None) -> float:
    """Publish the warnings and segments of a commit, with its checkpoint; return the seconds since their audio came.

    `speakers` says who says them, if anybody wants to know.
    """
    lag_s = max(0.0, trio.current_time() - commit.arrived)
    if commit.trouble is not None:
        await journal.publish(SessionWarning, code=str(Code.INTERNAL), message=commit.trouble)
    if commit.uncovered is not None:
        await journal.publish(SessionWarning, code=str(Code.UNCOVERED), message=_uncovered(*commit.uncovered))
    record = journal.record
    if not commit.texts:
        # Stored with the next event: audio without text is decoded twice at worst.
        record.checkpoint_sample, record.checkpoint_utterance = commit.checkpoint_sample, commit.checkpoint_utterance
        return lag_s
    for number, text in enumerate(commit.texts, commit.segment):
        log.debug("segment is out", extra={"session": journal.id, "segment": number, "text": text.text})
    events: list[tuple[type[DurableEvent], dict[str, Any]]] = []
    said: list[str] = []
    for number, text in enumerate(commit.texts, commit.segment):
        about = {
            name: value for name, value in msgspec.structs.asdict(text).items() if name not in ("voice", "speaker")
        }
        events.append((TranscriptSegment, {"segment": number, "lag_ms": round(lag_s * 1000, 1), **about}))
        if speakers is not None:
            events += speakers.events(number, text)
        said.append(text.text)
        if (corrected := correction(record.config, number, text.text)) is not None:
            events.append(corrected)
            said[-1] = corrected[1]["text"]
    await journal.publish_all(
        events,
        title_if_none=title_from(said) if not record.title else "",
        checkpoint_sample=commit.checkpoint_sample,
        checkpoint_utterance=commit.checkpoint_utterance,
        segments=commit.segment + len(commit.texts),
    )
    return lag_s


def title_from(texts: Iterable[str]) -> str:
    """The first words of the first text that says something; empty if none does."""
    first = next((text for each in texts if width(text := one_line(each)) >= TITLE_FROM), "")
    return clip(first, TITLE)


async def title_corrected(journal: Journal, corrected: Mapping[int, str]) -> str | None:
    """The title of a session whose own is the words of a segment that reads otherwise now; None if it stays."""
    record = journal.record
    if record.config.title is not None or not record.title or min(corrected) >= TITLE_SEGMENTS:
        return None
    texts = [one.text for one in await journal.store.segments(record.id, limit=TITLE_SEGMENTS)]
    if title_from(texts) != record.title:
        return None
    title = title_from(corrected.get(number, text) for number, text in enumerate(texts))
    return None if title == record.title else title


def _uncovered(start_s: float, end_s: float) -> str:
    """Word the warning about a voice without words from `start_s` to `end_s` on the session's clock."""
    return (
        f"someone speaks from {clock(start_s)} to {clock(end_s)}, but not all of it could be transcribed; "
        "listen to it, or use a larger model"
    )
