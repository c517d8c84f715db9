"""`convo transcribe`: recordings to transcripts, several at once, printed in the order of the arguments.

In: files and standard input. Out: transcripts on standard output or in files. Each file is a session of the daemon; one
that fails is reported on standard error and does not stop the others. After Ctrl-C, what the daemon has in full goes on
there by itself; what was still being sent is cancelled.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import trio

import convo
from convo.media import PIECE
from convo.messages import (
    AudioAck,
    AudioFormat,
    Event,
    FinalSummary,
    Progress,
    SessionState,
    SessionWarning,
    State,
    SummaryDelta,
    SummaryOptions,
    TranscriptSegment,
)

from .arguments import CAPTIONS, Options
from .errors import Exit, Problem, explain, failed
from .interrupts import Interrupts, on_interrupt
from .link import linked
from .output import json_line, note, on_screen, put, write_file
from .progress import LISTENING, Bar, Bars, bars
from .sources import read_some, unreadable
from .speaking import speaking
from .summaries import summary_for_output, summary_text
from .text import clean, clock, file_name
from .transcripts import expand, fit, format_of, outputs
from .vocabulary import rules

_SIDE_BY_SIDE = 4  # files sent and waited for at once; the daemon decides how many it works on


@dataclass
class _Job:
    """One file. Its output goes through `printed`, which ends when the file is done."""

    file: str
    target: Path | None
    state: SessionState | None = None
    summary: FinalSummary | None = None
    problem: Problem | None = None
    starts: dict[int, float] = field(default_factory=dict)
    seconds: float = 0.0
    begun: float = 0.0  # when it was its turn at the daemon
    goes_on: str = ""  # the session that nobody here follows any more
    printed: tuple[trio.MemorySendChannel[str], trio.MemoryReceiveChannel[str]] = field(
        default_factory=lambda: trio.open_memory_channel[str](inf)
    )

    @property
    def name(self) -> str:
        """Its name for people."""
        return "standard input" if self.file == "-" else file_name(self.file)

    def print(self, text: str) -> None:
        """Queue text for standard output, where it appears when it is this file's turn."""
        self.printed[0].send_nowait(text)


async def transcribe(options: Options) -> None:
    """`convo transcribe FILE…`."""
    directory = options.output_dir is not None
    where = options.output_dir or options.output
    output = Path(where) if where is not None else None
    work = _Transcribe(options, format_of(options.format, None if directory else output))
    files = expand(options.files)
    targets = outputs(files, output, work.format, directory=directory)
    if output is None and len(files) > 1 and work.format in CAPTIONS and not options.json:
        raise Problem(Exit.USAGE, f"Several files in {work.format} need --output-dir: one transcript each.")
    jobs = [_Job(file, target) for (file, _), target in zip(files, targets, strict=True)]
    if options.skip_existing:
        there = [job for job in jobs if job.target is not None and job.target.exists()]
        jobs = [job for job in jobs if job not in there]
        if there:
            note(f"{len(there)} of {len(files)} files have a transcript already and are left out.")
        if not jobs:
            return
    with bars() as shown:

        def tell(sentence: str) -> None:
            with shown.aside():
                note(sentence)

        async with linked(options, tell) as link:
            await work.all(link, jobs, shown)
    problems = [job.problem for job in jobs if job.problem is not None]
    if len(jobs) == 1 and problems:
        raise problems[0]
    if problems:
        raise Problem(problems[0].code, f"{len(problems)} of {len(jobs)} files could not be transcribed.")


class _Transcribe:
    def __init__(self, options: Options, format: str) -> None:
        self.options = options
        self.format = format
        self.told = False  # whether a line says of each file that it is done
        self.interrupts: Interrupts | None = None

    async def all(self, link: convo.Link, jobs: list[_Job], shown: Bars) -> None:
        """Run all jobs; one that fails gets a `problem`."""
        turn = trio.Semaphore(_SIDE_BY_SIDE)
        into_files = self.options.output is not None or self.options.output_dir is not None
        self.told = len(jobs) > 1 and not self.options.json and (into_files or on_screen(sys.stderr))
        whole = shown.add(f"all {len(jobs)} files") if len(jobs) > _SIDE_BY_SIDE else Bar()
        async with trio.open_nursery() as nursery:

            async def begin_each() -> None:
                for place, job in enumerate(jobs):
                    await turn.acquire()  # here, so that they begin in their order
                    whole.show("done", max(0, place - _SIDE_BY_SIDE + 1), len(jobs))
                    nursery.start_soon(self._one, link, job, turn, shown)

            with on_interrupt(nursery.cancel_scope.cancel) as self.interrupts:
                nursery.start_soon(begin_each)
                await self._print(jobs, shown)
        if self.interrupts.signum is not None:
            note(_what_goes_on(jobs))
        self.interrupts.check()

    async def _print(self, jobs: list[_Job], shown: Bars) -> None:
        """Print each job's text when those before it are done."""
        headed = len(jobs) > 1 and self.format == "txt" and not self.options.json and jobs[0].target is None
        for place, job in enumerate(jobs):
            head = ""
            if headed:  # as `head` and `tail` do
                head = ("\n" if place else "") + f"==> {clean(job.name)} <==\n"
            async for text in job.printed[1]:
                with shown.aside():
                    await trio.to_thread.run_sync(put, head + text, abandon_on_cancel=True)
                head = ""
            if job.problem is not None and len(jobs) > 1:
                with shown.aside():
                    note(job.problem.sentence)

    async def _one(self, link: convo.Link, job: _Job, turn: trio.Semaphore, shown: Bars) -> None:
        with job.printed[0]:
            bar = shown.add(job.name)
            try:
                await self._do(link, job, bar, shown)
                if self.told:
                    with shown.aside():
                        note(_done_line(job, trio.current_time() - job.begun))
            except (Problem, convo.ConvoError) as error:
                problem = _problem(error)
                named = job.name in problem.sentence
                job.problem = problem if named else Problem(problem.code, f"{job.name}: {problem.sentence}")
            finally:
                bar.close()
                turn.release()

    async def _do(self, link: convo.Link, job: _Job, bar: Bar, shown: Bars) -> None:
        with _opened(job.file) as (descriptor, size):

            async def read() -> bytes:
                return await read_some(descriptor, PIECE)

            def progress(sent: int, whole: bool) -> None:
                if whole:
                    bar.show("waiting", 0, None)
                else:
                    bar.show("sending", sent, size)

            upload = convo.FileUpload(
                link,
                read,
                progress=progress,
                **session_options(self.options, None if job.file == "-" else job.file, size),
            )
            try:
                async with upload:
                    try:
                        async for event in upload:
                            self._show(event, job, bar, shown)
                    finally:
                        interrupted = self.interrupts is not None and self.interrupts.signum is not None
                        if interrupted and upload.ended and not upload.over:
                            job.goes_on = upload.session
                        elif not upload.over:
                            await upload.cancel()
            except OSError as error:
                raise unreadable(job.name, error) from None
        assert job.state is not None, "a session whose events ended is in a final state"
        if job.state.state is State.FAILED:
            raise failed(job.state.code, job.state.message)
        if job.state.state is State.CANCELLED:
            raise Problem(Exit.FAILED, "The session was cancelled by someone else.")
        if not self.options.json:
            bar.show("writing", 1, 1)
            await self._deliver(link, upload.session, job)

    def _show(self, event: Event, job: _Job, bar: Bar, shown: Bars) -> None:
        match event:
            case SessionState():
                job.state = event
                if event.state is State.PROCESSING and not job.begun:
                    job.begun = trio.current_time()
                if event.state is State.TRANSCRIBED and self.options.summary:
                    bar.show("summarising", 0, None)
            case Progress():
                job.seconds = max(job.seconds, event.done_s)
                bar.show(LISTENING, event.done_s, event.total_s)
            case TranscriptSegment() if self.options.summary:
                job.starts[event.segment] = event.start
            case FinalSummary():
                job.summary = event
            case SessionWarning():
                with shown.aside():
                    note(f"{job.name}: {event.message}")
        if self.options.json and not isinstance(event, AudioAck | SummaryDelta):
            job.print(json_line(event, file=file_name(job.file)))

    async def _deliver(self, link: convo.Link, session: str, job: _Job) -> None:
        text = fit(await link.ask(lambda client: client.export(session, self.format)), self.format)
        if job.summary is not None:
            if self.format == "txt":
                render = summary_for_output if job.target is None else summary_text
                text += "\n" + render(job.summary, job.starts)
            elif self.format in ("srt", "vtt"):  # captions have no place for it
                note(f"{job.name}: the summary is kept with the session; `convo show {session}` prints it.")
        if job.target is None:
            job.print(text)
        else:
            await trio.to_thread.run_sync(_write, job.target, text, self.options.output_dir is not None)


def session_options(options: Options, file: str | None, size: int | None) -> convo.SessionOptions:
    """Return the options for the session of a file; `file` None is standard input, which has no name."""
    path = Path(file_name(file)) if file is not None else None
    fields: convo.SessionOptions = {
        "audio": AudioFormat(name=path.name if path else None, size=size, track=options.track),
        "title": path.stem if path else None,
        "language": options.language,
        "languages": options.languages,
        "task": options.task,
        "model": options.model,
        "prompt": options.prompt,
        "hotwords": options.hotwords,
        "words": options.words,
        "interim": False,
        "summary": SummaryOptions(mode="final" if options.summary else "off", style=options.style),
        "priority": options.priority,
        "keep_audio": True if options.keep_audio else None,
        "vocabulary": rules(),
    }
    fields.update(speaking(options))
    return fields


def _write(target: Path, text: str, make: bool) -> None:
    if make:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Problem(Exit.OTHER, f"Cannot make {target.parent}: {error.strerror}.") from None
    write_file(target, text)


def _what_goes_on(jobs: list[_Job]) -> str:
    """What becomes of the files after Ctrl-C, and how to look."""
    left = ", ".join(f"{job.name} ({job.goes_on})" for job in jobs if job.goes_on)
    if not left:
        return "Interrupted: no file goes on by itself."
    return f"Goes on by itself: {left}. `convo watch ID` follows it, `convo cancel ID` stops it."


def _done_line(job: _Job, took_s: float) -> str:
    speed = f", {job.seconds / took_s:.1f}x" if took_s > 0 and job.seconds else ""
    return f"{job.name}: {clock(job.seconds)} of sound in {took_s:.1f} s{speed}" + (
        f" -> {file_name(str(job.target))}" if job.target is not None else ""
    )


@contextmanager
def _opened(name: str) -> Iterator[tuple[int, int | None]]:
    """The descriptor of a file, and its size if it has one.

    Raises:
        Problem: it cannot be opened.
    """
    try:
        descriptor = os.dup(sys.stdin.fileno()) if name == "-" else os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(name, error) from None
    try:
        about = os.fstat(descriptor)
        yield descriptor, about.st_size if stat.S_ISREG(about.st_mode) else None
    finally:
        os.close(descriptor)


def _problem(error: Exception) -> Problem:
    told = explain(error)
    if not isinstance(told, Problem):
        raise error
    return told
