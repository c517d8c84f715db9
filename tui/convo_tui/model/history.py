"""Which sessions the list shows: filtered while typing, with search hits below their session.

In: sessions, a query, hits. Out: rows. Nothing here asks the daemon.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from convo.messages import Hit, SessionInfo
from convo.text import clean, moment

MOST = 5000
"""Sessions kept in the list; search finds older ones."""


@dataclass(frozen=True, slots=True)
class Row:
    """A session, or a `hit` in it."""

    info: SessionInfo
    hit: Hit | None = None


@dataclass
class HistoryModel:
    """All sessions, and what filters them. Sessions in `hidden` are about to be deleted."""

    sessions: dict[str, SessionInfo] = field(default_factory=dict)
    query: str = ""
    hits: list[Hit] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)

    def add(self, infos: Iterable[SessionInfo]) -> None:
        """Add or replace sessions that the daemon listed."""
        for info in infos:
            if len(self.sessions) < MOST or info.session in self.sessions:
                self.sessions[info.session] = info

    def rows(self) -> list[Row]:
        """The rows to show: newest session first, each followed by its hits in the order of the talk."""
        by_session: dict[str, list[Hit]] = {}
        for hit in self.hits:
            by_session.setdefault(hit.session, []).append(hit)
        rows: list[Row] = []
        words = self.query.casefold().split()
        for info in sorted(self.sessions.values(), key=lambda info: -info.created):
            if info.session in self.hidden:
                continue
            hits = by_session.get(info.session, [])
            if not words or hits or _matches(info, words):
                rows.append(Row(info))
                rows += [Row(info, hit) for hit in sorted(hits, key=lambda hit: hit.segment)]
        return rows


def _matches(info: SessionInfo, words: list[str]) -> bool:
    about = (info.title, info.session, info.state, info.kind, info.language or "", moment(info.created))
    found = clean(" ".join(about)).casefold()
    return all(word in found for word in words)
