"""Sounds that are no speech: what a room makes when nobody talks. Seeded; mono s16le at 16 kHz."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

RATE = 16000
Samples = np.ndarray[Any, np.dtype[np.float64]]


def all_of_them(seconds: int) -> Iterator[tuple[str, bytes]]:
    """Name and sound, each of that length."""
    rng = np.random.default_rng(5)
    n = seconds * RATE
    time = np.arange(n) / RATE
    yield "digital silence", _pcm(np.zeros(n))
    yield "white noise", _pcm(0.03 * rng.standard_normal(n))
    yield "50 Hz hum", _pcm(0.1 * np.sin(2 * np.pi * 50 * time) + 0.03 * np.sin(2 * np.pi * 150 * time))
    yield "a constant tone", _pcm(0.1 * np.sin(2 * np.pi * 440 * time))
    yield "keyboard clicks", _pcm(_clicks(n, rng))
    yield "breathing", _pcm(_breathing(n, rng))


def _clicks(n: int, rng: np.random.Generator) -> Samples:
    sound = 0.001 * rng.standard_normal(n)
    at = 0
    while True:
        at += int(RATE * rng.uniform(0.08, 0.5))
        length = int(RATE * rng.uniform(0.004, 0.02))
        if at + length >= n:
            return sound
        sound[at : at + length] += 0.3 * rng.standard_normal(length) * np.exp(-np.arange(length) / (length / 4))


def _breathing(n: int, rng: np.random.Generator) -> Samples:
    # Air: noise without its highs, swelling and falling once in four seconds.
    noise = np.convolve(rng.standard_normal(n), np.ones(8) / 8, mode="same")
    return 0.08 * noise * np.clip(np.sin(2 * np.pi * np.arange(n) / (4 * RATE)), 0, 1)


def _pcm(sound: Samples) -> bytes:
    return (np.clip(sound, -1, 1) * 32767).astype(np.int16).tobytes()


async def send(session: Any, pcm: bytes) -> None:
    """All of it, then the end."""
    await session.send_audio(pcm)
    await session.end()
