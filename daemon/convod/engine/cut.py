"""Whether a recording was cut off, where FFmpeg reads what is left without a word.

In: the path of a file, whatever it holds. Out: yes, or no as far as its container tells. It reads some bytes of the
file and decodes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Final

LAST_PAGES: Final = 1 << 17
"""Bytes at an Ogg file's end in which its last page begins: one has less than half of that."""

BOXES: Final = 1000
"""Boxes of an MP4 that are looked at: a whole one has few, one in fragments begins with its index."""


def is_cut(path: Path) -> bool:
    """Whether a WAV, Ogg or Matroska file ends before its container says."""
    with path.open("rb") as file:
        size, begin = path.stat().st_size, file.read(4)
        file.seek(0)
        if begin == b"RIFF":
            return _is_cut_wav(file, size)
        if begin == b"OggS":
            return _is_cut_ogg(file, size)
        if begin == b"\x1a\x45\xdf\xa3":
            return _is_cut_matroska(file, size)
        return False


def lacks_its_index(path: Path) -> bool:
    """Whether an MP4 ends before its index: without that, nobody knows where its audio is."""
    size, at = path.stat().st_size, 0
    kinds: list[bytes] = []
    with path.open("rb") as file:
        while at + 8 <= size and len(kinds) < BOXES:
            file.seek(at)
            head = file.read(16)
            kinds.append(head[4:8])
            length = int.from_bytes(head[:4], "big")
            if length == 1:  # the length follows, in more bytes
                length = int.from_bytes(head[8:16], "big")
            if length < 8:
                break
            at += length
    return kinds[:1] == [b"ftyp"] and b"moov" not in kinds


def _is_cut_wav(file: BinaryIO, size: int) -> bool:
    head = file.read(12)
    claimed = int.from_bytes(head[4:8], "little")
    # Who writes to a pipe knows no length and says the greatest, or none.
    return head[8:] == b"WAVE" and claimed < 0x7FFFFFFF - 4096 and size < claimed + 8


def _is_cut_ogg(file: BinaryIO, size: int) -> bool:
    """The last page of each stream must say that it is the last (RFC 3533, section 4)."""
    file.seek(max(0, size - LAST_PAGES))
    tail = file.read()
    last = tail.rfind(b"OggS\0")
    return last < 0 or last + 5 >= len(tail) or not tail[last + 5] & 4


def _is_cut_matroska(file: BinaryIO, size: int) -> bool:
    """Its second element, the segment, is all the rest (RFC 9559, section 5.1) and as long as it says."""
    file.seek(4)
    header = _length(file)
    if header is None:
        return False
    file.seek(header, 1)
    if file.read(4) != b"\x18\x53\x80\x67":
        return False
    segment = _length(file)
    return segment is not None and file.tell() + segment > size


def _length(file: BinaryIO) -> int | None:
    """A variable-size integer of EBML (RFC 8794, section 4); None for one that stands for "unknown"."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    bits = 7 * (more + 1)
    value = int.from_bytes(first + file.read(more), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
