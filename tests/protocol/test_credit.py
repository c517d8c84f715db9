from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convo.credit import SendWindow


def test_room_is_what_was_granted_beyond_what_was_sent() -> None:
    window = SendWindow(offset=100, credit=50)
    assert window.take(30) == 100
    assert (window.sent, window.room, window.acknowledged) == (130, 20, 100)
    window.granted(offset=120, credit=50)
    assert (window.room, window.acknowledged, window.limit) == (40, 120, 170)


def test_limit_never_shrinks() -> None:
    window = SendWindow(credit=100)
    window.granted(offset=50, credit=10)
    assert window.limit == 100
    window.granted(offset=20, credit=10)
    assert (window.limit, window.acknowledged) == (100, 50)


@pytest.mark.parametrize("size", [-1, 11])
def test_more_than_the_room_is_refused(size: int) -> None:
    window = SendWindow(credit=10)
    with pytest.raises(ValueError, match="do not fit"):
        window.take(size)
    assert window.sent == 0


@given(grants=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000))))
def test_limit_is_the_largest_ever_granted(grants: list[tuple[int, int]]) -> None:
    window = SendWindow(credit=7)
    for offset, credit in grants:
        window.granted(offset, credit)
    assert window.limit == max([7, *(offset + credit for offset, credit in grants)])
    assert window.room >= 0
