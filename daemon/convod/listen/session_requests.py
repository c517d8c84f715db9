"""Requests that create, control and end sessions, and those of the queue of files.

In: a request and its client. Out: the reply, and the client's attachment to the session's events. What a request does
is done by the manager and the session.
"""

from __future__ import annotations

import math

import msgspec

from convo.messages import (
    AddMark,
    Attach,
    AttachReply,
    CancelSession,
    Code,
    CorrectSegment,
    CreateSession,
    CreateSessionReply,
    DeleteSession,
    DeleteVoice,
    Detach,
    EndSession,
    Finalize,
    FinalizeReply,
    ListQueue,
    ListQueueReply,
    ListVoices,
    ListVoicesReply,
    Mark,
    MergeSpeakers,
    PauseQueue,
    Refine,
    RefineReply,
    RenameSpeaker,
    Reply,
    ResumeQueue,
    Retranscribe,
    RetranscribeReply,
    RetrySession,
    SetSpeaker,
    SetSpeakerReply,
    Summarize,
    SummaryOptions,
    UpdateSession,
)
from convo.transcript import one_line
from convod.listen.auth import Right
from convod.listen.client import MOST, Answers, Client, check_right
from convod.sessions import Manager, Refused
from convod.sessions.journal import Journal
from convod.sessions.lengths import check_text, cut_line
from convod.sessions.manager import settings_of
from convod.sessions.registry import is_elsewhere


class SessionRequests:
    """Answers requests about sessions; `answers` maps each to its method."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self.answers: Answers = {
            CreateSession: (self._create_session, Right.STREAM),
            Finalize: (self._finalize, Right.STREAM),
            EndSession: (self._end_session, Right.STREAM),
            CancelSession: (self._cancel_session, Right.STREAM),
            DeleteSession: (self._delete_session, Right.STREAM),
            Attach: (self._attach, Right.READ),
            Detach: (self._detach, Right.READ),
            Summarize: (self._summarize, Right.STREAM),
            UpdateSession: (self._update_session, Right.STREAM),
            RetrySession: (self._retry_session, Right.STREAM),
            Retranscribe: (self._retranscribe, Right.STREAM),
            Refine: (self._refine, Right.STREAM),
            ListQueue: (self._list_queue, Right.READ),
            PauseQueue: (self._pause_queue, Right.STREAM),
            ResumeQueue: (self._resume_queue, Right.STREAM),
            AddMark: (self._add_mark, Right.STREAM),
            CorrectSegment: (self._correct_segment, Right.STREAM),
            RenameSpeaker: (self._rename_speaker, Right.STREAM),
            MergeSpeakers: (self._merge_speakers, Right.STREAM),
            SetSpeaker: (self._set_speaker, Right.STREAM),
            ListVoices: (self._list_voices, Right.READ),
            DeleteVoice: (self._delete_voice, Right.STREAM),
        }

    # --- a session's life ---------------------------------------------------------------------------------

    async def _create_session(self, client: Client, request: CreateSession) -> Reply | None:
        journal, session = await self._manager.create(client.owner, _cleaned(request), client)
        credit = 0
        if session is not None and session.takes_audio:
            client.producing[session.id] = session
            credit = session.credit
        client.outbox.put(
            CreateSessionReply(
                id=request.id, session=journal.id, config=settings_of(journal.record.config), credit=credit
            )
        )
        client.outbox.attach(journal.feed, 0)
        return None  # the answer is in the outbox, before the session's first event

    async def _finalize(self, client: Client, request: Finalize) -> Reply | None:
        session = await self._manager.running(client.reach, request.session)
        offset = await session.finalize()
        client.outbox.put(
            FinalizeReply(id=request.id, offset=offset),
            after=client.outbox.attachment(session.id),
            seq=session.feed.seq,
        )
        return None

    async def _end_session(self, client: Client, request: EndSession) -> Reply:
        session = await self._manager.running(client.reach, request.session)
        await session.end()
        client.producing.pop(session.id, None)
        return Reply(id=request.id)

    async def _cancel_session(self, client: Client, request: CancelSession) -> Reply:
        session = await self._manager.running(client.reach, request.session)
        session.cancel()
        client.producing.pop(session.id, None)
        return Reply(id=request.id)

    async def _delete_session(self, client: Client, request: DeleteSession) -> Reply:
        await self._manager.delete(client.reach, request.session)
        client.producing.pop(request.session, None)
        client.outbox.detach(request.session)
        return Reply(id=request.id)

    async def _attach(self, client: Client, request: Attach) -> Reply | None:
        if request.produce:
            check_right(client, Right.STREAM, "attach with produce")
        journal = await self._manager.journal(client.reach, request.session)
        session = self._manager.find(request.session)
        credit = 0
        if request.produce and session is None and is_elsewhere(journal):
            raise await self._manager.elsewhere(request.session)
        if request.produce and session is not None and session.takes_audio:
            session.produce(client)
            client.producing[session.id] = session
            credit = session.credit
        client.outbox.put(
            AttachReply(
                id=request.id,
                state=journal.record.state,
                seq=journal.feed.seq,
                audio_offset=session.audio_offset if session else journal.record.audio_bytes,
                credit=credit,
                ended=session is None or not session.takes_audio,
            )
        )
        client.outbox.attach(journal.feed, request.after_seq)
        return None  # the answer is in the outbox, before the session's events

    async def _detach(self, client: Client, request: Detach) -> Reply:
        if not client.outbox.detach(request.session):
            raise Refused(Code.UNKNOWN_SESSION, f"this connection is not attached to session {request.session!r}")
        if (session := client.producing.pop(request.session, None)) is not None:
            session.producer_gone(client)
        return Reply(id=request.id)

    async def _summarize(self, client: Client, request: Summarize) -> Reply:
        options = SummaryOptions(
            provider=request.provider, model=request.model, style=request.style, language=request.language
        )
        journal = await self._manager.summarize(client.reach, request.session, options)
        follow(client, journal)
        return Reply(id=request.id)

    # --- the queue ----------------------------------------------------------------------------------------

    async def _update_session(self, client: Client, request: UpdateSession) -> Reply:
        await self._manager.update(client.reach, request.session, request.title, request.priority)
        return Reply(id=request.id)

    async def _retry_session(self, client: Client, request: RetrySession) -> Reply:
        await self._manager.retry(client.reach, request.session)
        return Reply(id=request.id)

    async def _retranscribe(self, client: Client, request: Retranscribe) -> Reply:
        return RetranscribeReply(
            id=request.id, session=await self._manager.retranscribe(client.reach, client.owner, request)
        )

    async def _refine(self, client: Client, request: Refine) -> Reply | None:
        journal, model = await self._manager.refine(client.reach, request)
        client.outbox.put(RefineReply(id=request.id, model=model))
        follow(client, journal)
        return None  # the answer is in the outbox, before the events that follow

    async def _list_queue(self, client: Client, request: ListQueue) -> Reply:
        jobs, paused = self._manager.queue(client.owner)
        jobs += await self._manager.queued_elsewhere(client.owner)
        return ListQueueReply(id=request.id, jobs=jobs[:MOST], paused=paused)

    async def _pause_queue(self, client: Client, request: PauseQueue) -> Reply:
        await self._manager.pause(client.owner, True)
        return Reply(id=request.id)

    async def _resume_queue(self, client: Client, request: ResumeQueue) -> Reply:
        await self._manager.pause(client.owner, False)
        return Reply(id=request.id)

    async def _add_mark(self, client: Client, request: AddMark) -> Reply:
        if not (math.isfinite(request.time) and request.time >= 0):
            raise Refused(Code.BAD_REQUEST, "time must be seconds from the session's beginning, 0 or more")
        journal = await self._manager.journal(client.reach, request.session)
        self._manager.admission.check_room(journal.record.owner)
        await journal.publish(Mark, wait=False, time=request.time, text=cut_line(request.text))
        return Reply(id=request.id)

    async def _correct_segment(self, client: Client, request: CorrectSegment) -> Reply:
        await self._manager.correct(client.reach, request.session, request.segment, request.text)
        return Reply(id=request.id)

    # --- speakers -----------------------------------------------------------------------------------------

    async def _rename_speaker(self, client: Client, request: RenameSpeaker) -> Reply:
        await self._manager.naming.rename(
            client.reach, request.session, request.speaker, request.name, remember=request.remember
        )
        return Reply(id=request.id)

    async def _merge_speakers(self, client: Client, request: MergeSpeakers) -> Reply:
        await self._manager.naming.merge(client.reach, request.session, request.speaker, request.into)
        return Reply(id=request.id)

    async def _set_speaker(self, client: Client, request: SetSpeaker) -> Reply:
        speaker = await self._manager.naming.assign(client.reach, request.session, request.segment, request.speaker)
        return SetSpeakerReply(id=request.id, speaker=speaker)

    async def _list_voices(self, client: Client, request: ListVoices) -> Reply:
        return ListVoicesReply(id=request.id, voices=await self._manager.naming.voices(client.owner))

    async def _delete_voice(self, client: Client, request: DeleteVoice) -> Reply:
        await self._manager.naming.forget_voice(client.owner, request.name)
        return Reply(id=request.id)


def follow(client: Client, journal: Journal) -> None:
    """Attach a client to what is to come of a session that is over, if it is not.

    One that has ended since it was attached to has another feed now.
    """
    attachment = client.outbox.attachment(journal.id)
    if attachment is None or attachment.log is not journal.feed:
        client.outbox.attach(journal.feed, journal.feed.seq if attachment is None else attachment.cursor)


def _cleaned(request: CreateSession) -> CreateSession:
    """Clean the title, and the file name that may become one: one line that a terminal can show."""
    title, name = request.title, request.audio.name
    check_text("audio.name", name)
    return msgspec.structs.replace(
        request,
        title=title if title is None else cut_line(title),
        audio=msgspec.structs.replace(request.audio, name=name if name is None else one_line(name)),
    )
