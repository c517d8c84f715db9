"""OpenAI's API as its own npm SDK sees it, over TLS: the SDK knows no Realtime connection without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import certify
from tests.support.daemon import Daemon
from tests.support.gateway import gateway
from tests.support.speech import DATA, pcm, truth, word_error_rate

CLIENT = Path(__file__).with_name("npm")

pytestmark = [
    pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")
    for program in ("node", "npm", "openssl")
]


@pytest.fixture(scope="module")
def told(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All that the SDK returned."""
    directory = tmp_path_factory.mktemp("npm")
    for file in CLIENT.iterdir():
        if file.is_file():
            shutil.copy(file, directory)
    subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--silent"],
        cwd=directory, check=True, timeout=300,
    )  # fmt: skip
    certify(directory, "gateway")
    (directory / "speech.pcm").write_bytes(pcm("single.flac", 24_000) + bytes(2 * 24_000))
    key, certificate = f"{directory}/key.pem", f"{directory}/cert.pem"
    with gateway(daemon.web, "--tls-cert", certificate, "--tls-key", key) as served:
        done = subprocess.run(
            ["node", "client.mjs", f"{served.url}/v1", str(DATA / "single.flac"), "speech.pcm"],
            cwd=directory, capture_output=True, text=True, timeout=120,
            env={**os.environ, "NODE_EXTRA_CA_CERTS": certificate},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def right(text: str) -> bool:
    return word_error_rate(truth("single"), text) < 0.3


def test_a_recording_is_transcribed_in_each_form(told: dict[str, Any]):
    assert right(told["json"]["text"])
    verbose = told["verbose"]
    assert right(verbose["text"])
    assert right(" ".join(word["word"] for word in verbose["words"]))
    assert verbose["segments"]
    assert told["srt"].startswith("1\n00:00:0")


def test_a_transcript_is_streamed(told: dict[str, Any]):
    *deltas, done = told["stream"]
    assert {event["type"] for event in deltas} == {"transcript.text.delta"}
    assert done["type"] == "transcript.text.done"
    assert "".join(event["delta"] for event in deltas) == done["text"] == told["json"]["text"]


def test_models_are_listed(told: dict[str, Any]):
    assert "whisper-1" in told["models"]
    assert told["model"]["object"] == "model"


def test_speech_is_transcribed_as_it_comes(told: dict[str, Any]):
    kinds = [event["type"] for event in told["realtime"]]
    assert kinds[:2] == ["session.created", "session.updated"]
    assert "conversation.item.input_audio_transcription.delta" in kinds
    assert right(told["realtime"][-1]["transcript"])


def test_what_is_refused_is_an_error_of_the_sdks_own(told: dict[str, Any]):
    # The built-in model has one language.
    assert (told["translation"]["name"], told["translation"]["code"]) == ("BadRequestError", "bad_request")
    assert "translate" in told["translation"]["message"]
    assert (told["unknown"]["name"], told["unknown"]["code"]) == ("NotFoundError", "model_not_found")
