"""`convo speakers` and `convo voices`, and what `convo show` makes of names and corrections."""

from __future__ import annotations

import json

import msgspec
import pytest

from convo.messages import DeleteVoice, MergeSpeakers, RenameSpeaker, SetSpeaker, Voice
from convo.transcript import corrected
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon


@pytest.fixture
def talk(fake: FakeDaemon) -> FakeDaemon:
    """Two speakers; the last segment is hidden."""
    session = fake.add("aaaa1111", "Hello.", "How are you?", "Fine, thanks.", "Um.")
    session.names = {1: "Speaker 1", 2: "Ada \x1b[31m"}
    session.segments = [
        msgspec.structs.replace(segment, speaker=speaker)
        for segment, speaker in zip(session.segments, [1, 1, 2, None], strict=True)
    ]
    session.segments[3] = corrected(session.segments[3], "")
    return fake


def test_who_speaks_is_listed(talk: FakeDaemon, run: Run) -> None:
    assert run("speakers", "aaaa").out == "1\tSpeaker 1\t2\t00:03\tHow are you?\n2\tAda\t1\t00:01\tFine, thanks.\n"
    assert run("speakers", "aaaa", "2").out == "2\tAda\t1\t00:01\tFine, thanks.\n"
    first, _ = run("speakers", "aaaa", "--json").out.splitlines()
    assert json.loads(first) == {"speaker": 1, "name": "Speaker 1", "segments": 2, "seconds": 3.0}
    talk.features = []
    assert "update it" in run("speakers", "aaaa").err


def test_names_and_what_is_corrected_are_shown(talk: FakeDaemon, run: Run) -> None:
    out = run("show", "aaaa").out
    assert "00:02  Speaker 1: How are you?\n00:04  Ada: Fine, thanks.\n" in out
    assert "Um." not in out
    assert "00:06" not in out


def test_names_are_given(talk: FakeDaemon, run: Run) -> None:
    assert run("speakers", "aaaa", "1", "Bob").code == 0
    assert run("speakers", "aaaa", "2", "Ada", "--remember").code == 0
    assert [(one.speaker, one.name, one.remember) for one in talk.of(RenameSpeaker)] == [
        (1, "Bob", False),
        (2, "Ada", True),
    ]


def test_speakers_are_merged_and_set(talk: FakeDaemon, run: Run) -> None:
    assert run("speakers", "aaaa", "2", "--into", "1").err == "convo: Speaker 2 is speaker 1 now.\n"
    (merged,) = talk.of(MergeSpeakers)
    assert (merged.speaker, merged.into) == (2, 1)
    result = run("speakers", "aaaa", "new", "Eve", "--segments", "0", "2")
    assert result.err == "convo: 2 segments are speaker 101's.\n"
    assert [(one.segment, one.speaker) for one in talk.of(SetSpeaker)] == [(0, None), (2, 101)]
    assert talk.of(RenameSpeaker)[0].speaker == 101


@pytest.mark.parametrize(
    "words",
    [
        ("--remember",),
        ("1", "--remember"),
        ("1", "Ada", "--into", "2"),
        ("1", "--into", "2", "--segments", "3"),
        ("new",),
        ("new", "Ada"),
        ("--into", "2"),
        ("--segments", "2"),
        ("0",),
        ("one",),
    ],
)
def test_what_does_not_go_together(talk: FakeDaemon, run: Run, words: tuple[str, ...]) -> None:
    assert run("speakers", "aaaa", *words).code == 2


def test_voices(talk: FakeDaemon, run: Run) -> None:
    assert run("voices").out == ""
    talk.voices = [Voice(name="Ada\n", created=0.0, seconds=75.0), Voice(name="Bob", created=0.0, seconds=5.0)]
    assert run("voices").out.splitlines()[0].startswith("Ada\t1970-01-01")
    assert json.loads(run("voices", "--json").out.splitlines()[1])["name"] == "Bob"
    assert run("voices", "--forget", "Bob").err == "convo: Forgot the voice of Bob.\n"
    assert talk.of(DeleteVoice)[0].name == "Bob"
