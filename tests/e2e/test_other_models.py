"""Which model a daemon hears with, and that a session may name another one that is on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

import convo
from convo import RequestError, messages
from convod.engine.models import BUILTIN_DIRECTORY
from tests.support.daemon import Daemon, running
from tests.support.sessions import OFF, segments, states, text, upload
from tests.support.speech import DATA

SINGLE = (DATA / "single.flac").read_bytes()


def install(daemon_directory: Path, name: str) -> None:
    """The built-in model's files as if they had been fetched under another name."""
    folder = daemon_directory / "hub" / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    for file in BUILTIN_DIRECTORY.iterdir():
        (snapshot / file.name).symlink_to(file)


async def test_kept_audio_is_heard_again_with_another_model(tmp_path: Path) -> None:
    install(tmp_path, "someone/other")
    with running(tmp_path, environment={"CONVOD_ENGINE_WORKERS": "1"}) as daemon:
        async with convo.connect(daemon.url) as client:
            events = await upload(client, SINGLE, summary=OFF, keep_audio=True)
            session = events[0].session
            reply = await client.request(messages.Retranscribe(session=session, model="someone/other"))
            again = await client.attach(reply.session)
            heard = [event async for event in again.events()]
            assert states(heard)[-1] == "completed"
            assert text(heard) == text(events)
            assert segments(heard)
            await refuses(client, session, "large-v3", "model_unavailable", "convo models pull large-v3")
            await refuses(client, session, "gigantic", "unknown_model", "no model is called")
            # A path is no name, wherever it leads.
            await refuses(
                client, session, str(BUILTIN_DIRECTORY), "unknown_model", "is a path, which a session cannot name"
            )
        _is_told_apart(daemon)


async def test_a_daemon_that_is_told_no_model_takes_the_best_that_is_here(tmp_path: Path) -> None:
    install(tmp_path, "Systran/faster-whisper-tiny.en")
    with running(tmp_path, model=None) as daemon:
        async with convo.connect(daemon.url) as client:
            events = await upload(client, SINGLE, summary=OFF)
            engine = (await client.request(messages.Status())).engine
            models = (await client.request(messages.ListModels())).models
    assert text(events)
    assert (engine.state, engine.model) == ("ready", "tiny.en")
    assert engine.reason is not None
    assert engine.reason.startswith("the best of the models here")
    here = [(model.name, model.source, model.loaded) for model in models if model.here]
    assert here == [("builtin", "builtin", False), ("tiny.en", "hub", True)]


async def test_where_there_is_only_the_built_in_model_it_says_how_to_get_a_real_one(tmp_path: Path) -> None:
    with running(tmp_path, model=None) as daemon:
        async with convo.connect(daemon.url) as client:
            engine = (await client.request(messages.Status())).engine
    assert engine.model == "builtin"
    assert engine.reason is not None
    assert "run `convo models pull tiny.en` and start convod again" in engine.reason


async def test_a_model_in_a_directory_is_listed_as_what_it_is(tmp_path: Path) -> None:
    with running(tmp_path, "--model", str(BUILTIN_DIRECTORY)) as daemon:
        async with convo.connect(daemon.url) as client:
            models = (await client.request(messages.ListModels())).models
    (own,) = [model for model in models if model.loaded]
    assert (own.name, own.source, own.here) == (str(BUILTIN_DIRECTORY), "directory", True)


async def refuses(client: convo.Client, session: str, model: str, code: str, says: str) -> None:
    with pytest.raises(RequestError) as refused:
        await client.request(messages.Retranscribe(session=session, model=model))
    assert refused.value.code == code
    assert says in refused.value.message


def _is_told_apart(daemon: Daemon) -> None:
    assert len(daemon.workers()) == 2, "one for each model"
