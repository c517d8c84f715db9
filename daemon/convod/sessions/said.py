"""Sentences that live and file sessions both say of audio. In: times. Out: text."""

from __future__ import annotations


def uncovered(start_s: float, end_s: float) -> str:
    """What is said of a stretch from `start_s` to `end_s` on the session's clock with a voice and without words."""
    return (
        f"somebody speaks from {_clock(start_s)} to {_clock(end_s)}, but not all of it could be made out; "
        "listen to it, or use a larger model"
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"
