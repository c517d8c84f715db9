"""Files as users have them: cues lie on the file's clock, and what is odd about a file costs no words, or is told.

Files and live streams alike: both decode with `convo.recording`.
"""

from __future__ import annotations

from typing import Any

import av
import pytest

import convo
from convo.media import decode
from convo.messages import SessionWarning
from convo_bench.scoring import align, units
from tests.support.daemon import Daemon
from tests.support.real import Corpus, case
from tests.support.sessions import OFF, of, segments, talk_live, text, upload

pytestmark = pytest.mark.real

DETECTIVES = "Fortunately Warner and the detectives were keeping bachelor hall in the lodge."
CHOOSY = "You who were always accusing people of being shoppy at Aldershot."
STELLA = "Ask her to bring these things with her from the store."
ANTIPHASE = "I have tried it and liked it and maybe this is the consequence of that night's fun."

WRONG_PERCENT = 80.0
"""Words that tiny.en may get wrong of the hardest sentences …"""
MISSING_PART = 0.4
"""… and how much shorter what it writes may be."""
BREATH_S = 0.6
"""How far a first segment may begin from its first word: these recordings begin with so much of a room and a breath."""


@pytest.mark.parametrize(
    ("name", "live", "said", "begins", "warns"),
    [
        ("04_audio_4s_late.mp4", False, DETECTIVES, 4.65, None),
        ("10_header_says_1s.wav", False, f"{DETECTIVES} {CHOOSY}", 0.65, "counts 1.0 s of sound, and it holds 9.1 s"),
        ("11_first_track_silent.mp4", False, DETECTIVES, 0.65, "track 2"),
        ("12_antiphase.flac", False, ANTIPHASE, 0.3, None),
        ("15_chained_rates.ogg", True, DETECTIVES, 0.65, "its sound changes its kind"),
        ("16_ads.mp3", True, f"{DETECTIVES} {CHOOSY} {STELLA}", 0.65, None),
    ],
)
async def test_what_is_odd_about_a_file_costs_no_words(
    daemon: Daemon, name: str, live: bool, said: str, begins: float, warns: str | None
) -> None:
    path = case(name)
    warnings: list[str] = []
    async with convo.connect(daemon.url) as client:
        if live:
            sound = b"".join(decode(path, warnings))
            events = await talk_live(client, sound, language="en", summary=OFF, interim=False)
        else:
            events = await upload(client, path.read_bytes(), language="en", summary=OFF)
    warnings += [warning.message for warning in of(SessionWarning, events)]
    assert segments(events)[0].start == pytest.approx(begins, abs=BREATH_S)
    score = align(units(said), units(text(events))).score
    assert score.percent <= WRONG_PERCENT, f"{score}: {text(events)}"
    assert score.deletions - score.insertions <= MISSING_PART * score.said, f"{score}: {text(events)}"
    assert len(warnings) == (warns is not None)
    assert all(str(warns) in warning for warning in warnings)


@pytest.mark.parametrize("live", [True, False], ids=["live", "file"])
async def test_the_second_half_of_a_clean_sentence_is_written_where_it_is_said(daemon: Daemon, live: bool) -> None:
    async with convo.connect(daemon.url) as client:
        clean: dict[str, Any] = {"language": "en", "summary": OFF, "words": True}
        texts = []
        for name in ("01a_tail.mp3", "01c_tail_window.opus"):
            if live:
                events = await talk_live(client, b"".join(decode(case(name), [])), interim=False, **clean)
            else:
                events = await upload(client, case(name).read_bytes(), **clean)
            texts.append(text(events))
    assert "produced by printing in the" in texts[0].split("splendid")[1]
    assert "which were the immediate predecessors of the true printed book" in texts[1].replace(",", "")
    words = [word for segment in segments(events) for word in segment.words or ()]
    clause = next(i for i, word in enumerate(words) if word.word == "immediate")
    assert words[clause - 3].start == pytest.approx(25.2, abs=0.3)
    assert words[clause + 6].end == pytest.approx(28.5, abs=0.3)


async def test_sound_of_another_rate_than_was_said_is_told(daemon: Daemon, real_corpus: Corpus) -> None:
    resampler = av.AudioResampler("s16", "mono", 48000)
    with av.open(str(real_corpus.folder / "audio/en/lj/LJ001-0001.mp3")) as file:
        pieces = [piece for frame in file.decode(audio=0) for piece in resampler.resample(frame)]
    sound = b"".join(bytes(piece.planes[0])[: 2 * piece.samples] for piece in pieces)
    async with convo.connect(daemon.url) as client:
        events = await talk_live(client, sound[: 2 * 48000 * 5], language="en", summary=OFF, interim=False)
    assert {warning.code for warning in of(SessionWarning, events)} & {"wrong_rate", "no_speech"}, text(events)
