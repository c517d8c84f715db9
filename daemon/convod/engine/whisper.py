"""Decode windows with faster-whisper, in worker processes; only `loading`, `answers`, `voice` and this import it.

In: windows and options. Out: text, words, and the engine's figures. The encoder runs once a window for language
detection, decoding and alignment. It never decides what is decoded when (that is the scheduler), nor whether a text is
believed (that is the hallucination filter), apart from further tries of a doubtful window (see `tries`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import ctranslate2
import msgspec
import numpy as np

from convod.engine.answers import Answers
from convod.engine.coverage import uncovered
from convod.engine.features import HOP, Floats, GrowingFeatures
from convod.engine.gaps import GAP_PREROLL_S, MOST_GAPS, with_gap_filled
from convod.engine.loading import UNSETTLED, load_model, resample
from convod.engine.tries import further_tries, is_doubtful, worth
from convod.engine.voice import CHUNK, LEAST_VOICE_S, VOICE, Voice, extent, is_silent
from convod.engine.wire import FULL_FRAMES, RATE, Load, bucket, room
from convod.engine.word_times import within_voice
from convod.speech.decoding import FINAL_MARGIN, Hypothesis, Lead, Options, Window

SWITCH: Final = 0.8
SWITCH_S: Final = 1.5
"""Probability and length of window from which a language may be another than the one before."""


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
        if self._stock and (options.check_voice or options.beam > 1):
            chunks = [self.voice.chunks(one) for one in samples]
            extents = [extent(found, one.size) for found, one in zip(chunks, samples, strict=True)]
            return [
                _VoiceOf(
                    silent=options.check_voice and is_silent(found),
                    seconds=seconds,
                    end=end if options.find_voice_end or not options.deterministic else None,
                    voiced=(found >= VOICE).tobytes() if options.beam > 1 else None,
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
        told = [self._language_behind_lead(window, options) for window in windows]
        features = [window.led if window.led is not None else window.features for window in windows]
        encoded = self._encode_all(features, self._bucket(max(one.shape[1] for one in features), options))
        found = self._languages(encoded, windows, options) if None in told else []
        languages = [found[i] if language is None else language for i, language in enumerate(told)]
        hypotheses = self._answer(encoded, windows, [language for language, _ in languages], options)
        if options.beam > 1:
            for i, window in enumerate(windows):
                hypotheses[i] = self._try_again(window, hypotheses[i], languages[i][0], options)
        return [
            _replace(result, language=language, language_probability=round(probability, 3))
            for result, (language, probability) in zip(hypotheses, languages, strict=True)
        ]

    def _language_behind_lead(self, window: _Wanted, options: Options) -> tuple[str, float] | None:
        """Detect the language of a window without its lead, whose language would be detected with it.

        A lead in another language is left out. Returns None if there is no lead, or nothing to detect.
        """
        if window.led is None or options.language is not None or not self.multilingual:
            return None
        encoded = self._encode([window.features], self._bucket(window.features.shape[1], options))
        (language,) = self._languages(encoded, [window], options)
        if language[0] != window.expected:
            window.lead, window.led, window.lead_frames = None, None, 0
        return language

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
            samples = window.samples[int(begin * RATE) : int(end * RATE)]
            part = _Wanted(
                self._features(samples), samples, voiced[int(begin * RATE) // CHUNK :][: len(samples) // CHUNK]
            )
            margin = options if options.margin is not None else msgspec.structs.replace(options, margin=FINAL_MARGIN)
            encoded = self._encode([part.features], self._bucket(part.features.shape[1], margin))
            more = self._answer(encoded, [part], [language], options)[0]
            if not more.words or is_doubtful(more) or len(more.words) <= gap.last - gap.first:
                break
            hypothesis = with_gap_filled(hypothesis, gap, more, begin, voiced)
        return hypothesis

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

    def _languages(self, encoded: Any, windows: list[_Wanted], options: Options) -> list[tuple[str, float]]:
        """Find the language of each window, and how probable it is."""
        if not self.multilingual:
            return [("en", 1.0)] * len(windows)
        if options.language is not None:
            if options.language not in self.languages:
                raise ValueError(f"the model does not know language {options.language!r}")
            return [(options.language, 1.0)] * len(windows)
        found = self.core.detect_language(encoded)
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
    ) -> list[Hypothesis]:
        leads = [window.lead for window in windows]
        lengths = [(window.features if window.led is None else window.led).shape[1] for window in windows]
        spoken = max(window.features.shape[1] for window in windows)
        if options.deterministic:  # whatever else is in the batch
            spoken = room(spoken) if self._stock else self._bucket(spoken, options)
        hypotheses = self.answers.of(encoded, lengths, languages, options, spoken=spoken, leads=leads, **freedom)
        return [_on_its_own_clock(one, window) for one, window in zip(hypotheses, windows, strict=True)]


class _VoiceOf(msgspec.Struct):
    """The voice in a window; None where it was not asked for."""

    silent: bool = False
    seconds: float | None = None
    end: float | None = None
    voiced: bytes | None = None


class _Wanted(msgspec.Struct):
    """A window to decode: its features, samples, and where it has voice.

    With a `lead`, `led` are the features of both, the first `lead_frames` of them the lead's.
    """

    features: Floats
    samples: Floats
    voiced: bytes | None = None
    lead: str | None = None
    led: Floats | None = None
    lead_frames: int = 0
    expected: str | None = None


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


def choose_language(ranked: Sequence[tuple[str, float]], expected: str | None, seconds: float) -> tuple[str, float]:
    """Choose the language of a window.

    Most people continue in the same language, so a short window or an uncertain detection does not change it.

    Args:
        ranked: Languages with their probabilities, the most probable first.
        expected: The language of what came before.
        seconds: Length of the window.
    """
    language, probability = ranked[0]
    if expected is None or language == expected or (probability >= SWITCH and seconds >= SWITCH_S):
        return language, probability
    return expected, dict(ranked).get(expected, 0.0)
