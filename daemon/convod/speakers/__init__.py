"""Who speaks: voices become numbered speakers. State machines without I/O, told of segments one by one."""

from convod.speakers.labels import Label, SpeakerLabels

__all__ = ["Label", "SpeakerLabels"]
