"""Engines with other models than the daemon's own: started when a session asks for one, ended when nothing needs it.

In: the name of a model on this machine. Out: an `Engine` for it. Only a few exist at once, because each holds a model
in memory; an idle one unloads its model, and is given up when another model is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
import trio

from convod.engine import models
from convod.engine.supervisor import Engine, EngineSettings, OpenLanes

IDLE_S: Final = 60.0
"""Seconds that a model other than the daemon's own stays in memory without work."""

MOST: Final = 2
"""Models beside the daemon's own."""


class NoRoomForModel(Exception):
    """The most other models are in use already; the text says so."""


@dataclass(slots=True)
class _One:
    engine: Engine
    scope: trio.CancelScope


class EnginePool:
    """The other engines; `run` owns their tasks."""

    def __init__(self, settings: EngineSettings, open_lanes: OpenLanes | None = None) -> None:
        self._settings = settings
        self._open_lanes = open_lanes
        self._nursery: trio.Nursery | None = None
        self._engines: dict[str, _One] = {}

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run engines until cancelled; their processes have ended when this returns."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def get(self, model: str) -> Engine:
        """Return the engine for a model on this machine, started if necessary.

        Raises:
            UnknownModel, ModelNotHere: `models.here` does not list it.
            NoRoomForModel: the most other engines are at work.
        """
        if (one := self._engines.get(model)) is not None:
            return one.engine
        self.check(model)
        if len(self._engines) >= MOST:
            self._give_up_one()
        assert self._nursery is not None, "it runs"
        settings = msgspec.structs.replace(self._settings, model=model, workers=1, remote_only=False, unload_s=IDLE_S)
        one = self._engines[model] = _One(Engine(settings, self._open_lanes), trio.CancelScope())
        self._nursery.start_soon(self._keep, one)
        return one.engine

    def check(self, model: str) -> None:
        """Raise UnknownModel or ModelNotHere unless `models.here` lists it."""
        if model in self._engines or model in {one.name for one in models.here()}:
            return
        # Not `find`, which takes directories, too: clients may not name paths.
        if model.startswith(("/", "./", "../", "~")):
            raise models.UnknownModel(f"{model} is a path, which a session cannot name; choose from `convo models`")
        raise models.ModelNotHere(model, models.repository_of(model))

    def _give_up_one(self) -> None:
        for model, one in self._engines.items():
            if one.engine.state == "unloaded" and not one.engine.busy:
                one.scope.cancel()
                del self._engines[model]
                return
        names = ", ".join(map(repr, self._engines))
        raise NoRoomForModel(f"the models {names} are in use beside the daemon's own; try again when one is done")

    async def _keep(self, one: _One) -> None:
        with one.scope:
            await one.engine.run()
