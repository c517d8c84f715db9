"""Decode windows with faster-whisper, in worker processes; only `loading`, `answers`, `voice` and this import it.

In: windows and options. Out: text, words, and the engine's figures. The encoder runs once a window for language
detection, decoding and alignment. It never decides what is decoded when (that is the scheduler), nor whether a text is
believed (that is the hallucination filter), apart from further tries of a doubtful window (see `tries`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import ctranslate2
import msgspec
import numpy as np

from convod.engine.answers import Answers, array_of, rows
from convod.engine.coverage import uncovered
from convod.engine.features import HOP, Floats, GrowingFeatures
from convod.engine.gaps import GAP_PREROLL_S, MOST_GAPS, with_gap_filled
from convod.engine.languages import (
    Passage,
    Probabilities,
    Spoken,
    among,
    is_unclear,
    languages_of,
    parts,
    spoken_in,
)
from convod.engine.loading import UNSETTLED, load_model, resample
from convod.engine.passages import joined
from convod.engine.tries import further_tries, is_doubtful, worth
from convod.engine.voice import CHUNK, LEAST_VOICE_S, VOICE, Voice, extent, is_silent, voiced_chunks
from convod.engine.wire import FULL_FRAMES, RATE, Load, bucket, room
from convod.engine.word_times import phrases, within_voice
from convod.speech.decoding import FINAL_MARGIN, INTERIM_MARGIN, LANGUAGE_SURE, Hypothesis, Lead, Options, Window

ENCODED_S: Final = 0.02
"""What one position of the encoder's output stands for."""


class Whisper:
    """A loaded model.

    Raises:
        RuntimeError, ValueError: the directory holds no model CTranslate2 can use, or the device is not there.
    """

    def __init__(self, load: Load) -> None:
        self.context = load.context
        self.model = load_model(load)
        self.core: ctranslate2.models.Whisper = self.model.model
        self.device = str(self.core.device)
        self.compute_type = str(self.core.compute_type)
        self.multilingual = bool(self.core.is_multilingual)
        # faster-whisper names all languages there are; a smaller vocabulary has no token for some.
        self.languages = [
            code
            for code in self.model.supported_languages
            if not self.multilingual or self.model.hf_tokenizer.token_to_id(f"<|{code}|>") is not None
        ]
        self.voice = Voice()
        self.answers = Answers(self.model, multilingual=self.multilingual, untimed=load.context == "full")
        self._mels = self.model.feature_extractor.mel_filters.shape[0]
        self._growing = GrowingFeatures(self.model.feature_extractor.mel_filters.astype(np.float32))

    @property
    def _stock(self) -> bool:
        """Whether it is a model made for windows of 30 s, as all are but those made for convo."""
        return self.context == "full"

    def warm_up(self) -> None:
        """Decode a second of silence, so that the first real window does not pay for lazy allocations."""
        silence = np.zeros(RATE, np.float32)
        self.voice.find(silence)
        self._decode_speech([_Wanted(self._features(silence), silence)], Options(language="en", beam=1))

    def decode(self, windows: Sequence[Window], rate: int, options: Options) -> list[Hypothesis]:
        """Decode windows at `rate` Hz as one batch.

        A window with a stream key is a longer beginning of the one decoded with that key before.
        """
        samples = [resample(window.audio, rate) for window in windows]
        unsettled = 0 if rate == RATE else UNSETTLED
        voices = self._voices(samples, options)
        # A window without a voice is not decoded: a model asked for the words of a noise finds some.
        spoken = [i for i, voice in enumerate(voices) if not voice.silent]
        wanted = [
            _Wanted(
                self._features(samples[i], windows[i].stream_key, unsettled),
                samples[i],
                voices[i].voiced,
                chunks=voices[i].chunks,
                expected=windows[i].expected,
            )
            for i in spoken
        ]
        if self._stock:
            for i, one in zip(spoken, wanted, strict=True):
                if (lead := windows[i].lead) is not None:
                    self._put_before(one, lead, rate)
        hypotheses = dict(zip(spoken, self._decode_speech(wanted, options), strict=True))
        silence = Hypothesis(
            text="", language=options.language or "", language_probability=0.0, avg_logprob=0.0, no_speech_prob=1.0
        )
        return [
            _replace(
                _timed_by_voice(hypotheses.get(i, silence), voice.voiced, len(samples[i]) / RATE),
                voice_s=None if voice.seconds is None else round(voice.seconds if i in hypotheses else 0.0, 3),
                voice_end=None if voice.end is None else round(voice.end if i in hypotheses else 0.0, 3),
                voiced=voice.voiced,
            )
            for i, voice in enumerate(voices)
        ]

    def _voices(self, samples: list[Floats], options: Options) -> list[_VoiceOf]:
        """Find the voice in each window, as far as the options ask for it."""
        # Where the language is detected, it is that of each part between two pauses.
        parted = self.multilingual and options.language is None
        judged = options.check_voice or options.beam > 1
        if self._stock and (judged or parted):
            chunks = [self.voice.chunks(one) for one in samples]
            extents = [extent(found, one.size) for found, one in zip(chunks, samples, strict=True)]
            return [
                _VoiceOf(
                    silent=options.check_voice and is_silent(found),
                    seconds=seconds if judged else None,
                    end=end if judged and (options.find_voice_end or not options.deterministic) else None,
                    chunks=(found >= VOICE).tobytes(),
                    voiced=voiced_chunks(found) if options.beam > 1 else None,
                )
                for found, (seconds, end) in zip(chunks, extents, strict=True)
            ]
        if not options.check_voice:
            return [_VoiceOf(end=self.voice.end(one) if options.find_voice_end else None) for one in samples]
        # The windows of a recording end in silence, so it only matters that there is a voice.
        voices: list[tuple[float, float | None]] = [
            (self.voice.least(one), None) if options.deterministic else self.voice.find(one) for one in samples
        ]
        return [_VoiceOf(silent=seconds < LEAST_VOICE_S, seconds=seconds, end=end) for seconds, end in voices]

    def _put_before(self, window: _Wanted, lead: Lead, rate: int) -> None:
        """Put the lead before the window, if both fit."""
        before = resample(lead.audio, rate)
        before = before[: before.size // HOP * HOP]
        features = self._features(np.concatenate([before, window.samples]))
        if features.shape[1] < FULL_FRAMES and lead.text.strip():
            window.lead, window.led, window.lead_frames = lead.text, features, before.size // HOP

    def _decode_speech(self, windows: list[_Wanted], options: Options) -> list[Hypothesis]:
        if not windows:
            return []
        if self._stock and options.beam > 1:
            # The times of words show whether the text is complete.
            options = msgspec.structs.replace(options, words=True)
        encoded, spoken = self._encode_and_detect(windows, options)
        hypotheses = self._decode_whole(encoded, windows, spoken, options)
        return [
            _replace(
                one if one is not None else self._decode_passages(window, found.passages, options),
                language=found.language,
                language_probability=round(found.probability, 3),
            )
            for one, window, found in zip(hypotheses, windows, spoken, strict=True)
        ]

    def _decode_whole(
        self, encoded: Any, windows: list[_Wanted], spoken: list[Spoken], options: Options
    ) -> list[Hypothesis | None]:
        """Decode the windows that are in one language; None stands for the others."""
        hypotheses: list[Hypothesis | None] = [None] * len(windows)
        which = [i for i, found in enumerate(spoken) if not found.passages]
        if not which:
            return hypotheses
        if len(which) < len(windows):
            encoded = rows(encoded, which)
        answers = self._answer(encoded, [windows[i] for i in which], [spoken[i].language for i in which], options)
        for row, (i, one) in enumerate(zip(which, answers, strict=True)):
            hypotheses[i] = one
            if options.beam > 1:
                if spoken[i].others and one.text:
                    spoken[i], one = self._try_others(rows(encoded, [row]), windows[i], spoken[i], one, options)
                hypotheses[i] = self._try_again(windows[i], one, spoken[i].language, options)
        return hypotheses

    def _try_others(
        self, encoded: Any, window: _Wanted, found: Spoken, first: Hypothesis, options: Options
    ) -> tuple[Spoken, Hypothesis]:
        """Decode a window in the other languages it may be in, and keep the most probable text."""
        spoken, best = found, first
        for language, probability in found.others:
            again = self._answer(encoded, [window], [language], options)[0]
            if again.text and again.avg_logprob > best.avg_logprob:
                spoken, best = Spoken(language, probability), again
        return spoken, best

    def _decode_passages(self, window: _Wanted, found: Sequence[Passage], options: Options) -> Hypothesis:
        """Decode each passage of a window by itself, in its language."""
        hypotheses = []
        for passage in found:
            part = self._part(window, passage.start, passage.end)
            encoded = self._encode_part(part, options.margin or FINAL_MARGIN)
            one = self._answer(encoded, [part], [passage.language], options)[0]
            hypotheses.append(self._try_again(part, one, passage.language, options) if options.beam > 1 else one)
        return joined(found, hypotheses, window.voiced or b"")

    # --- languages ----------------------------------------------------------------------------------------

    def _encode_and_detect(self, windows: list[_Wanted], options: Options) -> tuple[Any, list[Spoken]]:
        """Encode windows, each behind its lead unless that is in another language, and find their languages."""
        features = [window.led if window.led is not None else window.features for window in windows]
        frames = self._bucket(max(one.shape[1] for one in features), options)
        encoded = self._encode_all(features, frames)
        if options.language is not None and self.multilingual and options.language not in self.languages:
            raise ValueError(f"the model does not know language {options.language!r}")
        known = options.language if self.multilingual else "en"
        if known is not None:
            return encoded, [Spoken(known)] * len(windows)
        if all(window.led is None and len(window.parts) == 1 for window in windows):
            found = [among(one, options.languages) for one in self._detect(encoded)]
            return encoded, [
                spoken_in([one], window.parts, window.expected) for one, window in zip(found, windows, strict=True)
            ]
        batch = array_of(encoded)
        spoken = []
        for i, window in enumerate(windows):
            one = self._spoken(batch[i], window, options)
            if window.led is not None and not (one.is_all(window.expected) and one.probability >= LANGUAGE_SURE):
                # What is said in another language is not decoded behind the lead, nor is the language told behind it.
                led, window.led = window.led, None
                alone = array_of(self._encode([window.features], frames))[0]
                one = self._spoken(alone, window, options)
                if one.is_all(window.expected):
                    window.led = led
                else:
                    window.lead, window.lead_frames, batch[i] = None, 0, alone
            spoken.append(one)
        return ctranslate2.StorageView.from_array(batch), spoken

    def _spoken(self, encoded: Floats, window: _Wanted, options: Options) -> Spoken:
        """Find the languages of a window by what is encoded of its parts, or of it behind its lead."""
        if window.led is None and len(window.parts) == 1:
            return spoken_in([among(self._detect(_view(encoded))[0], options.languages)], window.parts, window.expected)
        before = 0.0 if window.led is None else window.lead_frames / 100
        found = [self._detect_between(encoded, before + start, before + end) for start, end in window.parts]
        if window.led is None:
            seconds = [end - start for start, end in window.parts]
            languages = languages_of([among(one, options.languages) for one in found], seconds, window.expected)
            for i, (start, end) in enumerate(window.parts):
                if is_unclear(found[i], languages[i], seconds[i]):
                    part = self._part(window, start, end)
                    (found[i],) = self._detect(self._encode_part(part, INTERIM_MARGIN))
            found = [among(one, options.languages) for one in found]
        return spoken_in(found, window.parts, window.expected)

    def _detect_between(self, encoded: Floats, start: float, end: float) -> Probabilities:
        """Find how probable languages are between two seconds of an encoded window (positions, dimensions)."""
        first = int(start / ENCODED_S)
        last = max(first + 1, min(len(encoded), round(end / ENCODED_S)))
        if last - first == self._mels:  # see BUCKET_FRAMES
            last -= 1
        return self._detect(_view(encoded[first:last]))[0]

    def _detect(self, encoded: Any) -> list[Probabilities]:
        """Find how probable languages are in each window of an encoded batch."""
        return [
            {token[2:-2]: float(probability) for token, probability in ranked}
            for ranked in self.core.detect_language(encoded)
        ]

    # --- further tries ------------------------------------------------------------------------------------

    def _try_again(self, window: _Wanted, first: Hypothesis, language: str, options: Options) -> Hypothesis:
        """Decode the window of a doubtful text again, in ways that may help, and return the best text."""
        best = first
        for more in further_tries(first, options, stock=self._stock, led=window.led is not None):
            if not is_doubtful(best) and not (window.led is not None and not best.text):
                break
            alone = _Wanted(window.features, window.samples, window.voiced)
            encoded = self._encode([window.features], self._bucket(window.features.shape[1], options, full=more.full))
            again = self._answer(encoded, [alone], [language], options, **more.freedom)[0]
            if not is_doubtful(again) or worth(again) > worth(best) or not best.text:
                best = again
        return self._fill_gaps(window, best, language, options) if self._stock else best

    def _fill_gaps(self, window: _Wanted, hypothesis: Hypothesis, language: str, options: Options) -> Hypothesis:
        """Decode each place with voice but no words by itself, and fill in its text."""
        voiced = window.voiced or b""
        for _ in range(MOST_GAPS):
            gap = uncovered(hypothesis.words or (), voiced)
            if gap is None:
                break
            begin, end = max(0.0, gap.start - GAP_PREROLL_S), min(gap.end, len(window.samples) / RATE)
            part = self._part(window, begin, end)
            encoded = self._encode_part(part, options.margin or FINAL_MARGIN)
            more = self._answer(encoded, [part], [language], options)[0]
            if not more.words or is_doubtful(more) or len(more.words) <= gap.last - gap.first:
                break
            hypothesis = with_gap_filled(hypothesis, gap, more, begin, voiced)
        return hypothesis

    def _part(self, window: _Wanted, begin: float, end: float) -> _Wanted:
        """Cut what is between two seconds out of a window."""
        samples = window.samples[int(begin * RATE) : int(end * RATE)]
        voiced = window.voiced and window.voiced[int(begin * RATE) // CHUNK :][: len(samples) // CHUNK]
        return _Wanted(self._features(samples), samples, voiced)

    def _features(self, samples: Floats, stream_key: str | None = None, unsettled: int = 0) -> Floats:
        """Compute log-mel features (mels, frames) of samples (n,) at 16 kHz."""
        return self._growing.of(samples, stream_key, unsettled)[:, :FULL_FRAMES]

    def _bucket(self, frames: int, options: Options, *, full: bool = False) -> int:
        """Return how many feature frames to encode for a window of `frames`."""
        if full or (self._stock and options.margin is None):
            return FULL_FRAMES
        return min(FULL_FRAMES, bucket(frames, options.margin) if self._stock and options.margin else bucket(frames))

    def _encode_all(self, features: list[Floats], frames: int) -> Any:
        """Encode windows, one by one where that is faster: on a processor a batch takes a fifth longer."""
        if len(features) == 1 or not self._stock or self.device == "cuda":
            return self._encode(features, frames)
        each = [np.array(self._encode([one], frames)) for one in features]
        return ctranslate2.StorageView.from_array(np.concatenate(each))

    def _encode(self, features: list[Floats], frames: int) -> Any:
        # Zeros after normalisation, as faster-whisper pads; see its pad_or_trim.
        batch = np.zeros((len(features), features[0].shape[0], frames), np.float32)
        for row, piece in zip(batch, features, strict=True):
            row[:, : piece.shape[1]] = piece
        return self.core.encode(ctranslate2.StorageView.from_array(batch))

    def _encode_part(self, part: _Wanted, margin: int) -> Any:
        """Encode a part of a window, which is not worth 30 s."""
        return self._encode([part.features], min(FULL_FRAMES, bucket(part.features.shape[1], margin)))

    def _answer(
        self, encoded: Any, windows: list[_Wanted], languages: list[str], options: Options, **freedom: Any
    ) -> list[Hypothesis]:
        leads = [window.lead for window in windows]
        lengths = [(window.features if window.led is None else window.led).shape[1] for window in windows]
        spoken = max(window.features.shape[1] for window in windows)
        if options.deterministic:  # whatever else is in the batch
            spoken = room(spoken) if self._stock else self._bucket(spoken, options)
        hypotheses = self.answers.of(encoded, lengths, languages, options, spoken=spoken, leads=leads, **freedom)
        return [_on_its_own_clock(one, window) for one, window in zip(hypotheses, windows, strict=True)]


class _VoiceOf(msgspec.Struct):
    """The voice in a window; None where it was not asked for.

    `chunks` have a voice for sure, by a byte for each; `voiced`, of texts that stay, from its onset on.
    """

    silent: bool = False
    seconds: float | None = None
    end: float | None = None
    chunks: bytes | None = None
    voiced: bytes | None = None


class _Wanted(msgspec.Struct, dict=True):
    """A window to decode: its features, samples, and where it has voice.

    With a `lead`, `led` are the features of both, the first `lead_frames` of them the lead's.
    """

    features: Floats
    samples: Floats
    voiced: bytes | None = None
    chunks: bytes | None = None
    lead: str | None = None
    led: Floats | None = None
    lead_frames: int = 0
    expected: str | None = None

    @cached_property
    def parts(self) -> list[tuple[float, float]]:
        """From which to which second there may be one language: between its pauses, if they were looked for."""
        return parts(list(phrases(self.chunks or b"")), self.features.shape[1] / 100)


def _view(encoded: Floats) -> Any:
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(encoded[np.newaxis]))


def _on_its_own_clock(hypothesis: Hypothesis, window: _Wanted) -> Hypothesis:
    """Count times from the window's own start, and note where its voice has no words."""
    lead_s = window.lead_frames / 100
    words = hypothesis.words
    if words is not None and lead_s:
        words = [
            msgspec.structs.replace(
                word, start=max(0.0, round(word.start - lead_s, 3)), end=max(0.0, round(word.end - lead_s, 3))
            )
            for word in words
        ]
    if window.voiced is None or words is None:
        return _replace(hypothesis, words=words)
    gap = uncovered(words, window.voiced)
    return _replace(hypothesis, words=words, uncovered=None if gap is None else (gap.start, gap.end))


def _timed_by_voice(hypothesis: Hypothesis, voiced: bytes | None, seconds: float) -> Hypothesis:
    if voiced is None or not hypothesis.words:
        return hypothesis
    return _replace(hypothesis, words=within_voice(hypothesis.words, voiced, seconds))


def _replace(hypothesis: Hypothesis, **changes: Any) -> Hypothesis:
    return msgspec.structs.replace(hypothesis, **changes)
