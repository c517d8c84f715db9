"""Writes the `hex` of every message in vectors.json, with an encoder that is not the one convo uses.

    python protocol/vectors/make.py

Add a message by hand (bin as {"$bin": "hex"}, fields in the order of SPEC.md, those at their default left out),
then run this. It never changes a message, only its bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack

VECTORS = Path(__file__).with_name("vectors.json")


def from_json(value: Any) -> Any:
    """A message as MessagePack has it: {"$bin": hex} is bytes."""
    if isinstance(value, dict):
        if value.keys() == {"$bin"}:
            return bytes.fromhex(value["$bin"])
        return {key: from_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [from_json(inner) for inner in value]
    return value


def main() -> None:
    """Fill in the bytes, one line a vector."""
    vectors = json.loads(VECTORS.read_text())
    for vector in vectors:
        vector["hex"] = msgpack.packb(from_json(vector["message"]), use_bin_type=True).hex()
    lines = ",\n".join(f"  {json.dumps(vector, ensure_ascii=False)}" for vector in vectors)
    VECTORS.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
