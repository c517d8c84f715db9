"""Name the speaker of each segment of a session: at once, and better at the end. Sans-IO.

In: segments in their order, each with the seconds of voice in it and, where there is one, the embedding of that voice.
Out: labels, a number from 1 for each speaker. A number means the same voice for as long as the session lives, also
after the revision at the end. It sends nothing and knows no names.

A segment that is too short to tell a voice by takes the label of its neighbour, with a confidence that says so, unless
its voice is much like that of one known speaker.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from convod.speakers.clusters import SAME, Group, add_alike, agglomerate, nearest
from convod.speakers.vectors import Vector

LEAST_S: Final = 1.2
"""Seconds of voice from which an embedding is trusted."""

FOUND_S: Final = 1.6
"""Seconds of voice that a new speaker must begin with, one whole window of the embedder, unless it is very new."""

NEW: Final = 0.68
"""Cosine to the nearest speaker below which such a voice is another one. The first words of a speaker, against another
one's, have 0.64 or less (95th percentile); between this and `SAME` it may be either, and opens no speaker."""

DOUBTFUL: Final = 0.6
"""Cosine to the nearest speaker below which a voice is nobody's that was heard so far."""

MOST_SPEAKERS: Final = 16
"""Speakers that are told apart where nobody says how many there are."""

LIKE: Final = 0.65
LIKE_MARGIN: Final = 0.1
"""A short utterance is a known speaker's from this cosine on, if that with any other is so much less."""

NEIGHBOUR: Final = 0.3
"""Confidence of a label that was taken from a neighbour; where both neighbours agree, twice that."""

BRIEF_S: Final = 2.0
"""A speaker with less voice than this in the whole session is a doubtful one: theirs go to who is nearest."""

MOST_SEGMENTS: Final = 20_000
"""Segments whose voice is remembered for the revision: about a day of talk, and 20 MB."""


class Label(msgspec.Struct, frozen=True):
    """A segment's speaker, numbered from 1, and how sure that is, 0 to 1."""

    segment: int
    speaker: int
    confidence: float


class _Said(msgspec.Struct):
    """A segment as it is remembered: `shown` is the label that was given last."""

    segment: int
    start: float
    end: float
    seconds: float
    vector: Vector | None
    shown: Label


class SpeakerLabels:
    """The speakers of one session.

    Args:
        count: How many speakers there are; None if nobody knows.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = count
        self._speakers: list[Group] = []
        self._alike: list[Group] = []
        self._said: list[_Said] = []

    def segment(self, number: int, start: float, end: float, seconds: float, vector: Vector | None) -> Label:
        """Label the next segment.

        Args:
            number: The segment's.
            start: When it starts, seconds.
            end: When it ends.
            seconds: Seconds of voice in it.
            vector: The embedding of that voice, of unit length; None if there is none.
        """
        if vector is not None and seconds >= LEAST_S:
            add_alike(self._alike, vector, seconds)
            speaker, confidence = self._speaker_of(vector, seconds)
        elif vector is not None and (like := _like(vector, self._speakers)) is not None:
            speaker, confidence = like[0] + 1, like[1]
        elif self._said:
            speaker, confidence = self._said[-1].shown.speaker, NEIGHBOUR
        else:
            speaker, confidence = 1, 0.0
        label = Label(number, speaker, confidence)
        kept = vector if len(self._said) < MOST_SEGMENTS else None
        self._said.append(_Said(number, start, end, seconds, kept, label))
        return label

    def revise(self) -> list[Label]:
        """Look at the whole session; return the labels that are others than those given before."""
        final = self._final_speakers()
        if not final:
            return []
        fresh: dict[int, tuple[int, float]] = {}
        for at, said in enumerate(self._said):
            if said.vector is not None and said.seconds >= LEAST_S:
                best, near, next_near = nearest(said.vector, final)
                fresh[at] = best, _confidence(near, next_near)
            elif said.vector is not None and (like := _like(said.vector, final)) is not None:
                fresh[at] = like
        numbers = self._numbers(fresh, len(final))
        changed = []
        for at, said in enumerate(self._said):
            if at in fresh:
                group, confidence = fresh[at]
            elif said.seconds >= LEAST_S:
                continue  # its voice was forgotten
            else:
                group, confidence = self._neighbour(at, fresh)
            label = Label(said.segment, numbers[group], confidence)
            if label.speaker != said.shown.speaker:
                changed.append(label)
                said.shown = label
        return changed

    def voices(self) -> dict[int, Group]:
        """The voice of each speaker as they were labelled last, by number."""
        found: dict[int, Group] = {}
        for said in self._said:
            if said.vector is not None and said.seconds >= LEAST_S:
                if said.shown.speaker in found:
                    found[said.shown.speaker].join(Group.of(said.vector, said.seconds))
                else:
                    found[said.shown.speaker] = Group.of(said.vector, said.seconds)
        return found

    @property
    def speakers(self) -> dict[int, Group]:
        """The voice of each speaker by what is sure so far, by number; before `revise`."""
        return dict(enumerate(self._speakers, 1))

    # --- at once ------------------------------------------------------------------------------------------

    def _speaker_of(self, vector: Vector, seconds: float) -> tuple[int, float]:
        best, near, next_near = nearest(vector, self._speakers)
        fresh = Group.of(vector, seconds)
        if near >= SAME:
            self._speakers[best].join(fresh)
            return best + 1, _confidence(near, next_near)
        room = len(self._speakers) < (self.count or MOST_SPEAKERS)
        if best < 0 or (room and near < (NEW if seconds >= FOUND_S else DOUBTFUL)):
            self._speakers.append(fresh)
            return len(self._speakers), _confidence(SAME, near)
        # Doubtful: shown as who is nearest, but no centroid moves for it.
        return best + 1, round(_confidence(near, next_near) / 2, 2)

    # --- at the end ---------------------------------------------------------------------------------------

    def _final_speakers(self) -> list[Group]:
        final = agglomerate(self._alike, self.count, lasting_s=BRIEF_S)
        if self.count is None:
            lasting = [group for group in final if group.seconds >= BRIEF_S]
            final = (lasting or final)[:MOST_SPEAKERS]
        return final

    def _numbers(self, fresh: dict[int, tuple[int, float]], groups: int) -> list[int]:
        """Give each group the number under which most of it was shown, so that a number stays who it was."""
        shared: defaultdict[tuple[int, int], float] = defaultdict(float)
        for at, (group, _) in fresh.items():
            shared[group, self._said[at].shown.speaker] += self._said[at].seconds
        numbers = [0] * groups
        taken: set[int] = set()
        for (group, speaker), _ in sorted(shared.items(), key=lambda item: (-item[1], item[0])):
            if not numbers[group] and speaker not in taken:
                numbers[group] = speaker
                taken.add(speaker)
        # A group that has none of its own gets a number that nobody had: an old one would mean somebody else.
        following = 1 + max(taken | {said.shown.speaker for said in self._said})
        for group, number in enumerate(numbers):
            if not number:
                numbers[group] = following
                following += 1
        return numbers

    def _neighbour(self, at: int, fresh: dict[int, tuple[int, float]]) -> tuple[int, float]:
        """The speaker beside a segment without a voice of its own: the nearer one in time."""
        said = self._said[at]
        before = _first(range(at - 1, -1, -1), fresh)
        after = _first(range(at + 1, len(self._said)), fresh)
        if before is None or after is None:
            known = before if after is None else after
            return (0, 0.0) if known is None else (fresh[known][0], NEIGHBOUR)
        if fresh[before][0] == fresh[after][0]:
            return fresh[before][0], 2 * NEIGHBOUR
        nearer = before if said.start - self._said[before].end <= self._said[after].start - said.end else after
        return fresh[nearer][0], NEIGHBOUR


def _confidence(near: float, rival: float) -> float:
    """How sure a label is: by how much nearer the speaker is than the next one, who might as well be unknown."""
    return round(min(1.0, max(0.0, 0.5 + 2.5 * (near - max(rival, DOUBTFUL)))), 2)


def _like(vector: Vector, speakers: Sequence[Group]) -> tuple[int, float] | None:
    """Whose a short utterance is, and how sure that is; None where it may be anybody's."""
    best, near, next_near = nearest(vector, speakers)
    if near < LIKE or near - next_near < LIKE_MARGIN:
        return None
    return best, min(2 * NEIGHBOUR, _confidence(near, next_near))


def _first(places: Iterable[int], known: dict[int, tuple[int, float]]) -> int | None:
    return next((place for place in places if place in known), None)
