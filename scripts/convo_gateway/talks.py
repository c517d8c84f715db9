"""The conversation API's other half: list what there is, search it, ask about it, export it, rename it, delete it.

In: HTTP requests. Out: JSON, a transcript as a file, or kept sound. Jobs are the daemon's sessions, and whose they are
it decides.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from math import inf
from typing import Annotated, Any, Final

import msgspec
import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from convo.formats import FORMATS
from convo.media import wave_header
from convo.messages import (
    AnswerProgress,
    AskReply,
    CancelSession,
    Code,
    DeleteSession,
    GetAudio,
    GetAudioReply,
    ListSessions,
    ListSessionsReply,
    Passage,
    Search,
    SearchReply,
    SessionInfo,
    UpdateSession,
)

from .conversation import error_of, status_of
from .daemon_client import Daemon
from .errors import Refused
from .settings import Settings
from .web import EventStreamResponse, Json, StreamedResponse, small_body, sse, token_of

PAGE: Final = 100
"""Jobs of a list, and hits of a search, unless the client asks for fewer."""

_BEYOND: Final = 1 << 62
"""A place behind all audio: the daemon's answer says what there is, and holds none of it."""

_TYPES: Final = {
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "md": "text/markdown; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "ttml": "application/ttml+xml; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}

_SOUNDS: Final = {
    "aac": "audio/aac",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "wav": "audio/wav",
    "webm": "video/webm",
}
"""Kinds of files that are told by the end of their name; the others are bytes to a browser."""

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class Talks:
    """The endpoints."""

    def __init__(self, daemon: Daemon, settings: Settings) -> None:
        self._daemon = daemon
        self._settings = settings

    def routes(self) -> list[Route]:
        """Return where they are."""
        return [
            Route("/api/v1/conversation/list", self.list, methods=["GET"]),
            Route("/api/v1/conversation/search", self.search, methods=["GET"]),
            Route("/api/v1/ask", self.ask, methods=["POST"]),
            Route("/api/v1/conversation/export/{job_id}", self.export, methods=["GET"]),
            Route("/api/v1/conversation/audio/{job_id}", self.audio, methods=["GET"]),
            Route("/api/v1/conversation/{job_id}", self.rename, methods=["PATCH"]),
            Route("/api/v1/conversation/{job_id}", self.delete, methods=["DELETE"]),
        ]

    async def list(self, request: Request) -> Response:
        """Tell the client's jobs, newest first; `before`, of the one told last, goes on behind it."""
        before = request.query_params.get("before")
        try:
            after_all = None if before is None else float(before)
        except ValueError:
            raise Refused(Code.BAD_REQUEST, "`before` must be a `created` of this list.", param="before") from None
        limit = _limit(request)
        reply: ListSessionsReply
        (reply,) = await self._daemon.ask(token_of(request), ListSessions(limit=limit, before=after_all))
        return Json({"jobs": [_listed(each) for each in reply.sessions]})

    async def search(self, request: Request) -> Response:
        """Find words in transcripts and summaries, best first."""
        query = request.query_params.get("q", "").strip()
        if not query:
            raise Refused(Code.BAD_REQUEST, "Send the words to look for as `q`.", param="q")
        reply: SearchReply
        (reply,) = await self._daemon.ask(token_of(request), Search(query=query, limit=_limit(request), summaries=True))
        hits = []
        for hit in reply.hits:
            told = msgspec.to_builtins(hit)
            told["job_id"] = told.pop("session")
            hits.append(told | {"source": hit.source, "title": hit.title})
        return Json({"hits": hits})

    async def export(self, request: Request) -> Response:
        """Give a transcript as a file."""
        format = request.query_params.get("format", "txt")
        if format not in FORMATS:
            sentence = f"There is no such format; use one of {', '.join(FORMATS)}."
            raise Refused(Code.BAD_REQUEST, sentence, param="format")
        content = await self._daemon.export(token_of(request), request.path_params["job_id"], format)
        return Response(
            content,
            headers={
                "content-type": _TYPES.get(format, "text/plain; charset=utf-8"),
                "content-disposition": f'attachment; filename="transcript.{format}"',
                "cache-control": "no-store",
                "x-content-type-options": "nosniff",
            },
        )

    async def audio(self, request: Request) -> Response:
        """Give the kept sound of a job: a recording as it was sent, live audio as WAV; all of it, or a `Range`."""
        token, job = token_of(request), request.path_params["job_id"]
        about: GetAudioReply
        (about,) = await self._daemon.ask(token, GetAudio(session=job, offset=_BEYOND))
        header, kind = b"", "wav"
        if about.kind == "live":
            header = wave_header(about.audio, about.size)
        else:
            kind = (about.audio.name or "").rpartition(".")[2].lower()
        size = len(header) + about.size
        begin, end = _range(request.headers.get("range", ""), size)
        headers = {
            "content-type": _SOUNDS.get(kind, "application/octet-stream"),
            "content-disposition": f'attachment; filename="audio.{kind if kind in _SOUNDS else "bin"}"',
            "accept-ranges": "bytes",
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        }
        if begin >= end:
            return Response(status_code=416, headers=headers | {"content-range": f"bytes */{size}"})
        part = (begin, end) != (0, size)
        headers |= {"content-length": str(end - begin)}
        headers |= {"content-range": f"bytes {begin}-{end - 1}/{size}"} if part else {}

        async def produce(put: Callable[[bytes], Awaitable[None]]) -> None:
            if begin < len(header):
                await put(header[begin:end])
            await self._daemon.sound(token, job, max(0, begin - len(header)), max(0, end - len(header)), put)

        status = 206 if part else 200
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        return StreamedResponse(produce, status, headers)

    async def ask(self, request: Request) -> Response:
        """Answer a question from what was said: server-sent events, ended by the whole answer. Leaving cancels it."""
        token = token_of(request)
        raw = await small_body(request, self._settings.stall_s)
        try:
            asked = msgspec.json.decode(raw, type=_Question)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            sentence = 'Send a JSON object such as {"question": "What did we decide?", "job_ids": []}.'
            raise Refused(Code.BAD_REQUEST, sentence) from None

        async def produce(put: Callable[[bytes], Awaitable[None]]) -> None:
            send, receive = trio.open_memory_channel[AnswerProgress](inf)  # a few tens at most
            outcome: AskReply | Refused | None = None
            begun = False

            async def question() -> None:
                nonlocal outcome
                with send:
                    try:
                        outcome = await self._daemon.question(
                            token, asked.question, asked.job_ids, asked.limit, send.send_nowait
                        )
                    except Refused as error:
                        outcome = error

            async with trio.open_nursery() as nursery:
                nursery.start_soon(question)
                async for message in receive:
                    for name, value in _told(message):
                        begun = True
                        await put(sse(value, event=name))
            if isinstance(outcome, AskReply):
                await put(sse(_answer(outcome), event="answer"))
            elif outcome is not None and not begun:
                raise outcome
            elif outcome is not None:
                await put(sse({"code": outcome.code, "message": outcome.message}, event="error"))

        return EventStreamResponse(produce)

    async def rename(self, request: Request) -> Response:
        """Give a job another title."""
        raw = await small_body(request, self._settings.stall_s)
        try:
            title = msgspec.json.decode(raw, type=dict[str, Any])["title"]
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
            title = None
        if not isinstance(title, str):
            raise Refused(Code.BAD_REQUEST, 'Send a JSON object such as {"title": "Interview"}.', param="title")
        job = request.path_params["job_id"]
        await self._daemon.ask(token_of(request), UpdateSession(session=job, title=title))
        return Response(status_code=204)

    async def delete(self, request: Request) -> Response:
        """Forget a job, its audio and its text; one that is at work is stopped first."""
        token, job = token_of(request), request.path_params["job_id"]
        with suppress(Refused):  # it may be over; what else is wrong is said of the deletion, too
            await self._daemon.ask(token, CancelSession(session=job))
        await self._daemon.ask(token, DeleteSession(session=job))
        return Response(status_code=204)


class _Question(msgspec.Struct):
    """The body of a question."""

    question: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    job_ids: Annotated[list[str], msgspec.Meta(max_length=20)] = []
    limit: Annotated[int, msgspec.Meta(ge=1, le=40)] = 12


def _listed(session: SessionInfo) -> dict[str, Any]:
    told = {
        "job_id": session.session,
        "kind": session.kind,
        "title": session.title,
        "status": status_of(session.state),
        "created": session.created,
        "duration_s": session.duration_s,
    }
    if session.language:
        told["language"] = session.language
    return told | error_of(session)


def _told(message: AnswerProgress) -> Iterator[tuple[str, Any]]:
    """What is known of an answer, as events of this dialect."""
    if message.passages is not None:
        yield "passages", list(map(_passage, message.passages))
    if message.restart:
        yield "restart", {}
    if message.sentence is not None:
        yield "sentence", message.sentence


def _answer(reply: AskReply) -> dict[str, Any]:
    names = ("answer", "provider", "model", "dropped", "reason")
    return {name: getattr(reply, name) for name in names} | {"passages": list(map(_passage, reply.passages))}


def _passage(passage: Passage) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.structs.asdict(passage)
    told["job_id"] = told.pop("session")
    return told


def _range(wanted: str, size: int) -> tuple[int, int]:
    """Return from which byte to which a client wants; all of it, unless it names one range."""
    found = _RANGE.fullmatch(wanted.replace(" ", ""))
    if found is None or not (found[1] or found[2]):
        return 0, size
    if not found[1]:
        return max(0, size - int(found[2])), size
    end = min(size, int(found[2]) + 1) if found[2] else size
    # One that ends before it begins is none, and says nothing.
    return (0, size) if found[2] and int(found[2]) < int(found[1]) else (int(found[1]), end)


def _limit(request: Request) -> int:
    given = request.query_params.get("limit", str(PAGE))
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= PAGE):
        raise Refused(Code.BAD_REQUEST, f"`limit` must be a number from 1 to {PAGE}.", param="limit")
    return int(given)
