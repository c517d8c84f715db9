"""Marks async tests with the loop that they run under; fails tests that sleep; sets up hypothesis."""

from __future__ import annotations

import inspect
import shutil
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support import wall_clock

# A busy machine makes an example slow, not wrong.
settings.register_profile("convo", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("convo")

if TYPE_CHECKING:
    from tests.support.postgres import Server
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


wall_clock.install()

# Whoever waits for processes goes first, the quick tables last: near the end no processor is left waiting for one file.
_ORDER = ("e2e", "faults", "fuzz", "cli", "gateway", "tui", "daemon", "protocol")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        room = item.path.relative_to(_HERE).parts[0]
        return _ORDER.index(room) if room in _ORDER else len(_ORDER)

    items.sort(key=rank)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """A test that slept fails once all that it began has ended."""
    yield
    slept = [*wall_clock.noted]
    wall_clock.noted.clear()
    if slept and not wall_clock.may_sleep(item.path):
        pytest.fail("Wait for an event or turn a virtual clock: " + "; ".join(dict.fromkeys(slept)), pytrace=False)


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL of this run's own; the test is skipped where it is not installed."""
    from tests.support import postgres as support  # brings a client that few tests need

    if support.programs() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with support.running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str:
    """store.url of each store there is, without any session."""
    if request.param == "sqlite":
        return ""
    return str(request.getfixturevalue("postgres").emptied())
