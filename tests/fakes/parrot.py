"""A summarizer of another package, as its entry point would find it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import trio

from convod.summary import SummarySettings
from convod.summary.base import Connections, ProbeResult, Provider, Question
from tests.fakes.model import answer


class Parrot:
    """A provider of thirty lines."""

    name = "parrot"

    def __init__(self, settings: SummarySettings, connections: Connections) -> None:
        self.settings = settings

    async def probe(self, model: str) -> ProbeResult:
        await trio.lowlevel.checkpoint()
        return ProbeResult(model=model or "grey", found="a parrot on the shoulder")

    async def context_tokens(self, model: str) -> int:
        await trio.lowlevel.checkpoint()
        return 8192

    async def complete(self, question: Question) -> AsyncGenerator[str, None]:
        for piece in answer([dict(message) for message in question.messages]).split(" "):
            await trio.lowlevel.checkpoint()
            yield f"{piece} "


class Sick(Parrot):
    """One with a fault: what it raises is in no contract."""

    async def complete(self, question: Question) -> AsyncGenerator[str, None]:
        await trio.lowlevel.checkpoint()
        yield '{"title": "Pieces of'
        raise KeyError("eight")


class Dead(Parrot):
    async def probe(self, model: str) -> ProbeResult:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError


def broken(settings: SummarySettings, connections: Connections) -> Provider:
    raise RuntimeError("no cage")
