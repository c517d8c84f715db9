"""A session may be heard with another model than the daemon's own, if it is on this machine."""

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


async def refuses(client: convo.Client, session: str, model: str, code: str, says: str) -> None:
    with pytest.raises(RequestError) as refused:
        await client.request(messages.Retranscribe(session=session, model=model))
    assert refused.value.code == code
    assert says in refused.value.message


def _is_told_apart(daemon: Daemon) -> None:
    assert len(daemon.workers()) == 2, "one for each model"
