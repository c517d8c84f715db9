"""Files that hold no audio, or not all of it, over real sockets."""

from __future__ import annotations

from io import BytesIO
from random import Random

import av
import numpy as np
import pytest

import convo
from convo import messages
from tests.support.daemon import Daemon
from tests.support.sessions import OFF, segments, states, text, upload
from tests.support.speech import DATA, truth, words
from tests.support.wire import wired


def silent_film() -> bytes:
    """A video of four frames, without sound."""
    file = BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 60 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


NO_AUDIO = {
    "an empty file": (lambda: b"", "empty"),
    "a text file": (lambda: (DATA / "README.md").read_bytes(), "no audio file"),
    "noise": (lambda: Random(3).randbytes(200_000), "audio"),
    "zeros": (lambda: bytes(100_000), "audio"),
    "a film without sound": (silent_film, "no audio track"),
    "a header and nothing else": (lambda: (DATA / "short.wav").read_bytes()[:44], "sound"),
    "the first bytes of a flac": (lambda: (DATA / "single.flac").read_bytes()[:60], "audio"),
    "a playlist of local files": (lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n", "audio"),
}


@pytest.mark.parametrize("name", NO_AUDIO)
async def test_a_file_that_holds_no_audio_fails_with_a_sentence(daemon: Daemon, name: str) -> None:
    make, named = NO_AUDIO[name]
    async with convo.connect(daemon.url) as client:
        events = await upload(client, make(), summary=OFF)
        failed = events[-1]
        assert isinstance(failed, messages.SessionState)
        assert (failed.state, failed.code) == ("failed", "bad_audio")
        assert failed.message is not None
        assert named in failed.message
        assert "\n" not in failed.message
        assert not segments(events)
        shown = await client.get_session(failed.session)
        assert shown.state == "failed"


async def test_a_truncated_mp3_is_transcribed_as_far_as_it_goes_with_a_warning(daemon: Daemon) -> None:
    whole = (DATA / "talk.mp3").read_bytes()
    async with convo.connect(daemon.url) as client:
        events = await upload(client, whole[: len(whole) // 2], summary=OFF)
    assert states(events)[-1] == "completed"
    assert 0.4 < len(words(text(events))) / len(words(truth("talk"))) < 0.6
    warnings = [event for event in events if isinstance(event, messages.SessionWarning)]
    assert [warning.code for warning in warnings] == ["bad_audio"]


async def test_a_file_with_damage_inside_is_transcribed_around_it_with_a_warning(daemon: Daemon) -> None:
    whole = bytearray((DATA / "talk.mp3").read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 4000] = Random(5).randbytes(4000)
    async with convo.connect(daemon.url) as client:
        events = await upload(client, bytes(whole), summary=OFF)
    assert states(events)[-1] == "completed"
    assert len(words(text(events))) > 0.7 * len(words(truth("talk")))
    assert [event.code for event in events if isinstance(event, messages.SessionWarning)] == ["bad_audio"]


async def test_finalize_is_for_live_sessions(daemon: Daemon) -> None:
    async with wired(daemon.url) as wire:
        session = (await wire.ask("create_session", kind="file"))["session"]
        error = await wire.ask("finalize", session=session)
        assert error["code"] == "bad_state"
        assert "end_session" in error["message"]
        await wire.ask("delete_session", session=session)
