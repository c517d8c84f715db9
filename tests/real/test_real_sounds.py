"""Sound that is no speech beside speech: hiss and music shift no words, and a prompt is not written for babble."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convo
from convo_bench.files import wav_file
from convo_bench.scoring import align, units
from convo_bench.talk import RATE
from convo_bench.times import CUE_S, errors_of, voiced_part
from tests.support.daemon import Daemon
from tests.support.music import KINDS
from tests.support.real import Corpus
from tests.support.sessions import OFF, segments, talk_live, text, upload

pytestmark = pytest.mark.real

BOTH_WAYS = pytest.mark.parametrize("live", [True, False], ids=["live", "file"])

MUSIC_S = 12.0
LATE_S = 0.25
"""How late the first word after music may begin: so long the voice detector takes to tell a voice from it."""

CROWDS = (12, 16)
CROWD_S = 5.0

BABBLE = (
    "lj/LJ001-0017.mp3", "lj/LJ001-0005.mp3", "libritts/672_122797_000002_000002.flac", "fleurs/fleurs-en-002.ogg",
    "libri/533-1066-0001.flac",
)  # fmt: skip
PROMPT = "Thank you, Grace Hopper. Thank you."
SPOKEN = "lj/LJ001-0002.mp3"


async def run(client: convo.Client, live: bool, pcm: bytes, **fields: Any) -> list[Any]:
    """The sound as a live session or a file, to its last event."""
    fields = {"language": "en", "summary": OFF, "words": True} | fields
    if live:
        return await talk_live(client, pcm, interim=False, **fields)
    with wav_file(pcm) as path:
        return await upload(client, path.read_bytes(), **fields)


@BOTH_WAYS
async def test_a_cue_begins_with_the_voice_where_a_recording_begins_with_hiss(
    daemon: Daemon, real_corpus: Corpus, live: bool
) -> None:
    talk = real_corpus.talk("multi2_en").part(17)
    async with convo.connect(daemon.url) as client:
        events = await run(client, live, talk.pcm)
    errors = errors_of(voiced_part(talk), segments(events))
    assert len(errors.cue_starts) == len(talk.utterances)
    assert all(abs(error) <= CUE_S for error in errors.cue_starts), errors


@BOTH_WAYS
@pytest.mark.parametrize("kind", ["waltz", "whistle"])
async def test_words_lie_where_the_voice_is_before_and_after_music(
    daemon: Daemon, real_corpus: Corpus, kind: str, live: bool
) -> None:
    talk = real_corpus.talk("multi4_en").part(7, first=2)
    (spoken,) = voiced_part(talk).utterances
    sound = talk.pcm + KINDS[kind](MUSIC_S) + talk.pcm
    later = talk.seconds + MUSIC_S
    async with convo.connect(daemon.url) as client:
        events = await run(client, live, sound)
    assert align([*talk.said, *talk.said], units(text(events))).score.percent <= 25.0, text(events)
    words = [word for segment in segments(events) for word in segment.words or ()]
    before = [word for word in words if word.start < later]
    after = words[len(before) :]
    for some, begin in ((before, 0.0), (after, later)):
        assert -CUE_S <= some[0].start - begin - spoken.start <= LATE_S
        assert some[-1].end == pytest.approx(begin + spoken.end, abs=CUE_S)


async def test_music_and_crowds_get_no_text(daemon: Daemon, real_corpus: Corpus) -> None:
    texts = {}
    async with convo.connect(daemon.url) as client:
        for name, music in KINDS.items():
            texts[name] = text(await run(client, "hiss" in name, music(MUSIC_S)))
        for voices in CROWDS:
            texts[f"{voices} voices"] = text(await run(client, voices % 16 == 0, _crowd(real_corpus, voices)))
    assert {name: found for name, found in texts.items() if found} == {}


@BOTH_WAYS
async def test_a_prompt_is_written_where_it_is_said_and_not_for_babble(
    daemon: Daemon, real_corpus: Corpus, live: bool
) -> None:
    async with convo.connect(daemon.url) as client:
        nobody = await run(client, live, _babble(real_corpus), prompt=PROMPT, hotwords="Grace Hopper")
        spoken = _line(real_corpus, SPOKEN)
        said = await run(client, live, real_corpus.pcm(spoken), prompt=spoken["text"], hotwords="modern")
    assert "hopper" not in units(text(nobody))
    assert units(text(said)) == units(spoken["text"])


def _crowd(corpus: Corpus, voices: int) -> bytes:
    """So many who talk at once, the first of the corpus."""
    lines = (line for line in corpus.manifest if line["kind"] == "utterance" and line["lang"] == "en")
    speakers = {line.get("speaker"): line for line in lines if line["duration_s"] >= CROWD_S}
    return _mixed([corpus.samples(line) for line in list(speakers.values())[:voices]], CROWD_S)


def _line(corpus: Corpus, name: str) -> dict[str, Any]:
    return next(line for line in corpus.manifest if line["file"] == f"audio/en/{name}")


def _babble(corpus: Corpus) -> bytes:
    """Five who talk at once."""
    return _mixed([corpus.samples(_line(corpus, name)) for name in BABBLE], CROWD_S)


def _mixed(voices: list[Any], seconds: float) -> bytes:
    """All of them equally loud, then silence."""
    voices = [np.resize(voice, int(seconds * RATE)) for voice in voices]
    sound = sum(voice / np.sqrt((voice * voice).mean()) for voice in voices)
    sound *= 2000 / np.sqrt((sound * sound).mean())
    return np.clip(sound, -32767, 32767).astype(np.int16).tobytes() + bytes(2 * RATE)
