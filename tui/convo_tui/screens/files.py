"""Files: recordings being transcribed, with progress, speed and time left.

In: paths typed, pasted, dropped into the terminal or picked; the daemon's own queue. Out: rows for the files sent from
here, then for those that other programs of this user sent. Each file is a session of the daemon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import events, on
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from convo.messages import CancelSession, PauseQueue, ResumeQueue, RetrySession
from convo.text import clean, clock, width

from ..context import Context
from ..glyphs import ASCII
from ..messages import OpenSession
from ..model.files import MEDIA, FileJob, Step, existing_paths, pasted_paths
from ..model.session import SessionModel
from ..widgets.status import Heading, bar, cut
from ..work.start import start
from .ask import PathSuggester
from .rows import RowsScreen

_EMPTY = """No files yet.

Paste or drop recordings here, press a to type a path, or p to pick.
The daemon gets them as they are; nothing leaves its machine."""

_REDRAW_S = 0.1
_TICK_S = 1.0  # between two updates of speed and time left


class PathLine(Input):
    """An input line for paths: files that are pasted or dropped into it are queued at once."""

    @dataclass
    class Dropped(Message):
        """Files were pasted, or dropped into the terminal."""

        paths: list[str]

    def _on_paste(self, event: events.Paste) -> None:
        paths = existing_paths(event.text)
        if paths:
            event.stop()
            event.prevent_default()  # Textual's own takes the first line only
            self.post_message(self.Dropped(paths))


class FilesScreen(RowsScreen[FileJob | None]):
    """Lists files; None among the rows is a heading."""

    LINE = PathLine
    PLACEHOLDER = "Paths of recordings; paste or drop as many as you like"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a,slash", "type", "Add", key_display="a", tooltip="Type or paste paths"),
        Binding("p", "pick", "Pick", tooltip="Pick recordings from a tree"),
        Binding("x,delete", "cancel", "Cancel", key_display="x", tooltip="Cancel it; the transcript so far stays"),
        Binding("x,delete", "forget", "Clear", key_display="x", tooltip="Remove it from this list; its session stays"),
        Binding("E", "export", "Export", tooltip="Export its transcript to a file, in any format", show=False),
        Binding("r", "retry", "Retry", tooltip="Try again"),
        Binding("space", "pause", "Pause", key_display="space", tooltip="Pause the daemon's queue of files"),
        Binding("space", "resume", "Resume", key_display="space", tooltip="Resume the daemon's queue of files"),
        Binding("escape", "back", "Back", key_display="esc", tooltip="Leave the input line, or go back"),
        Binding("1", "app.go('live')", "Live", tooltip="The live session", show=False),
        Binding("3", "app.go('history')", "History", tooltip="All sessions", show=False),
    ]

    def __init__(self, context: Context) -> None:
        super().__init__(context, PathSuggester())
        self._uploads = context.uploads
        self._queue = context.queue
        self._drawn: list[FileJob | None] = []
        self._right_cells = 0
        self._pending: Timer | None = None
        self._looking: Timer | None = None

    def on_mount(self) -> None:
        """Draw the files, and poll the daemon's queue."""
        self._draw()
        (self.row_list if self._uploads.jobs else self.line).focus()
        start(self, self._queue.run, group="queue")

    # --- drawing ------------------------------------------------------------------------------------------

    def jobs_changed(self) -> None:
        """Redraw soon, once for many messages."""
        if self._pending is None:
            self._pending = self.set_timer(_REDRAW_S, self._draw)

    def _draw(self) -> None:
        self._pending = None
        jobs, here = self._uploads.jobs, self.here
        others = self._queue.model.others(job.session for job in jobs)
        self.rows = [*jobs, *([None, *others] if others else [])]
        now = asyncio.get_running_loop().time()
        # Bars stand below each other, and so does what is to the right of them.
        self._right_cells = max(
            (width(self._right(job, now)) for job in self.rows if job and not job.problem), default=0
        )
        prompts = [self._prompt(job, now) if job is not None else self._head(len(jobs)) for job in self.rows]
        if self.rows == self._drawn:
            for place, prompt in enumerate(prompts):
                self.row_list.replace_option_prompt_at_index(place, prompt)
        else:
            self._drawn = list(self.rows)
            self.row_list.clear_options()
            self.row_list.add_options(
                [Option(prompt, disabled=job is None) for prompt, job in zip(prompts, self.rows, strict=True)]
            )
            place = self.rows.index(here) if here is not None and here in self.rows else 0
            self.row_list.highlighted = place + (self.rows[place] is None) if prompts else None
        self._draw_note(jobs, others, now)
        self.refresh_bindings()

    def _draw_note(self, jobs: list[FileJob], others: list[FileJob], now: float) -> None:
        paused = self._queue.model.paused
        self.masthead.heading = Heading(title="Files", trouble=self.trouble, badge="paused" if paused else "")
        waiting = [job for job in [*jobs, *others] if not job.step.over]
        note = ""
        if jobs or others:
            done = sum(job.step is Step.DONE for job in jobs)
            parts = [f"{done} of {len(jobs)} done"] if jobs else []
            if others:
                busy = sum(not job.step.over for job in others)
                parts.append(f"{busy} more in the daemon's queue" if jobs else f"{busy} in the daemon's queue")
            left = [job.left_s(now) for job in waiting]
            if waiting and all(each is not None for each in left):
                parts.append(f"about {clock(max(each or 0.0 for each in left))} left")
            note = ", ".join(parts)
        if paused:
            note = "The queue is paused: press space to resume."
        self.show_note(note, "" if jobs or others else _EMPTY)
        if waiting and self._looking is None:
            self._looking = self.set_interval(_TICK_S, self._draw)
        elif not waiting and self._looking is not None:
            self._looking.stop()
            self._looking = None

    def _head(self, own: int) -> Text:
        text = Text("\n" if own else "", no_wrap=True, end="")
        text.append("Sent by other programs", f"bold {self.colour('accent')}".strip())
        return text

    def _prompt(self, job: FileJob, now: float) -> Text:
        glyphs = self.context.glyphs
        sign, colour = {
            Step.DONE: (glyphs.done, "success"),
            Step.FAILED: (glyphs.failed, "error"),
            Step.CANCELLED: (glyphs.failed, "faint"),
            Step.WAITING: (glyphs.idle, "faint"),
        }.get(job.step, (glyphs.work, "accent"))
        size = max(24, self.cells)
        right = self._right(job, now)
        right += " " * (self._right_cells - width(right))
        cells = 16 if size >= 100 else 10 if size >= 60 else 0
        room = size - width(right) - cells - 6
        text = Text(no_wrap=True, end="")
        text.append(f"{sign} ", self.colour(colour))
        text.append(cut(clean(job.name), max(6, room), glyphs.ellipsis))
        if job.problem:
            return self.with_failure(text, job.problem, job.remedy)
        text.append(" " * max(1, size - text.cell_len - cells - width(right) - 2))
        if cells and not job.step.over:
            fraction = job.fraction
            if fraction is None:
                fraction = job.sent / job.size if job.size else 0.0
            on = self.colour("accent" if job.step is not Step.SENDING else "faint")
            text.append_text(bar(fraction, cells, glyphs, on, self.colour("rule")))
        else:
            text.append(" " * cells)
        text.append(f"  {right}", self.colour("faint"))
        return text

    def _right(self, job: FileJob, now: float) -> str:
        parts = [str(job.step)]
        if job.language:
            parts.append(job.language)
        if job.step is Step.WAITING and job.priority != "normal":
            parts.insert(0, f"{job.priority} priority")
        if job.step is Step.SENDING and job.size:
            parts.append(f"{100 * job.sent // max(1, job.size)} %")
        if job.step is Step.TRANSCRIBING and job.total_s:
            parts.append(f"{clock(job.done_s)} of {clock(job.total_s)}")
        if (speed := job.speed(now)) is not None and job.step in (Step.TRANSCRIBING, Step.DONE):
            parts.append(f"{speed:.1f}x" if speed < 10 else f"{speed:.0f}x")
        if (left := job.left_s(now)) is not None:
            parts.append(f"{clock(left)} left")
        return "  ".join(parts)

    # --- actions ------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what makes sense now."""
        if not self.is_mounted:
            return super().check_action(action, parameters)
        job = self.here
        if action == "cancel":
            return job is not None and not job.step.over
        if action == "forget":
            return job is not None and job.step.over
        if action == "export":
            return job is not None and job.session is not None
        if action == "retry":
            return job is not None and (job.step is Step.FAILED or (job.step.over and self._own(job)))
        if action in ("pause", "resume"):
            return self._queue.model.paused is (action == "resume")
        return super().check_action(action, parameters)

    def _own(self, job: FileJob) -> bool:
        """Whether a file was sent from here."""
        return any(job is each for each in self._uploads.jobs)

    def add(self, paths: Iterable[str]) -> None:
        """Put files at the end of the queue; a directory stands for the recordings in it."""
        added = 0
        for name in paths:
            path = Path(name)
            found = [path]
            if path.is_dir():
                found = sorted(each for each in path.iterdir() if each.suffix.lower() in MEDIA)
            elif not path.is_file():
                self.show_error(f"{name} is not a file.")
                continue
            if not found:
                self.show_error(f"There are no recordings in {name}.")
            for each in found:
                self._uploads.start(FileJob(each))
                added += 1
        if added:
            self._draw()
            self.row_list.focus()

    @on(Input.Submitted, "#line")
    def _submitted(self, event: Input.Submitted) -> None:
        paths = pasted_paths(event.value)
        if paths:
            event.input.value = ""
            self.add(paths)
            self.row_list.focus()

    def on_paste(self, event: events.Paste) -> None:
        """Queue files that are pasted or dropped while the list has the focus."""
        if paths := existing_paths(event.text):
            event.stop()
            self.add(paths)

    @on(PathLine.Dropped)
    def _dropped(self, message: PathLine.Dropped) -> None:
        self.add(message.paths)

    def action_pick(self) -> None:
        """Pick recordings from a tree."""
        from .pick import PickScreen

        def picked(paths: list[str] | None) -> None:
            if paths:
                self.add(paths)

        self.app.push_screen(PickScreen(Path.cwd(), ascii_only=self.context.glyphs is ASCII), picked)

    @on(OptionList.OptionHighlighted, "#rows")
    def _highlighted(self) -> None:
        self.refresh_bindings()

    def action_open(self) -> None:
        """Open its transcript."""
        if (job := self.here) is not None and job.session is not None:
            title = clean(job.title or job.path.stem)
            self.post_message(OpenSession(SessionModel(session=job.session, kind="file", title=title)))

    def action_export(self) -> None:
        """Export its transcript."""
        from .export import ask_export

        if (job := self.here) is not None and job.session is not None:
            ask_export(self, job.session, clean(job.title or job.path.stem))

    def action_cancel(self) -> None:
        """Cancel the file."""
        if (job := self.here) is None:
            return
        if self._own(job):
            start(self, partial(self._uploads.cancel, job), group="cancel")
        else:
            self.ask_daemon(CancelSession(session=str(job.session)), then=self._queue.hurry)

    def action_forget(self) -> None:
        """Remove the file from the list; its session stays."""
        if (job := self.here) is None:
            return
        if self._own(job):
            self._uploads.forget(job)
        else:
            self._queue.model.hide(job)
        self._draw()

    def action_retry(self) -> None:
        """Try the file again."""
        if (job := self.here) is None or not job.step.over:
            return
        if self._own(job):
            job.retry()
            self._uploads.start(job)
            self._draw()
        else:
            self.ask_daemon(RetrySession(session=str(job.session)), then=self._queue.hurry)

    def action_pause(self) -> None:
        """Pause the daemon's queue; uploads go on."""
        self.ask_daemon(PauseQueue(), then=self._queue.hurry)

    def action_resume(self) -> None:
        """Resume the daemon's queue."""
        self.ask_daemon(ResumeQueue(), then=self._queue.hurry)

    def action_back(self) -> None:
        """Leave the input line, or go back."""
        if self.line.has_focus and self.rows:
            self.row_list.focus()
        else:
            self.app.pop_screen()
