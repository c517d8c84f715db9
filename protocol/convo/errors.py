"""Everything that `convo` raises on purpose. Each docstring is the contract of its error in one line.

Nothing comes in and nothing goes out: these are names. The text of each is a sentence for the person who reads
it; parts of it may come from the network and are data.
"""

from __future__ import annotations

from .messages import Code, Error


class ConvoError(Exception):
    """Root of what this package raises on purpose."""


class LocalProtocolError(ConvoError):
    """This side used the connection in a way that the contract forbids; nothing was sent."""


class RemoteProtocolError(ConvoError):
    """The other side broke the contract; the connection is closed but for sending `reply`."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def reply(self) -> Error:
        """What a server sends before it closes; a client just closes."""
        return Error(code=self.code, message=str(self))


class FrameTooLarge(ConvoError):
    """The other side sent, or announced, a message above the limit; `size` and `limit` are bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"A message of {size} bytes is above the limit of {limit}; send smaller ones.")
        self.size = size
        self.limit = limit


class RequestError(ConvoError):
    """The daemon refused a request or a session's audio; `code` is one of the contract's error codes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class CannotConnect(ConvoError):
    """No daemon answered at `url`; `reason` says what happened instead."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"Cannot connect to {url}: {reason}. Start the daemon with `convod`, or say where it listens in CONVO_URL."
        )
        self.url = url
        self.reason = reason


class ConnectionLost(ConvoError):
    """The connection ended while something still waited on it; sessions go on, so attach again."""


class EventsLost(ConvoError):
    """Stored events of `session` were not delivered; attach again after `after_seq` to get them."""

    def __init__(self, session: str, after_seq: int) -> None:
        super().__init__(
            f"Events of session {session} after number {after_seq} were not kept for this reader; "
            f"attach again with after_seq={after_seq} to get them."
        )
        self.session = session
        self.after_seq = after_seq


class SessionCutShort(ConvoError):
    """The daemon ended a session before it had all of its audio; what it received is kept."""


class BadAudio(ConvoError):
    """A recording or a microphone gives no audio that convo can take; the text says what to do."""


class NoMicrophone(ConvoError):
    """What a microphone needs is not installed; the text says what."""
