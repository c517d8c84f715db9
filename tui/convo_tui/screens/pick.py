"""A window to pick recordings from a tree of directories.

In: where to start. Out: paths, None if the user left it.
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
    """Shows directories and possible recordings; with `ascii_only`, without Unicode symbols."""

    def __init__(self, path: Path, *, ascii_only: bool = False) -> None:
        super().__init__(path)
        self.guide_depth = 2
        self.show_guides = False
        self.ICON_NODE, self.ICON_NODE_EXPANDED = ("+ ", "- ") if ascii_only else ("▸ ", "▾ ")
        self.ICON_FILE = "  "

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        """Leave out hidden files, and files that are not recordings."""
        return [
            path for path in paths
            if not path.name.startswith(".") and (path.suffix.lower() in MEDIA or path.is_dir())
        ]  # fmt: skip


class PickScreen(Window[list[str] | None]):
    """Picks one recording, or several with space."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "choose", "Select", priority=True),
        Binding("backspace", "up", "Up"),
    ]

    def __init__(self, directory: Path, *, ascii_only: bool = False) -> None:
        super().__init__("Pick recordings", "Enter adds one, Space selects several, Backspace goes up.", tall=True)
        self._tree = MediaTree(directory, ascii_only=ascii_only)
        self._chosen: list[str] = []

    def content(self) -> ComposeResult:
        """Yield the tree."""
        yield self._tree

    @on(DirectoryTree.FileSelected)
    def _file(self, event: DirectoryTree.FileSelected) -> None:
        path = str(event.path)
        self.dismiss([*self._chosen, path] if path not in self._chosen else self._chosen)

    def action_choose(self) -> None:
        """Select the file, or unselect it."""
        node = self._tree.cursor_node
        if node is None or node.data is None or not node.data.path.is_file():
            return
        path = str(node.data.path)
        if path in self._chosen:
            self._chosen.remove(path)
        else:
            self._chosen.append(path)
        self.hint(f"{len(self._chosen)} selected.  Enter adds them.  Esc cancels.")

    def action_up(self) -> None:
        """Go to the parent directory."""
        self._tree.path = Path(self._tree.path).resolve().parent
