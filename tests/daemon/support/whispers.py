"""The built-in model for tests of decoding, and what it is asked."""

from __future__ import annotations

from typing import Any

import pytest

from convod.engine.whisper import Whisper
from convod.speech.decoding import Hypothesis, Lead, Options, Window
from tests.daemon.support.ears import model
from tests.support.speech import pcm

RATE = 16000
SINGLE = pcm("single.flac")
TALKATIVE = "Grace reviews the contract and the budget of the release. " * 100


class Core:
    """A CTranslate2 model that notes how it is asked; `scores` replaces those of its answers, one a call."""

    def __init__(self, core: Any) -> None:
        self.core = core
        self.encoded: list[tuple[int, ...]] = []
        self.generated: list[dict[str, Any]] = []
        self.detected = 0
        self.aligned: list[list[int]] = []
        self.scores: list[float] = []
        self.languages: list[list[tuple[str, float]]] = []
        """What it finds in the next windows, one after the other, as far as anything is said of it."""
        self.answered: list[int] = []

    def encode(self, features: Any, *args: Any) -> Any:
        self.encoded.append(tuple(features.shape))
        return self.core.encode(features, *args)

    def generate(self, encoded: Any, prompts: list[list[int]], **how: Any) -> Any:
        self.generated.append({"prompts": prompts, **how})
        results = self.core.generate(encoded, prompts, **how)
        self.answered += [len(result.sequences_ids[0]) for result in results]
        if not self.scores:
            return results
        score = self.scores.pop(0)
        return [Scored(result, score) for result in results]

    def detect_language(self, encoded: Any) -> Any:
        self.detected += 1
        count = encoded.shape[0]
        found, self.languages = self.languages[:count], self.languages[count:]
        return found or self.core.detect_language(encoded)

    def align(self, encoded: Any, start: list[int], *args: Any, **how: Any) -> Any:
        self.aligned.append(start)
        return self.core.align(encoded, start, *args, **how)


class Scored:
    """A result with another score."""

    def __init__(self, result: Any, score: float) -> None:
        self.sequences_ids, self.no_speech_prob, self.scores = result.sequences_ids, result.no_speech_prob, [score]


def watched(whisper: Whisper, monkeypatch: pytest.MonkeyPatch) -> Core:
    core = Core(whisper.core)
    monkeypatch.setattr(whisper, "core", core)
    monkeypatch.setattr(whisper.model, "model", core)
    return core


def decode(
    whisper: Whisper,
    windows: list[bytes],
    rate: int,
    options: Options,
    *,
    leads: list[Lead | None] | None = None,
    expected: list[str | None] | None = None,
) -> list[Hypothesis]:
    nothing = [None] * len(windows)
    return whisper.decode(
        [
            Window(audio=audio, lead=lead, expected=language)
            for audio, lead, language in zip(windows, leads or nothing, expected or nothing, strict=True)
        ],
        rate,
        options,
    )


def hear(window: bytes = SINGLE, **options: Any) -> Any:
    (heard,) = decode(model(), [window], RATE, Options(**options))
    return heard


def ranked(first: str, probability: float) -> list[tuple[str, float]]:
    """What a model finds that is so sure of a language."""
    others = [code for code in ("en", "de", "ko") if code != first]
    return [(f"<|{first}|>", probability), *((f"<|{code}|>", (1.0 - probability) / 2) for code in others)]
