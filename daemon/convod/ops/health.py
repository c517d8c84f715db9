"""Whether the daemon is alive and ready, for monitors. In: its parts. Out: None, or why not in one sentence."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from convod.engine.supervisor import Engine
from convod.ops.signals import ProcessControl
from convod.sessions import Manager


class Health(msgspec.Struct, frozen=True):
    """What the HTTP listener shows; `metrics` returns Prometheus' text format."""

    metrics: Callable[[], Awaitable[str]]
    engine: Engine
    manager: Manager
    control: ProcessControl

    def why_not_alive(self) -> str | None:
        """Return why the daemon should be restarted, if it should."""
        return None if self.engine.answers else "the engine does not answer"

    def why_not_ready(self) -> str | None:
        """Return why no work should be sent here now, if so."""
        if self.control.stopping:
            return "convod is stopping"
        if (trouble := self.manager.why_not_stored()) is not None:
            return trouble
        if self.engine.state in ("ready", "unloaded"):
            return None
        return f"the speech model is {self.engine.state}" + (f": {self.engine.message}" if self.engine.message else "")
