from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convod.speech.hallucination import FAINT_LOGPROB, FAINT_NO_SPEECH, HallucinationFilter, compression_ratio

SURE = {"avg_logprob": -0.2, "no_speech_prob": 0.01, "spoken_s": 3.0, "voice_s": 2.5}


@pytest.mark.parametrize(
    ("text", "figures", "reason"),
    [
        ("We ship on Friday.", {}, None),
        ("", {}, "empty"),
        (" \n ", {}, "empty"),
        ("", {"voice_s": 0.0}, "no_voice"),
        # Many who talk at once; somebody who says a word.
        ("We ship on Friday.", {"no_speech_prob": 0.9, "avg_logprob": -0.79}, "no_speech"),
        ("We ship on Friday.", {"no_speech_prob": 0.36, "avg_logprob": -1.01}, "no_speech"),
        ("We ship on Friday.", {"no_speech_prob": 0.44, "avg_logprob": -0.92}, None),
        ("We ship on Friday.", {"no_speech_prob": 0.61, "avg_logprob": -0.73}, "no_speech"),
        ("We ship on Friday.", {"no_speech_prob": 0.61, "avg_logprob": -0.71}, None),
        # Most of the voice has no words.
        ("We ship on Friday.", {"no_speech_prob": 0.39, "avg_logprob": -0.71, "uncovered": (2.0, 4.0)}, "no_speech"),
        ("We ship on Friday.", {"no_speech_prob": 0.39, "avg_logprob": -0.71, "uncovered": (2.0, 3.9)}, None),
        ("We ship on Friday.", {"no_speech_prob": 0.37, "avg_logprob": -0.71, "uncovered": (2.0, 4.0)}, None),
        ("We ship on Friday.", {"no_speech_prob": 0.39, "avg_logprob": -0.69, "uncovered": (2.0, 4.0)}, None),
        ("We ship on Friday.", {"no_speech_prob": 0.9, "avg_logprob": -0.3}, None),  # sure of its words
        ("We ship on Friday.", {"no_speech_prob": 0.1, "avg_logprob": -1.5}, None),  # surely speech
        ("Eight.", {"no_speech_prob": 0.54, "avg_logprob": -1.04, "voice_s": 0.4}, None),
        ("Eight.", {"no_speech_prob": 0.9, "avg_logprob": -1.5, "voice_s": 0.8}, "no_speech"),
        ("We ship on Friday.", {"no_speech_prob": 0.9, "avg_logprob": -1.5, "voice_s": None}, None),  # it was not asked
        # It says the same again.
        ("At the front of the front of the front.", {"no_speech_prob": 0.26, "avg_logprob": -0.86}, "no_speech"),
        ("At the front of the front of the front.", {"no_speech_prob": 0.24, "avg_logprob": -0.86}, None),
        ("At the front of the front of the front.", {"no_speech_prob": 0.26, "avg_logprob": -0.84}, None),
        ("Go on, go on, go on, go on.", {"no_speech_prob": 0.26, "avg_logprob": -0.86}, "no_speech"),
        ("No, no, no, no. Yes.", {"no_speech_prob": 0.26, "avg_logprob": -0.86}, None),
        ("それはそれは大変でしたね", {"no_speech_prob": 0.26, "avg_logprob": -0.86}, None),
        # A whisper is hardly a voice to a detector.
        ("We ship on Friday.", {"voice_s": 0.0}, None),
        ("We ship on Friday.", {"voice_s": 0.0, "no_speech_prob": 0.3, "avg_logprob": -0.8}, None),
        ("We ship on Friday.", {"voice_s": 0.0, "no_speech_prob": 0.31}, "no_voice"),
        ("We ship on Friday.", {"voice_s": 0.24, "avg_logprob": -0.81}, "no_voice"),
        ("We ship on Friday.", {"voice_s": 0.29, "avg_logprob": -0.81}, None),
        ("We ship on Friday.", {"voice_s": None, "avg_logprob": -0.81}, None),
        ("Ha ha ha ha ha ha ha ha", {"voice_s": 0.32, "no_speech_prob": 0.56, "avg_logprob": -0.88}, "no_voice"),
        ("Ha ha ha ha", {"voice_s": 0.32, "no_speech_prob": 0.56, "avg_logprob": -0.7}, None),
        # What models say of noise is believed with a voice as long as it takes to say, no shorter and no longer.
        ("Thanks for watching!", {"no_speech_prob": 0.9, "avg_logprob": -0.5}, "stock_phrase"),
        ("Thank you.", {"voice_s": 0.6}, None),
        ("Thank you.", {"voice_s": 0.6, "no_speech_prob": 0.31}, "stock_phrase"),
        ("Thank you.", {"voice_s": 0.4}, "stock_phrase"),
        ("Thank you.", {"voice_s": 3.1}, "stock_phrase"),
        ("Thank you.", {"voice_s": None}, None),
        ("Thank you very much for watching!", {"voice_s": 3.1}, None),
        ("Thank you. Thank you. Thank you.", {"voice_s": 0.4}, "stock_phrase"),
        ("ご視聴ありがとうございました", {"voice_s": 0.3, "spoken_s": 3.0}, "stock_phrase"),
        ("Thank you for the report.", {"voice_s": 0.4}, None),  # no phrase, though it begins with one
        ("thank you " * 20, {"spoken_s": 28.0}, "repetition"),
        ("no no no no", {}, None),  # people do say this
        ("one two three four five six seven eight nine ten", {"spoken_s": 0.2}, "too_fast"),
        ("one two three four five", {"spoken_s": 0.2}, None),
        ("Ja.", {"spoken_s": 0.0}, None),  # the detector misses quiet speech
        ("今日は会議があります。", {"spoken_s": 0.3}, "too_fast"),  # no spaces: characters count
        ("今日は会議があります", {"spoken_s": 1.2}, None),
        ("会" * 40, {"spoken_s": 28.0}, "repetition"),
        ("We ship the new release of the app on Friday.", {"avg_logprob": -3.1}, "improbable"),
        ("We ship the new release of the app on Friday.", {"avg_logprob": -2.9}, None),
        ("Wojciechowski.", {"avg_logprob": -3.1}, None),  # a name may well be
    ],
)
def test_a_text_is_kept_or_rejected_for_a_reason(text, figures, reason):
    verdict = HallucinationFilter().judge(text, **{**SURE, **figures})
    assert verdict.reason == reason
    assert verdict.keep is (reason is None)
    assert verdict.unrecoverable is (reason == "improbable")


FIGURES = {
    "avg_logprob": st.floats(-5, 0),
    "no_speech_prob": st.floats(0, 1),
    "spoken_s": st.floats(0, 28),
    "voice_s": st.none() | st.floats(0, 28),
}


@given(st.text(max_size=60) | st.lists(st.sampled_from(["la", "thank", "you", "会"])).map(" ".join), st.data())
def test_whatever_comes_every_text_is_kept_or_counted_once_and_the_verdict_is_its_own(text, data):
    hallucination_filter = HallucinationFilter()
    figures = {name: data.draw(strategy) for name, strategy in FIGURES.items()}
    verdict = hallucination_filter.judge(text, **figures)
    assert hallucination_filter.rejected.total() == (not verdict.keep)
    assert hallucination_filter.judge(text, **figures) == verdict
    if not text.strip():
        assert not verdict.keep
    unsure = figures["avg_logprob"] < FAINT_LOGPROB or figures["no_speech_prob"] > FAINT_NO_SPEECH
    if figures["voice_s"] == 0.0 and unsure:
        assert verdict.reason == "no_voice" or not text.strip()
    # More speech, a surer model: never a reason to reject.
    better = hallucination_filter.judge(
        text, avg_logprob=0.0, no_speech_prob=0.0, spoken_s=28.0, voice_s=figures["voice_s"]
    )
    assert better.keep or better.reason in ("no_voice", "empty", "stock_phrase", "repetition", "too_fast")
    if verdict.keep:
        assert better.keep


def test_rejections_are_counted_by_reason():
    hallucination_filter = HallucinationFilter()
    for text in ("", "", "We ship on Friday.", "la " * 40):
        hallucination_filter.judge(text, avg_logprob=-0.2, no_speech_prob=0.0, spoken_s=28.0, voice_s=20.0)
    assert hallucination_filter.rejected == {"empty": 2, "repetition": 1}


def test_the_compression_ratio_of_nothing_is_nothing():
    assert compression_ratio("") == 0.0
    assert compression_ratio("so " * 100) > 10
