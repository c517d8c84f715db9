"""A real OpenAI-compatible server: llama.cpp's own (by xllamacpp), with a tiny model that is written here.

As a program: `python tests/support/llama.py MODEL [--context N] [--key KEY]` writes the model, serves it and prints the
address; it ends when its standard input does. What the model says is nonsense, what the server says is not.

The model is a transformer of two layers whose embeddings are random and whose output makes each token likely after
another (`_AFTER`), so that under a grammar it writes short strings and closes what it opened.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 60.0
MISSING = [name for name in ("xllamacpp", "gguf") if importlib.util.find_spec(name) is None]
REASON = "needs a llama.cpp server: pip install xllamacpp gguf"

_LETTERS = " etaoinshrdlu"
_AFTER = {
    **{'"': "t]}", "t": "h", "h": "e", "e": " ", " ": "s", "s": "o", "o": "u", "u": "n", "n": "d", "d": '"'},
    **{"[": '{1"', "{": '"', "1": "]", "]": "},", "}": "],", ",": '"', ":": '"[{'},
}
"""What is likely after each character, most likely first; a grammar forbids the rest."""


@contextmanager
def serving(directory: Path, *, context: int = 8192, key: str = "") -> Iterator[str]:
    """The address (with `/v1`) of a server in a process of its own, for the time of the block."""
    words = [sys.executable, __file__, str(directory / "tiny.gguf"), "--context", str(context), "--key", key]
    with (
        (directory / "log").open("w") as log,
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://"), (directory / "log").read_text()
            yield f"{url}/v1"
        finally:
            process.stdin.close()
            process.wait(START_S)


def write_model(path: Path, context: int) -> None:
    """A llama model of 120,000 parameters with a vocabulary of bytes and a few letters."""
    import gguf
    import numpy as np

    width, hidden, layers, heads = 128, 64, 2, 4
    tokens = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256))]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL] + [gguf.TokenType.BYTE] * 256
    tokens += [("\u2581" if letter == " " else letter).encode() for letter in _LETTERS]
    kinds += [gguf.TokenType.NORMAL] * len(_LETTERS)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-1.0] * len(tokens))
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: ")

    rng = np.random.default_rng(7)

    def small(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.02).astype(np.float32)

    def number(character: str) -> int:
        return 259 + _LETTERS.index(character) if character in _LETTERS else 3 + ord(character)

    embedding = rng.standard_normal((len(tokens), width)).astype(np.float32)
    output = small(len(tokens), width)
    for character, following in _AFTER.items():
        for rank, after in enumerate(following):
            output[number(after)] += embedding[number(character)] / 2**rank
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    writer.add_tensor("output.weight", output)
    for layer in range(layers):
        names = {"attn_q": (width, width), "attn_k": (width, width), "attn_v": (width, width)}
        names |= {"attn_output": (width, width), "ffn_gate": (hidden, width), "ffn_up": (hidden, width)}
        for name, shape in (names | {"ffn_down": (width, hidden)}).items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", small(*shape))
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--key", default="")
    options = parser.parse_args()
    import xllamacpp

    write_model(options.model, options.context)
    params = xllamacpp.CommonParams()
    params.model.path = str(options.model)
    params.model_alias = {"tiny"}
    params.n_ctx = options.context
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = False
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    if options.key:
        params.api_keys = [options.key]
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
