"""How each screen looks, as SVG: at two sizes, dark and light. After a change that is meant: `--snapshot-update`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual._wait import wait_for_idle
from textual.command import CommandList
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from convo import vocabulary_file
from convo.messages import (
    AnswerSentence,
    AskReply,
    AudioFormat,
    EngineStatus,
    FinalSummary,
    Hit,
    Mark,
    ModelInfo,
    Passage,
    QueuedFile,
    Rule,
    SessionInfo,
    SessionState,
    SpeakerLabel,
    SpeakerRenamed,
    SpeechStarted,
    State,
    TranscriptPartial,
    TranscriptSegment,
)
from convo.resume import LinkPhase, LinkState
from convo_tui.app import ConvoApp
from convo_tui.arguments import parse
from convo_tui.model.files import FileJob, Step
from convo_tui.model.session import Change, SessionModel
from convo_tui.screens.history import HistoryScreen
from convo_tui.screens.pick import MediaTree
from convo_tui.screens.questions import QuestionsScreen
from convo_tui.screens.session import SessionScreen
from convo_tui.work.session import LiveSession
from convo_tui.work.setup import Download
from convo_tui.work.sources import Source
from tests.cli.fake import SUMMARY, TRUSTED, WAIT_S
from tests.fakes.portaudio import FakePortAudio

SAID = [
    (0.0, "Good morning everyone."),
    (1.6, "Let us get started."),
    (
        5.4,
        "The first item is the release. The mobile team finished the payment system on Friday, the web team follows.",
    ),
    (12.0, "안녕하세요 여러분, 日本語のテキスト 👩‍👩‍👧 ok."),
    (16.0, "שלום עולם"),
]


class Silent(Source):
    """Nothing is heard."""

    name = "USB Headset"
    format = AudioFormat()

    async def read(self) -> bytes:
        raise AssertionError("nobody reads this")

    def resume(self) -> None:
        return


class Still(ConvoApp):
    """The app with what is on the screen set by the test: no daemon, no clock."""

    NOTIFICATION_TIMEOUT = 600

    def _begin(self) -> None:
        self.context.daemon.state = LinkState(LinkPhase.UP, server="convod/0.1.0")
        self.context.daemon.link.url = "unix:/run/user/1000/convod.sock"
        self.context.setup.microphone = "Built-in Microphone"
        self.context.setup.engine = EngineStatus(
            state="ready", model="builtin", device="cpu", compute_type="int8", workers=1
        )
        for screen in self.hooks:
            screen.link_changed()

    async def action_quit(self) -> None:
        self.exit()


def fill(model: SessionModel, *, running: bool) -> None:
    model.session, model.title, model.created = "0123456789abcdef", "Release planning", 1.7e9
    seq = 0
    for number, (start, text) in enumerate(SAID):
        seq += 1
        model.apply(
            TranscriptSegment(
                session="s", seq=seq, segment=number, start=start, end=start + 1.4, text=text, language="en",
                confidence=1, lag_ms=320,
            )
        )  # fmt: skip
    for number, speaker in enumerate((1, 1, 2, 3, 3)):
        seq += 1
        model.apply(
            SpeakerLabel(session="s", seq=seq, segment=number, speaker=speaker, confidence=0.4 if number == 4 else 0.9)
        )
    seq += 1
    model.apply(SpeakerRenamed(session="s", seq=seq, speaker=2, name="Ada", by="user"))
    model.apply(Mark(session="s", seq=seq + 1, time=12.5, text="who was that?"))
    if running:
        model.apply(SessionState(session="s", seq=seq + 2, state=State.PROCESSING))
        model.apply(SpeechStarted(session="s", time=19))
        model.apply(
            TranscriptPartial(
                session="s",
                segment=len(SAID),
                start=19,
                end=21,
                stable="How long will it take to",
                tentative="finish the",
            )
        )
    else:
        for number, summary in enumerate((SUMMARY, TRUSTED)):
            fields = {name: getattr(summary, name) for name in summary.__struct_fields__}
            model.apply(FinalSummary(session="s", seq=seq + 2 + number, **fields))
        model.apply(SessionState(session="s", seq=seq + 4, state=State.COMPLETED))


def live(app: Still) -> None:
    fill(app.context.live.model, running=True)
    app.context.live.session = LiveSession(None, app.context.live.model, app.post_message, Silent(), {})  # type: ignore[arg-type]
    app.context.live.session.stream.send_nowait(bytes(32000 * 21))
    app.context.live.model.stored_bytes = 32000 * 21
    app.context.live.level = -18.0
    app.context.live.tell(
        Change.STATE | Change.LINES | Change.PARTIAL | Change.TITLE | Change.SUMMARY | Change.SPEAKERS
    )


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    """Until something is so, looked at whenever the app has nothing to do."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await pilot.pause()


async def show_idle(app: Still, pilot: Pilot[None]) -> None:
    return


async def show_live(app: Still, pilot: Pilot[None]) -> None:
    live(app)


async def show_captions(app: Still, pilot: Pilot[None]) -> None:
    live(app)
    await pilot.press("2")


async def show_session(app: Still, pilot: Pilot[None]) -> None:
    screen = SessionScreen(app.context, SessionModel(session="0123456789abcdef"))
    app.push_screen(screen)
    await pilot.pause()
    fill(screen.model, running=False)
    everything = Change.STATE | Change.SPEAKERS | Change.LINES | Change.TITLE | Change.SUMMARY
    screen.session_changed(screen.model, everything)
    await pilot.press("t", "j", "j")


async def show_history(app: Still, pilot: Pilot[None]) -> None:
    await pilot.press("3")
    screen = app.screen
    assert isinstance(screen, HistoryScreen)
    states = [State.PROCESSING, State.COMPLETED, State.FAILED, State.CANCELLED, State.TRANSCRIBED]
    screen.model.add(
        SessionInfo(
            session=f"{place}", kind="file" if place % 2 else "live", title=["Release plan", "회의록", ""][place % 3],
            state=state, created=1.7e9 - 9e4 * place, duration_s=60.0 * 7**place,
            language=["en", "ko", None][place % 3],
            message="The disk is full; free some space." if state is State.FAILED else None,
        )
        for place, state in enumerate(states)
    )  # fmt: skip
    screen.query_one("#line", Input).value = ""
    screen.model.query = "plan"
    screen.model.hits = [Hit(session="1", segment=3, start=75, end=80, text="We plan the release on Monday.")]
    screen._draw()


async def show_files(app: Still, pilot: Pilot[None]) -> None:
    app.context.uploads.jobs = [
        FileJob(
            Path("interview.m4a"), step=Step.DONE, session="a", total_s=100, begun=0, ended=5, languages={"en": 9.0}
        ),
        FileJob(
            Path("a talk of an hour with a rather long name.flac"), step=Step.TRANSCRIBING, done_s=700, total_s=1800
        ),
        FileJob(Path("회의.wav"), step=Step.SENDING, sent=300, size=1000),
        FileJob(
            Path("notes.txt"),
            step=Step.FAILED,
            problem="This is no audio file that FFmpeg can read.",
            remedy="ffprobe notes.txt",
        ),
        FileJob(Path("later.mp3")),
    ]
    app.context.queue.model.update(
        [
            QueuedFile(
                session="q1", title="Interview of an hour", priority="normal", state=State.PROCESSING, created=1.7e9,
                done_s=1200, total_s=3600,
            ),
            QueuedFile(session="q2", title="강의", priority="high", state=State.PENDING, created=1.7e9),
        ],
        [
            SessionInfo(
                session="q1", kind="file", title="", state=State.PROCESSING, created=1.7e9, duration_s=0, language="en"
            ),
            SessionInfo(
                session="q3", kind="file", title="Broken", state=State.FAILED, created=1.7e9, duration_s=0,
                code="bad_audio", message="There is no audio in it; send a recording.",
            ),
        ],
        paused=True, now=0, wall=1.7e9,
    )  # fmt: skip
    await pilot.press("4")


async def show_devices(app: Still, pilot: Pilot[None]) -> None:
    await pilot.press("d")


async def show_models(app: Still, pilot: Pilot[None]) -> None:
    app.context.setup.models = [
        ModelInfo(name="builtin", here=True, size_bytes=5_600_000, context="short", loaded=True),
        ModelInfo(name="tiny.en", here=True, size_bytes=78_000_000, context="full", languages=["en"]),
        *[ModelInfo(name=name, here=False, size_bytes=0, context="full") for name in ("small", "turbo", "large-v3")],
    ]
    app.context.setup.download = Download("small", 210_000_000, 484_000_000)
    await pilot.press("D")


async def show_settings(app: Still, pilot: Pilot[None]) -> None:
    await pilot.press("S")


async def show_vocabulary(app: Still, pilot: Pilot[None]) -> None:
    for rule in (Rule(wrong="pie torch", right="PyTorch"), Rule(wrong="um", right="")):
        vocabulary_file.add(rule)
    await pilot.press("S")
    app.screen.query_one(OptionList).highlighted = 5
    await pilot.press("enter")


async def show_no_questions(app: Still, pilot: Pilot[None]) -> None:
    await pilot.press("5")


async def show_questions(app: Still, pilot: Pilot[None]) -> None:
    await pilot.press("5", *"When will we release?")
    screen = app.screen
    assert isinstance(screen, QuestionsScreen)
    passages = [
        Passage(
            session=session, title=title, created=1.7e9, segment=3, start=start, end=start + 4, text=text,
            speaker=speaker,
        )
        for session, title, start, text, speaker in (
            ("a", "Release planning", 75.0, "We release on Monday, if the tests of the payment system pass.", "Ada"),
            ("b", "회의록", 3725.0, "The date stays.", None),
        )
    ]  # fmt: skip
    answer = [
        AnswerSentence(
            text="The release is on Monday if all tests of the payment system that the mobile team wrote pass.",
            sources=[0],
        ),
        AnswerSentence(text="Bob says that the date stays.", sources=[1, 0], unverified=["Bob"]),
    ]
    reply = AskReply(id=1, answer=answer, passages=passages, provider="ollama", model="gemma3", dropped=1)
    screen.answer.finish(reply)
    screen._draw()
    await pilot.press("down")


async def show_help(app: Still, pilot: Pilot[None]) -> None:
    await pilot.press("question_mark")


async def show_name(app: Still, pilot: Pilot[None]) -> None:
    live(app)
    await pilot.press("R")


async def show_speakers(app: Still, pilot: Pilot[None]) -> None:
    await show_session(app, pilot)
    await pilot.press("p")


async def show_export(app: Still, pilot: Pilot[None]) -> None:
    await show_session(app, pilot)
    await pilot.press("E")


async def show_marks(app: Still, pilot: Pilot[None]) -> None:
    await show_session(app, pilot)
    await pilot.press("M")


async def show_palette(app: Still, pilot: Pilot[None]) -> None:
    await show_history(app, pilot)
    await pilot.press("ctrl+p")
    await until(pilot, lambda: app.screen.query_one(CommandList).option_count >= 10)


async def show_pick(app: Still, pilot: Pilot[None]) -> None:
    place = Path("recordings")
    (place / "2026").mkdir(parents=True)
    for name in ("interview.m4a", "회의.wav", "notes.txt"):
        (place / name).touch()
    os.chdir(place)
    await pilot.press("4", "tab", "p")
    await until(pilot, lambda: len(app.screen.query_one(MediaTree).root.children) == 3)


async def show_deleted(app: Still, pilot: Pilot[None]) -> None:
    await show_history(app, pilot)
    await pilot.press("x")


async def show_no_files(app: Still, pilot: Pilot[None]) -> None:
    await pilot.press("4")


async def show_no_history(app: Still, pilot: Pilot[None]) -> None:
    await pilot.press("3")


async def show_no_daemon(app: Still, pilot: Pilot[None]) -> None:
    from convo_tui.screens.welcome import WelcomeScreen

    app.context.daemon.state = LinkState(LinkPhase.ABSENT)
    app.push_screen(WelcomeScreen(app.context.daemon))


SMALL, WIDE, TINY = (80, 24), (120, 40), (40, 12)
DARK, LIGHT, CONTRAST = "convo-dark", "convo-light", "convo-contrast"

PICTURES = [
    (show_idle, SMALL, DARK),
    *[(show_live, size, theme) for size, theme in ((SMALL, DARK), (WIDE, LIGHT), (TINY, DARK), (SMALL, CONTRAST))],
    (show_captions, WIDE, DARK),
    *[(show_session, size, theme) for size, theme in ((SMALL, LIGHT), (WIDE, DARK), (TINY, DARK))],
    *[(show_history, size, theme) for size, theme in ((SMALL, DARK), (WIDE, LIGHT))],
    *[(show_files, size, theme) for size, theme in ((SMALL, LIGHT), (WIDE, DARK))],
    (show_devices, SMALL, DARK),
    (show_models, SMALL, LIGHT),
    (show_questions, SMALL, DARK),
    (show_help, SMALL, CONTRAST),
    (show_no_daemon, SMALL, DARK),
]

TEXTS = [
    (show_name, ["Name this session", "Release planning", "Enter confirms, Esc cancels."]),
    (show_settings, ["Settings", "Enter changes one.", "times          auto", "the daemon's address (next start)"]),
    (show_speakers, ["Speakers", "Speaker 1", "Ada", "1 line", "v remembers the voice"]),
    (show_vocabulary, ["Vocabulary", "pie torch                     PyTorch", "um                            nothing"]),
    (show_no_questions, ["Questions about all talks", "Without one, you get the places that are about it."]),
    (show_export, ["Export as", "srt    SubRip captions", "jsonl  everything, one object per line"]),
    (show_marks, ["Go to a bookmark", "00:12  who was that?"]),
    (show_palette, ["Search for commands", "Large captions for a shared screen", "Turn recordings into transcripts"]),
    (show_pick, ["Pick recordings", "▸ 2026", "interview.m4a", "Space selects several"]),
    (show_deleted, ["Deleted Release plan. Press u to undo.", "u Undo"]),
    (show_no_files, ["No files yet.", "nothing leaves its machine"]),
    (show_no_history, ["No sessions yet.", "Press 1, then s to start one"]),
]


def named(value: object) -> str:
    if isinstance(value, tuple):
        return f"{value[0]}x{value[1]}"
    return value if isinstance(value, str) else getattr(value, "__name__", "").removeprefix("show_")


async def draw(app: Still, pilot: Pilot[None], show: Callable[..., object]) -> None:
    await drawn(pilot)
    await show(app, pilot)  # type: ignore[misc]
    await drawn(pilot)
    for field in app.screen.query(Input):
        field.cursor_blink = False
    await drawn(pilot)


async def drawn(pilot: Pilot[None]) -> None:
    """What is compared is the whole picture: wait until the last row is drawn, below a window too."""
    for _ in range(4):
        await pilot.pause()
        await wait_for_idle()  # which takes a process that gets no turn for one at rest: so several times


@pytest.mark.parametrize(("show", "size", "theme"), PICTURES, ids=named)
def test_screen(
    snap_compare: Callable[..., bool],
    sound: FakePortAudio,
    show: Callable[..., object],
    size: tuple[int, int],
    theme: str,
) -> None:
    app = Still(parse(["--theme", theme]))
    assert snap_compare(app, terminal_size=size, run_before=lambda pilot: draw(app, pilot, show))


@pytest.mark.parametrize(("show", "texts"), TEXTS, ids=named)
async def test_texts(sound: FakePortAudio, show: Callable[..., object], texts: list[str]) -> None:
    """Windows and empty screens say what they are for, in any size; every theme has all of their colours."""
    app = Still(parse([]))
    async with app.run_test(size=SMALL, notifications=True) as pilot:
        await draw(app, pilot, show)
        await until(pilot, lambda: all(text in on_screen(app) for text in texts))
        for size, theme in ((WIDE, LIGHT), (TINY, CONTRAST)):
            app.theme = theme
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert max(map(cell_len, on_screen(app).splitlines())) <= size[0]


def on_screen(app: Still) -> str:
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)
