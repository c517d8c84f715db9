"""Text that is safe to show and to store, whatever its source.

In: text of a model, a server or a speaker. Out: the same without what could drive a terminal or break an
encoder, within a length. It never judges meaning.
"""

from __future__ import annotations

import re
from typing import Final

_STEERING: Final = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]")
"""A whole control sequence of a terminal (ECMA-48, section 5.4), removed with its letters."""
_BREAKS: Final = re.compile("\r\n?|[\u2028\u2029\u0085\v\f]")
# C0 but line feed, DEL and C1 steer terminals; bidirectional overrides and isolates and tag characters make text
# look like other text; a lone surrogate cannot be encoded as UTF-8. The joiners U+200C and U+200D stay: Persian,
# Indic scripts and emoji need them.
_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def safe(text: str) -> str:
    """Remove control characters; line ends become LF, tabs become spaces."""
    return _UNSAFE.sub("", _BREAKS.sub("\n", _STEERING.sub("", text)).replace("\t", " "))


def clip(text: str, limit: int) -> str:
    """Cut a text to `limit` characters, between words if possible, with an ellipsis."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    words = cut.rsplit(None, 1)[0]
    return (words if len(words) > limit // 2 else cut).rstrip() + "…"


def line(text: str, limit: int) -> str:
    """Return a safe text on one line, with single spaces, of at most `limit` characters."""
    return clip(" ".join(safe(text).split()), limit)


def block(text: str, limit: int) -> str:
    """Return a safe text with its lines, single blank lines, of at most `limit` characters."""
    lines = "\n".join(" ".join(row.split()) for row in safe(text).split("\n"))
    return clip(re.sub(r"\n{3,}", "\n\n", lines).strip(), limit)
