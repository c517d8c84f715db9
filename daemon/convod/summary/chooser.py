"""Choose the provider that writes summaries: probe providers, cache the results, and skip those that keep failing.

In: the provider and model that are wanted, and how each piece of work ended. Out: the provider to ask, its status with
a reason, and a notice when one is back. It only probes providers and never asks them for a summary.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import trio

from convo.messages import SummarizerStatus
from convod.summary.base import EXTRACTIVE, Connections, Provider, SummarizerUnavailable, SummarySettings
from convod.summary.breaker import Breaker
from convod.summary.providers import BUILT_IN, make

log = logging.getLogger("convod.summary")

REMEMBERED_S: Final = 60.0
"""Seconds for which a language model that answered is assumed to be available. A failure ends that at once."""
LOOK_AGAIN_S: Final = 15.0
"""Seconds for which `auto` stays with the extractive summarizer before it looks for a language model again."""
MISSED_S: Final = 1.0
"""Seconds for which one that did not answer is assumed to be away: simultaneous callers get the same answer."""


class _Choice(msgspec.Struct, frozen=True):
    found: SummarizerStatus | SummarizerUnavailable
    until: float
    number: int
    """Which look it was: who asked before it began need not look again."""


class Chooser:
    """Chooses among the providers; makes each when it is first needed."""

    def __init__(self, settings: SummarySettings, connections: Connections) -> None:
        self._settings = settings
        self._connections = connections
        self._providers: dict[str, Provider] = {}
        self.choices: dict[tuple[str, str], _Choice] = {}
        self._choosing = trio.Lock()
        self.looks = 0
        self.breakers: dict[tuple[str, str], Breaker] = {}
        self._away: set[str] = set()
        self._back = trio.Event()

    def provider(self, name: str) -> Provider:
        """Return the provider of that name. Raises SummarizerUnavailable."""
        if name not in self._providers:
            self._providers[name] = make(name, self._settings, self._connections)
        return self._providers[name]

    async def choose(self, name: str, model: str, *, insist: bool = False) -> SummarizerStatus:
        """Choose who would write now. With `insist`, because a person asked for it, everything is probed again.

        Raises:
            SummarizerUnavailable: the provider that was asked for by name is away. With `auto` never.
        """
        known = self.choices.get((name, model))
        if known is None or insist or trio.current_time() >= known.until:
            known = await self._look_anew(name, model, insist)
        if isinstance(known.found, SummarizerUnavailable):
            # A new one each time: the traceback of an exception that is raised twice grows.
            raise SummarizerUnavailable(str(known.found), retry=known.found.retry, wait_s=known.found.wait_s)
        return known.found

    async def _look_anew(self, name: str, model: str, insist: bool) -> _Choice:
        looks = self.looks
        # One at a time: sessions that end together ask the same servers the same thing, and what was found meanwhile
        # is news to all who wait.
        async with self._choosing:
            now = trio.current_time()
            known = self.choices.get((name, model))
            if known is None or (known.number <= looks and (insist or now >= known.until)):
                # Names of models come from clients: what has run out must not pile up.
                self.choices = {wanted: choice for wanted, choice in self.choices.items() if now < choice.until}
                known = await self._look(name, model, insist)
                self.choices[name, model] = known
            return known

    async def wait_back(self) -> None:
        """Wait until a provider that was away answers anyone again."""
        await self._back.wait()

    @contextmanager
    def at_work(self, status: SummarizerStatus) -> Iterator[None]:
        """While the chosen provider writes: how it ends decides whether it is left alone.

        Raises:
            SummarizerUnavailable: as it was raised, and in place of any other error: a provider may be anybody's code.
        """
        breaker = self._breaker(status.provider, status.model)
        breaker.begin()
        try:
            yield
        except SummarizerUnavailable as error:
            breaker.failed(trio.current_time(), str(error), permanent=not error.retry)
            self.choices.clear()
            raise
        except Exception as error:
            log.exception("the summarizer %s failed", status.provider)
            told = _fault(status.provider, error)
            breaker.failed(trio.current_time(), str(told))
            self.choices.clear()
            raise told from error
        except BaseException:
            breaker.given_up()
            raise
        breaker.succeeded()

    def _breaker(self, name: str, model: str) -> Breaker:
        return self.breakers.setdefault((name, model), Breaker())

    async def _look(self, name: str, model: str, insist: bool) -> _Choice:
        self.looks += 1
        number = self.looks
        found: SummarizerStatus | SummarizerUnavailable
        try:
            found = await (self._look_around(model, insist) if name == "auto" else self._look_at(name, model, insist))
            log.info("summaries: %s %s, because %s", found.provider, found.model, found.reason)
            fallen_back = name == "auto" and found.provider == EXTRACTIVE
            lasts = LOOK_AGAIN_S if fallen_back else REMEMBERED_S
        except SummarizerUnavailable as error:
            # What settings are to blame for is looked at anew: they may have been mended.
            found, lasts = error, MISSED_S if error.retry else 0.0
        return _Choice(found, trio.current_time() + lasts, number)

    async def _look_around(self, model: str, insist: bool) -> SummarizerStatus:
        missed = []
        for name in BUILT_IN:
            try:
                return await self._look_at(name, model, insist, reason="auto found")
            except SummarizerUnavailable as error:
                missed.append(str(error).split(": ")[0])
        return SummarizerStatus(
            provider=EXTRACTIVE, model="", reason=f"auto found no language model ({'; '.join(missed)})"
        )

    async def _look_at(self, name: str, model: str, insist: bool, reason: str = "chosen by name,") -> SummarizerStatus:
        if name == EXTRACTIVE:
            return SummarizerStatus(provider=name, model="", reason="chosen by name, needs no language model")
        try:
            found = await self.provider(name).probe(model)
        except Exception as error:
            self._away.add(name)
            if isinstance(error, SummarizerUnavailable):
                raise
            log.exception("the summarizer %s failed when it was probed", name)
            raise _fault(name, error) from error
        breaker = self._breaker(name, found.model)
        wait_s = breaker.wait(trio.current_time())
        if wait_s and not insist:
            raise SummarizerUnavailable(
                f"{found.model} at {name} keeps failing and is left alone for {wait_s:.0f} s: {breaker.reason}",
                wait_s=wait_s,
            )
        if name in self._away:
            self._away.discard(name)
            self._back.set()
            self._back = trio.Event()
        return SummarizerStatus(provider=name, model=found.model, reason=f"{reason} {found.found}")


def _fault(name: str, error: Exception) -> SummarizerUnavailable:
    return SummarizerUnavailable(f"The summarizer {name!r} failed ({type(error).__name__}): see convod's log")
