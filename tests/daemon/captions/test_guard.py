from __future__ import annotations

import pytest

from convod.captions import Guard
from convod.captions.guard import compression_ratio

SURE = {"avg_logprob": -0.2, "no_speech_prob": 0.01, "spoken_s": 3.0, "voice_s": 2.5}


@pytest.mark.parametrize(
    ("text", "figures", "reason"),
    [
        ("We ship on Friday.", {}, None),
        ("", {}, "empty"),
        (" \n ", {}, "empty"),
        ("Thanks for watching!", {"no_speech_prob": 0.9, "avg_logprob": -1.5}, "no_speech"),
        ("We ship on Friday.", {"no_speech_prob": 0.9, "avg_logprob": -0.3}, None),  # sure of its words
        ("We ship on Friday.", {"no_speech_prob": 0.1, "avg_logprob": -1.5}, None),  # surely speech
        ("We ship on Friday.", {"voice_s": 0.0}, "no_voice"),
        ("thank you " * 20, {"spoken_s": 28.0}, "repetition"),
        ("no no no no", {}, None),  # people do say this
        ("one two three four five six seven eight nine ten", {"spoken_s": 0.2}, "too_fast"),
        ("one two three four five", {"spoken_s": 0.2}, None),
        ("Ja.", {"spoken_s": 0.0}, None),  # the detector misses quiet speech
    ],
)
def test_a_text_is_kept_or_rejected_for_a_reason(text, figures, reason):
    verdict = Guard().judge(text, **{**SURE, **figures})
    assert verdict.reason == reason
    assert verdict.keep is (reason is None)


def test_rejections_are_counted_by_reason():
    guard = Guard()
    for text in ("", "", "We ship on Friday.", "la " * 40):
        guard.judge(text, avg_logprob=-0.2, no_speech_prob=0.0, spoken_s=28.0, voice_s=20.0)
    assert guard.rejected == {"empty": 2, "repetition": 1}


def test_the_compression_ratio_of_nothing_is_nothing():
    assert compression_ratio("") == 0.0
    assert compression_ratio("so " * 100) > 10
