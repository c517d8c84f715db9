"""Is this text what was said? Rules with reasons against loops and against text that silence or noise brings forth.

In: a text with the engine's figures and how much speech the detector saw. Out: keep, or reject with a reason; counted.
It never changes a text, and it decides on finals and interims alike.
"""

from __future__ import annotations

import zlib
from collections import Counter
from typing import Final

import msgspec

from convod.captions.interim import pieces
from convod.engine.wire import HOPELESS_LOGPROB

COMPRESSION_RATIO: Final = 2.4
"""Above this a text repeats itself (OpenAI Whisper's `compression_ratio_threshold`)."""

NO_SPEECH: Final = 0.6
"""`no_speech_prob` above which, with a low log-probability, there was no speech (Whisper's default)."""

LOGPROB: Final = -1.0
"""Mean log-probability of a token below which a text is doubtful (Whisper's default)."""

WORDS_PER_SECOND: Final = 12.0
"""Nobody speaks faster: the record is near 11 words a second. In scripts without spaces characters count: Japanese has
about 8 a second, Chinese 5 to 6."""

_LONG_ENOUGH: Final = 40
"""Shorter texts compress by accident."""


class Verdict(msgspec.Struct, frozen=True):
    """`reason` is None when the text may be shown."""

    reason: str | None = None

    @property
    def hopeless(self) -> bool:
        """Whether the same would be said of any part of it."""
        return self.reason == "improbable"

    @property
    def keep(self) -> bool:
        """Whether the text may be shown."""
        return self.reason is None


def compression_ratio(text: str) -> float:
    """Bytes of the text over bytes of its zlib compression, as Whisper computes it."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0


class Guard:
    """Judges texts and counts what it rejected, by reason."""

    def __init__(self) -> None:
        self.rejected: Counter[str] = Counter()

    def judge(
        self,
        text: str,
        *,
        avg_logprob: float,
        no_speech_prob: float,
        spoken_s: float,
        voice_s: float | None,
        counted: bool = True,
    ) -> Verdict:
        """May this text be shown?

        `spoken_s` is how many seconds the voice-activity detector called speech, `voice_s` in how many the worker's
        own detector heard a voice, None if it was not asked again. Not `counted` if the same text is judged again.
        """
        reason = self._reason(text, avg_logprob, no_speech_prob, spoken_s, voice_s)
        if reason is not None and counted:
            self.rejected[reason] += 1
        return Verdict(reason)

    def _reason(
        self, text: str, avg_logprob: float, no_speech_prob: float, spoken_s: float, voice_s: float | None
    ) -> str | None:
        if voice_s == 0.0:
            return "no_voice"
        if not text.strip():
            return "empty"
        if no_speech_prob > NO_SPEECH and avg_logprob < LOGPROB:
            return "no_speech"
        if len(text) >= _LONG_ENOUGH and avg_logprob < HOPELESS_LOGPROB:
            return "improbable"
        if len(text) >= _LONG_ENOUGH and compression_ratio(text) > COMPRESSION_RATIO:
            return "repetition"
        # The detector misses quiet speech, so half a second is granted to it.
        if len(pieces(text)) > WORDS_PER_SECOND * (spoken_s + 0.5):
            return "too_fast"
        return None
