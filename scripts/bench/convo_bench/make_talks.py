"""Join separate utterances into talks: `scripts/bench/run make-talks`.

In: a manifest, one JSON object a line with `file` (relative to the manifest), `kind`, `lang`, `speaker`, `text`. Out:
LANG.flac and LANG.json in a folder, as `talk.load_folder` reads them: utterances with a second of the sound of a quiet
room between them, each with the start and end of its voice. With `--turns` several speakers follow each other at
once: LANG-turnsN.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps

from .talk import RATE, decode

Samples = np.ndarray[Any, np.dtype[np.int16]]

PAUSE_S: Final = 1.0
ROOM: Final = 4.0
"""Standard deviation of the sound of the room, of a full scale of 32768: -78 dBFS."""

SEED: Final = 3
VOICE: Final = VadOptions(min_silence_duration_ms=2000, speech_pad_ms=0)
"""Silero's settings for where an utterance's voice begins and ends."""


def main(words: list[str]) -> None:
    """Read the command line and write the talks."""
    parser = argparse.ArgumentParser(prog="scripts/bench/run make-talks", description=__doc__.split("\n")[0])
    parser.add_argument("--manifest", type=Path, required=True, metavar="FILE")
    parser.add_argument("--lang", nargs="+", required=True, metavar="CODE", help="a talk for each of them")
    parser.add_argument("--kind", default="utterance", help="of the manifest's lines (default: utterance)")
    parser.add_argument("--condition", default="", metavar="WORDS", help="only lines whose condition has these words")
    parser.add_argument("--speakers", nargs="+", metavar="NAME", help="only those of these speakers")
    parser.add_argument(
        "--turns", nargs="+", type=int, metavar="N", help="a talk of N speakers in turn for each number"
    )
    parser.add_argument(
        "--pause",
        nargs=2,
        type=float,
        default=(PAUSE_S, PAUSE_S),
        metavar=("S", "S"),
        help="shortest and longest pause",
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="as long as a talk gets (default: 600)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args(words)
    lines = [json.loads(line) for line in arguments.manifest.read_text().splitlines() if line.strip()]
    arguments.out.mkdir(parents=True, exist_ok=True)
    for language in arguments.lang:
        chosen = [
            line
            for line in lines
            if line["kind"] == arguments.kind
            and line.get("lang") == language
            and line.get("text")
            and arguments.condition in line.get("condition", "")
            and (arguments.speakers is None or line.get("speaker") in arguments.speakers)
        ]
        if not chosen:
            raise SystemExit(f"the manifest has no {arguments.kind} in {language} with a text")
        for count in arguments.turns or (None,):
            said = chosen if count is None else in_turns(chosen, count)
            talk, truth = joined(
                said, arguments.manifest.parent, arguments.seconds, arguments.pause, whole=count is None
            )
            place = arguments.out / (language if count is None else f"{language}-turns{count}")
            write(place, talk, {"lang": language, "seed": SEED, "utterances": truth})
            print(f"{place}.flac: {len(truth)} utterances, {len(talk) / RATE:.0f} s")


def in_turns(lines: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Lines of `count` speakers, those who say most, in an order in which nobody goes on.

    Raises:
        SystemExit: there are fewer speakers.
    """
    rng = np.random.default_rng(SEED)
    own: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        own.setdefault(str(line.get("speaker")), []).append(line)
    if len(own) < count:
        raise SystemExit(f"{count} speakers cannot take turns: the manifest has {len(own)}")
    left = dict(sorted(own.items(), key=lambda item: -len(item[1]))[:count])
    said: list[dict[str, Any]] = []
    while any(left[speaker] for speaker in left if not said or speaker != said[-1]["speaker"]):
        others = [speaker for speaker in left if left[speaker] and (not said or speaker != said[-1]["speaker"])]
        said.append(left[others[int(rng.integers(len(others)))]].pop(0))
    return said


def joined(
    lines: list[dict[str, Any]],
    folder: Path,
    seconds: float,
    pause_s: Sequence[float] = (PAUSE_S, PAUSE_S),
    *,
    whole: bool = True,
) -> tuple[Samples, list[dict[str, Any]]]:
    """The utterances of manifest lines as one recording of at most so many seconds, and the truth of each.

    Args:
        lines: The lines, in their order.
        folder: Where their files are.
        seconds: How long it may be.
        pause_s: The shortest and the longest pause between two of them.
        whole: Whether the silence around their voices stays.
    """
    rng = np.random.default_rng(SEED)

    def pause() -> Samples:
        return (ROOM * rng.standard_normal(int(rng.uniform(*pause_s) * RATE))).astype(np.int16)

    pieces = [pause()]
    truth: list[dict[str, Any]] = []
    length = len(pieces[0])
    for line in lines:
        samples = np.frombuffer(decode(folder / line["file"]), np.int16)
        start, end = voice(samples)
        if not whole:
            samples = samples[int(start * RATE) : int(end * RATE)]
            start, end = 0.0, len(samples) / RATE
        if truth and (length + len(samples)) / RATE + pause_s[1] > seconds:
            continue
        about = {"start": round(length / RATE + start, 3), "end": round(length / RATE + end, 3)}
        truth.append({**about, "speaker": line.get("speaker"), "text": line["text"], "file": line["file"]})
        pieces += [samples, pause()]
        length += len(samples) + len(pieces[-1])
    return np.concatenate(pieces), truth


def voice(samples: Samples) -> tuple[float, float]:
    """Seconds at which the voice begins and ends; all of it where none is found."""
    spans = get_speech_timestamps(samples.astype(np.float32) / 32768, VOICE)
    if not spans:
        return 0.0, len(samples) / RATE
    return spans[0]["start"] / RATE, min(len(samples), spans[-1]["end"]) / RATE


def write(stem: Path, samples: Samples, truth: dict[str, Any]) -> None:
    """STEM.flac and STEM.json."""
    stem.with_suffix(".json").write_text(json.dumps(truth, ensure_ascii=False, indent=1) + "\n")
    with av.open(str(stem.with_suffix(".flac")), "w") as container:
        stream = container.add_stream("flac", rate=RATE, layout="mono", format="s16")
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis, :], format="s16", layout="mono")
        frame.sample_rate = RATE
        container.mux([*stream.encode(frame), *stream.encode(None)])
