"""`--write-table` writes `README.md` here: each fault, what was promised, what this run saw."""

from __future__ import annotations

import functools
import inspect
import platform
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.daemon import Daemon
from tests.support.faults import MEMORY_MIB, ROWS, Row, started

HERE = Path(__file__).parent

LIMIT_S = 150.0

_HEAD = """# Faults

Each row is a test in this directory, over real processes. Written by

    .venv/bin/pytest tests/faults -m "" --write-table

(the default run leaves out those marked slow). After each fault: a session of somebody else goes on and has every word,
acknowledged audio is there, and the daemon has as many open files as before and no more than {memory} MiB more memory.

Python {python}, {machine}.

| fault | promised | seen |
| --- | --- | --- |
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-table", action="store_true", help="write tests/faults/README.md")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        here = item.path.is_relative_to(HERE)
        if here and isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            item.obj = _limited(item.obj)


def _limited(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def run(**fixtures: Any) -> None:
        with trio.fail_after(LIMIT_S):
            await test(**fixtures)

    return run


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not session.config.getoption("--write-table", default=False) or not ROWS:
        return
    rows = {cells[0]: f"| {' | '.join(cells)} |" for cells in ROWS.values()}
    # A run of some of them leaves the others as they were seen.
    before = (HERE / "README.md").read_text().split("| --- | --- | --- |\n")[-1]
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in before.splitlines()} | rows
    machine = f"{platform.system()} {platform.machine()}"
    head = _HEAD.format(memory=MEMORY_MIB, python=platform.python_version(), machine=machine)
    (HERE / "README.md").write_text(head + "\n".join(rows[fault] for fault in sorted(rows)) + "\n")


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Row:
    return Row(request.node.nodeid)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon of the test's own, warm: its first session was heard."""
    with started(tmp_path) as daemon:
        yield daemon
