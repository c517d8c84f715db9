"""Two hours of audio in sessions that are opened, cut, resumed and ended, as fast as the daemon takes them.

What is there at the end must be what was there after the first tenth: memory, files, tasks, audio on disk.
"""

from __future__ import annotations

import os
import re

import trio

import convo
from convo.messages import AttachReply, DeleteSession, Metrics, SummaryOptions

from .daemon import Daemon
from .figures import Figures
from .options import Options
from .talk import SECOND, load

HOURS = 2.0
SESSION_S = 60
SIDE_BY_SIDE = 4
CUTS = 3


async def bench(daemon: Daemon, options: Options) -> Figures:
    """Growth from the first tenth to the end."""
    talk = load("talk").pcm[: 8 * SECOND]
    audio = talk + bytes(SESSION_S * SECOND - len(talk))
    rounds = int(HOURS * 3600 / SESSION_S)
    done = 0
    early: dict[str, float] = {}

    async def work(number: int) -> None:
        nonlocal done, early
        while done < rounds:
            done += 1
            mine = done
            await _session(daemon.web if mine % 2 else daemon.socket, audio, str(mine))
            if mine == rounds // 10:
                early = await _state(daemon)

    async with trio.open_nursery() as nursery:
        for number in range(SIDE_BY_SIDE):
            nursery.start_soon(work, number)
    await trio.sleep(1)
    late = await _state(daemon)
    figures: Figures = {"sessions, each cut and resumed three times": rounds}
    for name in late:
        figures[f"{name}: after a tenth, at the end"] = [early[name], late[name]]
    return figures


async def _session(url: str, audio: bytes, key: str) -> None:
    session = ""
    for part in range(CUTS + 1):
        until = len(audio) * (part + 1) // (CUTS + 1) // 2 * 2
        async with convo.connect(url) as client:
            if session:
                one = await client.attach(session, produce=True)
                assert isinstance(one.reply, AttachReply)
                stored = one.reply.audio_offset
            else:
                one = await client.create_session(
                    kind="live", key=key, interim=False, summary=SummaryOptions(mode="off")
                )
                session, stored = one.id, 0
            await one.send_audio(audio[stored:until])
            if part == CUTS:
                await one.end()
                async for _ in one.events():
                    pass
                await client.request(DeleteSession(session=session))
        # Otherwise the connection just goes, in the middle of things.


async def _state(daemon: Daemon) -> dict[str, float]:
    pid = daemon.process.pid
    async with convo.connect(daemon.socket) as client:
        text = (await client.request(Metrics())).content
    found = {name: float(value) for name, value in re.findall(r"^(convo_\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)}
    return {
        "memory, MiB": round(daemon.memory_mb(), 1),
        "memory of the workers, MiB": round(found['convo_memory_bytes{process="workers"}'] / 2**20, 1),
        "open files": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": len(os.listdir(f"/proc/{pid}/task")),
        "tasks": found["convo_tasks"],
        "audio files": found["convo_spool_files"],
        "database, MiB": round(found["convo_database_bytes"] / 2**20, 2),
    }
