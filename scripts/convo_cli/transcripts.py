"""Transcripts as files: their formats, their names, and their text cleaned for a terminal.

In: options and the daemon's export. Out: a format's name, paths, clean text. This module reads and writes nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .arguments import FORMATS
from .errors import Exit, Problem
from .text import clean_json, clean_lines, file_name

_JSON = ("json", "jsonl")


def format_of(given: str | None, output: Path | None, *, json: bool = False, formats: Sequence[str] = FORMATS) -> str:
    """Return the format: the one given, else that of the file's extension, else txt (JSON: json).

    Raises:
        Problem: there is no format with this extension.
    """
    if given is not None:
        return given
    if json:
        return "json"
    ending = "" if output is None or output.is_dir() else output.suffix.removeprefix(".")
    if ending and ending.lower() not in formats:
        raise Problem(
            Exit.USAGE,
            f"{file_name(str(output))}: no transcript is a .{ending}; end the name in "
            f".{', .'.join(formats[:-1])} or .{formats[-1]}, or say which it is with --format.",
        )
    return ending.lower() or "txt"


def fit(text: str, format: str) -> str:
    """Clean a transcript to be printed or saved: no control characters, one line feed at its end."""
    text = clean_json(text) if format in _JSON else clean_lines(text)
    return text if text.endswith("\n") or not text else text + "\n"


def expand(files: Sequence[str]) -> list[tuple[str, Path]]:
    """List the files to transcribe, each with the name for its transcript; directories are searched for recordings.

    Raises:
        Problem: a directory holds no recording.
    """
    found: list[tuple[str, Path]] = []
    for file in files:
        path = Path(file)
        if file == "-" or not path.is_dir():
            found.append((file, Path("stdin" if file == "-" else path.name)))
            continue
        inside = sorted(one for one in path.rglob("*") if is_recording(one.relative_to(path)) and one.is_file())
        if not inside:
            raise Problem(Exit.USAGE, f"{file} holds no recordings: name the files themselves if they are recordings.")
        found += [(str(one), one.relative_to(path)) for one in inside]
    return found


_AUDIO = "aac ac3 aif aiff amr ape au caf flac m4a m4b mka mp2 mp3 oga ogg opus spx tta wav wave wma wv"
_VIDEO = "3gp avi flv m4v mkv mov mp4 mpeg mpg mts ogv ts webm wmv"
_MEDIA = frozenset(f".{ending}" for kind in (_AUDIO, _VIDEO) for ending in kind.split(" "))
"""Extensions of recordings in a directory; a file that is named directly may have any."""


def is_recording(path: Path) -> bool:
    """Whether a file's name says that it is a recording, and not a hidden one."""
    # Hidden ones are not the user's: macOS keeps a ._talk.mp3 beside talk.mp3 on other file systems.
    return path.suffix.lower() in _MEDIA and not any(part.startswith(".") for part in path.parts)


def outputs(
    files: Sequence[tuple[str, Path]], output: Path | None, format: str, *, directory: bool = False
) -> list[Path | None]:
    """Return where the transcript of each file of `expand` goes; None is standard output. `directory`: `output` is one.

    Raises:
        Problem: several files are to go into one, or one would be written over a recording.
    """
    if output is None:
        return [None] * len(files)
    if not directory and not output.is_dir():
        if len(files) > 1:
            raise Problem(Exit.USAGE, f"{output} is not a directory: several files need --output-dir.")
        _spare(files, [output])
        return [output]
    names = [str(name.with_suffix(f".{format}")) for _, name in files]
    count = Counter(names)
    # talk.mp3 beside talk.wav: their whole names tell them apart.
    names = [name if count[name] == 1 else f"{whole}.{format}" for name, (_, whole) in zip(names, files, strict=True)]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise Problem(Exit.USAGE, f"Two of the files would both be written to {output / twice[0]}: do them one by one.")
    targets = [output / name for name in names]
    _spare(files, targets)
    return [*targets]


def _spare(files: Sequence[tuple[str, Path]], targets: Sequence[Path]) -> None:
    recordings = {os.path.realpath(file) for file, _ in files if file != "-"}
    for target in targets:
        if target.is_file() and os.path.realpath(target) in recordings:
            raise Problem(Exit.USAGE, f"{file_name(str(target))} is the recording itself: name another file.")
