"""Weights: to and from CTranslate2's folder of `model.bin`, `config.json` and `vocabulary.json`, `tokenizer.json`
beside them.

Comes in and goes out: a dictionary of float32 arrays named like `model.Nano`'s parameters. No torch here: evaluation
and the random model do without.
"""

import json
import shutil
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .tokens import Vocabulary

Array = npt.NDArray[np.float32]
#: So many heads of each decoder layer are taught to look at the word they are about to write; the others are free.
#: Those of the last layer give faster-whisper its word times.
GUIDED_HEADS = 2
_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


@dataclass(frozen=True)
class Shape:
    """Sizes of the network."""

    vocabulary: int
    width: int = 192
    heads: int = 3
    encoder_layers: int = 4
    decoder_layers: int = 4
    mels: int = 80


def read_binary(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Every variable of a CTranslate2 `model.bin` (binary version 6), as stored: int8 weights beside their `_scale`."""
    raw = path.read_bytes()
    at = 0

    def take(form: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from("<" + form, raw, at)
        at += struct.calcsize(form)
        return int(value)

    def name() -> str:
        nonlocal at
        size = take("H")
        at += size
        return raw[at - size : at].rstrip(b"\0").decode()

    if (version := take("I")) != 6:
        raise ValueError(f"{path}: binary version {version}, not 6")
    name()
    take("I")
    found: dict[str, npt.NDArray[np.generic]] = {}
    for _ in range(take("I")):
        variable = name()
        dims = [take("I") for _ in range(take("B"))]
        kind, size = take("B"), take("I")
        if kind in _TYPES:
            found[variable] = np.frombuffer(raw[at : at + size], _TYPES[kind]).reshape(dims)
        at += size
    for _ in range(take("I")):
        alias = name()
        found[alias] = found[name()]
    return found


def read_weights(folder: Path) -> tuple[Shape, dict[str, Array]]:
    """The network's arrays, int8 ones multiplied out. The reverse of `export`, but for what rounding lost."""
    stored = read_binary(folder / "model.bin")

    def of(name: str) -> Array:
        value = stored[name].astype(np.float32)
        scale = stored.get(name + "_scale")
        if scale is None or stored[name].dtype != np.int8:
            return value
        return value / scale.astype(np.float32).reshape(-1, *[1] * (value.ndim - 1))

    out: dict[str, Array] = {
        "pe": of("encoder/position_encodings/encodings"),
        "dpe": of("decoder/position_encodings/encodings"),
    }
    out["emb.weight"] = of("decoder/embeddings/weight")

    def norm(ours: str, theirs: str) -> None:
        out[ours + ".weight"], out[ours + ".bias"] = of(theirs + "/gamma"), of(theirs + "/beta")

    def linear(theirs: str, *ours: str) -> None:
        weights, biases = np.split(of(theirs + "/weight"), len(ours)), np.split(of(theirs + "/bias"), len(ours))
        for one, weight, bias in zip(ours, weights, biases, strict=True):
            out[one + ".weight"], out[one + ".bias"] = weight, bias

    linear("encoder/conv1", "c1")
    linear("encoder/conv2", "c2")
    norm("lne", "encoder/layer_norm")
    norm("lnd", "decoder/layer_norm")
    counts = []
    for ours, theirs in (("enc", "encoder"), ("dec", "decoder")):
        count = 0
        while f"{theirs}/layer_{count}/ffn/linear_0/weight" in stored:
            a, b = f"{ours}.{count}", f"{theirs}/layer_{count}"
            norm(a + ".ln1", b + "/self_attention/layer_norm")
            linear(b + "/self_attention/linear_0", a + ".sa.q", a + ".sa.k", a + ".sa.v")
            linear(b + "/self_attention/linear_1", a + ".sa.o")
            if ours == "dec":
                norm(a + ".ln2", b + "/attention/layer_norm")
                linear(b + "/attention/linear_0", a + ".ca.q")
                linear(b + "/attention/linear_1", a + ".ca.k", a + ".ca.v")
                linear(b + "/attention/linear_2", a + ".ca.o")
            norm(a + ".ln3", b + "/ffn/layer_norm")
            linear(b + "/ffn/linear_0", a + ".f1")
            linear(b + "/ffn/linear_1", a + ".f2")
            count += 1
        counts.append(count)
    heads = int(stored["encoder/num_heads"]) if "encoder/num_heads" in stored else out["emb.weight"].shape[1] // 64
    shape = Shape(
        out["emb.weight"].shape[0], out["emb.weight"].shape[1], heads, counts[0], counts[1], out["c1.weight"].shape[1]
    )
    return shape, out


def export(
    weights: dict[str, Array], shape: Shape, vocabulary: Vocabulary, out: Path, *, quantization: str = "int8"
) -> None:
    """Write a folder that faster-whisper loads. Complete or not at all: written beside `out` and moved.

    `suppress_ids_begin` holds the blank but, unlike stock models, not the end: a window without speech then ends at
    once, instead of being forced to say something.
    """
    from ctranslate2.specs import whisper_spec

    # optimize() works in place: without copies the model under training would be rounded.
    w = {name: np.array(value, np.float32, copy=True) for name, value in weights.items()}
    spec = whisper_spec.WhisperSpec(shape.encoder_layers, shape.heads, shape.decoder_layers, shape.heads)

    def norm(theirs: object, ours: str) -> None:
        theirs.gamma, theirs.beta = w[ours + ".weight"], w[ours + ".bias"]  # type: ignore[attr-defined]

    def linear(theirs: object, *ours: str) -> None:
        theirs.weight = np.concatenate([w[name + ".weight"] for name in ours])  # type: ignore[attr-defined]
        theirs.bias = np.concatenate([w[name + ".bias"] for name in ours])  # type: ignore[attr-defined]

    encoder, decoder = spec.encoder, spec.decoder
    linear(encoder.conv1, "c1")
    linear(encoder.conv2, "c2")
    encoder.position_encodings.encodings = w["pe"]
    norm(encoder.layer_norm, "lne")
    decoder.embeddings.weight = w["emb.weight"]
    decoder.position_encodings.encodings = w["dpe"]
    decoder.projection.weight = decoder.embeddings.weight
    norm(decoder.layer_norm, "lnd")
    for ours, layers in (("enc", encoder.layer), ("dec", decoder.layer)):
        for i, layer in enumerate(layers):
            a = f"{ours}.{i}"
            norm(layer.self_attention.layer_norm, a + ".ln1")
            linear(layer.self_attention.linear[0], a + ".sa.q", a + ".sa.k", a + ".sa.v")
            linear(layer.self_attention.linear[1], a + ".sa.o")
            if ours == "dec":
                norm(layer.attention.layer_norm, a + ".ln2")
                linear(layer.attention.linear[0], a + ".ca.q")
                linear(layer.attention.linear[1], a + ".ca.k", a + ".ca.v")
                linear(layer.attention.linear[2], a + ".ca.o")
            norm(layer.ffn.layer_norm, a + ".ln3")
            linear(layer.ffn.linear_0, a + ".f1")
            linear(layer.ffn.linear_1, a + ".f2")
    spec.register_vocabulary(vocabulary.names())
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [vocabulary.space]
    spec.config.lang_ids = [vocabulary.english]
    spec.config.alignment_heads = [[shape.decoder_layers - 1, head] for head in range(GUIDED_HEADS)]
    spec.validate()
    spec.optimize(quantization=quantization)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as near:
        fresh = Path(near) / "model"
        fresh.mkdir()
        spec.save(str(fresh))
        vocabulary.tokenizer.save(str(fresh / "tokenizer.json"))
        out.mkdir(exist_ok=True)
        for file in fresh.iterdir():
            shutil.move(str(file), str(out / file.name))


def describe(folder: Path, **about: object) -> None:
    """Write `convo.json`: what the daemon should know about the model in `folder`."""
    (folder / "convo.json").write_text(json.dumps(about, indent=2) + "\n")
