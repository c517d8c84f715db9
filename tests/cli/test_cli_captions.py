"""What a person sees while somebody speaks."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stderr
from typing import Any

import pytest

from convo.messages import (
    AudioAck,
    FinalSummary,
    RollingSummary,
    SessionState,
    SessionWarning,
    State,
    SummaryDelta,
    TranscriptPartial,
    TranscriptSegment,
)
from convo_cli.captions import Captions, Interim
from convo_cli.errors import Exit, Problem
from convo_cli.output import Lines
from convo_cli.summaries import summary_text
from tests.cli.fake import SUMMARY, TRUSTED, _fields


class Screen(io.StringIO):
    """A terminal that keeps what was written to it."""

    def isatty(self) -> bool:
        return True


class Kept(Lines):
    """Standard output that keeps its lines."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def put(self, text: str) -> None:
        self.text += text


def partial(stable: str, tentative: str, start: float = 0) -> TranscriptPartial:
    return TranscriptPartial(session="s", segment=0, start=start, end=9, stable=stable, tentative=tentative)


def segment(text: str, seq: int = 1, start: float = 0) -> TranscriptSegment:
    return TranscriptSegment(
        session="s", seq=seq, segment=0, start=start, end=9, text=text, language="en", confidence=1, lag_ms=1
    )


def state(which: State, **why: Any) -> SessionState:
    return SessionState(session="s", seq=9, state=which, **why)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setenv("TERM", "xterm")
    return Screen()


def test_an_interim_is_drawn_over_and_erased(screen: Screen) -> None:
    interim = Interim(screen)
    interim.draw("", "It is", "")
    interim.draw("", "It is", "what")
    interim.erase()
    interim.erase()
    assert screen.getvalue() == (
        "\rIt is\x1b[2m\x1b[0m\x1b[K"
        "\rIt is \x1b[2mwhat\x1b[0m\x1b[K"
        "\r\x1b[K"
    )  # fmt: skip


def test_without_colours(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    Interim(screen).draw("00:01  ", "a", "b")
    assert screen.getvalue() == "\r00:01  a b\x1b[K"


def test_a_long_sentence_shows_its_end(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(os, "get_terminal_size", lambda descriptor: os.terminal_size((20, 24)))
    monkeypatch.setattr(screen, "fileno", lambda: 2)
    Interim(screen).draw("00:01  ", "many words that came before", "now")
    assert screen.getvalue() == "\r00:01  … before now\x1b[K"


def test_words_of_an_interim_obey_nothing(screen: Screen) -> None:
    Interim(screen).draw("", "a\x1b[2J\r\n", "\x07b")
    assert screen.getvalue() == "\ra \x1b[2mb\x1b[0m\x1b[K"


def test_an_empty_interim_draws_nothing(screen: Screen) -> None:
    Interim(screen).draw("00:00  ", "", " ")
    assert screen.getvalue() == ""


def test_a_sentence_on_a_screen(screen: Screen) -> None:
    lines = Kept()
    with redirect_stderr(screen):
        captions = Captions(lines, times=True)
    assert captions.wants_interims
    captions.show(partial("It", "was", start=61))
    captions.show(segment("It was\x1b[5m so.", start=61))
    assert screen.getvalue().endswith("\r\x1b[K")
    assert lines.text == "01:01  It was so.\n"


def test_in_a_pipe_there_are_only_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Kept()
    captions = Captions(lines)
    assert not captions.wants_interims
    captions.show(partial("It", "was"))
    captions.show(segment("It was so."))
    captions.show(segment("  "))
    captions.show(AudioAck(session="s", offset=0, credit=0))
    assert lines.text == "It was so.\n"
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_warning_and_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Kept()
    captions = Captions(lines)
    captions.show(segment("So."))
    captions.show(SessionWarning(session="s", seq=2, code="x", message="Not\x1b[2J well."))
    captions.show(FinalSummary(session="s", seq=3, **{f: getattr(SUMMARY, f) for f in SUMMARY.__struct_fields__}))
    assert lines.text == "So.\n\n" + summary_text(SUMMARY)
    assert capsys.readouterr().err == "convo: Not well.\n"


def test_as_json_everything_is_a_line_but_acknowledgements(screen: Screen) -> None:
    lines = Kept()
    with redirect_stderr(screen):
        captions = Captions(lines, json=True)
    assert captions.wants_interims
    for event in (partial("a", "b"), segment("a b"), AudioAck(session="s", offset=1, credit=1)):
        captions.show(event)
    captions.show(SummaryDelta(session="s", text="Th"))
    assert [line.split('"')[3] for line in lines.text.splitlines()] == [
        "transcript_partial",
        "transcript_segment",
        "summary_delta",
    ]
    assert screen.getvalue() == ""


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (state(State.FAILED, code="internal", message="No."), Exit.FAILED),
        (state(State.FAILED, code="bad_audio", message="No."), Exit.BAD_AUDIO),
        (state(State.CANCELLED), Exit.FAILED),
        (state(State.COMPLETED), None),
        (None, None),
    ],
)
def test_outcome(event: SessionState | None, code: Exit | None) -> None:
    captions = Captions(Kept())
    if event is not None:
        captions.show(event)
    if code is None:
        captions.outcome()
    else:
        with pytest.raises(Problem) as caught:
            captions.outcome()
        assert caught.value.code is code


def test_a_summary_as_text() -> None:
    assert summary_text(SUMMARY) == (
        "The plan\n\nThey made a plan.\n\nKey points\n  - A plan was made.\n\n"
        "Action items\n  - Write it down. (Ada, today)\n\nKeywords: plan\n"
    )
    assert summary_text(SUMMARY, bold=True).startswith("\x1b[1mThe plan\x1b[0m\n")
    assert "  - Write it\n    down. (Ada,\n    today)\n" in summary_text(SUMMARY, columns=16)


def delta(text: str, *, restart: bool = False) -> SummaryDelta:
    return SummaryDelta(session="s", text=text, restart=restart)


def test_a_summary_that_is_being_written_is_shown_once_everything_was_said(screen: Screen) -> None:
    with redirect_stderr(screen):
        captions = Captions(Kept())
        captions.show(delta("too early", restart=True))
        captions.show(state(State.TRANSCRIBED))
        for piece in (delta("Wrong", restart=True), delta("They ", restart=True), delta("made\x1b[2J a plan.")):
            captions.show(piece)
    drawn = screen.getvalue()
    assert "too early" not in drawn
    assert [part.removesuffix("\x1b[0m\x1b[K") for part in drawn.split("\r\x1b[2m")[1:]] == [
        "Wrong",
        "They",
        "They made a plan.",
    ]


def test_of_a_summary_that_broke_off_nothing_stays_on_the_screen(screen: Screen) -> None:
    with redirect_stderr(screen):
        captions = Captions(Kept())
        captions.show(state(State.TRANSCRIBED))
        captions.show(delta("They ", restart=True))
        captions.show(delta("", restart=True))
        at = len(screen.getvalue())
        captions.show(delta("on", restart=False))
    drawn = screen.getvalue()
    assert drawn[:at].endswith("\r\x1b[K")
    assert "They" not in drawn[at:]


def test_a_rolling_summary_is_said_while_people_speak(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Kept()
    captions = Captions(lines)
    captions.show(RollingSummary(session="s", seq=4, **_fields(SUMMARY)))
    assert capsys.readouterr().err == "convo: So far: They made a plan.\n"
    assert lines.text == ""


def test_a_summary_at_the_end_names_the_times_of_what_was_said(screen: Screen) -> None:
    lines = Kept()
    captions = Captions(lines)
    captions.show(segment("So.", start=75))
    captions.show(FinalSummary(session="s", seq=4, **_fields(TRUSTED)))
    assert "A plan was made. [01:15]" in lines.text
    assert "It is a good one. [no source]" in lines.text
