"""Configurations of Realtime sessions: whatever a client sends is one, or is refused in a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convo_gateway.errors import Refused
from convo_gateway.realtime import ENCODINGS, Config, updated

NAMES = st.sampled_from(
    ["type", "audio", "input", "format", "rate", "transcription", "turn_detection", "model", "language",
     "silence_duration_ms", "input_audio_format", "input_audio_transcription"]
)  # fmt: skip
WORDS = st.sampled_from(["transcription", "realtime", *ENCODINGS, "pcm16", "g711_alaw", "server_vad", "en", ""])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=4),
)


@given(st.sampled_from(["session.update", "transcription_session.update"]), VALUES)
def test_an_update_makes_a_configuration_or_is_refused(kind: str, session: Any):
    refused: Refused | None = None
    try:
        config = updated(Config(), {"type": kind, "session": session})
    except Refused as error:
        refused = error
    if refused is not None:
        assert refused.message.endswith(".")
        assert refused.status == 400
        return
    assert config.told("x")["audio"]["input"]["format"]["type"] in ENCODINGS
    assert config.told("x", beta=True)["input_audio_format"]


@pytest.mark.parametrize(("type", "rate"), [("audio/pcm", 16_000), ("audio/pcmu", 24_000), ("audio/pcma", 0)])
def test_a_rate_that_a_format_does_not_have_is_refused(type: str, rate: int):
    session = {"audio": {"input": {"format": {"type": type, "rate": rate}}}}
    with pytest.raises(Refused, match=f"{type} has a rate of"):
        updated(Config(), {"type": "session.update", "session": session})
