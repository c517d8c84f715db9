"""Without being told, the language of a session is known by its second utterance, and changes with who speaks.

No passage is translated, or left out because others speak another language.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import convo
from convo_bench.scoring import align, characters, units
from tests.support.daemon import Daemon, running
from tests.support.real import Corpus
from tests.support.sessions import OFF, segments, talk_live, upload
from tests.support.speech import wav

pytestmark = pytest.mark.real

MISTAKEN_S = 4.0
"""Of a few words the language is a guess."""

PAUSE = bytes(2 * 16000 * 3 // 2)
"""A second and a half."""

GAP_S = 0.8
GAP = bytes(2 * int(16000 * GAP_S))

MISTAKEN_PART = 0.2
"""How much of a passage may be told in another language: a breath, a word."""

WRONG_PERCENT = 45.0
"""Letters of a passage that base may get wrong; of a translation, or of none, nearly all are."""


@pytest.fixture(scope="module")
def polyglot(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A convod that decodes with base."""
    with running(tmp_path_factory.mktemp("convod"), "--model", str(base)) as daemon:
        yield daemon


def _lines(corpus: Corpus, language: str) -> list[dict[str, Any]]:
    """The utterances of a language, those of about six seconds first."""
    lines = [line for line in corpus.manifest if line["kind"] == "utterance" and line.get("lang") == language]
    return sorted(lines, key=lambda line: abs(line["duration_s"] - 6))


@pytest.mark.parametrize("language", ["de", "en", "es", "fr", "it", "ja", "ko", "pt", "ru", "zh"])
async def test_a_language_is_told_by_the_second_utterance(polyglot: Daemon, real_corpus: Corpus, language: str) -> None:
    utterances = [real_corpus.pcm(line) for line in _lines(real_corpus, language)[:2]]
    talk = PAUSE.join([*utterances, utterances[0], b""])
    async with convo.connect(polyglot.url) as client:
        heard = segments(await talk_live(client, talk, interim=False, summary=OFF))
    # Fed this fast, several utterances are decoded before the first one's language is known.
    assert heard[-1].language == language
    assert sum(segment.end - segment.start for segment in heard if segment.language != language) < MISTAKEN_S


@pytest.mark.parametrize("kind", ["file", "live"])
@pytest.mark.parametrize(
    ("spoken", "among"),
    [
        ("en de ko", None),
        ("ja en ko", None),
        ("es pt es", None),  # two that are close
        ("fr en de", ["de", "en", "fr"]),
    ],
)
async def test_each_passage_is_written_in_its_language(
    polyglot: Daemon, real_corpus: Corpus, kind: str, spoken: str, among: list[str] | None
) -> None:
    passages = _passages(real_corpus, spoken.split())
    sound = b"".join(real_corpus.pcm(line) + GAP for line in passages)
    async with convo.connect(polyglot.url) as client:
        run = partial(upload, client, wav(sound)) if kind == "file" else partial(talk_live, client, sound)
        heard = segments(await run(interim=False, summary=OFF, languages=among))
    end = 0.0
    for line in passages:
        begin, end = end, end + line["duration_s"] + GAP_S
        own = [segment for segment in heard if begin <= (segment.start + segment.end) / 2 < end]
        mistaken = [segment for segment in own if segment.language != line["lang"]]
        assert sum(segment.end - segment.start for segment in mistaken) <= MISTAKEN_PART * (end - begin), own
        said, written = _letters(line["text"]), _letters(" ".join(segment.text for segment in own))
        assert align(said, written).score.percent <= WRONG_PERCENT, (line["text"], own)


def _passages(corpus: Corpus, languages: list[str]) -> list[dict[str, Any]]:
    """An utterance of each language; of one that comes again, another one."""
    return [_lines(corpus, language)[languages[:i].count(language)] for i, language in enumerate(languages)]


def _letters(text: str) -> list[str]:
    return characters(units(text))
