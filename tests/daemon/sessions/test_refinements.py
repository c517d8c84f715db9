"""Sessions that are heard again by a larger model: by request and by themselves, over a restart, and what is refused.

With scripted engines: the first hears "sentence 0", … without much confidence, the larger one "better 0", …
"""

from __future__ import annotations

from array import array
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from convo.messages import (
    AudioFormat,
    Code,
    CreateSession,
    Refine,
    RefineProgress,
    Rule,
    SegmentCorrected,
    SessionRefined,
    SessionRenamed,
    State,
)
from convod.engine.supervisor import Refusal
from convod.sessions import Refused, refinements
from convod.sessions.kept_audio import DecoderDied
from convod.sessions.limits import LimitSettings
from convod.sessions.refinements import LOOK_S, TRIES
from convod.store import StoreAway
from tests.daemon.support.files import upload
from tests.daemon.support.house import House, Reader, ScriptedEngine, ScriptedPool, code_of, house
from tests.daemon.support.sounds import silence
from tests.daemon.support.talk import heard, sentence, talk
from tests.support.until import until

DOUBTFUL = -0.7
"""Half a confidence."""

APART_S = 4.0
"""A pause after which a segment has a window of its own."""


@pytest.fixture
def pool() -> ScriptedPool:
    pool = ScriptedPool()
    pool.engine.texts = lambda number, job: heard(f"better {number}")
    return pool


def lived(path: Any, pool: ScriptedPool, **settings: Any) -> AbstractAsyncContextManager[House]:
    engine = ScriptedEngine()
    engine.texts = lambda number, job: heard(f"sentence {number}", avg_logprob=DOUBTFUL)
    return house(path, engine, pool=pool, **settings)


async def spoken(home: House, count: int = 3, pause_s: float = APART_S, **fields: Any) -> tuple[str, Reader]:
    """A completed live session of so many doubtful segments, each of them a window of its own, with its audio."""
    session = await home.live(**{"language": "en", "keep_audio": True} | fields)
    reader = Reader(session.feed)
    home.send(session, talk(count, pause_s))
    await session.end()
    await reader.until_state(State.COMPLETED)
    await session.wait_finished()
    return session.id, reader


def wanted(session: str, **fields: Any) -> Refine:
    return Refine(session=session, **{"model": "larger"} | fields)


async def refined(reader: Reader) -> SessionRefined:
    event = await reader.until(lambda one: isinstance(one, SessionRefined))
    assert isinstance(event, SessionRefined)
    return event


async def texts_of(home: House, session: str) -> list[str]:
    return [one.text for one in await home.store.segments(session)]


# --- what comes of it -------------------------------------------------------------------------------------


async def test_doubtful_segments_of_a_live_session_are_corrected_by_the_model(autojump_clock, tmp_path, pool):
    async with lived(tmp_path, pool) as home:
        session, reader = await spoken(home)
        journal, model = await home.manager.refine("me", wanted(session))
        end = await refined(reader)
        assert (model, end.model, end.corrected, end.code) == ("larger", "larger", 3, None)
        corrections = reader.of(SegmentCorrected)
        assert [(one.segment, one.text, one.by) for one in corrections] == [
            (number, f"better {number}", "model:larger") for number in range(3)
        ]
        assert await texts_of(home, session) == ["better 0", "better 1", "better 2"]
        assert journal.record.title == "better 0", "a title of first words follows them"
        assert [one.title for one in reader.of(SessionRenamed)] == ["sentence 0", "better 0"]
        (progress, *_) = reader.of(RefineProgress)
        assert 0 < progress.done_s <= progress.total_s == pytest.approx(end.heard_s)
        assert journal.record.refining is None
        assert await home.store.asked() == []
        # Each window is the sound of its segment, and nobody's but the larger engine's.
        jobs = pool.engine.seen
        assert [len(job.audio) // 2 for job in jobs] == pytest.approx([3.2 * 16000] * 3, rel=0.05)
        assert pool.engine.sessions == {}
        assert {job.options.language for job in jobs} == {"en"}


async def test_a_file_is_heard_again_from_its_own_bytes(tmp_path, pool):
    async with lived(tmp_path, pool) as home:
        session, reader = await upload(home, keep_audio=True)
        await reader.until_state(State.COMPLETED)
        await session.wait_finished()
        await home.manager.refine("me", wanted(session.id))
        assert (await refined(reader)).corrected == 1
        first, again = home.engine.seen[0].audio, pool.engine.seen[0].audio
        assert first.find(again[16000:32000]) >= 0, "the same samples"


async def test_each_channel_is_heard_by_itself(autojump_clock, tmp_path, pool):
    left, right = sentence() + silence(6.0), silence(4.0) + sentence() + silence(2.0)
    both = array("h", bytes(2 * len(left)))
    both[0::2], both[1::2] = array("h", left), array("h", right[: len(left)])
    async with lived(tmp_path, pool) as home:
        session = await home.live(
            language="en", keep_audio=True, channels="split", audio=AudioFormat(rate=16000, channels=2)
        )
        reader = Reader(session.feed)
        home.send(session, both.tobytes())
        await session.end()
        await reader.until_state(State.COMPLETED)
        await session.wait_finished()
        await home.manager.naming.merge("me", session.id, 2, 1)  # who says it does not tell where it is
        await home.manager.refine("me", wanted(session.id))
        assert (await refined(reader)).corrected == 2
        for job, channel in zip(pool.engine.seen, (left, right), strict=True):
            assert job.audio[16000:32000] in channel


async def test_rules_hold_for_what_is_heard_again_and_sure_segments_are_left(autojump_clock, tmp_path, pool):
    async with lived(tmp_path, pool) as home:
        home.engine.texts = lambda number, job: heard(f"sentence {number}", avg_logprob=DOUBTFUL if number else -0.1)
        session, reader = await spoken(home, 2, vocabulary=[Rule(wrong="better", right="best")])
        await home.manager.refine("me", wanted(session))
        await refined(reader)
        assert await texts_of(home, session) == ["sentence 0", "best 0"]


# --- what users said --------------------------------------------------------------------------------------


async def test_what_a_user_corrected_stays_whenever_that_was(autojump_clock, tmp_path, pool):
    async with lived(tmp_path, pool) as home:
        session, reader = await spoken(home)
        await home.manager.correct("me", session, 0, "as I said")
        pool.engine.hold = True
        await home.manager.refine("me", wanted(session))
        await until(lambda: pool.engine.jobs)
        await home.manager.correct("me", session, 1, "while it was heard")
        pool.engine.hold = False
        pool.engine.finish_all()
        assert (await refined(reader)).corrected == 1
        assert await texts_of(home, session) == ["as I said", "while it was heard", "better 1"]
        assert len(pool.engine.seen) == 2, "what a user corrected needs no hearing"


# --- restarts, ends ---------------------------------------------------------------------------------------


async def test_a_killed_daemon_goes_on_behind_what_it_has_corrected(autojump_clock, tmp_path, pool):
    async with lived(tmp_path, pool) as home:
        session, _ = await spoken(home)
        pool.engine.hold = True
        await home.manager.refine("me", wanted(session))
        await until(lambda: pool.engine.jobs)
        pool.engine.finish_all()
        await until(lambda: pool.engine.jobs)  # the second one
    pool.engine = ScriptedEngine()
    pool.engine.texts = lambda number, job: heard(f"later {number}")
    for _ in range(2):
        async with lived(tmp_path, pool) as home:
            await trio.testing.wait_all_tasks_blocked()
            assert await texts_of(home, session) == ["better 0", "later 0", "later 1"]
            (end,) = await home.store.of_kind(session, SessionRefined)
            assert end.corrected == 3
    assert len(pool.engine.seen) == 2, "nothing is heard twice, and the second daemon has nothing to do"


async def test_it_can_be_cancelled_and_what_was_corrected_stays(autojump_clock, tmp_path, pool):
    async with lived(tmp_path, pool) as home:
        session, reader = await spoken(home)
        pool.engine.hold = True
        await home.manager.refine("me", wanted(session))
        await until(lambda: pool.engine.jobs)
        with pytest.raises(Refused, match="already; wait for that") as refused:
            await home.manager.refine("me", wanted(session))
        assert code_of(refused) is Code.BUSY
        pool.engine.finish_all()
        await until(lambda: pool.engine.jobs)
        await home.manager.refine("me", wanted(session, cancel=True))
        end = await refined(reader)
        assert (end.code, end.corrected) == (Code.CANCELLED, 1)
        assert pool.engine.jobs == {}
        with pytest.raises(Refused, match="nothing to cancel"):
            await home.manager.refine("me", wanted(session, cancel=True))
    async with lived(tmp_path, pool) as home:
        await trio.testing.wait_all_tasks_blocked()
        assert pool.engine.jobs == {}


async def test_a_deleted_session_is_heard_no_more(autojump_clock, tmp_path, pool, caplog):
    async with lived(tmp_path, pool) as home:
        session, _ = await spoken(home)
        pool.engine.hold = True
        await home.manager.refine("me", wanted(session))
        await until(lambda: pool.engine.jobs)
        await home.manager.delete("me", session)
        assert pool.engine.jobs == {}
        assert await home.store.asked() == []
    assert "was not heard again" not in caplog.text


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(Refusal(Code.MODEL_UNAVAILABLE, "it is gone"), Code.MODEL_UNAVAILABLE), (Refusal(Code.INTERNAL, "no"), None)],
)
async def test_a_model_that_is_gone_ends_it_and_a_bad_window_does_not(autojump_clock, tmp_path, pool, outcome, code):
    async with lived(tmp_path, pool) as home:
        session, reader = await spoken(home, 2)
        pool.engine.texts = lambda number, job: outcome if number == 0 else heard("better")
        await home.manager.refine("me", wanted(session))
        end = await refined(reader)
        assert (end.code, end.corrected) == (code, 0 if code else 1)


async def test_audio_that_goes_meanwhile_ends_it_in_a_sentence(autojump_clock, tmp_path, pool):
    async with lived(tmp_path, pool) as home:
        session, reader = await spoken(home, 2)
        pool.engine.hold = True
        await home.manager.refine("me", wanted(session))
        await until(lambda: pool.engine.jobs)
        await home.manager.remove_audio(session)
        pool.engine.finish_all()
        end = await refined(reader)
        assert end.code == Code.INTERNAL
        assert "could not be read" in (end.message or "")


@pytest.mark.parametrize("call", ["segments", "of_kind"])
async def test_a_store_that_is_away_for_a_while_is_waited_for(autojump_clock, tmp_path, pool, monkeypatch, call):
    async with lived(tmp_path, pool) as home:
        session, reader = await spoken(home)
        read, back_at = getattr(home.store, call), trio.current_time() + 60

        async def away(*arguments: Any, **options: Any) -> Any:
            if trio.current_time() < back_at:
                raise StoreAway("it restarts")
            return await read(*arguments, **options)

        await home.manager.refine("me", wanted(session))
        monkeypatch.setattr(home.store, call, away)
        end = await refined(reader)
        assert (end.code, end.corrected) == (None, 3)
        assert trio.current_time() >= back_at


async def test_a_decoder_that_dies_is_started_again_a_few_times(autojump_clock, tmp_path, pool, monkeypatch):
    tries: list[float] = []

    @asynccontextmanager
    async def dies(*_: Any):
        tries.append(trio.current_time())
        raise DecoderDied("SIGKILL")
        yield

    async with lived(tmp_path, pool) as home:
        session, reader = await spoken(home, 1)
        monkeypatch.setattr(refinements, "kept_audio", dies)
        await home.manager.refine("me", wanted(session))
        end = await refined(reader)
        assert len(tries) == TRIES
        assert "SIGKILL" in (end.message or "")


# --- its turn ---------------------------------------------------------------------------------------------


async def test_it_waits_for_files_of_anybody_window_by_window(tmp_path, pool):
    async with lived(tmp_path, pool, files_at_once=1) as home:
        session, reader = await spoken(home)
        pool.engine.hold = home.engine.hold = True
        await home.manager.refine("me", wanted(session))
        await until(lambda: pool.engine.jobs)
        uploaded, file = await upload(home)
        await until(lambda: uploaded.id in {job.session for job in home.file_queue.order("me")})
        pool.engine.finish_all()
        await until(lambda: home.engine.jobs)
        await trio.testing.wait_all_tasks_blocked()
        assert pool.engine.jobs == {}, "the file has the only place"
        home.engine.hold = pool.engine.hold = False
        home.engine.finish_all()
        await file.until_state(State.COMPLETED)
        assert (await refined(reader)).corrected == 3


async def test_a_paused_queue_pauses_it_and_so_does_a_lack_of_room(autojump_clock, tmp_path, pool):
    async with lived(tmp_path, pool) as home:
        session, reader = await spoken(home)
        await home.manager.pause("me", True)
        await home.manager.refine("me", wanted(session))
        await trio.sleep(100)
        assert pool.engine.seen == []
        pool.full = True
        await home.manager.pause("me", False)
        await trio.sleep(100)
        assert pool.engine.seen == []
        pool.full = False
        assert (await refined(reader)).corrected == 3


async def test_it_counts_as_an_unfinished_session_of_its_owner(autojump_clock, tmp_path, pool):
    async with lived(tmp_path, pool, limits=LimitSettings(sessions=1)) as home:
        session, _ = await spoken(home)
        pool.engine.hold = True
        await home.manager.refine("me", wanted(session))
        with pytest.raises(Refused, match=r"limits\.sessions"):
            await home.manager.create("me", CreateSession(kind="live"), home.producer)


# --- what is refused --------------------------------------------------------------------------------------


async def test_what_cannot_be_heard_again_is_refused_in_a_sentence(autojump_clock, tmp_path, pool):
    async with lived(tmp_path, pool) as home:
        kept, _ = await spoken(home, 1)
        gone, _ = await spoken(home, 1, keep_audio=False)
        running = await home.live(language="en", keep_audio=True)
        german, _ = await spoken(home, 1, language="de")
        table = [
            (wanted(gone), Code.BAD_STATE, r"sessions\.keep_audio"),
            (wanted(running.id), Code.BAD_STATE, "once it is completed"),
            (wanted("0" * 20), Code.UNKNOWN_SESSION, "list_sessions"),
            (wanted(kept, model="small"), Code.MODEL_UNAVAILABLE, "convo models pull small"),
            (wanted(kept, model="builtin"), Code.BAD_REQUEST, "name a larger one"),
            (wanted(kept, model="m" * 2000), Code.BAD_REQUEST, "send at most"),
            (wanted(kept, cancel=True), Code.BAD_STATE, "nothing to cancel"),
            (wanted(german, model="larger.en"), Code.MODEL_UNAVAILABLE, "not on this machine"),
        ]
        for request, code, sentence_ in table:
            with pytest.raises(Refused, match=sentence_) as refused:
                await home.manager.refine("me", request)
            assert code_of(refused) is code, request
        pool.check = lambda model: None  # type: ignore[method-assign]
        with pytest.raises(Refused, match="does not know language 'de'"):
            await home.manager.refine("me", wanted(german, model="larger.en"))
        with pytest.raises(Refused, match="there is no session"):
            await home.manager.refine("you", wanted(kept))


async def test_without_a_name_the_largest_model_is_taken(autojump_clock, tmp_path, pool, monkeypatch):
    class Here:
        def __init__(self, name: str, size_bytes: int) -> None:
            self.name, self.size_bytes = name, size_bytes

    monkeypatch.setattr(refinements.models, "here", lambda: [Here("builtin", 1), Here("larger", 1 << 40), Here("b", 2)])
    async with lived(tmp_path, pool) as home:
        session, reader = await spoken(home, 1)
        assert (await home.manager.refine("me", wanted(session, model=None)))[1] == "larger"
        await refined(reader)
        monkeypatch.setattr(refinements.models, "here", lambda: [Here("builtin", 1 << 40)])
        with pytest.raises(Refused, match="no larger model"):
            await home.manager.refine("me", wanted(session, model=None))


# --- the idle machine -------------------------------------------------------------------------------------


async def test_an_idle_machine_hears_kept_sessions_again_once_and_one_by_one(autojump_clock, tmp_path, pool):
    idle = {"refine_model": "larger", "refine_idle_s": 60.0}
    async with lived(tmp_path, pool, **idle) as home:
        _, reader = await spoken(home)
        _, later = await spoken(home, 1, keep_audio=False)
        await trio.sleep(50)
        assert pool.engine.seen == []
        assert (await refined(reader)).corrected == 3
        await trio.sleep(1000)
        assert len(pool.engine.seen) == 3
        assert [one for one in await later.take() if isinstance(one, SessionRefined)] == []
    async with lived(tmp_path, pool, **idle) as home:
        await trio.sleep(1000)
        assert len(pool.engine.seen) == 3


async def test_by_itself_it_waits_as_soon_as_somebody_wants_something(autojump_clock, tmp_path, pool):
    async with lived(tmp_path, pool, refine_model="larger", refine_idle_s=60.0) as home:
        _, reader = await spoken(home)
        pool.engine.hold = True
        await trio.sleep(100)
        live = await home.live()
        pool.engine.finish_all()
        await trio.sleep(1000)
        assert len(pool.engine.seen) == 1, "it waits while somebody speaks"
        live.cancel()
        pool.engine.hold = False
        await trio.sleep(60 + 2 * LOOK_S)
        assert (await refined(reader)).corrected == 3


async def test_who_asks_for_it_does_not_wait_for_the_idle_machine(autojump_clock, tmp_path, pool):
    async with lived(tmp_path, pool, refine_model="larger", refine_idle_s=60.0) as home:
        session, reader = await spoken(home)
        pool.engine.hold = True
        await trio.sleep(100)
        assert pool.engine.jobs
        pool.engine.hold = False
        await home.live()
        await home.manager.refine("me", wanted(session))
        assert (await refined(reader)).corrected == 3


async def test_a_model_that_is_not_here_is_said_once(autojump_clock, tmp_path, pool, caplog):
    async with lived(tmp_path, pool, refine_model="small", refine_idle_s=0.0) as home:
        await spoken(home, 1)
        await trio.sleep(100)
    assert caplog.text.count("sessions.refine_model") == 1
