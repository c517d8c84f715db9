"""Write a small ONNX model: the few messages of its protocol buffers that a graph of a dozen nodes needs.

In: nodes and constants. Out: the bytes of a model. Field numbers are those of onnx.proto3 (version 1.9 and later).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

IR_VERSION: Final = 8
OPSET: Final = 14
MICROSOFT: Final = "com.microsoft"
"""The domain of onnxruntime's own operators."""

_TYPES: Final = {"float32": 1, "int8": 3, "int64": 7}

Array = np.ndarray[Any, np.dtype[Any]]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def node(kind: str, inputs: Iterable[str], outputs: Iterable[str], domain: str = "", **attributes: int) -> bytes:
    """A NodeProto with whole numbers as attributes; an input "" is left out."""
    message = b"".join(_bytes(1, name) for name in inputs) + b"".join(_bytes(2, name) for name in outputs)
    message += _bytes(4, kind)
    for name, value in attributes.items():
        message += _bytes(5, _bytes(1, name) + _int(3, value) + _int(20, 2))
    return message + (_bytes(7, domain) if domain else b"")


def _tensor(name: str, array: Array) -> bytes:
    dims = b"".join(_int(1, length) for length in array.shape)
    data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return dims + _int(2, _TYPES[array.dtype.name]) + _bytes(8, name) + _bytes(9, data)


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(_bytes(1, _bytes(2, one) if isinstance(one, str) else _int(1, one)) for one in shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, _int(1, 1) + _bytes(2, dims)))


def model(
    nodes: Iterable[bytes],
    constants: Mapping[str, Array],
    takes: tuple[str, Sequence[int | str]],
    gives: tuple[str, Sequence[int | str]],
) -> bytes:
    """A ModelProto with one input and one output of 32-bit floats; a str in a shape names a length that varies."""
    graph = b"".join(_bytes(1, one) for one in nodes) + _bytes(2, "graph")
    graph += b"".join(_bytes(5, _tensor(name, array)) for name, array in constants.items())
    graph += _bytes(11, _value(*takes)) + _bytes(12, _value(*gives))
    opsets = _bytes(8, _bytes(1, "") + _int(2, OPSET)) + _bytes(8, _bytes(1, MICROSOFT) + _int(2, 1))
    return _int(1, IR_VERSION) + _bytes(2, "convo") + _bytes(7, graph) + opsets
