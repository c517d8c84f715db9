"""Recorded talks of two and four speakers, labelled live and as files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import convo
from convo_bench.diarization import errors, joined, labelled_rightly
from convo_bench.options import Options
from convo_bench.speakers import _clips, _talks, _voiced, label
from convo_bench.talk import decode
from convo_cli import demo
from convod.engine import ge2e
from tests.support.daemon import running
from tests.support.real import corpus, model


@pytest.mark.real
async def test_speech_time_is_labelled_rightly(tmp_path: Path, tiny_en: Path) -> None:
    (tmp_path / ge2e.CHECKPOINT).symlink_to(model("voices") / ge2e.CHECKPOINT)
    ge2e.convert(tmp_path)
    environment = {"CONVOD_ENGINE_VOICES": str(tmp_path / ge2e.MODEL)}
    talks = [talk for talk in _talks(Options(talks=corpus().folder / "talks")) if talk[0].startswith("multi")]
    clips = Options(clips=corpus().folder / "manifest.jsonl")
    assert talks
    with running(tmp_path / "convod", "--model", str(tiny_en), environment=environment) as daemon:
        async with convo.connect(daemon.url) as client:
            for name, audio, utterances in talks:
                truth = _voiced(audio, utterances)
                live = await label(client, decode(audio), "live")
                of_file = (await label(client, audio.read_bytes(), "file")).final
                shares = [labelled_rightly(truth, labels) for labels in (live.first, live.final, of_file)]
                assert shares[0] >= 0.92, (name, shares)
                assert min(shares[1:]) >= 0.98, (name, shares)
            # Six voices that follow each other without a pause, in a language that the model does not know.
            (found,) = [clip for clip in _clips(clips) if clip[0] == "pyaa_diarizationExample2"]
            labels = (await label(client, found[1].read_bytes(), "file")).final
            assert errors(found[2], joined(labels), 22.3).rate <= 0.25


@pytest.mark.real
def test_the_demo_tells_who_speaks(tmp_path: Path, tiny_en: Path, capfd: pytest.CaptureFixture[str]) -> None:
    talk = tmp_path / "interview.m4a"
    whole = corpus().folder / "talks" / "multi2_en.flac"
    subprocess.run(["ffmpeg", "-v", "error", "-t", "26", "-i", str(whole), str(talk)], check=True)
    assert demo.main(["--sample", str(talk), "--fast", "--model", str(tiny_en), str(talk)]) == 0
    captions = capfd.readouterr().out
    assert "Speaker 1: " in captions
    assert "Speaker 2: he asked himself" in captions
