"""Who speaks: voices become numbered speakers. State machines without I/O, told of segments one by one."""

from convod.speakers.known import Known, recognise
from convod.speakers.labels import LEAST_S, Label, SpeakerLabels

__all__ = ["LEAST_S", "Known", "Label", "SpeakerLabels", "recognise"]
