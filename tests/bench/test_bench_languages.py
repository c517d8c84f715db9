"""Recordings in several languages, and the seconds of them that are told in a wrong one."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import pytest

from convo_bench.languages import BREATH_S, Mistakes, Passage, Recording, recordings
from convo_bench.talk import RATE
from convod.speech.commands import TimedText


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two utterances in Spanish of four seconds, one in Portuguese, and one that is too short."""
    lines = []
    for number, (language, seconds) in enumerate([("es", 4.0), ("es", 4.0), ("pt", 4.0), ("es", 1.0)]):
        with wave.open(str(tmp_path / f"{number}.wav"), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(RATE)
            out.writeframes(bytes(2 * int(seconds * RATE)))
        about = {"kind": "utterance", "lang": language, "text": f"text {number}", "duration_s": seconds}
        lines.append(json.dumps({"file": f"{number}.wav", **about}))
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    return tmp_path / "manifest.jsonl"


@pytest.mark.parametrize("half", [0, 1])
def test_a_half_has_every_second_utterance_of_a_language(manifest: Path, half: int) -> None:
    mixed, spanish, portuguese = recordings(manifest, half)
    assert [one.name for one in (mixed, spanish, portuguese)] == ["es pt es", "es", "pt"]
    assert [(one.language, one.text) for one in mixed.passages] == [
        ("es", f"text {half}"),
        ("pt", "text 2"),
        ("es", f"text {half}"),
    ]
    assert [one.start for one in mixed.passages] == pytest.approx([0.5 + i * (4.0 + BREATH_S) for i in range(3)])
    assert [one.text for one in spanish.passages] == [f"text {half}"]


def test_a_manifest_without_utterances_is_told(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text('{"file": "a", "kind": "noise"}')
    with pytest.raises(SystemExit, match="no utterances with a text"):
        list(recordings(tmp_path / "manifest.jsonl", 0))


def test_a_segment_over_two_passages_is_wrong_in_one_of_them() -> None:
    passages = (Passage(0.0, 4.0, "es", "hola amigo"), Passage(5.0, 7.0, "pt", "bom dia"))
    mistakes = Mistakes()
    for passage in Recording("es pt", b"", passages).passages:
        mistakes.add(passage, [TimedText(0.5, 6.5, "hola amigo", "es", 0.9, None)])
    assert mistakes.figures() == {"seconds in a wrong language, of": [1.5, 5], "letters wrong, %": 40.0}
