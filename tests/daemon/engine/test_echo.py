"""What was prompted and is not said is no text; what is said is, in the prompt's spelling."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from convod.engine.echo import heard, may_be_echo
from convod.speech.decoding import Hypothesis, Options, TimedWord
from tests.daemon.support.ears import model
from tests.daemon.support.whispers import Core, hear

PROMPT: dict[str, Any] = {"prompt": "We ship the Kubernetes operator on Friday."}
NAMES: dict[str, Any] = {"hotwords": "Kubernetes, Grace Hopper"}
UNHEARD, HEARD = 0.005, 0.3


def hypothesis(text: str, probability: float) -> Hypothesis:
    words = [TimedWord(start=0.0, end=1.0, word=word, probability=probability) for word in text.split()]
    return Hypothesis(
        text=text, language="en", language_probability=1.0, avg_logprob=-0.2, no_speech_prob=0.1, words=words
    )


@pytest.mark.parametrize(
    ("text", "probability", "options", "doubted"),
    [
        ("We ship the Kubernetes.", UNHEARD, PROMPT, True),
        ("Thank you, Grace Hopper.", UNHEARD, NAMES, True),
        ("Kubernetes, Kubernetes, Grace Hopper", UNHEARD, PROMPT | NAMES, True),
        ("Kubernetes", 0.0, NAMES, True),
        ("会議の議事録", UNHEARD, {"prompt": "今日の会議の議事録です。"}, True),
        ("We ship the Kubernetes.", HEARD, PROMPT, False),  # it is said
        ("Grace Hopper", HEARD, NAMES, False),
        ("Somebody laughed about that.", UNHEARD, PROMPT, False),  # the prompt is not to blame
        ("We ship the Kubernetes.", UNHEARD, {}, False),
        ("", UNHEARD, PROMPT, False),
    ],
)
def test_words_of_the_prompt_that_are_hardly_heard_are_doubted(text, probability, options, doubted) -> None:
    assert may_be_echo(hypothesis(text, probability), Options(**options)) is doubted


@pytest.mark.parametrize("again", [0.0, 0.95])
def test_a_word_that_was_written_before_is_no_evidence(again: float) -> None:
    once = hypothesis("Thank you, Grace Hopper.", UNHEARD)
    twice = msgspec.structs.replace(
        once,
        words=[*(once.words or ()), *(hypothesis("Thank you, Grace Hopper.", again).words or ())],
    )
    assert may_be_echo(twice, Options(**NAMES))


def test_without_the_probabilities_of_words_nothing_is_doubted() -> None:
    text = Hypothesis(text="Grace", language="en", language_probability=1.0, avg_logprob=-0.2, no_speech_prob=0.1)
    assert not may_be_echo(text, Options(hotwords="Grace"))


@pytest.mark.parametrize(
    ("prompted", "alone", "kept"),
    [
        ("Montreal forced aligner", "Montreal Forest a liner.", True),  # a name, spelled by ear
        ("Wojciechowski", "Voice Chowsky", True),
        ("Grace Hopper", "Ha ha ha ha", False),
        ("We ship the Kubernetes.", "Thank you.", False),
        ("Grace Hopper", "", False),
        ("Thank you, Grace.", "Thank you so much.", False),  # models say that of noise
        ("Thank you very much.", "Thank you very much.", True),
        ("Thank you, Grace.", "Thank you grays for it.", True),
    ],
)
def test_a_text_is_said_if_it_sounds_as_what_is_heard_without_the_prompt(prompted: str, alone: str, kept: bool) -> None:
    first, second = hypothesis(prompted, UNHEARD), hypothesis(alone, HEARD)
    assert heard(first, second) is (first if kept else second)


@pytest.mark.parametrize("beam", [1, 5])
def test_a_doubted_text_is_decoded_once_more_without_prompt_and_hotwords(
    core: Core, monkeypatch: pytest.MonkeyPatch, beam: int
) -> None:
    monkeypatch.setattr("convod.engine.answers.may_be_echo", lambda one, options: options.prompt is not None)
    text = hear(beam=beam, words=True, **PROMPT, **NAMES)
    tokens = set(model().answers.tokens("Kubernetes"))
    assert [tokens <= set(asked["prompts"][0]) for asked in core.generated] == [True, False]
    assert len(core.encoded) == 1
    assert "contract" in text.text
