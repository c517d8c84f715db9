"""Without being told, the language of a session is known by its second utterance, and changes with who speaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import convo
from tests.support.daemon import Daemon, running
from tests.support.real import Corpus
from tests.support.sessions import OFF, segments, talk_live

pytestmark = pytest.mark.real

MISTAKEN_S = 4.0
"""Of a few words the language is a guess."""

SENTENCE_S = 2.5

PAUSE = bytes(2 * 16000 * 3 // 2)
"""A second and a half."""


@pytest.fixture(scope="module")
def polyglot(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A convod that decodes with base."""
    with running(tmp_path_factory.mktemp("convod"), "--model", str(base)) as daemon:
        yield daemon


def _utterances(corpus: Corpus, language: str, most: int = 2) -> list[bytes]:
    lines = [line for line in corpus.manifest if line["kind"] == "utterance" and line.get("lang") == language]
    lines.sort(key=lambda line: abs(line["duration_s"] - 6))
    return [corpus.pcm(line) for line in lines[:most]]


@pytest.mark.parametrize("language", ["de", "en", "es", "fr", "it", "ja", "ko", "pt", "ru", "zh"])
async def test_a_language_is_told_by_the_second_utterance(polyglot: Daemon, real_corpus: Corpus, language: str) -> None:
    utterances = _utterances(real_corpus, language)
    talk = PAUSE.join([*utterances, utterances[0], b""])
    async with convo.connect(polyglot.url) as client:
        heard = segments(await talk_live(client, talk, interim=False, summary=OFF))
    # Fed this fast, several utterances are decoded before the first one's language is known.
    assert heard[-1].language == language
    assert sum(segment.end - segment.start for segment in heard if segment.language != language) < MISTAKEN_S


async def test_each_passage_of_a_session_has_its_language(polyglot: Daemon, real_corpus: Corpus) -> None:
    languages = ["en", "de", "ko"]
    talk = b"".join(_utterances(real_corpus, language, 1)[0] + PAUSE for language in languages)
    async with convo.connect(polyglot.url) as client:
        heard = segments(await talk_live(client, talk, interim=False, summary=OFF))
    told = [segment.language for segment in heard if segment.end - segment.start >= SENTENCE_S]
    assert list(dict.fromkeys(told)) == languages
    assert any("\uac00" <= letter <= "\ud7a3" for letter in heard[-1].text)
