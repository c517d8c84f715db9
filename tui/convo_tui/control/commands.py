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
    for active in screen.active_bindings.values():
        binding = active.binding
        if binding.description and active.enabled and not binding.system:
            about = active.tooltip or binding.tooltip or f"Key {binding.key}"
            yield SystemCommand(binding.description, about, _run(app, active.node, binding.action))
    yield SystemCommand("Play a recording", "As if it were spoken now", app.places.ask_play)


def _run(app: ConvoApp, node: Any, action: str) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        await app.run_action(action, node)

    return run
