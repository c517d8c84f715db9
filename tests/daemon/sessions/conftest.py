"""Sessions run without threads here, so that a virtual clock may jump (see `support/house.py`)."""

from __future__ import annotations

import pytest

from tests.daemon.support.house import run_inline


@pytest.fixture(autouse=True)
def _inline_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    run_inline(monkeypatch)
