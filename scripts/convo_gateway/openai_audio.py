"""OpenAI's audio API: transcriptions, translations and models.

In: a form with a recording. Out: its text, in each of the formats of that API, whole or as a stream. The recording
waits on disk until the form is whole, for its fields may come behind it; no more of it than a piece is in memory.
"""

from __future__ import annotations

import math
import tempfile
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import Any, Final, Literal, cast

import msgspec
import trio
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import convo
from convo.languages import name_of
from convo.messages import (
    AudioFormat,
    Code,
    GetSessionReply,
    ModelInfo,
    Segment,
    SessionState,
    State,
    SummaryOptions,
    TranscriptSegment,
)

from .daemon_client import ALIASES, Daemon
from .errors import Refused
from .limits import Budget
from .metrics import Metrics
from .multipart import Field, FileData, FileStart, Form
from .settings import Settings
from .speakers import Labelled, Letters
from .text import gap, joined
from .web import EventStreamResponse, Json, body_of, sse, token_of, unless_gone

FORMATS: Final = ("json", "text", "srt", "vtt", "verbose_json")

DIARIZED: Final = "diarized_json"
"""The format that says who speaks; of transcriptions only."""

Task = Literal["transcribe", "translate"]

_PIECE: Final = 1 << 16

NO_SUMMARY: Final = SummaryOptions(mode="off")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for."""

    model: str
    language: str | None
    prompt: str | None
    format: str
    stream: bool
    words: bool
    segments: bool

    @property
    def diarized(self) -> bool:
        """Whether it is to be said who speaks."""
        return self.format == DIARIZED


class Transcriptions:
    """The endpoints."""

    def __init__(self, daemon: Daemon, settings: Settings, metrics: Metrics) -> None:
        self._daemon = daemon
        self._settings = settings
        self._metrics = metrics
        self._budget = Budget(settings.spool_bytes)
        metrics.spool.set_function(lambda: self._budget.used)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/audio/transcriptions", self.transcribe, methods=["POST"]),
            Route("/v1/audio/translations", self.translate, methods=["POST"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{model:path}", self.model, methods=["GET"]),
        ]

    async def models(self, request: Request) -> Response:
        """List the daemon's models, and OpenAI's names for the one it has chosen."""
        return Json({"object": "list", "data": _models(await self._daemon.models(token_of(request)))})

    async def model(self, request: Request) -> Response:
        """Describe one model."""
        name = request.path_params["model"]
        for model in _models(await self._daemon.models(token_of(request))):
            if model["id"] == name:
                return Json(model)
        raise Refused(Code.UNKNOWN_MODEL, "There is no model of this name; /v1/models lists them.", param="model")

    async def transcribe(self, request: Request) -> Response:
        """Transcribe a recording in its own language."""
        return await self._answer(request, "transcribe")

    async def translate(self, request: Request) -> Response:
        """Transcribe a recording in English."""
        return await self._answer(request, "translate")

    async def _answer(self, request: Request, task: Task) -> Response:
        token = token_of(request)
        spool = _Spool(self._budget)
        try:
            wanted, name = await self._read(request, spool, task)
            if wanted.stream:

                async def produce(put: Callable[[bytes], Awaitable[None]]) -> None:
                    async with spool:
                        await self._stream(token, wanted, task, name, spool, put)

                return _Owned(EventStreamResponse(produce), spool)
        except BaseException:
            await spool.aclose()
            raise
        async with spool:
            return await unless_gone(request, lambda: self._whole(token, wanted, task, name, spool))

    async def _whole(self, token: str | None, wanted: Wanted, task: Task, name: str, spool: _Spool) -> Response:
        """Return the text in the requested format."""
        async with self._session(token, wanted, task, name, spool) as upload:
            text = joined([segment.text async for segment, _ in _segments(upload)])
            if wanted.format in ("srt", "vtt"):
                return PlainTextResponse(await self._daemon.export(token, upload.session, wanted.format))
            if wanted.format in ("verbose_json", DIARIZED):
                session = await self._daemon.session(token, upload.session)
                if wanted.diarized:
                    return Json(diarized(session))
                return Json(verbose(session.segments, session.duration_s, task, wanted))
        return PlainTextResponse(text + "\n") if wanted.format == "text" else Json({"text": text})

    async def _read(self, request: Request, spool: _Spool, task: Task) -> tuple[Wanted, str]:
        """Read the form; the recording goes to disk."""
        fields: dict[str, list[str]] = {}
        name: str | None = None
        async with aclosing(body_of(request, self._settings.stall_s)) as body:
            async for part in Form(request.headers.get("content-type", ""), body):
                if isinstance(part, Field):
                    fields.setdefault(part.name.removesuffix("[]"), []).append(part.value)
                elif isinstance(part, FileStart):
                    if part.name != "file" or name is not None:
                        raise Refused(Code.BAD_REQUEST, "Send one file, in the field `file`.", param=part.name)
                    name = part.filename
                elif isinstance(part, FileData):
                    self._metrics.audio.inc(len(part.data))
                    await spool.write(part.data)
        wanted = wanted_of(fields, task)
        if name is None:
            raise Refused(Code.BAD_REQUEST, "Send the recording in the field `file`.", param="file")
        if not spool.size:
            raise Refused(Code.BAD_AUDIO, "The file is empty; send a recording.", param="file")
        return wanted, name

    def _session(
        self, token: str | None, wanted: Wanted, task: Task, name: str, spool: _Spool
    ) -> AbstractAsyncContextManager[convo.FileUpload]:
        """Hand the recording to the daemon; the session is gone afterwards unless the settings keep it."""
        return self._daemon.upload(
            token,
            spool.read,
            keep=self._settings.keep_sessions,
            audio=AudioFormat(name=name[:1000] or None, size=spool.size),
            task=task,
            model=wanted.model,
            language=wanted.language,
            prompt=wanted.prompt,
            words=wanted.words,
            interim=False,
            speakers="auto" if wanted.diarized else "off",
            summary=NO_SUMMARY,
        )

    async def _stream(
        self,
        token: str | None,
        wanted: Wanted,
        task: Task,
        name: str,
        spool: _Spool,
        put: Callable[[bytes], Awaitable[None]],
    ) -> None:
        """Stream segments as they arrive, then the full text."""
        begun = False
        try:
            async with self._session(token, wanted, task, name, spool) as upload:
                await put(b"")
                begun = True
                text = before = ""
                letters = Letters()
                async for segment, speaker in _segments(upload, labelled=wanted.diarized):
                    said = segment.text.strip()
                    delta = gap(before, said) + said
                    text, before = text + delta, said or before
                    about = {} if speaker is None else {"segment_id": _id(segment)}
                    await put(sse({"type": "transcript.text.delta", "delta": delta, **about}))
                    if speaker is not None:
                        await put(sse(_diarized_segment(segment, letters.of(speaker))))
                await put(sse({"type": "transcript.text.done", "text": text}))
        except Refused as error:
            if not begun:
                raise
            await put(sse(error_of(error), event="error"))


class _Spool:
    """A recording on disk, in an unnamed file: it vanishes with this process, however that ends."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._file: Any = None
        self._reading = False
        self.size = 0

    async def __aenter__(self) -> _Spool:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def write(self, data: bytes) -> None:
        """Append data.

        Raises:
            Refused: the disk, or the share of it, is full.
        """
        self._budget.take(len(data))
        self.size += len(data)
        try:
            if self._file is None:
                self._file = trio.wrap_file(await trio.to_thread.run_sync(tempfile.TemporaryFile))
            await self._file.write(data)
        except OSError as error:
            raise Refused(Code.BUSY, "The gateway's disk is full; try again later.") from error

    async def read(self) -> bytes:
        """Return the next bytes, from the start on; none at the end. Nothing may be written after."""
        if not self._reading:
            self._reading = True
            await self._file.seek(0)
        return cast(bytes, await self._file.read(_PIECE))

    async def aclose(self) -> None:
        """Free the disk."""
        self._budget.give_back(self.size)
        self.size = 0
        if self._file is not None:
            file, self._file = self._file, None
            with trio.CancelScope(shield=True), suppress(OSError):  # what could not be written is not needed
                await file.aclose()


class _Owned(Response):
    """A response that closes a spool when it is over, or was never begun."""

    def __init__(self, inner: Response, spool: _Spool) -> None:
        self._inner = inner
        self._spool = spool

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async with self._spool:
            await self._inner(scope, receive, send)


async def _segments(
    upload: convo.FileUpload, *, labelled: bool = False
) -> AsyncIterator[tuple[TranscriptSegment, int | None]]:
    """Yield the segments of a recording, and if they are `labelled` the number of who says them.

    Raises:
        Refused: the session failed or was cancelled.
    """
    labels = Labelled()
    async for event in upload:
        if labelled and (complete := labels.take(event)) is not None:
            yield complete
        elif isinstance(event, TranscriptSegment) and not labelled:
            yield event, None
        elif isinstance(event, SessionState) and event.state in (State.FAILED, State.CANCELLED):
            message = event.message or "The session was cancelled at the daemon."
            raise Refused(event.code or Code.INTERNAL, message)


def wanted_of(fields: dict[str, list[str]], task: Task) -> Wanted:
    """Return what the fields of a form ask for.

    Raises:
        Refused: one of them is wrong.
    """
    last = {name: values[-1] for name, values in fields.items()}
    format = last.get("response_format") or "json"
    formats = FORMATS if task == "translate" else (*FORMATS, DIARIZED)
    if format not in formats:
        raise _wrong("response_format", f"response_format must be one of {', '.join(formats)}.")
    if fields.get("known_speaker_names") or fields.get("known_speaker_references"):
        sentence = "Leave known_speaker_names and known_speaker_references out: have convo remember a voice instead."
        raise _wrong("known_speaker_names", sentence)
    granularities = fields.get("timestamp_granularities", [])
    if wrong := set(granularities) - {"word", "segment"}:
        raise _wrong(
            "timestamp_granularities", f"timestamp_granularities are word and segment, not {min(wrong)!r:.40}."
        )
    if granularities and format != "verbose_json":
        raise _wrong("timestamp_granularities", "timestamp_granularities need response_format verbose_json.")
    stream = last.get("stream", "false").lower()
    if stream not in ("true", "false", "0", "1"):
        raise _wrong("stream", "stream must be true or false.")
    try:
        temperature = float(last.get("temperature") or 0)
    except ValueError:
        temperature = math.nan
    if not 0 <= temperature <= 1:
        raise _wrong("temperature", "temperature must be a number from 0 to 1.")
    model = last.get("model") or ""
    if not model:
        raise _wrong("model", "Name a model, such as whisper-1; /v1/models lists them.")
    return Wanted(
        model=model,
        language=last.get("language") or None,
        prompt=last.get("prompt") or None,
        format=format,
        stream=stream in ("true", "1"),
        words="word" in granularities,
        segments="segment" in granularities or not granularities,
    )


def verbose(segments: Sequence[Segment], duration_s: float, task: str, wanted: Wanted) -> dict[str, Any]:
    """Return a transcript as verbose_json.

    `avg_logprob` is the logarithm of the segment's confidence; `compression_ratio` is computed as Whisper does, from
    the text; there are no token numbers, and what was no speech is no segment.
    """
    language = "en" if task == "translate" else (segments[0].language if segments else wanted.language or "")
    answer: dict[str, Any] = {
        "task": task,
        "language": name_of(language),
        "duration": duration_s,
        "text": joined(segment.text for segment in segments),
    }
    if wanted.segments:
        answer["segments"] = [_verbose_segment(segment) for segment in segments]
    if wanted.words:
        words = [word for segment in segments for word in segment.words or ()]
        answer["words"] = [{"word": word.word.strip(), "start": word.start, "end": word.end} for word in words]
    return answer


def _verbose_segment(segment: Segment) -> dict[str, Any]:
    raw = segment.text.encode()
    return {
        "id": segment.segment,
        "seek": 0,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": math.log(max(segment.confidence, 1e-6)),
        "compression_ratio": len(raw) / len(zlib.compress(raw)),
        "no_speech_prob": 0.0,
    }


def diarized(session: GetSessionReply) -> dict[str, Any]:
    """Return a transcript as diarized_json: speakers are letters, but for those whose voice is remembered by a name."""
    letters = Letters()
    names = {one.speaker: one.name for one in session.speakers if one.name != f"Speaker {one.speaker}"}
    said = [(segment, segment.speaker or 1) for segment in session.segments]
    return {
        "task": "transcribe",
        "duration": session.duration_s,
        "text": joined(segment.text for segment in session.segments),
        "segments": [_diarized_segment(segment, names.get(who) or letters.of(who)) for segment, who in said],
    }


def _diarized_segment(segment: Segment | TranscriptSegment, speaker: str) -> dict[str, Any]:
    return {
        "type": "transcript.text.segment",
        "id": _id(segment),
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "speaker": speaker,
    }


def _id(segment: Segment | TranscriptSegment) -> str:
    return f"seg_{segment.segment}"


def _models(models: Sequence[ModelInfo]) -> list[dict[str, Any]]:
    names = [*ALIASES, *(model.name for model in models)]
    return [{"id": name, "object": "model", "created": 0, "owned_by": "convo"} for name in names]


def _wrong(param: str, sentence: str) -> Refused:
    return Refused(Code.BAD_REQUEST, sentence, param=param)


# --- errors ---------------------------------------------------------------------------------------------------

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {
    Code.UNAUTHORIZED: "invalid_api_key",
    Code.UNKNOWN_MODEL: "model_not_found",
    Code.UNSUPPORTED_AUDIO: "unsupported_audio",
}


def error_of(error: Refused) -> dict[str, Any]:
    """Return an error in the form of OpenAI's API."""
    kind = _TYPES.get(error.status) or ("server_error" if error.status >= 500 else "invalid_request_error")
    code = _CODES.get(Code(error.code)) if error.code in list(Code) else None
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": code or error.code}}


def refusal(error: Refused) -> Response:
    """Return an error in this dialect's form."""
    headers = {"retry-after": "1"} if error.status in (429, 503) else {}
    return Json(error_of(error), error.status, headers)
