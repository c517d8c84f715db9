"""The whole path once over both transports: talk in, its words and a summary out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import convo
from convo import messages
from tests.support.daemon import Daemon, running
from tests.support.speech import pcm, truth, word_error_rate


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("convod")) as daemon:
        yield daemon


@pytest.mark.parametrize("transport", ["url", "web"])
async def test_a_live_talk_is_captioned_and_summarised(daemon: Daemon, transport: str) -> None:
    async with convo.connect(getattr(daemon, transport)) as client:
        session = await client.create_session(kind="live")
        await session.send_audio(pcm("talk.flac"))
        await session.end()
        events = [event async for event in session.events()]
    text = " ".join(event.text for event in events if isinstance(event, messages.TranscriptSegment))
    assert word_error_rate(truth("talk"), text) <= 0.02
    states = [event.state for event in events if isinstance(event, messages.SessionState)]
    assert states == ["pending", "processing", "transcribed", "completed"]
    (summary,) = [event for event in events if isinstance(event, messages.FinalSummary)]
    assert summary.provider == "extractive"
    assert "budget" in summary.keywords
    durable = [event.seq for event in events if isinstance(event, messages.DurableEvent)]
    assert durable == list(range(1, len(durable) + 1))


async def test_a_file_is_transcribed(daemon: Daemon) -> None:
    async with convo.connect(daemon.url) as client:
        session = await client.create_session(kind="file", summary=messages.SummaryOptions(mode="off"))
        await session.send_audio((Path(__file__).parent.parent / "data" / "talk.mp3").read_bytes())
        await session.end()
        events = [event async for event in session.events()]
        text = " ".join(event.text for event in events if isinstance(event, messages.TranscriptSegment))
        assert word_error_rate(truth("talk"), text) <= 0.05
        assert await client.export(session.id, "txt")
