"""A second hearing: which windows of a talk are heard again by a larger model, and what its text says of each segment.

In: segments as they were sent, hypotheses of the larger model. Out: windows, corrections. Sans-IO; nothing is kept from
one window to the next, and the windows depend on what was sent alone: after a restart they are the same.

Segments that a model was unsure of often stand in a row, as the windows of a file share one confidence. A row is one
window, as a pause is a better place to cut than the middle of a sentence. Its text is divided where it agrees with the
text that was sent, and by the times of its words where it does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final

import msgspec

from convod.speech.cues import taken
from convod.speech.decoding import Hypothesis, TimedWord
from convod.speech.hallucination import HallucinationFilter

LONGEST_S: Final = 28.0
"""Longest window: as long as the longest utterance, and short of Whisper's 30 s."""

GAP_S: Final = 3.0
"""A longer silence between two segments divides a row."""

MARGIN_S: Final = 0.3
"""Sound before and after a window that goes with it, as far as it is nobody else's."""


class Said(msgspec.Struct, frozen=True):
    """A segment as it was sent. `channel`: which one it was said in, from 1; 0 where they are mixed."""

    segment: int
    start: float
    end: float
    text: str
    language: str
    confidence: float
    channel: int = 0


class RefineWindow(msgspec.Struct, frozen=True):
    """Seconds of a channel that are heard again, and the segments in them."""

    begin: float
    end: float
    said: tuple[Said, ...]

    @property
    def channel(self) -> int:
        """Which channel it is cut from; 0 where they are mixed."""
        return self.said[0].channel

    @property
    def language(self) -> str:
        """The language that it was heard in."""
        return self.said[0].language

    @property
    def seconds(self) -> float:
        """What its segments last."""
        return sum(one.end - one.start for one in self.said)


def plan(said: Iterable[Said], below: float) -> list[RefineWindow]:
    """Cut the windows to hear again, in the order of their times: of segments less sure than `below`."""
    channels: dict[int, list[Said]] = {}
    for one in said:
        channels.setdefault(one.channel, []).append(one)
    windows = [window for own in channels.values() for window in _windows(own, below)]
    return sorted(windows, key=lambda window: (window.begin, window.channel))


def _windows(own: Sequence[Said], below: float) -> Iterator[RefineWindow]:
    row: list[int] = []
    for place, one in enumerate(own):
        # What is said by one voice in one breath is 28 s at most; anything longer is not a segment of ours.
        if one.confidence >= below or not 0.0 < one.end - one.start <= LONGEST_S:
            continue
        if row and not _goes_on(own, row, place):
            yield _window(own, row)
            row = []
        row.append(place)
    if row:
        yield _window(own, row)


def _goes_on(own: Sequence[Said], row: Sequence[int], place: int) -> bool:
    first, last, one = own[row[0]], own[row[-1]], own[place]
    return (
        place == row[-1] + 1
        and one.start - last.end <= GAP_S
        and one.end - first.start <= LONGEST_S
        and one.language == first.language
    )


def _window(own: Sequence[Said], row: Sequence[int]) -> RefineWindow:
    first, last = own[row[0]], own[row[-1]]
    begin, end = max(0.0, first.start - MARGIN_S), last.end + MARGIN_S
    if row[0]:
        begin = max(begin, min(first.start, own[row[0] - 1].end))
    if row[-1] + 1 < len(own):
        end = min(end, max(last.end, own[row[-1] + 1].start))
    return RefineWindow(begin, end, tuple(own[place] for place in row))


def corrections(window: RefineWindow, hypothesis: Hypothesis, judge: HallucinationFilter) -> dict[int, str]:
    """What segments of a window read after it was heard again, by their numbers: those whose words are others.

    Nothing is corrected by a text that may not be shown, or of which the larger model is less sure than the first one
    was. No segment is hidden: what was heard once was said.
    """
    if not hypothesis.text or not judge.judge_hypothesis(hypothesis, window.seconds, counted=False).keep:
        return {}
    before = sum(one.confidence * (one.end - one.start) for one in window.said) / window.seconds
    if math.exp(min(0.0, hypothesis.avg_logprob)) < before:
        return {}
    texts = _divided(window, hypothesis)
    return {
        one.segment: text
        for one, text in zip(window.said, texts, strict=True)
        if text and _words(text) != _words(one.text)
    }


def _divided(window: RefineWindow, hypothesis: Hypothesis) -> list[str]:
    """The text of a window by segment."""
    if len(window.said) == 1:
        return [hypothesis.text]
    if not hypothesis.words:
        return [""] * len(window.said)
    texts: list[str] = []
    rest, begin = hypothesis.text, 0
    for end in _borders(window, hypothesis.words):
        own = hypothesis.words[begin:end]
        text, rest = taken(rest, sum(len("".join(word.word.split())) for word in own))
        texts.append(text)
        begin = end
    return [*texts, rest.strip()]


def _borders(window: RefineWindow, words: Sequence[TimedWord]) -> list[int]:
    """Before which word each segment but the first begins."""
    old = [_plain(word) for one in window.said for word in one.text.split()]
    new = [_plain(word.word) for word in words]
    same = [
        (block.a + at, block.b + at)
        for block in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
        for at in range(block.size)
    ]
    borders: list[int] = []
    place = least = 0
    for before, after in zip(window.said, window.said[1:], strict=False):
        place += len(before.text.split())
        least = max([least, *(there + 1 for here, there in same if here < place)])
        most = min([len(words), *(there for here, there in same if here >= place)])
        middle = (before.end + after.start) / 2 - window.begin
        least = min(range(least, max(least, most) + 1), key=lambda at: abs(_pause(words, at) - middle))
        borders.append(least)
    return borders


def _pause(words: Sequence[TimedWord], place: int) -> float:
    """The middle of the pause before a word, seconds of the window."""
    before = words[place - 1].end if place else 0.0
    return (before + words[place].start) / 2 if place < len(words) else before


def _words(text: str) -> list[str]:
    return [plain for word in text.split() if (plain := _plain(word))]


def _plain(word: str) -> str:
    """A word without case and punctuation."""
    return "".join(letter for letter in word.casefold() if letter.isalnum())
