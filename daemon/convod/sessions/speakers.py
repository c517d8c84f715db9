"""Who speaks in a session: labels beside its segments, what the speakers are called, and what a restart must know.

In: segments as they are committed. Out: `speaker_label` with each, `speakers_revised` at the end. What tells voices
apart is in `convod.speakers`. Voices lie in a file beside the session's audio and go with it. They are never logged nor
sent.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from convo.messages import CreateSession, DurableEvent, Label, Segment, Speaker, SpeakerLabel, SpeakersRevised
from convod.sessions.journal import Journal
from convod.speakers import SpeakerLabels
from convod.speakers.vectors import Vector, unit, unpack
from convod.speech.commands import TimedText

log = logging.getLogger("convod.sessions")

REVISED: Final = 2000
"""Labels in one event: about 60 KB."""

Told = tuple[type[DurableEvent], dict[str, Any]]


class _Heard(msgspec.Struct, frozen=True, array_like=True):
    """A segment in the file: all that its label came from."""

    segment: int
    start: float
    end: float
    seconds: float
    vector: bytes
    speaker: int | None


class Speakers:
    """The speakers of a session that is being transcribed.

    Args:
        config: What the session is to be like.
        path: The file of its voices.
        segments: Segments that are stored, after a restart.
    """

    def __init__(self, config: CreateSession, path: Path, segments: int) -> None:
        count = None if config.speakers == "auto" else int(config.speakers) if config.speakers != "off" else 1
        self._labels = SpeakerLabels(count)
        self._by_channel = config.channels == "split"
        self._path = path
        self.ends: dict[int, float] = {}
        """When the last segment of each channel ends, seconds; by its number from 1."""
        for heard in _read(path) if segments else ():
            if heard.segment >= segments:
                break  # it was not stored, and comes again
            self._label(heard)

    def label(self, segment: int, text: TimedText) -> Told:
        """Return the label of a segment that is about to be published, as an event."""
        voice = text.voice
        seconds, vector = (0.0, b"") if voice is None else (voice.seconds, voice.vector)
        heard = _Heard(segment, text.start, text.end, seconds, vector, text.speaker)
        self._write(heard)
        return SpeakerLabel, msgspec.structs.asdict(self._label(heard))

    async def revise(self, journal: Journal) -> None:
        """Look at all voices again, and publish what is different."""
        if self._by_channel:
            return
        changed = await trio.to_thread.run_sync(self._labels.revise)  # up to half a second
        labels = [Label(segment=one.segment, speaker=one.speaker, confidence=one.confidence) for one in changed]
        for at in range(0, len(labels), REVISED):
            await journal.publish(SpeakersRevised, labels=labels[at : at + REVISED])

    def _label(self, heard: _Heard) -> Label:
        if heard.speaker is not None:
            self.ends[heard.speaker] = heard.end
            return Label(segment=heard.segment, speaker=heard.speaker, confidence=1.0)
        label = self._labels.segment(heard.segment, heard.start, heard.end, heard.seconds, _vector(heard.vector))
        return Label(segment=label.segment, speaker=label.speaker, confidence=label.confidence)

    def _write(self, heard: _Heard) -> None:
        body = msgspec.msgpack.encode(heard)
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.write(file, len(body).to_bytes(4, "big") + body)
            finally:
                os.close(file)
        except OSError as error:  # only a restart would miss it
            log.warning("a voice is not kept for a restart: %s", error.strerror)


def are_told(config: CreateSession) -> bool:
    """Whether a session says who speaks."""
    return config.speakers != "off" or config.channels == "split"


def name_of(config: CreateSession, speaker: int) -> str:
    """What a speaker is called."""
    if config.channels != "split":
        return f"Speaker {speaker}"
    named = config.channel_names[speaker - 1 : speaker]
    return named[0] if named and named[0] else f"Channel {speaker}"


def named(config: CreateSession, labels: Iterable[Label]) -> list[Speaker]:
    """The speakers that labels tell of, in the order of their numbers."""
    numbers = sorted({label.speaker for label in labels})
    return [Speaker(speaker=number, name=name_of(config, number)) for number in numbers]


def labelled(segments: Iterable[Segment], labels: Mapping[int, Label]) -> Iterator[Segment]:
    """The segments with who says them."""
    for segment in segments:
        label = labels.get(segment.segment)
        yield segment if label is None else msgspec.structs.replace(segment, speaker=label.speaker)


def _vector(data: bytes) -> Vector | None:
    return unit(unpack(data)) if data else None


def _read(path: Path) -> Iterator[_Heard]:
    """What a file of voices holds; its end may be missing."""
    try:
        data = memoryview(path.read_bytes())
    except OSError:
        return
    at = 0
    while at + 4 <= len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        try:
            yield msgspec.msgpack.decode(data[at + 4 : end], type=_Heard)
        except msgspec.MsgspecError:
            return
        at = end
