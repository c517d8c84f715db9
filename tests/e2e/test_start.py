"""Daemons that must not start, or start without a model: one line that says what to do, and nobody harmed."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

import convo
from convo import messages
from convod.store import Database
from convod.store.soundness import record_clean_shutdown
from tests.support.daemon import Daemon, running
from tests.support.sessions import OFF, text
from tests.support.speech import pcm, truth, word_error_rate


@dataclass(frozen=True)
class Ended:
    status: int
    lines: list[str]


async def ended(directory: Path, *arguments: str, **environment: str) -> Ended:
    """A convod that ends by itself."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("CONVOD_", "CONVO_"))}
    process = await trio.run_process(
        [sys.executable, "-m", "convod", *arguments],
        env=inherited | {"XDG_CONFIG_HOME": str(directory / "no config")} | environment,
        capture_stdout=True,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return Ended(process.returncode, process.stdout.decode().splitlines())


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("convod")) as daemon:
        yield daemon


async def assert_answers(daemon: Daemon) -> None:
    async with convo.connect(daemon.url) as client:
        await client.request(messages.Ping())
    async with convo.connect(daemon.web) as client:
        await client.request(messages.Ping())


# --- places -----------------------------------------------------------------------------------------------------


async def test_a_second_daemon_on_the_same_socket_is_refused_while_the_first_lives(
    daemon: Daemon, tmp_path: Path
) -> None:
    second = await ended(tmp_path, "--socket", str(daemon.socket), "--state-dir", str(tmp_path / "state"))
    assert second.status == 1
    (line,) = second.lines
    assert str(daemon.socket) in line
    assert "--socket" in line
    await assert_answers(daemon)


async def test_a_second_daemon_on_the_same_state_directory_is_refused_while_the_first_lives(
    daemon: Daemon, tmp_path: Path
) -> None:
    second = await ended(tmp_path, "--socket", str(tmp_path / "other.sock"), "--state-dir", str(daemon.state))
    assert second.status == 1
    (line,) = second.lines
    assert str(daemon.state) in line
    assert "--state-dir" in line
    assert not (tmp_path / "other.sock").exists()
    await assert_answers(daemon)


async def test_a_second_daemon_on_the_same_port_is_refused_while_the_first_lives(
    daemon: Daemon, tmp_path: Path
) -> None:
    place = ("--socket", str(tmp_path / "s"), "--state-dir", str(tmp_path / "state"))
    second = await ended(tmp_path, *place, "--listen", daemon.web)
    assert second.status == 1
    assert second.lines[-1].startswith("convod: ")
    assert not any("Traceback" in line for line in second.lines)
    await assert_answers(daemon)


async def test_the_socket_of_a_killed_daemon_is_taken_over(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        await trio.to_thread.run_sync(daemon.kill)
        assert daemon.socket.is_socket()
        await trio.to_thread.run_sync(daemon.start)
        await assert_answers(daemon)
    assert not daemon.socket.exists()


async def test_a_socket_that_nobody_listens_on_is_taken_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "convod.sock"))
    with running(tmp_path) as daemon:
        await assert_answers(daemon)


async def test_a_file_in_the_place_of_the_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    place = ("--socket", str(tmp_path / "precious"), "--state-dir", str(tmp_path / "state"))
    refused = await ended(tmp_path, *place)
    assert refused.status == 1
    assert str(tmp_path / "precious") in refused.lines[-1]
    assert (tmp_path / "precious").read_text() == "data"


@pytest.mark.parametrize("what", ["--socket", "--state-dir"])
async def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_text("in the way")
    places = {"--socket": str(tmp_path / "s"), "--state-dir": str(tmp_path / "state")}
    places[what] = str(tmp_path / "file" / "x")
    refused = await ended(tmp_path, *(part for place in places.items() for part in place))
    assert refused.status == 1
    (line,) = refused.lines
    assert str(tmp_path / "file" / "x") in line
    assert what in line
    assert not (tmp_path / "s").exists()


async def test_a_state_directory_without_leave_to_write_is_named(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    if os.geteuid() == 0:
        # Root may write whatever modes say; a mount that is read-only binds it too.
        mounted = await _mount("-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(state))
        if not mounted:
            pytest.skip("mount is not allowed here")
    else:
        state.chmod(0o500)
    try:
        refused = await ended(tmp_path, "--socket", str(tmp_path / "s"), "--state-dir", str(state))
    finally:
        if os.geteuid() == 0:
            await trio.run_process(["umount", str(state)])
        else:
            state.chmod(0o700)
    assert refused.status == 1
    (line,) = refused.lines
    assert str(state) in line
    assert "--state-dir" in line


async def _mount(*arguments: str) -> bool:
    if shutil.which("mount") is None:
        return False
    mounted = await trio.run_process(["mount", *arguments], check=False, capture_stderr=True)
    return mounted.returncode == 0


async def test_a_database_that_is_none_is_refused_and_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "state" / "convod.sqlite"
    database.parent.mkdir()
    database.write_bytes(b"this is no database, but somebody may want it" * 100)
    refused = await ended(tmp_path, "--socket", str(tmp_path / "s"), "--state-dir", str(database.parent))
    assert refused.status == 1
    (line,) = refused.lines
    assert str(database) in line
    assert database.read_bytes().startswith(b"this is no database")


# --- models -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["is not there", "is empty", "is a file"])
async def test_a_model_that_is_none_is_named_and_the_daemon_does_not_start(tmp_path: Path, kind: str) -> None:
    model = tmp_path / "model"
    if kind == "is empty":
        model.mkdir()
    elif kind == "is a file":
        model.write_text("model")
    place = ("--socket", str(tmp_path / "s"), "--state-dir", str(tmp_path / "state"))
    refused = await ended(tmp_path, *place, "--model", str(model))
    assert refused.status in (1, 2)
    assert str(model) in refused.lines[-1]
    assert not any("Traceback" in line for line in refused.lines)
    assert not (tmp_path / "s").exists()


async def test_a_model_directory_that_cannot_be_loaded_is_told_to_whoever_wants_to_be_heard(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (model / name).write_text("{}")
    with running(tmp_path, "--model", str(model)) as daemon:
        async with convo.connect(daemon.url) as client:
            # Made before the daemon has tried the model, a session fails; after that, none is made.
            while (await client.request(messages.Status())).engine.state != "failed":
                with suppress(convo.RequestError):
                    session = await client.create_session("live", summary=OFF)
                    await session.send_audio(pcm("single.flac"))
                    await session.end()
                    *_, last = [event async for event in session.events()]
                    assert isinstance(last, messages.SessionState)
                    assert (last.state, last.code) == ("failed", "model_unavailable")
            with pytest.raises(convo.RequestError) as refused:
                await client.create_session("live", summary=OFF)
            status = await client.request(messages.Status())
    assert refused.value.code == "model_unavailable"
    assert str(model) in refused.value.message
    assert "\n" not in refused.value.message
    assert status.engine.state == "failed"
    assert not any("Traceback" in line for line in daemon.log)


async def test_a_model_directory_is_used(tmp_path: Path) -> None:
    import convod.engine.models

    shutil.copytree(convod.engine.models.BUILTIN_DIRECTORY, tmp_path / "model")
    with running(tmp_path, "--model", str(tmp_path / "model")) as daemon:
        async with convo.connect(daemon.url) as client:
            session = await client.create_session("live", summary=OFF)
            await session.send_audio(pcm("single.flac"))
            await session.end()
            events = [event async for event in session.events()]
    assert word_error_rate(truth("single"), text(events)) < 0.2


# --- settings ---------------------------------------------------------------------------------------------------

WRONG_FILES = {
    "an unknown section": ("[engin]\nmodel = 'small'\n", "engin"),
    "an unknown key": ("[engine]\nmodell = 'small'\n", "engine.modell"),
    "a number for a text": ("[engine]\nmodel = 5\n", "engine.model"),
    "a text for a number": ("[sessions]\nresume_s = 'long'\n", "sessions.resume_s"),
    "a value for a section": ("engine = 5\n", "engine"),
    "no TOML": ("[engine\n", "TOML"),
    "a level that is none": ("[log]\nlevel = 'loud'\n", "log.level"),
}


@pytest.mark.parametrize(("content", "named"), WRONG_FILES.values(), ids=WRONG_FILES)
async def test_a_wrong_setting_in_a_file_is_one_line_and_status_2(tmp_path: Path, content: str, named: str) -> None:
    file = tmp_path / "convod.toml"
    file.write_text(content)
    refused = await ended(tmp_path, "--config", str(file), "--state-dir", str(tmp_path / "state"))
    assert refused.status == 2
    (line,) = refused.lines
    assert str(file) in line
    assert named in line
    assert not (tmp_path / "state").exists()


async def test_a_settings_file_that_is_not_there_is_one_line_and_status_2(tmp_path: Path) -> None:
    refused = await ended(tmp_path, "--config", str(tmp_path / "none.toml"))
    assert refused.status == 2
    (line,) = refused.lines
    assert "none.toml" in line


WRONG_ENVIRONMENTS = [
    ("CONVOD_SESSIONS_RESUME_S", "soon", "a number"),
    ("CONVOD_LOG_FORMAT", "xml", "json"),
    ("CONVOD_SPOOL_FSYNC", "perhaps", "true or false"),
    ("CONVOD_ENGINE_WORKERS", "many", "a whole number"),
    ("CONVOD_RESUME", "5", "CONVOD_SECTION_KEY"),
]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG_ENVIRONMENTS)
async def test_a_wrong_setting_in_the_environment_is_one_line_and_status_2(
    tmp_path: Path, name: str, value: str, expected: str
) -> None:
    refused = await ended(tmp_path, "--state-dir", str(tmp_path / "state"), **{name: value})
    assert refused.status == 2
    (line,) = refused.lines
    assert name in line
    assert expected in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("--log-level", "loud"),
        ("--colour", "green"),
        ("--device", "abacus"),
        ("--listen", "http://localhost:1"),
        ("--listen", "nonsense"),
        ("--listen", "ws://0.0.0.0:0"),  # open to the network, without a token
    ],
    ids=" ".join,
)
async def test_a_wrong_flag_ends_with_status_2_and_says_which(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    place = ("--socket", str(tmp_path / "s"), "--state-dir", str(tmp_path / "state"))
    refused = await ended(tmp_path, *place, *arguments)
    assert refused.status == 2
    assert arguments[1] in refused.lines[-1]
    assert not any("Traceback" in line for line in refused.lines)


@pytest.mark.parametrize(
    ("name", "value"), [("CONVOD_SUMMARY_PROVIDER", "gpt"), ("CONVOD_SUMMARY_STYLE", "haiku"), ("CONVOD_MODEL", "smal")]
)
async def test_a_name_of_nothing_in_the_settings_is_one_line_before_anything_was_made(
    tmp_path: Path, name: str, value: str
) -> None:
    refused = await ended(tmp_path, "--state-dir", str(tmp_path / "state"), **{name: value})
    assert refused.status == 1
    (line,) = refused.lines
    assert f"'{value}'" in line
    assert not (tmp_path / "state").exists()


async def test_check_config_prints_the_settings_in_force_and_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "convod.toml").write_text("[sessions]\nresume_s = 7.5\n")
    shown = await ended(
        tmp_path,
        "check-config",
        "--config",
        str(tmp_path / "convod.toml"),
        CONVOD_TOKEN="a secret",
        CONVOD_MODEL="small",
    )
    assert shown.status == 0
    assert "resume_s = 7.5" in shown.lines
    assert 'model = "small"' in shown.lines
    assert not any("a secret" in line for line in shown.lines)


# --- the database ---------------------------------------------------------------------------------------------


async def test_damage_that_shows_after_the_start_ends_the_daemon_and_the_next_start_is_refused(tmp_path: Path) -> None:
    """A disk that damages a page after a clean shutdown: no times change, so the note of it still fits."""
    flags = ["--socket", str(tmp_path / "s"), "--state-dir", str(tmp_path / "state")]
    database = Database(tmp_path / "state" / "convod.sqlite")
    database.path.parent.mkdir()
    database.open()
    with closing(sqlite3.connect(database.path, isolation_level=None)) as plain:
        plain.execute("CREATE TABLE filler (text TEXT)")
        plain.executemany("INSERT INTO filler VALUES (?)", [("x" * 1000,)] * 100)
    database.close()
    with database.path.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(os.urandom(4096))
    record_clean_shutdown(database.path)
    for _ in range(2):
        with trio.fail_after(60):
            end = await ended(tmp_path, *flags)
        assert end.status == 1
        assert end.lines[-1].startswith(f"convod: {database.path} is damaged (")
        assert "restore a backup" in end.lines[-1]
