"""Files: recordings on their way to a transcript, with progress, speed and the time that is left.

In: paths that are typed, pasted, dropped into the terminal or picked. Out: a queue; each file is a session of the
daemon.
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
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import DirectoryTree, Footer, Input, OptionList, Static
from textual.widgets.option_list import Option

from convo.text import clean, clock, width

from ..model.files import MEDIA, FileJob, Step, pasted_paths
from ..model.session import SessionModel
from ..widgets.status import Heading, Masthead, bar, cut
from ..work.link import LinkState
from ..work.start import start
from .ask import PathSuggester
from .base import RowsScreen

if TYPE_CHECKING:
    from ..app import ConvoApp

_REDRAW_S = 0.1
_LOOK_S = 1.0  # speed and time left are drawn anew


class FilesScreen(RowsScreen):
    """Lists files."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a,slash", "add", "Add", key_display="a", tooltip="Type or paste paths"),
        Binding("p", "pick", "Pick", tooltip="Pick recordings in a tree"),
        Binding("enter", "open", "Open", tooltip="Read the transcript, as it is written"),
        Binding(
            "x,delete", "cancel", "Cancel", key_display="x", tooltip="Cancel it; once more takes it out of the list"
        ),
        Binding("r", "retry", "Retry", tooltip="Do it again from the beginning"),
        Binding("escape", "back", "Back", key_display="esc", tooltip="Out of the line, then back"),
        Binding("1", "app.go('live')", "Live", tooltip="The session that is being spoken"),
        Binding("3", "app.go('history')", "History", tooltip="All sessions", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._pending: Timer | None = None
        self._looking: Timer | None = None

    def compose(self) -> ComposeResult:
        """A line for paths, the queue."""
        yield Masthead(self.app.glyphs)
        yield Input(
            placeholder="Paths of recordings; paste or drop as many as you like", id="paths", suggester=PathSuggester()
        )
        yield OptionList(id="queue")
        yield Static("", id="files-note")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Draw the queue."""
        self.masthead.heading = Heading(title="Files", trouble=self.trouble)
        self._draw()
        queue = self.query_one("#queue")
        (queue if self.app.uploads.jobs else self.query_one("#paths")).focus()

    def link_changed(self, state: LinkState) -> None:
        """Show it."""
        if self.is_mounted:
            self.masthead.heading = Heading(title="Files", trouble=self.trouble)

    # --- drawing ------------------------------------------------------------------------------------------

    def job_changed(self) -> None:
        """A file made progress: draw soon, not at each of many messages."""
        if self._pending is None:
            self._pending = self.set_timer(_REDRAW_S, self._draw)

    def _draw(self) -> None:
        self._pending = None
        queue = self.query_one("#queue", OptionList)
        jobs = self.app.uploads.jobs
        now = asyncio.get_running_loop().time()
        prompts = [self._prompt(job, now) for job in jobs]
        if queue.option_count == len(prompts):
            for place, prompt in enumerate(prompts):
                queue.replace_option_prompt_at_index(place, prompt)
        else:
            here = queue.highlighted or 0
            queue.clear_options()
            queue.add_options([Option(prompt) for prompt in prompts])
            queue.highlighted = min(here, len(prompts) - 1) if prompts else None
        waiting = [job for job in jobs if not job.step.over]
        note = "No files yet. They go to the daemon as they are; nothing leaves its machine."
        if jobs:
            done = sum(job.step is Step.DONE for job in jobs)
            note = f"{done} of {len(jobs)} done"
            left = [job.left_s(now) for job in waiting]
            if waiting and all(each is not None for each in left):
                note += f", about {clock(max(each or 0.0 for each in left))} left"
        self.query_one("#files-note", Static).update(Text(f" {note}"))
        if waiting and self._looking is None:
            self._looking = self.set_interval(_LOOK_S, self._draw)
        elif not waiting and self._looking is not None:
            self._looking.stop()
            self._looking = None
        self.refresh_bindings()

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
        text.append(cut(clean(job.path.name), max(6, room), glyphs.ellipsis))
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
        jobs = self.app.uploads.jobs
        return jobs[at] if at is not None and at < len(jobs) else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what makes sense now."""
        if not self.is_mounted:
            return super().check_action(action, parameters)
        job = self._here()
        if action == "open":
            return job is not None and job.session is not None
        if action == "cancel":
            return job is not None
        if action == "retry":
            return job is not None and job.step.over
        return super().check_action(action, parameters)

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

        def picked(paths: list[str] | None) -> None:
            if paths:
                self.add(paths)

        self.app.push_screen(PickScreen(Path.cwd()), picked)

    @on(OptionList.OptionSelected, "#queue")
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.action_open()

    def action_open(self) -> None:
        """Read its transcript."""
        job = self._here()
        if job is not None and job.session is not None:
            self.app.places.open_session(SessionModel(session=job.session, kind="file", title=clean(job.path.stem)))

    def action_cancel(self) -> None:
        """Cancel it, or take it out of the list."""
        job = self._here()
        if job is None:
            return
        if job.step.over:
            self.app.uploads.forget(job)
            self._draw()
        else:
            start(self, partial(self.app.uploads.cancel, job), group="cancel")

    def action_retry(self) -> None:
        """Do it again."""
        job = self._here()
        if job is not None and job.step.over:
            job.retry()
            self.app.uploads.start(job)
            self._draw()

    def action_back(self) -> None:
        """Out of the line, then back."""
        if self.query_one("#paths").has_focus and self.app.uploads.jobs:
            self.query_one("#queue").focus()
        else:
            self.app.pop_screen()


class MediaTree(DirectoryTree):
    """Directories, and what may be a recording."""

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        """Leave out what is hidden or no recording."""
        return [
            path for path in paths
            if not path.name.startswith(".") and (path.suffix.lower() in MEDIA or path.is_dir())
        ]  # fmt: skip


class PickScreen(ModalScreen[list[str] | None]):
    """Picks recordings; several with space."""

    app: ConvoApp

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave it"),
        Binding("space", "choose", "Choose", priority=True),
        Binding("backspace", "up", "Up"),
    ]

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._chosen: list[str] = []

    def compose(self) -> ComposeResult:
        """The tree."""
        with Container(classes="window -tall"):
            yield Static(Text("Pick recordings"), classes="window-title")
            yield MediaTree(self._directory)
            yield Static(
                Text("Enter takes one; Space chooses several, then Enter.  Backspace goes up."), classes="window-hint"
            )

    @on(DirectoryTree.FileSelected)
    def _file(self, event: DirectoryTree.FileSelected) -> None:
        path = str(event.path)
        self.dismiss([*self._chosen, path] if path not in self._chosen else self._chosen)

    def action_choose(self) -> None:
        """Choose the file, or not."""
        node = self.query_one(MediaTree).cursor_node
        if node is None or node.data is None or not node.data.path.is_file():
            return
        path = str(node.data.path)
        if path in self._chosen:
            self._chosen.remove(path)
        else:
            self._chosen.append(path)
        count = len(self._chosen)
        self.query_one(".window-hint", Static).update(Text(f"{count} chosen.  Enter takes them.  Esc leaves it."))

    def action_up(self) -> None:
        """To the directory above."""
        tree = self.query_one(MediaTree)
        tree.path = Path(tree.path).resolve().parent

    def action_leave(self) -> None:
        """None."""
        self.dismiss(None)
