"""The extractive summaries of the sample talks, as they are in `tests/data/summaries.json`.

After a change that is meant to change them, `python -m tests.daemon.summary.test_summary_golden` writes them anew: read
the difference before it is committed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from convo.messages import Segment
from convod.summary import STYLES
from convod.summary.extractive import extract
from tests.fakes.talks import CHINESE, CONSULTATION, KOREAN, MEETING, STATUS, STATUS_KOREAN, talk

DATA = Path(__file__).parents[2] / "data"
GOLDEN = DATA / "summaries.json"
WRITTEN = {"meeting": (MEETING, "en"), "korean": (KOREAN, "ko"), "chinese": (CHINESE, "zh"),
           "consultation": (CONSULTATION, "en"), "status": (STATUS, "en"),
           "status in Korean": (STATUS_KOREAN, "ko")}  # fmt: skip
RECORDED = ("talk", "minutes")
NAMES = [f"{name}, {style}" for name in (*WRITTEN, *RECORDED) for style in STYLES]


def segments(name: str) -> tuple[list[Segment], str]:
    """A talk of tests/fakes/talks.py, or what is truly said in a recording of tests/data."""
    if name in WRITTEN:
        texts, language = WRITTEN[name]
        return list(talk(texts, language).segments), language
    spoken = json.loads((DATA / f"{name}.json").read_text())["utterances"]
    return list(talk([utterance["text"] for utterance in spoken]).segments), "en"


def summarised(name: str) -> dict[str, Any]:
    of, style = name.split(", ")
    said, language = segments(of)
    plain: dict[str, Any] = msgspec.to_builtins(extract(said, STYLES[style], language).draft)
    return plain


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str) -> None:
    assert summarised(name) == json.loads(GOLDEN.read_text(encoding="utf-8"))[name]


if __name__ == "__main__":
    golden = {name: summarised(name) for name in NAMES}
    GOLDEN.write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
