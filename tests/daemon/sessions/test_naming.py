"""Speakers by hand: names, mergers, who says a segment; and voices that are remembered for their owner."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from convo.messages import (
    ActionItem,
    Code,
    CreateSession,
    Search,
    Speaker,
    SpeakerLabel,
    SpeakerRenamed,
    SpeakersMerged,
    SpeakersRevised,
    State,
    SummaryOptions,
)
from convod.sessions import Refused, naming
from convod.sessions.journal import Journal
from convod.sessions.speaker_names import named
from convod.speakers.vectors import unit, unpack
from tests.daemon.sessions.test_speakers import SIDES, by_turns, prints, speaking
from tests.daemon.support.house import House, Reader, ScriptedSummarizers, code_of, house
from tests.daemon.support.talk import heard, talk


async def spoken(home: House, count: int, **fields) -> tuple[str, Reader]:
    session = await home.live(speakers="auto", **fields)
    reader = Reader(session.feed)
    home.send(session, talk(count))
    await session.end()
    await reader.until_state(State.COMPLETED)
    return session.id, reader


async def lines_of(home: House, session: str) -> list[str]:
    journal = await home.manager.journal("me", session)
    text, _ = await home.manager.exports.page(journal, "txt", 0, 10_000, "me")
    return text.splitlines()


async def who(home: House, session: str) -> list[int | None]:
    return [segment.speaker for segment in await home.store.segments(session)]


async def found(home: House, query: str, owner: str = "me") -> list[int]:
    hits = await home.manager.search(owner, owner, Search(query=query, summaries=True), 10)
    return [hit.segment for hit in hits]


async def owners_in(home: House, journal: Journal) -> list[str | None]:
    text, _ = await home.manager.exports.page(journal, "json", 0, 10_000, "me")
    return [item.get("owner") for item in json.loads(text)["summary"]["action_items"]]


# --- names ------------------------------------------------------------------------------------------------


async def test_a_name_is_in_all_that_is_read(autojump_clock, tmp_path):
    async with house(tmp_path, speaking(0, 1, 0, path=tmp_path)) as home:
        session, reader = await spoken(home, 3)
        rename = home.manager.naming.rename
        await rename("me", session, 2, " Ada\nLovelace\x1b ", remember=False)
        (event,) = [one for one in await reader.take() if isinstance(one, SpeakerRenamed)]
        assert (event.speaker, event.name, event.by) == (2, "Ada Lovelace", "user")
        assert await lines_of(home, session) == [
            "Speaker 1: sentence 0",
            "Ada Lovelace: sentence 1",
            "Speaker 1: sentence 2",
        ]
        for query, segments in {
            "speaker:ada sentence": [1],
            "speaker:ADÄ": [1],
            'SPEAKER:"ada love" sentence': [],
            'speaker:"Ada  Lovelace"': [1],
            "speaker:2 sentence": [1],
            "speaker:1": [2, 0],
            "sentence speaker:1": [2, 0],
            "speaker:Bob": [],
            "speaker:": [],
            "speaker:% sentence": [],
            "loudspeaker:ada": [],
        }.items():
            assert await found(home, query) == segments, query
        assert await found(home, "speaker:ada", "you") == []
        await rename("me", session, 2, "", remember=False)
        assert (await lines_of(home, session))[1] == "Speaker 2: sentence 1"
        assert await found(home, "speaker:ada") == []


async def test_a_summary_knows_who_speaks_and_its_owners_get_the_names_that_come_later(autojump_clock, tmp_path):
    summarizers = ScriptedSummarizers()
    summarizers.action_items = [
        ActionItem(text="Pay", owner=owner) for owner in ("Speaker 2", "Speaker 3", "Bob", None)
    ]
    async with house(tmp_path, speaking(0, 1, 2, path=tmp_path), summarizers) as home:
        session, _ = await spoken(home, 3, summary="final")
        (transcript,) = summarizers.asked
        assert transcript.speakers == {1: "Speaker 1", 2: "Speaker 2", 3: "Speaker 3"}
        assert [segment.speaker for segment in transcript.segments] == [1, 2, 3]
        await home.manager.naming.rename("me", session, 2, "Ada", remember=False)
        await home.manager.naming.merge("me", session, 3, 2)
        journal = await home.manager.journal("me", session)
        assert await owners_in(home, journal) == ["Ada", "Ada", "Bob", None]
        await home.manager.naming.rename("me", session, 2, "", remember=False)
        assert await owners_in(home, journal) == ["Speaker 2", "Speaker 2", "Bob", None]


async def test_channels_are_found_by_their_names_and_get_others(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live(audio=SIDES, channels="split", channel_names=["me", "thém"])
        reader = Reader(session.feed)
        home.send(session, by_turns())
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert await found(home, "speaker:them") == [1]
        await home.manager.naming.rename("me", session.id, 2, "Bob", remember=False)
        assert await found(home, "speaker:them") == []
        assert await found(home, "speaker:bob") == [1]
        assert named(session.record.config, await home.store.speakers(session.id)) == [
            Speaker(speaker=1, name="me"),
            Speaker(speaker=2, name="Bob"),
        ]
        await home.manager.naming.rename("me", session.id, 2, "", remember=False)
        assert await found(home, "speaker:them") == [1]


# --- by hand ----------------------------------------------------------------------------------------------


async def test_two_speakers_become_one_for_good(autojump_clock, tmp_path):
    async with house(tmp_path, speaking(0, 1, 1, path=tmp_path)) as home:
        session = await home.live(speakers="auto", keep_audio=True)
        reader = Reader(session.feed)
        home.send(session, talk(2))
        await session.finalize()
        await home.manager.naming.merge("me", session.id, 2, 1)
        home.send(session, talk(1))
        await session.finalize()
        await reader.take()
        assert [event.speaker for event in reader.of(SpeakerLabel)] == [1, 2, 1]
    async with house(tmp_path, speaking(1, path=tmp_path)) as home:
        again = await home.manager.running("me", session.id)
        again.produce(home.producer)
        reader = Reader(again.feed)
        home.send(again, talk(1))
        await again.end()
        await reader.until_state(State.COMPLETED)
        assert [event.speaker for event in reader.of(SpeakerLabel)] == [1, 2, 1, 1]
        assert [(event.speaker, event.into) for event in reader.of(SpeakersMerged)] == [(2, 1)]
        assert not reader.of(SpeakersRevised)
        assert await who(home, session.id) == [1, 1, 1, 1]
        assert (await home.store.speakers(session.id)).speaking == [1]


@pytest.mark.parametrize(
    ("mergers", "merged"),
    [
        ([(1, 2), (2, 3)], {1: 3, 2: 3}),
        ([(2, 3), (1, 3)], {1: 3, 2: 3}),
        ([(1, 2), (1, 1), (2, 1)], {2: 1}),  # given back to 1 by hand in between
    ],
)
async def test_mergers_of_mergers(autojump_clock, tmp_path, mergers: Sequence[tuple[int, int]], merged):
    async with house(tmp_path, speaking(0, 1, 2, path=tmp_path)) as home:
        session = await home.live(speakers="auto")
        reader = Reader(session.feed)
        home.send(session, talk(3))
        await session.finalize()
        for speaker, into in mergers:
            if speaker == into:
                await session.journal.publish(SpeakerLabel, segment=0, speaker=speaker, confidence=1.0, by="user")
            else:
                await home.manager.naming.merge("me", session.id, speaker, into)
        assert (await home.store.speakers(session.id)).merged == merged
        assert session.speakers is not None
        assert session.speakers.merged == merged
        await reader.take()


async def test_what_a_user_set_is_not_revised(autojump_clock, tmp_path):
    async with house(tmp_path, speaking(path=tmp_path)) as home:
        # As voices alone have it, the second utterance is revised to be the first speaker's.
        voices = [(1.0, 0.0), (0.66, 0.75), (0.91, 0.41)]
        home.engine.texts = lambda number, job: heard("one", voiceprints=prints(0, voices[number]))
        session = await home.live(speakers="auto")
        reader = Reader(session.feed)
        home.send(session, talk(3))
        await session.finalize()
        assert await home.manager.naming.assign("me", session.id, 1, 2) == 2
        assert await home.manager.naming.assign("me", session.id, 2, None) == 101
        assert await home.manager.naming.assign("me", session.id, 0, None) == 102
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert not reader.of(SpeakersRevised)
        assert await who(home, session.id) == [102, 2, 101]


async def test_a_session_that_tells_nobody_apart_takes_speakers_by_hand(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        home.send(session, talk(2))
        await session.end()
        await reader.until_state(State.COMPLETED)
        new = await home.manager.naming.assign("me", session.id, 1, None)
        await home.manager.naming.rename("me", session.id, new, "Ada", remember=False)
        assert await lines_of(home, session.id) == ["sentence 0", "Ada: sentence 1"]


# --- what is refused --------------------------------------------------------------------------------------


async def test_what_cannot_be_said_of_speakers_is_refused(autojump_clock, tmp_path, monkeypatch):
    async with house(tmp_path, speaking(0, 1, path=tmp_path)) as home:
        session, _ = await spoken(home, 2)
        names = home.manager.naming
        for attempt, code in [
            (lambda: names.rename("you", session, 1, "x", remember=False), Code.UNKNOWN_SESSION),
            (lambda: names.rename("me", session, 3, "x", remember=False), Code.BAD_REQUEST),
            (lambda: names.rename("me", session, 1, " ", remember=True), Code.BAD_REQUEST),
            (lambda: names.rename("me", session, 1, "x", remember=True), Code.BAD_STATE),  # its voices are gone
            (lambda: names.merge("me", session, 1, 1), Code.BAD_REQUEST),
            (lambda: names.merge("me", session, 1, 3), Code.BAD_REQUEST),
            (lambda: names.merge("me", session, 3, 1), Code.BAD_REQUEST),
            (lambda: names.assign("me", session, 2, 1), Code.BAD_REQUEST),
            (lambda: names.assign("me", session, 1, 3), Code.BAD_REQUEST),
            (lambda: names.forget_voice("me", "x"), Code.BAD_REQUEST),
        ]:
            with pytest.raises(Refused) as refused:
                await attempt()
            assert code_of(refused) is code
            assert "\n" not in str(refused.value)
        monkeypatch.setattr(naming, "MOST_BY_HAND", 1)
        await names.assign("me", session, 0, None)
        with pytest.raises(Refused, match="takes 1 speakers") as refused:
            await names.assign("me", session, 1, None)
        monkeypatch.setattr(naming, "CHANGES", 0)
        for attempt in (
            lambda: names.assign("me", session, 1, 1),
            lambda: names.assign("me", session, 1, 1),
        ):
            with pytest.raises(Refused) as refused:
                await attempt()
            assert code_of(refused) is Code.LIMIT_EXCEEDED


# --- voices -----------------------------------------------------------------------------------------------


async def test_a_remembered_voice_is_named_by_itself_until_it_is_forgotten(autojump_clock, tmp_path, caplog):
    async with house(tmp_path, speaking(0, 0, 1, 1, 2, 0, path=tmp_path)) as home:
        session, _ = await spoken(home, 4, keep_audio=True)
        names = home.manager.naming
        await names.rename("me", session, 1, "Ada", remember=True)
        (voice,) = await names.voices("me")
        assert voice.name == "Ada"
        assert voice.seconds > 1.0
        assert await names.voices("you") == []
        # Named again, it is one voice that is known better; kept by direction, whatever its weight.
        await names.rename("me", session, 1, "Ada", remember=True)
        (again,) = await names.voices("me")
        assert again.seconds == pytest.approx(2 * voice.seconds, abs=0.2)
        assert again.created == voice.created
        (stored,) = await home.store.voices("me")
        assert unit(unpack(stored.vector)) == unit((1.0, 0.0, 0.0, 0.0))

    for owner, forgotten, wanted in [("me", False, [(1, "Ada")]), ("you", False, []), ("me", True, [])]:
        # Somebody else begins, then comes the voice that is known to one of the owners.
        async with house(tmp_path, speaking(0, 0, 2, 2, path=tmp_path)) as home:
            if forgotten:
                await home.manager.naming.forget_voice("me", "Ada")
                assert await home.store.voices("me") == []
                for file in tmp_path.glob("convod.sqlite*"):
                    assert stored.vector not in file.read_bytes()
            request = CreateSession(kind="live", speakers="auto", summary=SummaryOptions(mode="off"))
            _, later = await home.manager.create(owner, request, home.producer)
            assert later is not None
            reader = Reader(later.feed)
            home.send(later, talk(4))
            await later.end()
            await reader.until_state(State.COMPLETED)
            assert [(event.speaker, event.name) for event in reader.of(SpeakerRenamed)] == wanted
            assert {event.by for event in reader.of(SpeakerRenamed)} <= {"voice"}
    assert "Ada" not in caplog.text


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (False, "while its session runs, and afterwards only if the session's audio is kept"),
        (True, "too little is heard of this voice: it takes 1.2 seconds"),
    ],
)
async def test_why_a_voice_cannot_be_remembered(autojump_clock, tmp_path, kept, said):
    engine = speaking(path=tmp_path)
    engine.texts = lambda number, job: heard("yes", voiceprints=None)
    async with house(tmp_path, engine) as home:
        session, _ = await spoken(home, 1, keep_audio=kept)
        with pytest.raises(Refused, match=said) as refused:
            await home.manager.naming.rename("me", session, 1, "Ada", remember=True)
        assert code_of(refused) is Code.BAD_STATE


async def test_a_channel_has_no_voice_to_remember(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live(audio=SIDES, channels="split", keep_audio=True)
        reader = Reader(session.feed)
        home.send(session, by_turns())
        await session.end()
        await reader.until_state(State.COMPLETED)
        with pytest.raises(Refused, match="tells channels apart and no voices"):
            await home.manager.naming.rename("me", session.id, 1, "Ada", remember=True)


async def test_a_user_knows_better_than_a_voice(autojump_clock, tmp_path):
    async with house(tmp_path, speaking(0, 0, 0, 0, 0, path=tmp_path)) as home:
        session, _ = await spoken(home, 2, keep_audio=True)
        await home.manager.naming.rename("me", session, 1, "Ada", remember=True)
        later = await home.live(speakers="auto")
        reader = Reader(later.feed)
        home.send(later, talk(1))
        await later.finalize()
        await home.manager.naming.rename("me", later.id, 1, "Bob", remember=False)
        home.send(later, talk(2))
        await later.end()
        await reader.until_state(State.COMPLETED)
        assert [event.name for event in reader.of(SpeakerRenamed)] == ["Bob"]


async def test_voices_of_another_model_name_nobody(autojump_clock, tmp_path):
    async with house(tmp_path, speaking(0, 0, path=tmp_path)) as home:
        session, _ = await spoken(home, 2, keep_audio=True)
        await home.manager.naming.rename("me", session, 1, "Ada", remember=True)
    engine = speaking(0, 0, path=tmp_path)
    (tmp_path / "voices.onnx").write_bytes(b"two")
    async with house(tmp_path, engine) as home:
        _, reader = await spoken(home, 2)
        assert not reader.of(SpeakerRenamed)


async def test_so_many_voices_are_remembered(autojump_clock, tmp_path, monkeypatch):
    monkeypatch.setattr(naming, "VOICES", 1)
    async with house(tmp_path, speaking(0, 1, path=tmp_path)) as home:
        session, _ = await spoken(home, 2, keep_audio=True)
        await home.manager.naming.rename("me", session, 1, "Ada", remember=True)
        await home.manager.naming.rename("me", session, 1, "Ada", remember=True)
        with pytest.raises(Refused, match="delete_voice") as refused:
            await home.manager.naming.rename("me", session, 2, "Bob", remember=True)
        assert code_of(refused) is Code.LIMIT_EXCEEDED
        assert [voice.name for voice in await home.manager.naming.voices("me")] == ["Ada"]
