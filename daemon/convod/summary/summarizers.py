"""All summarizers behind one class: summaries of finished talks, rolling ones, and which providers answer.

In: a transcript and options. Out: a `Summary`, and its text while it is written.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import trio

from convo.messages import Origin, Segment, SummarizerStatus, Summary, SummaryOptions
from convod.owner_limiter import OwnerLimiter
from convod.summary.base import EXTRACTIVE, Show, SummarizerUnavailable, SummarySettings, Transcript
from convod.summary.chooser import Chooser
from convod.summary.http import ClientFactory, client_factory
from convod.summary.longform import Notes, Work, summarise, update
from convod.summary.parse import Draft
from convod.summary.promises import with_owners
from convod.summary.prompt import Wanted
from convod.summary.providers import is_known, names
from convod.summary.styles import BadTemplate, Style, Styles
from convod.summary.text import line
from convod.summary.tokens import Gauge
from convod.summary.writer import Asked, write_draft

if TYPE_CHECKING:
    import httpx

    from convod.summary.base import ChatMessage
    from convod.summary.extractive import Digest
    from convod.summary.questions import Answered, Checker, Found, ShowSentence
    from convod.summary.rolling import Load, Rolling

    Answer = Callable[[str, Found, Asked, Checker, ShowSentence], Awaitable[Answered]]

T = TypeVar("T")

_GAUGES: Final = 64
"""Most models whose token costs are cached; their names come from clients."""

AT_ONCE: Final = 2
"""Talks that threads work through at once, each of another owner: a busy thread slows everything down."""


class Summarizers:
    """Owns the HTTP client; the constructor does no I/O.

    `client_factory` makes the `httpx.AsyncClient` when a provider first needs it.
    """

    def __init__(
        self,
        settings: SummarySettings,
        *,
        client_factory: ClientFactory | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._connections = _Connections(client_factory or _default_factory(settings))
        self.chooser = Chooser(settings, self._connections)
        self._styles = Styles(settings.styles_dir)
        self._notes = Notes()
        self._gauges: dict[tuple[str, str], Gauge] = {}
        self._clock = clock
        self._threads = OwnerLimiter(AT_ONCE)

    def check(self, options: SummaryOptions) -> None:
        """Whether these options can ever work. Raises ValueError, one sentence that says what there is."""
        provider = self._wanted_provider(options)
        if not is_known(provider):
            raise ValueError(f"There is no summarizer {provider!r}: choose one of {', '.join(names())}")
        self._style(options)

    async def choose(self, options: SummaryOptions, *, insist: bool = False) -> SummarizerStatus:
        """Choose who would write a summary now, and say why; remembered for a while unless `insist`.

        Raises:
            SummarizerUnavailable: the provider that was asked for by name is away. With `auto` never.
        """
        name = self._wanted_provider(options)
        return await self.chooser.choose(name, self._wanted_model(options, name), insist=insist)

    async def status(self) -> SummarizerStatus:
        """Return who would write a summary by the settings, or why none would."""
        try:
            return await self.choose(SummaryOptions())
        except SummarizerUnavailable as error:
            provider = self._settings.provider
            return SummarizerStatus(provider=provider, model=self._settings.model, reason=str(error), available=False)

    async def wait_back(self) -> None:
        """Wait until a provider that did not answer does so again."""
        await self.chooser.wait_back()

    async def write(self, transcript: Transcript, options: SummaryOptions, show: Show) -> Summary:
        """Write the summary of a transcript.

        What `show` gets is a preview; the summary that is returned is what holds. A talk without words gets an
        empty summary, and no model is asked. Cancelling closes the request.

        Raises:
            SummarizerUnavailable: see there. The choice of provider is forgotten then.
        """
        style = self._style_now(options)
        segments = transcript.segments
        through = segments[-1].segment if segments else None
        if not any(segment.text.strip() for segment in segments):
            return self._signed(Draft(title="", summary=""), None, style, _language_of(transcript), through)
        status = await self.choose(options)
        if status.provider == EXTRACTIVE:
            language = _language_of(transcript)
            digest = await self._in_thread(transcript.owner, partial(_extract, transcript, style, language))
            show(digest.draft.summary, True)
            return self._signed(digest.draft, status, style, language, through)
        language = self._language(options, transcript)
        wanted = _wanted(style, language, transcript)
        with self.chooser.at_work(status):
            draft = await summarise(transcript, wanted, await self._work(status, wanted, show))
        draft, missing = await self._in_thread(transcript.owner, partial(_checked, transcript, draft, language))
        return self._signed(draft, status, style, language, through, missing)

    async def answer(
        self, question: str, found: Found, owner: str, show: ShowSentence
    ) -> tuple[Answered, SummarizerStatus]:
        """Let the language model of the settings answer a question from passages. Cancelling closes the request.

        Raises:
            SummarizerUnavailable: there is no language model, or it fails; the text says why.
        """
        status = await self.choose(SummaryOptions())
        if status.provider == EXTRACTIVE:
            raise SummarizerUnavailable(f"No language model answers questions ({status.reason}).", retry=False)
        # As its patterns, of facts above all, take a while to compile.
        answer, checker = await self._in_thread(owner, partial(_prepare_answer, question, found))
        with self.chooser.at_work(status):
            return await answer(question, found, await self._asked(status), checker, show), status

    def rolling(self, title: str, last: Summary | None) -> Rolling:
        """Begin the rolling summary of a talk, from its title and its last summary before a restart."""
        from convod.summary.rolling import Rolling  # as above

        return Rolling(title, last)

    async def roll(
        self, rolling: Rolling, transcript: Transcript, load: Load, options: SummaryOptions, show: Show
    ) -> Summary:
        """Write the next rolling summary; `transcript` has all of the talk but its segments, `load` those.

        Raises:
            SummarizerUnavailable: as `write`.
        """
        style = self._style_now(options)
        status = await self.choose(options)
        if status.provider == EXTRACTIVE:
            draft = await rolling.extracted(load, style, transcript.language, transcript.speakers)
            show(draft.summary, True)
            return self._signed(draft, status, style, transcript.language, rolling.through)
        language = self._language(options, transcript)
        wanted = _wanted(style, language, transcript)

        async def refine(before: Draft | None, segments: Sequence[Segment]) -> Draft:
            new = msgspec.structs.replace(transcript, segments=segments)
            with self.chooser.at_work(status):
                work = await self._work(status, wanted, show)
                draft = await (summarise(new, wanted, work) if before is None else update(before, new, wanted, work))
            return await self._in_thread(transcript.owner, partial(with_owners, draft, segments, transcript.speakers))

        draft = await rolling.refined(load, refine, transcript.speakers)
        missing = rolling.facts.missing(draft, language)
        return self._signed(draft, status, style, language, rolling.through, missing)

    async def _in_thread(self, owner: str, work: Callable[[], T]) -> T:
        async with self._threads.turn(owner):
            return await trio.to_thread.run_sync(work, abandon_on_cancel=True)

    async def aclose(self) -> None:
        """Close all connections; writing again reopens them."""
        await self._connections.aclose()

    async def _asked(self, status: SummarizerStatus) -> Asked:
        provider = self.chooser.provider(status.provider)
        return Asked(
            provider=provider,
            model=status.model,
            context_tokens=await provider.context_tokens(status.model),
            silence_s=self._settings.first_token_timeout_s,
            total_s=self._settings.total_timeout_s,
            learn=self._gauge(status).learn,
        )

    async def _work(self, status: SummarizerStatus, wanted: Wanted, show: Show) -> Work:
        asked = await self._asked(status)

        async def ask(question: list[ChatMessage], answer_tokens: int, shown: bool) -> Draft:
            return await write_draft(asked, question, wanted, answer_tokens, show if shown else None)

        gauge = self._gauge(status)
        return Work(ask=ask, notes=self._notes, writer=asked.who, context_tokens=asked.context_tokens, gauge=gauge)

    def _gauge(self, status: SummarizerStatus) -> Gauge:
        """What is known of a model's vocabulary."""
        gauge = self._gauges.setdefault((status.provider, status.model), Gauge())
        while len(self._gauges) > _GAUGES:
            del self._gauges[next(iter(self._gauges))]
        return gauge

    def _wanted_provider(self, options: SummaryOptions) -> str:
        return options.provider or self._settings.provider

    def _wanted_model(self, options: SummaryOptions, provider: str) -> str:
        """A model of the settings belongs to their provider, not to another one that is asked for by name."""
        if options.model:
            return options.model
        return self._settings.model if provider == self._settings.provider else ""

    def _style(self, options: SummaryOptions) -> Style:
        """Raises ValueError, a sentence: there is no such style, or its template is wrong."""
        name = options.style or self._settings.style
        try:
            return self._styles.get(name)
        except KeyError:
            known = ", ".join(self._styles.names())
            raise ValueError(f"There is no summary style {name!r}: choose one of {known}") from None
        except BadTemplate as error:
            raise ValueError(str(error)) from error

    def _style_now(self, options: SummaryOptions) -> Style:
        try:
            return self._style(options)
        except ValueError as error:
            raise SummarizerUnavailable(str(error), retry=False) from error

    def _language(self, options: SummaryOptions, transcript: Transcript) -> str:
        return options.language or self._settings.language or _language_of(transcript)

    def _signed(
        self,
        draft: Draft,
        status: SummarizerStatus | None,
        style: Style,
        language: str,
        through: int | None,
        missing: Sequence[str] = (),
    ) -> Summary:
        """Make a summary of a draft. `status`: who wrote it, None if there was nothing to write."""
        return Summary(
            provider=status.provider if status else EXTRACTIVE,
            model=status.model if status else "",
            title=draft.title,
            summary=draft.summary,
            key_points=draft.key_points,
            action_items=draft.action_items,
            keywords=draft.keywords,
            language=line(language, 32),
            key_point_sources=draft.key_point_sources,
            sections=draft.sections or None,
            unverified=list(missing),
            origin=Origin(
                created=round(self._clock(), 3),
                style=style.name,
                through=through,
            ),
        )


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


def _wanted(style: Style, language: str, transcript: Transcript) -> Wanted:
    return Wanted(style=style, language=language, title=transcript.title, labelled=bool(transcript.speakers))


def _extract(transcript: Transcript, style: Style, language: str) -> Digest:
    from convod.summary.extractive import (
        extract,  # its patterns take 30 ms to compile, which start and loop can do without
    )

    return extract(transcript.segments, style, language, names=transcript.speakers)


def _prepare_answer(question: str, found: Found) -> tuple[Answer, Checker]:
    from convod.summary.questions import Checker, answer

    return answer, Checker(question, found.passages)


def _checked(transcript: Transcript, draft: Draft, language: str) -> tuple[Draft, list[str]]:
    """A model's draft with its owners, and the names and numbers in it that are not in the transcript."""
    from convod.summary.facts import Facts

    draft = with_owners(draft, transcript.segments, transcript.speakers)
    facts = Facts()
    facts.add([transcript.title, *transcript.speakers.values(), *(segment.text for segment in transcript.segments)])
    return draft, facts.missing(draft, language)


def _language_of(transcript: Transcript) -> str:
    """The talk's own, else the one that most of its words are in."""
    if transcript.language:
        return transcript.language
    said: Counter[str] = Counter()
    for segment in transcript.segments:
        said[segment.language] += len(segment.text)
    return said.most_common(1)[0][0] if said else ""
