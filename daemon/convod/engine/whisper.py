"""Windows of samples to text with faster-whisper. The only file that imports it; runs in a worker process alone.

In: mono s16le windows and options. Out: text, words, and the engine's figures. The encoder runs once a window for
language detection, decoding and alignment. It never decides what is heard when (that is the scheduler), nor whether a
text is to be believed (that is the guard), apart from one second try of a doubtful window.
"""

from __future__ import annotations

import math
import zlib
from functools import lru_cache
from typing import Any, Final

import av
import ctranslate2
import msgspec
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens, merge_punctuations

from convod.engine.features import Floats, GrowingFeatures
from convod.engine.voice import LEAST_VOICE_S, Voice
from convod.engine.wire import HOPELESS_LOGPROB, Heard, HeardPiece, HeardWord, Load, Options, bucket, room

RATE: Final = 16000
"""Samples a second that Whisper hears."""

FULL_FRAMES: Final = 3000
"""Feature frames of 30 s, ten milliseconds each."""

UNTIMED_FRAMES: Final = 1000
"""Only greedy passes over shorter windows do without timestamps; elsewhere they are decoded and left out of the text.
They keep a beam from ending early and a decoder from passing over sentences. Words wrong, built-in model, beam of 5,
with and without: single utterances 1.6 and 2.6 %, several joined 7 and 30 % (scripts/nano/evaluate)."""

UNSETTLED: Final = 320
"""Samples at the end of a resampled window that are made up for want of what follows."""

OFFSET: Final = 0.002
"""A mean of a window's samples beyond this is taken out of it; of speech it is a fifth of that."""

DOUBTFUL_LOGPROB: Final = -1.0
DOUBTFUL_RATIO: Final = 2.4
SECOND_TRY_TEMPERATURE: Final = 0.4

TOKENS_PER_SECOND: Final = 12
"""Speech has at most about 25 letters a second; this many tokens and a few more bound a loop's cost."""

LIKELY_PER_SECOND: Final = 6
"""What most speech stays below. A window of a file that has more to say is heard once more, with all its room: half as
much for each of them to fill with a loop, or with what a model makes of no speech."""

MOST_TOKENS: Final = 224
"""Of an answer; Whisper was trained on no longer ones."""

TIMESTAMP_S: Final = 0.02
"""Seconds from one timestamp token to the next."""

_PREPENDED: Final = "\"'“¿([{-"
_APPENDED: Final = "\"'.。,，!！?？:：”)]}、"


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
        # The prompt of a session is that of each of its windows.
        self._tokens = lru_cache(maxsize=256)(self._text_tokens)
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
        heard = self._decode(encoded, lengths, language, options)
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
            if not _doubtful(result) or (options.steady and result.avg_logprob < HOPELESS_LOGPROB):
                continue
            encoded = self._encode([features[i]], FULL_FRAMES)
            # A steady second try may not draw lots: it may not say four words twice instead.
            freedom: dict[str, Any] = {"no_repeat": 4} if options.steady else {"temperature": SECOND_TRY_TEMPERATURE}
            again = self._decode(encoded, [lengths[i]], language, options, **freedom)[0]
            if not _doubtful(again) or again.avg_logprob > result.avg_logprob:
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

    def _decode(
        self,
        encoded: Any,
        lengths: list[int],
        language: str,
        options: Options,
        temperature: float = 0.0,
        no_repeat: int = 0,
    ) -> list[Heard]:
        tokenizer = self._tokenizer(language, options.task)
        longest = max(lengths)
        if options.steady:  # whatever else is in the batch
            longest = room(longest) if self.context == "full" else self._bucket(longest)
        most = min(MOST_TOKENS, 24 + math.ceil(longest / 100 * TOKENS_PER_SECOND))
        likely = min(most, 12 + math.ceil(longest / 100 * LIKELY_PER_SECOND))
        prompt = self._model.get_prompt(
            tokenizer,
            self._previous(options, self._model.max_length - most),
            without_timestamps=options.beam == 1 and max(lengths) <= UNTIMED_FRAMES and not options.pieces,
        )
        how: dict[str, Any] = (
            {"beam_size": 1, "sampling_topk": 0, "sampling_temperature": temperature}
            if temperature
            else {"beam_size": options.beam, "patience": 1}
        )

        def generate(rows: Any, count: int, answer: int) -> Any:
            return self._core.generate(
                rows,
                [prompt] * count,
                # CTranslate2 lets an answer have half of this, or what the prompt leaves of it if that is less.
                max_length=max(2 * answer, answer + len(prompt)),
                return_scores=True,
                return_no_speech_prob=True,
                suppress_blank=True,
                no_repeat_ngram_size=no_repeat,
                suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
                **how,
            )

        heard = []
        tokens_of = []
        first = likely if options.steady and not no_repeat else most
        for i, (result, length) in enumerate(zip(generate(encoded, len(lengths), first), lengths, strict=True)):
            one = self._read(result, tokenizer, language, length, options)
            # It was cut off while it made sense.
            if first <= len(result.sequences_ids[0]) < most and not _doubtful(one):
                result = generate(_row(encoded, i), 1, most)[0]
                one = self._read(result, tokenizer, language, length, options)
            tokens_of.append([token for token in result.sequences_ids[0] if token < tokenizer.eot])
            heard.append(one)
        if options.words and options.steady:
            # One by one: alignment looks at as many frames of each window as the longest of a batch has.
            for i, length in enumerate(lengths):
                alone = heard[i : i + 1]
                self._align(_row(encoded, i), tokenizer, tokens_of[i : i + 1], [length], alone)
                heard[i] = alone[0]
        elif options.words:
            self._align(encoded, tokenizer, tokens_of, lengths, heard)
        return heard

    def _read(self, result: Any, tokenizer: Tokenizer, language: str, length: int, options: Options) -> Heard:
        """What CTranslate2 gave for a window of `length` frames."""
        ids = result.sequences_ids[0]
        return Heard(
            text=tokenizer.decode([token for token in ids if token < tokenizer.eot]).strip(),
            language=language,
            language_probability=1.0,
            # The score is the mean over the text's tokens; the end token counts as one more (as in
            # faster-whisper's generate_with_fallback).
            avg_logprob=result.scores[0] * len(ids) / (len(ids) + 1),
            no_speech_prob=result.no_speech_prob,
            pieces=_pieces(ids, tokenizer, length) if options.pieces else None,
        )

    def _align(
        self, encoded: Any, tokenizer: Tokenizer, tokens_of: list[list[int]], lengths: list[int], heard: list[Heard]
    ) -> None:
        full = list(range(len(heard)))
        some = [i for i in full if tokens_of[i]]
        if not some:
            return
        if len(some) != len(full):
            encoded = ctranslate2.StorageView.from_array(np.ascontiguousarray(np.array(encoded)[some]))
        found = self._model.find_alignment(tokenizer, [tokens_of[i] for i in some], encoded, max(lengths))
        for i, words in zip(some, found, strict=True):
            merge_punctuations(words, _PREPENDED, _APPENDED)
            end = lengths[i] / 100
            heard[i] = _replace(
                heard[i],
                words=[
                    HeardWord(
                        start=round(min(end, float(word["start"])), 3),
                        end=round(min(end, float(word["end"])), 3),
                        word=word["word"].strip(),
                        probability=round(float(word["probability"]), 3),
                    )
                    for word in words
                    if word["word"].strip()
                ],
            )

    def _previous(self, options: Options, room: int) -> list[int]:
        """Tokens of hotwords and prompt that stand before the text, where all that comes before it has `room`.

        Of what is too long, hotwords keep their beginning and the prompt its end, half of the room each if need be:
        the text's own room is not theirs to take.
        """
        # Before and after them stand start-of-previous, start, language, task, and no-timestamps.
        room = max(0, min(self._model.max_length // 2 - 1, room - 5))
        hotwords, prompt = self._tokens(options.hotwords or ""), self._tokens(options.prompt or "")
        hotwords = hotwords[: max(room // 2, room - len(prompt))]
        return [*hotwords, *prompt[max(0, len(prompt) + len(hotwords) - room) :]]

    def _text_tokens(self, text: str) -> list[int]:
        """Tokens of a client's text, none of them special: its words are no orders."""
        if not text.strip():
            return []
        ids = self._model.hf_tokenizer.encode(" " + text.strip(), add_special_tokens=False).ids
        end = self._tokenizer("en", "transcribe").eot
        return [token for token in ids if token < end]

    def _tokenizer(self, language: str, task: str) -> Tokenizer:
        return Tokenizer(self._model.hf_tokenizer, self.multilingual, task=task, language=language)


def _row(encoded: Any, i: int) -> Any:
    """One window of a batch that is encoded."""
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(np.array(encoded)[i : i + 1]))


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


def _pieces(ids: list[int], tokenizer: Tokenizer, frames: int) -> list[HeardPiece]:
    """A text with its timestamp tokens to pieces: each ends at the first timestamp after its words, and the next one
    begins at the last before its own (Whisper writes both, `<|3.20|><|3.40|>`).
    """
    begin = tokenizer.timestamp_begin
    pieces: list[HeardPiece] = []
    tokens: list[int] = []
    start, latest = 0.0, frames / 100

    def close(end: float) -> None:
        if text := tokenizer.decode(tokens).strip():
            pieces.append(HeardPiece(start=round(start, 3), end=round(max(start, min(end, latest)), 3), text=text))

    for token in ids:
        if token >= begin:
            time = (token - begin) * TIMESTAMP_S
            if tokens:
                close(time)
                tokens = []
            start = min(time, latest)
        elif token < tokenizer.eot:
            tokens.append(token)
    close(latest)
    return pieces


def _doubtful(heard: Heard) -> bool:
    raw = heard.text.encode()
    ratio = len(raw) / len(zlib.compress(raw)) if raw else 0.0
    return heard.avg_logprob < DOUBTFUL_LOGPROB or ratio > DOUBTFUL_RATIO


def _replace(heard: Heard, **changes: Any) -> Heard:
    return msgspec.structs.replace(heard, **changes)


def _with_language(heard: Heard, language: str, probability: float) -> Heard:
    return _replace(heard, language=language, language_probability=round(probability, 3))
