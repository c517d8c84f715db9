"""Whose voice is it? Embeddings of short windows of a voice; runs in a worker process alone.

In: float samples at 16 kHz, 30 s at most. Out: `Voiceprints`, a vector for each window of 1.6 s; with GE2E the words
are told apart by speaker, too (`turns`). Any ONNX model will do that takes one tensor of 32-bit floats and gives one
vector for each window:

- 40 mel bands of power, (frames, batch, 40): GE2E, as `ge2e` writes it;
- 80 mel bands of log power, (batch, frames, 80): the features of wespeaker, 3D-Speaker and their kind: Kaldi's filter
  bank of 16-bit samples, Hamming windows of 25 ms every 10 ms, less the mean of each band over the window.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import onnxruntime

from convod.engine import ge2e, kaldi, turns
from convod.engine.loading import resample
from convod.engine.wire import RATE, Work
from convod.speech.decoding import Hypothesis, Voiceprints

STEP: Final = 160
"""Samples between two frames of features."""

WINDOW: Final = 160
"""Frames of a window: what GE2E was trained with."""

HOP: Final = 80
"""Frames from one window to the next."""

SILENT: Final = 1e-3
"""A window with less than this share of the loudest one's power holds a pause, and no voice is known by it."""

Floats = np.ndarray[Any, np.dtype[np.float32]]


class BadEmbedder(ValueError):
    """The model is none that this module can use; the text says why."""


class Embedder:
    """A loaded model.

    Args:
        path: An ONNX file.

    Raises:
        BadEmbedder: it is none, or takes or gives what it should not.
    """

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class
            raise BadEmbedder(f"{path} is no ONNX model that can be loaded: {_first_line(error)}") from error
        takes, gives = self._session.get_inputs(), self._session.get_outputs()
        shape = list(takes[0].shape) if len(takes) == 1 else []
        if len(gives) != 1 or len(shape) != 3 or shape[2] not in (ge2e.BANDS, kaldi.BANDS):
            raise BadEmbedder(
                f"{path} must take one tensor (batch, frames, {kaldi.BANDS}) and give one vector for each window; "
                f"it takes {[one.shape for one in takes]}"
            )
        self._name = takes[0].name
        self.is_ge2e = shape[2] == ge2e.BANDS

    def embed(self, samples: Floats) -> Voiceprints:
        """Embed each window of samples (n,); about 11 ms for 5 s."""
        frames = ge2e.mels(samples) if self.is_ge2e else kaldi.log_mels(samples)
        starts = _starts(len(frames))
        padded = np.pad(frames, ((0, max(0, starts[-1] + WINDOW - len(frames))), (0, 0)))
        windows = np.stack([padded[start : start + WINDOW] for start in starts])
        vectors = self._vectors(windows)
        loud = _power(samples, starts)
        return Voiceprints(
            starts=[start * STEP / RATE for start in starts],
            window_s=WINDOW * STEP / RATE,
            vectors=[
                vector.astype("<f4").tobytes() if power > SILENT * loud.max() and vector.any() else b""
                for vector, power in zip(vectors, loud, strict=True)
            ],
        )

    def _vectors(self, windows: Floats) -> Floats:
        """Windows (n, WINDOW, bands) -> vectors (n, size) of unit length, or of none."""
        given: Any = windows.transpose(1, 0, 2) if self.is_ge2e else windows - windows.mean(axis=1, keepdims=True)
        (found,) = self._session.run(None, {self._name: np.ascontiguousarray(given)})
        flat = np.nan_to_num(np.asarray(found, np.float32).reshape(len(windows), -1))
        length = np.linalg.norm(flat, axis=1, keepdims=True)
        return (flat / np.where(length, length, 1)).astype(np.float32)


class WhenAsked:
    """An embedder that is loaded when it is first needed; without one there are no voiceprints.

    Args:
        path: An ONNX file, or None.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._embedder: Embedder | None = None

    def with_voiceprints(self, work: Work, hypotheses: list[Hypothesis]) -> list[Hypothesis]:
        """Add the voiceprints to what was decoded, where they are wanted and somebody speaks."""
        return [
            self._with_voiceprints(window.audio, work.rate, hypothesis)
            if window.voiceprints and hypothesis.text
            else hypothesis
            for window, hypothesis in zip(work.windows, hypotheses, strict=True)
        ]

    def _with_voiceprints(self, audio: bytes, rate: int, hypothesis: Hypothesis) -> Hypothesis:
        if self._embedder is None and self._path is not None:
            try:
                self._embedder = Embedder(Path(self._path))
            except BadEmbedder as error:
                # The text is worth more than its speaker, so the work goes on; stderr is the daemon's log.
                print(f"convod: speakers are not told apart: {error}", file=sys.stderr, flush=True)
                self._path = None
        if self._embedder is None:
            return hypothesis
        prints = self._embedder.embed(resample(audio, rate))
        words = hypothesis.words
        if words and hypothesis.voiced is not None and self._embedder.is_ge2e:
            words = turns.numbered(words, prints, hypothesis.voiced)
            prints = msgspec.structs.replace(prints, turns=True)
        return msgspec.structs.replace(hypothesis, words=words, voiceprints=prints)


def _starts(frames: int) -> list[int]:
    """Frames at which windows begin: every HOP, and one that ends with the last frame."""
    starts = list(range(0, max(1, frames - WINDOW + 1), HOP))
    if starts[-1] + WINDOW < frames - HOP // 2:
        starts.append(frames - WINDOW)
    return starts


def _power(samples: Floats, starts: list[int]) -> Floats:
    """The mean power of each window (n,)."""
    pieces = (samples[start * STEP : (start + WINDOW) * STEP] for start in starts)
    return np.array([float(np.mean(piece * piece)) if piece.size else 0.0 for piece in pieces], np.float32)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
