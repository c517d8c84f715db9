"""What the state machines of live and file sessions command, and what they are told besides audio and hypotheses."""

from __future__ import annotations

import msgspec

from convo.messages import Event
from convod.speech.decoding import DecodeJob, Interims


class Decode(msgspec.Struct, frozen=True):
    """Give the job to the engine, in the queue at the place of the one it is decoded `instead_of`, if any."""

    job: DecodeJob
    instead_of: DecodeJob | None = None


class Drop(msgspec.Struct, frozen=True):
    """The job, waiting or running, is of no use any more."""

    job: DecodeJob


class Prioritize(msgspec.Struct, frozen=True):
    """The job's text is needed now."""

    job: DecodeJob


class Emit(msgspec.Struct, frozen=True):
    """Send an event that is not stored."""

    event: Event


class LoadChanged(msgspec.Struct, frozen=True):
    """The engine can now afford so many interims."""

    interims: Interims


class DecodeStarted(msgspec.Struct, frozen=True):
    """A worker has begun with the job."""

    job: DecodeJob


class DecodeRequeued(msgspec.Struct, frozen=True):
    """The job waits again, because its worker was lost."""

    job: DecodeJob
