"""Windows of samples to text with faster-whisper, which `answers`, `voice` and this alone import, in worker processes.

In: mono s16le windows and options. Out: text, words, and the engine's figures. The encoder runs once a window for
language detection, decoding and alignment. It never decides what is heard when (that is the scheduler), nor whether a
text is to be believed (that is the guard), apart from one second try of a doubtful window.
"""

from __future__ import annotations

from typing import Any, Final

import av
import ctranslate2
import msgspec
import numpy as np
from faster_whisper import WhisperModel

from convod.engine.answers import Answers, doubtful
from convod.engine.features import Floats, GrowingFeatures
from convod.engine.voice import LEAST_VOICE_S, Voice
from convod.engine.wire import HOPELESS_LOGPROB, RATE, Heard, Load, Options, bucket, room

FULL_FRAMES: Final = 3000
"""Feature frames of 30 s, ten milliseconds each."""

UNSETTLED: Final = 320
"""Samples at the end of a resampled window that are made up for want of what follows."""

OFFSET: Final = 0.002
"""A mean of a window's samples beyond this is taken out of it; of speech it is a fifth of that."""

SECOND_TRY_TEMPERATURE: Final = 0.4


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
        self._answers = Answers(self._model, multilingual=self.multilingual)
        self._growing = GrowingFeatures(self._model.feature_extractor.mel_filters.astype(np.float32))

    def warm_up(self) -> None:
        """Decode a second of silence, so that the first real window does not pay for lazy allocations."""
        silence = np.zeros(RATE, np.float32)
        self._voice.find(silence)
        self._hear_speech([self._features(silence)], Options(language="en", beam=1))

    def hear(
        self, windows: list[bytes], rate: int, options: Options, growing: list[str | None] | None = None
    ) -> list[Heard]:
        """Decode windows of mono s16le at `rate` Hz, at most 30 s each, as one batch.

        A window named in `growing` is a longer beginning of what was heard under that name before.
        """
        samples = [resample(window, rate) for window in windows]
        names = growing or [None] * len(windows)

        def features(i: int) -> Floats:
            return self._features(samples[i], names[i], 0 if rate == RATE else UNSETTLED)

        if not options.confirm:
            heard_all = self._hear_speech([features(i) for i in range(len(samples))], options)
            if options.ending:
                ends = [self._voice.end(piece) for piece in samples]
                return [_replace(heard, voice_end=round(end, 3)) for heard, end in zip(heard_all, ends, strict=True)]
            return heard_all
        # Of a recording it matters only that there is a voice, not where it ends: its windows end in silence.
        voices: list[tuple[float, float | None]] = [
            (self._voice.least(one), None) if options.steady else self._voice.find(one) for one in samples
        ]
        # What holds no voice is not decoded: a model asked for the words of a noise finds some.
        spoken = [i for i, (voice_s, _) in enumerate(voices) if voice_s >= LEAST_VOICE_S]
        heard = dict(zip(spoken, self._hear_speech([features(i) for i in spoken], options), strict=True))
        silence = Heard(
            text="", language=options.language or "", language_probability=0.0,
            avg_logprob=0.0, no_speech_prob=1.0, voice_s=0.0,
        )  # fmt: skip
        return [
            _replace(
                heard.get(i, silence),
                voice_s=round(voice_s, 3),
                voice_end=None if end is None else round(end if i in heard else 0.0, 3),
            )
            for i, (voice_s, end) in enumerate(voices)
        ]

    def _hear_speech(self, features: list[Floats], options: Options) -> list[Heard]:
        if not features:
            return []
        lengths = [piece.shape[-1] for piece in features]
        encoded = self._encode(features, self._bucket(max(lengths)))
        language, probability = self._language(encoded, options)
        heard = self._answer(encoded, lengths, language, options)
        if options.beam > 1:
            self._try_again(features, lengths, language, options, heard)
        return [_with_language(result, language, probability) for result in heard]

    def _try_again(
        self,
        features: list[Floats],
        lengths: list[int],
        language: str,
        options: Options,
        heard: list[Heard],
    ) -> None:
        """Doubtful windows once more with the whole context, and some freedom; the better of the two results stays."""
        for i, result in enumerate(heard):
            if not doubtful(result) or (options.steady and result.avg_logprob < HOPELESS_LOGPROB):
                continue
            encoded = self._encode([features[i]], FULL_FRAMES)
            # A steady second try may not draw lots: it may not say four words twice instead.
            freedom: dict[str, Any] = {"no_repeat": 4} if options.steady else {"temperature": SECOND_TRY_TEMPERATURE}
            again = self._answer(encoded, [lengths[i]], language, options, **freedom)[0]
            if not doubtful(again) or again.avg_logprob > result.avg_logprob:
                heard[i] = again

    def _features(self, samples: Floats, growing: str | None = None, unsettled: int = 0) -> Floats:
        """Float samples (n,) at 16 kHz -> log-mel features (mels, frames)."""
        return self._growing.of(samples, growing, unsettled)[:, :FULL_FRAMES]

    def _bucket(self, frames: int) -> int:
        if self.context == "full":
            return FULL_FRAMES
        return min(FULL_FRAMES, bucket(frames))

    def _encode(self, features: list[Floats], frames: int) -> Any:
        # Zeros after normalisation, as faster-whisper pads; see its pad_or_trim.
        batch = np.zeros((len(features), features[0].shape[0], frames), np.float32)
        for row, piece in zip(batch, features, strict=True):
            row[:, : piece.shape[1]] = piece
        return self._core.encode(ctranslate2.StorageView.from_array(batch))

    def _language(self, encoded: Any, options: Options) -> tuple[str, float]:
        if not self.multilingual:
            return "en", 1.0
        if options.language is not None:
            if options.language not in self.languages:
                raise ValueError(f"the model does not know language {options.language!r}")
            return options.language, 1.0
        token, probability = self._core.detect_language(encoded)[0][0]
        return token[2:-2], float(probability)

    def _answer(self, encoded: Any, lengths: list[int], language: str, options: Options, **freedom: Any) -> list[Heard]:
        spoken = max(lengths)
        if options.steady:  # whatever else is in the batch
            spoken = room(spoken) if self.context == "full" else self._bucket(spoken)
        return self._answers.of(encoded, lengths, language, options, spoken=spoken, **freedom)


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


def _with_language(heard: Heard, language: str, probability: float) -> Heard:
    return _replace(heard, language=language, language_probability=round(probability, 3))
