"""The engine with its real worker, and with models that are none."""

from __future__ import annotations

import os
import signal
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from convo.messages import Code
from convod.engine.supervisor import Refusal
from convod.speech.decoding import Hypothesis, Kind
from tests.daemon.support.desk import RATE, alive, running
from tests.support.speech import pcm, word_error_rate
from tests.support.until import until

# --- the real worker --------------------------------------------------------------------------------------


async def test_a_worker_at_what_nobody_wants_any_more_is_ended_and_replaced():
    async with running(workers=1) as desk:
        engine = desk.engine
        (first,) = engine.processes
        job = desk.submit(pcm("single.flac"), kind=Kind.FILE, session="gone")
        os.kill(first, signal.SIGSTOP)  # it would be in mid-window for ever
        await trio.testing.wait_all_tasks_blocked()
        begun = trio.current_time()
        engine.forget("gone")
        await until(lambda: first not in engine.processes)
        assert trio.current_time() - begun < 5.0
        assert await desk.text(desk.submit(pcm("single.flac"))) != ""
        assert desk.outcomes[job] == []
        assert engine.restarts == 0

        # What a live session drops is no reason: its worker is needed the next moment.
        (second,) = engine.processes
        job = desk.submit(pcm("single.flac"))
        engine.drop(job)
        assert await desk.text(desk.submit(pcm("short.wav"))) != ""
        assert engine.processes == [second]


async def test_a_window_that_waits_is_taken_back_and_one_at_work_is_not():
    async with running(workers=1) as desk:
        at_work = desk.submit(pcm("single.flac"), kind=Kind.FILE, session="a")
        await trio.testing.wait_all_tasks_blocked()
        waits = desk.submit(pcm("single.flac"), kind=Kind.FILE, session="b")
        assert desk.engine.retract(waits)
        assert not desk.engine.retract(waits)
        assert not desk.engine.retract(at_work)
        text = await desk.text(at_work)
        assert desk.outcomes[waits] == []
        desk.engine.submit(waits, desk.deliver)
        assert await desk.text(waits) == text


async def test_a_real_worker_hears_words_survives_a_kill_and_ends_with_the_engine():
    async with running(workers=1) as desk:
        engine = desk.engine
        status = engine.status()
        assert (status.state, status.model, status.device, status.workers) == ("ready", "builtin", "cpu", 1)
        assert engine.languages == ["en"]

        # An idle worker that is killed is replaced before it is needed.
        (first,) = engine.processes
        os.kill(first, signal.SIGKILL)
        await until(lambda: engine.processes not in ([], [first]))
        (second,) = engine.processes

        # One that is killed in mid-work: the window is tried again, and delivered once.
        job = desk.submit(pcm("single.flac"), words=True)
        os.kill(second, signal.SIGSTOP)  # so that it is in mid-work for sure
        await trio.testing.wait_all_tasks_blocked()
        os.kill(second, signal.SIGKILL)
        heard = await desk.outcome(job)
        assert isinstance(heard, Hypothesis)
        assert word_error_rate("Grace will review the contract before lunch.", heard.text) < 0.5
        assert heard.voice_s > 1.0
        assert 2.4 < heard.voice_end < 3.1  # its sound ends at 2.8 s
        assert heard.words
        assert all(0.0 <= word.start <= word.end <= 3.34 for word in heard.words)
        assert engine.restarts == 2

        # What holds no voice has no words, and what holds nothing at all harms nobody.
        told = await desk.outcome(desk.submit(pcm("single.flac"), check_voice=False, find_voice_end=True))
        assert told.voice_s is None
        assert told.voice_end == pytest.approx(heard.voice_end, abs=0.1)
        silent, empty = desk.submit(bytes(2 * RATE)), desk.submit(b"")
        assert await desk.text(silent) == ""
        outcome = await desk.outcome(empty)
        assert isinstance(outcome, Refusal) or outcome.text == ""
        assert await desk.text(desk.submit(pcm("short.wav"))) != ""
        (last,) = engine.processes
    assert not any(map(alive, (first, second, last)))


# --- a directory that holds no model ----------------------------------------------------------------------


@asynccontextmanager
async def hopeless(**settings):
    async with running(**settings) as desk:
        assert desk.engine.state == "failed"
        yield desk


async def test_a_model_that_is_none_refuses_what_waits_and_what_comes(tmp_path):
    async with hopeless(model=str(tmp_path)) as desk:
        outcome = await desk.outcome(desk.submit(b"\0\0"))
        assert isinstance(outcome, Refusal)
        assert outcome.code is Code.MODEL_UNAVAILABLE
        assert "model.bin is missing" in outcome.message
        assert desk.engine.status().message == outcome.message
        assert desk.engine.queue().final == 0


async def test_a_name_that_is_no_model_is_told_which_there_are():
    async with hopeless(model="smalll") as desk:
        outcome = await desk.outcome(desk.submit(b"\0\0"))
        assert "builtin" in outcome.message


async def test_a_model_that_cannot_be_loaded_is_a_sentence(tmp_path):
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    async with hopeless(model=str(tmp_path), workers=1) as desk:
        outcome = await desk.outcome(desk.submit(b"\0\0"))
        assert outcome.code is Code.MODEL_UNAVAILABLE
        assert "cannot be used" in outcome.message


@pytest.mark.parametrize(
    ("settings", "helps"),
    [({"compute_type": "float16"}, "leave out --compute-type"), ({"device": "cuda"}, "--device cpu")],
)
async def test_a_device_that_cannot_do_what_is_asked_is_told_with_what_helps(monkeypatch, settings, helps):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    async with hopeless(workers=1, **settings) as desk:
        outcome = await desk.outcome(desk.submit(b"\0\0"))
        assert outcome.code is Code.MODEL_UNAVAILABLE
        assert helps in outcome.message
