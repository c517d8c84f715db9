"""Judge whether a text is what was said: rules against loops, and against text that silence or noise brings forth.

In: a text with the engine's figures, and how much speech the detectors found. Out: keep, or reject with a reason;
rejections are counted. It never changes a text, and judges finals and interims alike.
"""

from __future__ import annotations

import zlib
from collections import Counter
from typing import Final

import msgspec

from convod.speech.agreement import pieces
from convod.speech.decoding import UNCOVERED_S, UNRECOVERABLE_LOGPROB, Hypothesis
from convod.speech.stock_phrases import is_stock_phrase

COMPRESSION_RATIO: Final = 2.4
"""Above this a text repeats itself (OpenAI Whisper's `compression_ratio_threshold`)."""

NO_SPEECH: Final = ((0.6, -0.72), (0.5, -0.78), (0.35, -1.0))
"""`no_speech_prob` above the first together with a mean log-probability below the second is no speech: many who talk at
once, mostly. Recorded, with a voice of a second or more: 24 mixtures of five to twelve voices have 0.4 to 0.85 and -0.8
to -1.5, save one; of 292 utterances that somebody understands none comes nearer than 0.44 and -0.92. Whisper's own rule
(0.6 and -1) is for windows of 30 s, not all of them speech."""

BARE_NO_SPEECH: Final = (0.38, -0.7)
"""The same where UNCOVERED_S of a voice or more have no words: of a crowd a model writes a few words and gives up."""

LOOP_NO_SPEECH: Final = (0.25, -0.85)
LOOP_LETTERS: Final = 8
LOOP_WORDS: Final = 3
"""The same of a text that says so many words of so many letters twice: "the front of the front of the front".

Of 57 utterances of 4 to 16 voices, near and far off, tiny.en wrote a text for five without these two and the first of
NO_SPEECH, and two with them, both of four voices. Chosen by 28 of them, by one half of the speakers, and by three
crowds; of the speech of both halves, clean, quiet, and under noise and babble of 10 to 0 dB, 1161 right words, none is
lost by it.
"""

SHORT_NO_SPEECH: Final = (0.6, -1.2)
SHORT_VOICE_S: Final = 1.0
"""The same of less voice, of which a model is never sure: a digit on the telephone has 0.54 and -1.04."""

FAINT_VOICE_S: Final = 0.25
FAINT_WORD_S: Final = 0.07
"""Less voice than this, or less for each word, is a whisper or none: such a text is believed if the model is sure that
it is speech. Of ten seconds of laughter a detector calls 0.3 s a voice; "Ha" is written eight times."""

FAINT_NO_SPEECH: Final = 0.3
FAINT_LOGPROB: Final = -0.8
"""How sure. Recorded: whispered sentences have 0.03 to 0.13 and -0.15 to -0.63, whistling and laughter 0.5 to 0.8 and
-0.9 to -2."""

PHRASE_VOICE_S: Final = 0.5
PHRASE_NO_SPEECH: Final = 0.3
PHRASE_SECONDS_A_LETTER: Final = 0.25
"""A phrase that models bring forth from noise is believed with at least so much voice, and with no more of it than it
takes to say: at 0.07 s a letter, "Thank you." takes half a second, and not three."""

WORDS_PER_SECOND: Final = 12.0
"""Nobody speaks faster: the record is near 11 words a second. In scripts without spaces characters count: Japanese has
about 8 a second, Chinese 5 to 6."""

_LONG_ENOUGH: Final = 40
"""Shorter texts compress by accident."""


class Verdict(msgspec.Struct, frozen=True):
    """`reason` is None when the text may be shown."""

    reason: str | None = None

    @property
    def unrecoverable(self) -> bool:
        """Whether any part of it would be rejected, too."""
        return self.reason == "improbable"

    @property
    def keep(self) -> bool:
        """Whether the text may be shown."""
        return self.reason is None


def compression_ratio(text: str) -> float:
    """Compute bytes of the text over bytes of its zlib compression, as Whisper does."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0


class HallucinationFilter:
    """Judges texts and counts the rejected ones by reason."""

    def __init__(self) -> None:
        self.rejected: Counter[str] = Counter()

    def judge_hypothesis(self, hypothesis: Hypothesis, spoken_s: float, *, counted: bool = True) -> Verdict:
        """Judge the text of a window in which voice activity found `spoken_s` seconds of speech; see `judge`."""
        return self.judge(
            hypothesis.text,
            avg_logprob=hypothesis.avg_logprob,
            no_speech_prob=hypothesis.no_speech_prob,
            spoken_s=spoken_s,
            voice_s=hypothesis.voice_s,
            uncovered=hypothesis.uncovered,
            counted=counted,
        )

    def judge(
        self,
        text: str,
        *,
        avg_logprob: float,
        no_speech_prob: float,
        spoken_s: float,
        voice_s: float | None,
        uncovered: tuple[float, float] | None = None,
        counted: bool = True,
    ) -> Verdict:
        """Judge whether a text may be shown.

        Args:
            text: The text.
            avg_logprob: Mean log-probability of its tokens.
            no_speech_prob: Whisper's probability that there is no speech.
            spoken_s: Seconds that voice activity called speech.
            voice_s: Seconds in which the worker's detector found a voice; None if it did not look.
            uncovered: From which to which second a voice has no words.
            counted: Whether to count a rejection; false where the same text is judged again.
        """
        reason = self._reason(text, avg_logprob, no_speech_prob, spoken_s, voice_s, uncovered)
        if reason is not None and counted:
            self.rejected[reason] += 1
        return Verdict(reason)

    def _reason(
        self,
        text: str,
        avg_logprob: float,
        no_speech_prob: float,
        spoken_s: float,
        voice_s: float | None,
        uncovered: tuple[float, float] | None,
    ) -> str | None:
        if not text.strip():
            return "no_voice" if voice_s == 0.0 else "empty"
        unlikely = no_speech_prob > FAINT_NO_SPEECH or avg_logprob < FAINT_LOGPROB
        faint = voice_s is not None and voice_s < max(FAINT_VOICE_S, FAINT_WORD_S * len(pieces(text)))
        if faint and unlikely:
            return "no_voice"
        bare = uncovered is not None and uncovered[1] - uncovered[0] >= UNCOVERED_S
        if voice_s is not None and _is_no_speech(text, no_speech_prob, avg_logprob, voice_s, bare=bare):
            return "no_speech"
        if is_stock_phrase(text) and _is_doubtful_phrase(text, no_speech_prob, voice_s):
            return "stock_phrase"
        if len(text) >= _LONG_ENOUGH and avg_logprob < UNRECOVERABLE_LOGPROB:
            return "improbable"
        if len(text) >= _LONG_ENOUGH and compression_ratio(text) > COMPRESSION_RATIO:
            return "repetition"
        # Voice activity misses quiet speech, so half a second is added.
        if len(pieces(text)) > WORDS_PER_SECOND * (spoken_s + 0.5):
            return "too_fast"
        return None


def _is_no_speech(text: str, no_speech_prob: float, avg_logprob: float, voice_s: float, *, bare: bool) -> bool:
    def beyond(rule: tuple[float, float]) -> bool:
        return no_speech_prob > rule[0] and avg_logprob < rule[1]

    if voice_s < SHORT_VOICE_S:
        return beyond(SHORT_NO_SPEECH)
    return any(map(beyond, NO_SPEECH)) or (bare and beyond(BARE_NO_SPEECH)) or (beyond(LOOP_NO_SPEECH) and _loops(text))


def _loops(text: str) -> bool:
    """Whether a text says LOOP_WORDS or more of LOOP_LETTERS or more twice."""
    words = [word for piece in pieces(text) if (word := "".join(filter(str.isalnum, piece)).casefold())]
    seen: set[str] = set()
    for begin in range(len(words)):
        for end in range(begin + LOOP_WORDS, len(words) + 1):
            phrase = " ".join(words[begin:end])
            if len(phrase) - (end - begin - 1) >= LOOP_LETTERS:
                if phrase in seen:
                    return True
                seen.add(phrase)
                break
    return False


def _is_doubtful_phrase(text: str, no_speech_prob: float, voice_s: float | None) -> bool:
    if no_speech_prob > PHRASE_NO_SPEECH:
        return True
    letters = sum(map(str.isalnum, text))
    return voice_s is not None and not PHRASE_VOICE_S <= voice_s <= 1.0 + PHRASE_SECONDS_A_LETTER * letters
