"""The transcript: following its end or not, redrawn no more than need be, a day of talk, a summary as it is written."""

from __future__ import annotations

from pathlib import Path

import msgspec
from textual.geometry import Offset
from textual.selection import Selection

from convo.messages import (
    AddMark,
    CreateSession,
    Event,
    Mark,
    RollingSummary,
    SessionState,
    State,
    SummaryDelta,
    TranscriptPartial,
    TranscriptSegment,
)
from convo_tui.messages import SessionChanged, SessionEvents
from convo_tui.model.session import Change
from convo_tui.widgets.body import NARROWEST
from convo_tui.widgets.summary import SummaryPane
from convo_tui.widgets.transcript import TranscriptView
from tests.cli.fake import SUMMARY, FakeDaemon
from tests.fakes.portaudio import FakePortAudio
from tests.tui.conftest import Open, Stage

SUMMARY_FIELDS = {name: getattr(SUMMARY, name) for name in SUMMARY.__struct_fields__}


def lines(first: int, last: int) -> list[Event]:
    return [
        TranscriptSegment(
            session="s", seq=number + 1, segment=number, start=3 * number, end=3 * number + 0.5, text=f"Line {number}.",
            language="en", confidence=1, lag_ms=1,
        )
        for number in range(first, last)
    ]  # fmt: skip


def tell(stage: Stage, *events: Event) -> None:
    if not stage.app.context.live.model.session:
        stage.app.context.live.model.session = "s"
        stage.app.post_message(SessionChanged(stage.app.context.live.model, Change.STATE))
    stage.app.post_message(SessionEvents(stage.app.context.live.model, events, None, 0.0))


async def test_it_follows_the_end_until_one_scrolls_up_and_counts_what_came(connected: Open, fake: FakeDaemon) -> None:
    async with connected(size=(80, 20)) as stage:
        tell(stage, *lines(0, 50))
        await stage.sees("Line 49.")
        view = stage.app.screen.query_one(TranscriptView)
        await stage.press("pageup")
        await stage.until(lambda: not view.following, "scrolled up")
        await stage.sees_no("Line 49.")
        tell(stage, *lines(50, 51))
        await stage.sees("↓ 1 new line  End")
        tell(stage, *lines(51, 55))
        await stage.sees("↓ 5 new lines  End")
        assert "Line 54." not in stage.text()
        await stage.press("end")
        await stage.sees("Line 54.")
        await stage.sees_no("new line")
        tell(stage, *lines(55, 56))
        await stage.sees("Line 55.")
        await stage.press("home")
        await stage.sees("Line 0.")
        tell(stage, *lines(56, 57))
        await stage.sees("↓ 1 new line")
        await stage.pilot.click("#behind")
        await stage.sees("Line 56.")


async def test_a_day_of_talk_is_drawn_by_the_rows_in_view(connected: Open, fake: FakeDaemon) -> None:
    async with connected(size=(80, 20)) as stage:
        tell(stage, *lines(0, 20_000))
        await stage.sees("Line 19999.")
        view = stage.app.screen.query_one(TranscriptView)
        assert not view.children
        assert len(view.page.layout._rows) < 512
        view.go_to(9_999)
        await stage.sees("▌  Line 9999.", "Line 10000.")
        await stage.pilot.resize_terminal(40, 12)
        await stage.sees("Line 9999.")


async def test_a_partial_that_did_not_change_draws_nothing(connected: Open, fake: FakeDaemon) -> None:
    drawn = 0
    async with connected() as stage:
        partial = TranscriptPartial(session="s", segment=0, start=0, end=1, stable="One", tentative="two")
        tell(stage, partial)
        await stage.sees("One two▏")
        view = stage.app.screen.query_one(TranscriptView)
        before = view.refresh_model

        def counted() -> None:
            nonlocal drawn
            drawn += 1
            before()

        view.refresh_model = counted  # type: ignore[method-assign]
        tell(stage, partial, partial)
        tell(stage, *lines(0, 1))
        await stage.sees("Line 0.")
        await stage.sees_no("One two")
        assert drawn == 1


async def test_a_summary_is_shown_as_it_is_written(connected: Open, fake: FakeDaemon) -> None:
    async with connected(size=(80, 24)) as stage:
        tell(stage, *lines(0, 1), SessionState(session="s", seq=2, state=State.TRANSCRIBED))
        await stage.sees("Writing the summary…")
        tell(stage, SummaryDelta(session="s", text="They made "))
        await stage.sees("They made ▏")
        tell(stage, SummaryDelta(session="s", text="a plan."))
        await stage.sees("They made a plan.▏")


async def test_a_long_pause_begins_a_paragraph_and_nobody_is_said_to_speak(connected: Open, fake: FakeDaemon) -> None:
    async with connected(size=(80, 24)) as stage:
        first, second, third = lines(0, 3)
        tell(stage, first, msgspec.structs.replace(second, start=1.0, end=1.5), third)
        await stage.sees("Line 2.")
        rows = [row.strip() for row in stage.text().splitlines()]
        at = rows.index("Line 0. Line 1.")
        assert rows[at : at + 3] == ["Line 0. Line 1.", "", "Line 2."]
        assert "speaker" not in stage.text().casefold()


async def test_a_mark_is_seen_at_once_beside_what_is_being_said(connected: Open, fake: FakeDaemon) -> None:
    async with connected(size=(80, 24)) as stage:
        tell(stage, *lines(0, 1))
        tell(stage, TranscriptPartial(session="s", segment=1, start=9, end=10, stable="And", tentative="then"))
        await stage.sees("And then")
        tell(stage, Mark(session="s", seq=2, time=9.5))
        await stage.sees("◆ And then")
        assert "◆ Line 0." not in stage.text()


async def test_what_is_being_said_flows_on_and_takes_its_place_without_a_jump(
    connected: Open, fake: FakeDaemon
) -> None:
    async with connected(size=(80, 24)) as stage:
        tell(stage, *lines(0, 1))
        tell(stage, TranscriptPartial(session="s", segment=1, start=0.9, end=2, stable="And", tentative="then"))
        await stage.sees("Line 0. And then▏")
        tell(stage, Mark(session="s", seq=2, time=1.5))
        await stage.sees("◆ Line 0. And then▏")
        (final,) = lines(1, 2)
        tell(stage, msgspec.structs.replace(final, seq=3, start=0.9, end=2.0, text="And then he left."))
        await stage.sees("◆ Line 0. And then he left.")
        await stage.sees_no("▏")


async def test_times_are_on_where_there_is_room_and_what_is_wrapped_hangs_below_its_beginning(
    connected: Open, fake: FakeDaemon
) -> None:
    async with connected(size=(100, 24)) as stage:
        (first,) = lines(0, 1)
        tell(stage, msgspec.structs.replace(first, text="word " * 30))
        await stage.sees("   00:00  word word")
        rows = [row for row in stage.text().splitlines() if "word" in row and "words" not in row]
        assert [len(row) - len(row.lstrip()) for row in rows] == [3, 10]
        await stage.pilot.resize_terminal(80, 24)
        await stage.sees_no("00:00  word")
        rows = [row for row in stage.text().splitlines() if "word" in row and "words" not in row]
        assert [len(row) - len(row.lstrip()) for row in rows] == [3, 5, 5]
        await stage.press("t")
        await stage.sees("00:00  word")


async def test_the_empty_space_above_the_first_lines_holds_the_sessions_facts(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio
) -> None:
    async with connected(size=(80, 24)) as stage:
        await stage.press("s")
        await stage.sees(
            "● live", "Sound     microphone", "Model     built-in", "Language  detected, sentence", "Session"
        )
        tell(stage, *lines(0, 30))
        await stage.sees("Line 29.")
        await stage.sees_no("detected, sentence")


async def test_doubts_are_underlined_on_demand_and_later_sessions_tell_their_words(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio
) -> None:
    async with connected(size=(80, 24)) as stage:
        first, second = lines(0, 2)
        tell(stage, first, msgspec.structs.replace(second, confidence=0.3))
        await stage.sees("Line 1.")
        assert underlined(stage) == ""
        await stage.press("w")
        await stage.until(lambda: underlined(stage) == "Line 1.", "underlined")
        assert stage.app.context.settings.doubts
        stage.app.context.live.model.session = ""
        await stage.press("s")
        await stage.until(lambda: [one.words for one in fake.of(CreateSession)] == [True], "asked for")


def underlined(stage: Stage) -> str:
    strips = stage.app.screen._compositor.render_strips()
    return "".join(part.text for strip in strips for part in strip if part.style and part.style.underline)


async def test_the_summary_folds_away_and_is_made_wider(connected: Open, fake: FakeDaemon) -> None:
    async with connected(size=(120, 24)) as stage:
        tell(stage, *lines(0, 1))
        await stage.sees("Line 0.")
        assert not stage.app.screen.query_one(SummaryPane).display
        tell(stage, RollingSummary(session="s", seq=2, **SUMMARY_FIELDS))
        pane = stage.app.screen.query_one(SummaryPane)
        await stage.until(lambda: pane.display and pane.size.width, "shown")
        before = pane.outer_size.width
        await stage.press("right_square_bracket")
        await stage.until(lambda: pane.outer_size.width == before + 6, "wider")
        await stage.press(*["left_square_bracket"] * 9)
        await stage.until(lambda: pane.outer_size.width == NARROWEST, "narrow")
        await stage.until(lambda: stage.app.context.settings.summary_width == NARROWEST, "remembered")
        await stage.press(*["right_square_bracket"] * 3)
        await stage.pilot.resize_terminal(80, 24)
        await stage.until(lambda: pane.brief and "A plan was made." in stage.text(), "below")
        text = stage.text()
        assert text.index("A plan was made.") < text.index("Write it down.")
        assert "They made a plan." not in text.split("Write it down.")[0]


async def test_a_passage_is_copied_by_keys_and_by_mouse(connected: Open, fake: FakeDaemon) -> None:
    fake.add("aaaa0001", "The release is", "late.", "Well, the budget is small.", title="Talk")
    async with connected("--session", "aaaa0001", size=(60, 24)) as stage:
        await stage.sees("The release is late. Well, the budget is small.")
        await stage.press("home", "j", "k", "k", "J", "y")
        assert stage.app.clipboard == "The release is late."
        await stage.press("shift+down", "y")
        assert stage.app.clipboard == "The release is late. Well, the budget is small."
        await stage.press("j", "y")
        assert stage.app.clipboard == "Well, the budget is small."
        view = stage.app.screen.query_one(TranscriptView)
        await stage.pilot.click(view, offset=(5, 0))
        assert view.passage == (0, 0)
        await stage.pilot.click(view, offset=(30, 0), shift=True)
        assert view.passage == (0, 2)
        await stage.pilot.mouse_down(view, offset=(view.margin_cells + 4, 0))
        await stage.pilot.hover(view, offset=(view.margin_cells + 19, 0))
        await stage.pilot.mouse_up(view, offset=(view.margin_cells + 19, 0))
        await stage.until(lambda: view.text_selection, "selected")
        assert view.passage == (0, 2)
        await stage.press("y")
        assert stage.app.clipboard == "release is late."


async def test_rows_of_a_paragraph_are_copied_as_one_line(connected: Open, fake: FakeDaemon) -> None:
    async with connected(size=(40, 24)) as stage:
        first, second = lines(0, 2)
        tell(stage, msgspec.structs.replace(first, text="one two three four five six seven eight nine"), second)
        await stage.sees("eight nine", "Line 1.")
        view = stage.app.screen.query_one(TranscriptView)
        assert view.get_selection(Selection(Offset(7, 0), Offset(9, 3))) == (
            "two three four five six seven eight nine\nLine 1", "\n",
        )  # fmt: skip
        assert view.get_selection(Selection(None, None)) == (
            "one two three four five six seven eight nine\nLine 1.", "\n",
        )  # fmt: skip


async def test_a_click_in_the_margin_bookmarks_and_a_typed_time_is_gone_to(connected: Open, fake: FakeDaemon) -> None:
    fake.pause_s = 2.0
    fake.add("aaaa0001", *[f"Sentence {number}." for number in range(60)], title="Long")
    async with connected("--session", "aaaa0001", size=(80, 24)) as stage:
        await stage.sees("Sentence 0.")
        view = stage.app.screen.query_one(TranscriptView)
        await stage.pilot.click(view, offset=(1, 2))
        await stage.sees("◆ Sentence 1.")
        await stage.pilot.click(view, offset=(1, 2))
        await stage.press("colon")
        await stage.sees("Go to a time")
        await stage.press(*"1:45", "enter")
        await stage.sees("▌  Sentence 30.")
        await stage.press("colon", *"-7", "enter")
        await stage.sees("▌  Sentence 28.")
        await stage.press("colon", *"noon", "enter")
        await stage.until(lambda: any("noon is no time" in toast for toast in stage.toasts()), "told")
        assert [mark.time for mark in fake.of(AddMark)] == [5.0]


async def test_a_live_talk_is_searched_and_exported_where_one_is(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio, tmp_path: Path
) -> None:
    fake.says(["Hello there.", "And hello again."])
    fake.segment_every = 32000
    async with connected(size=(80, 24)) as stage:
        await stage.press("s")
        await stage.sees("● live")
        for text in ("Hello there.", "And hello again."):
            sound.say(bytes(32000))
            await stage.sees(text)
        await stage.press("slash", *"hello", "enter")
        await stage.sees("match 1 of 2", "● live")
        await stage.press("n")
        await stage.sees("match 2 of 2")
        await stage.press("escape")
        await stage.sees_no("match ")
        await stage.press("E")
        await stage.sees("Export as")
        await stage.press("end", "enter")
        await stage.sees("Export to")
        await stage.press("enter")
        await stage.until(lambda: any(toast.startswith("Saved to") for toast in stage.toasts()), "saved")
        assert "And hello again." in (tmp_path / "0001new.jsonl").read_text()
