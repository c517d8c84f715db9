"""Where nobody speaks, nothing is written: silence, hiss, whistling, laughter, an alarm, taps on a microphone."""

from __future__ import annotations

import pytest

import convo
from convo_bench.talk import decode
from tests.support.daemon import Daemon
from tests.support.real import Corpus
from tests.support.sessions import OFF, talk_live, text, upload

pytestmark = pytest.mark.real


async def test_noises_of_a_room_get_no_text_live(daemon: Daemon, real_corpus: Corpus) -> None:
    texts = {}
    async with convo.connect(daemon.url) as client:
        for noise in real_corpus.noises:
            texts[noise.name] = text(await talk_live(client, decode(noise), summary=OFF))
    assert len(texts) >= 10
    assert {name: found for name, found in texts.items() if found} == {}


async def test_noises_of_a_room_get_no_text_as_files(daemon: Daemon, real_corpus: Corpus) -> None:
    texts = {}
    async with convo.connect(daemon.url) as client:
        for noise in real_corpus.noises:
            texts[noise.name] = text(await upload(client, noise.read_bytes(), summary=OFF))
    assert len(texts) >= 10
    assert {name: found for name, found in texts.items() if found} == {}
