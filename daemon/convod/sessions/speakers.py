"""Who speaks in a session: labels beside its segments, what the speakers are called, and what a restart must know.

In: segments as they are committed; what users say of speakers, which stands above what voices say. Out: `speaker_label`
with each, `speakers_revised` at the end, `speaker_renamed` for known voices. What tells voices apart is in
`convod.speakers`. Voices lie in a file beside the session's audio and go with it. They are never logged nor
sent.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from convo.messages import (
    CreateSession,
    DurableEvent,
    Label,
    SpeakerLabel,
    SpeakerRenamed,
    SpeakersRevised,
)
from convod.engine.voices import NoVoices, fingerprint
from convod.sessions.journal import Journal
from convod.speakers import LEAST_S, Known, SpeakerLabels, recognise
from convod.speakers.clusters import Group
from convod.speakers.known import LEAST_S as KNOWN_S
from convod.speakers.vectors import Vector, unit, unpack
from convod.speech.commands import TimedText
from convod.store import StoreFailed

log = logging.getLogger("convod.sessions")

BY_VOICE: Final = "voice"
"""Who named a speaker: a voice that is remembered."""

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
        self.merged: dict[int, int] = {}
        self._fixed: set[int] = set()
        self._names: dict[int, str] = {}
        self._known: list[Known] = []
        self._tried_s: dict[int, float] = {}  # of each speaker's voice when they were last compared with known ones
        self.ends: dict[int, float] = {}
        """When the last segment of each channel ends, seconds; by its number from 1."""
        for heard in _read(path) if segments else ():
            if heard.segment >= segments:
                break  # it was not stored, and comes again
            self._label(heard)

    async def load(self, journal: Journal, embedder: str) -> None:
        """Learn what users said of the speakers before a restart, and which voices their owner had remembered."""
        try:
            said = await journal.store.speakers(journal.id)
            voices = [] if self._by_channel else await journal.store.voices(journal.record.owner)
            model = await trio.to_thread.run_sync(fingerprint, embedder) if voices else ""
        except (StoreFailed, NoVoices, OSError):
            # The session is worth more than the names in it.
            log.warning("names of speakers could not be read", extra={"session": journal.id})
            return
        self.merged, self._fixed, self._names = dict(said.merged), set(said.fixed), dict(said.names)
        for voice in voices:
            if voice.model == model and (vector := _vector(voice.vector)) is not None:
                self._known.append(Known(voice.name, vector))

    # --- what users say -----------------------------------------------------------------------------------

    def rename(self, speaker: int, name: str) -> None:
        """Note that a speaker has a name: no voice gives another one."""
        self._names[speaker] = name

    def merge(self, speaker: int, into: int) -> None:
        """Note that what `speaker` says is said by `into`."""
        for one, other in self.merged.items():
            if other == speaker:
                self.merged[one] = into
        self.merged[speaker] = into
        self.merged.pop(into, None)

    def fix(self, segment: int) -> None:
        """Note that nobody but a user says who says a segment."""
        self._fixed.add(segment)

    @contextmanager
    def undone_if_it_fails(self) -> Iterator[None]:
        """Forget what users said within the block if that was not stored."""
        before = dict(self.merged), set(self._fixed), dict(self._names)
        try:
            yield
        except BaseException:
            self.merged, self._fixed, self._names = before
            raise

    # --- what is heard ------------------------------------------------------------------------------------

    def events(self, segment: int, text: TimedText) -> Iterator[Told]:
        """Say who says a segment that is about to be published."""
        voice = text.voice
        seconds, vector = (0.0, b"") if voice is None else (voice.seconds, voice.vector)
        heard = _Heard(segment, text.start, text.end, seconds, vector, text.speaker)
        self._write(heard)
        label = self._label(heard)
        yield SpeakerLabel, msgspec.structs.asdict(label) | {"speaker": self._whose(label.speaker)}
        group = self._labels.speakers.get(label.speaker) if self._known else None
        # Compared when there is twice as much of it as the last time: a hundred voices take some milliseconds.
        if group is not None and group.seconds >= max(KNOWN_S, 2 * self._tried_s.get(label.speaker, 0.0)):
            self._tried_s[label.speaker] = group.seconds
            yield from self._recognised(self._labels.speakers)

    async def revise(self, journal: Journal) -> None:
        """Look at all voices again, and publish what is different."""
        if self._by_channel:
            return
        changed = await trio.to_thread.run_sync(self._labels.revise)  # up to half a second
        for at in range(0, len(changed), REVISED):
            labels = [
                Label(segment=one.segment, speaker=self._whose(one.speaker), confidence=one.confidence)
                for one in changed[at : at + REVISED]
                if one.segment not in self._fixed
            ]
            if labels:
                await journal.publish(SpeakersRevised, labels=labels)
        if self._known:
            voices = await trio.to_thread.run_sync(self._labels.voices)
            for kind, fields in self._recognised(voices):
                await journal.publish(kind, **fields)

    def _recognised(self, voices: Mapping[int, Group]) -> list[Told]:
        """Names for speakers that have none, where a known voice is theirs."""
        whole: dict[int, Group] = {}
        for number, group in voices.items():
            whose = self._whose(number)
            if whose not in whole or whole[whose].seconds < group.seconds:
                whole[whose] = group
        told: list[Told] = []
        for speaker, name in recognise(whole, self._known).items():
            if speaker not in self._names and name not in self._names.values():
                self._names[speaker] = name
                told.append((SpeakerRenamed, {"speaker": speaker, "name": name, "by": BY_VOICE}))
        return told

    def _whose(self, speaker: int) -> int:
        return self.merged.get(speaker, speaker)

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


def voice_of(path: Path, segments: Collection[int]) -> Group | None:
    """The voice in some segments of a session, by the file of its voices; None if nothing is left of it. Blocks."""
    voice: Group | None = None
    for heard in _read(path):
        vector = _vector(heard.vector) if heard.seconds >= LEAST_S and heard.segment in segments else None
        if vector is None:
            continue
        group = Group.of(vector, heard.seconds)
        if voice is None:
            voice = group
        else:
            voice.join(group)
    return voice


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
