"""Cut windows out of a live session's audio. In: what to decode, by samples. Out: a `DecodeJob`. It decides nothing."""

from __future__ import annotations

import dataclasses

import msgspec

from convod.speech.buffer import SampleBuffer
from convod.speech.decoding import FINAL_MARGIN, INTERIM_MARGIN, DecodeJob, Kind, Lead, Options, Window
from convod.speech.endpointer import EndpointSettings
from convod.speech.pcm import FRAME_MS
from convod.speech.vad import VadSettings


class LiveSettings(msgspec.Struct, frozen=True):
    """How a live session is transcribed.

    Args:
        session: Its id.
        rate: Samples a second.
        kind: The kind of the windows whose text is published.
        endpoint: How speech is cut into utterances.
        vad: What is taken for speech.
        frame_ms: Length of the frames that are judged.
        interim: Whether to decode captions before an utterance ends.
        words: Whether segments have the times of their words.
        language: The language, or None to detect it.
        owner: Whose session it is.
        options: How to decode; the machine decides on language, words, voice, margin, and the beam of interims.
        voiceprints: Whether speakers are told apart by their voices.
        channel: Which channel it is, where each is transcribed by itself.
    """

    session: str
    rate: int
    kind: Kind
    endpoint: EndpointSettings = msgspec.field(default_factory=EndpointSettings)
    vad: VadSettings = msgspec.field(default_factory=VadSettings)
    frame_ms: int = FRAME_MS
    interim: bool = True
    words: bool = False
    language: str | None = None
    owner: str = ""
    options: Options = msgspec.field(default_factory=Options)
    voiceprints: bool = False
    channel: int = 0


class WindowCutter:
    """Makes the jobs of one session from the samples in its buffer."""

    def __init__(self, settings: LiveSettings, buffer: SampleBuffer) -> None:
        self._settings = settings
        self._buffer = buffer

    def cut(
        self,
        kind: Kind,
        utterance: int,
        start: int,
        end: int,
        *,
        check_voice: bool,
        expected: str | None,
        lead: Lead | None = None,
        find_voice_end: bool = False,
        spare_s: float = 0.0,
    ) -> DecodeJob:
        """Make the job for samples `start` to `end`; the other arguments are those of job, window and options."""
        interim = kind is Kind.INTERIM
        settings = self._settings
        options = msgspec.structs.replace(
            settings.options,
            language=settings.language,
            # Times say which words of an interim are sure, may be trimmed, or lie where the utterance may yet be cut.
            words=interim or settings.words,
            check_voice=check_voice,
            find_voice_end=find_voice_end,
            beam=1 if interim else settings.options.beam,
            margin=INTERIM_MARGIN if interim else FINAL_MARGIN,
        )
        window = Window(
            audio=self._buffer.samples(start, end),
            stream_key=self._key(start),
            lead=lead,
            expected=expected,
            voiceprints=settings.voiceprints and not interim,
        )
        return DecodeJob(
            settings.session,
            kind,
            window,
            settings.rate,
            options,
            owner=settings.owner,
            utterance=utterance,
            start=start,
            end=end,
            spare_s=spare_s,
        )

    def recut(self, job: DecodeJob, start: int) -> DecodeJob:
        """Make a job like `job` that begins at sample `start`, and look for a voice in it again."""
        window = msgspec.structs.replace(
            job.window, audio=self._buffer.samples(start, job.end), stream_key=self._key(start)
        )
        options = msgspec.structs.replace(job.options, check_voice=True)
        return dataclasses.replace(job, window=window, options=options, start=start, spare_s=0.0, due=0.0)

    def _key(self, start: int) -> str:
        return f"{self._settings.session}:{self._settings.channel}:{start}"
