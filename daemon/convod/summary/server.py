"""What the language-model servers have in common: an address, a name for people, and the sentences about failures.

In: requests to one server. Out: parsed answers, open streams, errors that say what to do. It knows no format and
decides nothing about summaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final

from convod.summary.base import Connections, SummarizerUnavailable, SummarySettings
from convod.summary.http import get_json, opened, place

if TYPE_CHECKING:
    import httpx

PROBE_S: Final = 5.0
"""Longest answer to a short question, beyond the time to connect."""


class Server:
    """One server at `url`; `who` begins the sentences about it."""

    def __init__(self, who: str, url: str, settings: SummarySettings, connections: Connections) -> None:
        self.who = who
        self.url = url.rstrip("/")
        self.settings = settings
        self._connections = connections

    @property
    def place(self) -> str:
        """Return the part of its address that may be shown."""
        return place(self.url)

    async def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        send: Mapping[str, Any] | None = None,
    ) -> tuple[int, Any]:
        """Send a short request; return status and parsed body. Raises SummarizerUnavailable."""
        timeout_s = self.settings.connect_timeout_s + PROBE_S
        client = self._connections.client()
        return await get_json(client, method, url, who=self.who, timeout_s=timeout_s, headers=headers, send=send)

    def opened(
        self, url: str, send: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """Send a request and stream its answer; leaving the block closes it. Raises SummarizerUnavailable."""
        return opened(self._connections.client(), "POST", url, who=self.who, headers=headers, send=send)

    def refused(self, status: int, text: str, model: str) -> SummarizerUnavailable:
        """It answered with an error; `text` is what it says of it, perhaps nothing."""
        why = f" ({text})" if text else ""
        return SummarizerUnavailable(
            f"{self.who} answered {status}{why} for {model}: see its log, or choose another model",
            retry=status >= 500 or status == 429,
        )

    def stopped(self, text: str, model: str) -> SummarizerUnavailable:
        """It sent an error where a piece of the answer should be."""
        return SummarizerUnavailable(f"{self.who} stopped with '{text}' in {model}: see its log, then try again")

    def broke_off(self, model: str) -> SummarizerUnavailable:
        """The answer ended before its end."""
        return SummarizerUnavailable(f"{self.who} broke off in the middle of {model}: see its log, then try again")
