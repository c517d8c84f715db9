"""History and one session's screen: every key of both."""

from __future__ import annotations

from pathlib import Path

import docx
import msgspec
import pytest

from convo.messages import (
    AddMark,
    CancelSession,
    CorrectSegment,
    DeleteSession,
    EndSession,
    Error,
    Export,
    Finalize,
    ListSessions,
    Search,
    State,
    Summarize,
    UpdateSession,
)
from convo_tui.widgets.transcript import TranscriptView
from convo_tui.work import deletes
from tests.cli.fake import SUMMARY, TRUSTED, FakeDaemon
from tests.tui.conftest import Open


@pytest.fixture
def past(fake: FakeDaemon) -> FakeDaemon:
    """Three sessions from before; each sentence is a paragraph of its own."""
    fake.pause_s = 2.0
    fake.add("aaaa0001", "We talk about the budget.", "It is large.", title="Monday", created=1e9)
    fake.add("bbbb0002", "The release is late.", "The budget is small.", title="Release", created=2e9, summary=SUMMARY)
    fake.add("cccc0003", "Nothing of interest.", title="", created=1.5e9)
    return fake


async def test_all_sessions_newest_first(connected: Open, past: FakeDaemon) -> None:
    async with connected() as stage:
        await stage.press("3")
        await stage.sees("3 sessions", "Release", "Untitled", "Monday")
        text = stage.text()
        assert text.index("Release") < text.index("Untitled") < text.index("Monday")
        assert "2001-09-09" in text


async def test_a_row_tells_the_language_and_why_a_session_failed(connected: Open, past: FakeDaemon) -> None:
    broken = past.add("dddd0004", title="Broken", kind="file", created=3e9, language="de")
    broken.fail("internal", "There is no \x1b[2Jaudio in it.")
    async with connected() as stage:
        await stage.press("3")
        await stage.sees("✗ Broken  failed", "de   file", "  There is no audio in it.")
        await stage.sees("This may help: convo retry dddd0004")
        await stage.press("slash", *"file de")
        await stage.sees("1 session")


async def test_narrowed_as_one_types_with_hits_in_place(connected: Open, past: FakeDaemon) -> None:
    async with connected() as stage:
        await stage.press("3")
        await stage.sees("3 sessions")
        await stage.press("slash", *"budget")
        # "bud", which was typed on the way, has the same hits.
        await stage.until(lambda: past.of(Search)[-1:] and past.of(Search)[-1].query == "budget", "the whole word")
        await stage.sees("2 sessions, 2 matches")
        lines = [line.strip() for line in stage.text().splitlines() if line.strip()]
        at = next(place for place, line in enumerate(lines) if line.startswith("✓ Release"))
        assert "The budget is small." in lines[at + 1]
        assert lines[at + 2].startswith("✓ Monday")
        assert "We talk about the budget." in lines[at + 3]
        await stage.press("escape")
        await stage.sees("3 sessions")
        await stage.press("slash", *"zebra")
        await stage.sees("No matches.")
        await stage.press("escape", "escape")
        await stage.until(lambda: len(stage.app.screen_stack) == 1, "back")


async def test_a_hit_opens_the_session_at_its_place(connected: Open, past: FakeDaemon) -> None:
    async with connected() as stage:
        await stage.press("3")
        await stage.sees("3 sessions")
        await stage.press("slash", *"small")
        await stage.sees("The budget is small.")
        await stage.press("enter", "down", "enter")
        await stage.sees("▌  The budget is small.", "They made a plan.")
        await stage.press("escape")
        await stage.sees("1 session, 1 match")


async def test_a_session_is_read_copied_and_searched(connected: Open, past: FakeDaemon) -> None:
    async with connected("--session", "bbbb") as stage:
        await stage.sees("convo   Release", "The release is late.", "They made a plan.", "□ Write it down.")
        await stage.press("y")
        assert stage.app.clipboard == "The release is late.\nThe budget is small."
        await stage.press("j", "j")
        await stage.sees("▌  The budget is small.")
        await stage.press("k", "y")
        assert stage.app.clipboard == "The release is late."
        await stage.press("slash", *"is")
        await stage.sees("match 1 of 2")
        await stage.press("enter", "n")
        await stage.sees("▌  The budget", "match 2 of 2")
        await stage.press("N")
        await stage.sees("▌  The release", "match 1 of 2")
        await stage.press("n")
        await stage.sees("▌  The budget")
        await stage.press("enter")
        await stage.sees("▌  The release")
        await stage.press("escape")
        await stage.sees_no("match ")
        await stage.press("t")
        await stage.sees("00:03  The budget is small.")
        await stage.press("v")
        await stage.sees_no("They made a plan.")
        await stage.press("escape", "3")
        await stage.sees("3 sessions")
        await stage.press("enter")
        await stage.sees("00:03  The budget is small.")  # times stay


async def test_marks_are_put_and_found(connected: Open, past: FakeDaemon) -> None:
    async with connected("--session", "bbbb0002") as stage:
        await stage.sees("The budget is small.")
        await stage.press("j", "j", "b")
        await stage.sees("▌◆ The budget is small.")
        assert [mark.time for mark in past.of(AddMark)] == [5.0]
        await stage.press("k", "right_curly_bracket")
        await stage.sees("▌◆ The budget is small.")
        await stage.press("left_curly_bracket", "R", *" II", "enter")
        await stage.sees("convo   Release II")
        assert [request.title for request in past.of(UpdateSession)] == ["Release II"]


async def test_export_to_any_format_never_over_a_file(connected: Open, past: FakeDaemon, tmp_path: Path) -> None:
    async with connected("--session", "bbbb0002") as stage:
        await stage.sees("The budget is small.")
        for format in ("srt", "docx", "srt"):
            await stage.press("E")
            await stage.sees("Export as", "SubRip captions")
            await stage.choose(format)
            await stage.sees("Export to", f"Release.{format}")
            await stage.press("enter")
            await stage.until(lambda format=format: any(f".{format}" in toast for toast in stage.toasts()), "told")
        await stage.until(lambda: any("already exists" in toast for toast in stage.toasts()), "told")
        said = [paragraph.text for paragraph in docx.Document(str(tmp_path / "Release.docx")).paragraphs]
        assert any("The budget is small." in text for text in said)
        written = (tmp_path / "Release.srt").read_text()
        assert written.startswith("1\n00:00:00,000 -->")
        assert {request.format for request in past.of(Export)} == {"srt"}


async def test_summarised_again_in_another_style(connected: Open, past: FakeDaemon) -> None:
    async with connected("--session", "aaaa0001") as stage:
        await stage.sees("It is large.")
        await stage.press("z")
        await stage.sees("Summarise again", "Minutes")
        await stage.press("down", "down", "enter")
        await stage.sees("They made a plan.")
        assert [request.style for request in past.of(Summarize)] == ["minutes"]


async def test_deleted_and_taken_back(connected: Open, past: FakeDaemon) -> None:
    async with connected() as stage:
        await stage.press("3")
        await stage.sees("3 sessions")
        await stage.press("x")
        await stage.sees("2 sessions", "u Undo")
        await stage.press("u")
        await stage.sees("3 sessions", "Release")
        assert not past.of(DeleteSession)


async def test_deleted_for_good_after_a_while(
    connected: Open, past: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletes, "UNDO_S", 0.0)
    async with connected("--session", "bbbb0002") as stage:
        await stage.sees("The budget is small.")
        await stage.press("x")
        await stage.until(lambda: "bbbb0002" not in past.sessions, "deleted")
        await stage.press("3")
        await stage.sees("2 sessions")


async def test_what_is_deleted_is_gone_when_the_app_is_left(connected: Open, past: FakeDaemon) -> None:
    async with connected() as stage:
        await stage.press("3")
        await stage.sees("3 sessions")
        await stage.press("x", "q")
        past.wait_for(DeleteSession)


async def test_a_line_is_corrected_and_hidden(connected: Open, past: FakeDaemon) -> None:
    async with connected("--session", "bbbb") as stage:
        await stage.sees("The release is late.")
        await stage.press("e")
        await stage.until(lambda: any("Select the line" in told for told in stage.toasts()), "told what is missing")
        await stage.press("j", "j", "e")
        await stage.sees("Correct the line at 00:03")
        await stage.press(*["backspace"] * 6, *"tiny.", "enter")
        await stage.sees("▌  The budget is tiny.")
        await stage.press("e", "escape")
        await stage.press("e", "enter")  # nothing was changed
        await stage.press("e", "ctrl+u", "enter")
        await stage.sees_no("The budget")
        await stage.sees("live   1 line")
        assert stage.app.screen.query_one(TranscriptView).virtual_size.height == 2  # with the empty one at the end
        await stage.press("k", "j", "y")
        assert stage.app.clipboard == "The release is late."
        assert [(one.segment, one.text) for one in past.of(CorrectSegment)] == [(1, "The budget is tiny."), (1, "")]


async def test_renamed_in_the_list(connected: Open, past: FakeDaemon) -> None:
    async with connected() as stage:
        await stage.press("3")
        await stage.sees("3 sessions")
        await stage.press("R", *"!", "enter")
        await stage.until(lambda: past.sessions["bbbb0002"].title == "Release!", "renamed")
        await stage.press("r")
        await stage.sees("Release!")
        assert len(past.of(ListSessions)) >= 2


async def test_what_comes_while_the_app_exits_touches_no_screen(connected: Open, fake: FakeDaemon) -> None:
    fake.add("aaaa0001", "Hello.", title="Talk")
    async with connected("--session", "aaaa0001") as stage:
        await stage.sees("Hello.")
        assert len(stage.app.hooks) == 2
        await stage.app.action_quit()
        assert stage.app.hooks == []


async def test_a_running_session_is_joined_and_ended(connected: Open, fake: FakeDaemon) -> None:
    session = fake.add("dddd0004", "Somebody speaks.", title="Call")
    session.state = State.PROCESSING
    del session.events[-2:]  # it is neither transcribed nor completed
    session.said = ["Somebody speaks.", "And goes on."]
    async with connected("--session", "dddd0004") as stage:
        await stage.sees("● live", "Somebody speaks.", "quiet")
        await stage.press("f")
        await stage.sees("And goes on.")
        assert len(fake.of(Finalize)) == 1
        await stage.press("s")
        await stage.until(lambda: bool(fake.of(EndSession)), "ended")
        await stage.sees_no("● live")
        assert not fake.of(CancelSession)


async def test_an_id_that_is_none_leads_to_the_list(connected: Open, past: FakeDaemon) -> None:
    async with connected("--session", "zzzz") as stage:
        await stage.sees("3 sessions")
        assert any("No session id starts with 'zzzz'" in toast for toast in stage.toasts())


async def test_what_the_daemon_refuses_is_told(connected: Open, past: FakeDaemon) -> None:
    past.refuse[Summarize] = Error(code="summarizer_unavailable", message="Start the language model.")
    async with connected("--session", "aaaa0001") as stage:
        await stage.sees("It is large.")
        await stage.press("z")
        await stage.sees("Summarise again")
        await stage.press("enter")
        await stage.until(lambda: "Start the language model." in stage.toasts(), "told")


async def test_what_was_said_is_never_markup_nor_escape_codes(connected: Open, fake: FakeDaemon) -> None:
    evil = "[red]x[/] \x1b[31mboo\x1b]0;title\x07 \x9b2J [link=a]b ‮desrever"
    fake.add("eeee0005", evil, "Plain.", title=evil, summary=SUMMARY.__class__(**{
        **{name: getattr(SUMMARY, name) for name in SUMMARY.__struct_fields__}, "title": evil, "summary": evil,
    }))  # fmt: skip
    async with connected(size=(140, 30)) as stage:
        await stage.press("3")
        await stage.sees("[red]x[/] boo")
        await stage.press("enter")
        await stage.sees("[red]x[/] boo  [link=a]b desrever", "Plain.")
        assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in stage.text().replace("\n", ""))
        await stage.press("slash", *"boo")
        await stage.press("escape", "escape")
        await stage.press("slash", "[", "b", "escape", "x")
        await stage.until(lambda: any("[red]x[/] boo" in toast for toast in stage.toasts()), "told plainly")


async def test_marks_have_notes_and_a_list_to_jump_from(connected: Open, past: FakeDaemon) -> None:
    past.add("eeee0009", *[f"Sentence {number}." for number in range(60)], title="Long")
    async with connected("--session", "eeee0009", size=(80, 24)) as stage:
        await stage.sees("Sentence 0.")
        assert "M Marks" not in stage.text()
        await stage.press("j", "j", "B")
        await stage.sees("Note at 00:05")
        await stage.press(*"begin", "enter")
        await stage.sees("M Marks", "◆ begin")
        await stage.until(lambda: "Marked at 00:05." in stage.toasts(), "told")
        await stage.press("end", "b")
        await stage.until(lambda: len(past.of(AddMark)) == 2, "marked")
        await stage.press("home", "b")
        await stage.until(lambda: len(past.of(AddMark)) == 3, "marked")
        assert past.of(AddMark)[0].text == "begin"
        await stage.press("M")
        await stage.sees("Go to a bookmark", "00:05  begin")
        await stage.press("enter")
        await stage.sees("▌◆ Sentence 1.", "◆ begin")
        await stage.press("M", "escape")
        await stage.sees("▌◆ Sentence 1.")


async def test_older_summaries_are_paged_through(connected: Open, past: FakeDaemon) -> None:
    async with connected("--session", "bbbb0002", size=(120, 30)) as stage:
        await stage.sees("They made a plan.", "The release is late.")
        assert "older" not in stage.text()
        past.writes = msgspec.structs.replace(TRUSTED, summary="Quite another text.")
        await stage.press("z", "enter")
        await stage.sees("Quite another text.", "Summary 2/2   , older")
        await stage.sees("A plan was made.  00:00 00:03", "It is a good one.  no source", "Not in the transcript: Ada")
        await stage.sees("by extractive", "minutes · 1970-01-12")
        await stage.press("comma")
        await stage.sees("Summary 1/2   . newer", "They made a plan.")
        await stage.press("comma")
        await stage.sees("Summary 1/2", "They made a plan.")
        past.writes = msgspec.structs.replace(TRUSTED, summary="A third one.")
        await stage.press("z", "enter")
        await stage.sees("Summary 3/3", "A third one.")
        await stage.press("comma", "comma")
        await stage.sees("Summary 1/3   . newer")
        await stage.press("full_stop")
        await stage.sees("Summary 2/3   , older   . newer", "Quite another text.")
        await stage.press("full_stop", "full_stop")
        await stage.sees("Summary 3/3   , older", "A third one.")


async def test_without_a_summary_it_says_what_to_do(connected: Open, past: FakeDaemon) -> None:
    async with connected("--session", "aaaa0001", size=(120, 30)) as stage:
        await stage.sees("It is large.")
        assert "No summary." not in stage.text()  # it is folded away
        await stage.press("v")
        await stage.sees("No summary.", "Press z to write one.")
