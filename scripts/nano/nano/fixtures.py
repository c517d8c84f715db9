"""The test data of the project: a short meeting, a single sentence, a talk of a minute and a half, a very short one.

Comes in: a folder. Goes out: FLAC, WAV and MP3 files and the truth beside them as JSON. Needs espeak-ng and ffmpeg.
"""

import random
import subprocess
from pathlib import Path

import numpy as np

from .grammar import sentence
from .speech import SAMPLE_RATE, Speaker
from .talk import Talk, join

SEED = 20
#: espeak-ng speaks near full scale. This is a usual level, and smaller files.
GAIN = 0.15
VOICES = {"Laura": "en-us+f2", "David": "en-us+m3"}
#: (speaker, text, seconds of silence before it)
MEETING = (
    ("Laura", "Good morning everyone.", 0.4),
    ("Laura", "Let us get started.", 0.6),
    ("Laura", "The first item is the release.", 0.7),
    ("David", "The mobile team finished the payment system on Friday.", 0.5),
    ("David", "I think the test plan is behind schedule.", 0.6),
    ("Laura", "How long will it take to finish the test plan?", 0.5),
    ("David", "It will take about three days.", 0.7),
    ("Laura", "We decided to publish the release next week.", 0.8),
    ("David", "That makes sense.", 0.4),
    ("Laura", "The action item for David is to finish the test plan.", 0.7),
    ("David", "I can do that.", 0.5),
    ("Laura", "The second item is the budget.", 0.9),
    ("David", "Marketing asked for fifteen more servers.", 0.6),
    ("Laura", "We need a decision today.", 0.6),
    ("David", "Let us review the budget first, and then send the proposal.", 0.7),
    ("Laura", "Laura will review the budget before lunch.", 0.6),
    ("Laura", "Thanks, that is all from me.", 0.8),
    ("David", "See you next week.", 0.4),
)


def _meeting(speaker: Speaker) -> Talk:
    pauses = iter([pause for _, _, pause in MEETING[1:]])
    said = [(who, speaker.speak(text, VOICES[who], rate=165 if who == "Laura" else 160)) for who, text, _ in MEETING]
    return join(said, lambda: next(pauses), lead=MEETING[0][2], tail=0.8)


def _minutes(speaker: Speaker, seconds: float = 88.0) -> Talk:
    r = random.Random(SEED)
    said, at = [], 0.0
    while at < seconds - 3:
        who = r.choice(list(VOICES))
        u = speaker.speak(sentence(r, wide=0.0, held_out=True), VOICES[who], rate=r.randint(150, 175))
        said.append((who, u))
        at += len(u.audio) / SAMPLE_RATE + 0.65
    return join(said, lambda: r.uniform(0.3, 1.0), tail=0.8)


def _write(talk: Talk, path: Path, *options: str) -> None:
    quiet = np.round(talk.audio * GAIN).astype("<i2")
    raw = ("-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", "-", "-map_metadata", "-1", "-fflags", "+bitexact")
    subprocess.run(
        ["ffmpeg", "-y", "-loglevel", "error", *raw, *options, "-flags:a", "+bitexact", str(path)],
        input=quiet.tobytes(),
        check=True,
    )


def write_fixtures(folder: Path) -> None:
    """Write every file of the test data into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    speaker = Speaker()
    single = join(
        [("Laura", speaker.speak("Grace will review the contract before lunch.", VOICES["Laura"]))], lambda: 0.0
    )
    short = join([("Laura", speaker.speak("Yes, exactly.", VOICES["Laura"]))], lambda: 0.0, lead=0.1, tail=0.1)
    talk = _meeting(speaker)
    talks = {
        "talk.flac": talk,
        "single.flac": single,
        "minutes.flac": _minutes(speaker),
        "short.wav": short,
        "talk.mp3": talk,
    }
    for name, made in talks.items():
        options = {"flac": ("-compression_level", "12"), "mp3": ("-b:a", "32k"), "wav": ()}[name.split(".")[1]]
        _write(made, folder / name, *options)
        if not name.endswith("mp3"):
            (folder / name).with_suffix(".json").write_text(made.as_json(audio=name, seed=SEED, voices=VOICES))
