"""A segment that reads otherwise than it was heard: in all that is read, over a restart, and what is refused."""

from __future__ import annotations

import pytest

from convo.messages import (
    Code,
    Rule,
    Search,
    SegmentCorrected,
    SessionRenamed,
    State,
    SummaryOptions,
    TranscriptSegment,
)
from convod.sessions import Refused, lengths, manager
from tests.daemon.support.house import House, Reader, code_of, house
from tests.daemon.support.talk import talk
from tests.support.until import until


async def spoken(home: House, count: int = 2, **fields) -> tuple[str, Reader]:
    """A finished session of so many sentences."""
    session = await home.live(**fields)
    reader = Reader(session.feed)
    home.send(session, talk(count))
    await session.end()
    await reader.until_state(State.COMPLETED)
    return session.id, reader


async def text_of(home: House, session: str, format: str = "txt") -> str:
    journal = await home.manager.journal("me", session)
    return (await home.manager.exports.page(journal, format, 0, 10_000, "me"))[0]


async def test_a_correction_is_in_all_that_is_read(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session, reader = await spoken(home)
        assert await text_of(home, session) == "sentence 0\nsentence 1\n"
        await home.manager.correct("me", session, 1, " Sentence\none\x1b[2J ")
        (event,) = [one for one in await reader.take() if isinstance(one, SegmentCorrected)]
        assert (event.segment, event.text, event.by) == (1, "Sentence one[2J", "user")
        assert await text_of(home, session) == "sentence 0\nSentence one[2J\n"
        assert '"original": "sentence 1"' in await text_of(home, session, "json")
        hits = await home.manager.search("me", "me", Search(query="one"), 10)
        assert [(hit.segment, hit.text) for hit in hits] == [(1, "Sentence one[2J")]
        await home.manager.summarize("me", session, SummaryOptions())
        await until(lambda: home.summarizers.asked)
        assert [one.text for one in home.summarizers.asked[-1].segments] == ["sentence 0", "Sentence one[2J"]
    async with house(tmp_path) as home:
        assert [one.text for one in await home.store.segments(session)] == ["sentence 0", "Sentence one[2J"]
        await home.manager.correct("me", session, 1, "sentence 1")
        assert "original" not in await text_of(home, session, "json")


async def test_an_empty_correction_hides_a_segment(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session, _ = await spoken(home)
        await home.manager.correct("me", session, 0, "")
        for format in ("txt", "srt", "vtt", "md"):
            text = await text_of(home, session, format)
            assert "sentence 0" not in text, format
            assert "sentence 1" in text, format
        assert '"text": ""' in await text_of(home, session, "json")
        assert await home.manager.search("me", "me", Search(query="0"), 10) == []
        await home.manager.summarize("me", session, SummaryOptions())
        await until(lambda: home.summarizers.asked)
        assert [one.segment for one in home.summarizers.asked[-1].segments] == [1]


async def test_a_title_of_first_words_is_corrected_with_them(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session, reader = await spoken(home, 3)
        titles = [(await home.manager.journal("me", session)).record.title]
        for segment, text in ((1, "nothing of it"), (0, "First words"), (0, ""), (1, ""), (2, "")):
            await home.manager.correct("me", session, segment, text)
            titles.append((await home.manager.journal("me", session)).record.title)
        assert titles == ["sentence 0", "sentence 0", "First words", "nothing of it", "sentence 2", ""]
        renamed = [event.title for event in await reader.take() if isinstance(event, SessionRenamed)]
        assert renamed[-4:] == ["First words", "nothing of it", "sentence 2", ""]
        given, _ = await spoken(home, title="sentence 0")
        await home.manager.correct("me", given, 0, "")
        assert (await home.manager.journal("me", given)).record.title == "sentence 0"


async def test_a_running_session_is_corrected_too(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        home.send(session, talk(1))
        await session.finalize()
        await home.manager.correct("me", session.id, 0, "better")
        home.send(session, talk(1))
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert await text_of(home, session.id) == "better\nsentence 1\n"


async def test_what_cannot_be_corrected_is_refused(autojump_clock, tmp_path, monkeypatch):
    async with house(tmp_path) as home:
        session, _ = await spoken(home)
        for owner, segment, text, code in [
            ("you", 0, "x", Code.UNKNOWN_SESSION),
            ("me", 2, "x", Code.BAD_REQUEST),
            ("me", 0, "x" * (lengths.LONGEST["text"] + 1), Code.BAD_REQUEST),
        ]:
            with pytest.raises(Refused) as refused:
                await home.manager.correct(owner, session, segment, text)
            assert code_of(refused) is code
        monkeypatch.setattr(manager, "CORRECTIONS", 2)
        for _ in range(2):
            await home.manager.correct("me", session, 0, "x")
        with pytest.raises(Refused) as refused:
            await home.manager.correct("me", session, 0, "x")
        assert code_of(refused) is Code.LIMIT_EXCEEDED


# --- rules ------------------------------------------------------------------------------------------------

RULES = [Rule(wrong="sentence 0", right="Centence"), Rule(wrong="1", right="")]


async def test_rules_correct_what_follows_and_keep_what_was_heard(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session, reader = await spoken(home, 3, vocabulary=RULES, hotwords="Ann")
        assert reader.texts == ["sentence 0", "sentence 1", "sentence 2"]
        corrected = reader.of(SegmentCorrected)
        assert [(event.segment, event.text, event.by) for event in corrected] == [
            (0, "Centence", "vocabulary"),
            (1, "sentence", "vocabulary"),
        ]
        for event, segment in zip(corrected, reader.of(TranscriptSegment), strict=False):
            assert event.seq == segment.seq + 1
        assert await text_of(home, session) == "Centence\nsentence\nsentence 2\n"
        assert {job.options.hotwords for job in home.engine.seen} == {"Ann, Centence"}
        await home.manager.correct("me", session, 0, "sentence 0")  # a user knows better
        assert (await text_of(home, session)).startswith("sentence 0\n")


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ([Rule(wrong="", right="x")], "which words are wrong"),
        ([Rule(wrong="\x1b ", right="x")], "which words are wrong"),
        ([Rule(wrong="x" * 101, right="x")], "at most 100"),
        ([Rule(wrong="x", right="x" * 101)], "at most 100"),
        ([Rule(wrong=str(at), right="x") for at in range(501)], "at most 500"),
    ],
)
async def test_rules_that_cannot_be_used_are_refused(autojump_clock, tmp_path, rules, named):
    async with house(tmp_path) as home:
        with pytest.raises(Refused, match=named) as refused:
            await home.live(vocabulary=rules)
        assert code_of(refused) is Code.BAD_REQUEST
