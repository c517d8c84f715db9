"""Samples to utterances, in the order audio travels: `frames`, `vad`, `endpoint`. Sans-IO, on the sample clock."""

from convod.hearing.endpoint import Closed, Endpointer, EndpointSettings, Opened, Silence, Speech
from convod.hearing.frames import Frames, PcmFormat, PcmReader, UnsupportedAudio
from convod.hearing.vad import Vad

__all__ = [
    "Closed",
    "EndpointSettings",
    "Endpointer",
    "Frames",
    "Opened",
    "PcmFormat",
    "PcmReader",
    "Silence",
    "Speech",
    "UnsupportedAudio",
    "Vad",
]
