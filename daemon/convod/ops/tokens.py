"""`convod token`: make, list and revoke tokens in the state directory, for a daemon that may be running.

In: the command line. Out: on stdout the token or the list, on stderr what to know about it; an exit status.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from convod.listen.tokens import BadToken, TokenFile

_UNITS: Final = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def run(given: argparse.Namespace, state: Path) -> int:
    """Run the command, and return the exit status."""
    book = TokenFile(state)
    try:
        if given.action == "add":
            expires = None if given.expires is None else parse_expiry(given.expires, time.time())
            print(book.add(given.name, scope=given.scope, owner=given.owner, expires=expires))
            print(
                "Keep it: it is stored only as a hash. Clients take it from the environment variable CONVO_TOKEN.",
                file=sys.stderr,
            )
        elif given.action == "revoke":
            book.revoke(given.name)
            if not book.tokens():
                print(
                    "That was the last one: no client can connect by WebSocket until another is made.", file=sys.stderr
                )
        else:
            _list(book)
    except BadToken as error:
        print(f"convod: {error}", file=sys.stderr)
        return 1
    return 0


def _list(book: TokenFile) -> None:
    now = time.time()
    rows = [("NAME", "SCOPE", "OWNER", "CREATED", "EXPIRES")]
    rows += [
        (
            token.name, token.scope, token.owner, _date(token.created),
            "never" if token.expires is None else _date(token.expires) + ("" if token.valid(now) else " (over)"),
        )
        for token in book.tokens()
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _date(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%MZ")


def parse_expiry(text: str, now: float) -> float:
    """`30d`, `12h`, `2w`, `90m`, or a date (its first moment, UTC unless it says otherwise), as Unix seconds.

    Raises:
        BadToken: it is neither, or it is over.
    """
    if span := re.fullmatch(r"(\d{1,6})([mhdw])", text):
        when = now + int(span[1]) * _UNITS[span[2]]
    else:
        try:
            date = datetime.fromisoformat(text)
        except ValueError as error:
            raise BadToken(f"--expires {text!r}: write 30d, 12h, or a date such as 2027-01-31") from error
        when = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    if when <= now:
        raise BadToken(f"--expires {text!r}: that is over already")
    return when
