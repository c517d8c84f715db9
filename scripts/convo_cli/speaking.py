"""Who speaks, as options ask for it and captions tell it. In: options, labels. Out: fields of a session, names."""

from __future__ import annotations

from typing import Final

from convo import SessionOptions

from .arguments import Options

SIDES: Final = ["me", "them"]
"""Who is heard by the microphone, and who by what this machine plays."""


def speaking(options: Options, sides: int | None = None) -> SessionOptions:
    """The fields that the options ask for; `sides` are the channels of a source that knows whose they are."""
    if sides == len(SIDES):
        return {"channels": "split", "channel_names": SIDES}
    if options.split_channels:
        return {"channels": "split"}
    return {} if options.speakers is None else {"speakers": options.speakers}


def name_of(wanted: SessionOptions, speaker: int) -> str:
    """What the daemon calls a speaker of such a session."""
    if wanted.get("channels") != "split":
        return f"Speaker {speaker}"
    named = wanted.get("channel_names", [])
    return named[speaker - 1] if speaker <= len(named) else f"Channel {speaker}"
