"""Speech models as a person chooses among them: which understand people, which are here, what a download takes.

In: the daemon's status and its list of models. Out: rows and sentences. Nothing here asks the daemon.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from convo.messages import EngineStatus, ModelInfo
from convo.text import clean, size

BUILTIN = "builtin"
"""The daemon's own model, which is trained on a speech synthesizer."""

_ABOUT = {
    "small": "good, on most machines; 480 MB",
    "base": "fair, on small machines; 145 MB",
    "tiny": "rough and fastest; 75 MB",
    "medium": "better, needs a fast machine; 1.5 GB",
    "turbo": "very good, best with a GPU; 1.6 GB",
    "large-v3": "the best, needs a GPU; 3.1 GB",
    "small.en": "good, English only; 480 MB",
    "base.en": "fair, English only; 145 MB",
    "tiny.en": "rough, English only; 75 MB",
}
"""What to expect of a download, recommended ones first. Sizes are those of the CTranslate2 weights on the hub."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A model to choose; `here`: it needs no download."""

    name: str
    here: bool
    about: str


def choices(models: Iterable[ModelInfo]) -> list[Choice]:
    """The models to choose from: those here that understand people, downloads, the built-in one."""
    order = list(_ABOUT)
    rows: list[tuple[tuple[int, int, str], Choice]] = []
    for model in models:
        if model.name == BUILTIN:
            choice = Choice(model.name, model.here, "synthetic English only, for trials")
        elif model.here:
            known = "English only" if model.languages == ["en"] else "many languages"
            parts = ["in use" if model.loaded else "", size(model.size_bytes), known]
            choice = Choice(model.name, True, ", ".join(filter(None, parts)))
        else:
            choice = Choice(model.name, False, f"download: {_ABOUT.get(model.name, 'size unknown')}")
        group = 2 if model.name == BUILTIN else 0 if model.here else 1
        place = order.index(model.name) if model.name in order else len(order)
        rows.append(((group, place, model.name), choice))
    return [choice for _, choice in sorted(rows, key=lambda row: row[0])]


def sentence(engine: EngineStatus, wanted: str) -> tuple[str, bool]:
    """Name the model of the next session, and whether it understands people.

    Args:
        engine: the daemon's.
        wanted: the model that the user chose here; empty leaves it to the daemon.
    """
    if engine.state == "failed" and not wanted:
        return f"{clean(engine.model)} failed: {clean(engine.message or 'see the log of convod')}", False
    name = wanted or engine.model
    if name == BUILTIN:
        return "built-in; it understands synthetic English only, not people", False
    about = "understands English" if name.endswith(".en") else "understands people"
    return f"{clean(name)}, {about}" + (", loading" if engine.state == "loading" and not wanted else ""), True
