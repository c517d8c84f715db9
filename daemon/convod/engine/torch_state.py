"""Read the arrays of a PyTorch checkpoint without PyTorch, and without running anything that stands in it.

In: a file as `torch.save` wrote it before it wrote zips (PyTorch's `_legacy_save`): five pickles, then each storage,
its number of elements first. Out: the state dict's arrays by name. A pickle may call what it likes; this
reader knows three names, and none of them does anything.
"""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

MAGIC: Final = 0x1950A86A20F9469CFC6C
PROTOCOL: Final = 1001

Floats = np.ndarray[Any, np.dtype[np.float32]]


class BadState(ValueError):
    """The file is no such checkpoint; the text says why."""


def _tensor(*parts: Any) -> tuple[Any, ...]:
    """What stands for a tensor: storage, offset, size, strides, and what is of no use here."""
    return parts


_ALLOWED: Final[Mapping[tuple[str, str], Callable[..., Any]]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch", "FloatStorage"): float,
}
"""All that the pickle of a state dict of 32-bit floats names."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise BadState(f"its pickle names {module}.{name}, which no state dict needs") from None

    def persistent_load(self, pid: Any) -> Any:
        return pid  # ("storage", its type, its key, its device, its number of elements, its view)


def read_state(path: Path, name: str) -> dict[str, Floats]:
    """Return the arrays of the checkpoint's entry `name`.

    Raises:
        BadState: it is no such checkpoint, or holds anything else than arrays of 32-bit floats.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        try:
            if _Unpickler(file).load() != MAGIC or _Unpickler(file).load() != PROTOCOL:
                raise BadState("it does not begin as a checkpoint of PyTorch does")
            _Unpickler(file).load()  # how large the types of the machine were that wrote it
            checkpoint = _Unpickler(file).load()
            storages = _storages(file, _Unpickler(file).load())
            return {key: _array(parts, storages) for key, parts in checkpoint[name].items()}
        except BadState:
            raise
        except Exception as error:  # a pickle of anything else fails in any way
            raise BadState(f"it is no checkpoint that can be read ({type(error).__name__}: {error})") from error


def _storages(file: IO[bytes], keys: list[str]) -> dict[str, Floats]:
    storages = {}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        data = file.read(4 * count) if count >= 0 else b""
        if count < 0 or len(data) != 4 * count:
            raise BadState("it ends inside an array")
        storages[key] = np.frombuffer(data, "<f4")
    return storages


def _array(parts: tuple[Any, ...], storages: Mapping[str, Floats]) -> Floats:
    (_, _, key, *_), offset, size, strides = parts[:4]
    flat = storages[key]
    last = offset + sum((length - 1) * stride for length, stride in zip(size, strides, strict=True))
    if offset < 0 or min((*size, *strides), default=0) < 0 or last >= flat.size:
        raise BadState("an array reaches beyond its storage")
    steps = [4 * stride for stride in strides]
    return np.lib.stride_tricks.as_strided(flat[offset:], size, steps).astype(np.float32)
