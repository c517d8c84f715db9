"""How near the times of segments and words are to those of the truth, live and as files.

In: talks whose truth says when each utterance begins and ends. Out: errors in seconds. Only bounds of utterances are
judged: within one, nobody knows when a word began. A bound counts if its word was recognised; that of a segment if
the segment begins or ends with that word. Live talks are fed faster than real time, without captions: times are those
of the samples.

Talks are joined of recordings, and the truth of some begins with a recording's hiss or rumble and not with its voice,
up to 0.6 s later. So errors are given twice: against the truth as it is, and against its voiced part (`voiced_part`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np

import convo
from convo.messages import SummaryOptions, TranscriptSegment

from .daemon import Daemon
from .figures import Figures, ms, percentile
from .files import wav_file
from .options import Options
from .scoring import align, units
from .talk import RATE, Talk, Utterance

CUE_S: Final = 0.15
"""Bar for the bounds of segments, 95th percentile;"""

WORD_S: Final = 0.12
"""and for those of words, 90th percentile."""


HISS_DB: Final = 25.0
"""A bound is moved over what is this far below the loud part of its utterance: hiss, not voice;"""

RUMBLE_HZ: Final = 150
"""what is lower does not count: rumble, of which a recording may have more than of a quiet voice."""

FRAME: Final = RATE // 50
CLICK: Final = 5
"""Frames of which the median counts: a shorter sound is a click of lips or of the microphone."""


def voiced_part(talk: Talk) -> Talk:
    """The talk with each utterance from its first to its last sound that is not HISS_DB below its 90th percentile."""
    samples = talk.samples()
    return replace(talk, utterances=tuple(_without_hiss(utterance, samples) for utterance in talk.utterances))


def _without_hiss(utterance: Utterance, samples: np.ndarray[Any, np.dtype[np.float32]]) -> Utterance:
    begin = round(utterance.start * RATE)
    within = samples[begin : round(utterance.end * RATE)]
    frames = within[: within.size // FRAME * FRAME].reshape(-1, FRAME)
    spectra = np.abs(np.fft.rfft(frames * np.hanning(FRAME), axis=1)) ** 2
    levels = 10 * np.log10(spectra[:, RUMBLE_HZ * FRAME // RATE :].sum(1) + 1e-12)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(levels, CLICK // 2, mode="edge"), CLICK)
    levels = np.median(around, axis=1)
    loud = np.flatnonzero(levels >= np.percentile(levels, 90) - HISS_DB)
    start = (begin + int(loud[0]) * FRAME) / RATE
    return replace(utterance, start=start, end=(begin + (int(loud[-1]) + 1) * FRAME) / RATE)


@dataclass(frozen=True)
class _Unit:
    """A unit of the hypothesis, with the bounds of its segment and word that it begins or ends; else None."""

    text: str
    word_start: float | None
    word_end: float | None
    cue_start: float | None
    cue_end: float | None


@dataclass
class TimeErrors:
    """Errors in seconds, above 0 where the hypothesis is late, of bounds of utterances."""

    cue_starts: list[float] = field(default_factory=list)
    cue_ends: list[float] = field(default_factory=list)
    word_starts: list[float] = field(default_factory=list)
    word_ends: list[float] = field(default_factory=list)

    def __add__(self, other: TimeErrors) -> TimeErrors:
        return TimeErrors(
            self.cue_starts + other.cue_starts,
            self.cue_ends + other.cue_ends,
            self.word_starts + other.word_starts,
            self.word_ends + other.word_ends,
        )

    def figures(self) -> Figures:
        """Absolute errors, and how many bounds were judged."""
        cues = [abs(error) for error in self.cue_starts + self.cue_ends]
        words = [abs(error) for error in self.word_starts + self.word_ends]
        return {
            f"bounds of cues judged; error p50 / p95, ms (bar {ms(CUE_S)})": [
                len(cues),
                ms(percentile(cues, 0.5)),
                ms(percentile(cues, 0.95)),
            ],
            f"bounds of words judged; error p50 / p90, ms (bar {ms(WORD_S)})": [
                len(words),
                ms(percentile(words, 0.5)),
                ms(percentile(words, 0.9)),
            ],
            "cue starts p50 / p95, ms": _p50_p95(self.cue_starts),
            "cue ends p50 / p95, ms": _p50_p95(self.cue_ends),
            "word starts p50 / p95, ms": _p50_p95(self.word_starts),
            "word ends p50 / p95, ms": _p50_p95(self.word_ends),
        }


def _p50_p95(errors: list[float]) -> list[int]:
    """The median with its sign, and the 95th percentile of what is left of it."""
    return [ms(percentile(errors, 0.5)), ms(percentile([abs(error) for error in errors], 0.95))]


def errors_of(talk: Talk, segments: Sequence[TranscriptSegment]) -> TimeErrors:
    """Compare the bounds of a talk's utterances with those of its segments and words."""
    shown = list(_units(segments, talk.language))
    places = align(talk.said, [one.text for one in shown]).places
    errors = TimeErrors()
    at = 0
    for utterance in talk.utterances:
        first, last = at, at + len(utterance.words) - 1
        at = last + 1
        if last < first:
            continue
        if (place := places[first]) is not None:
            _note(errors.word_starts, shown[place].word_start, utterance.start)
            _note(errors.cue_starts, shown[place].cue_start, utterance.start)
        if (place := places[last]) is not None:
            _note(errors.word_ends, shown[place].word_end, utterance.end)
            _note(errors.cue_ends, shown[place].cue_end, utterance.end)
    return errors


def _note(errors: list[float], time: float | None, truth: float) -> None:
    if time is not None:
        errors.append(time - truth)


def _units(segments: Sequence[TranscriptSegment], language: str) -> Iterator[_Unit]:
    for segment in segments:
        timed = [
            (text, word if first else None, word if last else None)
            for word in segment.words or ()
            for text, first, last in _with_place(units(word.word, language))
        ]
        for i, (text, begins, ends) in enumerate(timed):
            yield _Unit(
                text,
                word_start=None if begins is None else begins.start,
                word_end=None if ends is None else ends.end,
                cue_start=segment.start if i == 0 else None,
                cue_end=segment.end if i == len(timed) - 1 else None,
            )


def _with_place(texts: list[str]) -> Iterator[tuple[str, bool, bool]]:
    """Each text, and whether it is the first and the last."""
    for i, text in enumerate(texts):
        yield text, i == 0, i == len(texts) - 1


async def bench(daemon: Daemon, options: Options) -> Figures:
    """Every talk as a file and live."""
    talks = options.load_talks()
    figures: Figures = {}
    kinds: tuple[Literal["file", "live"], ...] = ("file", "live")
    async with convo.connect(daemon.socket) as client:
        for kind in kinds:
            against_truth, against_voice = TimeErrors(), TimeErrors()
            for talk in talks:
                segments = await _segments(client, kind, talk)
                against_truth += errors_of(talk, segments)
                against_voice += errors_of(voiced_part(talk), segments)
                print(f"{kind}: {talk.name}", file=sys.stderr, flush=True)
            figures[f"{kind}, against the truth"] = against_truth.figures()
            figures[f"{kind}, against its voiced part"] = against_voice.figures()
    return figures


async def _segments(client: convo.Client, kind: Literal["file", "live"], talk: Talk) -> list[TranscriptSegment]:
    session = await client.create_session(
        kind, language=talk.language, words=True, interim=False, summary=SummaryOptions(mode="off")
    )
    if kind == "live":
        await session.send_audio(talk.pcm)
    else:
        with wav_file(talk.pcm) as path:
            await session.send_audio(path.read_bytes())
    await session.end()
    return [event async for event in session.events() if isinstance(event, TranscriptSegment)]
