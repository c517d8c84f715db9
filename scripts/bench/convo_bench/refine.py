"""What a second hearing is worth: words wrong before and after, and the share of the audio that is heard again.

Each talk is transcribed as a file by `--model` and kept, then refined by `--larger`, for each limit of confidence from
a transcript of its own. The larger model alone stands beside it: what hearing everything again would give.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import convo
from convo.messages import Refine, Retranscribe, SessionRefined, SummaryOptions

from .daemon import Daemon
from .figures import Figures
from .files import wav_file
from .options import Options
from .scoring import Score, align, units
from .talk import Talk

LARGER: Final = "base"
BELOW: Final = tuple(float(one) for one in os.environ.get("CONVO_BENCH_BELOW", "0.6,0.7,0.75,0.8,0.9,1").split(","))
OFF: Final = SummaryOptions(mode="off")


@contextmanager
def hub_with(directory: Path | None) -> Iterator[dict[str, str]]:
    """An environment in which a model's directory goes by the name of LARGER: sessions cannot name a path."""
    if directory is None:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="convo-bench-hub-") as folder:
        repository = Path(folder) / f"models--Systran--faster-whisper-{LARGER}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0")
        (repository / "snapshots").mkdir()
        (repository / "snapshots" / "0").symlink_to(directory.resolve())
        yield {"HF_HUB_CACHE": folder}


async def bench(daemon: Daemon, options: Options) -> Figures:
    """A row for each limit."""
    talks = options.load_one_language(whole=True)
    before, alone = Score(), Score()
    after = dict.fromkeys(BELOW, Score())
    heard_s = dict.fromkeys(BELOW, 0.0)
    corrected = dict.fromkeys(BELOW, 0)
    took_s = dict.fromkeys(BELOW, 0.0)
    segments, spoken_s = 0, 0.0
    async with convo.connect(daemon.socket) as client:
        for talk in talks:
            first = await _transcribed(client, talk)
            said = await client.get_session(first)
            before += _score(talk, " ".join(one.text for one in said.segments))
            segments += len(said.segments)
            spoken_s += sum(one.end - one.start for one in said.segments)
            larger = (await client.request(Retranscribe(session=first, model=LARGER))).session
            async for _ in (await client.attach(larger)).events():
                pass
            alone += _score(talk, " ".join(one.text for one in (await client.get_session(larger)).segments))
            for below in BELOW:
                session = await _transcribed(client, talk)
                begun = time.perf_counter()
                end = await _refined(client, session, below)
                took_s[below] += time.perf_counter() - begun
                record = await client.get_session(session)
                after[below] += _score(talk, " ".join(one.text for one in record.segments))
                heard_s[below] += end.heard_s
                corrected[below] += end.corrected
                print(f"{talk.name}, below {below}: {end}", file=sys.stderr, flush=True)
    rows: Figures = {
        "words wrong before, %": round(before.percent, 2),
        f"words wrong by {LARGER} alone, %": round(alone.percent, 2),
        "segments, seconds of speech": [segments, round(spoken_s)],
    }
    for below in BELOW:
        rows[f"below {below}: words wrong, %; speech heard again, %; segments corrected; seconds it took"] = [
            round(after[below].percent, 2),
            round(100 * heard_s[below] / spoken_s, 1),
            corrected[below],
            round(took_s[below], 1),
        ]
    return rows


async def _transcribed(client: convo.Client, talk: Talk) -> str:
    with wav_file(talk.pcm) as path:
        session = await client.create_session(kind="file", language=talk.language, summary=OFF, keep_audio=True)
        await session.send_audio(path.read_bytes())
        await session.end()
        async for _ in session.events():
            pass
    return session.id


async def _refined(client: convo.Client, session: str, below: float) -> SessionRefined:
    attached = await client.attach(session)
    await client.request(Refine(session=session, model=LARGER, below=below))
    async for event in attached.events(until=lambda one: isinstance(one, SessionRefined)):
        if isinstance(event, SessionRefined):
            return event
    raise RuntimeError("it never ended")


def _score(talk: Talk, text: str) -> Score:
    return align(talk.said, units(text, talk.language)).score
