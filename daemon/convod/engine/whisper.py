"""Windows of samples to text with faster-whisper, which `answers`, `voice` and this alone import, in worker processes.

In: mono s16le windows and options. Out: text, words, and the engine's figures. The encoder runs once a window for
language detection, decoding and alignment. It never decides what is heard when (that is the scheduler), nor whether a
text is to be believed (that is the guard), apart from further tries of a doubtful window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import av
import ctranslate2
import msgspec
import numpy as np
from faster_whisper import WhisperModel

from convod.captions.interim import joined, pieces
from convod.engine.answers import Answers, doubtful, repeats
from convod.engine.coverage import Gap, uncovered
from convod.engine.features import HOP, Floats, GrowingFeatures
from convod.engine.voice import CHUNK, LEAST_VOICE_S, VOICE, Voice, extent, is_silent
from convod.engine.wire import (
    FINAL_MARGIN,
    FULL_FRAMES,
    HOPELESS_LOGPROB,
    RATE,
    Heard,
    Lead,
    Load,
    Options,
    bucket,
    room,
)

UNSETTLED: Final = 320
"""Samples at the end of a resampled window that are made up for want of what follows."""

OFFSET: Final = 0.002
"""A mean of a window's samples beyond this is taken out of it; of speech it is a fifth of that."""

SECOND_TRY_TEMPERATURE: Final = 0.4

SWITCH: Final = 0.8
SWITCH_S: Final = 1.5
"""What a language must be detected with, and in how long a window, to be another than the one before."""

GAP_PREROLL_S: Final = 0.2
"""What is decoded by itself begins so long before it,"""

MOST_GAPS: Final = 3
"""in so many places of a window at most."""


class Whisper:
    """A loaded model.

    Raises:
        RuntimeError, ValueError: the directory holds no model CTranslate2 can use, or the device is not there.
    """

    def __init__(self, load: Load) -> None:
        self.context = load.context
        device = load.device
        if device == "auto":
            device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        self._model = WhisperModel(
            load.directory,
            device=device,
            compute_type=_compute_type(device, load.compute_type),
            cpu_threads=load.threads,
            num_workers=1,
            local_files_only=True,
        )
        self._core: ctranslate2.models.Whisper = self._model.model
        self.device = str(self._core.device)
        self.compute_type = str(self._core.compute_type)
        self.multilingual = bool(self._core.is_multilingual)
        # faster-whisper names all languages there are; a smaller vocabulary has no token for some.
        self.languages = [
            code
            for code in self._model.supported_languages
            if not self.multilingual or self._model.hf_tokenizer.token_to_id(f"<|{code}|>") is not None
        ]
        self._voice = Voice()
        self._answers = Answers(self._model, multilingual=self.multilingual, untimed=load.context == "full")
        self._growing = GrowingFeatures(self._model.feature_extractor.mel_filters.astype(np.float32))

    @property
    def _stock(self) -> bool:
        """Whether it is a model made for windows of 30 s, as all are but those made for convo."""
        return self.context == "full"

    def warm_up(self) -> None:
        """Decode a second of silence, so that the first real window does not pay for lazy allocations."""
        silence = np.zeros(RATE, np.float32)
        self._voice.find(silence)
        self._hear_speech([_Wanted(self._features(silence), silence)], Options(language="en", beam=1))

    def hear(
        self,
        windows: list[bytes],
        rate: int,
        options: Options,
        growing: list[str | None] | None = None,
        leads: list[Lead | None] | None = None,
        expected: list[str | None] | None = None,
    ) -> list[Heard]:
        """Decode windows of mono s16le at `rate` Hz, at most 30 s each, as one batch.

        A window named in `growing` is a longer beginning of what was heard under that name before. One with a lead goes
        on from it; its language is probably the `expected` one.
        """
        samples = [resample(window, rate) for window in windows]
        names = growing or [None] * len(windows)
        unsettled = 0 if rate == RATE else UNSETTLED
        voices = self._voices(samples, options)
        # What holds no voice is not decoded: a model asked for the words of a noise finds some.
        spoken = [i for i, voice in enumerate(voices) if not voice.silent]
        wanted = [
            _Wanted(
                self._features(samples[i], names[i], unsettled),
                samples[i],
                voices[i].voiced,
                expected=expected[i] if expected is not None else None,
            )
            for i in spoken
        ]
        if leads is not None and self._stock:
            for i, one in zip(spoken, wanted, strict=True):
                if (lead := leads[i]) is not None:
                    self._put_before(one, lead, rate)
        heard = dict(zip(spoken, self._hear_speech(wanted, options), strict=True))
        silence = Heard(
            text="", language=options.language or "", language_probability=0.0, avg_logprob=0.0, no_speech_prob=1.0
        )
        return [
            _replace(
                heard.get(i, silence),
                voice_s=None if voice.seconds is None else round(voice.seconds if i in heard else 0.0, 3),
                voice_end=None if voice.end is None else round(voice.end if i in heard else 0.0, 3),
                voiced=voice.voiced,
            )
            for i, voice in enumerate(voices)
        ]

    def _voices(self, samples: list[Floats], options: Options) -> list[_VoiceOf]:
        """Where there is a voice in each window, as far as it is asked for."""
        if self._stock and (options.confirm or options.beam > 1):
            chunks = [self._voice.chunks(one) for one in samples]
            extents = [extent(found, one.size) for found, one in zip(chunks, samples, strict=True)]
            return [
                _VoiceOf(
                    silent=options.confirm and is_silent(found),
                    seconds=seconds,
                    end=end if options.ending or not options.steady else None,
                    voiced=(found >= VOICE).tobytes() if options.beam > 1 else None,
                )
                for found, (seconds, end) in zip(chunks, extents, strict=True)
            ]
        if not options.confirm:
            return [_VoiceOf(end=self._voice.end(one) if options.ending else None) for one in samples]
        # Of a recording it matters only that there is a voice, not where it ends: its windows end in silence.
        voices: list[tuple[float, float | None]] = [
            (self._voice.least(one), None) if options.steady else self._voice.find(one) for one in samples
        ]
        return [_VoiceOf(silent=seconds < LEAST_VOICE_S, seconds=seconds, end=end) for seconds, end in voices]

    def _put_before(self, window: _Wanted, lead: Lead, rate: int) -> None:
        """Have the window decoded behind its lead, if both fit."""
        before = resample(lead.audio, rate)
        before = before[: before.size // HOP * HOP]
        features = self._features(np.concatenate([before, window.samples]))
        if features.shape[1] < FULL_FRAMES and lead.text.strip():
            window.lead, window.led, window.lead_frames = lead.text, features, before.size // HOP

    def _hear_speech(self, windows: list[_Wanted], options: Options) -> list[Heard]:
        if not windows:
            return []
        if self._stock and options.beam > 1:
            # Whether the text is whole is told by its words.
            options = msgspec.structs.replace(options, words=True)
        told = [self._language_behind_lead(window, options) for window in windows]
        features = [window.led if window.led is not None else window.features for window in windows]
        encoded = self._encode_all(features, self._bucket(max(one.shape[1] for one in features), options))
        found = self._languages(encoded, windows, options) if None in told else []
        languages = [found[i] if language is None else language for i, language in enumerate(told)]
        heard = self._answer(encoded, windows, [language for language, _ in languages], options)
        if options.beam > 1:
            for i, window in enumerate(windows):
                heard[i] = self._try_again(window, heard[i], languages[i][0], options)
        return [
            _replace(result, language=language, language_probability=round(probability, 3))
            for result, (language, probability) in zip(heard, languages, strict=True)
        ]

    def _language_behind_lead(self, window: _Wanted, options: Options) -> tuple[str, float] | None:
        """The language of a window with a lead, which is by itself: of both together the lead's would be detected.

        A lead in another language is left out. None where nothing is to be detected, or there is no lead.
        """
        if window.led is None or options.language is not None or not self.multilingual:
            return None
        encoded = self._encode([window.features], self._bucket(window.features.shape[1], options))
        (language,) = self._languages(encoded, [window], options)
        if language[0] != window.expected:
            window.lead, window.led, window.lead_frames = None, None, 0
        return language

    def _try_again(self, window: _Wanted, first: Heard, language: str, options: Options) -> Heard:
        """A doubtful text once more, with more of what may help; the best of the texts stays."""
        best = first
        for more in self._ways(window, first, options):
            if not _to_doubt(best) and not (window.led is not None and not best.text):
                break
            alone = _Wanted(window.features, window.samples, window.voiced)
            encoded = self._encode([window.features], self._bucket(window.features.shape[1], options, full=more.full))
            again = self._answer(encoded, [alone], [language], options, **more.freedom)[0]
            if not _to_doubt(again) or _worth(again) > _worth(best) or not best.text:
                best = again
        return self._hear_rest(window, best, language, options) if self._stock else best

    def _ways(self, window: _Wanted, first: Heard, options: Options) -> Iterator[_Way]:
        """What to try again, in turn."""
        if not self._stock:
            if doubtful(first) and not (options.steady and first.avg_logprob < HOPELESS_LOGPROB):
                # A steady second try may not draw lots: it may not say four words twice instead.
                freedom = {"no_repeat": 4} if options.steady else {"temperature": SECOND_TRY_TEMPERATURE}
                yield _Way(full=True, freedom=freedom)
            return
        if window.led is not None:
            yield _Way(full=False)
        if options.margin is not None:
            yield _Way(full=True)
        if first.avg_logprob >= HOPELESS_LOGPROB:
            yield _Way(full=True, freedom={"no_repeat": 4})

    def _hear_rest(self, window: _Wanted, heard: Heard, language: str, options: Options) -> Heard:
        """The text, and where it leaves a voice without words, what is heard there by itself."""
        voiced = window.voiced or b""
        for _ in range(MOST_GAPS):
            gap = uncovered(heard.words or (), voiced)
            if gap is None:
                break
            begin, end = max(0.0, gap.start - GAP_PREROLL_S), min(gap.end, len(window.samples) / RATE)
            samples = window.samples[int(begin * RATE) : int(end * RATE)]
            part = _Wanted(
                self._features(samples), samples, voiced[int(begin * RATE) // CHUNK :][: len(samples) // CHUNK]
            )
            margin = options if options.margin is not None else msgspec.structs.replace(options, margin=FINAL_MARGIN)
            encoded = self._encode([part.features], self._bucket(part.features.shape[1], margin))
            more = self._answer(encoded, [part], [language], options)[0]
            if not more.words or _to_doubt(more) or len(more.words) <= gap.last - gap.first:
                break
            heard = _with_gap_filled(heard, gap, more, begin, voiced)
        return heard

    def _features(self, samples: Floats, growing: str | None = None, unsettled: int = 0) -> Floats:
        """Float samples (n,) at 16 kHz -> log-mel features (mels, frames)."""
        return self._growing.of(samples, growing, unsettled)[:, :FULL_FRAMES]

    def _bucket(self, frames: int, options: Options, *, full: bool = False) -> int:
        """Feature frames that the encoder is given for a window of so many."""
        if full or (self._stock and options.margin is None):
            return FULL_FRAMES
        return min(FULL_FRAMES, bucket(frames, options.margin) if self._stock and options.margin else bucket(frames))

    def _encode_all(self, features: list[Floats], frames: int) -> Any:
        """The encodings of windows, one by one where that is faster: on a processor a batch takes a fifth longer."""
        if len(features) == 1 or not self._stock or self.device == "cuda":
            return self._encode(features, frames)
        each = [np.array(self._encode([one], frames)) for one in features]
        return ctranslate2.StorageView.from_array(np.concatenate(each))

    def _encode(self, features: list[Floats], frames: int) -> Any:
        # Zeros after normalisation, as faster-whisper pads; see its pad_or_trim.
        batch = np.zeros((len(features), features[0].shape[0], frames), np.float32)
        for row, piece in zip(batch, features, strict=True):
            row[:, : piece.shape[1]] = piece
        return self._core.encode(ctranslate2.StorageView.from_array(batch))

    def _languages(self, encoded: Any, windows: list[_Wanted], options: Options) -> list[tuple[str, float]]:
        """The language of each window, and how probable it is."""
        if not self.multilingual:
            return [("en", 1.0)] * len(windows)
        if options.language is not None:
            if options.language not in self.languages:
                raise ValueError(f"the model does not know language {options.language!r}")
            return [(options.language, 1.0)] * len(windows)
        found = self._core.detect_language(encoded)
        return [
            choose_language(
                [(token[2:-2], float(probability)) for token, probability in ranked],
                window.expected,
                window.features.shape[1] / 100,
            )
            for ranked, window in zip(found, windows, strict=True)
        ]

    def _answer(
        self, encoded: Any, windows: list[_Wanted], languages: list[str], options: Options, **freedom: Any
    ) -> list[Heard]:
        leads = [window.lead for window in windows]
        lengths = [(window.features if window.led is None else window.led).shape[1] for window in windows]
        spoken = max(window.features.shape[1] for window in windows)
        if options.steady:  # whatever else is in the batch
            spoken = room(spoken) if self._stock else self._bucket(spoken, options)
        heard = self._answers.of(encoded, lengths, languages, options, spoken=spoken, leads=leads, **freedom)
        return [_on_its_own_clock(one, window) for one, window in zip(heard, windows, strict=True)]


class _VoiceOf(msgspec.Struct):
    """What is known of the voice in a window; None is what was not asked."""

    silent: bool = False
    seconds: float | None = None
    end: float | None = None
    voiced: bytes | None = None


class _Wanted(msgspec.Struct):
    """A window to decode: its features and samples, where it has a voice. With a `lead`, `led` are the features of both
    and the first `lead_frames` of them the lead's.
    """

    features: Floats
    samples: Floats
    voiced: bytes | None = None
    lead: str | None = None
    led: Floats | None = None
    lead_frames: int = 0
    expected: str | None = None


class _Way(msgspec.Struct):
    """A way to decode a window once more."""

    full: bool
    freedom: dict[str, Any] = {}


def _on_its_own_clock(heard: Heard, window: _Wanted) -> Heard:
    """Times from the window's own start, and what of its voice has no words."""
    lead_s = window.lead_frames / 100
    words = heard.words
    if words is not None and lead_s:
        words = [
            msgspec.structs.replace(
                word, start=max(0.0, round(word.start - lead_s, 3)), end=max(0.0, round(word.end - lead_s, 3))
            )
            for word in words
        ]
    if window.voiced is None or words is None:
        return _replace(heard, words=words)
    gap = uncovered(words, window.voiced)
    return _replace(heard, words=words, uncovered=None if gap is None else (gap.start, gap.end))


def _to_doubt(heard: Heard) -> bool:
    """Whether another try may be better: guesses, a loop, a text that was cut off, voice without words."""
    return doubtful(heard) or heard.truncated or heard.uncovered is not None


def _worth(heard: Heard) -> tuple[bool, float]:
    """Of two doubtful texts the greater is better."""
    bare_s = 0.0 if heard.uncovered is None else heard.uncovered[1] - heard.uncovered[0]
    return not (repeats(heard) or heard.truncated), heard.avg_logprob - 0.1 * bare_s


def _with_gap_filled(heard: Heard, gap: Gap, more: Heard, begin: float, voiced: bytes) -> Heard:
    """The text with what was heard from second `begin` on in the place of what stood for it."""
    words = list(heard.words or ())
    new = [
        msgspec.structs.replace(word, start=round(word.start + begin, 3), end=round(word.end + begin, 3))
        for word in more.words or ()
    ]
    words[gap.first : gap.last] = new
    text = joined(piece for word in words for piece in pieces(word.word))
    left = uncovered(words, voiced)
    return _replace(heard, text=text, words=words, uncovered=None if left is None else (left.start, left.end))


def _compute_type(device: str, wanted: str) -> str:
    """What a device computes best where the settings leave it open: half precision on a GPU, 8 bits elsewhere."""
    if wanted != "default":
        return wanted
    can = ctranslate2.get_supported_compute_types(device)
    for kind in ("float16", "int8_float16") if device == "cuda" else ("int8",):
        if kind in can:
            return kind
    return wanted


def resample(window: bytes, rate: int) -> Floats:
    """Mono s16le at `rate` Hz -> float samples (n,) in [-1, 1) at 16 kHz, through FFmpeg's resampler."""
    samples = np.frombuffer(window, np.int16)
    if rate != RATE:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis, :], format="s16", layout="mono")
        frame.sample_rate = rate
        pieces = [*resampler.resample(frame), *resampler.resample(None)]
        samples = np.concatenate([piece.to_ndarray()[0] for piece in pieces])
    heard = samples.astype(np.float32) / 32768.0
    # A constant offset is no sound, yet the loudest of all features: a model hears nothing else.
    if heard.size and abs(offset := float(heard.mean())) > OFFSET:
        heard -= np.float32(offset)
    return heard


def _replace(heard: Heard, **changes: Any) -> Heard:
    return msgspec.structs.replace(heard, **changes)


def choose_language(ranked: Sequence[tuple[str, float]], expected: str | None, seconds: float) -> tuple[str, float]:
    """Languages with their probabilities, the likeliest first, of a window of so many seconds -> the one it is in.

    Most people go on in the language they spoke: a short window, or a detection that is not sure, is no change.
    """
    language, probability = ranked[0]
    if expected is None or language == expected or (probability >= SWITCH and seconds >= SWITCH_S):
        return language, probability
    return expected, dict(ranked).get(expected, 0.0)
