"""The answer to a question as it is written: sentences, and the passages that they rest on.

In: the daemon's progress, its reply. Out: rows to show. All text is cleaned on the way in. Nothing here draws, or asks
the daemon.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from convo.messages import AnswerProgress, AnswerSentence, AskReply, Passage
from convo.text import clean


@dataclass(frozen=True, slots=True)
class Place:
    """A passage, cleaned; `session` and `segment` say where it is."""

    session: str
    title: str
    segment: int
    start: float
    text: str
    speaker: str = ""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of the answer, and the names and numbers in it that its passages do not have."""

    text: str
    unverified: tuple[str, ...] = ()


Row = Sentence | Place
"""A sentence; below it the places that say so."""


@dataclass
class Answer:
    """`note` says how it stands, or why there is no answer."""

    rows: list[Row] = field(default_factory=list)
    note: str = ""
    _passages: list[Passage] = field(default_factory=list)

    def progress(self, message: AnswerProgress) -> None:
        """Take what is new."""
        if message.passages is not None:
            self._passages = message.passages
            self.note = "Writing the answer." if message.passages else self.note
        if message.restart:
            self.rows = []
        if message.sentence is not None:
            self.rows += self._sentence(message.sentence)

    def finish(self, reply: AskReply) -> None:
        """Take the answer as it stands; without one, the passages that have words of the question."""
        self._passages = reply.passages
        self.rows = [row for sentence in reply.answer for row in self._sentence(sentence)]
        if not reply.answer:
            self.rows = [*map(_place, (one for one in reply.passages if one.match))]
        self.note = clean(reply.reason or "")
        if not self.note and not self.rows:
            self.note = "Nothing was said about this."
        elif not self.note:
            self.note = f"Written by {clean(f'{reply.provider} {reply.model}')}"
            if reply.dropped:
                left = "1 sentence" if reply.dropped == 1 else f"{reply.dropped} sentences"
                self.note += f"; {left} without support left out"
            self.note += "."

    def _sentence(self, sentence: AnswerSentence) -> Iterable[Row]:
        yield Sentence(clean(sentence.text), tuple(filter(None, map(clean, sentence.unverified))))
        for source in dict.fromkeys(sentence.sources):
            if 0 <= source < len(self._passages):
                yield _place(self._passages[source])


def _place(passage: Passage) -> Place:
    return Place(
        passage.session, clean(passage.title), passage.segment, passage.start, clean(passage.text),
        clean(passage.speaker or ""),
    )  # fmt: skip
