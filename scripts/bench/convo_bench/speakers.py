"""Who speaks: talks of several speakers as live sessions and as files, short conversations as files.

`--talks` are recorded talks whose utterances name their speaker; `--clips` is a manifest of recordings, of which those
with `turns` are scored by the diarization error rate. Audio is sent as fast as the daemon takes it: labels come with
the segments, and do not hang on the clock. Latencies of words do: the first talk is spoken in real time, `--seconds` of
it (60), in turn with speakers and without.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trio

import convo
from convo.messages import AudioFormat, SpeakerLabel, SpeakersRevised, SummaryOptions, TranscriptSegment
from convod.engine import environment

from .daemon import Daemon
from .diarization import Turn, best_labels, errors, joined, labelled_rightly, pyannote_error_rate
from .figures import Figures, p50_p95
from .listener import speak
from .options import Options
from .talk import RATE, SECOND, decode
from .yardstick import Yardstick

PIECE = SECOND // 2
TURNS = ("off", "auto", "auto", "off")
"""In which order latencies are taken, for each part of the talk: the speed of a machine moves."""

PART_S = 15.0

OFF = SummaryOptions(mode="off")


async def bench(daemon: Daemon, options: Options) -> Figures:
    """A row for each talk and each clip, then what it costs."""
    rows: Figures = {}
    async with convo.connect(daemon.socket) as client:
        for name, audio, utterances in _talks(options):
            truth = await trio.to_thread.run_sync(_voiced, audio, utterances)
            row: dict[str, Any] = {}
            for kind, data in (("live", decode(audio)), ("file", audio.read_bytes())):
                found = {count: await label(client, data, kind, count) for count in ("auto", str(_count(truth)), "off")}
                own, given, off = found.values()
                shares = (labelled_rightly(truth, labels) for labels in (own.first, own.final, given.final))
                row |= {
                    f"{kind}: labelled rightly first shown, at the end, number given, %": [*map(_percent, shares)],
                    f"{kind}: speakers told / true": f"{_count(own.final)} / {_count(truth)}",
                    f"{kind}: most that labels of its segments could be, %": _percent(best_labels(truth, own.final)),
                    f"{kind}: segments, with speakers / without": f"{len(own.final)} / {len(off.spans)}",
                    f"{kind}: the same words": own.text == off.text,
                }
            rows[name] = row
            print(f"{name}: {rows[name]}", file=sys.stderr, flush=True)
        for name, audio, truth in _clips(options):
            row = {}
            seconds = len(decode(audio)) / SECOND
            for count in ("auto", str(_count(truth))):
                labels = (await label(client, audio.read_bytes(), "file", count)).final
                for what, turns in (("turns", joined(labels)), ("segments", labels)):
                    kinds = errors(truth, turns, seconds)
                    shares = (kinds.missed, kinds.false_alarm, kinds.confusion)
                    row[
                        f"error rate of {what}, speakers={count}, % (missed, false alarm, confusion; pyannote.metrics)"
                    ] = (
                        f"{_percent(kinds.rate)} ({', '.join(str(_percent(share)) for share in shares)}; "
                        f"{_percent(pyannote_error_rate(truth, turns, seconds))})"
                    )
                row[f"speakers told / true, speakers={count}"] = f"{_count(labels)} / {_count(truth)}"
            rows[name] = row
            print(f"{name}: {row}", file=sys.stderr, flush=True)
        rows |= await _latencies(client, options)
    # In a process of its own, with the environment of a worker: numpy's own threads would only wait for each other.
    cost = [sys.executable, "-c", "from convo_bench.speakers import _cost; print(_cost())"]
    kept = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    told = await trio.run_process(cost, capture_stdout=True, env=environment.for_worker() | kept)
    rows["embedding of 5 s, processor ms"] = float(told.stdout)
    return rows


async def _latencies(client: Any, options: Options) -> Figures:
    """How late words are shown while voices are told apart, and while they are not."""
    if options.talks is None:
        return {}
    yardstick = await trio.to_thread.run_sync(Yardstick, options.model)
    whole = options.load_talks()[0]
    late: dict[str, list[float]] = {"off": [], "auto": []}
    first, left_s = 0, options.seconds or 60.0
    while left_s > 0 and first < len(whole.utterances):
        part = await trio.to_thread.run_sync(yardstick.time_words, whole.part(min(PART_S, left_s), first=first))
        for wanted in TURNS:
            late[wanted] += (await speak(client, part, speakers=wanted)).word_latencies()
        first, left_s = first + len(part.utterances), left_s - part.seconds
    return {
        f"{whole.name}, word shown after its end p50 / p95, speakers={wanted}, ms": p50_p95(latencies)
        for wanted, latencies in late.items()
    }


@dataclass(frozen=True)
class Labelled:
    """A transcript: its words, when its segments are, and their labels as they were first, and at the end."""

    text: str
    spans: list[tuple[float, float]]
    first: list[Turn]
    final: list[Turn]


async def label(client: Any, data: bytes, kind: str, speakers: str = "auto", *, interim: bool = False) -> Labelled:
    """Transcribe a recording and tell its speakers apart."""
    session = await client.create_session(
        kind=kind, audio=AudioFormat(), speakers=speakers, language="en", interim=interim, summary=OFF
    )
    spans: dict[int, tuple[float, float]] = {}
    texts: list[str] = []
    first: dict[int, int] = {}
    final: dict[int, int] = {}

    async def send() -> None:
        for at in range(0, len(data), PIECE):
            await session.send_audio(data[at : at + PIECE])
        await session.end()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        async for event in session.events():
            if isinstance(event, TranscriptSegment):
                spans[event.segment] = event.start, event.end
                texts.append(event.text)
            elif isinstance(event, SpeakerLabel):
                first[event.segment] = final[event.segment] = event.speaker
            elif isinstance(event, SpeakersRevised):
                final |= {label.segment: label.speaker for label in event.labels}
    turns = [[Turn(*spans[segment], str(speaker)) for segment, speaker in labels.items()] for labels in (first, final)]
    return Labelled(" ".join(texts), list(spans.values()), *turns)


def _talks(options: Options) -> list[tuple[str, Path, list[Turn]]]:
    if options.talks is None:
        return []
    truths = [options.talks] if options.talks.suffix == ".json" else sorted(options.talks.glob("*.json"))
    return [
        (path.stem, path.with_suffix(".flac"), _turns(json.loads(path.read_text())["utterances"])) for path in truths
    ]


def _voiced(audio: Path, truth: Sequence[Turn]) -> list[Turn]:
    """The parts of the utterances with a voice in them, by Silero: a pause in a sentence is nobody's speech."""
    from convod.engine.voice import CHUNK, VOICE, Voice

    samples = np.frombuffer(decode(audio), np.int16).astype(np.float32) / np.float32(32768)
    chunk = CHUNK / RATE
    spoken = []
    for at in np.flatnonzero(Voice().chunks(samples) >= VOICE):
        begin, end = float(at) * chunk, float(at + 1) * chunk
        for turn in truth:
            if turn.start < end and turn.end > begin:
                spoken.append(Turn(max(begin, turn.start), min(end, turn.end), turn.speaker))
    return spoken


def _clips(options: Options) -> list[tuple[str, Path, list[Turn]]]:
    if options.clips is None:
        return []
    found = []
    for line in options.clips.read_text().splitlines():
        about = json.loads(line)
        turns = about.get("turns") or []
        if about.get("channels") == 1 and turns and all(turn.get("end") is not None for turn in turns):
            found.append((Path(about["file"]).stem, options.clips.parent / about["file"], _turns(turns)))
    return found


def _turns(said: Sequence[dict[str, Any]]) -> list[Turn]:
    return [Turn(float(one["start"]), float(one["end"]), str(one["speaker"])) for one in said]


def _count(turns: Sequence[Turn]) -> int:
    return len({turn.speaker for turn in turns})


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 1)


def _cost() -> float:
    """Processor milliseconds for 5 s of noise, the least of 20."""
    from convod.engine import voices
    from convod.engine.embedder import Embedder

    embedder = Embedder(voices.find(voices.NAME))
    samples = np.random.default_rng(0).standard_normal(5 * RATE).astype(np.float32) * np.float32(0.05)
    costs = []
    for _ in range(20):
        begun = time.process_time()
        embedder.embed(samples)
        costs.append(time.process_time() - begun)
    return round(1000 * min(costs), 1)
