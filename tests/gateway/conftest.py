"""One daemon and one gateway for all tests of a worker that change neither; every test here ends in time."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import limited
from tests.support.daemon import Daemon, running
from tests.support.embedder import write_embedder
from tests.support.gateway import Gateway, gateway

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        trio_test = isinstance(item, pytest.Function) and "asyncio" not in item.path.stem
        if trio_test and item.path.is_relative_to(_HERE) and inspect.iscoroutinefunction(item.function):
            item.obj = limited(item.obj)


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose WebSocket asks for no token, and who tells the voices of the recorded talks apart."""
    directory = tmp_path_factory.mktemp("convod")
    voices = {"CONVOD_ENGINE_VOICES": str(write_embedder(directory / "voices.onnx"))}
    with running(directory, environment=voices) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def served(daemon: Daemon) -> Iterator[Gateway]:
    """A gateway to that daemon."""
    with gateway(daemon.web, "--origin", "https://example.org", "--job-streams", "3", "--stall-s", "2") as served:
        yield served
