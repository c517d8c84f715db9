"""Errors as an exit code and one sentence.

In: exceptions of the client library, of the system, of this command. Out: a `Problem`, or None for a bug, which
is left to show its traceback. This module prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of `convo`; README.md and `convo --help` list them."""

    OK = 0
    OTHER = 1
    USAGE = 2
    NO_DAEMON = 3
    BAD_AUDIO = 4
    NOT_ALLOWED = 5
    FAILED = 6
    CLOSED_PIPE = 141  # what a shell sees of a program that SIGPIPE ended


class Problem(Exception):
    """Ends the command with a sentence for the user and a code for the script."""

    def __init__(self, code: Exit, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class ClosedPipe(Exception):
    """The reader of our standard output is gone, so nothing more is printed."""


class Interrupted(Exception):
    """SIGINT or SIGTERM (`signum`) came, and was handled."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


_BY_CODE = {
    "unauthorized": Exit.NOT_ALLOWED,
    "forbidden": Exit.NOT_ALLOWED,
    "bad_audio": Exit.BAD_AUDIO,
    "unsupported_audio": Exit.BAD_AUDIO,
}


def refused(code: str, message: str) -> Problem:
    """Make the problem of a request that the daemon refused."""
    exit_code = _BY_CODE.get(code, Exit.OTHER)
    if code == "unauthorized":
        message = f"{message} (The token is taken from CONVO_TOKEN; on this machine the Unix socket needs none.)"
    return Problem(exit_code, message)


def failed(code: str | None, message: str | None) -> Problem:
    """Make the problem of a session that failed, for this reason."""
    exit_code = _BY_CODE.get(code or "", Exit.FAILED)
    return Problem(exit_code, message or "The session failed, and the daemon did not say why: look into its log.")


def explain(error: BaseException) -> Problem | ClosedPipe | Interrupted | None:
    """Return what to report about an error, or a group of them; None if one of them is a bug."""
    told = [_explain_one(leaf) for leaf in _leaves(error)]
    if None in told:
        return None
    # A closed pipe or Ctrl-C is why the rest broke off; else the first problem is the cause of the others.
    for kind in (Interrupted, ClosedPipe, Problem):
        for one in told:
            if isinstance(one, kind):
                return one
    return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _explain_one(error: BaseException) -> Problem | ClosedPipe | Interrupted | None:
    import convo.errors as theirs

    match error:
        case Problem() | ClosedPipe() | Interrupted():
            return error
        case KeyboardInterrupt():
            return Interrupted(2)
        case theirs.RequestError():
            return refused(error.code, error.message)
        case theirs.CannotConnect():
            return Problem(Exit.NO_DAEMON, str(error))
        case theirs.ConnectionLost():
            return Problem(
                Exit.NO_DAEMON,
                f"The connection to the daemon broke: {error} What it received is kept; `convo ls` lists it.",
            )
        case theirs.SessionCutShort():
            return Problem(Exit.NO_DAEMON, str(error))
        case theirs.EventsLost() | theirs.RemoteProtocolError():
            return Problem(Exit.OTHER, str(error))
        case theirs.LocalProtocolError():
            return Problem(Exit.OTHER, str(error))
    return None
