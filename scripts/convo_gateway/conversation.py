"""The conversation API: upload a recording or stream speech, follow it, fetch transcript and summary.

In: HTTP requests and WebSocket messages. Out: jobs, which are the daemon's sessions by the same id, and their events.
README.md describes the dialect; `openapi.py` is the same for programs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing, suppress
from typing import Any, Final

import msgspec
import trio
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

import convo
from convo.messages import (
    AudioFormat,
    Code,
    Event,
    FinalSummary,
    GetSession,
    GetSessionReply,
    Progress,
    SessionInfo,
    SessionState,
    SessionWarning,
    SpeakerLabel,
    SpeakerRenamed,
    SpeakersMerged,
    SpeakersRevised,
    State,
    SummaryDelta,
    SummaryOptions,
    TranscriptPartial,
    TranscriptSegment,
)

from .daemon_client import Daemon, leave
from .errors import Refused
from .fanout import Fanout
from .limits import Places
from .metrics import Metrics
from .multipart import Field, FileData, FileStart, Form
from .settings import Settings
from .text import joined
from .web import EventStreamResponse, Json, body_of, small_body, sse, token_of

FIELDS: Final = ("language", "languages", "prompt", "title", "model", "style", "speakers", "channels", "keep_audio")
"""Form fields and JSON fields that a job can be given."""

INCLUDED: Final = frozenset({"transcript_partial", "summary_delta"})
"""Events of what may still change, told to clients that name them in `include`."""

_CANCELLED: Final = "The job was cancelled; what was transcribed stays."
_UNTOLD: Final = "The session failed, and the daemon did not say why: see its log."

CONTROL_CHARS: Final = 1000
"""Longest text message on a stream's WebSocket."""


def refusal(error: Refused) -> Response:
    """Return an error in this dialect's form."""
    headers = {"www-authenticate": "Bearer"} if error.status == 401 else {}
    if error.status in (429, 503):
        headers["retry-after"] = "1"
    return Json({"error": {"code": error.code, "message": error.message}}, error.status, headers)


class Conversations:
    """The endpoints."""

    def __init__(self, daemon: Daemon, fanout: Fanout, settings: Settings, metrics: Metrics) -> None:
        self._daemon = daemon
        self._fanout = fanout
        self._settings = settings
        self._metrics = metrics
        self._followers = Places(
            settings.job_streams, f"This job has {settings.job_streams} event streams; close one first.", status=429
        )

    def routes(self) -> list[Route | WebSocketRoute]:
        """Return the routes."""
        return [
            Route("/api/v1/conversation/request", self.request, methods=["POST"]),
            Route("/api/v1/conversation/result/{job_id}", self.result, methods=["GET"]),
            Route("/api/v1/conversation/stream-events/{job_id}", self.stream_events, methods=["GET"]),
            Route("/api/v1/stream/create", self.create, methods=["POST"]),
            WebSocketRoute("/api/v1/stream/ws/{job_id}", self.stream),
        ]

    async def request(self, request: Request) -> Response:
        """Accept a recording, and pass it on to the daemon as it arrives."""
        token = token_of(request)
        job: str | None = None
        async with aclosing(body_of(request, self._settings.stall_s)) as body:
            form = Form(request.headers.get("content-type", ""), body)
            fields: dict[str, str] = {}
            async for part in form:
                if isinstance(part, Field) and job is None:
                    fields[part.name] = part.value
                elif isinstance(part, FileStart) and part.name == "file" and job is None:
                    job = await self._upload(token, form, part.filename, fields)
                elif isinstance(part, Field) and part.name in FIELDS:
                    assert job is not None
                    await self._daemon.forget(token, job)
                    raise Refused(Code.BAD_REQUEST, f"Send the field {part.name} before the file.", param=part.name)
        if job is None:
            raise Refused(Code.BAD_REQUEST, "Send a recording as a file in the field `file`.", param="file")
        return Json({"job_id": job}, 202)

    async def _upload(self, token: str | None, form: Form, filename: str, fields: dict[str, str]) -> str:
        """Send a file on; returns its job. An upload that breaks off leaves none behind."""
        empty = True

        async def read() -> bytes:
            nonlocal empty
            part = await anext(form)
            if isinstance(part, FileData):
                empty = False
                self._metrics.audio.inc(len(part.data))
                return part.data
            if empty:
                raise Refused(Code.BAD_AUDIO, "The file is empty; send a recording.", param="file")
            return b""

        audio = AudioFormat(name=filename[:1000] or None)
        options = _session_fields(fields)
        async with self._daemon.upload(token, read, keep=True, audio=audio, interim=False, **options) as upload:
            return upload.session

    async def result(self, request: Request) -> Response:
        """Return a job's status and its results so far."""
        token, job = token_of(request), request.path_params["job_id"]
        session = await self._daemon.session(token, job)
        return Json(result_of(session))

    async def stream_events(self, request: Request) -> Response:
        """Follow a job; `Last-Event-ID` is the number of the last stored event that the client has."""
        token, job = token_of(request), request.path_params["job_id"]
        after, include = _last_event_id(request), _include(request)

        async def produce(put: Callable[[bytes], Awaitable[None]]) -> None:
            async def tell(event: Event) -> None:
                if (told := _sse_of(event, include)) is not None:
                    await put(told)

            with self._followers.place(job):
                # What is never repeated comes over a connection of its own: a feed keeps stored events alone.
                open_reader = self._fanout.alone if include else self._fanout.reader
                async with open_reader(token, job, after) as reader:
                    if reader.done:
                        return  # nothing at all tells an EventSource not to come back
                    await put(b"")  # the client sees that it is connected, though nothing may happen for long
                    try:
                        await reader.run(tell)
                    except Refused as error:
                        await put(sse({"code": error.code, "message": error.message}, event="error"))

        return EventStreamResponse(produce)

    async def create(self, request: Request) -> Response:
        """Create a live job; its WebSocket follows."""
        token = token_of(request)
        raw = await small_body(request, self._settings.stall_s)
        try:
            fields = msgspec.json.decode(raw, type=dict[str, Any]) if raw.strip() else {}
            given = {name: fields[name] for name in FIELDS if fields.get(name) is not None}
            if isinstance(kept := given.get("keep_audio"), bool):
                given["keep_audio"] = str(kept).lower()
            options = _session_fields(msgspec.convert(given, dict[str, str]))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise Refused(Code.BAD_REQUEST, "Send a JSON object whose fields are texts, or no body.") from None
        async with self._daemon.speak(token, **options) as stream:
            return Json({"job_id": stream.session}, 201)

    # --- the WebSocket ----------------------------------------------------------------------------------------

    async def stream(self, websocket: WebSocket) -> None:
        """Transcribe speech as it arrives. A client that just closes ends its session; the summary is stored."""
        await websocket.accept()
        try:
            await self._stream(websocket, token_of(websocket), websocket.path_params["job_id"])
        except Refused as error:
            with suppress(WebSocketDisconnect, RuntimeError):
                await _tell(websocket, {"type": "error", "code": error.code, "message": error.message})
                await websocket.close(1011 if error.status >= 500 else 1008)
            return
        except WebSocketDisconnect:
            return
        with suppress(WebSocketDisconnect, RuntimeError):
            await websocket.close()

    async def _stream(self, websocket: WebSocket, token: str | None, job: str) -> None:
        session: GetSessionReply
        (session,) = await self._daemon.ask(token, GetSession(session=job, after_segment=1 << 62))
        if session.kind != "live":
            raise Refused(Code.BAD_STATE, "This job is a recording: follow it at /api/v1/conversation/stream-events.")
        if session.state.final:
            raise Refused(Code.BAD_STATE, "This job is over: fetch it at /api/v1/conversation/result.")
        after = _number(websocket.query_params.get("last_event_id", "0"), "last_event_id")
        include = _include(websocket) | {"transcript_partial"}
        stays = websocket.query_params.get("resume") == "1"
        async with self._daemon.speak(token, job, after) as stream:
            # With what the daemon has of the audio, for a client that comes back to continue there.
            await _tell(websocket, {"type": "connection_success", "job_id": job, "offset": stream.taken})
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._listen, websocket, stream, stays)
                    with suppress(WebSocketDisconnect):  # the listener hears of it, too
                        async for event in stream:
                            if (told := _told(event, include)) is not None:
                                await _tell(websocket, told)
                    nursery.cancel_scope.cancel()
            except* (Refused, convo.ConvoError) as group:
                raise _first(group) from None
            except* WebSocketDisconnect as group:
                raise _first(group) from None

    async def _listen(self, websocket: WebSocket, stream: convo.LiveStream, stays: bool) -> None:
        """Receive audio until the client ends or leaves; the session ends with it, unless the gateway itself stops.

        A session that `stays` waits for its client to come back, for as long as the daemon waits for any.
        """
        try:
            while not await self._take(websocket, stream):
                pass
            await stream.end()
        except (convo.ConvoError, WebSocketDisconnect) as error:
            if not (stays and isinstance(error, WebSocketDisconnect)):
                await leave(stream)
            raise
        while True:  # until it goes
            if (await websocket.receive())["type"] == "websocket.disconnect":
                raise WebSocketDisconnect

    async def _take(self, websocket: WebSocket, stream: convo.LiveStream) -> bool:
        """Handle one message; return whether it was the last."""
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect
        if (data := message.get("bytes")) is not None:
            self._metrics.audio.inc(len(data))
            await stream.send(data)
            return False
        text = message.get("text") or ""
        try:
            control = msgspec.json.decode(text) if len(text) <= CONTROL_CHARS else None
        except msgspec.DecodeError:
            control = None
        if isinstance(control, dict) and control.get("type") == "end":
            return True
        # What was said so far stays; only this message is refused.
        sentence = 'Send audio as binary messages; the only text message is {"type": "end"}.'
        await _tell(websocket, {"type": "error", "code": str(Code.BAD_MESSAGE), "message": sentence})
        return False


def result_of(session: GetSessionReply) -> dict[str, Any]:
    """Return a session in the form of a job's result."""
    answer: dict[str, Any] = {
        "job_id": session.session,
        "kind": session.kind,
        "status": status_of(session.state),
        "created": session.created,
        "title": session.title,
        "duration_s": session.duration_s,
        "transcript": joined(segment.text for segment in session.segments),
        "segments": session.segments,
        "summary": session.summary,
    }
    if session.language:
        answer["language"] = session.language
    if session.speakers:
        answer["speakers"] = session.speakers
    return answer | error_of(session)


def error_of(session: GetSessionReply | SessionInfo) -> dict[str, Any]:
    """Return why a session failed, or that it was cancelled, as a field of a job; nothing if neither."""
    if session.state is State.FAILED:
        return {"error": {"code": session.code or str(Code.INTERNAL), "message": session.message or _UNTOLD}}
    if session.state is State.CANCELLED:
        return {"error": {"code": str(session.state), "message": _CANCELLED}}
    return {}


def status_of(state: State) -> str:
    """Return a state as this dialect names it."""
    return "failed" if state is State.CANCELLED else str(state)


def _session_fields(fields: dict[str, str]) -> dict[str, Any]:
    plain = ("language", "prompt", "title", "model", "speakers", "channels")
    options: dict[str, Any] = {name: fields[name] for name in plain if fields.get(name)}
    if languages := fields.get("languages"):
        options["languages"] = [code.strip() for code in languages.split(",")]
    if kept := fields.get("keep_audio"):
        if kept not in ("true", "false"):
            raise Refused(Code.BAD_REQUEST, "keep_audio must be true or false.", param="keep_audio")
        options["keep_audio"] = kept == "true"
    if style := fields.get("style"):
        options["summary"] = SummaryOptions(style=style)
    return options


def _told(event: Event, include: Collection[str]) -> dict[str, Any] | None:
    """Return an event in this dialect's form; None for those that it does not have, or sends only when asked to."""
    match event:
        case TranscriptPartial() | SummaryDelta() if event.__struct_config__.tag not in include:
            return None
        case (
            TranscriptSegment()
            | SpeakerLabel()
            | SpeakersRevised()
            | SpeakerRenamed()
            | SpeakersMerged()
            | TranscriptPartial()
            | FinalSummary()
            | SummaryDelta()
        ):
            told: dict[str, Any] = msgspec.to_builtins(event)
            del told["session"]
            if isinstance(event, TranscriptPartial):
                told["text"] = " ".join(filter(None, (event.stable, event.tentative)))
            return told
        case SessionState(state=State.FAILED | State.CANCELLED):
            message = event.message or (_UNTOLD if event.state is State.FAILED else _CANCELLED)
            return {"type": "error", "seq": event.seq, "code": event.code or str(event.state), "message": message}
        case SessionState():
            return {"type": "progress", "seq": event.seq, "status": str(event.state)}
        case Progress():
            return {"type": "progress", "status": "processing", "done_s": event.done_s, "total_s": event.total_s}
        case SessionWarning():
            return {"type": "progress", "seq": event.seq, "warning": {"code": event.code, "message": event.message}}
    return None


def _sse_of(event: Event, include: Collection[str]) -> bytes | None:
    told = _told(event, include)
    if told is None:
        return None
    return sse(told, event=told["type"], id=told.get("seq"))


def _last_event_id(request: Request) -> int:
    # An EventSource sends the header when it comes back; the query is for those who cannot set headers.
    given = request.headers.get("last-event-id") or request.query_params.get("last_event_id") or "0"
    return _number(given, "Last-Event-ID")


def _include(connection: HTTPConnection) -> set[str]:
    """Return the events that a client wants beyond those that everybody gets."""
    given = {name for name in connection.query_params.get("include", "").split(",") if name}
    if given - INCLUDED:
        sentence = f"`include` can name {' and '.join(sorted(INCLUDED))} only."
        raise Refused(Code.BAD_REQUEST, sentence, param="include")
    return given


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Refused(Code.BAD_REQUEST, f"{name} must be the number of an event of this job.", param=name)
    return int(text)


async def _tell(websocket: WebSocket, message: dict[str, Any]) -> None:
    await websocket.send_text(msgspec.json.encode(message).decode())


def _first(group: BaseExceptionGroup[Any]) -> Exception:
    """Return the first exception of a group that has no groups inside."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Exception)
    return error
