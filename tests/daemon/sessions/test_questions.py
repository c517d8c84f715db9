"""Questions about what was said: which passages are found, who may ask, what comes without a model, how it is ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from convo.messages import (
    AnswerProgress,
    AnswerSentence,
    Ask,
    AskReply,
    CancelAsk,
    Code,
    CreateSession,
    Error,
    Reply,
    SpeakerLabel,
    State,
    SummaryOptions,
    TranscriptSegment,
)
from convod.sessions import questions
from convod.sessions.limits import LimitSettings
from convod.store import Record
from tests.daemon.support.hall import Hall, Peer, hall

SENTENCE = AnswerSentence(text="They said so.", sources=[0])


async def put(
    place: Hall, session: str, *texts: str, owner: str = "me", title: str = "", speakers: bool = False
) -> None:
    """A talk that is over, a speaker a segment if `speakers`."""
    store = place.home.store
    config = CreateSession(
        kind="file",
        summary=SummaryOptions(mode="off"),
        channels="split" if speakers else "mix",
        channel_names=["Ana"] if speakers else [],
    )
    record = Record(
        id=session, owner=owner, kind="file", title=title, state=State.COMPLETED, created=86400.0, ended=True,
        config=config,
    )  # fmt: skip
    await store.create(record)
    events: list[Any] = [
        TranscriptSegment(
            session=session, seq=at + 1, segment=at, start=2.0 * at, end=2.0 * at + 1, text=text, language="en",
            confidence=1.0, lag_ms=0.0,
        )
        for at, text in enumerate(texts)
    ]  # fmt: skip
    if speakers:
        events += [
            SpeakerLabel(session=session, seq=len(texts) + at + 1, segment=at, speaker=at + 1, confidence=1.0)
            for at in range(len(texts))
        ]
    record.segments = len(texts)
    await store.save(record, events)


async def ask(peer: Peer, query: str, **fields: Any) -> AskReply:
    reply = await peer.ask(Ask, query=query, **fields)
    assert isinstance(reply, AskReply), reply
    return reply


def told(reply: AskReply) -> list[tuple[str, int, bool]]:
    return [(passage.session, passage.segment, passage.match) for passage in reply.passages]


async def test_an_answer_comes_with_its_passages(autojump_clock: object, tmp_path: Path) -> None:
    async with hall(tmp_path) as place:
        await put(place, "aa", "Hello.", "The budget was decided.", "Good.", "Bye.", title="Weekly", speakers=True)
        await put(place, "bb", "A budget, perhaps.")
        await put(place, "cc", "The budget of others is decided.", owner="you")
        peer = await place.client()
        reply = await ask(peer, "What did we decide about the budget?")
        assert told(reply) == [("aa", 0, False), ("aa", 1, True), ("aa", 2, False), ("bb", 0, True)]
        assert [passage.speaker for passage in reply.passages] == ["Ana", "Channel 2", "Channel 3", None]
        assert (reply.passages[1].title, reply.passages[1].created, reply.passages[1].start) == ("Weekly", 86400.0, 2.0)
        assert (reply.answer, reply.provider, reply.model, reply.reason) == ([SENTENCE], "scripted", "m", None)
        progress = [message for message in peer.had if isinstance(message, AnswerProgress)]
        assert progress == [
            AnswerProgress(ask=1, passages=reply.passages),
            AnswerProgress(ask=1, sentence=SENTENCE),
        ]
        assert told(await ask(peer, "budget", limit=1)) == [("bb", 0, True)]
        assert told(await ask(await place.client(owner="you"), "budget")) == [("cc", 0, True)]


async def test_named_sessions_are_read_whole(
    autojump_clock: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "PAGE", 2)
    async with hall(tmp_path) as place:
        await put(place, "aa", "One.", "Two.", "Three.", "Four budgets.", "Five.", "x" * 5000 + " budget")
        await put(place, "bb", "The budget.")
        peer = await place.client()
        reply = await ask(peer, "budget?", sessions=["aa", "aa"])
        assert told(reply) == [("aa", 2, False), ("aa", 3, True), ("aa", 4, False), ("aa", 5, True)]
        assert len(reply.passages[-1].text) == questions.CHARACTERS
        monkeypatch.setattr(questions, "SEGMENTS", 2)
        assert (await ask(peer, "budget?", sessions=["aa"])).reason == questions.NOTHING_FOUND


@pytest.mark.parametrize(
    ("fields", "code", "named"),
    [
        ({"query": " "}, Code.BAD_REQUEST, "at least one word"),
        ({"query": "x " * 33}, Code.BAD_REQUEST, "33 words; send at most 32"),
        ({"query": "x", "limit": 0}, Code.BAD_REQUEST, "limit must be 1 or more"),
        ({"query": "x", "sessions": ["aa"] * 21}, Code.BAD_REQUEST, "sessions names 21; name at most 20"),
        ({"query": "x", "sessions": ["cc"]}, Code.UNKNOWN_SESSION, "'cc'"),
        ({"query": "x", "sessions": ["none"]}, Code.UNKNOWN_SESSION, "'none'"),
    ],
)
async def test_what_cannot_be_asked(
    autojump_clock: object, tmp_path: Path, fields: dict[str, Any], code: Code, named: str
) -> None:
    async with hall(tmp_path) as place:
        await put(place, "cc", "x", owner="you")
        error = await (await place.client()).ask(Ask, **fields)
        assert isinstance(error, Error)
        assert (error.code, named in error.message) == (code, True)


async def test_without_a_model_the_passages_are_the_answer(autojump_clock: object, tmp_path: Path) -> None:
    async with hall(tmp_path) as place:
        await put(place, "aa", "The budget.")
        peer = await place.client()
        for query in ("?!", "zebra"):
            reply = await ask(peer, query)
            assert (reply.passages, reply.answer, reply.reason) == ([], [], questions.NOTHING_FOUND)
        assert place.home.summarizers.questions == []
        place.home.summarizers.away = "It is away."
        reply = await ask(peer, "budget")
        assert (told(reply), reply.answer) == ([("aa", 0, True)], [])
        assert (reply.provider, reply.reason) == ("extractive", "It is away.")


async def test_a_model_that_breaks_off_voids_what_it_said(autojump_clock: object, tmp_path: Path) -> None:
    from convod.summary import SummarizerUnavailable

    async with hall(tmp_path) as place:
        await put(place, "aa", "The budget.")
        summarizers = place.home.summarizers
        summarizers.breaks = [SummarizerUnavailable("It broke.")]
        peer = await place.client()
        assert (await ask(peer, "budget")).reason == "It broke."
        assert [one.restart for one in peer.had if isinstance(one, AnswerProgress)] == [False, False, True]
        summarizers.answers = 0
        reply = await ask(peer, "budget")
        assert (reply.answer, reply.dropped, reply.reason) == ([], 1, questions.NOT_HELD)


async def test_one_at_a_time_and_few_wait(autojump_clock: object, tmp_path: Path) -> None:
    async with hall(tmp_path) as place:
        await put(place, "aa", "The budget.")
        await put(place, "bb", "The budget.", owner="you")
        gate = place.home.summarizers.gate = trio.Event()
        peer, other = await place.client(), await place.client(owner="you")
        asked = [peer.numbered(Ask, query="budget") for _ in range(questions.WAITING + 2)]
        await peer.send(*asked)
        refused = await peer.until(lambda one: isinstance(one, Error))
        assert (refused.id, refused.code) == (asked[-1].id, Code.BUSY)
        await peer.until(lambda one: isinstance(one, AnswerProgress) and one.sentence is not None)
        assert len(place.home.summarizers.questions) == 1
        await other.send(other.numbered(Ask, query="budget"))
        await other.until(lambda one: isinstance(one, AnswerProgress) and one.sentence is not None)
        assert len(place.home.summarizers.questions) == 2
        gate.set()
        for request in asked[:-1]:
            await peer.until(lambda one, id=request.id: isinstance(one, AskReply) and one.id == id)
        await other.until(lambda one: isinstance(one, AskReply))


async def test_a_question_is_cancelled(autojump_clock: object, tmp_path: Path) -> None:
    async with hall(tmp_path) as place:
        await put(place, "aa", "The budget.")
        gate = place.home.summarizers.gate = trio.Event()
        peer, other = await place.client(), await place.client()
        request = peer.numbered(Ask, query="budget")
        await peer.send(request)
        await peer.until(lambda one: isinstance(one, AnswerProgress) and one.sentence is not None)
        assert isinstance(await other.ask(CancelAsk, ask=request.id), Reply)  # another connection's is another's
        assert isinstance(await peer.ask(CancelAsk, ask=99), Reply)
        await peer.send(cancel := peer.numbered(CancelAsk, ask=request.id))
        answers = [await peer.until(lambda one: getattr(one, "id", None) in (cancel.id, request.id)) for _ in range(2)]
        assert {one.id: getattr(one, "code", "") for one in answers} == {cancel.id: "", request.id: Code.CANCELLED}
        await peer.send(peer.numbered(Ask, query="budget"))
        await peer.until(lambda one: isinstance(one, AnswerProgress))
        await peer.stream.aclose()  # which cancels it, too
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
        assert (await ask(other, "budget")).answer == [SENTENCE]


async def test_searches_that_take_long_end_with_what_was_found(
    autojump_clock: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hall(tmp_path, limits=LimitSettings(search_s=5.0)) as place:
        await put(place, "aa", "The budget of the release.", "Release.")
        search, asked = place.home.store.search, []

        async def slow(owner: str | None, query: str, limit: int, **options: Any) -> Any:
            asked.append(query)
            if len(asked) == 2:
                raise questions.TookTooLong(options["within_s"])
            return await search(owner, query, limit, **options)

        monkeypatch.setattr(place.home.store, "search", slow)
        reply = await ask(await place.client(), "budget release")
        assert asked == ["budge relea", "budge"]
        assert told(reply) == [("aa", 0, True), ("aa", 1, False)]
