"""What is on the screen, from tables: sessions, layout, pace, files, history. No screen, no daemon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.cells import cell_len

from convo.messages import (
    ActionItem,
    AudioAck,
    EngineStatus,
    FinalSummary,
    Hit,
    Mark,
    ModelInfo,
    Origin,
    Progress,
    QueuedFile,
    RollingSummary,
    Section,
    SegmentCorrected,
    SessionInfo,
    SessionRenamed,
    SessionState,
    SpeechEnded,
    SpeechStarted,
    State,
    SummaryDelta,
    TranscriptPartial,
    TranscriptSegment,
    Word,
)
from convo_tui.messages import SessionEvents
from convo_tui.model.files import FileJob, Step, existing_paths, pasted_paths, remedy
from convo_tui.model.history import HistoryModel
from convo_tui.model.layout import Layout, clusters, wrap
from convo_tui.model.pace import REDRAW_S, Batch, Health, Pace
from convo_tui.model.paragraphs import LONG, Paragraphs
from convo_tui.model.queue import FAILED_S, QueueModel
from convo_tui.model.session import TURN_S, Change, Item, Partial, SessionModel, is_turn
from convo_tui.model.speech_models import choices, sentence
from convo_tui.model.times import time_of

SUMMARY = {
    "provider": "extractive", "model": "", "title": "Plan", "summary": "Text.", "key_points": ["a"], "action_items": [],
    "keywords": [], "language": "en",
}  # fmt: skip


def segment(number: int, text: str, start: float | None = None, *, seq: int | None = None) -> TranscriptSegment:
    begins = 2.0 * number if start is None else start
    return TranscriptSegment(
        session="s", seq=number + 1 if seq is None else seq, segment=number, start=begins, end=begins + 1, text=text,
        language="en", confidence=1, lag_ms=250,
    )  # fmt: skip


def partial(number: int, stable: str, tentative: str) -> TranscriptPartial:
    return TranscriptPartial(session="s", segment=number, start=0, end=1, stable=stable, tentative=tentative)


# --- sessions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "change", "shows"),
    [
        (segment(0, "One."), Change.LINES, lambda model: model.lines[0].text == "One." and model.lag_ms == 250),
        (partial(0, "a", "b"), Change.PARTIAL, lambda model: model.partial.tentative == "b"),
        (SpeechStarted(session="s", time=3), Change.SPEECH, lambda model: model.speaking and model.duration_s == 3),
        (SpeechEnded(session="s", time=float("nan")), Change.SPEECH, lambda model: not model.speaking),
        (AudioAck(session="s", offset=9, credit=1), Change.NOTHING, lambda model: model.stored_bytes == 9),
        (SessionState(session="s", seq=1, state=State.TRANSCRIBED), Change.STATE, lambda model: model.summing_up),
        (
            SessionState(session="s", seq=1, state=State.FAILED, code="c", message="why\x1b[2J"),
            Change.STATE,
            lambda model: model.failure == "why" and model.over,
        ),
        (SummaryDelta(session="s", text="ab"), Change.SUMMARY, lambda model: model.writing == "ab"),
        (
            RollingSummary(session="s", seq=1, **SUMMARY),
            Change.SUMMARY | Change.TITLE,
            lambda model: not model.summary.final and model.name == "Plan",
        ),
        (
            FinalSummary(session="s", seq=1, **SUMMARY),
            Change.SUMMARY | Change.TITLE,
            lambda model: model.summary.final and model.writing == "",
        ),
        (Progress(session="s", done_s=4, total_s=8), Change.PROGRESS, lambda model: model.duration_s == 4),
        (SessionRenamed(session="s", seq=1, title="\x9bnew"), Change.TITLE, lambda model: "\x9b" not in model.title),
        (Mark(session="s", seq=1, time=2), Change.MARKS, lambda model: [mark.time for mark in model.marks] == [2]),
    ],
)
def test_what_an_event_changes(event, change, shows) -> None:  # type: ignore[no-untyped-def]
    model = SessionModel(session="s")
    assert model.apply(event) == change
    assert shows(model)


def test_a_summary_that_begins_anew_forgets_what_was_written() -> None:
    model, batch = SessionModel(), Batch()
    for text, restart in (("They", True), ("They made", True), (" a plan.", False)):
        model.apply(SummaryDelta(session="s", text=text, restart=restart))
        batch.add(SummaryDelta(session="s", text=text, restart=restart))
    assert model.writing == "They made a plan."
    assert batch.take(0)[0] == (SummaryDelta(session="s", text="They made a plan.", restart=True),)
    model.apply(SummaryDelta(session="s", text="", restart=True))  # it broke off
    assert model.writing == ""


def test_a_segment_takes_the_place_of_its_partial_and_a_late_partial_is_nothing() -> None:
    model = SessionModel()
    model.apply(partial(0, "One", "tw"))
    assert model.apply(segment(0, "One two.")) == Change.LINES | Change.PARTIAL
    assert model.partial is None
    assert model.apply(partial(0, "One", "")) == Change.NOTHING
    assert model.apply(partial(1, "Next", "")) == Change.PARTIAL
    assert model.apply(partial(1, "Next", "")) == Change.NOTHING


def test_what_is_told_twice_is_shown_once() -> None:
    model = SessionModel()
    for event in (segment(0, "One."), segment(0, "One."), segment(1, "Two."), segment(0, "Again.", seq=9)):
        model.apply(event)
    assert [line.text for line in model.lines] == ["One.", "Two."]


def test_a_pause_begins_a_turn_and_marks_belong_to_lines() -> None:
    model = SessionModel()
    for number, start in enumerate((0.0, 1.2, 5.0)):
        model.apply(segment(number, "x", start))
    assert [is_turn(*pair) for pair in zip(model.lines, (1.2, 5.0), strict=False)] == [False, True]
    for seq, at in enumerate((0.0, 3.0), 10):
        model.apply(Mark(session="s", seq=seq, time=at))
    assert [model.marked(place) for place in range(-1, 4)] == [False, True, False, True, False]
    assert [model.line_of(mark) for mark in model.marks] == [0, 2]
    model.apply(SegmentCorrected(session="s", seq=20, segment=0, text="", by="user"))
    assert [model.marked(place) for place in range(3)] == [False, True, True]
    assert [model.line_of(mark) for mark in model.marks] == [1, 2]


def test_a_mark_behind_the_last_line_belongs_to_what_is_spoken_then_to_the_last_line() -> None:
    model = SessionModel()
    mark = Mark(session="s", seq=9, time=50.0, text="\x1b[2Jend")
    model.apply(mark)
    assert model.mark_ahead
    assert model.line_of(model.marks[0]) == -1
    model.apply(segment(0, "x", seq=10))
    assert model.mark_ahead
    assert not model.marked(0)
    model.apply(SessionState(session="s", seq=11, state=State.COMPLETED))
    assert [mark.text for mark in model.marks_of(0)] == ["end"]
    assert model.line_of(model.marks[0]) == 0


def test_all_final_summaries_are_kept_and_say_what_they_rest_on() -> None:
    model = SessionModel()
    for seq, style in enumerate(("brief", "minutes"), 1):
        fields = SUMMARY | {
            "key_points": ["a", "", "b"], "key_point_sources": [[1], [], [2, 3]],
            "action_items": [ActionItem(text="Go", owner="Ada", sources=[])],
            "sections": [
                Section(name="x", label="\x1b[2JFound", text=" A cough. "), Section(name="y", label="Y", text=""),
            ],
            "origin": Origin(created=1e9, style=style), "unverified": ["Ada"],
        }  # fmt: skip
        model.apply(FinalSummary(session="s", seq=seq, **fields))
    model.apply(RollingSummary(session="s", seq=3, **SUMMARY))
    assert [summary.style for summary in model.summaries] == ["brief", "minutes"]
    last = model.summaries[-1]
    assert last.key_points == (Item("a", (1,)), Item("b", (2, 3)))
    assert last.action_items == (Item("Go (Ada)", ()),)
    assert (last.sections, last.unverified) == ((("Found", "A cough."),), ("Ada",))
    model.apply(segment(0, "x", seq=4))
    assert (model.said_at(0), model.said_at(7)) == (0.0, None)


# --- paragraphs -------------------------------------------------------------------------------------------


def said(*texts: str, gap: float = 0.5) -> SessionModel:
    """A session in which these follow each other after `gap` seconds."""
    model = SessionModel()
    for number, text in enumerate(texts):
        model.apply(segment(number, text, number * (1 + gap)))
    return model


def paragraphs_of(model: SessionModel) -> tuple[Paragraphs, list[str]]:
    paragraphs = Paragraphs(model.lines)
    paragraphs.extend()
    return paragraphs, [paragraphs.text(index) for index in range(len(paragraphs))]


@pytest.mark.parametrize(
    ("model", "texts"),
    [
        (said("I think the", "plan is late."), ["I think the plan is late."]),
        (said("One.", "Two.", gap=TURN_S), ["One.", "Two."]),
        (said("今日は", "寒い。", "Yes."), ["今日は寒い。 Yes."]),
        (said("안녕", "여러분"), ["안녕 여러분"]),
        (said("a" * LONG + ".", "Next."), ["a" * LONG + ".", "Next."]),
        (said("a" * LONG, "and on."), ["a" * LONG + " and on."]),
        (said("a" * 3 * LONG, "and on."), ["a" * 3 * LONG, "and on."]),
        (SessionModel(), []),
    ],
)
def test_what_a_breath_cuts_flows_on_until_a_pause(model: SessionModel, texts: list[str]) -> None:
    assert paragraphs_of(model)[1] == texts


def test_another_speaker_begins_a_paragraph() -> None:
    model = said("One.", "Two.", "Three.")
    model.lines[:] = [replace(line, speaker=speaker) for line, speaker in zip(model.lines, (1, 2, 2), strict=True)]
    paragraphs, texts = paragraphs_of(model)
    assert texts == ["One.", "Two. Three."]
    assert [paragraphs.lead(index) for index in range(2)] == [0, 1]


def test_a_paragraph_grows_and_knows_its_lines() -> None:
    model = said("One.", "Two.")
    paragraphs, _ = paragraphs_of(model)
    model.apply(segment(2, "Three.", 3.0))
    assert paragraphs.extend() == 0
    flow = paragraphs.flow(0)
    assert [flow.text[slice(*flow.span(line))] for line in range(3)] == ["One.", "Two.", "Three."]
    assert [flow.line_at(place) for place in (0, 4, 5, 10, 99)] == [0, 0, 1, 2, 2]
    model.apply(segment(3, "Four.", 30.0))
    assert paragraphs.extend() == 1
    assert [paragraphs.of(line) for line in range(4)] == [0, 0, 0, 1]
    assert paragraphs.joined(1, 3, {}) == "Two. Three.\nFour."
    assert paragraphs.takes(Partial(4, 31.5, 32, "And", ""))
    assert not paragraphs.takes(Partial(4, 40, 41, "And", ""))


def correct(model: SessionModel, segment: int, text: str) -> None:
    change = model.apply(SegmentCorrected(session="s", seq=model.seq + 1, segment=segment, text=text, by="user"))
    assert change is Change.TEXTS


@pytest.mark.parametrize(
    ("hidden", "texts"),
    [
        ([1], ["One. Three.", "Four."]),
        ([0], ["Two. Three.", "Four."]),
        ([3], ["One. Two. Three."]),
        ([0, 1, 2], ["Four."]),
        ([0, 1, 2, 3], [""]),
    ],
)
def test_hidden_lines_take_no_room(hidden: list[int], texts: list[str]) -> None:
    model = said("One.", "Two.", "Three.")
    model.apply(segment(3, "Four.", 30.0))
    paragraphs, _ = paragraphs_of(model)
    for number in hidden:
        correct(model, number, "")
    assert paragraphs.reread() == 0
    assert [paragraphs.text(index) for index in range(len(paragraphs))] == texts == paragraphs_of(model)[1]
    layout = Layout(paragraphs.text, paragraphs.lead)
    layout.extend(len(paragraphs))
    assert layout.height == sum(map(bool, texts)) + (len(texts) > 1)
    assert paragraphs.flow(0).head == next((at for at in range(4) if at not in hidden), 0)
    assert paragraphs.joined(0, 3, {}) == "\n".join(filter(None, texts))
    assert paragraphs.takes(Partial(4, 31.5, 32, "And", "")) == (3 not in hidden)
    for number, text in enumerate(("One.", "Two.", "Three.", "Four.")):
        correct(model, number, text)
    paragraphs.reread()
    assert [paragraphs.text(index) for index in range(len(paragraphs))] == ["One. Two. Three.", "Four."]


def test_only_what_changed_and_what_follows_is_read_again() -> None:
    model = said(*[f"Line {number}." for number in range(50)], gap=TURN_S)
    paragraphs, _ = paragraphs_of(model)
    assert paragraphs.reread() == 50
    correct(model, 40, "Another.")
    assert paragraphs.reread() == 39
    assert paragraphs.text(40) == "Another."
    model.apply(segment(50, "Line 50.", 200.0, seq=99))
    assert paragraphs.reread() == 50
    assert model.words == 101


WORDS = [
    Word(start=0, end=1, word=" In", confidence=0.9), Word(start=0, end=1, word=" the", confidence=0.2),
    Word(start=0, end=1, word=" the", confidence=0.3), Word(start=0, end=1, word="\x1b[2J", confidence=0.1),
    Word(start=0, end=1, word=" end.", confidence=0.4),
]  # fmt: skip


@pytest.mark.parametrize(
    ("confidence", "words", "found"),
    [
        (1.0, None, ()),
        (0.2, None, ("In the the end.",)),
        (0.2, WORDS, ("the the end.",)),
        (0.2, WORDS[:2], ("the",)),
        (0.2, [Word(start=0, end=1, word="other", confidence=0.1)], ()),
    ],
)
def test_which_words_are_in_doubt(confidence: float, words: list[Word] | None, found: tuple[str, ...]) -> None:
    model = SessionModel()
    model.apply(msgspec.structs.replace(segment(0, "In the the end."), confidence=confidence, words=words))
    (line,) = model.lines
    assert tuple(line.text[start:end] for start, end in line.doubts) == found
    correct(model, 0, "In the beginning.")
    assert not model.lines[0].doubts


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0), ("1:30", 90.0), (" 1:02:03 ", 3723.0), ("+30", 130.0), ("-1:00", 40.0), ("-999", 0.0),
        ("2.5", 2.5), ("", None), ("soon", None), ("1:2:3:4", None), ("٣", None), ("1e9", None),
    ],
)  # fmt: skip
def test_a_time_as_people_type_it(text: str, seconds: float | None) -> None:
    assert time_of(text, 100.0) == seconds


# --- layout -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "width", "rows"),
    [
        ("", 10, [""]),
        ("short", 10, ["short"]),
        ("one two three", 7, ["one two", "three"]),
        ("one two  three", 8, ["one two", "three"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("a abcdefghij b", 4, ["a", "abcd", "efgh", "ij b"]),
        ("日本語のテキスト", 6, ["日本語", "のテキ", "スト"]),
        ("これはテキストです。", 8, ["これは", "テキスト", "です。"]),
        ("あ。い。う。", 4, ["あ。", "い。", "う。"]),
        ("あ。", 2, ["あ", "。"]),
        ("안녕하세요 여러분 오늘은", 11, ["안녕하세요", "여러분", "오늘은"]),
        ("Привет мир", 7, ["Привет", "мир"]),
        ("שלום עולם", 5, ["שלום", "עולם"]),
        ("e\u0301e\u0301e\u0301 x", 3, ["e\u0301e\u0301e\u0301", "x"]),
        ("👩‍👩‍👧👩‍👩‍👧", 3, ["👩‍👩‍👧", "👩‍👩‍👧"]),
        ("🇫🇷🇩🇪🇯🇵", 4, ["🇫🇷🇩🇪", "🇯🇵"]),
    ],
)
def test_wrapping(text: str, width: int, rows: list[str]) -> None:
    assert wrap(text, width) == rows
    assert all(cell_len(row) <= width for row in rows)


def test_clusters_keep_what_belongs_together() -> None:
    assert list(clusters("e\u0301👍🏽🇫🇷🇩🇪❤️a")) == ["e\u0301", "👍🏽", "🇫🇷", "🇩🇪", "❤️", "a"]


def test_a_layout_finds_rows_both_ways() -> None:
    texts = ["one two three", "x", "four five six seven"]
    layout = Layout(texts.__getitem__, lambda index: int(index == 1))
    layout.resize(8)
    layout.extend(3)
    assert layout.height == 2 + 2 + 3
    seen = [layout.at(row) for row in range(layout.height)]
    assert seen == [(0, 0), (0, 1), (1, -1), (1, 0), (2, 0), (2, 1), (2, 2)]
    rows = [texts[index][slice(*layout.rows(index)[within])] for index, within in seen if within >= 0]
    assert rows == [row for text in texts for row in wrap(text, 8)]
    assert [layout.start(index) for index in range(3)] == [0, 3, 4]
    layout.resize(80)
    assert layout.height == 4


def test_a_layout_of_a_long_day_keeps_few_rows() -> None:
    layout = Layout(lambda index: f"line {index} " * 12, lambda index: 0)
    layout.resize(60)
    layout.extend(20_000)
    for index in range(20_000):
        layout.rows(index)
    assert len(layout._rows) <= 512


# --- pace -------------------------------------------------------------------------------------------------


def test_a_flood_of_partials_is_one_event_twenty_times_a_second() -> None:
    batch = Batch()
    told = []
    now = 0.0
    for number in range(1000):
        now = number / 1000
        batch.add(partial(0, "", str(number)))
        if batch.due(now) == 0:
            told.append(batch.take(now))
    assert len(told) <= 1 / REDRAW_S + 1
    assert all(len(events) == 1 for events, _ in told)


def test_a_batch_loses_no_stored_event_and_joins_what_is_written() -> None:
    batch = Batch()
    for number in range(50):
        batch.add(segment(number, str(number)))
        batch.add(partial(number + 1, "", "x"))
        batch.add(AudioAck(session="s", offset=number, credit=0))
    for piece in "ab":
        batch.add(SummaryDelta(session="s", text=piece))
    batch.level(-20)
    events, level = batch.take(0)
    assert [event.segment for event in events if isinstance(event, TranscriptSegment)] == list(range(50))
    assert [event.text for event in events if isinstance(event, SummaryDelta)] == ["ab"]
    assert sum(isinstance(event, TranscriptPartial | AudioAck) for event in events) == 2
    assert level == -20
    assert not batch


ACK = AudioAck(session="s", offset=1, credit=1)


@pytest.mark.parametrize(
    ("older", "newer", "replaced"),
    [
        ((partial(1, "", "a"),), (partial(1, "", "b"),), True),
        ((partial(1, "", "a"), ACK), (ACK, partial(1, "", "b")), True),
        ((), (ACK,), True),
        ((partial(1, "", "a"),), (ACK,), False),
        ((segment(0, "One."),), (partial(1, "", "b"),), False),
        ((segment(0, "One."), partial(1, "", "a")), (segment(1, "Two."), partial(2, "", "b")), False),
        ((SpeechStarted(session="s", time=1),), (SpeechStarted(session="s", time=2),), False),
    ],
)
def test_only_what_is_worthless_is_replaced_by_what_is_newer(older, newer, replaced) -> None:  # type: ignore[no-untyped-def]
    model = SessionModel()
    message = SessionEvents(model, older, None, 0)
    assert message.can_replace(SessionEvents(model, newer, None, 0)) is replaced
    assert not message.can_replace(SessionEvents(SessionModel(), newer, None, 0))


@pytest.mark.parametrize(
    ("health", "pace"),
    [
        (Health(True, 300, 0.5), Pace.GOOD),
        (Health(True, None, 0), Pace.GOOD),
        (Health(True, 2500, 0), Pace.LATE),
        (Health(True, 300, 5), Pace.BEHIND),
        (Health(False, 300, 0), Pace.AWAY),
    ],
)
def test_whether_the_daemon_keeps_up(health: Health, pace: Pace) -> None:
    assert health.pace is pace


# --- files ------------------------------------------------------------------------------------------------


def test_a_file_on_its_way() -> None:
    job = FileJob(Path("a.wav"), size=100)
    assert (job.fraction, job.speed(0), job.left_s(0)) == (None, None, None)
    job.sending(50, 1.0)
    assert (job.step, job.sent) == (Step.SENDING, 50)
    job.transcribed(0, 100, 2.0)
    job.transcribed(40, 100, 6.0)
    assert (job.fraction, job.speed(6.0), job.left_s(6.0)) == (0.4, 10.0, 6.0)
    job.enter(Step.SUMMING_UP, 7.0)
    job.transcribed(100, 100, 7.0)
    assert job.step is Step.SUMMING_UP
    job.enter(Step.DONE, 11.0)
    assert (job.fraction, job.speed(99), job.left_s(99)) == (1.0, 10.0, None)
    job.transcribed(1, 2, 3)
    assert job.step is Step.DONE
    job.retry()
    assert (job.step, job.sent, job.fraction, job.session) == (Step.WAITING, 0, None, None)


@pytest.mark.parametrize(
    ("code", "name", "session", "command"),
    [
        ("bad_audio", "/a b.wav", "s1", "ffprobe '/a b.wav'"),
        ("unsupported_audio", "/a\x1b.wav", "s1", ""),
        ("bad_audio", None, "s1", ""),
        ("model_unavailable", "/a.wav", None, "convo models pull small"),
        ("limit_exceeded", "/a.wav", None, "convod check-config"),
        ("forbidden", "/a.wav", None, "convod token add NAME --scope stream"),
        ("internal", "/a.wav", "0123456789", "convo retry 01234567"),
        ("", "/a.wav", None, "convo status"),
    ],
)
def test_a_command_that_helps_where_a_file_failed(
    code: str, name: str | None, session: str | None, command: str
) -> None:
    assert remedy(code, None if name is None else Path(name), session) == command


def test_the_languages_of_a_file_the_most_spoken_first() -> None:
    job = FileJob(Path("a.wav"))
    for language, seconds in (("en", 10.0), ("ko", 20.0), ("fr", 1.0), ("en", 5.0), ("", 9.0)):
        job.said_in(language, seconds)
    assert job.language == "ko, en"
    job.retry()
    assert job.language == ""


def test_what_is_pasted(tmp_path: Path) -> None:
    for name in ("a.wav", "b c.wav", "it's.wav"):
        (tmp_path / name).touch()
    here = str(tmp_path)
    table = {
        f"{here}/a.wav": [f"{here}/a.wav"],
        f"{here}/b c.wav\n": [f"{here}/b c.wav"],
        f"{here}/b\\ c.wav": [f"{here}/b c.wav"],
        f"'{here}/b c.wav' {here}/a.wav": [f"{here}/b c.wav", f"{here}/a.wav"],
        f"{here}/it's.wav": [f"{here}/it's.wav"],
        f"file://{here}/b%20c.wav": [f"{here}/b c.wav"],
        "no such words\n\n": ["no such words"],
        "a\0b": ["ab"],
        "": [],
    }
    for text, paths in table.items():
        assert pasted_paths(text) == paths, text
    assert existing_paths(f"{here}/a.wav\n/nowhere.wav") == [f"{here}/a.wav", "/nowhere.wav"]
    assert existing_paths("/nowhere.wav") == []


def queued(session: str, state: State = State.PENDING, **fields: Any) -> QueuedFile:
    return QueuedFile(session=session, title="", priority="normal", state=state, created=0, **fields)


def test_the_daemons_queue_with_speed_and_what_became_of_its_files() -> None:
    model = QueueModel()
    model.update([queued("a", State.PROCESSING, done_s=0, total_s=100), queued("b")], [], paused=False, now=0, wall=0)
    a, b = model.jobs
    assert (a.step, b.step, a.name) == (Step.TRANSCRIBING, Step.WAITING, "a")
    model.update([queued("a", State.PROCESSING, done_s=50, total_s=100), queued("b")], [], paused=True, now=10, wall=0)
    assert model.jobs == [a, b]
    assert (model.paused, a.speed(10), a.left_s(10), a.fraction) == (True, 5.0, 10.0, 0.5)
    assert model.others(["a", None]) == [b]
    gone = [info("a", "", 0), info("b", "", 0, State.FAILED), info("c", "", 0, State.COMPLETED)]
    model.update([], gone, paused=False, now=20, wall=1)
    assert [(job.session, job.step) for job in model.jobs] == [("a", Step.DONE), ("b", Step.FAILED)]
    model.hide(b)
    model.update([], gone, paused=False, now=21, wall=1)
    assert [job.session for job in model.jobs] == ["a"]
    model.update([queued("b")], gone, paused=False, now=22, wall=1)  # tried again
    assert [(job.session, job.step) for job in model.jobs] == [("b", Step.WAITING), ("a", Step.DONE)]


def test_files_that_failed_before_are_shown_while_their_audio_is_kept_and_not_too_many() -> None:
    model = QueueModel()
    failed = [info(f"{place}", "x\x1b", 1000.0 - place, State.FAILED) for place in range(9)]
    model.update([], failed, paused=False, now=0, wall=1000)
    assert [job.session for job in model.jobs] == ["0", "1", "2", "3", "4"]
    assert model.jobs[0].name == "x"
    other = QueueModel()
    other.update([], failed, paused=False, now=0, wall=1000 + FAILED_S)
    assert other.jobs == []


# --- speech models ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "state", "wanted", "said", "understands"),
    [
        ("builtin", "ready", "", "built-in; it understands synthetic English only, not people", False),
        ("builtin", "ready", "small", "small, understands people", True),
        ("tiny.en", "unloaded", "", "tiny.en, understands English", True),
        ("base", "loading", "", "base, understands people, loading", True),
        ("base", "failed", "", "base failed: no memory", False),
        ("\x1b[2Jx", "ready", "", "x, understands people", True),
    ],
)
def test_which_model_understands_people(model: str, state: str, wanted: str, said: str, understands: bool) -> None:
    engine = EngineStatus(
        state=state, model=model, device="cpu", compute_type="int8", workers=1, message="no memory"
    )  # fmt: skip
    assert sentence(engine, wanted) == (said, understands)


def test_models_to_choose_from_in_the_order_of_a_persons_need() -> None:
    models = [
        ModelInfo(name="builtin", here=True, size_bytes=1, context="short", loaded=True),
        ModelInfo(name="tiny", here=False, size_bytes=0, context="full"),
        ModelInfo(name="distil-x", here=False, size_bytes=0, context="full"),
        ModelInfo(name="small", here=False, size_bytes=0, context="full"),
        ModelInfo(name="base.en", here=True, size_bytes=145_000_000, context="full", languages=["en"], loaded=True),
    ]
    found = choices(models)
    assert [choice.name for choice in found] == ["base.en", "small", "tiny", "distil-x", "builtin"]
    assert [choice.about for choice in found[:2]] == [
        "in use, 145 MB, English only", "download: good, on most machines; 480 MB",
    ]  # fmt: skip
    assert found[3].about == "download: size unknown"


# --- history ----------------------------------------------------------------------------------------------


def info(session: str, title: str, created: float, state: State = State.COMPLETED) -> SessionInfo:
    return SessionInfo(session=session, kind="live", title=title, state=state, created=created, duration_s=1)


def test_rows_of_the_history() -> None:
    model = HistoryModel()
    model.add([info("a", "Old talk", 1), info("b", "New", 2, State.FAILED)])
    assert [row.info.session for row in model.rows()] == ["b", "a"]
    model.query = "failed"
    assert [row.info.session for row in model.rows()] == ["b"]
    model.query = "OLD ta"
    assert [row.info.session for row in model.rows()] == ["a"]
    model.query = "zebra"
    model.hits = [Hit(session="a", segment=place, start=0, end=1, text="zebra") for place in (5, 2)]
    assert [(row.info.session, row.hit.segment if row.hit else None) for row in model.rows()] == [
        ("a", None), ("a", 2), ("a", 5),
    ]  # fmt: skip
    model.hidden = {"a"}
    assert model.rows() == []
