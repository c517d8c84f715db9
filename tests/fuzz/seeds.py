"""Writes the corpus: a few inputs that each target understands. `python -m tests.fuzz.seeds`."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import msgpack

HERE = Path(__file__).parent
VECTORS = HERE.parents[1] / "protocol" / "vectors" / "vectors.json"


def main() -> None:
    """A stream of all messages of each side, single ones as text, bodies of events, files of tokens."""
    vectors = json.loads(VECTORS.read_text())
    bodies = {
        side: [bytes.fromhex(one["hex"]) for one in vectors if one["from"] == side] for side in ("client", "daemon")
    }
    stream = b"".join(struct.pack(">I", len(body)) + body for body in bodies["client"])
    answers = b"".join(struct.pack(">I", len(body)) + body for body in bodies["daemon"])
    texts = [json.dumps(one["message"]).encode() for one in vectors if one["from"] == "client"]
    stored = [body for body in bodies["daemon"] if "seq" in msgpack.unpackb(body)]
    token = {"version": 1, "tokens": [{"name": "a", "scope": "read", "owner": "o", "created": 1.0, "sha256": "00"}]}
    seeds = {
        "server": [b"\x00\xff" + stream, b"\x01\x07" + stream],
        "json": [b"\xff".join(texts)],
        "client": [answers],
        "events": stored,
        "tokens": [json.dumps(token).encode(), b"{}"],
        "database": [bytes(8), bytes(range(256))],
    }
    for target, inputs in seeds.items():
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(inputs):
            (folder / f"seed-{number}").write_bytes(data)


if __name__ == "__main__":
    main()
