"""What the daemon and its worker processes say to each other: length-prefixed MessagePack, as the contract frames it.

Structs only; `pack` and `read_exactly` serve both ends. It never starts a process and never imports the engine.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import msgspec

from convod.speech.decoding import Hypothesis, Options, Window

FRAME_LIMIT: Final = 64 << 20
"""Largest frame in bytes: eight windows of 30 s at 48 kHz fit twice."""

HEADER: Final = struct.Struct(">I")

RATE: Final = 16000
"""Samples a second that Whisper and Silero hear, and that files are decoded to."""

BUCKET_FRAMES: Final = 100
"""Short contexts come in whole seconds: few shapes, and never an encoded length equal to the number of mel bands
(160 frames for 80, 256 for 128), which CTranslate2 takes for features and encodes again."""

MARGIN_FRAMES: Final = 30
"""Silence after the last sample that a short context holds at least."""

FULL_FRAMES: Final = 3000
"""Feature frames of 30 s, ten milliseconds each: what a stock Whisper model is made for."""

ROOMS: Final = (500, 1000, 3000)
"""Few, since windows of a file go together only if they have the same."""


def bucket(frames: int, margin: int = MARGIN_FRAMES) -> int:
    """Feature frames (10 ms) that a window of so many is padded to, with a margin of silence."""
    return -(-(frames + margin) // BUCKET_FRAMES) * BUCKET_FRAMES


def room(frames: int) -> int:
    """Feature frames whose words an answer has room for, where every window is padded to 30 s: a sentence that a model
    says over and over ends with it.
    """
    return next(size for size in ROOMS if frames <= size or size == ROOMS[-1])


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Anything that travels between daemon and worker."""


class Load(Part, frozen=True, kw_only=True, tag="load"):
    """First to the worker: the model to load, and a speaker embedder for when it is needed. `threads` 0 leaves the
    number to CTranslate2.
    """

    directory: str
    context: str
    device: str = "auto"
    compute_type: str = "default"
    threads: int = 0
    voices: str | None = None


class Loaded(Part, frozen=True, kw_only=True, tag="loaded"):
    """From the worker: warm and ready."""

    device: str
    compute_type: str
    languages: list[str]
    multilingual: bool


class NotLoaded(Part, frozen=True, kw_only=True, tag="not_loaded"):
    """From the worker: the model cannot be used; `message` is a sentence."""

    message: str


class Work(Part, frozen=True, kw_only=True, tag="work"):
    """To the worker: windows to decode as one batch, at `rate` Hz."""

    windows: list[Window]
    rate: int
    options: Options


class Results(Part, frozen=True, kw_only=True, tag="results"):
    """From the worker: one `Hypothesis` a window, in order, and the seconds that it took."""

    hypotheses: list[Hypothesis]
    seconds: float


class Trouble(Part, frozen=True, kw_only=True, tag="trouble"):
    """From the worker: this batch could not be decoded, the worker goes on."""

    message: str


ToWorker = Load | Work
FromWorker = Loaded | NotLoaded | Results | Trouble

_encoder = msgspec.msgpack.Encoder()
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(Load | Work)
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(Loaded | NotLoaded | Results | Trouble)


def encoded(part: Part) -> bytes:
    """The body of a part's frame."""
    return _encoder.encode(part)


def pack(part: Part) -> bytes:
    """The frame of a part."""
    body = encoded(part)
    return HEADER.pack(len(body)) + body


def frame_length(header: bytes) -> int:
    """Bytes that follow a header.

    Raises:
        ValueError: more than FRAME_LIMIT.
    """
    (length,) = HEADER.unpack(header)
    if length > FRAME_LIMIT:
        raise ValueError(f"a frame of {length} bytes is over the limit of {FRAME_LIMIT}")
    return int(length)


def to_worker(body: bytes) -> ToWorker:
    """Read what the daemon sent."""
    return _to_worker.decode(body)


def from_worker(body: bytes) -> FromWorker:
    """Read what a worker sent."""
    return _from_worker.decode(body)


def read_frame(read: Callable[[int], bytes]) -> bytes | None:
    """The next frame's body through a blocking `read(n)` that gives n bytes, or fewer at the end; None at the end."""
    header = read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    length = frame_length(header)
    body = read(length)
    return body if len(body) == length else None
