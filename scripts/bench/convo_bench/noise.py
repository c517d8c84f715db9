"""Sounds in which nobody speaks: what text comes of them?

Without `--noises` made sounds, ten minutes in all; with it each file of a folder, beside faster-whisper. All are fed
faster than real time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import trio

import convo
from convo.messages import SummaryOptions, TranscriptSegment

from . import noises
from .daemon import Daemon
from .figures import Figures
from .options import Options
from .talk import decode
from .yardstick import WAYS, Yardstick

OFF = SummaryOptions(mode="off")


async def bench(daemon: Daemon, options: Options) -> Figures:
    """The texts that each noise brings forth."""
    if options.noises is not None:
        return await _recorded(daemon, options.noises, options.model)
    texts: Figures = {}
    async with convo.connect(daemon.socket) as client:
        for name, pcm in noises.all_of_them(seconds=100):
            texts[f"texts over 100 s of {name}"] = await _texts(client, "live", pcm)
    return texts


async def _recorded(daemon: Daemon, folder: Path, model: str) -> Figures:
    """For each side the files that got text, and the text."""
    yardstick = await trio.to_thread.run_sync(Yardstick, model)
    files = _files(folder)
    found: dict[str, dict[str, str]] = {side: {} for side in ("convo live", "convo as a file", *WAYS)}
    async with convo.connect(daemon.socket) as client:
        for path in files:
            texts = {
                "convo live": " ".join(await _texts(client, "live", decode(path))),
                "convo as a file": " ".join(await _texts(client, "file", path.read_bytes())),
            }
            for way, options in WAYS.items():
                texts[way] = await trio.to_thread.run_sync(_plain(yardstick, path, options))
            for side, text in texts.items():
                if text:
                    found[side][path.name] = text
    return {
        "files": len(files),
        **{f"files with text: {side}": len(texts) for side, texts in found.items()},
        **{f"texts: {side}": texts for side, texts in found.items()},
    }


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _plain(yardstick: Yardstick, path: Path, options: dict[str, bool]) -> Callable[[], str]:
    # Of a multilingual model English is asked for: it cannot detect the language of a file of which its filter leaves
    # nothing.
    return lambda: yardstick.text(str(path), "en", **options).strip()


async def _texts(client: convo.Client, kind: Literal["live", "file"], audio: bytes) -> list[str]:
    session = await client.create_session(kind=kind, summary=OFF)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(noises.send, session, audio)
        return [event.text async for event in session.events() if isinstance(event, TranscriptSegment)]
