"""Golden messages, byte for byte, with msgpack as the oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest

from convo import messages

VECTORS = json.loads((Path(__file__).parents[2] / "protocol" / "vectors" / "vectors.json").read_text(encoding="utf-8"))


def from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"$bin"}:
            return bytes.fromhex(value["$bin"])
        return {key: from_json(inner) for key, inner in value.items()}
    return [from_json(inner) for inner in value] if isinstance(value, list) else value


def struct_of(vector: dict[str, Any]) -> type[messages.Message]:
    name = vector["message"]["type"]
    if name == "ok":
        return messages.REQUESTS[vector["reply_to"]].Reply
    return (messages.FROM_CLIENT if vector["from"] == "client" else messages.FROM_SERVER)[name]


def every_subclass(of: type) -> set[type]:
    return {of} | {deeper for each in of.__subclasses__() for deeper in every_subclass(each)}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    fields = msgpack.unpackb(data)
    assert fields == from_json(vector["message"])
    assert msgpack.packb(fields) == data
    message = messages.from_map(fields, struct_of(vector))
    assert messages.encode(message) == data


def test_every_message_has_a_vector() -> None:
    abstract = {messages.Message, messages.Request, messages.Event, messages.DurableEvent, messages.SummaryEvent}
    known = {struct for struct in every_subclass(messages.Message) if struct.__module__ == messages.__name__}
    assert known - abstract == {struct_of(vector) for vector in VECTORS}


def test_every_field_has_a_vector() -> None:
    said: dict[type, set[str]] = {}
    for vector in VECTORS:
        said.setdefault(struct_of(vector), set()).update(vector["message"])
    for struct, fields in said.items():
        assert {field.encode_name for field in msgspec.structs.fields(struct)} <= fields, struct


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_unknown_fields_are_ignored(vector: dict[str, Any]) -> None:
    fields = msgpack.unpackb(bytes.fromhex(vector["hex"]))
    message = messages.from_map(fields, struct_of(vector))
    assert messages.from_map({**fields, "later": {"x": [1]}}, struct_of(vector)) == message


def test_a_float_may_come_as_an_integer() -> None:
    fields = {"type": "speech_started", "session": "s", "time": 3}
    time = messages.from_map(fields, messages.SpeechStarted).time
    assert (time, type(time)) == (3.0, float)


def test_final_states() -> None:
    assert {state for state in messages.State if state.final} == {"completed", "failed", "cancelled"}


def test_limits_are_always_whole() -> None:
    welcome = messages.Welcome(protocol=1, server="convod", limits=messages.Limits(), features=[])
    limits = msgpack.unpackb(messages.encode(welcome))["limits"]
    assert limits.keys() == {"message_bytes", "audio_credit", "resume_s"}


@pytest.mark.parametrize("offset", [-1, 2**63])
def test_an_offset_that_no_database_holds_is_refused(offset: int) -> None:
    with pytest.raises(msgspec.ValidationError):
        messages.from_map({"type": "audio", "session": "s", "offset": offset, "data": b""}, messages.Audio)


def test_a_summary_in_an_event_has_every_field_of_a_summary() -> None:
    event = {field.name: field.type for field in msgspec.structs.fields(messages.SummaryEvent)}
    value = {field.name: field.type for field in msgspec.structs.fields(messages.Summary)}
    assert event == value | {"session": str, "seq": int}
