"""Summaries of talks: streamed, rolling, as long as the talk, with or without a language model.

In: a `Talk` and `SummaryOptions`. Out: a `Summary`, and its text while it is written. Who writes it is chosen here:
the provider that was asked for, or with `auto` the first that answers, and at last the extractive summarizer, which
always does. This room never stores anything and never retries by the clock: that is the business of sessions.
"""

from __future__ import annotations

from .base import Show, SummarizerUnavailable, SummarySettings, Talk
from .breaker import Backoff
from .styles import BUILT_IN as STYLES
from .summarizers import Summarizers

__all__ = ["STYLES", "Backoff", "Show", "SummarizerUnavailable", "Summarizers", "SummarySettings", "Talk"]
