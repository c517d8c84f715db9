"""Transcripts as files: which format is meant, what a file is called, what of the text may reach a terminal.

In: options and the daemon's export. Out: a format's name, paths, clean text. This module reads and writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .arguments import FORMATS
from .errors import Exit, Problem
from .text import clean_json, clean_lines

_JSON = ("json", "jsonl")


def format_of(given: str | None, output: Path | None, *, json: bool = False) -> str:
    """The format that is meant: the one given, else what the end of the file's name says, else txt (JSON: json)."""
    if given is not None:
        return given
    if json:
        return "json"
    ending = output.suffix.lower().removeprefix(".") if output is not None else ""
    return ending if ending in FORMATS else "txt"


def fit(text: str, format: str) -> str:
    """A transcript fit to be printed or kept: no control characters, one line feed at its end."""
    text = clean_json(text) if format in _JSON else clean_lines(text)
    return text if text.endswith("\n") or not text else text + "\n"


def outputs(files: Sequence[str], output: Path | None, format: str) -> list[Path | None]:
    """Where each file's transcript goes; None is standard output.

    Raises:
        Problem: several files are to go into one.
    """
    if output is None:
        return [None] * len(files)
    if not output.is_dir():
        if len(files) > 1:
            raise Problem(Exit.USAGE, f"{output} is no directory: several files need one for -o. Make it first.")
        return [output]
    names = [f"{'stdin' if file == '-' else Path(file).stem}.{format}" for file in files]
    count = Counter(names)
    # talk.mp3 beside talk.wav: their whole names tell them apart.
    names = [
        name if count[name] == 1 else f"{Path(file).name}.{format}" for name, file in zip(names, files, strict=True)
    ]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise Problem(Exit.USAGE, f"Two of the files would both be written to {output / twice[0]}: do them one by one.")
    return [output / name for name in names]
