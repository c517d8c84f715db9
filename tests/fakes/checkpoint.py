"""A checkpoint of the voice encoder as PyTorch wrote it before it wrote zips, with weights made up.

In: arrays by name. Out: its bytes. All arrays share one storage, as those of an LSTM do after `flatten_parameters`.
"""

from __future__ import annotations

import io
import struct
from collections import OrderedDict
from pickle import _Pickler as InPython  # type: ignore[attr-defined]
from typing import Any, ClassVar

import numpy as np

Arrays = dict[str, np.ndarray[Any, np.dtype[np.float32]]]


class _Named:
    """Pickles as a name of another module."""

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name


class _Call:
    def __init__(self, function: _Named, arguments: tuple[Any, ...]) -> None:
        self.function = function
        self.arguments = arguments


class _Storage:
    def __init__(self, key: str, count: int) -> None:
        self.pid = ("storage", _Named("torch", "FloatStorage"), key, "cpu", count, None)


class _Pickler(InPython):  # type: ignore[misc]  # it writes what it is told
    dispatch: ClassVar[dict[Any, Any]] = dict(InPython.dispatch)

    def persistent_id(self, value: object) -> object:
        return value.pid if isinstance(value, _Storage) else None

    def save_named(self, value: _Named) -> None:
        self.write(b"c" + f"{value.module}\n{value.name}\n".encode())

    def save_call(self, value: _Call) -> None:
        self.save(value.function)
        self.save(value.arguments)
        self.write(b"R")

    dispatch[_Named] = save_named
    dispatch[_Call] = save_call


def encoder(seed: int = 0) -> Arrays:
    """Weights of the encoder's shapes."""
    random = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, inputs in enumerate((40, 256, 256)):
        shapes[f"lstm.weight_ih_l{layer}"] = (1024, inputs)
        shapes[f"lstm.weight_hh_l{layer}"] = (1024, 256)
        shapes[f"lstm.bias_ih_l{layer}"] = shapes[f"lstm.bias_hh_l{layer}"] = (1024,)
    shapes |= {"linear.weight": (256, 256), "linear.bias": (256,)}
    return {name: (random.standard_normal(shape) * 0.1).astype(np.float32) for name, shape in shapes.items()}


def checkpoint(arrays: Arrays, *, function: tuple[str, str] = ("torch._utils", "_rebuild_tensor_v2")) -> bytes:
    """The file; `function` is what its pickle says that makes an array."""
    out = io.BytesIO()

    def write(value: object) -> None:
        _Pickler(out, 2).dump(value)

    state, place = OrderedDict(), 0
    count = sum(array.size for array in arrays.values())
    for name, array in arrays.items():
        strides = tuple(step // 4 for step in array.strides)
        parts = (_Storage("7", count), place, array.shape, strides, False, OrderedDict())
        state[name] = _Call(_Named(*function), parts)
        place += array.size
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"step": 1, "model_state": state}, ["7"]):
        write(value)
    out.write(struct.pack("<q", count))
    out.writelines(array.astype("<f4").tobytes() for array in arrays.values())
    return out.getvalue()
