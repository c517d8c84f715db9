"""What is said live is written as well as plain faster-whisper writes it, and its captions grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

import convo
from convo_bench.listener import speak
from convo_bench.live import look
from convo_bench.scoring import Score, align, units
from tests.support.daemon import Daemon
from tests.support.real import Corpus
from tests.support.sessions import OFF, talk_live, text

if TYPE_CHECKING:
    from convo_bench.showing import Showing
    from convo_bench.yardstick import Yardstick

pytestmark = pytest.mark.real

WORSE = 0.5
"""Points of the word error rate."""


async def test_live_talks_have_no_more_errors_than_with_plain_faster_whisper(
    daemon: Daemon, yardstick: Yardstick, real_corpus: Corpus
) -> None:
    ours, theirs = Score(), Score()
    async with convo.connect(daemon.url) as client:
        for name in ("single_lj_en", "multi4_en"):
            talk = real_corpus.talk(name).part(60)
            ours += align(talk.said, units(text(await talk_live(client, talk.pcm, language="en", summary=OFF)))).score
            theirs += align(talk.said, units(yardstick.text(talk.samples(), "en", vad_filter=True))).score
    assert ours.percent <= theirs.percent + WORSE, f"{ours} against {theirs}"


async def test_captions_of_a_talk_grow_and_are_never_blank(daemon: Daemon, real_corpus: Corpus) -> None:
    showings: list[Showing] = []
    async with convo.connect(daemon.url) as client:

        async def listen(name: str) -> None:
            showings.append(await speak(client, real_corpus.talk(name).part(30)))

        # Two at once: a hundred words in the time of fifty.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, "multi4_en")
            nursery.start_soon(listen, "single_lj_en")
    assert all(len(showing.partials) >= 4 for showing in showings)  # they get rarer on a busy machine
    assert look(showings, 0.0)["blank captions"] == 0
    shown = [word for showing in showings for word in showing.shown_words()]
    assert [word for word in shown if word.stable and not word.kept] == []
    # One to four of a hundred on a quiet or a busy machine; which ones is chance.
    assert sum(not word.kept for word in shown) <= len(shown) / 8


async def test_a_whispered_sentence_is_written(daemon: Daemon, real_corpus: Corpus) -> None:
    whispered = next(line for line in real_corpus.manifest if line["file"].endswith("/whisper2.flac"))
    async with convo.connect(daemon.url) as client:
        heard = units(text(await talk_live(client, real_corpus.pcm(whispered), language="en", summary=OFF)))
    said = units(whispered["text"])
    assert align(said, heard).score.deletions <= len(said) / 4


async def test_no_clause_of_a_long_sentence_is_lost(daemon: Daemon, yardstick: Yardstick, real_corpus: Corpus) -> None:
    ours = theirs = 0
    lines = [
        line
        for line in real_corpus.manifest
        if line["kind"] == "utterance" and line["lang"] == "en" and 7 <= line["duration_s"] <= 12 and line.get("text")
    ][:10]
    assert len(lines) == 10
    async with convo.connect(daemon.url) as client:
        for line in lines:
            pcm, said = real_corpus.pcm(line), units(line["text"])
            ours += _clauses_lost(said, units(text(await talk_live(client, pcm, language="en", summary=OFF))))
            theirs += _clauses_lost(said, units(yardstick.text(real_corpus.samples(line), "en")))
    assert ours <= theirs


def _clauses_lost(said: list[str], heard: list[str]) -> int:
    """Runs of three or more words that are not there."""
    marks = "".join("x" if gone else " " for gone in align(said, heard).deleted)
    return sum(len(run) >= 3 for run in marks.split())
