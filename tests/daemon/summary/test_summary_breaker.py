"""Pauses that grow, and a breaker, from tables."""

from __future__ import annotations

import pytest

from convod.summary.breaker import Backoff, Breaker


@pytest.mark.parametrize(
    ("chance", "pauses"), [(0.0, [2, 4, 8, 16, 20, 20]), (1.0, [1, 2, 4, 8, 10, 10]), (0.5, [1.5, 3, 6, 12, 15, 15])]
)
def test_pauses_double_up_to_the_most_and_lose_up_to_half(chance: float, pauses: list[float]) -> None:
    backoff = Backoff(2.0, 20.0, lambda: chance)
    assert [backoff.pause() for _ in pauses] == pauses


def test_pauses_differ() -> None:
    backoffs = [Backoff(64.0, 64.0) for _ in range(50)]
    pauses = {backoff.pause() for backoff in backoffs}
    assert len(pauses) > 40
    assert all(32 <= pause <= 64 for pause in pauses)


# What happens at which second, and how long one has to wait then.
STORIES = {
    "closed": [(0, "fail", 0), (1, "fail", 0)],
    "opens at the third failure": [(0, "fail", 0), (1, "fail", 0), (2, "fail", 30), (12, "", 20), (32, "", 0)],
    "a success in between starts over": [(0, "fail", 0), (1, "fail", 0), (2, "ok", 0), (3, "fail", 0), (4, "fail", 0)],
    "one may try, the others wait": [(0, "permanent", 30), (30, "", 0), (30, "begin", 1), (31, "ok", 0)],
    "a trial that fails opens it for twice as long": [(0, "permanent", 30), (31, "begin", 1), (31, "fail", 60)],
    "a trial that is given up is nobody's": [(0, "permanent", 30), (31, "begin", 1), (32, "given up", 0)],
    "it closes for good": [
        (0, "permanent", 30),
        (31, "begin", 1),
        (31, "ok", 0),
        (32, "fail", 0),
        (33, "permanent", 30),
    ],
    "never longer than the most": [(at * 1000, "permanent", min(600, 30 * 2**at)) for at in range(8)],
}


@pytest.mark.parametrize("story", STORIES)
def test_stories(story: str) -> None:
    breaker = Breaker(chance=lambda: 0.0)
    for now, what, wait in STORIES[story]:
        match what:
            case "fail" | "permanent":
                breaker.failed(now, f"at {now}", permanent=what == "permanent")
                assert breaker.reason == f"at {now}"
            case "ok":
                breaker.succeeded()
            case "begin":
                breaker.begin()
            case "given up":
                breaker.given_up()
        assert breaker.wait(now) == wait, (now, what)
