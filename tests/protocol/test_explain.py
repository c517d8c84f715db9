from __future__ import annotations

from typing import Any

import msgspec
import pytest

from convo import messages
from convo.explain import shown, validation_message

CREATE = {"type": "create_session", "id": 1, "kind": "live"}


@pytest.mark.parametrize(
    ("struct", "fields", "says"),
    [
        (messages.CreateSession, {"kind": 3}, "create_session: kind must be str, not int."),
        (messages.CreateSession, {"kind": "both"}, "create_session: kind must be one of file, live."),
        (messages.CreateSession, {"kind": None}, "create_session: kind must be str, not nil."),
        (messages.CreateSession, {"audio": 3}, "create_session: audio must be map, not int."),
        (messages.CreateSession, {"audio": {"rate": "x"}}, "create_session: audio.rate must be int, not str."),
        (messages.CreateSession, {"interim": 1}, "create_session: interim must be bool, not int."),
        (
            messages.CreateSession,
            {"endpoint_ms": 1.5},
            "create_session: endpoint_ms must be int or nil, not float.",
        ),
        (
            messages.CreateSession,
            {"summary": {"mode": "x"}},
            "create_session: summary.mode must be one of final, off, rolling.",
        ),
        (messages.CreateSession, {"audio": {3: 3}}, "create_session: every field name must be a str."),
        (messages.Audio, {"session": "s", "offset": 0, "data": "x"}, "audio: data must be bin, not str."),
        (messages.Audio, {"session": "s", "offset": 0}, "audio: data is missing; add it."),
        (
            messages.ListSessions,
            {"state": "x"},
            "list_sessions: state must be one of cancelled, completed, failed, pending, processing, transcribed.",
        ),
        (
            messages.SearchReply,
            {"hits": [{"session": "s"}]},
            "ok: hits[0].segment is missing; add it.",
        ),
        (messages.GetSessionReply, {"session": 4}, "ok: session must be str, not int."),
    ],
)
def test_validation_message(struct: type[messages.Message], fields: dict[str, Any], says: str) -> None:
    name = str(struct.__struct_config__.tag)
    base = CREATE if struct is messages.CreateSession else {"type": name, "id": 1}
    with pytest.raises(msgspec.ValidationError) as caught:
        messages.from_map({**base, **fields}, struct)
    said = validation_message(name, struct, caught.value)
    prefix, of, options = said.partition(" one of ")
    said = prefix + of + ", ".join(sorted(options.rstrip(".").split(", "))) + "." if of else said
    assert said == says


def test_validation_message_of_a_constraint() -> None:
    error = msgspec.ValidationError("Expected `int` >= 0 - at `$.offset`")
    assert validation_message("audio", messages.Audio, error) == "audio: offset must be int >= 0."


def test_validation_message_that_nobody_foresaw() -> None:
    assert (
        validation_message("audio", messages.Audio, ValueError("?"))
        == "audio: the message is not as the contract says."
    )


def test_shown_is_short_and_plain() -> None:
    assert shown("a\x1b[2J\u202e") == r"'a\x1b[2J\u202e'"
    assert len(shown("x" * 1000)) == 40
