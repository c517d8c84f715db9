"""A small embedder of voices that tells the two of the recorded talks apart, for daemons in processes of their own.

In: `tests/data/talk.flac` and its truth. Out: an ONNX file for `engine.voices`. An embedding says on which side of the
middle between the mean spectra of both voices a window lies: no weights have to be fetched.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from convod.engine import ge2e, onnx_file
from tests.support.speech import DATA, pcm

FLOOR = 1e-9
SHARP = 20.0
"""From the middle to each voice it is half of this: few windows lie between."""

UNSURE = 0.1
"""What an embedding has in common with any other."""


def write_embedder(path: Path) -> Path:
    """Write it, and return its path."""
    samples = np.frombuffer(pcm("talk.flac"), np.int16).astype(np.float32) / np.float32(32768)
    spectra: dict[str, list[np.ndarray]] = {}
    for said in json.loads((DATA / "talk.json").read_text())["utterances"]:
        frames = ge2e.mels(samples[int(16000 * said["start"]) : int(16000 * said["end"])])
        spectra.setdefault(said["speaker"], []).append(np.log(frames.mean(axis=0) + FLOOR))
    one, other = (np.mean(own, axis=0) for own in spectra.values())
    across = (one - other) - (one - other).mean()  # without the mean, loudness counts for nothing
    across *= SHARP / (across @ across)
    nodes = [
        onnx_file.node("ReduceSum", ["mels", "first"], ["power"], keepdims=0),
        onnx_file.node("Add", ["power", "floor"], ["raised"]),
        onnx_file.node("Log", ["raised"], ["log"]),
        onnx_file.node("MatMul", ["log", "across"], ["side"]),
        onnx_file.node("Add", ["side", "bias"], ["shifted"]),
        onnx_file.node("Tanh", ["shifted"], ["embeddings"]),
    ]
    constants = {
        "first": np.zeros(1, np.int64),
        "floor": np.full(1, FLOOR, np.float32),
        "across": np.stack([across, np.zeros_like(across)], axis=1).astype(np.float32),
        "bias": np.array([-across @ (one + other) / 2, UNSURE], np.float32),
    }
    path.write_bytes(
        onnx_file.model(nodes, constants, ("mels", ["frames", "batch", ge2e.BANDS]), ("embeddings", ["batch", 2]))
    )
    return path
