"""What a client sends and the daemon keeps is no longer than SPEC.md says, and is not written again and again."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from convo.messages import AudioFormat, CreateSession, Retranscribe, State, SummaryOptions
from convod.sessions import Refused
from convod.sessions.lengths import LONGEST, QUERY_WORDS, TITLE, check_query, cut_line
from tests.daemon.support.house import Reader, house
from tests.daemon.support.talk import talk

SPEC = (Path(__file__).parents[3] / "protocol" / "SPEC.md").read_text()


def with_text(field: str, text: str) -> CreateSession:
    place, _, name = field.rpartition(".")
    request = CreateSession(kind="file" if field in ("audio.name", "audio.container") else "live")
    if not place:
        return msgspec.structs.replace(request, **{name: text})
    inner: AudioFormat | SummaryOptions = getattr(request, place)
    return msgspec.structs.replace(request, **{place: msgspec.structs.replace(inner, **{name: text})})


@pytest.mark.parametrize("field", [field for field in LONGEST if field not in ("query", "text")])
async def test_a_text_that_is_too_long_is_refused_and_not_kept(tmp_path, autojump_clock, field):
    async with house(tmp_path) as home:
        with pytest.raises(Refused, match=f"{field} has {LONGEST[field] + 1} characters") as refused:
            await home.create(with_text(field, "x" * (LONGEST[field] + 1)))
        assert refused.value.code == "bad_request"
        assert len(str(refused.value)) < 200  # it is not sent back either
        assert await home.store.newest(None) == []


@pytest.mark.parametrize("field", ["key", "audio.name", "prompt", "summary.model"])
async def test_a_text_may_be_as_long_as_it_may(tmp_path, autojump_clock, field):
    async with house(tmp_path) as home:
        await home.create(with_text(field, "x" * LONGEST[field]))


async def test_so_it_is_for_a_summary_and_for_what_is_transcribed_anew(tmp_path, autojump_clock):
    async with house(tmp_path) as home:
        session = await home.live(keep_audio=True)
        home.send(session, talk(1))
        await session.end()
        await Reader(session.feed).until_state(State.COMPLETED)
        await session.wait_finished()
        with pytest.raises(Refused, match=r"summary\.language has 200 characters"):
            await home.manager.summarize("me", session.id, SummaryOptions(language="x" * 200))
        with pytest.raises(Refused, match="language has 200 characters"):
            await home.manager.retranscribe("me", "me", Retranscribe(session=session.id, language="x" * 200))


@pytest.mark.parametrize("query", ["x" * 1001, "x " * (QUERY_WORDS + 1), " \t"])
def test_so_it_is_for_a_query(query):
    with pytest.raises(Refused) as refused:
        check_query(query)
    assert refused.value.code == "bad_request"
    assert len(str(refused.value)) < 100


def test_a_query_of_many_words_is_none_too_many():
    check_query("x " * QUERY_WORDS)


def test_the_page_says_how_long():
    (said,) = [
        line for line in SPEC.replace("\n  ", " ").splitlines() if line.startswith("- Stored text has a maximum")
    ]
    for field, most in LONGEST.items():
        assert f"`{field}`" in said or f"`{field.rpartition('.')[2]}`" in said
        assert str(most) in said


async def test_a_changed_setting_is_stored(tmp_path, autojump_clock):
    async with house(tmp_path) as home:
        session = await home.create(CreateSession(kind="file"))
        await Reader(session.feed).until_state(State.PENDING)
        await home.manager.update("me", session.id, None, "high")
        record = await home.store.get(session.id)
        assert record is not None
        assert record.config.priority == "high"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("  A \n title\x1b[2J ", "A title[2J"),
        ("x" * (TITLE + 1), "x" * TITLE),
        ("x" * (TITLE - 1) + " y", "x" * (TITLE - 1)),
        ("\x1b" * 10**6 + "late", ""),  # what lies so far back is not looked at: a million would hold up everybody
    ],
)
def test_a_line_is_cut_before_it_is_cleaned(text, line):
    assert cut_line(text) == line
