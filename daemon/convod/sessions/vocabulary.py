"""What a session's rules make of what was heard: corrections beside its segments, and words to listen for.

In: a session's settings. Out: events, hotwords. What is sent as heard stays what it was.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from convo.messages import CreateSession, DurableEvent, Rule, SegmentCorrected
from convo.vocabulary import Vocabulary
from convod.sessions.lengths import LONGEST

BY_VOCABULARY: Final = "vocabulary"
"""Who corrected something: a rule of the session."""


def hotwords_of(config: CreateSession) -> str | None:
    """The words to expect: those that the session names, then those that its rules make."""
    named = [words for words in (config.hotwords, _compiled(tuple(config.vocabulary)).hotwords) if words]
    return ", ".join(named)[: LONGEST["hotwords"]] or None


def correction(config: CreateSession, segment: int, text: str) -> tuple[type[DurableEvent], dict[str, Any]] | None:
    """What the rules make of a segment, as an event; None if they leave it alone."""
    changed = with_rules(config, text)
    if changed == text:
        return None
    return SegmentCorrected, {"segment": segment, "text": changed, "by": BY_VOCABULARY}


def with_rules(config: CreateSession, text: str) -> str:
    """What the rules make of a text."""
    return _compiled(tuple(config.vocabulary)).apply(text) if config.vocabulary else text


@lru_cache(64)
def _compiled(rules: tuple[Rule, ...]) -> Vocabulary:
    return Vocabulary(rules)
