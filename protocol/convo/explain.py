"""Says what is wrong with a message in one sentence that a person can act on.

In: the complaint of msgspec about a map, and the struct that it was read as. Out: a sentence that names the
message and the field, such as "create_session: kind must be str, not int.". This module never decides what is
wrong, and shows no more of a peer's text than a short, escaped piece.
"""

from __future__ import annotations

import re
import types
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]*)`")
_EXPECTED = re.compile(r"Expected `(?P<wanted>[^`]*)`(?P<bound>[^,]*?)(?:, got `(?P<got>[^`]*)`)?$")
_INVALID = re.compile(r"Invalid (?:enum )?value (?P<got>.*)$", re.DOTALL)

# msgspec speaks of its own kinds; these are the names that SPEC.md uses.
_NAMES = {"object": "map", "dict": "map", "array": "list", "bytes": "bin", "null": "nil"}

_SHOWN = 40  # characters of a peer's text in a sentence


def shown(text: object) -> str:
    """A peer's text, escaped and cut, fit to stand in a sentence."""
    piece = ascii(text)
    return piece if len(piece) <= _SHOWN else f"{piece[: _SHOWN - 3]}..."


def validation_message(name: str, struct: type[msgspec.Struct], error: Exception) -> str:
    """One sentence about why a map cannot be read as `struct`, the message that is called `name`."""
    said, _, place = str(error).rpartition(" - at `")
    if not said:
        said, place = str(error), ""
    place = place.rstrip("`")
    if "key" in place.split("`"):
        return f"{name}: every field name must be a str."
    path = place.removeprefix("$").removeprefix(".")
    if missing := _MISSING.match(said):
        field = f"{path}.{missing['field']}" if path else missing["field"]
        return f"{name}: {field} is missing; add it."
    field = path or "the message"
    if expected := _EXPECTED.match(said):
        wanted = " or ".join(_NAMES.get(kind, kind) for kind in expected["wanted"].split(" | "))
        got = expected["got"]
        instead = f", not {_NAMES.get(got, got)}" if got else ""
        return f"{name}: {field} must be {wanted}{expected['bound']}{instead}."
    if invalid := _INVALID.match(said):
        options = _choices(struct, path)
        if options:
            return f"{name}: {field} must be one of {', '.join(options)}."
        return f"{name}: {field} must be a value that the contract names, not {shown(invalid['got'])}."
    return f"{name}: {field} is not as the contract says."


def _choices(struct: Any, path: str) -> list[str]:
    """The values that a field may have, found by its path; empty where the contract gives no list."""
    kind: Any = struct
    for part in re.sub(r"\[[^\]]*\]", ".[]", path).split("."):
        kind = _without_none(kind)
        if part == "[]":
            kind = get_args(kind)[0] if get_args(kind) else Any
            continue
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return []
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        if part not in fields:
            return []
        kind = fields[part]
    kind = _without_none(kind)
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(member.value) for member in kind]
    return []


def _without_none(kind: Any) -> Any:
    """`X` of `X | None`, anything else as it is."""
    if get_origin(kind) in (Union, types.UnionType):
        rest = [part for part in get_args(kind) if part is not type(None)]
        return rest[0] if len(rest) == 1 else kind
    return kind
