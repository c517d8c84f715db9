"""Choose a model where no setting names one: the best on this machine that can transcribe live speech here.

In: the settings' model and device, what `models.here` lists, the machine's processors. Out: a `Choice`, a name with the
reason for it. It loads nothing; whether there is a GPU is told by its driver's files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from convod.engine import models

AUTO: Final = "auto"

REAL_MODEL: Final = "tiny.en"
"""What to fetch first: it is small, and the package index has it too."""

BEST_FIRST: Final[tuple[tuple[str, int | None], ...]] = (
    ("large-v3", None),
    ("large-v3-turbo", None),
    ("large-v2", None),
    ("large-v1", None),
    ("distil-large-v3.5", None),
    ("distil-large-v3", None),
    ("distil-large-v2", None),
    ("medium", 24),
    ("medium.en", 24),
    ("distil-medium.en", 24),
    ("small", 8),
    ("small.en", 8),
    ("distil-small.en", 8),
    ("base", 2),
    ("base.en", 2),
    ("tiny", 1),
    ("tiny.en", 1),
)
"""Larger before smaller, of one size many languages before English alone: it is not known which will be spoken. With
each the processors that encode its 30 s window in about a second, so that captions keep up; None is only for a GPU. Two
busy x86 processors take 0.46 s for tiny and 0.89 s for base (int8); the others by the size of their encoders: small 4
times base, medium 13 times, large 26 times.
"""

GPU_DRIVERS: Final = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"), Path("/dev/dxg"))


@dataclass(frozen=True, slots=True)
class Choice:
    """A model's name, and why it is this one: a phrase."""

    model: str
    reason: str


def choose(model: str, device: str) -> Choice:
    """Choose the model. `model` and `device` are settings; a model that is named is taken as it is."""
    if model != AUTO:
        return Choice(model, "set by engine.model or --model")
    return best_of(
        (one.name for one in models.here()), cores(), gpu=device == "cuda" or (device == "auto" and has_gpu())
    )


def best_of(here: Iterable[str], cores: int, *, gpu: bool) -> Choice:
    """Return the best of the models here; the built-in one last, since it understands no real speech."""
    names = set(here)
    known = [(name, needs) for name, needs in BEST_FIRST if name in names]
    for name, needs in known:
        if gpu:
            return Choice(name, "the best of the models here")
        if needs is not None and needs <= cores:
            return Choice(name, f"the best of the models here for live speech on {_processors(cores)}")
    if known:
        name, _ = known[-1]
        return Choice(
            name,
            f"the smallest of the models here, though too large to keep up with live speech on {_processors(cores)}; "
            f"`convo models pull {REAL_MODEL}` fetches a faster one for the next start",
        )
    return Choice(
        models.BUILTIN,
        "no other model is here, and this one does not understand people; run "
        f"`convo models pull {REAL_MODEL}` and start convod again",
    )


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_gpu(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether there is an NVIDIA GPU that CTranslate2 may use."""
    if environment.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    return any(file.exists() for file in GPU_DRIVERS)


def _processors(count: int) -> str:
    return "1 processor" if count == 1 else f"{count} processors"
