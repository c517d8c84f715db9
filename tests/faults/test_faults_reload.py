"""Settings and tokens that are missing, broken or more open are read again: a port that was bound opens to nobody."""

from __future__ import annotations

import signal
from pathlib import Path

import trio

import convo
from convod.listen.tokens import FILE, TokenFile
from tests.support.daemon import Daemon, running
from tests.support.faults import Row, unharmed
from tests.support.sessions import OFF, talk_live
from tests.support.speech import pcm

CLOSED = '[listen]\ntoken = "the-shared-one"\n'

NOT_READ: dict[str, str | None] = {
    "nothing": None,
    "a directory": "/",
    "half of a file": "[listen\ntok",
    "a key that there is not": "[listen]\ntokens = 1\n",
    "a token that is no text": "[listen]\ntoken = 1\n",
}
OPENED: dict[str, str | None] = {
    "an empty file": "",
    "an empty token": '[listen]\ntoken = ""\n',
    "open to this machine": "[listen]\nopen_loopback = true\n",
    "open to all": '[listen]\nopen_loopback = true\ninsecure = true\nwebsocket = ["ws://0.0.0.0:0"]\n',
}
TOKENS: dict[str, str | None] = {
    "nothing": None,
    "a directory": "/",
    "an empty file": "",
    "half of a file": '{"version": 1, "tok',
    "no tokens": '{"version": 1, "tokens": []}',
}


def replaced(path: Path, text: str | None) -> None:
    """Let a file have that content, or not be there (None), or be a directory ("/")."""
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    if text == "/":
        path.mkdir()
    elif text is not None:
        path.write_text(text)
        path.chmod(0o600)


async def refused(daemon: Daemon, *tokens: str | None) -> None:
    """The daemon lets nobody in with these; how long it has them wait does not matter here."""

    async def knock(token: str | None) -> None:
        async with convo.connect(daemon.web, token=token):
            raise AssertionError(f"came in with {token!r}")

    for token in tokens:
        times = sum("wrong or missing token" in line for line in daemon.log)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(knock, token)
            await daemon.wait_log("wrong or missing token", times + 1)
            nursery.cancel_scope.cancel()


async def welcomed(daemon: Daemon, token: str) -> None:
    async with convo.connect(daemon.web, token=token):
        pass


async def test_files_that_are_read_again(tmp_path: Path, row: Row) -> None:
    row.promise(
        "settings or tokens missing, broken, or more open than before, at a reload (SIGHUP)",
        "a bound port opens to nobody; what cannot be read changes nothing and is told; put back, all holds again",
    )
    settings, tokens = tmp_path / "convod.toml", tmp_path / "state" / FILE
    replaced(settings, CLOSED)
    reloads = 0
    with running(tmp_path, "--config", str(settings), environment={"CONVOD_LISTEN_OPEN_LOOPBACK": None}) as daemon:
        async with convo.connect(daemon.url) as client:
            await talk_live(client, pcm("single.flac"), summary=OFF)

        async def reload(*, read: bool = True) -> None:
            nonlocal reloads
            reloads += 1
            said = sum("read again" in line for line in daemon.log)
            daemon.send(signal.SIGHUP)
            await daemon.wait_log("settings were (not )?read again", said + 1)
            last = next(line for line in reversed(daemon.log) if "read again" in line)
            assert ("not read again" not in last) == read, last

        async def fault() -> None:
            for text in NOT_READ.values():
                replaced(settings, text)
                await reload(read=False)
                await refused(daemon, None, "a-guess")
                await welcomed(daemon, "the-shared-one")
            for text in OPENED.values():
                replaced(settings, text)
                await reload()
                await refused(daemon, None, "", "the-shared-one")
                replaced(settings, CLOSED)
                await reload()
                await refused(daemon, None)
                await welcomed(daemon, "the-shared-one")
            named = TokenFile(daemon.state).add("me")
            whole = tokens.read_text()
            for text in TOKENS.values():
                replaced(tokens, text)
                await reload()
                await refused(daemon, None, named)
                await welcomed(daemon, "the-shared-one")
                replaced(tokens, whole)
                await welcomed(daemon, named)

        async with unharmed(daemon) as witness:
            await witness.during(fault)
    kinds = len(NOT_READ) + len(OPENED) + len(TOKENS)
    row.saw(f"{kinds} kinds of file, {reloads} reloads, nobody came in without a token; {witness.seen}")
