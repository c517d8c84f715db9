"""Recordings whose headers lie: they ask for gigabytes, or for as long as there is time, in a few bytes.

In: nothing. Out: `FILES`, by name. They are made here, byte by byte: no encoder writes such.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

MANY: Final = 0x0FFFFFFF


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box of an MP4 (ISO 14496-12, section 4.2)."""
    data = b"".join(parts)
    return struct.pack(">I4s", len(data) + 8, kind) + data


def full(kind: bytes, *parts: bytes) -> bytes:
    """A box with a version and flags, of which there are none."""
    return box(kind, bytes(4), *parts)


def track(
    number: int,
    *,
    samples: int,
    sizes: bytes | None = None,
    chunks: bytes | None = None,
    rate: int = 16000,
    kind: bytes = b"mp4a",
) -> bytes:
    """A sound track of so many packets: what it claims, not what is there."""
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    entry = box(kind, bytes(6), struct.pack(">HHHIHHHHI", 1, 0, 0, 0, 1, 16, 0, 0, rate << 16))
    table = box(
        b"stbl",
        full(b"stsd", struct.pack(">I", 1), entry),
        full(b"stts", struct.pack(">III", 1, samples, 2)),
        full(b"stsc", struct.pack(">IIII", 1, 1, samples, 1)),
        full(b"stsz", struct.pack(">II", 0 if sizes else 2, samples), sizes or b""),
        chunks or full(b"stco", struct.pack(">II", 1, 64)),
    )
    information = box(b"minf", full(b"smhd", bytes(4)), table)
    header = full(b"mdhd", struct.pack(">IIIIHH", 0, 0, rate, samples, 0x55C4, 0))
    media = box(b"mdia", header, full(b"hdlr", bytes(4), b"soun", bytes(13)), information)
    place = full(
        b"tkhd", struct.pack(">IIII", 0, 0, number, 0), struct.pack(">I", samples), bytes(16), matrix, bytes(8)
    )
    return box(b"trak", place, media)


def mp4(*tracks: bytes) -> bytes:
    """An MP4 with hardly any sound in it."""
    movie = full(b"mvhd", struct.pack(">IIII", 0, 0, 1000, 1000), bytes(80))
    return box(b"ftyp", b"isom", bytes(4), b"isom") + box(b"moov", movie, *tracks) + box(b"mdat", bytes(64))


def fragments(samples: int) -> bytes:
    """An MP4 in fragments, whose only one claims so many samples."""
    defaults = full(b"trex", struct.pack(">IIIII", 1, 1, 1, 2, 0))
    movie = box(b"moov", full(b"mvhd", bytes(96)), track(1, samples=0), box(b"mvex", defaults))
    run = full(b"trun", struct.pack(">I", samples))
    part = box(b"moof", full(b"mfhd", bytes(4)), box(b"traf", full(b"tfhd", struct.pack(">I", 1)), run))
    return box(b"ftyp", b"iso5", bytes(4), b"iso5") + movie + part + box(b"mdat", bytes(64))


def wav(
    size: int, *, channels: int = 1, rate: int = 16000, block: int = 2, bits: int = 16, extra: bytes = b""
) -> bytes:
    """A WAV with next to nothing in it, that claims `size` bytes."""
    form = struct.pack("<HHIIHH", 1, channels, rate, (rate * block) & 0xFFFFFFFF, block, bits)
    head = b"RIFF" + struct.pack("<I", size) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + extra + b"data" + struct.pack("<I", size) + bytes(64)


def element(name: str, data: bytes, claims: int | None = None) -> bytes:
    """An element of Matroska, with a length of eight bytes (RFC 8794, section 4)."""
    return bytes.fromhex(name) + struct.pack(">Q", (1 << 56) | (len(data) if claims is None else claims)) + data


def matroska(*, private: int | None = None, lacing: int | None = None, segment: int | None = None) -> bytes:
    """A Matroska of one PCM track; what is given is the length that a part of it claims."""
    head = element("1a45dfa3", element("4282", b"matroska"))
    sound = element("e1", element("b5", struct.pack(">d", 16000.0)) + element("9f", b"\1"))
    entry = element("d7", b"\1") + element("83", b"\2") + element("86", b"A_PCM/INT/LIT") + sound
    if private is not None:
        entry += element("63a2", bytes(16), private)
    tracks = element("1654ae6b", element("ae", entry))
    block = b"\x81\0\0\0" + bytes(64)
    cluster = element("1f43b675", element("e7", b"\0") + element("a3", block, lacing))
    return head + element("18538067", tracks + cluster, segment)


def flac(blocks: bytes) -> bytes:
    """A FLAC with a stream information and whatever metadata."""
    about = (
        struct.pack(">HH", 4096, 4096)
        + bytes(6)
        + (16000 << 44 | 0 << 41 | 15 << 36 | (1 << 36) - 1).to_bytes(8, "big")
    )
    return b"fLaC" + struct.pack(">I", len(about) + 16) + about + bytes(16) + blocks


def metadata(kind: int, claims: int, data: bytes) -> bytes:
    """The last block of a FLAC's metadata."""
    return struct.pack(">I", (0x80 | kind) << 24 | claims) + data


def ogg(packet: bytes, *, lacing: bytes = b"", granule: int = 0) -> bytes:
    """An Ogg page that begins a stream (RFC 3533, section 6); its checksum is wrong, which FFmpeg overlooks."""
    table = lacing or bytes([len(packet)])
    return b"OggS\0\2" + struct.pack("<qIII", granule, 1, 0, 0) + bytes([len(table)]) + table + packet


OPUS: Final = b"OpusHead\1\1" + struct.pack("<HIHB", 0, 48000, 0, 0)

FILES: Final[dict[str, Callable[[], bytes]]] = {
    "mp4: 268 million samples": lambda: mp4(track(1, samples=MANY)),
    "mp4: 100 million samples": lambda: mp4(track(1, samples=100_000_000)),
    "mp4: three tracks of 60 million": lambda: mp4(*(track(number, samples=60_000_000) for number in (1, 2, 3))),
    "mp4: three tracks of 4 million": lambda: mp4(*(track(number, samples=4_000_000) for number in (1, 2, 3))),
    "mp4: three tracks of 12 million": lambda: mp4(*(track(number, samples=12_000_000) for number in (1, 2, 3))),
    "mp4: a size for each of as many": lambda: mp4(track(1, samples=MANY, sizes=bytes(64))),
    "mp4: as many chunks": lambda: mp4(track(1, samples=MANY, chunks=full(b"stco", struct.pack(">I", MANY)))),
    "mp4: a fragment of as many": lambda: fragments(MANY),
    "wav: 4 GiB": lambda: wav(0xFFFFFFF0),
    "wav: a block of 64 KiB, 4 GiB a second": lambda: wav(0xFFFFFFF0, channels=65535, rate=0x7FFFFFFF, block=0xFFFF),
    "wav: a list of 4 GiB": lambda: wav(64, extra=b"LIST" + struct.pack("<I", 0xFFFFFFF0) + b"INFOINAM" + b"\xff" * 4),
    "wav: a cue of 2 GiB": lambda: wav(64, extra=b"bext" + struct.pack("<I", 0x7FFFFFF0)),
    "matroska: private data of 2 GiB": lambda: matroska(private=0x7FFFFFFF),
    "matroska: private data of 200 MB": lambda: matroska(private=200_000_000),
    "matroska: private data of 64 PiB": lambda: matroska(private=(1 << 56) - 2),
    "matroska: a block of 1 GiB": lambda: matroska(lacing=1 << 30),
    "matroska: a segment of 64 PiB": lambda: matroska(segment=(1 << 56) - 2),
    "flac: a picture of 16 MB": lambda: flac(metadata(6, 0xFFFFFF, struct.pack(">III", 3, 9, 0) + bytes(32))),
    "flac: a comment of 4 GiB": lambda: flac(metadata(4, 64, struct.pack("<I", 0xFFFFFFFF) + bytes(60))),
    "flac: a seek table without end": lambda: flac(metadata(3, 0xFFFFFF, bytes(64))),
    "ogg: a packet that never ends": lambda: ogg(OPUS + bytes(255 * 255), lacing=b"\xff" * 255) * 20,
    "ogg: a last page in a million years": lambda: ogg(OPUS) + ogg(bytes(19), granule=(1 << 62)),
    "ogg: comments of 4 GiB": lambda: ogg(OPUS) + ogg(b"OpusTags" + b"\xff" * 11),
    "mp3: a tag of 256 MB": lambda: b"ID3\4\0\0\x7f\x7f\x7f\x7fAPIC\x7f\x7f\x7f\x70\0\0" + bytes(4096),
    "caf: a table of 2^60 packets": lambda: (
        b"caff\0\1\0\0desc" + struct.pack(">Qd4sIIIII", 32, 16000.0, b"alac", 0, 0, 4096, 1, 16)
        + b"pakt" + struct.pack(">QQQII", 1 << 62, 1 << 60, 1 << 60, 0, 0) + bytes(64)
    ),
    "aiff: 4 GiB": lambda: (
        b"FORM" + struct.pack(">I", 0xFFFFFFF0) + b"AIFFCOMM" + struct.pack(">IHIH", 18, 1, 0xFFFFFFFF, 16)
        + bytes.fromhex("400cfa00000000000000") + b"SSND" + struct.pack(">I", 0xFFFFFFF0) + bytes(64)
    ),
}  # fmt: skip
