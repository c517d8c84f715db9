"""What users say of speakers: their names, that two are one, who says a segment; and the voices they want remembered.

In: requests of an owner. Out: durable events of the session, and voices in the store. Voices are the owner's: they
serve the sessions of that owner alone, and are neither logged nor sent.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final
from weakref import WeakValueDictionary

import trio

from convo.messages import Code, DurableEvent, SpeakerLabel, SpeakerRenamed, SpeakersMerged, Voice
from convod.engine.voices import NoVoices, fingerprint
from convod.sessions.admission import Admission
from convod.sessions.journal import Journal
from convod.sessions.lengths import cut_line
from convod.sessions.session import Refused, Session
from convod.sessions.speaker_names import name_of
from convod.sessions.speakers import Speakers, voice_of
from convod.speakers import LEAST_S
from convod.speakers.clusters import Group
from convod.speakers.vectors import pack, total, unpack
from convod.store import BY_USER, Spool, Store, StoredVoice, TooMany

NAME: Final = 100
"""Most characters of a speaker's name; longer ones are cut."""

BY_HAND: Final = 101
"""Numbers of speakers that users add begin here: no voice or channel is ever given one so high."""

MOST_BY_HAND: Final = 100

CHANGES: Final = 20_000
"""Most renamings of one session, most mergers, and most labels by hand."""

VOICES: Final = 100
"""Most voices that are remembered for one owner."""


class Naming:
    """Answers such requests for the manager.

    Args:
        store: where sessions and voices are.
        spool: where the voices of sessions lie, beside their audio.
        admission: says whether an owner may store more.
        journal: finds the journal of an owner's session.
        find: finds a session that runs.
        embedder: the setting `engine.voices`.
    """

    def __init__(
        self,
        store: Store,
        spool: Spool,
        admission: Admission,
        journal: Callable[[str | None, str], Awaitable[Journal]],
        find: Callable[[str], Session | None],
        embedder: str,
    ) -> None:
        self._store = store
        self._spool = spool
        self._admission = admission
        self._journal = journal
        self._find = find
        self._embedder = embedder
        self._turns: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()  # one change of a session at a time

    async def rename(self, owner: str | None, session: str, speaker: int, name: str, *, remember: bool) -> None:
        """Call a speaker by a name; if it is empty, as if nobody had said one.

        Raises:
            Refused: the session has no such speaker, or the voice cannot be remembered.
        """
        journal = await self._changed(owner, session, SpeakerRenamed)
        name = cut_line(name, NAME)
        async with self._turn(session):
            await self._check(journal, speaker)
            if remember:
                await self._remember(journal, speaker, name)
            called = name or name_of(journal.record.config, speaker)
            with self._told(session) as speakers:
                if speakers is not None:
                    speakers.rename(speaker, called)
                await journal.publish(SpeakerRenamed, wait=False, speaker=speaker, name=called, by=BY_USER)

    async def merge(self, owner: str | None, session: str, speaker: int, into: int) -> None:
        """Let all that a speaker says be said by another one.

        Raises:
            Refused: the session has no such speakers, or they are the same.
        """
        journal = await self._changed(owner, session, SpeakersMerged)
        if speaker == into:
            raise Refused(Code.BAD_REQUEST, f"speaker {speaker} cannot be merged into themselves; name two speakers")
        async with self._turn(session):
            await self._check(journal, speaker, into)
            with self._told(session) as speakers:
                if speakers is not None:
                    speakers.merge(speaker, into)
                await journal.publish(SpeakersMerged, wait=False, speaker=speaker, into=into)

    async def assign(self, owner: str | None, session: str, segment: int, speaker: int | None) -> int:
        """Say who says a segment, somebody new if `speaker` is None; return their number.

        Raises:
            Refused: there is no such segment or speaker, or too many were added.
        """
        journal = await self._changed(owner, session, SpeakerLabel)
        if segment >= journal.record.segments:
            raise Refused(Code.BAD_REQUEST, f"the session has no segment {segment}; get_session lists them")
        async with self._turn(session):
            if speaker is None:
                speaking = (await self._store.speakers(session)).speaking
                speaker = max([BY_HAND - 1, *speaking]) + 1
                if speaker >= BY_HAND + MOST_BY_HAND:
                    raise Refused(
                        Code.LIMIT_EXCEEDED, f"a session takes {MOST_BY_HAND} speakers by hand; merge some of them"
                    )
            else:
                await self._check(journal, speaker)
            with self._told(session) as speakers:
                if speakers is not None:
                    speakers.fix(segment)
                await journal.publish(
                    SpeakerLabel, wait=False, segment=segment, speaker=speaker, confidence=1.0, by=BY_USER
                )
        return speaker

    # --- voices -------------------------------------------------------------------------------------------

    async def voices(self, owner: str) -> list[Voice]:
        """The voices that an owner asked to be remembered."""
        return [
            Voice(name=voice.name, created=voice.created, seconds=round(voice.seconds, 1))
            for voice in await self._store.voices(owner)
        ]

    async def forget_voice(self, owner: str, name: str) -> None:
        """Forget a voice and all that was kept of it.

        Raises:
            Refused: the owner has none of that name.
        """
        if not await self._store.delete_voice(owner, name):
            raise Refused(Code.BAD_REQUEST, "no voice is remembered under this name; list_voices shows yours")

    async def _remember(self, journal: Journal, speaker: int, name: str) -> None:
        if not name:
            raise Refused(Code.BAD_REQUEST, "a voice is remembered by a name: give one")
        said = await self._store.said_by(journal.id, speaker)
        voices = self._spool.voices(journal.id)
        voice = await trio.to_thread.run_sync(voice_of, voices, said)
        if voice is None:
            raise Refused(Code.BAD_STATE, _why_no_voice(journal, kept=await trio.to_thread.run_sync(voices.exists)))
        try:
            model = await trio.to_thread.run_sync(fingerprint, self._embedder)
        except NoVoices as error:
            raise Refused(Code.MODEL_UNAVAILABLE, str(error)) from error
        owner = journal.record.owner
        before = {one.name: one for one in await self._store.voices(owner)}
        stored = _joined(name, model, voice, before.get(name))
        try:
            await self._store.put_voice(owner, stored, VOICES)
        except TooMany as error:
            raise Refused(
                Code.LIMIT_EXCEEDED, f"{VOICES} voices are remembered for you already; delete_voice forgets one"
            ) from error

    # --- pieces -------------------------------------------------------------------------------------------

    async def _changed(self, owner: str | None, session: str, kind: type[DurableEvent]) -> Journal:
        """The session's journal, if it takes one more event of a kind; labels come by themselves, too."""
        journal = await self._journal(owner, session)
        self._admission.check_room(journal.record.owner)
        most = CHANGES + (journal.record.segments if kind is SpeakerLabel else 0)
        if await self._store.count(session, kind) >= most:
            raise Refused(Code.LIMIT_EXCEEDED, f"a session takes {CHANGES} such changes; edit an export of this one")
        return journal

    async def _check(self, journal: Journal, *wanted: int) -> None:
        speaking = (await self._store.speakers(journal.id)).speaking
        for speaker in wanted:
            if speaker not in speaking:
                raise Refused(Code.BAD_REQUEST, f"the session has no speaker {speaker}; get_session lists them")

    def _turn(self, session: str) -> trio.Lock:
        return self._turns.setdefault(session, trio.Lock())

    @contextmanager
    def _told(self, session: str) -> Iterator[Speakers | None]:
        """The speakers of a session that runs, None if it does not; if the block fails, nobody told them anything.

        They are told before the event waits for its turn: what they say from then on comes behind it.
        """
        running = self._find(session)
        speakers = None if running is None else running.speakers
        if speakers is None:
            yield None
            return
        with speakers.undone_if_it_fails():
            yield speakers


def _why_no_voice(journal: Journal, *, kept: bool) -> str:
    if journal.record.config.channels == "split":
        return "this session tells channels apart and no voices: remember one of a session with speakers"
    if kept:
        return f"too little is heard of this voice: it takes {LEAST_S:g} seconds in one piece, so try again later"
    return (
        "this voice is not kept any more: a voice can be remembered while its session runs, and afterwards only if the "
        "session's audio is kept (keep_audio)"
    )


def _joined(name: str, model: str, voice: Group, before: StoredVoice | None) -> StoredVoice:
    """A voice with what was known of it by the same model."""
    created, seconds, vector = time.time(), voice.seconds, voice.sum
    if before is not None:
        created = before.created
        if before.model == model and len(before.vector) == 4 * len(vector):
            seconds, vector = seconds + before.seconds, total(vector, unpack(before.vector))
    return StoredVoice(name=name, model=model, created=created, seconds=seconds, vector=pack(vector))
