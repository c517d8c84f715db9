"""What the daemon and its worker processes say to each other: length-prefixed MessagePack, as the contract frames it.

Structs only; `pack` and `read_exactly` serve both ends. It never starts a process and never imports the engine.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import msgspec

from convod.speech.decoding import Hypothesis, Lead, Options

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

INTERIM_MARGIN: Final = 300
FINAL_MARGIN: Final = 1000
"""Frames of silence that a stock model gets behind a window. It need not be all 30 s, nor may it be too few. Words
wrong of 121 recorded English utterances, tiny.en, untimed, doubtful ones once more in full: with a beam of 5 15.0 % in
full, 15.4 with 1000, 15.0 with 500, 16.6 with 300; of ten talks in noise and haste 11.8 with 1000, 13.2 with 500.
Greedy 16.7 % in full, 15.6 with 500, 15.7 with 300. The encoder takes 158 ms in full, 76 with 1000, 47 with 500
(scripts/bench/RESULTS.md)."""

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
    """First to the worker: the model to load. `threads` 0 leaves the number to CTranslate2."""

    directory: str
    context: str
    device: str = "auto"
    compute_type: str = "default"
    threads: int = 0


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
    """To the worker: windows to decode, mono s16le at `rate` Hz, at most 30 s each.

    `stream_keys` name the samples windows begin at, so that features are computed once. `leads` come before windows.
    `expected` is the language of what came before: where the language is detected, it takes more to be another.
    """

    windows: list[bytes]
    stream_keys: list[str | None]
    leads: list[Lead | None]
    expected: list[str | None]
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


def pack(part: Part) -> bytes:
    """The frame of a part."""
    body = _encoder.encode(part)
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
