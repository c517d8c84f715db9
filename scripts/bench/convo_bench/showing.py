"""What a talk looked like on the screen, against what was said: errors, latencies, words that went away.

In: the talk, its segments and partials with the time of each. Out: figures. It does no I/O; `listener` fills it.
Times are seconds since the talk's first sample was due.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from convo.messages import TranscriptPartial, TranscriptSegment

from .scoring import align, units
from .talk import Talk

TAIL_S: Final = 0.2
"""A segment of the built-in model ends so long after its last speech; one of other models ends with it."""

SLACK_S: Final = 0.5
"""Words are looked for so far outside a segment's own times."""


@dataclass(frozen=True)
class ShownWord:
    """A word on the screen from the first partial that had it to the last one in a row.

    Attributes:
        tentative: it was shown as tentative at some time.
        stable: it was shown as stable at some time.
        kept: it is in the final text, at its place.
    """

    tentative: bool
    stable: bool
    kept: bool


@dataclass
class _Run:
    tentative: bool = False
    stable: bool = False


@dataclass
class Showing:
    """One talk as it was shown."""

    talk: Talk
    segments: list[tuple[float, TranscriptSegment]] = field(default_factory=list)
    partials: list[tuple[float, TranscriptPartial]] = field(default_factory=list)

    def units(self, text: str) -> list[str]:
        """The words of a text as they are counted in the talk's language."""
        return units(text, self.talk.language)

    @property
    def text(self) -> list[str]:
        """The final words."""
        return [word for _, segment in self.segments for word in self.units(segment.text)]

    def word_latencies(self) -> list[float]:
        """Seconds from a word's end in the audio to its first correct appearance, for words that appear.

        A text is aligned with the words said in its segment's time; none counts that was not begun when it was shown.
        """
        words = self.talk.words
        begun = [0.0, *(word.end for word in words[:-1])]
        first: dict[int, float] = {}
        events: list[tuple[float, TranscriptPartial | TranscriptSegment]] = [*self.segments, *self.partials]
        for time, event in sorted(events, key=lambda one: one[0]):
            partial = isinstance(event, TranscriptPartial)
            until = time if partial else min(time, event.end + SLACK_S)
            near = [i for i, word in enumerate(words) if word.end >= event.start - SLACK_S and begun[i] <= until]
            text = f"{event.stable} {event.tentative}" if isinstance(event, TranscriptPartial) else event.text
            places = align([words[i].text for i in near], self.units(text)).places
            for i, place in zip(near, places, strict=True):
                if place is not None:
                    first.setdefault(i, time)
        return [time - words[i].end for i, time in first.items()]

    def final_latencies(self, endpoint_s: float, tail_s: float = TAIL_S) -> list[float]:
        """Seconds from the endpoint (last speech + endpoint) to the segment, over all segments, by their own times."""
        return [time - (segment.end - tail_s + endpoint_s) for time, segment in self.segments]

    def final_latencies_of_truth(self, endpoint_s: float) -> list[float]:
        """Seconds from the endpoint to the final text of an utterance's last word, by the truth's times.

        Left out: utterances of which no word came, and those that another follows before the endpoint is surely over,
        whose text may wait for it.
        """
        times = [time for time, segment in self.segments for _ in self.units(segment.text)]
        places = align(self.talk.said, self.text).places
        latencies = []
        at = 0
        for number, utterance in enumerate(self.talk.utterances):
            found = [place for place in places[at : at + len(utterance.words)] if place is not None]
            at += len(utterance.words)
            following = self.talk.utterances[number + 1 : number + 2]
            if found and all(other.start - utterance.end >= endpoint_s + TAIL_S for other in following):
                latencies.append(times[found[-1]] - (utterance.end + endpoint_s))
        return latencies

    def blanks(self) -> int:
        """Partials without words after one with words in the same segment: the caption went dark."""
        return sum(
            bool(before) and not after for texts in self._by_segment().values() for before, after in pairwise(texts)
        )

    def shown_words(self) -> list[ShownWord]:
        """Every word that a partial showed, once for each time that it appeared.

        Texts that follow each other in a segment are aligned: a word stays if it is aligned with the same word. So one
        that another pushes aside has not gone. A word has gone that is neither in the next text nor in the final one.
        """
        finals = {segment.segment: self.units(segment.text) for _, segment in self.segments}
        stable = {
            number: [len(self.units(partial.stable)) for partial in partials]
            for number, partials in self._partials().items()
        }
        return [
            word
            for number, texts in self._by_segment().items()
            for word in _shown(texts, stable[number], finals.get(number, []))
        ]

    def _partials(self) -> dict[int, list[TranscriptPartial]]:
        partials: dict[int, list[TranscriptPartial]] = {}
        for _, partial in self.partials:
            partials.setdefault(partial.segment, []).append(partial)
        return partials

    def _by_segment(self) -> dict[int, list[list[str]]]:
        return {
            number: [self.units(partial.stable) + self.units(partial.tentative) for partial in partials]
            for number, partials in self._partials().items()
        }


def _shown(texts: list[list[str]], stable: list[int], final: list[str]) -> Iterator[ShownWord]:
    """Follow the words of a segment's partials; `stable` counts the stable ones of each."""
    runs: list[_Run] = []
    before: list[str] = []
    for text, sure in zip(texts, stable, strict=True):
        places = align(before, text).places
        following = [_Run() for _ in text]
        gone = []
        for i, place in enumerate(places):
            if place is None:
                gone.append(i)
            else:
                following[place] = runs[i]
        yield from _ended(runs, gone, before, final)
        for i, run in enumerate(following):
            run.stable |= i < sure
            run.tentative |= i >= sure
        runs, before = following, text
    yield from _ended(runs, range(len(before)), before, final)


def _ended(runs: list[_Run], gone: Iterable[int], text: list[str], final: list[str]) -> Iterator[ShownWord]:
    places = align(text, final).places
    return (ShownWord(runs[i].tentative, runs[i].stable, places[i] is not None) for i in gone)
