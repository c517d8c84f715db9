"""The tables of SPEC.md against the structs: each field where it belongs, with its type, its default and its mark."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import pytest

from convo import messages
from tests.protocol.test_spec import SPEC, structs

Row = dict[str, str]

HEADS = {"field": "fields", "ok": "reply"}
"""What the first column of a table is called, and what stands in it; another name is that of a map."""

TYPES: dict[Any, tuple[str, ...]] = {
    str: ("str",),
    int: ("int", "uint"),
    float: ("float",),
    bool: ("bool",),
    bytes: ("bin",),
}


def tables() -> dict[tuple[str, str], dict[str, Row]]:
    """Rows by the message or map that they are of, and what they list of it; then by the name of the field."""
    found: dict[tuple[str, str], dict[str, Row]] = {}
    title, head, owner = "", None, ""
    for line in SPEC.splitlines():
        if named := re.fullmatch(r"(?:### )?`(\w+)`", line):
            title = named[1]
        if not line.startswith("|"):
            head = None
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
        if head is None:
            # Tables of events have the name of the event in front, under a head of its own.
            head, owner = (["event", *cells[1:]] if cells[:2] == ["type", "field"] else cells), ""
        elif not set(line) <= set("|- "):
            row = dict(zip(head, cells, strict=True))
            if head[0] == "event":
                owner = row["event"] or owner
                owners = [(name, "fields") for name in re.findall(r"`(\w+)`", owner)]
            else:
                mark = head[0].strip("`")
                owners = [(title, HEADS[mark]) if mark in HEADS else (mark, "fields")]
            names = row.get("field") or cells[0]
            for name, optional in re.findall(r"`(\w+)(\??)`", names):
                for one in owners:
                    found.setdefault(one, {})[name] = row | {"optional": optional}
    return found


TABLES = tables()


def type_of(annotation: Any) -> tuple[str, ...]:
    """What the page may call a type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_of(arguments[0])
    if origin in (Union, types.UnionType):
        (some,) = [one for one in arguments if one is not type(None)]
        return tuple(f"{name}{nil}" for name in type_of(some) for nil in ("", " or nil"))
    if origin is Literal or (isinstance(annotation, type) and issubclass(annotation, Enum)):
        return ("str",)
    if origin is list:
        return tuple(f"list of {name}" for name in type_of(arguments[0]))
    if origin is dict:
        return ("map",)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return (annotation.__name__, "map")
    return TYPES[annotation]


def default_of(default: Any) -> tuple[str, ...]:
    """How the page may write a default."""
    if default is msgspec.NODEFAULT:
        return ("",)
    if isinstance(default, msgspec.Struct):
        return ("all its defaults",)
    if default == []:
        return ("empty",)
    if isinstance(default, bool) or default is None:
        return ("nil" if default is None else str(default).lower(),)
    return (f"`{default}`", f"{default}") if default != "" else ('`""`',)


def documented() -> Iterator[Any]:
    """Each struct that has a table, and where it stands."""
    for name, struct in (messages.FROM_CLIENT | messages.FROM_SERVER).items():
        yield pytest.param(struct, (name, "fields"), id=name)
        reply = getattr(struct, "Reply", messages.Reply)
        if reply is not messages.Reply:
            yield pytest.param(reply, (name, "reply"), id=f"{name}: ok")
    yield pytest.param(messages.EngineStatus, ("engine", "fields"), id="engine")
    yield pytest.param(messages.StorageStatus, ("storage", "fields"), id="storage")
    yield pytest.param(messages.ClusterStatus, ("cluster", "fields"), id="cluster")
    yield pytest.param(messages.RemoteWorkerStatus, ("worker", "fields"), id="worker")
    yield pytest.param(messages.Limits, ("limits", "fields"), id="limits")
    yield pytest.param(messages.AudioFormat, ("kind", "fields"), id="audio of create_session")


@pytest.mark.parametrize(("struct", "place"), documented())
def test_a_table_says_what_the_struct_does(struct: type[msgspec.Struct], place: tuple[str, str]) -> None:
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    # What the page explains once for all.
    if issubclass(struct, messages.Request | messages.Reply):
        del fields["id"]
    elif issubclass(struct, messages.DurableEvent):
        del fields["session"], fields["seq"]
    elif issubclass(struct, messages.Event):
        del fields["session"]
    if issubclass(struct, messages.SummaryEvent):
        return  # the fields of Summary, which has its own test
    table = TABLES.get(place, {})
    if set(fields) == {"session"} and not table:  # said in a sentence
        assert re.search(rf"\n### `{place[0]}`\n(?:(?!\n#).)*Field: `session`\.", SPEC, re.DOTALL)
        return
    assert set(table) == set(fields)
    for name, field in fields.items():
        row = table[name]
        assert (row["optional"] == "?") == (field.default is None), name
        assert row["type"] in type_of(field.type), name
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if not struct.__struct_config__.omit_defaults:
            default = msgspec.NODEFAULT  # it is always there
        if "default" in row:
            assert row["default"] in default_of(default), name
        else:
            assert default is msgspec.NODEFAULT, name


VALUES = [
    struct
    for struct in structs(messages.Value)
    if struct.__name__
    not in (
        "AudioFormat",
        "ClusterStatus",
        "EngineStatus",
        "Limits",
        "QueueStatus",
        "RemoteWorkerStatus",
        "SessionCounts",
        "StorageStatus",
        "SummarizerStatus",
    )
]


@pytest.mark.parametrize("struct", VALUES)
def test_a_value_is_described_with_its_marks(struct: type[msgspec.Struct]) -> None:
    (said,) = re.findall(rf"\*\*{struct.__name__}\*\*: (.*?)\n\n", SPEC, re.DOTALL)
    marks = dict(reversed(re.findall(r"`(\w+)(\??)`", said)))  # a name is marked where it comes first
    for field in msgspec.structs.fields(struct):
        assert (marks[field.name] == "?") == (field.default is None), field.name


def test_durable_events_are_marked() -> None:
    starred = re.findall(r"^\| ((?:`\w+`(?:, | / )?)+) \* \|", SPEC, re.MULTILINE)
    assert {name for cell in starred for name in re.findall(r"\w+", cell)} == set(messages.DURABLE)
