"""Deepgram's live WebSocket: binary audio in, `Results` out.

In: options in the query, audio, and `Finalize`, `KeepAlive`, `CloseStream`. Out: `Results`, interim and final, and if
asked for `SpeechStarted`, `UtteranceEnd` and the speaker of each word; at the end `Metadata`. The daemon's session
begins with the connection.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import msgspec
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

import convo
from convo.client_io import Broadcast
from convo.messages import (
    AudioFormat,
    Code,
    Event,
    GetSession,
    ModelInfo,
    SessionState,
    SpeakerLabel,
    SpeechEnded,
    SpeechStarted,
    State,
    TranscriptPartial,
    TranscriptSegment,
    Word,
)
from convo.transport import background_tasks

from .daemon_client import ALIASES, Daemon, leave
from .errors import Refused, translated
from .metrics import Metrics
from .openai_audio import NO_SUMMARY
from .settings import Settings
from .speakers import Labelled
from .web import Json, checked_token, token_of

_THEIRS: Final = re.compile(r"(nova|enhanced|base|general|whisper|flux|meeting|phonecall|2-)\S*")
"""Names of Deepgram's models, all of which mean the one that the daemon has chosen."""

_ENCODINGS: Final = {"linear16": ("s16le", 2), "mulaw": ("mulaw", 1), "alaw": ("alaw", 1)}
"""Encodings, with the daemon's name and the bytes of a sample."""

_NOT_PUNCTUATION: Final = re.compile(r"^\W+|\W+$")


@dataclass(frozen=True)
class Options:
    """What the query asks for. Times are in milliseconds."""

    model: str | None
    language: str | None
    encoding: str
    rate: int
    channels: int
    interim: bool
    endpointing: int | None
    utterance_end: int | None
    vad_events: bool
    hotwords: str | None
    diarize: bool

    @property
    def bytes_per_second(self) -> int:
        """Of the audio."""
        return _ENCODINGS[self.encoding][1] * self.rate * self.channels


def options_of(query: Mapping[str, str], terms: list[str], models: list[ModelInfo]) -> Options:
    """Read the query.

    Args:
        query: its fields.
        terms: the values of `keyterm` and `keywords`.
        models: those that the daemon has.

    Raises:
        Refused: it makes no sense, or asks for what there is not.
    """
    encoding = query.get("encoding", "")
    if encoding not in _ENCODINGS:
        raise _wrong("encoding", f"`encoding` must be one of {', '.join(_ENCODINGS)}: send raw audio.")
    if "sample_rate" not in query:
        raise _wrong("sample_rate", "Raw audio needs `sample_rate`.")
    channels = _number(query, "channels", 1, 8) or 1
    if channels > 1 and _flag(query, "multichannel"):
        raise _wrong("multichannel", "Channels are mixed here: leave `multichannel` out, or send each one by itself.")
    model = query.get("model") or None
    if model is not None and model not in {each.name for each in models}:
        if model not in ALIASES and not _THEIRS.fullmatch(model):
            raise Refused(
                Code.UNKNOWN_MODEL, "The daemon has no such model; leave `model` out for its own.", status=400
            )
        model = None
    if query.get("diarize_model", "latest") not in ("latest", "v1"):
        raise _wrong("diarize_model", "`diarize_model` must be latest or v1: there are no others for live audio.")
    language = query.get("language") or None
    endpointing = None if query.get("endpointing") in ("true", "false") else _number(query, "endpointing", 10, 5000)
    return Options(
        model=model,
        language=None if language == "multi" else language and language.partition("-")[0],
        encoding=encoding,
        rate=_number(query, "sample_rate", 8000, 48_000) or 0,
        channels=channels,
        interim=_flag(query, "interim_results"),
        endpointing=endpointing,
        utterance_end=_number(query, "utterance_end_ms", 1000, 5000),
        vad_events=_flag(query, "vad_events"),
        hotwords=", ".join(term.partition(":")[0] for term in terms) or None,
        diarize=_flag(query, "diarize") or "diarize_model" in query,
    )


def refusal(error: Refused) -> Response:
    """Return an error in place of the handshake, as Deepgram does."""
    body = {"err_code": error.code.upper(), "err_msg": error.message, "request_id": str(uuid.uuid4())}
    return Json(body, error.status, {"dg-error": error.message.encode("latin-1", "replace").decode("latin-1")})


class Listen:
    """The endpoint."""

    def __init__(self, daemon: Daemon, settings: Settings, metrics: Metrics) -> None:
        self._daemon = daemon
        self._settings = settings
        self._metrics = metrics

    def routes(self) -> list[WebSocketRoute]:
        """Return where it is."""
        return [WebSocketRoute("/v1/listen", self.serve)]

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one connection; what is wrong before its session is there is refused in place of the handshake."""
        token, subprotocol = _token_of(websocket)
        query = websocket.query_params
        terms = [*query.getlist("keyterm"), *query.getlist("keywords")]
        options = options_of(query, terms, await self._daemon.models(token))
        encoding, _ = _ENCODINGS[options.encoding]
        job = ""
        try:
            async with self._daemon.speak(
                token,
                audio=AudioFormat(encoding=encoding, rate=options.rate, channels=options.channels),
                model=options.model,
                language=options.language,
                hotwords=options.hotwords,
                endpoint_ms=options.endpointing,
                interim=options.interim,
                words=True,
                speakers="auto" if options.diarize else "off",
                summary=NO_SUMMARY,
            ) as stream:
                job = stream.session
                await websocket.accept(subprotocol)
                with suppress(WebSocketDisconnect):
                    await _Connection(
                        self._daemon, self._settings, self._metrics, websocket, token, options, stream
                    ).run()
        finally:
            if job and not self._settings.keep_sessions:
                await self._daemon.forget(token, job)


class _Connection:
    """One WebSocket with its session. One task listens; another tells."""

    def __init__(
        self, daemon: Daemon, settings: Settings, metrics: Metrics, websocket: WebSocket, token: str | None,
        options: Options, stream: convo.LiveStream,
    ) -> None:  # fmt: skip
        self._daemon = daemon
        self._token = token
        self._stall_s = settings.stall_s
        self._metrics = metrics
        self._websocket = websocket
        self._options = options
        self._stream = stream
        self._id = str(uuid.uuid4())
        self._created = datetime.now(UTC)
        self._received = 0  # bytes
        self._finalizing = False
        self._segment = -1  # the last that was told
        self._told = Broadcast()
        self._speaking_since: float | None = None  # seconds
        self._labels = Labelled()
        self._last_word_end: float | None = None  # of an utterance whose end is still to be told

    async def run(self) -> None:
        """Serve it until the client or the session ends; what is wrong is told as an error of Deepgram's."""
        told = anyio.Event()
        trouble: list[Refused] = []

        async def tell() -> None:
            try:
                with translated():
                    async for event in self._stream:
                        await self._tell(event)
            except Refused as error:
                trouble.append(error)
                tasks.cancel_scope.cancel()
            except (WebSocketDisconnect, RuntimeError):  # the listener hears of it, too
                return
            told.set()

        try:
            async with background_tasks() as tasks:
                tasks.start_soon(tell)
                try:
                    await self._listen()
                    await told.wait()
                except BaseException:
                    await leave(self._stream)
                    raise
            if trouble:
                raise trouble[0]
            await self._send(self._metadata())
            await self._websocket.close()
        except Refused as error:
            await self._fail(error)

    # --- what the client says -----------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Take audio and commands until the client has no more."""
        with translated():
            while True:
                with anyio.move_on_after(self._stall_s) as scope:
                    message = await self._websocket.receive()
                if scope.cancelled_caught:
                    raise Refused("timeout", "Neither audio nor KeepAlive came for too long.")
                if message["type"] == "websocket.disconnect":
                    raise WebSocketDisconnect
                if (data := message.get("bytes")) is not None:
                    if not data:
                        break  # as CloseStream, of old
                    await self._audio(data)
                elif await self._command(message.get("text") or ""):
                    break
            await self._stream.end()

    async def _audio(self, data: bytes) -> None:
        self._received += len(data)
        self._metrics.audio.inc(len(data))
        await self._stream.send(data)
        await self._tell_utterance_end(self._received / self._options.bytes_per_second)

    async def _command(self, text: str) -> bool:
        """Do what a text message says; returns whether it was the last."""
        try:
            kind = msgspec.json.decode(text, type=dict[str, Any]).get("type")
        except msgspec.DecodeError:
            kind = None
        match kind:
            case "KeepAlive":
                return False
            case "Finalize":
                await self._finalize()
                return False
            case "CloseStream":
                return True
        raise Refused(Code.BAD_MESSAGE, "Text messages are JSON with the type Finalize, KeepAlive or CloseStream.")

    async def _finalize(self) -> None:
        before, self._finalizing = self._segment, True
        await self._stream.finalize()
        # The daemon has stored all segments of that audio now: have them told first.
        reply: Any
        (reply,) = await self._daemon.ask(
            self._token,
            GetSession(session=self._stream.session, after_segment=before if before >= 0 else None),
        )
        while reply.segments and self._segment < reply.segments[-1].segment:
            await self._told.wait()
        if self._segment == before:
            at = self._received / self._options.bytes_per_second
            await self._send(self._results("", at, at, [], 0.0, final=True, spoken=True))
        self._finalizing = False

    # --- what the daemon says -----------------------------------------------------------------------------------

    async def _tell(self, event: Event) -> None:
        match event:
            case SessionState() if event.state is State.FAILED:
                raise Refused(event.code or Code.INTERNAL, event.message or "The session failed.")
            case SpeechStarted():
                self._speaking_since = event.time
                if self._options.vad_events:
                    await self._send({"type": "SpeechStarted", "channel": [0, 1], "timestamp": event.time})
            case SpeechEnded():
                self._speaking_since = None
            case TranscriptPartial():
                text = f"{event.stable}{event.tentative}".strip()
                await self._send(self._results(text, event.start, event.end, [], 0.0, final=False, spoken=False))
            case TranscriptSegment() if not self._options.diarize:
                await self._tell_segment(event, None)
            case TranscriptSegment() | SpeakerLabel() if (complete := self._labels.take(event)) is not None:
                await self._tell_segment(*complete)

    async def _tell_segment(self, segment: TranscriptSegment, speaker: int | None) -> None:
        self._segment = segment.segment
        self._last_word_end = segment.end
        words = [_word(word, speaker) for word in segment.words or ()]
        await self._send(
            self._results(
                segment.text, segment.start, segment.end, words, segment.confidence,
                final=True, spoken=self._finalizing or not self._goes_on((segment.start + segment.end) / 2),
            )
        )  # fmt: skip
        self._told.set()

    def _goes_on(self, time: float) -> bool:
        """Whether speech that was heard at this time goes on: a long one comes in several segments."""
        return self._speaking_since is not None and self._speaking_since < time

    async def _tell_utterance_end(self, now: float) -> None:
        wanted, end = self._options.utterance_end, self._last_word_end
        if wanted is not None and end is not None and self._speaking_since is None and now - end >= wanted / 1000:
            self._last_word_end = None
            await self._send({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": round(end, 3)})

    # --- the wire -----------------------------------------------------------------------------------------------

    def _results(
        self, text: str, start: float, end: float, words: list[dict[str, Any]], confidence: float,
        *, final: bool, spoken: bool,
    ) -> dict[str, Any]:  # fmt: skip
        model = self._options.model or "convo"
        return {
            "type": "Results",
            "channel_index": [0, 1],
            "duration": round(end - start, 3),
            "start": round(start, 3),
            "is_final": final,
            "speech_final": spoken,
            "from_finalize": final and self._finalizing,
            "channel": {"alternatives": [{"transcript": text, "confidence": confidence, "words": words}]},
            "metadata": {
                "request_id": self._id,
                "model_info": {"name": model, "version": convo.__version__, "arch": "whisper"},
                "model_uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"convo:{model}")),
            },
        }

    def _metadata(self) -> dict[str, Any]:
        return {
            "type": "Metadata",
            "transaction_key": "deprecated",
            "request_id": self._id,
            "sha256": "",
            "created": self._created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "duration": round(self._received / self._options.bytes_per_second, 3),
            "channels": self._options.channels,
        }

    async def _send(self, message: dict[str, Any]) -> None:
        await self._websocket.send_text(msgspec.json.encode(message).decode())

    async def _fail(self, error: Refused) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._send(
                {"type": "Error", "description": error.message, "message": error.message, "variant": error.code}
            )
            await self._websocket.close(1011 if error.status >= 500 or error.code == "timeout" else 1008)


def _word(word: Word, speaker: int | None) -> dict[str, Any]:
    text = word.word.strip()
    told = {
        "word": _NOT_PUNCTUATION.sub("", text).lower() or text,
        "start": round(word.start, 3),
        "end": round(word.end, 3),
        "confidence": word.confidence,
        "punctuated_word": text,
    }
    return told if speaker is None else told | {"speaker": speaker - 1}  # theirs are numbered from 0


def _token_of(connection: HTTPConnection) -> tuple[str | None, str | None]:
    """Return the token that a client sent, and the subprotocol to accept.

    Deepgram's clients send it as `Authorization: Token TOKEN`; a browser, which can set no header, as a subprotocol.
    """
    offered = [each.strip() for each in connection.headers.get("sec-websocket-protocol", "").split(",")]
    if len(offered) == 2 and offered[0].lower() in ("token", "bearer"):
        return checked_token(offered[1]), offered[0]
    return token_of(connection, schemes=("bearer", "token")), None


def _wrong(param: str, sentence: str) -> Refused:
    return Refused(Code.BAD_REQUEST, sentence, param=param)


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "false").lower() == "true"


def _number(query: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    if name not in query:
        return None
    text = query[name]
    if not text.isascii() or not text.isdigit() or not least <= int(text[:9]) <= most:
        raise _wrong(name, f"`{name}` must be a whole number between {least} and {most}.")
    return int(text)
