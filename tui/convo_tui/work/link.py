"""What is said to people about the connection, whose states are the client library's.

In: a state of a `convo.Link`. Out: a sentence.
"""

from __future__ import annotations

from convo.errors import CannotConnect, RequestError
from convo.messages import Code
from convo.resume import LinkState

PING_S = 5.0
"""A connection that says nothing for so long is asked whether it is there."""


def reason(state: LinkState) -> str:
    """Why there is no connection; empty where there is one."""
    match state.error:
        case None:
            return ""
        case CannotConnect() as error:
            return f"No daemon at {error.url}: {error.reason}."
        case RequestError() as error:
            return error.message if error.code == Code.BUSY else f"{error.message} (it is taken from CONVO_TOKEN)"
        case ValueError() as error:
            return str(error)
    return "The connection to the daemon broke: trying again."
