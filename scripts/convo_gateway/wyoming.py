"""Wyoming over TCP, as Home Assistant speaks it: describe, audio, transcript.

In: events of a client. Out: events with its transcript, as it is spoken and as a whole. Wyoming has no tokens: all its
clients use one token of the settings, or none where the daemon requires none.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, TypeVar

import msgspec
import trio

import convo
from convo.languages import CODES
from convo.messages import AudioFormat, Code, ModelInfo, SessionState, State, TranscriptSegment
from convo.transport import background_tasks

from .daemon_client import Daemon, leave
from .errors import Refused, translated
from .limits import Places
from .metrics import Metrics
from .openai_audio import NO_SUMMARY
from .settings import Settings
from .text import gap, joined
from .wyoming_wire import Event, Parser

T = TypeVar("T")

log = logging.getLogger("convo_gateway")

_RECEIVE: Final = 1 << 16
_IDLE_S: Final = 300.0  # between requests, where nobody waits for anything
_ATTRIBUTION: Final = {"name": "convo", "url": "https://pypi.org/project/convo/"}


class Transcribe(msgspec.Struct, frozen=True, kw_only=True):
    """What the client asks for before its audio."""

    name: str | None = None
    language: str | None = None
    transcript_names: list[str] | None = None
    transcript_terms: list[str] | None = None

    def fields(self) -> dict[str, Any]:
        """Return it as fields of `CreateSession`."""
        words = [*(self.transcript_names or ()), *(self.transcript_terms or ())]
        return {"model": self.name or None, "language": self.language or None, "hotwords": ", ".join(words) or None}


class Audio(msgspec.Struct, frozen=True, kw_only=True):
    """What the audio is. The samples have `width` bytes."""

    rate: Annotated[int, msgspec.Meta(ge=8000, le=48_000)]
    width: Annotated[int, msgspec.Meta(ge=2, le=2)]
    channels: Annotated[int, msgspec.Meta(ge=1, le=8)]


class Wyoming:
    """Serves all clients. `token` is sent to the daemon for each of them."""

    def __init__(self, daemon: Daemon, settings: Settings, metrics: Metrics) -> None:
        self._daemon = daemon
        self._settings = settings
        self._metrics = metrics
        self._places = Places(settings.requests, "The gateway serves as many clients as it may; try again later.")

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one client until it goes."""
        async with stream:
            try:
                with self._places.place(), self._metrics.open.labels("wyoming").track_inprogress():
                    await _Client(self._daemon, self._settings, self._metrics, stream).run()
            except Refused as error:
                with trio.move_on_after(self._settings.stall_s):
                    await _say_last(stream, error)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # it went away
            except Exception:
                log.exception("a fault while a Wyoming client was served")


async def _say_last(stream: trio.SocketStream, error: Refused) -> None:
    try:
        await stream.send_all(_error(error).encoded())
        await stream.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


class _Client:
    def __init__(self, daemon: Daemon, settings: Settings, metrics: Metrics, stream: trio.SocketStream) -> None:
        self._daemon = daemon
        self._settings = settings
        self._metrics = metrics
        self._token = settings.wyoming_token
        self._stream = stream
        self._events = self._received()
        self._waits = True  # between requests
        self._asked = Transcribe()

    async def run(self) -> None:
        """Answer one request after the other.

        Raises:
            Refused: the client sent what makes no sense, or the daemon refused.
        """
        async for event in self._events:
            match event.type:
                case "describe":
                    await self._send(Event("info", info(await self._daemon.models(self._token))))
                case "ping":
                    await self._send(Event("pong", event.data))
                case "transcribe":
                    self._asked = _read(event, Transcribe)
                case "audio-start" | "audio-chunk":
                    self._waits = False
                    await self._transcribe(event)
                    self._waits = True
                case "audio-stop":
                    await self._answer([], [])

    async def _transcribe(self, first: Event) -> None:
        """Take the audio up to its end, and answer. `first` may bring some already."""
        audio = _read(first, Audio)
        job = ""
        try:
            async with self._daemon.speak(
                self._token,
                audio=AudioFormat(encoding="s16le", rate=audio.rate, channels=audio.channels),
                interim=False,
                summary=NO_SUMMARY,
                **self._asked.fields(),
            ) as stream:
                job = stream.session
                await self._talk(stream, first, audio)
        finally:
            self._asked = Transcribe()
            if job and not self._settings.keep_sessions:
                await self._daemon.forget(self._token, job)

    async def _talk(self, stream: convo.LiveStream, first: Event, audio: Audio) -> None:
        segments: list[TranscriptSegment] = []
        trouble: list[Exception] = []
        told = trio.Event()

        async def tell() -> None:
            try:
                await self._tell(stream, segments)
            except (Refused, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                trouble.append(error)
                tasks.cancel_scope.cancel()
            told.set()

        async with background_tasks() as tasks:
            tasks.start_soon(tell)
            try:
                await self._listen(stream, first, audio)
                await told.wait()
            except BaseException:
                await leave(stream)
                raise
        if trouble:
            raise trouble[0]
        await self._answer([segment.text for segment in segments], [segment.language for segment in segments])

    async def _tell(self, stream: convo.LiveStream, segments: list[TranscriptSegment]) -> None:
        """Tell the text as it comes, and collect it."""
        with translated():
            async for event in stream:
                if isinstance(event, SessionState) and event.state is State.FAILED:
                    raise Refused(event.code or Code.INTERNAL, event.message or "The session failed.")
                if isinstance(event, TranscriptSegment):
                    if not segments:
                        await self._send(Event("transcript-start", {"language": event.language}))
                    before = segments[-1].text if segments else ""
                    segments.append(event)
                    await self._send(Event("transcript-chunk", {"text": gap(before, event.text) + event.text}))

    async def _answer(self, texts: list[str], languages: list[str]) -> None:
        text = joined(texts)
        told: dict[str, Any] = {"text": text}
        if languages:
            told["language"] = max(set(languages), key=languages.count)
        else:
            await self._send(Event("transcript-start"))
        await self._send(Event("transcript", told), Event("transcript-stop"))

    async def _listen(self, stream: convo.LiveStream, event: Event, audio: Audio) -> None:
        """Pass audio on until it ends."""
        with translated():
            while event.type != "audio-stop":
                if event.type == "audio-chunk":
                    if _read(event, Audio) != audio:
                        raise Refused(Code.BAD_AUDIO, "The format of the audio must not change before audio-stop.")
                    if len(event.payload) % (audio.width * audio.channels):
                        raise Refused(Code.BAD_AUDIO, "A chunk must hold whole samples of all channels.")
                    self._metrics.audio.inc(len(event.payload))
                    if event.payload:
                        await stream.send(event.payload)
                event = await anext(self._events, Event("audio-stop"))
            await stream.end()

    async def _send(self, *events: Event) -> None:
        with trio.move_on_after(self._settings.stall_s) as scope:
            await self._stream.send_all(b"".join(event.encoded() for event in events))
        if scope.cancelled_caught:
            raise trio.BrokenResourceError("it reads nothing")

    async def _received(self) -> AsyncIterator[Event]:
        parser = Parser()
        while True:
            with trio.move_on_after(_IDLE_S if self._waits else self._settings.stall_s) as scope:
                data = await self._stream.receive_some(_RECEIVE)
            if scope.cancelled_caught:
                raise Refused("timeout", "No audio came for too long: send audio-stop at its end.")
            if not data:
                return
            for event in parser.feed(bytes(data)):
                yield event


def info(models: list[ModelInfo]) -> dict[str, Any]:
    """Return the answer to `describe`: one program with the daemon's models, the one that it uses first."""
    told = [
        {
            "name": model.name,
            "attribution": _ATTRIBUTION,
            "installed": True,
            "description": model.name,
            "version": convo.__version__,
            "languages": model.languages or list(CODES),
        }
        for model in sorted(models, key=lambda model: not model.loaded)
    ]
    program = {
        "name": "convo",
        "attribution": _ATTRIBUTION,
        "installed": True,
        "description": "Transcription on your own machine",
        "version": convo.__version__,
        "models": told,
        "supports_transcript_streaming": True,
        "requires_external_vad": True,
    }
    return {"asr": [program]}


def _read(event: Event, as_type: type[T]) -> T:
    try:
        return msgspec.convert(event.data, as_type)
    except msgspec.ValidationError as error:
        sentence = f"{event.type}: {error}."
        if as_type is Audio:
            sentence += " Send 16-bit PCM of 8000 to 48000 Hz."
        raise Refused(Code.BAD_AUDIO if as_type is Audio else Code.BAD_REQUEST, sentence) from None


def _error(error: Refused) -> Event:
    return Event("error", {"text": error.message, "code": error.code})
