"""Summaries of talks: streamed, as long as the talk, with or without a language model.

In: a `Talk` and `SummaryOptions`. Out: a `Summary`, and its text while it is written. Who writes it is chosen here:
the provider that was asked for, or with `auto` the first that answers, and at last the extractive summarizer, which
always does. This room never stores anything and never retries by the clock: that is the business of sessions.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from convo.messages import SummarizerStatus, Summary, SummaryOptions

from .base import EXTRACTIVE, Provider, SummarizerUnavailable, SummarySettings, Talk
from .http import ClientFactory, client_factory
from .longform import Notes, summarise
from .parse import Draft
from .prompt import STYLES, Wanted
from .providers import BUILT_IN, make, names
from .text import line
from .writer import Asked, write_draft

if TYPE_CHECKING:
    import httpx

    from .base import ChatMessage

__all__ = ["STYLES", "SummarizerUnavailable", "Summarizers", "SummarySettings", "Talk"]

log = logging.getLogger(__name__)

REMEMBERED_S = 60.0
"""How long a choice holds, in seconds. A failure ends it at once."""


@dataclass(frozen=True)
class _Choice:
    status: SummarizerStatus
    until: float


class Summarizers:
    """All summarizers behind one door. Owns the HTTP client; the constructor does no I/O.

    `client_factory` makes the `httpx.AsyncClient` when a provider first needs it.
    """

    def __init__(self, settings: SummarySettings, *, client_factory: ClientFactory | None = None) -> None:
        self._settings = settings
        self._connections = _Connections(client_factory or _default_factory(settings))
        self._providers: dict[str, Provider] = {}
        self._choices: dict[tuple[str, str], _Choice] = {}
        self._choosing = trio.Lock()
        self._notes = Notes()

    def check(self, options: SummaryOptions) -> None:
        """Whether these options can ever work. Raises ValueError, one sentence that says what there is."""
        provider, style = self._wanted_provider(options), self._wanted_style(options)
        if provider not in names():
            raise ValueError(f"There is no summarizer {provider!r}: choose one of {', '.join(names())}")
        if style not in STYLES:
            raise ValueError(f"There is no summary style {style!r}: choose one of {', '.join(STYLES)}")

    async def choose(self, options: SummaryOptions) -> SummarizerStatus:
        """Who would write a summary now, and why; remembered for `REMEMBERED_S`.

        Raises:
            SummarizerUnavailable: the provider that was asked for by name is away. With `auto` never.
        """
        name = self._wanted_provider(options)
        model = self._wanted_model(options, name)
        # One at a time: sessions that end together ask the same servers the same thing.
        async with self._choosing:
            known = self._choices.get((name, model))
            if known is not None and trio.current_time() < known.until:
                return known.status
            self._choices.pop((name, model), None)
            status = await (self._look_around(model) if name == "auto" else self._look_at(name, model))
            self._choices[name, model] = _Choice(status, trio.current_time() + REMEMBERED_S)
            log.info("summaries: %s %s, because %s", status.provider, status.model, status.reason)
            return status

    async def write(self, talk: Talk, options: SummaryOptions, on_delta: Callable[[str], None]) -> Summary:
        """The summary of a talk. `on_delta` gets what each piece of the answer adds to the field `summary`.

        What `on_delta` got is a preview; the summary that is returned is what holds. A talk without words gets an
        empty summary, and no model is asked. Cancelling closes the request.

        Raises:
            SummarizerUnavailable: see there. The choice of provider is forgotten then.
        """
        language = options.language or self._settings.language or _language_of(talk)
        if not any(segment.text.strip() for segment in talk.segments):
            return _signed(Draft(title="", summary=""), EXTRACTIVE, "", _language_of(talk))
        style = self._wanted_style(options)
        if style not in STYLES:
            raise SummarizerUnavailable(
                f"There is no summary style {style!r}: choose one of {', '.join(STYLES)}", retry=False
            )
        status = await self.choose(options)
        if status.provider == EXTRACTIVE:
            from .extractive import extract  # its patterns take 30 ms to compile, which the start can do without

            draft = await trio.to_thread.run_sync(extract, talk, style, abandon_on_cancel=True)
            on_delta(draft.summary)
            return _signed(draft, EXTRACTIVE, "", _language_of(talk))
        try:
            draft = await self._ask_model(
                talk, Wanted(style=style, language=language, title=talk.title), status, on_delta
            )
        except SummarizerUnavailable:
            self._choices.clear()
            raise
        return _signed(draft, status.provider, status.model, language)

    async def aclose(self) -> None:
        """Close what is open. Writing again after this opens it anew."""
        await self._connections.aclose()

    async def _ask_model(
        self, talk: Talk, wanted: Wanted, status: SummarizerStatus, on_delta: Callable[[str], None]
    ) -> Draft:
        provider = self._provider(status.provider)
        settings = self._settings
        context_tokens = await provider.context_tokens(status.model)
        asked = Asked(
            provider=provider,
            model=status.model,
            context_tokens=context_tokens,
            silence_s=settings.first_token_timeout_s,
            total_s=settings.total_timeout_s,
        )

        async def ask(question: list[ChatMessage], answer_tokens: int, show: bool) -> Draft:
            return await write_draft(asked, question, answer_tokens, on_delta if show else None)

        return await summarise(
            talk, wanted, context_tokens=context_tokens, ask=ask, notes=self._notes, writer=asked.who
        )

    async def _look_around(self, model: str) -> SummarizerStatus:
        missed = []
        for name in BUILT_IN:
            try:
                return await self._look_at(name, model, reason="auto found")
            except SummarizerUnavailable as error:
                missed.append(str(error).split(": ")[0])
        return SummarizerStatus(
            provider=EXTRACTIVE, model="", reason=f"auto found no language model ({'; '.join(missed)})"
        )

    async def _look_at(self, name: str, model: str, reason: str = "chosen by name,") -> SummarizerStatus:
        if name == EXTRACTIVE:
            return SummarizerStatus(provider=name, model="", reason="chosen by name, needs no language model")
        found = await self._provider(name).probe(model)
        return SummarizerStatus(provider=name, model=found.model, reason=f"{reason} {found.found}")

    def _provider(self, name: str) -> Provider:
        if name not in self._providers:
            self._providers[name] = make(name, self._settings, self._connections)
        return self._providers[name]

    def _wanted_provider(self, options: SummaryOptions) -> str:
        return options.provider or self._settings.provider

    def _wanted_model(self, options: SummaryOptions, provider: str) -> str:
        """A model of the settings belongs to their provider, not to another one that is asked for by name."""
        if options.model:
            return options.model
        return self._settings.model if provider == self._settings.provider else ""

    def _wanted_style(self, options: SummaryOptions) -> str:
        return options.style or self._settings.style


class _Connections:
    """One HTTP client for all providers, made when it is first needed."""

    def __init__(self, factory: ClientFactory) -> None:
        self._factory = factory
        self._client: httpx.AsyncClient | None = None

    def client(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = self._factory()
        return self._client

    async def aclose(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()


def _default_factory(settings: SummarySettings) -> ClientFactory:
    return client_factory(settings.connect_timeout_s)


def _language_of(talk: Talk) -> str:
    """The talk's own, else the one that most of its words are in."""
    if talk.language:
        return talk.language
    said: Counter[str] = Counter()
    for segment in talk.segments:
        said[segment.language] += len(segment.text)
    return said.most_common(1)[0][0] if said else ""


def _signed(draft: Draft, provider: str, model: str, language: str) -> Summary:
    return Summary(
        provider=provider,
        model=model,
        title=draft.title,
        summary=draft.summary,
        key_points=draft.key_points,
        action_items=draft.action_items,
        keywords=draft.keywords,
        language=line(language, 32),
    )
