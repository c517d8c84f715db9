"""`convo edit`: a transcript in an editor, and what was changed there as corrections.

In: a session's ID, the lines as the editor or a file has them. Out: corrections at the daemon. Lines that cannot be
read store nothing; whatever goes wrong after the editor, its file is kept and named.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

from convo.messages import CorrectSegment, GetSessionReply
from convo.vocabulary import same

from . import sheet, vocabulary
from .arguments import Options
from .errors import Exit, Problem
from .link import connected, find
from .output import json_line, note, put
from .text import clean, file_name

_OFFERED: Final = 5
"""Most rules that are offered at once."""


async def edit(options: Options) -> None:
    """`convo edit ID [--from FILE | --print]`."""
    async with connected(options) as client:
        if "corrections" not in client.welcome.features:
            raise Problem(Exit.OTHER, "The daemon is too old for corrections: update it.")
        record = await client.get_session((await find(client, options.session)).session)
    lines = sheet.write(clean(record.title) or record.session, record.segments)
    if options.print:
        put(lines)
    elif options.source is not None:
        await _store(options, record, _read(options.source))
    else:
        await _in_editor(options, record, lines)


async def _in_editor(options: Options, record: GetSessionReply, lines: str) -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Problem(
            Exit.USAGE,
            "There is no terminal for an editor: `convo edit ID --print` prints the lines, and --from FILE takes them.",
        )
    with _kept_unless_stored(record.session, lines) as path:
        await _run_editor(path)
        await _store(options, record, _read(str(path)))


@contextmanager
def _kept_unless_stored(session: str, lines: str) -> Iterator[Path]:
    """A file with the lines; it stays if somebody changed it and the block fails."""
    descriptor, name = tempfile.mkstemp(prefix="convo-", suffix=".txt")
    path = Path(name)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
        file.write(lines)
    try:
        yield path
    except BaseException:
        if _differs(path, lines):
            note(f"What you edited is kept: `convo edit {session} --from {name}` stores it.")
        else:
            path.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)


async def _run_editor(path: Path) -> None:
    wanted = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        command = [*shlex.split(wanted), str(path)]
        with _left_to_the_editor():
            ended: subprocess.CompletedProcess[bytes] = await trio.run_process(command, stdin=None, check=False)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise Problem(Exit.OTHER, f"The editor {clean(wanted)!r} cannot be started ({why}): set EDITOR.") from None
    if ended.returncode:
        raise Problem(Exit.OTHER, f"The editor ended with {ended.returncode}: nothing was stored.")


@contextmanager
def _left_to_the_editor() -> Iterator[None]:
    """Ctrl-C means something to the editor, which the terminal sends it to as well."""
    before = signal.signal(signal.SIGINT, lambda signum, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _read(name: str) -> str:
    """The lines in a file, or on standard input (-)."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode()
    except OSError as error:
        raise Problem(Exit.OTHER, f"Cannot read {file_name(name)}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Problem(Exit.OTHER, f"{file_name(name)} is not UTF-8: save it as that.") from None


def _differs(path: Path, lines: str) -> bool:
    try:
        return path.read_bytes() != lines.encode()
    except OSError:
        return False


async def _store(options: Options, record: GetSessionReply, edited: str) -> None:
    try:
        changes = sheet.changes(edited, record.segments)
    except sheet.BrokenSheet as error:
        raise Problem(Exit.OTHER, f"{error} (Nothing was stored.)") from None
    if not changes:
        note("Nothing was changed.")
        return
    done = await _send(options, record.session, changes)
    if options.json:
        put("".join(json_line({"segment": number, "text": changes[number]}) for number in done))
    else:
        note(f"Corrected {len(done)} segment{'s' if len(done) > 1 else ''}.")
        _offer(sheet.repeated(record.segments, changes))


def _offer(repeated: Sequence[tuple[str, str, int]]) -> None:
    """Say how what was corrected more than once becomes a rule, unless it is one."""
    known = vocabulary.rules()
    new = [one for one in repeated if not any(same(rule.wrong, one[0]) for rule in known)]
    for wrong, right, times in new[:_OFFERED]:
        rule = f"convo vocabulary add {shlex.quote(wrong)} {shlex.quote(right)}"
        note(f"{wrong!r} became {right!r} {times} times; to have it so from now on: {rule}")


async def _send(options: Options, session: str, changes: Mapping[int, str]) -> list[int]:
    """Store corrections in turn; says how far it came if it cannot go on."""
    done: list[int] = []
    try:
        async with connected(options) as client:
            for number, text in changes.items():
                await client.request(CorrectSegment(session=session, segment=number, text=text))
                done.append(number)
    except Exception:
        if done:
            note(f"Corrected {len(done)} of {len(changes)} segments.")
        raise
    return done
