"""The command palette: every action that works on the screen in front, by its name.

In: a screen with its bindings. Out: commands.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from textual.app import SystemCommand
from textual.screen import Screen

if TYPE_CHECKING:
    from ..app import ConvoApp


def commands(app: ConvoApp, screen: Screen[Any]) -> Iterable[SystemCommand]:
    """Every action that works here."""
    seen: set[str] = set()  # an action may have several keys
    for active in screen.active_bindings.values():
        binding = active.binding
        about = active.tooltip or binding.tooltip
        action = binding.action.removeprefix("app.")
        if about and active.enabled and not binding.system and action not in seen:
            seen.add(action)
            yield SystemCommand(binding.description, about, _run(app, active.node, binding.action))
    if "play_file" not in seen:
        yield SystemCommand("Play a recording", "As if it were spoken now", app.places.ask_play)


def _run(app: ConvoApp, node: Any, action: str) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        await app.run_action(action, node)

    return run
