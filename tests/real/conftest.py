"""One daemon with a real model for all tests here, plain faster-whisper beside it, and an end in time."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.daemon import Daemon, running

if TYPE_CHECKING:
    from convo_bench.yardstick import Yardstick

LIMIT_S = 120.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        here = item.path.is_relative_to(Path(__file__).parent)
        if here and isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            item.obj = _limited(item.obj)


def _limited(test: Any) -> Any:
    @functools.wraps(test)
    async def run(**fixtures: Any) -> None:
        with trio.fail_after(LIMIT_S):
            await test(**fixtures)

    return run


@pytest.fixture(scope="session")
def daemon(tiny_en: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A convod that decodes with tiny.en."""
    with running(tmp_path_factory.mktemp("convod"), "--model", str(tiny_en)) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def yardstick(tiny_en: Path) -> Yardstick:
    """Plain faster-whisper with tiny.en."""
    from convo_bench.yardstick import Yardstick  # these tests are left out more often than not

    return Yardstick(str(tiny_en))
