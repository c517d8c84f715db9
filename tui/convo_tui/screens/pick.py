"""A window in which recordings are picked in a tree of directories.

In: where to begin. Out: paths, None if it was closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DirectoryTree

from ..model.files import MEDIA
from .window import Window


class MediaTree(DirectoryTree):
    """Directories, and what may be a recording. With `ascii_only`, no sign that a poor terminal may not have."""

    def __init__(self, path: Path, *, ascii_only: bool = False) -> None:
        super().__init__(path)
        self.guide_depth = 2
        self.show_guides = False
        self.ICON_NODE, self.ICON_NODE_EXPANDED = ("+ ", "- ") if ascii_only else ("▸ ", "▾ ")
        self.ICON_FILE = "  "

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        """Leave out what is hidden or no recording."""
        return [
            path for path in paths
            if not path.name.startswith(".") and (path.suffix.lower() in MEDIA or path.is_dir())
        ]  # fmt: skip


class PickScreen(Window[list[str] | None]):
    """Picks recordings; several with space."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "choose", "Choose", priority=True),
        Binding("backspace", "up", "Up"),
    ]

    def __init__(self, directory: Path, *, ascii_only: bool = False) -> None:
        super().__init__("Pick recordings", "Enter takes one, Space chooses several, Backspace goes up.", tall=True)
        self._tree = MediaTree(directory, ascii_only=ascii_only)
        self._chosen: list[str] = []

    def content(self) -> ComposeResult:
        """The tree."""
        yield self._tree

    @on(DirectoryTree.FileSelected)
    def _file(self, event: DirectoryTree.FileSelected) -> None:
        path = str(event.path)
        self.dismiss([*self._chosen, path] if path not in self._chosen else self._chosen)

    def action_choose(self) -> None:
        """Choose the file, or not."""
        node = self._tree.cursor_node
        if node is None or node.data is None or not node.data.path.is_file():
            return
        path = str(node.data.path)
        if path in self._chosen:
            self._chosen.remove(path)
        else:
            self._chosen.append(path)
        self.hint(f"{len(self._chosen)} chosen.  Enter takes them.  Esc leaves it.")

    def action_up(self) -> None:
        """To the directory above."""
        self._tree.path = Path(self._tree.path).resolve().parent
