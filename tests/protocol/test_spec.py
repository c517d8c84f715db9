"""SPEC.md says what the code does: every message, field, code and byte of its example."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import msgpack
import msgspec
import pytest

from convo import messages
from convo.connection import NEED_DATA, Connection, Role
from convo.formats import FORMATS
from convo.framing import LengthPrefixed, WholeMessages
from convo.messages import Audio, CreateSession, CreateSessionReply, Hello, TranscriptSegment, Welcome

SPEC = (Path(__file__).parents[2] / "protocol" / "SPEC.md").read_text(encoding="utf-8")


def named(name: str) -> bool:
    return re.search(rf"`{re.escape(name)}\??`", SPEC) is not None


def structs(of: type) -> Iterator[type[msgspec.Struct]]:
    for each in of.__subclasses__():
        if each.__module__ == messages.__name__:
            yield each
        yield from structs(each)


ABSTRACT = {messages.Request, messages.Event, messages.DurableEvent, messages.SummaryEvent}
STRUCTS = [struct for struct in (*structs(messages.Message), *structs(messages.Value)) if struct not in ABSTRACT]


@pytest.mark.parametrize("struct", STRUCTS)
def test_every_message_and_field_is_named(struct: type[msgspec.Struct]) -> None:
    tag = struct.__struct_config__.tag
    assert tag is None or named(str(tag)), tag
    for field in msgspec.structs.fields(struct):
        assert named(field.encode_name), (struct, field.encode_name)


@pytest.mark.parametrize("names", [messages.Code, messages.State])
def test_every_code_and_state_is_named(names: type[Enum]) -> None:
    for member in names:
        assert f"| `{member.value}` |" in SPEC, member


def test_every_format_is_named() -> None:
    for name in FORMATS:
        assert f"| `{name}` |" in SPEC, name


def test_every_request_has_its_place() -> None:
    for name in messages.REQUESTS:
        assert f"\n### `{name}`\n" in SPEC, name


def payloads() -> list[tuple[str, bytes]]:
    example = SPEC.partition("## A worked example")[2].partition("```\n")[2].partition("```")[0]
    found = []
    for block in example.strip().split("\n\n"):
        said, *lines = block.split("\n")
        found.append((said[0], bytes.fromhex("".join(lines))))
    return found


def prefixed(prefix: str) -> bytes:
    return bytes.fromhex("".join(re.findall(rf"^{prefix}  (.*)$", SPEC, re.MULTILINE)))


def test_the_example_is_a_conversation() -> None:
    client, server = Connection(Role.CLIENT, WholeMessages()), Connection(Role.SERVER, WholeMessages())
    seen = []
    for who, payload in payloads():
        assert msgpack.packb(msgpack.unpackb(payload)) == payload
        reader, writer = (server, client) if who == "C" else (client, server)
        reader.receive_data(payload)
        message = reader.next_event()
        assert isinstance(message, messages.Message)
        writer.send(message)
        if who == "C":
            assert messages.encode(message) == payload
        seen.append(type(message))
    assert seen[:5] == [Hello, Welcome, CreateSession, CreateSessionReply, Audio]
    assert seen[-1] is TranscriptSegment


def test_the_example_in_frames() -> None:
    hello = payloads()[0][1]
    assert prefixed("frame C") == LengthPrefixed().wrap(hello)
    frame = prefixed("websocket C")
    assert frame[:2] == bytes([0x82, 0x80 | len(hello)])
    mask = frame[2:6]
    assert bytes(byte ^ mask[at % 4] for at, byte in enumerate(frame[6:])) == hello


def test_what_the_spec_says_about_text_messages_and_nesting() -> None:
    server = Connection(Role.SERVER, WholeMessages())
    server.receive_data(payloads()[0][1])
    assert isinstance(server.next_event(), Hello)
    server.send(Welcome(protocol=1, server="x", limits=messages.Limits(), features=[]))
    deep: object = 0
    for _ in range(498):
        deep = [deep]
    server.receive_data(msgpack.packb({"type": "ping", "id": 1, "deep": deep, "long": [0] * 4096}))
    assert server.next_event() == messages.Ping(id=1)
    assert server.next_event() is NEED_DATA
