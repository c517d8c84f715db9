"""Summaries of conversations: streamed, rolling, of any length, with or without a language model.

In: a `Transcript` and `SummaryOptions`. Out: a `Summary`, and its text while it is written. This room chooses who
writes it: the provider that was asked for, or with `auto` the first that answers, and last the extractive summarizer,
which always does. It stores nothing and never retries by the clock: sessions do that.
"""

from __future__ import annotations

from convod.summary.base import Show, SummarizerUnavailable, SummarySettings, Transcript
from convod.summary.breaker import Backoff
from convod.summary.styles import BUILT_IN as STYLES
from convod.summary.summarizers import Summarizers

__all__ = ["STYLES", "Backoff", "Show", "SummarizerUnavailable", "Summarizers", "SummarySettings", "Transcript"]
