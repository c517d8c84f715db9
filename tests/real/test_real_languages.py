"""Without being told, the language of a session is known by its second utterance, and changes with who speaks.

No passage is translated, or left out because others speak another language.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import convo
from convo.messages import TranscriptSegment
from convo_bench.scoring import align, characters, units
from tests.support.daemon import Daemon, running
from tests.support.real import Corpus
from tests.support.sessions import OFF, segments, upload
from tests.support.speech import wav

pytestmark = pytest.mark.real

MISTAKEN_S = 4.0
"""Of a few words the language is a guess."""

GAP_S = 0.8
GAP = bytes(2 * int(16000 * GAP_S))

BREATH_S = 0.3
"""No endpoint: live it is one utterance."""

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


@pytest.mark.parametrize("language", ["en", "es", "fr", "it", "ja", "pt", "ru", "zh"])
async def test_a_language_is_told_by_the_second_utterance(polyglot: Daemon, real_corpus: Corpus, language: str) -> None:
    utterances = [real_corpus.pcm(line) + GAP for line in _lines(real_corpus, language)[:2]]
    async with convo.connect(polyglot.url) as client:
        heard = await _spoken(client, [utterances[0], utterances[-1]])
    assert heard[-1].language == language
    assert sum(segment.end - segment.start for segment in heard if segment.language != language) < MISTAKEN_S


@pytest.mark.parametrize(
    ("kind", "spoken", "among"),
    [
        ("file", "en de ko", None),
        ("one utterance", "en de ko", None),
        ("file", "ja en ko", None),
        ("file", "es pt it", None),  # they are close
        ("live", "es pt it", None),
        ("live", "fr en de", ["de", "en", "fr"]),
    ],
)
async def test_each_passage_is_written_in_its_language(
    polyglot: Daemon, real_corpus: Corpus, kind: str, spoken: str, among: list[str] | None
) -> None:
    passages = [_lines(real_corpus, language)[0] for language in spoken.split()]
    gap_s = BREATH_S if kind == "one utterance" else GAP_S
    sound = [real_corpus.pcm(line) + bytes(2 * int(16000 * gap_s)) for line in passages]
    async with convo.connect(polyglot.url) as client:
        if kind == "live":
            heard = await _spoken(client, sound, languages=among)
        elif kind == "one utterance":
            heard = await _spoken(client, [b"".join(sound)], languages=among)
        else:
            heard = segments(await upload(client, wav(b"".join(sound)), summary=OFF, languages=among))
    end = 0.0
    for line in passages:
        begin, end = end, end + line["duration_s"] + gap_s
        own = [segment for segment in heard if begin <= (segment.start + segment.end) / 2 < end]
        mistaken = [segment for segment in own if segment.language != line["lang"]]
        assert sum(segment.end - segment.start for segment in mistaken) <= MISTAKEN_PART * (end - begin), own
        said, written = _letters(line["text"]), _letters(" ".join(segment.text for segment in own))
        assert align(said, written).score.percent <= WRONG_PERCENT, (line["text"], own)


async def _spoken(client: convo.Client, passages: list[bytes], **fields: Any) -> list[TranscriptSegment]:
    """Speak live. What was said before is out then: fed faster, several utterances have no language to expect."""
    session = await client.create_session("live", interim=False, summary=OFF, **fields)
    for sound in passages:
        await session.send_audio(sound)
        await session.finalize()
    await session.end()
    return segments([event async for event in session.events()])


def _letters(text: str) -> list[str]:
    return characters(units(text))
