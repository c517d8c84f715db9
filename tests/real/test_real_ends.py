"""What people say is heard to its last word, where the pause after it is short and where it is long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import convo
from convo_bench.comparison import LEAST_WORDS, ends, lost_utterances
from convo_bench.scoring import align, units
from convo_bench.talk import RATE, Talk, Utterance
from tests.support.daemon import Daemon
from tests.support.real import Corpus
from tests.support.sessions import OFF, talk_live, text

if TYPE_CHECKING:
    from convo_bench.yardstick import Yardstick

pytestmark = pytest.mark.real

AROUND_S = 0.5


async def test_the_ends_of_ten_utterances_are_not_cut(
    daemon: Daemon, yardstick: Yardstick, real_corpus: Corpus
) -> None:
    talk = real_corpus.talk("single_lj_en").part(150)
    async with convo.connect(daemon.url) as client:
        heard = text(await talk_live(client, talk.pcm, language="en", summary=OFF))
    alignment = align(talk.said, units(heard))
    # Judged are those that the model hears to the end when it hears nothing else.
    alone = [_is_heard_alone(yardstick, talk, utterance) for utterance in talk.utterances]
    judged = [utterance for utterance in talk.utterances if len(utterance.words) >= LEAST_WORDS]
    found = [
        end
        for utterance, end in zip(judged, ends(talk, alignment), strict=True)
        if alone[talk.utterances.index(utterance)]
    ]
    assert len(found) >= 10
    assert found.count("missing") == 0
    # A word may be another one beside what was said before it; that is no cut.
    assert found.count("misheard") <= 1
    assert lost_utterances(talk, alignment) == 0


def _is_heard_alone(yardstick: Yardstick, talk: Talk, utterance: Utterance) -> bool:
    begin, end = utterance.start - AROUND_S, utterance.end + AROUND_S
    heard = yardstick.text(talk.samples()[max(0, int(begin * RATE)) : int(end * RATE)], talk.language)
    return units(heard, talk.language)[-1:] == [utterance.words[-1].text]
