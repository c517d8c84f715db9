"""`convo ask`: a question about what was said, answered with the places that say so.

In: a question, and what the daemon tells of it. Out: a line for each sentence, as it is written, with the talk and time
of what it rests on; without a language model, the passages. Titles, words and answers are data.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from convo.messages import AnswerProgress, AnswerSentence, AskReply, Passage

from .arguments import Options
from .link import connected, find
from .output import json_line, note, on_screen, put
from .text import clean, clock, table


async def ask(options: Options) -> None:
    """`convo ask QUESTION [ID…]`."""
    live = on_screen(sys.stdout) and not options.json  # a reader behind a pipe gets what holds, at the end
    shown = _Shown(live=live)
    async with connected(options) as client:
        sessions = [(await find(client, name)).session for name in options.sessions]
        reply = await client.ask(options.query, sessions, limit=options.limit, progress=shown.progress)
    if options.json:
        put(_reply_line(reply))
        return
    if shown.said != reply.answer:
        shown.void()
        put("".join(map(shown.line, reply.answer)))
    if reply.reason is not None:
        note(reply.reason)
    if reply.dropped and reply.answer:
        note(f"{reply.dropped} more sentences are left out: the passages that they cite do not say such a thing.")
    if not reply.answer and reply.passages:
        put(_table(reply.passages))


class _Shown:
    """What stands on the screen already."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._passages: Sequence[Passage] = ()
        self.said: list[AnswerSentence] = []

    def progress(self, message: AnswerProgress) -> None:
        """Show what is new."""
        if message.passages is not None:
            self._passages = message.passages
        if message.restart:
            self.void()
        if message.sentence is not None and self._live:
            self.said.append(message.sentence)
            put(self.line(message.sentence))

    def void(self) -> None:
        """Say that what was shown does not hold."""
        if self.said:
            note("The model's answer broke off; what is above is void.")
        self.said = []

    def line(self, sentence: AnswerSentence) -> str:
        """A sentence and where it comes from."""
        talks = len({passage.session for passage in self._passages}) > 1
        cited = [self._passages[source] for source in sentence.sources if source < len(self._passages)]
        places = dict.fromkeys(f"{_name(one)} {clock(one.start)}" if talks else clock(one.start) for one in cited)
        unsaid = ", ".join(map(clean, sentence.unverified))
        doubt = f" (not in the passages: {unsaid})" if unsaid else ""
        return f"{clean(sentence.text)} [{'; '.join(places)}]{doubt}\n"


def _name(passage: Passage) -> str:
    return clean(passage.title) or passage.session[:8]


def _table(passages: Sequence[Passage]) -> str:
    rows = [
        (one.session, clock(one.start), _name(one), f"{one.speaker}: {one.text}" if one.speaker else one.text)
        for one in passages
        if one.match
    ]
    return table(("ID", "AT", "TALK", "TEXT"), rows, screen=on_screen(sys.stdout))


def _reply_line(reply: AskReply) -> str:
    import msgspec

    plain = msgspec.to_builtins(reply)
    for name in ("type", "id"):
        plain.pop(name, None)
    return json_line(plain)
