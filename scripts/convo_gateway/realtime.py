"""OpenAI's Realtime API, as far as it transcribes: audio as base64 in, deltas and transcripts out.

In: JSON messages of a WebSocket. Out: the API's events. With server VAD each segment of the daemon is an item; without,
each commit is one. The daemon's session begins with the first audio, as the session was configured then.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from contextlib import AbstractAsyncContextManager, suppress
from typing import Annotated, Any, Final, Literal

import anyio
import msgspec
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

import convo
from convo.messages import (
    AudioFormat,
    Code,
    Event,
    GetSession,
    SessionState,
    SpeechEnded,
    SpeechStarted,
    State,
    TranscriptPartial,
    TranscriptSegment,
)
from convo.transport import background_tasks

from .daemon_client import Daemon, leave
from .errors import Refused, translated
from .metrics import Metrics
from .openai_audio import NO_SUMMARY, error_of
from .settings import Settings
from .text import joined
from .web import token_of


class _Encoding(msgspec.Struct, frozen=True):
    """What a format's bytes are to the daemon, and its name in the API's beta."""

    name: str
    rate: int
    sample_bytes: int
    beta: str


ENCODINGS: Final = {
    "audio/pcm": _Encoding("s16le", 24_000, 2, "pcm16"),
    "audio/pcmu": _Encoding("mulaw", 8_000, 1, "g711_ulaw"),
    "audio/pcma": _Encoding("alaw", 8_000, 1, "g711_alaw"),
}


class Vad(msgspec.Struct, frozen=True, kw_only=True):
    """Turn detection. Silence is in milliseconds; the threshold is taken and left to the daemon."""

    type: Literal["server_vad", "semantic_vad"] = "server_vad"
    silence_duration_ms: Annotated[int, msgspec.Meta(ge=0, le=10_000)] | None = None


class Transcription(msgspec.Struct, frozen=True, kw_only=True):
    """Model, language and prompt."""

    model: str | None = None
    language: str | None = None
    prompt: str | None = None


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """Format of the incoming audio."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: int | None = None

    @property
    def encoding(self) -> _Encoding:
        """What its bytes are."""
        return ENCODINGS[self.type]


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """Incoming audio, and how it is transcribed."""

    format: Format = Format()
    transcription: Transcription | None = Transcription()
    turn_detection: Vad | None = Vad()


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A session's configuration, limited to transcription."""

    input: Input = Input()

    def told(self, id: str, *, beta: bool = False) -> dict[str, Any]:
        """Return it in the form of the API, or of its beta."""
        told: dict[str, Any] = msgspec.to_builtins(self.input)
        about = {"id": id, "object": "realtime.transcription_session"}
        if beta:
            changed = {old: told[name] for old, name in _BETA_NAMES.items()}
            return {**about, "input_audio_format": self.input.format.encoding.beta, **changed}
        if self.input.format.type == "audio/pcm":
            told["format"]["rate"] = self.input.format.encoding.rate
        else:
            del told["format"]["rate"]
        return {**about, "type": "transcription", "audio": {"input": told}}


class Realtime:
    """The endpoint."""

    def __init__(self, daemon: Daemon, settings: Settings, metrics: Metrics) -> None:
        self._daemon = daemon
        self._settings = settings
        self._metrics = metrics

    def routes(self) -> list[WebSocketRoute]:
        """Return the route."""
        return [WebSocketRoute("/v1/realtime", self.serve)]

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one connection."""
        # A browser sends its key as a subprotocol, for it can set no header.
        offered = websocket.scope.get("subprotocols", [])
        await websocket.accept("realtime" if "realtime" in offered else None)
        try:
            token = token_of(websocket)
            if token is None:
                prefix = "openai-insecure-api-key."
                token = next((each.removeprefix(prefix) for each in offered if each.startswith(prefix)), None)
            if websocket.query_params.get("intent", "transcription") != "transcription":
                raise Refused(Code.BAD_REQUEST, "This gateway transcribes only: use intent=transcription.")
            await _Connection(self._daemon, self._settings, self._metrics, websocket, token).run()
        except Refused as error:
            with suppress(WebSocketDisconnect, RuntimeError):
                await websocket.send_text(_event("error", error=_error(error, None)))
                await websocket.close(1011 if error.status >= 500 else 1008)
        except WebSocketDisconnect:
            pass


class _Connection:
    """One WebSocket with its session: one task receives, another sends what the daemon says."""

    def __init__(
        self, daemon: Daemon, settings: Settings, metrics: Metrics, websocket: WebSocket, token: str | None
    ) -> None:
        self._daemon = daemon
        self._settings = settings
        self._metrics = metrics
        self._websocket = websocket
        self._token = token
        self._id = f"sess_{secrets.token_hex(12)}"
        self._config = Config()
        self._stream: convo.LiveStream | None = None
        self._items: dict[int, _Item] = {}  # by the daemon's segment: those that are not completed
        self._previous: str | None = None
        self._segment = -1  # the last that was told
        self._spoken = -1  # the one that is, or was last, spoken
        self._committed = 0  # bytes
        self._dropped = (0.0, 0.0)  # seconds that were cleared
        self._speaking_since: float | None = None
        self._first = b""  # audio that came before there was a stream for it

    async def run(self) -> None:
        """Serve until the client leaves.

        Raises:
            Refused: the daemon refuses it altogether.
            WebSocketDisconnect: the client is gone.
        """
        await self._daemon.models(self._token)  # a wrong token is told at once, and not with the first audio
        await self._tell("session.created", session=self._config.told(self._id))
        job: str | None = None
        try:
            await self._listen_until_audio()
            async with self._open() as stream:
                self._stream, job = stream, stream.session
                await self._talk(stream)
        finally:
            if job is not None and not self._settings.keep_sessions:
                await self._daemon.forget(self._token, job)

    async def _listen_until_audio(self) -> None:
        """Handle messages up to the first audio, which is kept in `_first`."""
        while True:
            data = await self._take(await self._receive())
            if data:
                self._first = data
                return

    def _open(self) -> AbstractAsyncContextManager[convo.LiveStream]:
        given = self._config.input
        said = given.transcription or Transcription()
        vad = given.turn_detection
        encoding = given.format.encoding
        return self._daemon.speak(
            self._token,
            audio=AudioFormat(encoding=encoding.name, rate=encoding.rate),
            model=said.model,
            language=said.language or None,
            prompt=said.prompt or None,
            endpoint_ms=vad.silence_duration_ms if vad is not None else None,
            interim=vad is not None,
            summary=NO_SUMMARY,
        )

    async def _talk(self, stream: convo.LiveStream) -> None:
        async with background_tasks() as tasks:
            tasks.start_soon(self._tell_events, stream, tasks.cancel_scope)
            try:
                await stream.send(self._first)
                self._first = b""
                while True:
                    if data := await self._take(await self._receive()):
                        await stream.send(data)
            except (convo.ConvoError, Refused, WebSocketDisconnect):
                await leave(stream)
                raise

    # --- what the client says -----------------------------------------------------------------------------------

    async def _receive(self) -> dict[str, Any]:
        """Return the next valid message; refuse the others."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect
            try:
                value = msgspec.json.decode(message.get("text") or "")
            except msgspec.DecodeError:
                value = None
            if isinstance(value, dict) and isinstance(value.get("type"), str):
                return value
            await self._complain(Refused(Code.BAD_MESSAGE, "Send JSON objects with a type as text messages."), None)

    async def _take(self, message: dict[str, Any]) -> bytes:
        """Handle a message and return its audio. A wrong message is refused, and the session goes on."""
        try:
            with translated():
                match message["type"]:
                    case "session.update" | "transcription_session.update":
                        await self._update(message)
                    case "input_audio_buffer.append":
                        return self._audio(message)
                    case "input_audio_buffer.commit":
                        await self._commit()
                    case "input_audio_buffer.clear":
                        await self._clear()
                    case other:
                        raise Refused(
                            Code.BAD_MESSAGE,
                            f"This gateway transcribes only, and knows no {str(other)[:100]!r}.",
                            param="type",
                        )
        except Refused as error:
            if self._stream is not None and error.status >= 500:
                raise
            await self._complain(error, message)
        return b""

    async def _update(self, message: dict[str, Any]) -> None:
        config = updated(self._config, message)
        if self._stream is not None and config != self._config:
            raise Refused(Code.BAD_STATE, "The session has begun: send its configuration before its audio.")
        self._config = config
        kind = message["type"].partition(".")[0]
        await self._tell(f"{kind}.updated", session=config.told(self._id, beta=kind != "session"))

    def _audio(self, message: dict[str, Any]) -> bytes:
        audio = message.get("audio")
        try:
            data = base64.b64decode(audio if isinstance(audio, str) else "", validate=True)
        except (binascii.Error, ValueError):
            data = b""
        if not data:
            raise Refused(Code.BAD_AUDIO, "`audio` must be base64 of PCM samples, and not empty.", param="audio")
        self._metrics.audio.inc(len(data))
        return data

    async def _commit(self) -> None:
        stream = self._stream
        if stream is None or stream.taken <= self._committed:
            raise Refused(Code.BAD_STATE, "There is no audio to commit; append some first.", status=400)
        since = self._committed
        self._committed = stream.taken
        if self._config.input.turn_detection is not None:
            await stream.finalize()  # what was said until now is an item of its own
            return
        item = _Item()
        await self._begin(item)
        await stream.finalize()
        # The daemon's answer comes behind its segments: they are stored now.
        reply: Any
        texts: list[str] = []
        more = True
        while more:
            (reply,) = await self._daemon.ask(
                self._token,
                GetSession(session=stream.session, after_segment=self._segment if self._segment >= 0 else None),
            )
            for segment in reply.segments:
                self._segment = segment.segment
                if not self._is_dropped(segment):
                    texts.append(segment.text)
            more = reply.more and bool(reply.segments)
        text = joined(texts)
        if text:
            await self._delta(item, text)
        await self._complete(item, text, self._seconds(self._committed - since))

    async def _clear(self) -> None:
        stream = self._stream
        if stream is not None:
            since = self._speaking_since
            if self._config.input.turn_detection is None:
                since = self._seconds(self._committed)
            if since is not None:
                self._dropped = (since, self._seconds(stream.taken))
            self._committed = stream.taken
            await stream.finalize()
        await self._tell("input_audio_buffer.cleared")

    def _seconds(self, size: int) -> float:
        encoding = self._config.input.format.encoding
        return size / (encoding.sample_bytes * encoding.rate)

    def _is_dropped(self, said: Any) -> bool:
        start, end = self._dropped
        return bool(start <= (said.start + said.end) / 2 < end)

    # --- what the daemon says -----------------------------------------------------------------------------------

    async def _tell_events(self, stream: convo.LiveStream, everything: anyio.CancelScope) -> None:
        try:
            with translated():
                async for event in stream:
                    if isinstance(event, SessionState) and event.state is State.FAILED:
                        raise Refused(event.code or Code.INTERNAL, event.message or "The session failed.")
                    if self._config.input.turn_detection is not None:
                        await self._tell_event(event)
        except Refused as error:
            await self._complain(error, None)
            with suppress(WebSocketDisconnect, RuntimeError):
                await self._websocket.close(1011)
        except (WebSocketDisconnect, RuntimeError):  # the listener hears of it, too
            return
        everything.cancel()

    async def _tell_event(self, event: Event) -> None:
        """Send an event to a client that uses server VAD."""
        match event:
            case SpeechStarted():
                self._speaking_since = event.time
                # Segments come later than the speech: the one before may not be there yet.
                self._spoken = max(self._spoken, self._segment) + 1
                item = self._item(self._spoken)
                if not item.started:
                    item.started = True
                    await self._tell(
                        "input_audio_buffer.speech_started", audio_start_ms=round(event.time * 1000), item_id=item.id
                    )
            case SpeechEnded():
                self._speaking_since = None
                item = self._item(max(self._spoken, self._segment + 1))
                if item.started and not item.stopped:
                    item.stopped = True
                    await self._tell(
                        "input_audio_buffer.speech_stopped", audio_end_ms=round(event.time * 1000), item_id=item.id
                    )
            case TranscriptPartial() if not self._is_dropped(event):
                item = self._item(event.segment)
                if len(event.stable) > len(item.told):
                    await self._delta(item, event.stable[len(item.told) :])
            case TranscriptSegment():
                self._segment = event.segment
                item = self._item(event.segment)
                for old in [number for number in self._items if number <= event.segment]:
                    del self._items[old]
                if self._is_dropped(event):
                    return
                if not item.committed:
                    await self._begin(item)
                rest = event.text[len(item.told) :] if event.text.startswith(item.told) else ""
                if rest:
                    await self._delta(item, rest)
                await self._complete(item, event.text, event.end - event.start)

    def _item(self, segment: int) -> _Item:
        return self._items.setdefault(segment, _Item())

    async def _begin(self, item: _Item) -> None:
        item.committed = True
        await self._tell("input_audio_buffer.committed", item_id=item.id, previous_item_id=self._previous)
        await self._tell(
            "conversation.item.added",
            previous_item_id=self._previous,
            item={
                "id": item.id, "object": "realtime.item", "type": "message", "status": "completed", "role": "user",
                "content": [{"type": "input_audio", "transcript": None}],
            },
        )  # fmt: skip
        self._previous = item.id

    async def _delta(self, item: _Item, text: str) -> None:
        item.told += text
        await self._tell(f"{_TRANSCRIPTION}.delta", item_id=item.id, content_index=0, delta=text)

    async def _complete(self, item: _Item, text: str, seconds: float) -> None:
        usage = {"type": "duration", "seconds": round(seconds, 3)}
        await self._tell(f"{_TRANSCRIPTION}.completed", item_id=item.id, content_index=0, transcript=text, usage=usage)

    # --- the wire -----------------------------------------------------------------------------------------------

    async def _tell(self, type: str, **fields: Any) -> None:
        await self._websocket.send_text(_event(type, **fields))

    async def _complain(self, error: Refused, message: dict[str, Any] | None) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._tell("error", error=_error(error, message))


_BETA_NAMES: Final = {"input_audio_transcription": "transcription", "turn_detection": "turn_detection"}
_TRANSCRIPTION: Final = "conversation.item.input_audio_transcription"


class _Item:
    """A piece of speech, and what the client was told about it."""

    def __init__(self) -> None:
        self.id = f"item_{secrets.token_hex(10)}"
        self.told = ""
        self.started = self.stopped = self.committed = False


def updated(config: Config, message: dict[str, Any]) -> Config:
    """Return a configuration with an update applied.

    Raises:
        Refused: the update is invalid.
    """
    session = message.get("session")
    if not isinstance(session, dict):
        raise Refused(Code.BAD_REQUEST, "`session` must be an object.", param="session")
    if session.get("type", "transcription") != "transcription":
        raise Refused(
            Code.BAD_REQUEST, "This gateway transcribes only: `type` is `transcription`.", param="session.type"
        )
    changes: Any
    if message["type"] == "transcription_session.update":
        changes = _of_beta(session)
    else:
        audio = session.get("audio") or {}
        changes = (audio.get("input") or {}) if isinstance(audio, dict) else None
    if not isinstance(changes, dict):
        raise Refused(Code.BAD_REQUEST, "`audio.input` must be an object.", param="session.audio.input")
    changes = {name: value for name, value in changes.items() if name in Input.__struct_fields__}
    if changes.get("format", ...) is None:
        del changes["format"]
    try:
        wanted = msgspec.convert(msgspec.to_builtins(config.input) | changes, Input)
    except msgspec.ValidationError as error:
        raise Refused(Code.BAD_REQUEST, f"The configuration is wrong: {error}.", param="session") from None
    if wanted.format.rate not in (None, rate := wanted.format.encoding.rate):
        raise Refused(
            Code.BAD_REQUEST,
            f"{wanted.format.type} has a rate of {rate} here.",
            param="session.audio.input.format.rate",
        )
    return Config(input=wanted)


def _of_beta(session: dict[str, Any]) -> dict[str, Any]:
    """Convert a configuration of the API's beta to today's form."""
    changes = {name: session[old] for old, name in _BETA_NAMES.items() if old in session}
    if (format := session.get("input_audio_format")) is not None:
        types = [type for type, encoding in ENCODINGS.items() if encoding.beta == format]
        changes["format"] = {"type": types[0] if types else format}
    return changes


def _event(type: str, **fields: Any) -> str:
    return msgspec.json.encode({"type": type, "event_id": f"event_{secrets.token_hex(10)}", **fields}).decode()


def _error(error: Refused, message: dict[str, Any] | None) -> dict[str, Any]:
    told: dict[str, Any] = error_of(error)["error"]
    event_id = message.get("event_id") if message is not None else None
    told["event_id"] = event_id if isinstance(event_id, str) else None
    return told
