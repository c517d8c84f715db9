"""The walk through the daemon in CONTRIBUTING.md names what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
WALK = TEXT.split("### A chunk of live audio, stop by stop")[1].split("\nInside the app")[0]
PLACES = re.findall(r"`([\w.]+)` \(`([\w/]+\.py)`", WALK)


@pytest.mark.parametrize(("name", "path"), PLACES)
def test_a_stop_is_where_the_walk_says(name: str, path: str) -> None:
    text = (ROOT / "daemon/convod" / path).read_text()
    for part in name.split("."):
        assert re.search(rf"(class|def) {part}\b", text), f"{path} has no {part}"


def test_the_walk_has_at_most_20_stops_and_all_its_files_exist() -> None:
    stops = [int(number) for number in re.findall(r"^\| (\d+) \|", WALK, re.MULTILINE)]
    assert stops == list(range(1, len(stops) + 1))
    assert 10 < len(stops) <= 20
    assert len(PLACES) > 10
    for path in re.findall(r"`(\w+/\w+\.py)`", WALK):
        assert (ROOT / "daemon/convod" / path).is_file(), path
