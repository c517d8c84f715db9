"""Marks async tests with the loop that they run under, so that no test says it."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """asyncio for the app's tests and for files named `*_asyncio*`, trio for everything else."""
    for item in items:
        if not isinstance(item, pytest.Function) or not _is_async(item.function):
            continue
        of_the_app = item.path.is_relative_to(_HERE / "tui")
        asyncio = of_the_app or "_asyncio" in item.path.stem
        item.add_marker(pytest.mark.asyncio if asyncio else pytest.mark.trio)


def _is_async(function: object) -> bool:
    # A test under hypothesis is a plain function around the one that was written.
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", None)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(inner)
