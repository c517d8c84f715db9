from __future__ import annotations

from array import array

import numpy as np
import pytest

from convod.speech.dull import Dullness
from tests.support.speech import pcm


def tone(hz: float, seconds: float, loud: int = 3000) -> bytes:
    at = np.arange(int(16000 * seconds)) / 16000
    return np.rint(loud * np.sin(2 * np.pi * hz * at)).astype(np.int16).tobytes()


def beside(left: bytes, right: bytes) -> bytes:
    sides = zip(array("h", left), array("h", right), strict=True)
    return array("h", (sample for pair in sides for sample in pair)).tobytes()


@pytest.mark.parametrize(
    ("left", "right", "dull"),
    [
        pytest.param(tone(400, 10), tone(500, 10), True, id="both"),
        pytest.param(tone(400, 10), bytes(320000), True, id="one, the other is silent"),
        pytest.param(tone(400, 10), tone(5000, 10), False, id="one"),
    ],
)
def test_channels_are_looked_at_each_by_itself(left, right, dull):
    sides = Dullness(2)
    sound = beside(left, right)
    for at in range(0, len(sound), 3204):
        sides.feed(sound[at : at + 3204])
    assert sides.dull is dull


@pytest.mark.parametrize(
    ("sound", "dull"),
    [
        pytest.param(lambda: pcm("talk.flac"), False, id="a talk"),
        pytest.param(lambda: pcm("talk.flac", 48000)[: 2 * 48000 * 20], True, id="taken for a third of its rate"),
        pytest.param(lambda: pcm("talk.flac", 48000)[: 2 * 16000 * 4], False, id="too short to tell"),
        pytest.param(lambda: tone(400, 10), True, id="a hum"),
        pytest.param(lambda: tone(400, 10, loud=50), False, id="a soft one"),
        pytest.param(lambda: tone(400, 9.5) + tone(5000, 0.5), False, id="a hiss in it"),
    ],
)
def test_speech_without_any_hiss_is_dull(sound, dull):
    whole, pieces, samples = Dullness(), Dullness(), sound()
    whole.feed(samples)
    for at in range(0, len(samples), 3202):
        pieces.feed(samples[at : at + 3202])
    assert whole.dull is pieces.dull is dull
