"""Sessions of all kinds over both transports: formats of audio, many at once, finalize, words, summaries."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from io import BytesIO

import av
import pytest
import trio

import convo
from convo import messages
from tests.support.daemon import Daemon, running
from tests.support.sessions import OFF, assert_whole, of, segments, states, talk_live, text, upload
from tests.support.speech import DATA, excerpt, pcm, truth, word_error_rate, words

BOTH = pytest.mark.parametrize("transport", ["url", "web"])


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    # As many workers as suit the machine: several sessions are heard at once here.
    environment = {"CONVOD_SESSIONS_ROLLING_S": "0.2", "CONVOD_SESSIONS_IDLE_S": "60", "CONVOD_ENGINE_WORKERS": None}
    with running(tmp_path_factory.mktemp("convod"), environment=environment) as daemon:
        yield daemon


# --- formats ----------------------------------------------------------------------------------------------------


@cache
def recorded(name: str, encoding: str, rate: int, layout: str) -> bytes:
    """A recording as a microphone of that kind would give it, made by FFmpeg."""
    resampler = av.AudioResampler({"s16le": "s16", "f32le": "flt", "mulaw": "s16"}[encoding], layout, rate)
    raw = BytesIO()
    with av.open(raw, "w", format=encoding) as out, av.open(str(DATA / name)) as container:
        codec = {"s16le": "pcm_s16le", "f32le": "pcm_f32le", "mulaw": "pcm_mulaw"}[encoding]
        stream = out.add_stream(codec, rate=rate, layout=layout)
        for frame in [*container.decode(audio=0), None]:
            for piece in resampler.resample(frame):
                out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return raw.getvalue()


FORMATS = [
    # What of the words may be wrong: more where half of the spectrum is missing.
    ("s16le", 16000, "mono", 0.05),
    ("s16le", 44100, "stereo", 0.05),
    ("f32le", 48000, "mono", 0.05),
    ("s16le", 22050, "mono", 0.05),
    ("mulaw", 16000, "mono", 0.05),
    ("mulaw", 8000, "mono", 0.1),
]


@pytest.mark.parametrize(("encoding", "rate", "layout", "bound"), FORMATS)
async def test_a_talk_is_heard_in_every_format(
    daemon: Daemon, encoding: str, rate: int, layout: str, bound: float
) -> None:
    audio = recorded("talk.flac", encoding, rate, layout)
    format = messages.AudioFormat(encoding=encoding, rate=rate, channels=len(av.AudioLayout(layout).channels))
    async with convo.connect(daemon.url) as client:
        events = await talk_live(client, audio, audio=format, summary=OFF, interim=False)
        shown = await client.get_session(events[0].session)
    assert_whole(events)
    assert shown.duration_s == pytest.approx(49.38, abs=0.05)
    assert word_error_rate(truth("talk"), text(events)) <= bound


@pytest.mark.parametrize(("transport", "name"), [("url", "talk.flac"), ("web", "talk.mp3")])
async def test_a_file_is_heard_over_both_transports(daemon: Daemon, transport: str, name: str) -> None:
    async with convo.connect(getattr(daemon, transport)) as client:
        events = await upload(client, (DATA / name).read_bytes(), summary=OFF, audio=messages.AudioFormat(name=name))
        shown = await client.get_session(events[0].session)
    assert_whole(events)
    assert shown.title == name
    assert word_error_rate(truth("talk"), text(events)) <= 0.05


# --- many at once -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("transport", "connections"), [("url", "one"), ("web", "many")])
async def test_eight_live_sessions_and_a_file_go_side_by_side(daemon: Daemon, transport: str, connections: str) -> None:
    url = getattr(daemon, transport)
    audio, said = excerpt("talk", 16.3)
    alone: list[list[str]] = []
    heard: dict[int, list[messages.Event]] = {}

    async def live(client: convo.Client, number: int) -> None:
        session = await client.create_session("live", summary=OFF, title=f"talk {number}")
        for at in range(0, len(audio), 32000):
            await session.send_audio(audio[at : at + 32000])
            await trio.lowlevel.checkpoint()
        await session.end()
        heard[number] = [event async for event in session.events()]

    async def file(client: convo.Client) -> None:
        heard[8] = await upload(client, (DATA / "talk.mp3").read_bytes(), summary=OFF)

    async def on_its_own_connection(number: int) -> None:
        async with convo.connect(url) as client:
            await (live(client, number) if number < 8 else file(client))

    async with convo.connect(url) as client:
        alone.append(words(text(await talk_live(client, audio, summary=OFF))))
        async with trio.open_nursery() as nursery:
            for number in range(8):
                if connections == "one":
                    nursery.start_soon(live, client, number)
                else:
                    nursery.start_soon(on_its_own_connection, number)
            if connections == "one":
                nursery.start_soon(file, client)
            else:
                nursery.start_soon(on_its_own_connection, 8)
    for number in range(8):
        assert_whole(heard[number])
        assert len({event.session for event in heard[number]}) == 1
        # Together they are decoded in batches, which rounds differently: a word may turn, none may be lost.
        assert len(segments(heard[number])) == 6
        assert word_error_rate(" ".join(alone[0]), text(heard[number])) <= 0.05
        assert word_error_rate(said, text(heard[number])) <= 0.1
    assert_whole(heard[8])
    assert word_error_rate(truth("talk"), text(heard[8])) <= 0.05


async def test_two_connections_see_the_same_session(daemon: Daemon) -> None:
    audio, _ = excerpt("talk", 16.3)
    async with convo.connect(daemon.url) as speaker, convo.connect(daemon.url) as reader:
        session = await speaker.create_session("live", summary=OFF)
        watching = await reader.attach(session.id)
        await session.send_audio(audio)
        await session.end()
        spoken = [event async for event in session.events()]
        read = [event async for event in watching.events()]
        late = await reader.attach(session.id, after_seq=2)
        told = [event async for event in late.events()]
    durable = of(messages.DurableEvent, spoken)
    assert of(messages.DurableEvent, read) == durable
    assert told == durable[2:]


# --- in the course of a session ---------------------------------------------------------------------------------


@BOTH
async def test_finalize_in_mid_stream_brings_everything_so_far_and_the_talk_goes_on(
    daemon: Daemon, transport: str
) -> None:
    audio = pcm("talk.flac")
    middle = int(16.3 * 32000)  # a pause
    _, said = excerpt("talk", 16.3)
    async with convo.connect(getattr(daemon, transport)) as client:
        session = await client.create_session("live", summary=OFF)
        await session.send_audio(audio[:middle])
        assert await session.finalize() == middle
        shown = await client.get_session(session.id)
        assert word_error_rate(said, " ".join(segment.text for segment in shown.segments)) <= 0.1
        assert shown.state == "processing"
        # The segments came before the answer did.
        events = [event async for event in session.events(until=lambda event: getattr(event, "segment", -1) == 5)]
        assert await session.finalize() == middle
        await session.send_audio(audio[middle:])
        await session.end()
        events += [event async for event in session.events()]
    assert_whole(events)
    assert word_error_rate(truth("talk"), text(events)) <= 0.05


async def test_a_session_without_audio_is_empty_and_completed(daemon: Daemon) -> None:
    async with convo.connect(daemon.url) as client:
        session = await client.create_session("live")
        assert await session.finalize() == 0
        await session.end()
        events = [event async for event in session.events()]
        assert (await client.export(session.id, "txt")).strip() == ""
    assert states(events) == ["pending", "processing", "transcribed", "completed"]
    assert not segments(events)


async def test_silence_is_no_speech(daemon: Daemon) -> None:
    async with convo.connect(daemon.url) as client:
        events = await talk_live(client, bytes(20 * 32000), summary=OFF)
    assert not segments(events)
    assert not of(messages.SpeechStarted, events)


@pytest.mark.parametrize("kind", ["live", "file"])
async def test_words_lie_in_order_within_their_segments(daemon: Daemon, kind: str) -> None:
    async with convo.connect(daemon.url) as client:
        if kind == "live":
            events = await talk_live(client, excerpt("talk", 16.3)[0], summary=OFF, words=True)
        else:
            events = await upload(client, (DATA / "talk.mp3").read_bytes(), summary=OFF, words=True)
    assert segments(events)
    for segment in segments(events):
        assert segment.words
        assert words(" ".join(word.word for word in segment.words)) == words(segment.text)
        times = [time for word in segment.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert segment.start <= times[0]
        assert times[-1] <= segment.end
        assert all(0 <= word.confidence <= 1 for word in segment.words)


async def test_words_lie_where_they_were_spoken(daemon: Daemon) -> None:
    spoken = {"release": 5.504, "friday": 9.039, "schedule": 12.108, "days": 18.047}  # truth of talk.json
    async with convo.connect(daemon.url) as client:
        events = await talk_live(client, excerpt("talk", 19.0)[0], summary=OFF, words=True)
    heard = {words(word.word)[0]: word.start for segment in segments(events) for word in segment.words or ()}
    assert {word: heard[word] for word in spoken} == pytest.approx(spoken, abs=0.5)


async def test_partials_come_while_someone_speaks_and_their_stable_words_stay(daemon: Daemon) -> None:
    audio = pcm("talk.flac")
    before, after = int(37.55 * 32000), int(41.6 * 32000)
    async with convo.connect(daemon.url) as client:
        session = await client.create_session("live", summary=OFF)
        await session.send_audio(audio[:before])
        events = [event async for event in session.events(until=lambda event: getattr(event, "segment", 0) == 13)]
        # "Let us review the budget first, and then send the proposal.", a quarter of a second at a time, most with a
        # caption of its own; it is long enough for its first words to become old.
        for at in range(before, after, 8000):
            await session.send_audio(audio[at : min(at + 8000, after)])
            with trio.move_on_after(1):
                async for event in session.events(until=lambda event: isinstance(event, messages.TranscriptPartial)):
                    events.append(event)
        await session.send_audio(audio[session.sent : int(44.6 * 32000)])
        await session.end()
        events += [event async for event in session.events()]
    spoken = [event for event in of(messages.TranscriptPartial, events) if event.segment == 14]
    assert len(spoken) >= 3
    assert any(partial.stable for partial in spoken)
    stable: dict[int, str] = {}
    finished = -1
    for event in events:
        if isinstance(event, messages.TranscriptPartial):
            assert event.segment > finished, "no partial follows its segment"
            assert event.stable.startswith(stable.get(event.segment, ""))
            stable[event.segment] = event.stable
        elif isinstance(event, messages.TranscriptSegment):
            finished = event.segment


async def test_no_partials_come_where_none_are_wanted(daemon: Daemon) -> None:
    async with convo.connect(daemon.url) as client:
        events = await talk_live(client, excerpt("talk", 16.3)[0], summary=OFF, interim=False)
    assert segments(events)
    assert not of(messages.TranscriptPartial, events)


# --- summaries without a language model -------------------------------------------------------------------------


@BOTH
async def test_a_summary_is_written_at_the_end_when_none_is_named(daemon: Daemon, transport: str) -> None:
    async with convo.connect(getattr(daemon, transport)) as client:
        events = await talk_live(client, pcm("talk.flac"))
        (summary,) = of(messages.FinalSummary, events)
        shown = await client.get_session(summary.session)
    assert summary.provider == "extractive"
    assert "budget" in summary.keywords
    assert any("test plan" in item.text for item in summary.action_items)
    assert shown.summary is not None
    assert shown.summary.summary == summary.summary
    assert states(events) == ["pending", "processing", "transcribed", "completed"]
    order = [type(event) for event in of(messages.DurableEvent, events)]
    assert order[-3:] == [messages.SessionState, messages.FinalSummary, messages.SessionState]


async def test_without_a_summary_completed_follows_at_once(daemon: Daemon) -> None:
    async with convo.connect(daemon.url) as client:
        events = await talk_live(client, pcm("single.flac"), summary=OFF)
        assert not of(messages.FinalSummary, events)
        shown = await client.get_session(events[0].session)
        assert shown.summary is None
        # It can be had later.
        session = await client.attach(shown.session, after_seq=of(messages.DurableEvent, events)[-1].seq)
        await client.request(messages.Summarize(session=session.id, provider="extractive"))
        more = [e async for e in session.events(until=lambda event: isinstance(event, messages.FinalSummary))]
        again = await client.get_session(session.id)
    assert of(messages.FinalSummary, more)
    assert again.summary is not None
    assert "contract" in again.summary.summary


async def test_a_rolling_summary_comes_while_the_talk_goes_on(daemon: Daemon) -> None:
    audio = pcm("talk.flac")
    middle = int(16.3 * 32000)
    async with convo.connect(daemon.url) as client:
        session = await client.create_session("live", summary=messages.SummaryOptions(mode="rolling"))
        await session.send_audio(audio[:middle])
        events = [e async for e in session.events(until=lambda event: isinstance(event, messages.RollingSummary))]
        await session.send_audio(audio[middle:])
        await session.end()
        events += [event async for event in session.events()]
    assert_whole(events)
    rolling = of(messages.RollingSummary, events)
    assert rolling[0].summary
    assert len(of(messages.FinalSummary, events)) == 1
    assert states(events)[-1] == "completed"


# --- the store --------------------------------------------------------------------------------------------------


@BOTH
async def test_what_was_said_can_be_listed_searched_exported_and_deleted(daemon: Daemon, transport: str) -> None:
    async with convo.connect(getattr(daemon, transport)) as client:
        events = await talk_live(client, pcm("talk.flac"), title="Stand-up")
        id = events[0].session
        listed = await client.request(messages.ListSessions(kind="live", limit=1000))
        assert [one.title for one in listed.sessions if one.session == id] == ["Stand-up"]
        hits = await client.request(messages.Search(query="mobile payment", limit=1000))
        assert {hit.segment for hit in hits.hits if hit.session == id} == {3}
        for format, holds in (
            ("txt", "budget"),
            ("srt", "-->"),
            ("vtt", "WEBVTT"),
            ("md", "# Stand-up"),
            ("json", "{"),
        ):
            content = await client.export(id, format)
            assert holds in content
        assert word_error_rate(truth("talk"), (await client.export(id, "txt")).replace("\n", " ")) <= 0.05
        await client.request(messages.DeleteSession(session=id))
        hits = await client.request(messages.Search(query="mobile payment", limit=1000))
        assert not [hit for hit in hits.hits if hit.session == id]
        with pytest.raises(convo.RequestError) as refused:
            await client.get_session(id)
        assert refused.value.code == "unknown_session"


@BOTH
async def test_a_retry_with_the_same_key_gets_the_same_session(daemon: Daemon, transport: str) -> None:
    async with convo.connect(getattr(daemon, transport)) as client:
        one = await client.create_session("live", key=f"once over {transport}", summary=OFF)
        await one.send_audio(pcm("single.flac"))
        await one.finalize()
    async with convo.connect(getattr(daemon, transport)) as client:
        again = await client.create_session("live", key=f"once over {transport}", summary=OFF)
        assert again.id == one.id
        await again.send_audio(pcm("single.flac"))  # what the daemon has is skipped
        await again.end()
        events = [event async for event in again.events()]
    assert_whole(events)
    assert len(segments(events)) == 1
