"""Files: recordings on their way to a transcript, with progress, speed and the time that is left.

In: paths that are typed, pasted, dropped into the terminal or picked; the daemon's own queue. Out: rows: the files that
are sent from here, then those that other programs of this user sent. Each file is a session of the daemon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.timer import Timer
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from convo.resume import LinkState
from convo.text import clean, clock, width

from ..model.files import MEDIA, FileJob, Step, pasted_paths
from ..model.session import SessionModel
from ..widgets.keys import Keys
from ..widgets.rows import Rows
from ..widgets.status import Heading, Masthead, bar, cut
from ..work.start import start
from .ask import PathSuggester
from .base import RowsScreen

if TYPE_CHECKING:
    pass

_EMPTY = """No files yet.

Paste or drop recordings here; a types a path, p picks.
They go to the daemon as they are; nothing leaves its machine."""

_REDRAW_S = 0.1
_LOOK_S = 1.0  # speed and time left are drawn anew


class FilesScreen(RowsScreen):
    """Lists files."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a,slash", "add", "Add", key_display="a", tooltip="Type or paste paths"),
        Binding("p", "pick", "Pick", tooltip="Pick recordings in a tree"),
        Binding("x,delete", "cancel", "Cancel", key_display="x", tooltip="Cancel it; what was transcribed stays"),
        Binding("x,delete", "forget", "Clear", key_display="x", tooltip="Take it out of this list; its session stays"),
        Binding("r", "retry", "Retry", tooltip="Do it again"),
        Binding("space", "pause", "Pause", key_display="space", tooltip="Let the daemon's queue of files rest"),
        Binding("space", "resume", "Resume", key_display="space", tooltip="Go on with the daemon's queue of files"),
        Binding("escape", "back", "Back", key_display="esc", tooltip="Out of the line, then back"),
        Binding("1", "app.go('live')", "Live", tooltip="The session that is being spoken", show=False),
        Binding("3", "app.go('history')", "History", tooltip="All sessions", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[FileJob | None] = []  # None is a heading
        self._drawn: list[FileJob | None] = []
        self._pending: Timer | None = None
        self._looking: Timer | None = None

    def compose(self) -> ComposeResult:
        """A line for paths, the queue."""
        yield Masthead(self.app.glyphs)
        yield Input(
            placeholder="Paths of recordings; paste or drop as many as you like", id="paths", suggester=PathSuggester()
        )
        with Container(classes="rows"):
            yield Rows(id="queue")
            yield Static("", id="empty")
        yield Static("", id="files-note")
        yield Keys()

    def on_mount(self) -> None:
        """Draw the queue."""
        self._draw()
        (self.query_one("#queue") if self.app.uploads.jobs else self.query_one("#paths")).focus()
        start(self, self.app.queue.run, group="queue")

    def link_changed(self, state: LinkState) -> None:
        """Show it."""
        if self.is_mounted:
            self._draw()

    # --- drawing ------------------------------------------------------------------------------------------

    def job_changed(self) -> None:
        """A file made progress: draw soon, not at each of many messages."""
        if self._pending is None:
            self._pending = self.set_timer(_REDRAW_S, self._draw)

    def _draw(self) -> None:
        self._pending = None
        jobs = self.app.uploads.jobs
        others = self.app.queue.model.others(job.session for job in jobs)
        here = self._here()
        self._rows = [*jobs, *([None, *others] if others else [])]
        now = asyncio.get_running_loop().time()
        prompts = [self._prompt(job, now) if job is not None else self._head(len(jobs)) for job in self._rows]
        queue = self.query_one("#queue", OptionList)
        if self._rows == self._drawn:
            for place, prompt in enumerate(prompts):
                queue.replace_option_prompt_at_index(place, prompt)
        else:
            self._drawn = list(self._rows)
            queue.clear_options()
            queue.add_options(
                [Option(prompt, disabled=job is None) for prompt, job in zip(prompts, self._rows, strict=True)]
            )
            place = self._rows.index(here) if here is not None and here in self._rows else 0
            queue.highlighted = place + (self._rows[place] is None) if prompts else None
        self._draw_note(jobs, others, now)
        self.refresh_bindings()

    def _draw_note(self, jobs: list[FileJob], others: list[FileJob], now: float) -> None:
        paused = self.app.queue.model.paused
        self.masthead.heading = Heading(title="Files", trouble=self.trouble, badge="paused" if paused else "")
        waiting = [job for job in [*jobs, *others] if not job.step.over]
        note = ""
        self.show_empty("" if jobs or others else _EMPTY)
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
            note = "The queue rests: space goes on with it."
        self.query_one("#files-note", Static).update(Text(f" {note}"))
        if waiting and self._looking is None:
            self._looking = self.set_interval(_LOOK_S, self._draw)
        elif not waiting and self._looking is not None:
            self._looking.stop()
            self._looking = None

    def _head(self, own: int) -> Text:
        text = Text("\n" if own else "", no_wrap=True, end="")
        text.append("Sent from elsewhere", f"bold {self._colour('accent')}".strip())
        return text

    def _prompt(self, job: FileJob, now: float) -> Text:
        glyphs = self.app.glyphs
        sign, colour = {
            Step.DONE: (glyphs.done, "success"),
            Step.FAILED: (glyphs.failed, "error"),
            Step.CANCELLED: (glyphs.failed, "faint"),
            Step.WAITING: (glyphs.idle, "faint"),
        }.get(job.step, (glyphs.work, "accent"))
        size = max(24, self.query_one("#queue").scrollable_content_region.width - 2)
        right = self._right(job, now)
        cells = 16 if size >= 100 else 10 if size >= 60 else 0
        room = size - width(right) - cells - 6
        text = Text(no_wrap=True, end="")
        text.append(f"{sign} ", self._colour(colour))
        text.append(cut(clean(job.name), max(6, room), glyphs.ellipsis))
        if job.problem:
            text.append(f"\n  {cut(job.problem, size - 4, glyphs.ellipsis)}", self._colour("error"))
            return text
        text.append(" " * max(1, size - text.cell_len - cells - width(right) - 2))
        if cells and not job.step.over:
            fraction = job.fraction
            if fraction is None:
                fraction = job.sent / job.size if job.size else 0.0
            on = self._colour("accent" if job.step is not Step.SENDING else "faint")
            text.append_text(bar(fraction, cells, glyphs, on, self._colour("rule")))
        else:
            text.append(" " * cells)
        text.append(f"  {right}", self._colour("faint"))
        return text

    def _right(self, job: FileJob, now: float) -> str:
        parts = [str(job.step)]
        if job.step is Step.WAITING and job.priority != "normal":
            parts.insert(0, f"{job.priority} priority")
        if job.step is Step.SENDING and job.size:
            parts.append(f"{100 * job.sent // max(1, job.size)} %")
        if job.step is Step.LISTENING and job.total_s:
            parts.append(f"{clock(job.done_s)} of {clock(job.total_s)}")
        if (speed := job.speed(now)) is not None and job.step in (Step.LISTENING, Step.DONE):
            parts.append(f"{speed:.1f}x" if speed < 10 else f"{speed:.0f}x")
        if (left := job.left_s(now)) is not None:
            parts.append(f"{clock(left)} left")
        return "  ".join(parts)

    def _colour(self, name: str) -> str:
        return self.app.colour(name)

    # --- what somebody does -------------------------------------------------------------------------------

    def _here(self) -> FileJob | None:
        at = self.query_one("#queue", OptionList).highlighted
        return self._rows[at] if at is not None and at < len(self._rows) else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what makes sense now."""
        if not self.is_mounted:
            return super().check_action(action, parameters)
        job = self._here()
        if action == "cancel":
            return job is not None and not job.step.over
        if action == "forget":
            return job is not None and job.step.over
        if action == "retry":
            return job is not None and (job.step is Step.FAILED or (job.step.over and self._own(job)))
        if action in ("pause", "resume"):
            return self.app.queue.model.paused is (action == "resume")
        return super().check_action(action, parameters)

    def _own(self, job: FileJob) -> bool:
        """Whether it is sent from here."""
        return any(job is each for each in self.app.uploads.jobs)

    def add(self, paths: Iterable[str]) -> None:
        """Put files at the end of the queue; a directory means the recordings in it."""
        added = 0
        for name in paths:
            path = Path(name)
            found = [path]
            if path.is_dir():
                found = sorted(each for each in path.iterdir() if each.suffix.lower() in MEDIA)
            elif not path.is_file():
                self.app.say(f"{name} is no file.", "error")
                continue
            if not found:
                self.app.say(f"{name} holds no recordings.", "error")
            for each in found:
                self.app.uploads.start(FileJob(each))
                added += 1
        if added:
            self._draw()
            self.query_one("#queue").focus()

    @on(Input.Submitted, "#paths")
    def _submitted(self, event: Input.Submitted) -> None:
        paths = pasted_paths(event.value)
        if paths:
            event.input.value = ""
            self.add(paths)
            self.query_one("#queue").focus()

    def on_paste(self, event: events.Paste) -> None:
        """Paths that are pasted or dropped go to the queue at once; into the line if they are no files."""
        paths = pasted_paths(event.text)
        if paths and all(Path(path).exists() for path in paths):
            event.stop()
            self.add(paths)

    def action_add(self) -> None:
        """To the line."""
        self.query_one("#paths").focus()

    def action_pick(self) -> None:
        """Pick in a tree."""
        from .pick import PickScreen

        def picked(paths: list[str] | None) -> None:
            if paths:
                self.add(paths)

        self.app.push_screen(PickScreen(Path.cwd()), picked)

    @on(OptionList.OptionHighlighted, "#queue")
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self.refresh_bindings()

    @on(OptionList.OptionSelected, "#queue")
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.action_open()

    def action_open(self) -> None:
        """Read its transcript."""
        job = self._here()
        if job is not None and job.session is not None:
            title = job.title or job.path.stem
            self.app.places.open_session(SessionModel(session=job.session, kind="file", title=clean(title)))

    def action_cancel(self) -> None:
        """Cancel it."""
        job = self._here()
        if job is None:
            return
        if self._own(job):
            start(self, partial(self.app.uploads.cancel, job), group="cancel")
        else:
            self.app.ask(self.app.queue.cancel(job))

    def action_forget(self) -> None:
        """Take it out of the list; its session stays."""
        job = self._here()
        if job is None:
            return
        if self._own(job):
            self.app.uploads.forget(job)
        else:
            self.app.queue.model.hide(job)
        self._draw()

    def action_retry(self) -> None:
        """Do it again."""
        job = self._here()
        if job is None or not job.step.over:
            return
        if self._own(job):
            job.retry()
            self.app.uploads.start(job)
            self._draw()
        else:
            self.app.ask(self.app.queue.retry(job))

    def action_pause(self) -> None:
        """Let the daemon's queue rest; what is being sent goes on."""
        self.app.ask(self.app.queue.pause(True))

    def action_resume(self) -> None:
        """Go on with it."""
        self.app.ask(self.app.queue.pause(False))

    def action_back(self) -> None:
        """Out of the line, then back."""
        if self.query_one("#paths").has_focus and self._rows:
            self.query_one("#queue").focus()
        else:
            self.app.pop_screen()
