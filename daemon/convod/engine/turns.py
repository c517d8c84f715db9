"""Find where one speaker follows another without a pause, and which words are whose. Sans-IO.

In: the embeddings of a window's voice, where it has a voice, its words. Out: the words with the numbers of their turns.
Who speaks is told elsewhere: two turns beside each other are by two people, and no more is known here.

First neighbouring windows that are surely two voices part the window. Then the voices of the parts are compared with
every window, and the most probable path through them (Viterbi 1967) also finds turns too short to be sure of alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np

from convod.speech.decoding import CHUNK_S, TimedWord, Voiceprints
from convod.speech.sentences import ends_sentence

OTHER: Final = (0.45, 0.58, 0.66, 0.71)
"""Cosine below which one, two, three and four windows before a moment are another voice than as many behind it. In 550
s of recordings of one speaker each, by which this was chosen, the lowest were 0.53, 0.67, 0.74 and 0.77: a cut within
what one person says is worse than a missed one (GE2E, windows of 1.6 s every 0.8 s; scripts/bench/RESULTS.md)."""

VOICED: Final = 0.6
"""A window with a smaller share of voice says little of whose it is: over pauses, one speaker had a cosine of 0.35."""

OVERLAP_S: Final = 0.4
"""Windows on both sides of a change may overlap so much."""

APART_S: Final = 1.0
"""And they may be so far apart: between them lie those with both voices."""

EDGE_S: Final = 0.2
"""A window is a part's own if it reaches no further beyond it."""

SAME: Final = 0.75
"""Cosine from which two parts are one voice."""

CELL_S: Final = 0.4
"""The path has a voice for each cell of this length."""

CHANGE: Final = 0.1
"""What a change of voices must bring: the cosine with the other voice, summed over the cells, must be so much more."""

STEP_S: Final = 0.05
NEAR_S: Final = 0.6
"""Then a change is looked for in steps of STEP_S, so far from where the path has it."""

REACH_S: Final = 0.8
"""It is moved to a word's end or beginning that is this near."""

SENTENCE_S: Final = 0.4
PAUSE: Final = 1.0
"""As good as being so much nearer: the end of a sentence, and each second of a pause."""

Floats = np.ndarray[Any, np.dtype[np.float32]]


def numbered(words: Sequence[TimedWord], prints: Voiceprints, voiced: bytes) -> list[TimedWord]:
    """Give each word the number of its turn, from 0.

    Args:
        words: The words of a window.
        prints: The embeddings of its voice.
        voiced: A byte for each chunk of CHUNK_S of it, 1 where there is a voice.
    """
    firsts = {_first_word(words, change) for change in changes(prints, voiced)}
    turn, found = 0, []
    for at, word in enumerate(words):
        turn += at in firsts
        found.append(msgspec.structs.replace(word, turn=turn) if turn else word)
    return found


def changes(prints: Voiceprints, voiced: bytes) -> list[float]:
    """Return the seconds at which another voice begins; arguments as above."""
    window_s = prints.window_s
    known = [
        (start, np.frombuffer(vector, "<f4"))
        for start, vector in zip(prints.starts, prints.vectors, strict=True)
        if vector and _share(voiced, start, start + window_s) >= VOICED
    ]
    if len(known) < 2:
        return []
    starts = np.array([start for start, _ in known])
    windows: Floats = np.stack([vector for _, vector in known])
    bounds = _sure_changes(starts, window_s, windows)
    if not bounds or len(voices := _voices(starts, window_s, windows, bounds)) < 2:
        return []
    return _changes_between(voices, starts, window_s, windows)


def _share(voiced: bytes, start: float, end: float) -> float:
    chunks = voiced[int(start / CHUNK_S) : int(end / CHUNK_S)]
    return chunks.count(1) / len(chunks) if chunks else 0.0


# --- what is sure -----------------------------------------------------------------------------------------


def _sure_changes(starts: Floats, window_s: float, windows: Floats) -> list[float]:
    """About when the voice changes for sure, the surest change first and then those on both sides of it."""
    begins = starts.tolist()
    # The dot product of two sums of windows in a row is the sum of a rectangle of these: four corners of its integral.
    corners = np.zeros((len(begins) + 1, len(begins) + 1))
    corners[1:, 1:] = (windows @ windows.T).cumsum(axis=0).cumsum(axis=1)
    integral = corners.tolist()

    def dot(a: int, b: int, c: int, d: int) -> float:
        return float(integral[b][d] - integral[a][d] - integral[b][c] + integral[a][c])

    def surest(first: int, last: int) -> tuple[float, int, int] | None:
        best = None
        for end in range(first + 1, last):
            ends = begins[end - 1] + window_s
            for begin in range(end, last):
                if begins[begin] < ends - OVERLAP_S:
                    continue
                if begins[begin] > ends + APART_S:
                    break
                for count, other in enumerate(OTHER, 1):
                    a, d = end - count, begin + count
                    if a < first or d > last:
                        break
                    cosine = dot(a, end, begin, d) / (dot(a, end, a, end) * dot(begin, d, begin, d)) ** 0.5
                    if cosine < other and (best is None or other - cosine > best[0]):
                        best = other - cosine, end, begin
        return best

    found: list[float] = []
    parts = [(0, len(begins))]
    while parts:
        first, last = parts.pop()
        if (best := surest(first, last)) is not None:
            _, end, begin = best
            parts += [(first, end), (begin, last)]
            found.append((begins[end - 1] + window_s + begins[begin]) / 2)
    return sorted(found)


def _voices(starts: Floats, window_s: float, windows: Floats, bounds: Sequence[float]) -> Floats:
    """The voices of the parts between bounds, those that are alike as one: (voices, size), of length 1."""
    parts = []
    for begin, end in pairwise([-np.inf, *bounds, np.inf]):
        own = (starts >= begin - EDGE_S) & (starts + window_s <= end + EDGE_S)
        if own.any():
            parts.append(windows[own].sum(axis=0))
    while True:
        sums: Floats = np.stack(parts)
        voices: Floats = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        cosines = np.triu(voices @ voices.T, 1)
        one, other = divmod(int(cosines.argmax()), len(parts))
        if cosines[one, other] < SAME:
            return voices
        parts[one] = parts[one] + parts.pop(other)


# --- what is probable -------------------------------------------------------------------------------------


def _changes_between(voices: Floats, starts: Floats, window_s: float, windows: Floats) -> list[float]:
    """When one of the voices gives way to another."""
    path = _path(_cells(windows @ voices.T, starts, window_s))
    at = [cell for cell in range(1, len(path)) if path[cell] != path[cell - 1]]
    found = []
    for before, cell, after in zip([0, *at], at, [*at[1:], len(path)], strict=False):
        # Windows that reach beyond the turns before and behind it have a third voice.
        near = (starts > (before - 1.5) * CELL_S) & (starts + window_s < (after + 1.5) * CELL_S)
        near &= (starts < (cell + 2) * CELL_S) & (starts + window_s > (cell - 2) * CELL_S)
        one, other = voices[path[cell - 1]], voices[path[cell]]
        found.append(_moment(cell * CELL_S, starts[near], window_s, windows[near] @ (one - other), 1 - one @ other))
    return sorted(found)


def _cells(cosines: Floats, starts: Floats, window_s: float) -> Floats:
    """The mean of the cosines of the windows that have a cell, (cells, voices); its middle says most of a window."""
    count = round(window_s / CELL_S)
    weights = np.float32(0.5) + np.minimum(np.arange(count), np.arange(count)[::-1], dtype=np.float32)
    total = np.zeros((int(starts[-1] / CELL_S) + count + 1, cosines.shape[1]), np.float32)
    weight = np.zeros((len(total), 1), np.float32)
    for start, own in zip(starts, cosines, strict=True):
        first = round(start / CELL_S)
        total[first : first + count] += weights[:, np.newaxis] * own
        weight[first : first + count, 0] += weights
    return (total / np.maximum(weight, np.float32(1e-9))).astype(np.float32)


def _path(cells: Floats) -> list[int]:
    """The voice of each cell."""
    score, came = cells[0], []
    for own in cells[1:]:
        best = int(score.argmax())
        stays = score >= score[best] - CHANGE
        came.append(np.where(stays, np.arange(len(score)), best))
        score = np.where(stays, score, score[best] - CHANGE) + own
    path = [int(score.argmax())]
    for through in reversed(came):
        path.append(int(through[path[-1]]))
    return path[::-1]


def _moment(about: float, starts: Floats, window_s: float, like: Floats, apart: float) -> float:
    """When one voice gives way to another: a window with both is like each by its share of it.

    Args:
        about: About when.
        starts: Of the windows around.
        window_s: How long these are.
        like: By how much more each is like the first voice; `apart` if it is, `-apart` if it is the other.
        apart: How different they are.
    """
    moments = np.arange(about - NEAR_S, about + NEAR_S, STEP_S)
    behind = np.clip((starts + window_s - moments[:, np.newaxis]) / window_s, 0, 1)
    wrong = (like - apart * (1 - 2 * behind)) ** 2
    return float(moments[wrong.sum(axis=1).argmin()])


def _first_word(words: Sequence[TimedWord], change: float) -> int | None:
    """Which word begins the turn that begins at about that second; None if no word does."""

    def far(at: int) -> float:
        before, word = words[at - 1], words[at]
        outside = max(before.end - change, change - word.start, 0.0)
        pause = max(0.0, word.start - before.end)
        return outside - PAUSE * pause - (SENTENCE_S if ends_sentence(before.word) else 0.0)

    near = [at for at in range(1, len(words)) if words[at - 1].end - REACH_S <= change <= words[at].start + REACH_S]
    return min(near, key=far, default=None)
