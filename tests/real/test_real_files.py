"""A recorded talk as a file is written about as well as plain faster-whisper writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import convo
from convo_bench.files import wav_file
from convo_bench.scoring import align, units
from tests.support.daemon import Daemon
from tests.support.real import Corpus
from tests.support.sessions import OFF, text, upload

if TYPE_CHECKING:
    from convo_bench.yardstick import Yardstick

pytestmark = pytest.mark.real

WORSE = 0.5
"""Points of the word error rate."""


async def test_a_recorded_talk_has_no_more_errors_than_with_plain_faster_whisper(
    daemon: Daemon, yardstick: Yardstick, real_corpus: Corpus
) -> None:
    talk = real_corpus.talk("single_lj_en").part(150)
    with wav_file(talk.pcm) as path:
        data = path.read_bytes()
    async with convo.connect(daemon.url) as client:
        ours = align(talk.said, units(text(await upload(client, data, language="en", summary=OFF)))).score
    theirs = align(talk.said, units(yardstick.text(talk.samples(), "en", vad_filter=True))).score
    assert ours.percent <= theirs.percent + WORSE, f"{ours} against {theirs}"
