"""How well speakers are told apart: time labelled rightly, and the diarization error rate.

In: who speaks when, and the labels that were given. Out: shares. The error rate is computed here, by frames of 10 ms,
as md-eval does (collar on both sides of each border of the truth, overlapping speech left out), and by pyannote.metrics
where that is installed: two scorers that know nothing of each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

FRAME_S: Final = 0.01
COLLAR_S: Final = 0.25

PAUSE_S: Final = 2.0
"""The turns that people marked go on over pauses like this: a third of their time in meetings holds no voice."""


@dataclass(frozen=True)
class Turn:
    """Somebody speaks from `start` to `end`, seconds."""

    start: float
    end: float
    speaker: str


def labelled_rightly(truth: Sequence[Turn], labels: Sequence[Turn]) -> float:
    """The share of the time of all turns that lies in a label of their speaker, each speaker having one label."""
    shared: defaultdict[tuple[str, str], float] = defaultdict(float)
    for turn in truth:
        for label in labels:
            shared[turn.speaker, label.speaker] += max(0.0, min(turn.end, label.end) - max(turn.start, label.start))
    spoken = sum(turn.end - turn.start for turn in truth)
    return best_mapping(shared) / spoken if spoken else 0.0


def best_labels(truth: Sequence[Turn], segments: Sequence[Turn]) -> float:
    """The most that `labelled_rightly` could be with one label for each segment: that of who says most of it."""
    labels = []
    for segment in segments:
        shared: defaultdict[str, float] = defaultdict(float)
        for turn in truth:
            shared[turn.speaker] += max(0.0, min(turn.end, segment.end) - max(turn.start, segment.start))
        labels.append(Turn(segment.start, segment.end, max(shared, key=shared.__getitem__)))
    return labelled_rightly(truth, labels)


def best_mapping(shared: Mapping[tuple[str, str], float]) -> float:
    """The most that speakers and labels have in common, where each speaker has one label at most."""
    speakers = sorted({speaker for speaker, _ in shared})

    @cache
    def best(first: int, left: frozenset[str]) -> float:
        if first == len(speakers):
            return 0.0
        some = [label for label in left if shared.get((speakers[first], label))]
        found = [shared[speakers[first], label] + best(first + 1, left - {label}) for label in some]
        return max([best(first + 1, left), *found])

    return best(0, frozenset(label for _, label in shared))


def joined(labels: Sequence[Turn], pause_s: float = PAUSE_S) -> list[Turn]:
    """The turns that labels in a row with one speaker make, over pauses of up to `pause_s`."""
    turns: list[Turn] = []
    for label in sorted(labels, key=lambda one: one.start):
        last = turns[-1] if turns else None
        if last is not None and last.speaker == label.speaker and label.start - last.end <= pause_s:
            turns[-1] = Turn(last.start, max(last.end, label.end), last.speaker)
        else:
            turns.append(label)
    return turns


@dataclass(frozen=True)
class Errors:
    """Shares of the speech that is scored: without a label, labelled in silence, labelled as another speaker's."""

    missed: float
    false_alarm: float
    confusion: float

    @property
    def rate(self) -> float:
        """All of them: the diarization error rate."""
        return self.missed + self.false_alarm + self.confusion


def errors(truth: Sequence[Turn], labels: Sequence[Turn], seconds: float) -> Errors:
    """What is wrong with labels, by its kind."""
    count = int(seconds / FRAME_S) + 1

    def frames(turns: Sequence[Turn]) -> dict[str, np.ndarray[Any, np.dtype[np.bool_]]]:
        found: dict[str, Any] = defaultdict(lambda: np.zeros(count, bool))
        for turn in turns:
            found[turn.speaker][round(turn.start / FRAME_S) : round(turn.end / FRAME_S)] = True
        return dict(found)

    said, told = frames(truth), frames(labels)
    speaking = sum((one.astype(int) for one in said.values()), np.zeros(count, int))
    scored = speaking <= 1
    for turn in truth:
        for border in (turn.start, turn.end):
            scored[max(0, round((border - COLLAR_S) / FRAME_S)) : round((border + COLLAR_S) / FRAME_S)] = False
    labelled = sum((one.astype(int) for one in told.values()), np.zeros(count, int))
    total = max(1, int(speaking[scored].sum()))
    shared = {(a, b): float((x & y & scored).sum()) for a, x in said.items() for b, y in told.items()}
    either = np.minimum(speaking, labelled)[scored].sum()
    return Errors(
        missed=float((speaking[scored].sum() - either) / total),
        false_alarm=float((labelled[scored].sum() - either) / total),
        confusion=float((either - best_mapping(shared)) / total),
    )


def pyannote_error_rate(truth: Sequence[Turn], labels: Sequence[Turn], seconds: float) -> float | None:
    """The same by pyannote.metrics; None where it is not installed."""
    try:
        from pyannote.core import Annotation, Segment, Timeline
        from pyannote.metrics.diarization import DiarizationErrorRate
    except ImportError:
        return None

    def annotation(turns: Sequence[Turn]) -> Any:
        found = Annotation()
        for number, turn in enumerate(turns):
            found[Segment(turn.start, turn.end), number] = turn.speaker
        return found

    metric = DiarizationErrorRate(collar=2 * COLLAR_S, skip_overlap=True)  # its collar is both sides together
    return float(metric(annotation(truth), annotation(labels), uem=Timeline([Segment(0, seconds)])))
