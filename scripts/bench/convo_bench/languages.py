"""Several languages in one recording: how long is spoken in one while a segment says another, and letters wrong.

In: a manifest as `make_talks` reads it, `--clips`, with utterances in several languages; a model that knows them. The
utterances are halved, every second one of a language: constants may be chosen by one half and judged by the other.
Recordings in several languages have BREATH_S between two passages, so that live an utterance holds several. Everything
runs in one process, without captions, each text there before the next sound. CONVO_BENCH_HALVES (0,1): which halves.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from convod.engine import models
from convod.engine.whisper import Whisper
from convod.engine.wire import Load
from convod.speech.commands import Command, Commit, Decode, Drop, TimedText
from convod.speech.decoding import Kind
from convod.speech.file import FileSettings, FileTranscriber
from convod.speech.hallucination import HallucinationFilter
from convod.speech.live import LiveTranscriber
from convod.speech.windows import LiveSettings

from .daemon import Daemon
from .figures import Figures, percent
from .options import Options
from .scoring import align, characters, units
from .talk import RATE, SECOND, decode

PLANS: Final = (
    "en de ko", "ja en ko", "es pt es", "de en de", "es it fr", "fr en fr de", "zh ja en", "ru de en", "ko zh ja",
    "en es en pt", "fr es fr", "de fr ja de", "es en fr", "ja zh ja",
)  # fmt: skip

BREATH_S: Final = 0.3
"""A pause that is no endpoint."""

PAUSES_S: Final = (0.4, 0.8, 1.5)
"""In turn, between the utterances of a recording in one language."""

LENGTHS_S: Final = (3.5, 16.0)
SINGLE_S: Final = 90.0
PIECE: Final = SECOND // 10


@dataclass(frozen=True)
class Passage:
    """What is said in one language from second `start` to second `end`."""

    start: float
    end: float
    language: str
    text: str


@dataclass(frozen=True)
class Recording:
    """Mono s16le at 16 kHz, and what is said in it."""

    name: str
    pcm: bytes
    passages: tuple[Passage, ...]


def recordings(manifest: Path, half: int) -> Iterator[Recording]:
    """Those of PLANS for which there are utterances, then one in each language.

    Raises:
        SystemExit: there is none.
    """
    lines: dict[str, list[dict[str, Any]]] = {}
    for line in map(json.loads, manifest.read_text().splitlines()):
        if line["kind"] == "utterance" and line.get("text") and _fits(line.get("duration_s")):
            lines.setdefault(line["lang"], []).append(line)
    if not lines:
        raise SystemExit(f"{manifest} has no utterances with a text of {LENGTHS_S[0]} to {LENGTHS_S[1]} s")
    lines = {language: some if len(some) == 1 else some[half::2] for language, some in lines.items()}
    used: Counter[str] = Counter()
    for plan in PLANS:
        if not lines.keys() >= set(plan.split()):
            continue
        some = []
        for language in plan.split():
            some.append(lines[language][used[language] % len(lines[language])])
            used[language] += 1
        yield _joined(plan, some, manifest.parent, [BREATH_S])
    for language, some in lines.items():
        yield _joined(language, some, manifest.parent, PAUSES_S)


def _fits(seconds: float | None) -> bool:
    return seconds is not None and LENGTHS_S[0] <= seconds <= LENGTHS_S[1]


def _joined(name: str, lines: Sequence[dict[str, Any]], folder: Path, pauses_s: Sequence[float]) -> Recording:
    pcm = bytearray(SECOND // 2)
    passages = []
    for number, line in enumerate(lines):
        start = len(pcm) / SECOND
        if start > SINGLE_S:
            break
        pcm += decode(folder / line["file"])
        passages.append(Passage(start, len(pcm) / SECOND, line["lang"], line["text"]))
        pcm += bytes(2 * int(pauses_s[number % len(pauses_s)] * RATE))
    return Recording(name, bytes(pcm), tuple(passages))


# --- both ways --------------------------------------------------------------------------------------------


def as_file(whisper: Whisper, pcm: bytes) -> list[TimedText]:
    """The segments of a recording as a file."""
    transcriber = FileTranscriber(FileSettings(rate=RATE, joined=True), HallucinationFilter())
    run = _Run(whisper, transcriber)
    for at in range(0, len(pcm), PIECE):
        run.follow(transcriber.audio(pcm[at : at + PIECE], 0.0))
    run.follow(transcriber.flush(0.0))
    return run.texts


def live(whisper: Whisper, pcm: bytes) -> list[TimedText]:
    """The segments of a recording that is spoken live."""
    transcriber = LiveTranscriber(
        LiveSettings(session="s", rate=RATE, kind=Kind.FINAL, interim=False), HallucinationFilter()
    )
    run = _Run(whisper, transcriber)
    for at in range(0, len(pcm), PIECE):
        run.follow(transcriber.audio(pcm[at : at + PIECE], 0.0))
    run.follow(transcriber.flush())
    return run.texts


class _Run:
    """Does what a transcriber commands, and keeps the texts."""

    def __init__(self, whisper: Whisper, transcriber: FileTranscriber | LiveTranscriber) -> None:
        self.texts: list[TimedText] = []
        self._whisper = whisper
        self._transcriber = transcriber

    def follow(self, commands: Sequence[Command]) -> None:
        dropped = {id(command.job) for command in commands if isinstance(command, Drop)}
        for command in commands:
            if isinstance(command, Commit):
                self.texts += command.texts
            elif isinstance(command, Decode) and id(command.job) not in dropped:
                job = command.job
                (hypothesis,) = self._whisper.decode([job.window], job.rate, job.options)
                self.follow(self._transcriber.decoded(job, hypothesis))


# --- figures ----------------------------------------------------------------------------------------------


@dataclass
class Mistakes:
    """Seconds of segments, those in a wrong language, letters said and letters wrong."""

    seconds: float = 0.0
    wrong_s: float = 0.0
    letters: int = 0
    wrong_letters: int = 0

    def add(self, passage: Passage, texts: Sequence[TimedText]) -> None:
        """Count a passage; a text is its own that is mostly said in it."""
        own = []
        for text in texts:
            shared = min(passage.end, text.end) - max(passage.start, text.start)
            if shared > 0:
                self.seconds += shared
                self.wrong_s += shared if text.language != passage.language else 0.0
            if shared > 0.5 * (text.end - text.start):
                own.append(text.text)
        # Letters: of words that are spelled alike a translation has some.
        said, written = (characters(units(some, passage.language)) for some in (passage.text, " ".join(own)))
        self.letters += len(said)
        self.wrong_letters += min(align(said, written).score.errors, 2 * len(said))

    def figures(self) -> Figures:
        """Seconds in a wrong language of all, and letters wrong."""
        return {
            "seconds in a wrong language, of": [round(self.wrong_s, 1), round(self.seconds)],
            "letters wrong, %": percent(self.wrong_letters, self.letters),
        }


async def bench(daemon: Daemon, options: Options) -> Figures:
    """Both ways, each half, recordings in several languages and in one; the daemon is not used."""
    if options.clips is None:
        return {"left out": "give --clips a manifest of utterances in several languages"}
    return await trio.to_thread.run_sync(_figures, options.model, options.clips)


def _figures(model: str, manifest: Path) -> Figures:
    found = models.find(model)
    whisper = Whisper(
        Load(directory=str(found.directory), context=found.context, device="cpu", threads=found.threads or 2)
    )
    figures: Figures = {}
    for half in map(int, os.environ.get("CONVO_BENCH_HALVES", "0,1").split(",")):
        for way, run in (("file", as_file), ("live", live)):
            several, one = Mistakes(), Mistakes()
            begun = time.process_time()
            seconds = 0.0
            for recording in recordings(manifest, half):
                texts = run(whisper, recording.pcm)
                seconds += len(recording.pcm) / SECOND
                for passage in recording.passages:
                    (several if " " in recording.name else one).add(passage, texts)
                print(f"half {half}, {way}: {recording.name}: {texts}", file=sys.stderr, flush=True)
            figures[f"half {half}, {way}, several languages"] = several.figures()
            figures[f"half {half}, {way}, one language"] = one.figures()
            figures[f"half {half}, {way}, processor seconds an audio second"] = round(
                (time.process_time() - begun) / seconds, 3
            )
    return figures
