"""What the speakers of a session are called. In: its settings, and what the store knows. Out: names. It does no I/O."""

from __future__ import annotations

import msgspec

from convo.messages import CreateSession, Speaker, Summary
from convod.store import SpeakerNames


def are_told(config: CreateSession) -> bool:
    """Whether a session says who speaks."""
    return config.speakers != "off" or config.channels == "split"


def name_of(config: CreateSession, speaker: int) -> str:
    """What a speaker is called."""
    if config.channels != "split":
        return f"Speaker {speaker}"
    named = config.channel_names[speaker - 1 : speaker]
    return named[0] if named and named[0] else f"Channel {speaker}"


def named(config: CreateSession, said: SpeakerNames) -> list[Speaker]:
    """Those who say something, with what they are called."""
    return [Speaker(speaker=number, name=said.names.get(number) or name_of(config, number)) for number in said.speaking]


def with_names(summary: Summary, config: CreateSession, said: SpeakerNames) -> Summary:
    """The summary with owners as they are called now: it may have been written before they had names."""
    if not (said.names or said.merged):
        return summary
    now: dict[str, str] = {}
    for number in {*said.speaking, *said.merged, *said.names}:
        whose = said.merged.get(number, number)
        now[name_of(config, number)] = said.names.get(whose) or name_of(config, whose)
    items = [
        msgspec.structs.replace(item, owner=now.get(item.owner, item.owner)) if item.owner is not None else item
        for item in summary.action_items
    ]
    return msgspec.structs.replace(summary, action_items=items)
