"""Which providers there are: one entry each.

In: a name. Out: the provider behind it. Other packages add one with an entry point in the group
`convod.summarizers`: its name is the provider's, its object is called with the settings and the connections, like
the built-in classes here. A built-in name cannot be taken over, and what others add is never taken by `auto`: it may
send the talk anywhere.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from convod.summary.base import EXTRACTIVE, Connections, Provider, SummarizerUnavailable, SummarySettings

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "convod.summarizers"

Factory = Callable[[SummarySettings, Connections], Provider]


def _ollama(settings: SummarySettings, connections: Connections) -> Provider:
    from convod.summary.ollama import Ollama  # when it is first needed, as all that only a language model needs

    return Ollama(settings, connections)


def _openai(settings: SummarySettings, connections: Connections) -> Provider:
    from convod.summary.openai import OpenAi

    return OpenAi(settings, connections)


BUILT_IN: dict[str, Factory] = {"ollama": _ollama, "openai": _openai}
"""In the order in which `auto` looks for them."""


@lru_cache(maxsize=1)
def _added(path: tuple[str, ...]) -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # brings a parser of e-mail along, which the start can do without

    return {point.name: point for point in entry_points(group=GROUP) if point.name not in {*BUILT_IN, EXTRACTIVE}}


def added() -> dict[str, EntryPoint]:
    """What installed packages add, by name; nothing of it is imported. Looked for once, as that takes many reads."""
    return _added(tuple(sys.path))


def is_known(name: str) -> bool:
    """Whether it may stand under `provider`."""
    return name in ("auto", EXTRACTIVE) or name in BUILT_IN or name in added()


def names() -> list[str]:
    """All that may stand under `provider`."""
    return ["auto", *BUILT_IN, EXTRACTIVE, *sorted(added())]


def make(name: str, settings: SummarySettings, connections: Connections) -> Provider:
    """The provider of that name.

    Raises:
        SummarizerUnavailable: there is none, or the package that adds it is broken.
    """
    if name in BUILT_IN:
        return BUILT_IN[name](settings, connections)
    point = added().get(name)
    if point is None:
        raise SummarizerUnavailable(f"There is no summarizer {name!r}: choose one of {', '.join(names())}", retry=False)
    try:
        factory: Factory = point.load()
        return factory(settings, connections)
    except Exception as error:  # whatever another package does wrong must not end a session
        raise SummarizerUnavailable(
            f"The summarizer {name!r} cannot be loaded ({error}): repair the package that adds it", retry=False
        ) from error
