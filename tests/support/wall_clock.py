"""Notes when a test sleeps on the wall clock, and finds loops that poll for a condition.

In: calls of the usual sleeps, and the text of test files. Out: sentences that say where. It never raises in the task
that sleeps: its nursery might wait for ever for what the task was to do, and the test with it. What the product itself
sleeps is its own affair: a sleep is the test's if a file under `tests/` asks for it.
"""

from __future__ import annotations

import ast
import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import anyio
import sniffio
import trio
import trio.testing

TESTS: Final = Path(__file__).parents[1]

REAL: Final = ("e2e", "faults", "cli", "gateway", "real")
"""Folders of tests with whole processes, which no virtual clock reaches."""

PAUSES: Final = frozenset(
    {"sleep", "sleep_until", "checkpoint", "cancel_shielded_checkpoint", "wait_all_tasks_blocked"}
)
"""Names of calls that let time or other tasks pass: all that a loop which polls does between two looks."""

noted: list[str] = []
"""Where tests have slept since this was cleared."""


def install() -> None:
    """Have every sleep noted that a file of tests calls from now on."""
    for module, name in (
        (time, "sleep"), (trio, "sleep"), (trio, "sleep_until"), (anyio, "sleep"), (asyncio, "sleep"),
    ):  # fmt: skip
        setattr(module, name, _noting(getattr(module, name), f"{module.__name__}.{name}"))


def may_sleep(path: Path) -> bool:
    """Whether tests of a file may take real time."""
    return path.is_relative_to(TESTS) and path.relative_to(TESTS).parts[0] in REAL


def _noting(sleep: Callable[..., Any], name: str) -> Callable[..., Any]:
    def noting(*arguments: Any, **named: Any) -> Any:
        caller = sys._getframe(1)  # noqa: SLF001 - the documented way
        if caller.f_code.co_filename.startswith(f"{TESTS}/") and arguments[:1] != (0,) and not _is_virtual(name):
            path = Path(caller.f_code.co_filename).relative_to(TESTS.parent)
            noted.append(f"{path}:{caller.f_lineno} calls {name}{arguments}")
        return sleep(*arguments, **named)

    return noting


def _is_virtual(name: str) -> bool:
    """Whether the clock of this sleep is one that tests turn."""
    if name == "time.sleep":
        return False
    try:
        if sniffio.current_async_library() != "trio":
            return False
    except sniffio.AsyncLibraryNotFoundError:
        return False
    return isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock)


def polls(source: str) -> Iterator[int]:
    """Lines of loops that wait for a condition by looking again and again.

    Such a loop has an end (`while True` serves), and all that it awaits or sleeps in are pauses.
    """
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.While) or (isinstance(node.test, ast.Constant) and node.test.value):
            continue
        body = [part for statement in node.body for part in ast.walk(statement)]
        awaited = [part.value for part in body if isinstance(part, ast.Await)]
        slept = [part for part in body if isinstance(part, ast.Call) and _called(part) == "time.sleep"]
        paused = [call for call in awaited if isinstance(call, ast.Call) and _called(call).split(".")[-1] in PAUSES]
        if slept or (paused and len(paused) == len(awaited)):
            yield node.lineno


def _called(call: ast.Call) -> str:
    return ast.unparse(call.func)
