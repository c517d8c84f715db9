"""Check a request for a new session, and fill in the settings that it leaves open.

In: a `create_session`. Out: the same with its defaults, or `Refused` with a sentence that says what is possible. It
creates no session, though another model's engine may be started for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from convo.messages import Code, CreateSession, SummaryOptions
from convo.transcript import one_line
from convo.vocabulary import MOST_RULES, check
from convod.engine import models, voices
from convod.engine.models import ModelNotHere, UnknownModel
from convod.engine.pool import NoRoomForModel
from convod.engine.supervisor import Engine
from convod.sessions.file import too_large
from convod.sessions.lengths import TITLE, check_lengths, check_summary_lengths
from convod.sessions.session import Refused, SessionDeps, keeps_audio
from convod.speakers.labels import MOST_SPEAKERS
from convod.speech.endpointer import EndpointSettings
from convod.speech.pcm import CHANNELS, FRAME_MS, PcmFormat, UnsupportedAudio
from convod.speech.vad import VadSettings
from convod.summary import Summarizers

CHANNEL_NAME: Final = 100
"""Most characters of the name of a channel."""

ENDPOINT_MS: Final = (200, 3000)

_CONTAINERS: Final = ("auto",)


def validate_request(request: CreateSession, deps: SessionDeps, summarizers: Summarizers) -> CreateSession:
    """Return the request with all settings that are in force for it.

    Raises:
        Refused: it cannot be met.
    """
    check_lengths(request)
    audio = request.audio
    if request.kind == "live":
        try:
            PcmFormat(audio.encoding, audio.rate, audio.channels)
        except UnsupportedAudio as error:
            raise Refused(Code.UNSUPPORTED_AUDIO, str(error)) from error
    elif audio.container not in _CONTAINERS:
        raise Refused(Code.UNSUPPORTED_AUDIO, f"container must be auto, not {audio.container!r}")
    else:
        _check_size(audio.size or 0, deps)
    engine = _engine_for(request.model, deps)
    request = _with_languages(request, engine)
    if request.endpoint_ms is not None and not ENDPOINT_MS[0] <= request.endpoint_ms <= ENDPOINT_MS[1]:
        raise Refused(Code.BAD_REQUEST, f"endpoint_ms must be {ENDPOINT_MS[0]} to {ENDPOINT_MS[1]}")
    if request.vad_mode is not None and request.vad_mode > 3:
        raise Refused(Code.BAD_REQUEST, "vad_mode must be 0 (takes most for speech) to 3 (takes least)")
    if request.frame_ms not in (None, 10, 20, 30):
        raise Refused(Code.BAD_REQUEST, "frame_ms must be 10, 20 or 30")
    check_summary(request.summary, summarizers)
    _check_speakers(request, engine)
    _check_vocabulary(request)
    title = request.title or audio.name or None
    return msgspec.structs.replace(
        request, id=0, model=request.model or deps.engine.status().model,
        title=None if title is None else title[:TITLE],
        endpoint_ms=request.endpoint_ms or EndpointSettings().endpoint_ms,
        vad_mode=VadSettings().mode if request.vad_mode is None else request.vad_mode,
        frame_ms=request.frame_ms or FRAME_MS,
        keep_audio=keeps_audio(request, deps.settings),
        channel_names=[one_line(name) for name in request.channel_names],
    )  # fmt: skip


def _check_speakers(request: CreateSession, engine: Engine) -> None:
    """Raise Refused where nobody can say who speaks as it is asked for."""
    wanted = request.speakers
    if wanted not in ("off", "auto") and not (re.fullmatch("[1-9][0-9]?", wanted) and int(wanted) <= MOST_SPEAKERS):
        raise Refused(Code.BAD_REQUEST, f"speakers must be off, auto, or how many there are, 1 to {MOST_SPEAKERS}")
    if request.channels == "split" and wanted != "off":
        raise Refused(Code.BAD_REQUEST, "with channels split each channel is a speaker: leave speakers off")
    if len(request.channel_names) > CHANNELS[1] or any(len(name) > CHANNEL_NAME for name in request.channel_names):
        raise Refused(
            Code.BAD_REQUEST, f"channel_names holds at most {CHANNELS[1]} names of at most {CHANNEL_NAME} characters"
        )
    if wanted != "off":
        try:
            voices.find(engine.settings.voices)
        except voices.NoVoices as error:
            raise Refused(Code.MODEL_UNAVAILABLE, str(error)) from error


def _check_vocabulary(request: CreateSession) -> None:
    if len(request.vocabulary) > MOST_RULES:
        raise Refused(Code.BAD_REQUEST, f"vocabulary has {len(request.vocabulary)} rules; send at most {MOST_RULES}")
    for rule in request.vocabulary:
        try:
            check(rule)
        except ValueError as error:
            raise Refused(Code.BAD_REQUEST, f"vocabulary cannot be used: {error}") from error


def check_summary(options: SummaryOptions, summarizers: Summarizers) -> None:
    """Raise Refused for a summary that can never be written."""
    check_summary_lengths(options)
    try:
        summarizers.check(options)
    except ValueError as error:
        raise Refused(Code.BAD_REQUEST, str(error)) from error


def _check_size(size: int, deps: SessionDeps) -> None:
    most = deps.limits.upload_bytes
    if most and size > most:
        raise Refused(Code.LIMIT_EXCEEDED, too_large(most))
    spool = deps.spool
    if spool.quota and spool.used + size > spool.quota:
        raise Refused(
            Code.LIMIT_EXCEEDED,
            f"the audio that is kept would be more than {spool.quota} bytes (limits.disk_bytes); "
            "wait until others are done, or delete kept audio",
        )


def _engine_for(model: str | None, deps: SessionDeps) -> Engine:
    own = deps.engine
    status = own.status()
    if model is None or model == status.model:
        if own.state == "failed":
            raise Refused(Code.MODEL_UNAVAILABLE, status.message or "the speech model is not available")
        return own
    if deps.engine_pool is None:
        raise Refused(Code.UNKNOWN_MODEL, f"this daemon runs no model but {status.model!r}")
    try:
        return deps.engine_pool.get(model)
    except UnknownModel as error:
        raise Refused(Code.UNKNOWN_MODEL, str(error)) from error
    except ModelNotHere as error:
        raise Refused(Code.MODEL_UNAVAILABLE, str(error)) from error
    except NoRoomForModel as error:
        raise Refused(Code.BUSY, str(error)) from error


def _with_languages(request: CreateSession, engine: Engine) -> CreateSession:
    """Return the request with `languages` that are several and different, or None; of one it is the `language`."""
    model = engine.status().model
    # While a model loads, only its name is known.
    languages: Sequence[str] = engine.languages or models.languages(model)
    wanted = list(dict.fromkeys(request.languages or ()))
    if wanted and request.language is not None:
        raise Refused(Code.BAD_REQUEST, "language says what is spoken: leave languages out, or leave out language")
    for code in wanted if request.language is None else [request.language]:
        if code not in languages:
            raise Refused(
                Code.BAD_REQUEST, f"model {model!r} does not know language {code!r}; it knows {', '.join(languages)}"
            )
    if request.task == "translate" and len(languages) == 1:
        raise Refused(
            Code.BAD_REQUEST,
            f"model {model!r} knows no language but {languages[0]!r} and cannot translate; leave task as transcribe, "
            "or choose a model of many languages",
        )
    language = wanted[0] if len(wanted) == 1 else request.language
    return msgspec.structs.replace(request, language=language, languages=wanted if len(wanted) > 1 else None)
