"""Which words of an interim are shown, and which are promised: policies side by side on the same hypotheses.

In: recordings, a model. Out: for each policy the flicker of tentative and stable words and the latency of words. Runs
in one process without a daemon; time to decode is left out, for it is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from convod.engine import models
from convod.engine.whisper import Whisper
from convod.engine.wire import Load
from convod.speech.agreement import agreed
from convod.speech.decoding import Options, Window
from convod.speech.endpointer import Endpointer, Paused, UtteranceEnded, UtteranceStarted
from convod.speech.partial import FIRST_INTERIM_MS, INTERIM_MS
from convod.speech.pcm import Frames
from convod.speech.vad import Vad

from .scoring import align, units
from .talk import RATE, Talk


@dataclass(frozen=True)
class Hypothesis:
    """What was heard by second `time`: words, and when each ends by the alignment of the same pass."""

    time: float
    words: list[str]
    ends: list[float]


@dataclass(frozen=True)
class Utterance:
    """Hypotheses of one utterance as it grew, its final words, and when each word ended."""

    hypotheses: list[Hypothesis]
    final: list[str]
    final_at: float
    ends: list[float | None]


def hypotheses(talks: list[Talk], model: str) -> list[Utterance]:
    """Decode every utterance of the talks as convod would while it grows."""
    found = models.find(model)
    whisper = Whisper(Load(directory=str(found.directory), context=found.context, device="cpu", threads=1))
    utterances = []
    for talk in talks:
        truth = talk.said
        pieces: list[tuple[list[Hypothesis], list[str], float]] = []
        for opened, pause, closed in utterances_of(talk):
            grown = []
            step = INTERIM_MS * RATE // 1000
            for now in range(opened.onset + FIRST_INTERIM_MS * RATE // 1000, pause, step):
                grown.append(_hypothesis(whisper, talk, opened.start, now, 1))
            final = _hypothesis(whisper, talk, closed.start, closed.end, 5)
            pieces.append((grown, final.words, closed.end / RATE + 0.3))
        places = align(truth, [word for _, final, _ in pieces for word in final]).places
        ends = {place: word.end for place, word in zip(places, talk.words, strict=True) if place is not None}
        at = 0
        for grown, final, final_at in pieces:
            utterances.append(Utterance(grown, final, final_at, [ends.get(at + i) for i in range(len(final))]))
            at += len(final)
    return utterances


def utterances_of(talk: Talk) -> list[tuple[UtteranceStarted, int, UtteranceEnded]]:
    """Each utterance as convod cuts it: its opening, the sample at which its last pause was seen, its end."""
    frames, vad, endpoint = Frames(RATE), Vad(RATE), Endpointer(RATE)
    found: list[tuple[UtteranceStarted, int, UtteranceEnded]] = []
    opened, pause = UtteranceStarted(0, 0, 0), 0
    for frame in frames.feed(talk.pcm):
        for happening in endpoint.frame(frame.end, *vad.feed(frame.samples)):
            if isinstance(happening, UtteranceStarted):
                opened = happening
            elif isinstance(happening, Paused):
                pause = frame.end
            elif isinstance(happening, UtteranceEnded):
                found.append((opened, pause or frame.end, happening))
    return found


def _hypothesis(whisper: Whisper, talk: Talk, start: int, end: int, beam: int) -> Hypothesis:
    heard = whisper.decode(
        [Window(audio=talk.pcm[2 * start : 2 * end])], RATE, Options(language=talk.language, beam=beam, words=True)
    )[0]
    timed = [(part, start / RATE + word.end) for word in heard.words or () for part in units(word.word, talk.language)]
    return Hypothesis(end / RATE, [word for word, _ in timed], [until for _, until in timed])


Promise = Callable[[list[Hypothesis]], int]
"""From the hypotheses so far, how many words of the last one are sure."""


def agreement(passes: int, hold: int = 1) -> Promise:
    """What `passes` hypotheses in a row begin with alike, but for the last `hold` words."""

    def sure(heard: list[Hypothesis]) -> int:
        if len(heard) < passes:
            return 0
        return min(agreed([one.words for one in heard[-passes:]]), len(heard[-1].words) - hold)

    return sure


def margin(seconds: float) -> Promise:
    """What by one pass's alignment ended that long before the audio did."""

    def sure(heard: list[Hypothesis]) -> int:
        last = heard[-1]
        late = [i for i, end in enumerate(last.ends) if end > last.time - seconds]
        return late[0] if late else len(last.words)

    return sure


def judge(utterances: list[Utterance], *, show: int, promise: Promise) -> dict[str, Any]:
    """Figures of one policy. `show`: passes that must agree on a word before it is shown at all."""
    shown_words: set[tuple[int, int, str]] = set()
    promised_words: set[tuple[int, int, str]] = set()
    latencies = []
    for number, utterance in enumerate(utterances):
        first: dict[int, float] = {}
        stable: list[str] = []
        for count in range(1, len(utterance.hypotheses) + 1):
            heard = utterance.hypotheses[:count]
            time, words = heard[-1].time, heard[-1].words
            visible = agreed([one.words for one in heard[-show:]]) if count >= show else 0
            sure = promise(heard)
            if sure > len(stable) and words[: len(stable)] == stable:
                stable = words[:sure]
            text = stable + words[len(stable) : max(visible, len(stable))]
            for i, word in enumerate(text):
                (promised_words if i < len(stable) else shown_words).add((number, i, word))
                if i < len(utterance.final) and utterance.final[i] == word:
                    first.setdefault(i, time)
        for i, end in enumerate(utterance.ends):
            if end is not None:
                latencies.append(max(0.0, first.get(i, utterance.final_at) - end))
    finals = [utterance.final for utterance in utterances]

    def wrong(words: set[tuple[int, int, str]]) -> float:
        return sum(not (i < len(finals[n]) and finals[n][i] == word) for n, i, word in words) / max(1, len(words))

    latencies.sort()
    return {
        "flicker tentative, %": round(100 * wrong(shown_words), 1),
        "flicker stable, %": round(100 * wrong(promised_words), 2),
        "stable words, %": round(100 * len(promised_words) / sum(map(len, finals)), 1),
        "word latency p50 / p95, ms": [
            round(1000 * latencies[len(latencies) // 2]),
            round(1000 * latencies[int(0.95 * len(latencies))]),
        ],
    }
