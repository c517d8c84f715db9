"""Summaries by language models that are there, away, and back: real daemon, servers that speak the real wire format."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

import convo
from convo import messages
from tests.fakes.httpserver import serve
from tests.fakes.ollama import FakeOllama
from tests.fakes.openai import FakeOpenAi
from tests.support.daemon import Daemon, running
from tests.support.sessions import assert_whole, of, states, talk_live, text
from tests.support.speech import excerpt, pcm


@dataclass(frozen=True)
class House:
    """A daemon, and the ports on which it looks for language models."""

    daemon: Daemon
    ollama: int
    openai: int


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    ollama, openai = free_ports(2)
    environment = {
        "CONVOD_SUMMARY_OLLAMA_URL": f"http://127.0.0.1:{ollama}",
        "CONVOD_SUMMARY_OPENAI_URL": f"http://127.0.0.1:{openai}/v1",
        "CONVOD_SESSIONS_ROLLING_S": "0.2",
    }
    with running(tmp_path_factory.mktemp("convod"), environment=environment) as daemon:
        yield House(daemon, ollama, openai)


@asynccontextmanager
async def answering(handler: Callable[[Any, Any], Awaitable[None]], port: int) -> AsyncIterator[None]:
    """A server at that port, for the time of the block."""
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, handler, port)
        yield
        nursery.cancel_scope.cancel()


def by(provider: str, **fields: Any) -> messages.SummaryOptions:
    return messages.SummaryOptions(provider=provider, **fields)


@pytest.mark.parametrize("provider", ["ollama", "openai"])
async def test_a_talk_is_summarised_by_the_language_model_that_is_named(house: House, provider: str) -> None:
    ollama, openai = FakeOllama(), FakeOpenAi()
    async with (
        answering(ollama.handle, house.ollama),
        answering(openai.handle, house.openai),
        convo.connect(house.daemon.web) as client,
    ):
        events = await talk_live(client, pcm("talk.flac"), summary=by(provider), title="Stand-up")
        shown = await client.get_session(events[0].session)
        answer = await client.ask("Who said good morning?", [events[0].session]) if provider == "ollama" else None
    assert_whole(events)
    if answer is not None:
        assert answer.provider == "ollama"
        assert answer.passages[answer.answer[0].sources[0]].text in answer.answer[0].text
        ollama.questions.pop()
    (summary,) = of(messages.FinalSummary, events)
    assert summary.provider == provider
    assert summary.model == ("llama3.2:latest" if provider == "ollama" else "qwen2.5-7b-instruct")
    assert "Good morning" in summary.summary
    # Pieces that are still on their way when the whole is there are left out.
    assert summary.summary.startswith("".join(delta.text for delta in of(messages.SummaryDelta, events)))
    assert shown.summary is not None
    assert shown.summary.provider == provider
    asked = ollama.questions if provider == "ollama" else openai.questions
    assert len(asked) == len(ollama.questions) + len(openai.questions) == 1
    # The model saw the words that were stored, all of them, once.
    assert str(asked[0]).count("payment system") == 1
    assert "See you next week" in str(asked[0])


async def test_a_summary_is_told_while_it_is_written(house: House) -> None:
    fake = FakeOllama()
    fake.faults = ["stall"]  # half of it, and then nothing for a while
    async with answering(fake.handle, house.ollama), convo.connect(house.daemon.url) as client:
        session = await client.create_session("live", summary=by("ollama"))
        await session.send_audio(excerpt("talk", 16.3)[0])
        await session.end()
        events = [e async for e in session.events(until=lambda event: isinstance(event, messages.SummaryDelta))]
        assert of(messages.SummaryDelta, events)[0].text.startswith("They")
        assert states(events)[-1] == "transcribed"
        fake.release.set()
        events += [event async for event in session.events()]
    assert of(messages.FinalSummary, events)[0].summary.startswith("They said")


async def test_auto_finds_the_language_model_that_is_there(house: House) -> None:
    fake = FakeOpenAi()
    async with answering(fake.handle, house.openai), convo.connect(house.daemon.url) as client:
        status = await client.request(messages.Status())
        assert status.summarizer is not None
        assert status.summarizer.provider == "openai"
        events = await talk_live(client, excerpt("talk", 16.3)[0])
    (summary,) = of(messages.FinalSummary, events)
    assert summary.provider == "openai"


async def test_a_session_waits_for_its_summarizer_and_is_completed_when_it_is_back(house: House) -> None:
    fake = FakeOllama()
    async with convo.connect(house.daemon.url) as client:
        session = await client.create_session("live", summary=by("ollama"))
        await session.send_audio(excerpt("talk", 16.3)[0])
        await session.end()
        warned = [e async for e in session.events(until=lambda event: isinstance(event, messages.SessionWarning))]
        shown = await client.get_session(session.id)
        assert shown.state == "transcribed"
        assert len(shown.segments) == 6
        async with answering(fake.handle, house.ollama):
            events = warned + [event async for event in session.events()]
    assert_whole(events)
    (warning,) = of(messages.SessionWarning, events)
    assert warning.code == "summarizer_unavailable"
    assert str(house.ollama) in warning.message
    assert states(events) == ["pending", "processing", "transcribed", "completed"]
    assert of(messages.FinalSummary, events)[0].provider == "ollama"


@pytest.mark.parametrize("fault", ["die", "error_in_stream", "error_500"])
async def test_a_summary_that_breaks_off_is_written_again(house: House, fault: str) -> None:
    fake = FakeOllama()
    fake.faults = [fault]
    async with answering(fake.handle, house.ollama), convo.connect(house.daemon.url) as client:
        events = await talk_live(client, excerpt("talk", 16.3)[0], summary=by("ollama"))
    assert_whole(events)
    (summary,) = of(messages.FinalSummary, events)
    assert "Good morning" in summary.summary
    assert len(fake.questions) == 2
    assert states(events)[-1] == "completed"


async def test_a_summarizer_that_was_there_and_left_is_noticed(house: House) -> None:
    fake = FakeOllama()
    async with convo.connect(house.daemon.url) as client:
        async with answering(fake.handle, house.ollama):
            events = await talk_live(client, excerpt("talk", 16.3)[0], summary=by("ollama"))
        done = of(messages.DurableEvent, events)
        session = await client.attach(done[-1].session, after_seq=done[-1].seq)
        # The daemon remembers its choice for a while: what follows is an event, or a refusal.
        with pytest.raises(convo.RequestError) as refused:
            await summarise(client, session, "ollama")
        assert refused.value.code == "summarizer_unavailable"
        # Another one is at hand at once.
        await client.request(messages.Summarize(session=session.id, provider="extractive"))
        more = [e async for e in session.events(until=lambda event: isinstance(event, messages.FinalSummary))]
    assert of(messages.FinalSummary, more)[0].provider == "extractive"


async def test_the_pieces_of_a_summary_say_where_it_begins_anew(house: House) -> None:
    fake = FakeOllama()
    # The second try goes on when its beginning was read: pieces that come together with the summary are left out.
    fake.faults = ["die", "pause"]
    shown, begun, heard = "", 0, []
    async with answering(fake.handle, house.ollama), convo.connect(house.daemon.url) as client:
        session = await client.create_session("live", summary=by("ollama"))
        await session.send_audio(excerpt("talk", 16.3)[0])
        await session.end()
        async for event in session.events():
            heard.append(event)
            if isinstance(event, messages.SummaryDelta):
                shown = event.text if event.restart else shown + event.text
                begun += event.restart
                if shown and of(messages.SessionWarning, heard):
                    fake.release.set()
    (summary,) = of(messages.FinalSummary, heard)
    assert begun >= 1  # pieces of the first try may be void before they are read
    assert shown.startswith("They said")
    assert summary.summary.startswith(shown)


async def test_a_summary_cites_segments_and_names_what_nobody_said(house: House) -> None:
    fake = FakeOllama()
    fake.faults = [None, "made_up"]
    async with answering(fake.handle, house.ollama), convo.connect(house.daemon.url) as client:
        events = await talk_live(client, excerpt("talk", 16.3)[0], summary=by("ollama"))
        (good,) = of(messages.FinalSummary, events)
        session = await client.attach(good.session, after_seq=events[-1].seq)
        await client.request(messages.Summarize(session=session.id, provider="ollama", style="minutes"))
        more = [e async for e in session.events(until=lambda event: isinstance(event, messages.FinalSummary))]
        listed = (await client.request(messages.ListSummaries(session=session.id))).summaries
        export = await client.export(session.id, "md")
    numbers = {segment.segment for segment in of(messages.TranscriptSegment, events)}
    assert good.key_point_sources is not None
    assert {at for sources in good.key_point_sources for at in sources} == {0, 1} <= numbers
    assert good.unverified == []
    assert good.origin is not None
    assert (good.origin.style, good.origin.through) == ("brief", max(numbers))
    (warning,) = of(messages.SessionWarning, more)
    (made_up,) = of(messages.FinalSummary, more)
    assert warning.code == "unverified"
    assert '"4711", "Zebedee"' in warning.message
    assert (made_up.key_point_sources, made_up.unverified) == ([[]], ["4711", "Zebedee"])
    assert [section.name for section in made_up.sections or []] == ["discussion", "decisions", "open_questions"]
    # Both are kept, the newest first.
    assert [one.seq for one in listed] == [made_up.seq, good.seq]
    assert listed[1].summary.summary == good.summary
    assert "*(no source)*" in export
    assert "### Decisions" in export


async def test_a_session_that_waits_for_its_summary_survives_a_killed_daemon(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    fake = FakeOllama()
    with running(tmp_path, environment={"CONVOD_SUMMARY_OLLAMA_URL": f"http://127.0.0.1:{port}"}) as daemon:
        async with convo.connect(daemon.url) as client:
            session = await client.create_session("live", summary=by("ollama", style="minutes", language="ko"))
            await session.send_audio(excerpt("talk", 16.3)[0])
            await session.end()
            async for _ in session.events(until=lambda event: isinstance(event, messages.SessionWarning)):
                pass
        await trio.to_thread.run_sync(daemon.kill)
        await trio.to_thread.run_sync(daemon.start)
        async with convo.connect(daemon.url) as client:
            again = await client.attach(session.id)
            assert (await client.get_session(session.id)).state == "transcribed"
            async with answering(fake.handle, port):
                events = [event async for event in again.events()]
    assert_whole(events)
    (summary,) = of(messages.FinalSummary, events)
    assert summary.provider == "ollama"
    assert summary.language == "ko"
    assert [section.label for section in summary.sections or []] == ["논의", "결정 사항", "미결 사항"]
    assert "Write in Korean," in fake.questions[0]["messages"][0]["content"]
    assert states(events)[-1] == "completed"


async def test_a_summary_that_was_asked_for_survives_a_killed_daemon(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    fake = FakeOllama()
    fake.faults = ["stall"]
    with running(tmp_path, environment={"CONVOD_SUMMARY_OLLAMA_URL": f"http://127.0.0.1:{port}"}) as daemon:
        async with answering(fake.handle, port):
            async with convo.connect(daemon.url) as client:
                events = await talk_live(client, excerpt("talk", 16.3)[0], summary=by("extractive"))
                last = of(messages.DurableEvent, events)[-1]
                await client.request(
                    messages.Summarize(session=last.session, provider="ollama", style="minutes", language="ko")
                )
                await fake.stalled.wait()  # half of it is written
            await trio.to_thread.run_sync(daemon.kill)
        await trio.to_thread.run_sync(daemon.start)
        async with convo.connect(daemon.url) as client, answering(fake.handle, port):
            session = await client.attach(last.session, after_seq=last.seq)
            more = [e async for e in session.events(until=lambda event: isinstance(event, messages.FinalSummary))]
            listed = (await client.request(messages.ListSummaries(session=last.session))).summaries
            assert (await client.get_session(last.session)).state == "completed"
    (summary,) = of(messages.FinalSummary, more)
    assert (summary.provider, summary.language, summary.seq) == ("ollama", "ko", last.seq + 1)
    assert [section.label for section in summary.sections or []] == ["논의", "결정 사항", "미결 사항"]
    assert [one.summary.provider for one in listed] == ["ollama", "extractive"]


async def test_a_style_that_is_not_there_and_a_template_that_is_wrong(tmp_path: Path) -> None:
    styles = tmp_path / "styles"
    styles.mkdir()
    (styles / "mine.toml").write_text("[fields]\n")
    with running(tmp_path, environment={"CONVOD_SUMMARY_STYLES_DIR": str(styles)}) as daemon:
        async with convo.connect(daemon.url) as client:
            for style, says in [("sonnet", "choose one of brief, minutes"), ("mine", r"mine.toml has no \[fields\]")]:
                with pytest.raises(convo.RequestError, match=says) as refused:
                    await client.create_session("live", summary=by("extractive", style=style))
                assert refused.value.code == "bad_request"
            (styles / "mine.toml").write_text('[fields]\nnews = "What is new."\n')
            session = await client.create_session("live", summary=by("extractive", style="mine"))
            await session.send_audio(excerpt("talk", 16.3)[0])
            await session.end()
            events = [event async for event in session.events()]
    (summary,) = of(messages.FinalSummary, events)
    assert summary.summary


async def test_status_says_who_would_write_and_why(house: House) -> None:
    async with convo.connect(house.daemon.url) as client:
        status = await client.request(messages.Status())
    assert status.summarizer is not None
    assert status.summarizer.available
    assert status.summarizer.reason


async def summarise(client: convo.Client, session: convo.ClientSession, provider: str) -> None:
    """Ask until it is refused, or done."""
    while True:
        await client.request(messages.Summarize(session=session.id, provider=provider))
        async for event in session.events(until=lambda event: isinstance(event, messages.SessionWarning)):
            if isinstance(event, messages.FinalSummary):
                return


async def test_rolling_summaries_are_left_out_while_the_summarizer_is_away(house: House) -> None:
    fake = FakeOllama()
    audio = pcm("talk.flac")
    middle = int(16.3 * 32000)
    async with convo.connect(house.daemon.url) as client:
        session = await client.create_session("live", summary=by("ollama", mode="rolling"))
        await session.send_audio(audio[:middle])
        await session.finalize()
        async with answering(fake.handle, house.ollama):
            await session.send_audio(audio[middle:])
            events = [e async for e in session.events(until=lambda event: isinstance(event, messages.RollingSummary))]
            await session.end()
            events += [event async for event in session.events()]
    assert_whole(events)
    assert of(messages.RollingSummary, events)[0].provider == "ollama"
    assert of(messages.FinalSummary, events)[0].provider == "ollama"
    assert "See you next week" in text(events)
