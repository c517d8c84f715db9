"""What can go wrong, once for all dialects: a code, a sentence and an HTTP status.

In: exceptions of the client library. Out: `Refused`, which each dialect tells in its own form. This module sends
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import convo
from convo.messages import Code

UNAVAILABLE = "unavailable"
"""Code of a daemon that cannot be reached."""

TIMEOUT = "timeout"
"""Code of a client that sends too slowly."""

_STATUS: dict[str, int] = {
    Code.UNAUTHORIZED: 401,
    Code.FORBIDDEN: 403,
    Code.UNKNOWN_SESSION: 404,
    Code.UNKNOWN_MODEL: 404,
    Code.BAD_STATE: 409,
    Code.TOO_LARGE: 413,
    Code.BUSY: 503,
    Code.MODEL_UNAVAILABLE: 503,
    Code.SUMMARIZER_UNAVAILABLE: 503,
    Code.AUDIO_ELSEWHERE: 503,
    Code.BAD_MESSAGE: 400,
    Code.BAD_REQUEST: 400,
    Code.BAD_AUDIO: 400,
    Code.UNSUPPORTED_AUDIO: 400,
    Code.LIMIT_EXCEEDED: 400,
    UNAVAILABLE: 503,
    TIMEOUT: 408,
}


class Refused(Exception):
    """A request cannot be done; `code` is one of the protocol's, `message` one sentence for the client.

    Args:
        param: the field that is wrong, where one is.
        status: the HTTP status, where the code's own does not fit.
    """

    def __init__(self, code: str, message: str, *, param: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.code = str(code)
        self.message = message
        self.param = param
        self.status = status or _STATUS.get(code, 500)


@contextmanager
def translated() -> Iterator[None]:
    """Raise what the client library raises as `Refused`."""
    try:
        yield
    except convo.RequestError as error:
        raise Refused(error.code, _sentence(error)) from error
    except convo.CannotConnect as error:
        # Its sentence names the daemon's address, which is the operator's business.
        raise Refused(UNAVAILABLE, "The daemon cannot be reached; try again later.") from error
    except convo.ConnectionLost as error:
        raise Refused(UNAVAILABLE, "The connection to the daemon broke; try again.") from error
    except convo.ConvoError as error:
        raise Refused(Code.INTERNAL, f"The gateway and the daemon do not understand each other: {error}") from error


def _sentence(error: convo.RequestError) -> str:
    """Return the daemon's sentence, unless it speaks of requests that these dialects do not have."""
    if error.code == Code.UNKNOWN_SESSION:
        return "There is no such job; check its id and the token."
    return error.message if error.message.endswith(".") else f"{error.message}."
