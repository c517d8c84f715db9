"""Talks that are loaded, cut and joined: times stay with the sound."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from convo_bench import make_talks
from convo_bench.load import different_parts
from convo_bench.talk import RATE, SECOND, Talk, TimedWord, Utterance, join, load, load_folder


def ramp(*spans: tuple[float, float], seconds: float) -> Talk:
    """An utterance of one word for each span; sample i of the recording is its tenth of a second."""
    pcm = (np.arange(int(seconds * RATE)) // (RATE // 10)).astype(np.int16).tobytes()
    utterances = tuple(Utterance(start, end, (TimedWord("word", end),)) for start, end in spans)
    return Talk("ramp", pcm, utterances)


def tenth_at(talk: Talk, second: float) -> int:
    return int(np.frombuffer(talk.pcm, np.int16)[round(second * RATE)])


TALK = ramp((1, 2), (5, 6), (7, 8), (12, 13), seconds=20)


def test_a_talk_of_the_test_data_knows_the_times_of_its_words() -> None:
    talk = load("talk")
    assert (talk.language, talk.timed, len(talk.utterances)) == ("en", True, 18)
    assert talk.said[:2] == ["good", "morning"]
    assert talk.words[-1].end <= talk.seconds


@pytest.mark.parametrize(("seconds", "kept"), [(1, 1), (8, 2), (9, 3), (19, 4), (100, 4)])
def test_a_part_has_whole_utterances(seconds: float, kept: int) -> None:
    part = TALK.part(seconds)
    assert len(part.utterances) == kept
    assert part.utterances[-1].end < part.seconds < part.utterances[-1].end + 1.1


def test_the_times_of_a_part_are_those_of_its_sound() -> None:
    part = TALK.part(6, first=1)
    assert part.name == "ramp+1"
    assert [utterance.start for utterance in part.utterances] == [2, 4]
    assert [tenth_at(part, utterance.start) for utterance in part.utterances] == [50, 70]
    assert part.words[0].end == 3


def test_joined_talks_go_on_where_the_last_one_ended() -> None:
    joined = join([TALK], 28)
    assert len(joined.utterances) == 6
    assert [tenth_at(joined, utterance.start) for utterance in joined.utterances] == [10, 50, 70, 120, 10, 50]
    assert joined.words[-1].end == 26


def test_talks_joined_once_have_each_of_their_utterances_once() -> None:
    talks = [ramp((1, 2), seconds=length) for length in (148.068, 130.089, 250.811)]
    assert len(join(talks, sum(talk.seconds for talk in talks)).utterances) == 3


def test_talks_at_once_are_different_parts_as_long_as_there_are_any() -> None:
    parts = different_parts([TALK, TALK], 4, 9)
    assert [part.name for part in parts] == ["ramp", "ramp", "ramp+3", "ramp+3"]
    assert len({id(part) for part in different_parts([TALK], 8, 9)}) == 8


def test_a_talk_without_times_of_words_has_them_guessed(tmp_path: Path) -> None:
    samples = np.zeros(3 * RATE, np.int16)
    make_talks.write(tmp_path / "en", samples, {"utterances": [{"start": 1, "end": 2, "text": "So, good-bye!"}]})
    (talk,) = load_folder(tmp_path)
    assert (talk.name, talk.language, talk.timed, len(talk.pcm)) == ("en", "en", False, 3 * SECOND)
    assert [(word.text, round(word.end, 2)) for word in talk.words] == [("so", 1.25), ("good", 1.67), ("bye", 2)]
    assert load_folder(tmp_path / "en.json") == [talk]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no talks"):
        load_folder(tmp_path)


def test_utterances_of_a_manifest_become_talks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    single = load("single")
    make_talks.write(tmp_path / "one", np.frombuffer(single.pcm, np.int16), {})
    line = {"file": "one.flac", "kind": "utterance", "lang": "en", "speaker": "a", "text": "Hello there"}
    others = [line | {"kind": "noise", "text": ""}, line | {"lang": "de"}, {"file": "gone", "kind": "talk"}]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(json.dumps(one) for one in [line, *others, line]))
    make_talks.main(["--manifest", str(manifest), "--lang", "en", "--out", str(tmp_path / "out")])
    assert "2 utterances" in capsys.readouterr().out
    (talk,) = load_folder(tmp_path / "out")
    first, second = talk.utterances
    assert talk.seconds == pytest.approx(3 * make_talks.PAUSE_S + 2 * single.seconds, abs=0.01)
    assert second.start - first.start == pytest.approx(make_talks.PAUSE_S + single.seconds, abs=0.01)
    assert first.start == pytest.approx(make_talks.PAUSE_S + single.utterances[0].start, abs=0.25)


def test_speakers_of_a_manifest_take_turns_without_a_pause(tmp_path: Path) -> None:
    single = load("single")
    make_talks.write(tmp_path / "one", np.frombuffer(single.pcm, np.int16), {})
    line = {"file": "one.flac", "kind": "utterance", "lang": "en", "text": "Hello there"}
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(json.dumps(line | {"speaker": speaker}) for speaker in "aaabbcd"))
    said = ["--manifest", str(manifest), "--lang", "en", "--out", str(tmp_path / "out"), "--pause", "0", "0"]
    make_talks.main([*said, "--speakers", "a", "b", "c", "--turns", "2", "--seconds", "1000"])
    (path,) = (tmp_path / "out").glob("*.json")
    assert path.stem == "en-turns2"
    truth = json.loads(path.read_text())["utterances"]
    assert sorted(one["speaker"] for one in truth) in (list("aabb"), list("aaabb"))
    assert all(one["speaker"] != other["speaker"] for one, other in pairwise(truth))
    assert [one["end"] for one in truth[:-1]] == pytest.approx([one["start"] for one in truth[1:]], abs=0.002)
    with pytest.raises(SystemExit, match="4 speakers cannot take turns: the manifest has 3"):
        make_talks.main([*said, "--speakers", "a", "b", "c", "--turns", "4"])


def test_a_language_that_the_manifest_has_not_is_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text('{"file": "gone", "kind": "talk"}\n')
    with pytest.raises(SystemExit, match="no utterance in ko"):
        make_talks.main(["--manifest", str(manifest), "--lang", "ko", "--out", str(tmp_path)])
