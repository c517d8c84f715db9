"""Who speaks: by voice and by channel, live and in files, over a restart, and what is refused."""

from __future__ import annotations

import io
import wave
from array import array
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from convo.messages import (
    AudioFormat,
    Code,
    CreateSession,
    Speaker,
    SpeakerLabel,
    SpeakersRevised,
    State,
    SummaryOptions,
    TranscriptSegment,
)
from convod.engine.supervisor import EngineSettings
from convod.sessions import Refused
from convod.sessions.speaker_names import name_of, named
from convod.speech.decoding import DecodeJob, Voiceprints
from convod.store import SpeakerNames
from tests.daemon.support.files import upload
from tests.daemon.support.house import Reader, ScriptedEngine, code_of, house
from tests.daemon.support.sounds import RATE, silence
from tests.daemon.support.talk import heard, sentence, talk


def prints(voice: int, vector: Sequence[float] | None = None) -> Voiceprints:
    """Voiceprints of a voice: all in one of four directions, or in the one that is given."""
    packed = array("f", vector or [float(at == voice) for at in range(4)]).tobytes()
    return Voiceprints(starts=[0.0, 0.8], window_s=1.6, vectors=[packed] * 2)


def speaking(*voices: int, path: Path) -> ScriptedEngine:
    """An engine that hears these voices, one an utterance."""
    (path / "voices.onnx").write_bytes(b"one")
    engine = ScriptedEngine()
    engine.settings = EngineSettings(voices=str(path / "voices.onnx"))

    def texts(number: int, job: DecodeJob):
        assert job.window.voiceprints
        return heard(f"sentence {number}", voiceprints=prints(voices[number]))

    engine.texts = texts
    return engine


def labels_of(reader: Reader) -> list[int]:
    return [event.speaker for event in reader.of(SpeakerLabel)]


# --- voices -----------------------------------------------------------------------------------------------


async def test_each_segment_is_followed_by_its_label(autojump_clock, tmp_path):
    async with house(tmp_path, speaking(0, 1, 0, path=tmp_path)) as home:
        session = await home.live(speakers="auto")
        reader = Reader(session.feed)
        home.send(session, talk(3))
        voices = home.spool.voices(session.id)
        await reader.until(lambda event: isinstance(event, SpeakerLabel) and event.segment == 2)
        assert voices.stat().st_mode & 0o777 == 0o600
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert labels_of(reader) == [1, 2, 1]
        durable = [event for event in reader.events if hasattr(event, "seq")]
        for segment, label in zip(reader.of(TranscriptSegment), reader.of(SpeakerLabel), strict=True):
            assert (label.segment, label.seq) == (segment.segment, segment.seq + 1)
        assert [event.seq for event in durable] == list(range(1, len(durable) + 1))
        assert [segment.speaker for segment in await home.store.segments(session.id)] == [1, 2, 1]
        text, _ = await home.manager.exports.page(session.journal, "txt", 0, 1000, "me")
        assert text.splitlines() == [f"Speaker {who}: sentence {at}" for at, who in enumerate([1, 2, 1])]
        await session.wait_finished()
        assert not voices.exists()  # gone with the audio


async def test_nobody_is_told_apart_where_nobody_asked(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        home.send(session, talk(1))
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert not home.engine.seen[0].window.voiceprints
        assert labels_of(reader) == []
        assert not home.spool.voices(session.id).exists()


async def test_a_restart_forgets_no_voice(autojump_clock, tmp_path):
    async with house(tmp_path, speaking(0, 1, path=tmp_path)) as home:
        session = await home.live(speakers="auto", keep_audio=True)
        reader = Reader(session.feed)
        home.send(session, talk(2))
        await reader.until(lambda event: isinstance(event, SpeakerLabel) and event.segment == 1)
    async with house(tmp_path, speaking(1, 0, path=tmp_path)) as home:
        journal = await home.manager.journal("me", session.id)
        again = await home.manager.running("me", session.id)
        again.produce(home.producer)
        reader = Reader(journal.feed, after_seq=journal.feed.seq)
        home.send(again, talk(2))
        await again.end()
        await reader.until_state(State.COMPLETED)
        assert labels_of(reader) == [2, 1]
        assert home.spool.voices(session.id).exists()  # as the audio is
        await home.manager.delete("me", session.id)
        assert not home.spool.voices(session.id).exists()


async def test_the_end_revises_what_was_shown(autojump_clock, tmp_path):
    async with house(tmp_path, speaking(path=tmp_path)) as home:
        # The second utterance is an odd one of the same voice: what follows lies between it and the first.
        voices = [(1.0, 0.0), (0.66, 0.75), (0.91, 0.41)]
        home.engine.texts = lambda number, job: heard("one", voiceprints=prints(0, voices[number]))
        session = await home.live(speakers="auto")
        reader = Reader(session.feed)
        home.send(session, talk(3))
        await session.end()
        transcribed = await reader.until_state(State.TRANSCRIBED)
        assert labels_of(reader) == [1, 2, 1]
        (revised,) = reader.of(SpeakersRevised)
        assert [(label.segment, label.speaker) for label in revised.labels] == [(1, 1)]
        assert revised.seq == transcribed.seq - 1
        assert (await home.store.segments(session.id))[1].speaker == 1


async def test_a_file_says_who_speaks_too(tmp_path):
    async with house(tmp_path, speaking(0, 0, 0, 0, 0, 0, path=tmp_path)) as home:
        _, reader = await upload(home, speakers="auto")
        await reader.until_state(State.COMPLETED)
        assert labels_of(reader) == [1] * len(reader.of(TranscriptSegment))
        assert labels_of(reader)


# --- channels ---------------------------------------------------------------------------------------------

SIDES = AudioFormat(channels=2)


def stereo(left: bytes, right: bytes) -> bytes:
    frames = array("h", bytes(2 * max(len(left), len(right))))
    frames[0 : len(left) : 2] = array("h", left)
    frames[1 : len(right) + 1 : 2] = array("h", right)
    return frames.tobytes()


def by_turns() -> bytes:
    """Left says a sentence, right answers, left goes on."""
    pause = silence(len(sentence()) / 2 / RATE)
    gap = silence(1.0)
    return stereo(sentence() + gap + pause + gap + sentence() + gap, pause + gap + sentence() + gap + pause + gap)


async def test_each_channel_is_a_speaker(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live(audio=SIDES, channels="split", channel_names=["me\n", ""])
        reader = Reader(session.feed)
        home.send(session, by_turns())
        await session.end()
        await reader.until_state(State.COMPLETED)
        segments = reader.of(TranscriptSegment)
        assert [segment.segment for segment in segments] == [0, 1, 2]
        assert [segment.start for segment in segments] == sorted(segment.start for segment in segments)
        assert labels_of(reader) == [1, 2, 1]
        assert {event.confidence for event in reader.of(SpeakerLabel)} == {1.0}
        text, _ = await home.manager.exports.page(session.journal, "txt", 0, 1000, "me")
        assert [line.partition(":")[0] for line in text.splitlines()] == ["me", "Channel 2", "me"]
        assert session.record.duration_s == pytest.approx(len(by_turns()) / 4 / RATE, abs=0.1)


async def test_channels_go_on_after_a_restart_with_nothing_twice(autojump_clock, tmp_path):
    whole = by_turns()
    cut = len(whole) // 8 * 4 + 4 * RATE // 2  # while the right side speaks or has just spoken
    async with house(tmp_path) as home:
        session = await home.live(audio=SIDES, channels="split")
        reader = Reader(session.feed)
        home.send(session, whole[:cut])
        await reader.until(lambda event: isinstance(event, SpeakerLabel) and event.segment == 0)
    async with house(tmp_path) as home:
        journal = await home.manager.journal("me", session.id)
        again = await home.manager.running("me", session.id)
        again.produce(home.producer)
        reader = Reader(journal.feed)
        home.send(again, whole[again.audio_offset :])
        await again.end()
        await reader.until_state(State.COMPLETED)
        assert [segment.segment for segment in reader.of(TranscriptSegment)] == [0, 1, 2]
        assert labels_of(reader) == [1, 2, 1]


async def test_the_channels_of_a_file_are_decoded_by_themselves(tmp_path):
    packed = io.BytesIO()
    with wave.open(packed, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(by_turns())
    async with house(tmp_path) as home:
        _, reader = await upload(home, packed.getvalue(), channels="split")
        await reader.until_state(State.COMPLETED)
        assert labels_of(reader) == [1, 2, 1]
        starts = [segment.start for segment in reader.of(TranscriptSegment)]
        assert starts == sorted(starts)


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"speakers": "many"}, Code.BAD_REQUEST),
        ({"speakers": "0"}, Code.BAD_REQUEST),
        ({"speakers": "17"}, Code.BAD_REQUEST),
        ({"speakers": ""}, Code.BAD_REQUEST),
        ({"speakers": "２"}, Code.BAD_REQUEST),
        ({"speakers": "auto", "channels": "split"}, Code.BAD_REQUEST),
        ({"channels": "split", "channel_names": ["x"] * 9}, Code.BAD_REQUEST),
        ({"channels": "split", "channel_names": ["x" * 101]}, Code.BAD_REQUEST),
        ({"speakers": "2"}, Code.MODEL_UNAVAILABLE),
    ],
)
async def test_what_cannot_be_told_is_refused(tmp_path, monkeypatch, fields, code):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nothing"))
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    async with house(tmp_path) as home:
        with pytest.raises(Refused) as refused:
            await home.live(**fields)
        assert code_of(refused) is code
        assert "\n" not in str(refused.value)


async def test_a_number_of_speakers_is_taken(tmp_path):
    async with house(tmp_path, speaking(path=tmp_path)) as home:
        for wanted in ("off", "auto", "1", "16"):
            session = await home.live(speakers=wanted)
            assert session.record.config.speakers == wanted


# --- names ------------------------------------------------------------------------------------------------


def test_names_and_numbers():
    config = CreateSession(kind="live", speakers="auto", summary=SummaryOptions(mode="off"))
    said = SpeakerNames(speaking=[1, 3], names={1: "Ada", 2: "Bob"}, merged={2: 1}, fixed=set())
    assert named(config, said) == [
        Speaker(speaker=1, name="Ada"),
        Speaker(speaker=3, name="Speaker 3"),
    ]
    assert name_of(CreateSession(kind="live", channels="split", channel_names=["me"]), 1) == "me"
    assert name_of(CreateSession(kind="live", channels="split", channel_names=["me"]), 2) == "Channel 2"


async def test_a_damaged_file_of_voices_is_no_reason_to_stop(autojump_clock, tmp_path):
    async with house(tmp_path, speaking(0, 0, path=tmp_path)) as home:
        session = await home.live(speakers="auto")
        reader = Reader(session.feed)
        home.send(session, talk(1))
        await reader.until(lambda event: isinstance(event, SpeakerLabel))
        voices = home.spool.voices(session.id)
    voices.write_bytes(voices.read_bytes()[:-3] + b"\xff" * 3)
    async with house(tmp_path, speaking(0, path=tmp_path)) as home:
        again = await home.manager.running("me", session.id)
        again.produce(home.producer)
        reader = Reader(again.feed, after_seq=again.feed.seq)
        home.send(again, talk(1))
        await again.end()
        with trio.fail_after(60):
            await reader.until_state(State.COMPLETED)
        assert labels_of(reader) == [1]
