"""Who speaks: labels that come, change and are revised; names, initials, colours; renamed, merged, said by users."""

from __future__ import annotations

import pytest

from convo.messages import (
    CreateSession,
    DeleteVoice,
    DurableEvent,
    Error,
    GetSession,
    Label,
    ListVoices,
    MergeSpeakers,
    RenameSpeaker,
    SegmentCorrected,
    SetSpeaker,
    SpeakerLabel,
    SpeakerRenamed,
    SpeakersMerged,
    SpeakersRevised,
    Voice,
)
from convo_tui.model.paragraphs import Paragraphs
from convo_tui.model.session import Change, SessionModel
from convo_tui.model.speakers import COLOURS, Spoke, colour_of, initial, spoke
from convo_tui.widgets.transcript import TranscriptView
from tests.cli.fake import FakeDaemon
from tests.fakes.portaudio import FakePortAudio
from tests.tui.conftest import Open, Stage
from tests.tui.test_tui_model import segment
from tests.tui.test_tui_transcript import lines, tell


def label(number: int, speaker: int, confidence: float = 1.0) -> SpeakerLabel:
    return SpeakerLabel(session="s", seq=0, segment=number, speaker=speaker, confidence=confidence)


EVIL = "\x1b[2JMal\nlory"


@pytest.mark.parametrize(
    ("events", "said", "names"),
    [
        ([], [None, None, None], {}),
        ([label(0, 1), label(1, 2, 0.4)], [1, -2, None], {1: "Speaker 1", 2: "Speaker 2"}),
        ([label(0, 1), label(0, 2), label(9, 3)], [2, None, None], {1: "Speaker 1", 2: "Speaker 2"}),
        (
            [
                *map(label, range(3), (1, 2, 1)),
                SpeakersRevised(session="s", seq=0, labels=[Label(segment=2, speaker=2, confidence=0.6)]),
            ],
            [1, 2, 2],
            {1: "Speaker 1", 2: "Speaker 2"},
        ),
        (
            [*map(label, range(3), (1, 2, 2)), SpeakersMerged(session="s", seq=0, speaker=2, into=1)],
            [1, 1, 1],
            {1: "Speaker 1", 2: "Speaker 2"},
        ),
        (
            [label(0, 3), SpeakerRenamed(session="s", seq=0, speaker=3, name=EVIL, by="user"), label(1, 3)],
            [3, 3, None],
            {3: "Mal lory"},
        ),
    ],
)
def test_the_newest_label_of_a_line_counts(
    events: list[DurableEvent], said: list[int | None], names: dict[int, str]
) -> None:
    """A doubtful speaker is a negative number here."""
    model = SessionModel()
    for number in range(3):
        model.apply(segment(number, "x"))
    for seq, event in enumerate(events, 10):
        model.apply(type(event)(**{name: getattr(event, name) for name in event.__struct_fields__} | {"seq": seq}))
    assert [line.speaker if line.sure or line.speaker is None else -line.speaker for line in model.lines] == said
    assert model.speakers == names


def test_a_label_that_changes_nothing_draws_nothing() -> None:
    model = SessionModel()
    model.apply(segment(0, "x"))
    again = [SpeakerLabel(session="s", seq=seq, segment=0, speaker=1, confidence=0.9 - seq / 100) for seq in (7, 8)]
    assert [model.apply(event) for event in again] == [Change.SPEAKERS, Change.NOTHING]


@pytest.mark.parametrize(
    ("speakers", "initials", "colours"),
    [
        ({1: "Speaker 1", 2: "Speaker 2"}, ["1", "2"], [1, 2]),
        ({2: "ada", 1: "Bob", 3: "Channel 3"}, ["A", "B", "3"], [1, 2, 3]),
        ({1: "Ada", 2: "Anne", 101: "민수"}, ["1", "2", "민"], [1, 2, 3]),
        ({number: "" for number in range(1, 8)}, list("1234567"), [*range(1, COLOURS + 1), 1]),
    ],
)
def test_speakers_are_told_apart_with_and_without_colours(
    speakers: dict[int, str], initials: list[str], colours: list[int]
) -> None:
    assert [initial(speakers, number) for number in speakers] == initials
    assert [colour_of(speakers, number) for number in speakers] == colours


@pytest.mark.parametrize(
    ("said", "first", "last", "copied"),
    [
        ((1, 1, 2, 2), 0, 3, "Ada: A. B.\nSpeaker 2: C. D."),
        ((1, 1, 2, 2), 1, 2, "Ada: B.\nSpeaker 2: C."),
        ((1, 1, 2, 2), 0, 1, "A. B."),
        ((1, None, 1, None), 0, 3, "Ada: A.\nB.\nAda: C.\nD."),
        ((), 0, 3, "A. B. C. D."),
    ],
)
def test_what_several_say_is_copied_with_their_names(
    said: tuple[int | None, ...], first: int, last: int, copied: str
) -> None:
    model = SessionModel()
    for number, text in enumerate("ABCD"):
        model.apply(segment(number, f"{text}."))
    for number, speaker in enumerate(said):
        if speaker is not None:
            model.apply(SpeakerLabel(session="s", seq=9 + number, segment=number, speaker=speaker, confidence=1))
    model.apply(SpeakerRenamed(session="s", seq=20, speaker=1, name="Ada", by="user"))
    paragraphs = Paragraphs(model.lines)
    paragraphs.extend()
    assert paragraphs.joined(first, last, model.speakers) == copied


def test_what_each_speaker_said() -> None:
    model = SessionModel()
    for number, text in enumerate(("Hm.", "Hello there.", "Gone.", "Yes.")):
        model.apply(segment(number, text))
    for seq, speaker in enumerate((1, 1, 3, 2)):
        model.apply(SpeakerLabel(session="s", seq=10 + seq, segment=seq, speaker=speaker, confidence=1))
    model.apply(SegmentCorrected(session="s", seq=20, segment=2, text="", by="user"))
    assert spoke(model.speakers, model.lines) == [Spoke(1, 2, 2.0, "Hello there."), Spoke(2, 1, 1.0, "Yes.")]


def colours_of(stage: Stage, text: str) -> set[str]:
    """The colours in which a text is on the screen."""
    strips = stage.app.screen._compositor.render_strips()
    return {
        str(part.style.color.name)
        for strip in strips
        for part in strip
        if text in part.text and part.style and part.style.color
    }


async def test_labels_name_and_colour_what_is_said_as_it_is_spoken_and_later(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio
) -> None:
    async with connected(size=(80, 24)) as stage:
        variables = stage.app.theme_variables
        tell(stage, *lines(0, 2))
        await stage.sees("Line 1.")
        assert "Speaker" not in stage.text()
        one, two = (
            SpeakerLabel(session="s", seq=3 + at, segment=at, speaker=at + 1, confidence=0.4 + at) for at in (0, 1)
        )
        tell(stage, one, two)
        await stage.sees("   Speaker 1? Line 0.", "   Speaker 2  Line 1.")
        assert colours_of(stage, "Speaker 1?") == colours_of(stage, "Line 0.") == {variables["faint"]}
        assert colours_of(stage, "Speaker 2") == {variables["speaker-2"]}
        tell(stage, SpeakersRevised(session="s", seq=5, labels=[Label(segment=0, speaker=2, confidence=0.9)]))
        tell(stage, SpeakerRenamed(session="s", seq=6, speaker=2, name="Ada", by="voice"))
        await stage.until(lambda: stage.text().count("Ada  ") == 2, "both lines are hers")
        await stage.pilot.resize_terminal(50, 24)
        await stage.sees("   A  Line 0.")
        await stage.pilot.resize_terminal(80, 24)
        tell(stage, *[SpeakerRenamed(session="s", seq=6 + at, speaker=at, name="A" * 20, by="user") for at in (1, 2)])
        await stage.sees("   AAAAAAAAA… 2  Line 0.")
        tell(stage, SpeakerRenamed(session="s", seq=9, speaker=2, name="Ada", by="user"))
        await stage.press("2", *["minus"] * 3)
        await stage.sees("Ada: Line 0.")


async def test_speakers_are_renamed_remembered_merged_and_told_by_hand(connected: Open, fake: FakeDaemon) -> None:
    fake.pause_s = 2.0
    talk = fake.add("aaaa0001", "I will do it.", "Good.", "Then we are done.", "Hidden.", title="Talk")
    talk.names = {1: "Channel 1", 2: "Channel 2"}
    for number, speaker in enumerate((1, 2, 1)):
        fake.label(talk, number, speaker)
    async with connected("--session", "aaaa0001", size=(80, 24)) as stage:
        await stage.sees("Channel 1  I will do it.", "Channel 2  Good.")
        await stage.press("p")
        await stage.sees("Speakers", "Channel 1           00:03     2 lines  Then we are done.")
        await stage.press("enter")
        await stage.sees("Who is Channel 1?")
        await stage.press(*"Ada", "enter")
        await stage.sees("Ada                 00:03     2 lines")
        await stage.press("down", "v")
        await stage.sees("Remember this voice as")
        await stage.press(*"Bob", "enter")
        await stage.until(lambda: "The voice of Bob is remembered." in stage.toasts(), "told")
        await stage.sees("Bob                 00:0")
        await stage.press("m")
        await stage.sees("Bob is really")
        await stage.press("enter")
        await stage.until(lambda: "Bob is Ada now." in stage.toasts(), "merged")
        await stage.press("m", "escape")
        await stage.until(lambda: any("nobody to merge with" in toast for toast in stage.toasts()), "told")
        await stage.sees("Ada  Good.")
        await stage.press("P")
        await stage.until(lambda: any("Select what somebody says" in toast for toast in stage.toasts()), "told")
        await stage.press("home", "j", "j", "J", "P")
        await stage.sees("Who says this?", "Somebody new")
        await stage.press("end", "enter")
        await stage.sees("Speaker 101  Good.", "Speaker 101  Then we are done.")
        view = stage.app.screen.query_one(TranscriptView)
        await stage.pilot.click(view, offset=(5, 0))
        await stage.sees("Who is Ada?")
        await stage.press("ctrl+u", "enter")
        await stage.until(lambda: len(fake.of(RenameSpeaker)) == 3, "asked for")
        renamed = [(one.speaker, one.name, one.remember) for one in fake.of(RenameSpeaker)]
        assert renamed == [(1, "Ada", False), (2, "Bob", True), (1, "", False)]
        assert [(one.speaker, one.into) for one in fake.of(MergeSpeakers)] == [(2, 1)]
        assert [(one.segment, one.speaker) for one in fake.of(SetSpeaker)] == [(1, None), (2, 101)]
        # Once for what they are called, once for each that was not known then.
        assert [one.after_segment for one in fake.of(GetSession)].count(None) == 2


async def test_voices_are_told_apart_if_the_settings_say_so(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio
) -> None:
    async with connected(size=(80, 24)) as stage:
        await stage.press("S")
        await stage.sees("Settings")
        await stage.choose("speakers")
        await stage.sees("Speakers", "as many as there are voices")
        await stage.press("down", "enter", "escape", "s")
        await stage.sees("● live", "Speakers  told apart by their voices")
        assert [one.speakers for one in fake.of(CreateSession)] == ["auto"]


async def test_voices_are_listed_and_one_is_forgotten_after_a_question(connected: Open, fake: FakeDaemon) -> None:
    fake.voices = [Voice(name=name, created=1e9, seconds=75.0) for name in ("Ada", "Bob\x1b[2J", "Cem")]
    async with connected(size=(80, 30)) as stage:
        await stage.press("S")
        await stage.choose("voices")
        await stage.sees("Voices", "Ada", "Bob", "01:15 heard  since 2001-09-09")
        await stage.press("down", "x")
        await stage.sees("Forget the voice of Bob?")
        await stage.press("enter")  # the first answer keeps it
        await stage.sees("x forgets one.")
        assert not fake.of(DeleteVoice)
        await stage.press("x")
        await stage.sees("Forget the voice of Bob?")
        await stage.choose("forget")
        await stage.sees_no("Bob")
        assert [one.name for one in fake.of(DeleteVoice)] == ["Bob\x1b[2J"]
        assert "The voice of Bob is forgotten." in stage.toasts()
        fake.voices = []
        await stage.press("x")
        await stage.choose("forget")
        await stage.sees("No voices yet")
        await stage.press("x")  # there is none to forget
        fake.refuse[ListVoices] = Error(code="forbidden", message="This token may not read.")
        await stage.press("escape")
        await stage.choose("voices")
        await stage.sees("This token may not read.")
