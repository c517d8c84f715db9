"""Samples to segments, as state machines without I/O, on the sample clock of the stream."""
