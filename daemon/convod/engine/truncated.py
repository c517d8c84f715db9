"""Detect recordings that were cut off, where FFmpeg reads the rest without an error.

In: an open file of any kind. Out: whether its container says that it is incomplete; for an MP3, its length by its own
count. It reads some bytes of the file and decodes nothing.
"""

from __future__ import annotations

import os
import re
from typing import BinaryIO, Final

LAST_PAGES: Final = 1 << 17
"""Bytes at the end of an Ogg file in which its last page begins: a page has less than half of that."""

BOXES: Final = 1000
"""Boxes of an MP4 to look at: a whole file has few, a fragmented one begins with its index."""

ID3_TAGS: Final = 16
"""ID3 tags to skip before an MP3's first frame."""

FIRST_FRAME: Final = 1 << 16
"""Bytes after them in which to look for that frame, as many as FFmpeg does."""

MP3_RATES: Final = (44100, 48000, 32000)
"""Hz in MPEG-1; MPEG-2 has half of that, MPEG-2.5 a quarter."""

MP3_TAG: Final = {(False, False): 36, (False, True): 21, (True, False): 21, (True, True): 13}
"""Bytes from the beginning of a frame to its Xing tag, by (MPEG-2 or 2.5, mono)."""


def is_truncated(file: BinaryIO) -> bool:
    """Whether a WAV, Ogg or Matroska file ends before its container says."""
    size = _size(file)
    begin = file.read(4)
    file.seek(0)
    if begin == b"RIFF":
        return _is_truncated_wav(file, size)
    if begin == b"OggS":
        return _is_truncated_ogg(file, size)
    if begin == b"\x1a\x45\xdf\xa3":
        return _is_truncated_matroska(file, size)
    return False


def lacks_its_index(file: BinaryIO) -> bool:
    """Whether an MP4 ends before its index, without which its audio cannot be found."""
    size, at = _size(file), 0
    kinds: list[bytes] = []
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


def mp3_s(file: BinaryIO) -> float | None:
    """Return the length of an MP3 by the count of frames in its Xing, Info or VBRI tag; None without such a tag.

    If several files were joined it is the count of the first, which is less than the whole.
    """
    _pass_id3(file)
    data = file.read(FIRST_FRAME)
    for tag in re.finditer(b"Xing|Info|VBRI", data):
        if seconds := _counted_s(data, tag.start(), tag[0]):
            return seconds
    return None


def _size(file: BinaryIO) -> int:
    """Return the size of a file in bytes, and rewind it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def _pass_id3(file: BinaryIO) -> None:
    """Seek to what follows the ID3v2 tags (id3.org, id3v2.4.0-structure, section 3.1)."""
    at = 0
    for _ in range(ID3_TAGS):
        file.seek(at)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3":
            break
        size = 0
        for byte in head[6:]:
            size = size << 7 | byte & 0x7F
        at += 10 + size + (10 if head[5] & 0x10 else 0)
    file.seek(at)


def _counted_s(data: bytes, at: int, name: bytes) -> float | None:
    """Return the seconds by the tag at `at`; None if that is not a tag.

    A tag follows a frame's header and side information, whose length is in the header (ISO 11172-3 and 13818-3, section
    2.4.1); VBRI is where that of MPEG-1 stereo would end.
    """
    for place in (36, 21, 13):
        head = data[max(0, at - place) : max(0, at - place + 4)]
        if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:  # the sync word, layer III
            continue
        halved, rate, mono = {3: 0, 2: 1, 0: 2}.get(head[1] >> 3 & 3), head[2] >> 2 & 3, head[3] >> 6 == 3
        if halved is None or rate == 3 or place != (36 if name == b"VBRI" else MP3_TAG[halved > 0, mono]):
            continue
        if name == b"VBRI":
            count = data[at + 14 : at + 18]
        else:
            flags = int.from_bytes(data[at + 4 : at + 8], "big")
            count = data[at + 8 : at + 12] if flags & 1 else b""
        return int.from_bytes(count, "big") * (576 if halved else 1152) / (MP3_RATES[rate] >> halved)
    return None


def _is_truncated_wav(file: BinaryIO, size: int) -> bool:
    head = file.read(12)
    claimed = int.from_bytes(head[4:8], "little")
    # A writer to a pipe does not know the length, and says the greatest, or none.
    return head[8:] == b"WAVE" and claimed < 0x7FFFFFFF - 4096 and size < claimed + 8


def _is_truncated_ogg(file: BinaryIO, size: int) -> bool:
    """Whether the last page is not marked as the last of its stream (RFC 3533, section 4)."""
    file.seek(max(0, size - LAST_PAGES))
    tail = file.read()
    last = tail.rfind(b"OggS\0")
    return last < 0 or last + 5 >= len(tail) or not tail[last + 5] & 4


def _is_truncated_matroska(file: BinaryIO, size: int) -> bool:
    """Whether its second element, the segment with all the rest (RFC 9559, section 5.1), is shorter than it says."""
    file.seek(4)
    header = _length(file)
    if header is None or header > size:
        return False
    file.seek(header, 1)
    if file.read(4) != b"\x18\x53\x80\x67":
        return False
    segment = _length(file)
    return segment is not None and file.tell() + segment > size


def _length(file: BinaryIO) -> int | None:
    """Read a variable-size integer of EBML (RFC 8794, section 4); None for one that means "unknown"."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    bits = 7 * (more + 1)
    value = int.from_bytes(first + file.read(more), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
