"""Marks async tests with the loop that they run under, so that no test says it; sets up hypothesis."""

from __future__ import annotations

import inspect
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

# A busy machine makes an example slow, not wrong.
settings.register_profile("convo", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("convo")

if TYPE_CHECKING:
    from tests.support.real import Corpus
    from tests.support.redis import RedisServer

_HERE = Path(__file__).parent

# As a job in the background, or under nohup, tests run with signals ignored, and so would all that they start. What is
# handled, if by doing nothing, has its usual meaning there.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda number, frame: None)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: object) -> None:
    """asyncio for the app's tests and for files named `*_asyncio*`, trio for everything else."""
    # pytest-asyncio looks for its mark while a test becomes an item: afterwards is too late.
    if not collector.istestfunction(obj, name) or not _is_async(obj):
        return
    of_the_app = collector.path.is_relative_to(_HERE / "tui")
    asyncio = of_the_app or "_asyncio" in collector.path.stem
    (pytest.mark.asyncio if asyncio else pytest.mark.trio)(obj)


def _is_async(function: object) -> bool:
    # A test under hypothesis is a plain function around the one that was written.
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", None)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(inner)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real redis-server; the test is skipped where it is not installed."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    from tests.support.redis import redis_server

    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def real_corpus() -> Corpus:
    """Recorded speech and what is said in it; the test is skipped where it is not there."""
    from tests.support import real  # decodes audio, which few tests do

    return real.corpus()


@pytest.fixture(scope="session")
def tiny_en() -> Path:
    """A real model for English; the test is skipped where it is not there."""
    from tests.support import real

    return real.model("tiny.en")


@pytest.fixture(scope="session")
def base() -> Path:
    """A real model for many languages; the test is skipped where it is not there."""
    from tests.support import real

    return real.model("base")
