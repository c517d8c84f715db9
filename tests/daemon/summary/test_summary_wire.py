"""Lines and events come out whole however the bytes are cut."""

from __future__ import annotations

import pytest

from convod.summary.wire import LINE_BYTES, Events, Lines, LineTooLong

NDJSON = '{"a": "\u2028 \u0085 é 한"}\r\n\n{"b": 2}\n{"c": 3}'.encode()
SSE = (
    '\ufeff: hello\r\n\r\nevent: x\r\ndata: {"a": "한\u2028"}\r\n\r\n'
    "data:no space\n\ndata: two\ndata: lines\nid: 7\nretry: 10\n\n\n\ndata: [DONE]"
).encode()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_lines(size: int) -> None:
    lines = Lines()
    found = [row for at in range(0, len(NDJSON), size) for row in lines.feed(NDJSON[at : at + size])]
    found += lines.end()
    assert [row.decode() for row in found] == ['{"a": "\u2028 \u0085 é 한"}', "", '{"b": 2}', '{"c": 3}']
    assert lines.end() == []


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_events(size: int) -> None:
    events = Events()
    found = [data for at in range(0, len(SSE), size) for data in events.feed(SSE[at : at + size])]
    assert found == ['{"a": "한\u2028"}', "no space", "two\nlines"]
    assert events.end() == ["[DONE]"]


def test_a_line_without_end_is_stopped() -> None:
    lines = Lines()
    lines.feed(b"x" * LINE_BYTES)
    with pytest.raises(LineTooLong):
        lines.feed(b"x")
