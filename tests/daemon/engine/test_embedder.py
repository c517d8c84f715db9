"""Voices as vectors: the encoder beside a plain computation of it, features beside those of others, bad models."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest

from convod.engine import ge2e, kaldi, onnx_file
from convod.engine.embedder import BadEmbedder, Embedder, WhenAsked
from convod.engine.torch_state import BadState, read_state
from convod.engine.wire import Work
from convod.speech.decoding import Hypothesis, Options, Window
from tests.fakes.checkpoint import checkpoint, encoder

DATA = Path(__file__).parents[2] / "data"
GOLDEN = json.loads((DATA / "voiceprint.json").read_text())


@pytest.fixture(scope="module")
def voices(tmp_path_factory) -> Path:
    """A converted encoder with weights made up."""
    directory = tmp_path_factory.mktemp("voices")
    (directory / ge2e.CHECKPOINT).write_bytes(checkpoint(encoder()))
    ge2e.convert(directory)
    return directory / ge2e.MODEL


@pytest.fixture(scope="module")
def short() -> np.ndarray:
    with wave.open(str(DATA / "short.wav")) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768


def plain(frames: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The encoder as PyTorch documents its LSTM: frames (n, 40) -> a vector (256,) of length 1."""

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    for layer in range(3):
        w, u, b, c = (arrays[f"lstm.{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        hidden, cell, out = np.zeros(256), np.zeros(256), []
        for frame in frames:
            enter, forget, new, leave = np.split(w @ frame + b + u @ hidden + c, 4)
            cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
            hidden = sigmoid(leave) * np.tanh(cell)
            out.append(hidden)
        frames = np.array(out)
    found = np.maximum(arrays["linear.weight"] @ frames[-1] + arrays["linear.bias"], 0)
    return found / np.linalg.norm(found)


def vectors(embedder: Embedder, samples: np.ndarray) -> list[np.ndarray]:
    return [np.frombuffer(vector, "<f4") for vector in embedder.embed(samples).vectors]


def noise(seconds: float) -> np.ndarray:
    return (np.random.default_rng(1).standard_normal(int(16000 * seconds)) * 0.1).astype(np.float32)


# --- the encoder ------------------------------------------------------------------------------------------


def test_a_window_is_embedded_as_the_checkpoint_says(voices):
    samples = noise(1.59)
    (found,) = vectors(Embedder(voices), samples)
    assert found @ plain(ge2e.mels(samples), encoder()) > 0.999
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [
        (0.01, [0.0]),
        (1.0, [0.0]),
        (1.6, [0.0]),
        (1.9, [0.0]),
        (2.2, [0.0, 0.61]),
        (5.0, [0.0, 0.8, 1.6, 2.4, 3.2]),
    ],
)
def test_windows_begin_every_eight_tenths_of_a_second_and_the_last_ends_with_the_sound(voices, seconds, starts):
    prints = Embedder(voices).embed(noise(seconds))
    assert prints.starts == pytest.approx(starts)
    assert prints.window_s == 1.6
    assert len(prints.vectors) == len(starts)


def test_a_pause_has_no_vector(voices):
    samples = noise(6.4)
    samples[: 2 * 16000] = 0
    found = Embedder(voices).embed(samples).vectors
    assert [bool(vector) for vector in found] == [False, True, True, True, True, True, True]
    assert not any(Embedder(voices).embed(np.zeros(16000, np.float32)).vectors)


def test_loudness_does_not_matter_below_that_of_a_quiet_room(voices):
    embedder, samples = Embedder(voices), noise(1.6)
    (loud,), (quiet,) = vectors(embedder, samples * 0.1), vectors(embedder, samples * 0.001)
    assert loud @ quiet > 0.999


# --- beside others' computations --------------------------------------------------------------------------


def test_mel_power_is_that_of_librosa(short):
    gain = 10 ** (ge2e.LOUDNESS_DBFS / 20) / np.sqrt(np.mean(short.astype(float) ** 2))
    assert gain > 1
    np.testing.assert_allclose(ge2e.mels(short)[100], GOLDEN["mel"], rtol=1e-3)


def test_log_mels_are_those_of_kaldi(short):
    np.testing.assert_allclose(kaldi.log_mels(short)[100], GOLDEN["kaldi"], atol=2e-3)


@pytest.mark.real
def test_the_real_encoder_gives_what_pytorch_gives(short, tmp_path):
    from tests.support.real import model

    (tmp_path / ge2e.CHECKPOINT).symlink_to(model("voices") / ge2e.CHECKPOINT)
    ge2e.convert(tmp_path)
    (found,) = vectors(Embedder(tmp_path / ge2e.MODEL), short)
    golden = np.array(GOLDEN["ge2e"])
    assert found @ golden / np.linalg.norm(golden) > 0.998


# --- others' models ---------------------------------------------------------------------------------------


def test_a_model_of_80_bands_gets_kaldis_features_less_their_mean(tmp_path):
    path = tmp_path / "eighty.onnx"
    nodes = [
        onnx_file.node("Slice", ["feats", "from", "to", "along"], ["first"]),
        onnx_file.node("Squeeze", ["first", "along"], ["embs"]),
    ]
    constants = {name: np.array([value], np.int64) for name, value in {"from": 0, "to": 1, "along": 1}.items()}
    path.write_bytes(onnx_file.model(nodes, constants, ("feats", ["B", "T", 80]), ("embs", ["B", 80])))
    samples = noise(1.6 + 0.02)
    (found, *_) = vectors(Embedder(path), samples)
    frames = kaldi.log_mels(samples)[:160]
    expected = (frames - frames.mean(axis=0))[0]
    assert found @ expected / np.linalg.norm(expected) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_what_is_no_model_is_a_sentence(tmp_path, content):
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadEmbedder, match=r"bad\.onnx is no ONNX model that can be loaded: [^\n]*$"):
        Embedder(path)


def test_a_model_that_takes_something_else_is_a_sentence(tmp_path):
    path = tmp_path / "wave.onnx"
    node = onnx_file.node("Identity", ["wave"], ["embs"])
    path.write_bytes(onnx_file.model([node], {}, ("wave", ["B", "T"]), ("embs", ["B", "T"])))
    with pytest.raises(BadEmbedder, match=r"must take one tensor \(batch, frames, 80\)"):
        Embedder(path)


# --- in the worker ----------------------------------------------------------------------------------------


def said(text: str) -> Hypothesis:
    return Hypothesis(text=text, language="en", language_probability=1.0, avg_logprob=0.0, no_speech_prob=0.0)


def work(*wanted: bool) -> Work:
    audio = (noise(1.6) * 32767).astype("<i2").tobytes()
    return Work(windows=[Window(audio=audio, voiceprints=one) for one in wanted], rate=16000, options=Options())


def test_only_what_is_wanted_and_holds_words_is_embedded(voices):
    found = WhenAsked(str(voices)).with_voiceprints(work(True, False, True), [said("a"), said("b"), said("")])
    assert [one.voiceprints is not None for one in found] == [True, False, False]


def test_without_a_model_words_come_all_the_same(tmp_path, capfd):
    assert WhenAsked(None).with_voiceprints(work(True), [said("a")]) == [said("a")]
    bad = WhenAsked(str(tmp_path / "nothing"))
    for _ in range(2):
        assert bad.with_voiceprints(work(True), [said("a")]) == [said("a")]
    assert capfd.readouterr().err.count("speakers are not told apart") == 1


# --- checkpoints ------------------------------------------------------------------------------------------


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = encoder(3)
    found = read_state(write(tmp_path / "c.pt", checkpoint(arrays)), "model_state")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("function", "named"), [(("os", "system"), "os.system"), (("builtins", "eval"), "builtins.eval")]
)
def test_a_pickle_that_names_anything_else_runs_nothing(tmp_path, function, named):
    data = checkpoint({"a": np.zeros(3, np.float32)}, function=function)
    with pytest.raises(BadState, match=f"names {named}"):
        read_state(write(tmp_path / "evil.pt", data), "model_state")


@pytest.mark.parametrize("keep", [0, 10, 100, -1, -100])
def test_a_file_that_is_cut_off_is_a_sentence(tmp_path, keep):
    data = checkpoint({"a": np.zeros(300, np.float32)})
    with pytest.raises(BadState):
        read_state(write(tmp_path / "cut.pt", data[:keep]), "model_state")


def test_an_array_never_reaches_beyond_its_storage(tmp_path):
    class Liar(np.ndarray):
        shape = (400,)  # type: ignore[assignment]

    data = checkpoint({"a": np.zeros(300, np.float32).view(Liar)})
    with pytest.raises(BadState, match="beyond its storage"):
        read_state(write(tmp_path / "long.pt", data), "model_state")


def test_a_checkpoint_of_another_model_is_not_converted(tmp_path):
    write(tmp_path / ge2e.CHECKPOINT, checkpoint({"a": np.zeros(3, np.float32)}))
    with pytest.raises(BadState, match="not those of the encoder"):
        ge2e.convert(tmp_path)
