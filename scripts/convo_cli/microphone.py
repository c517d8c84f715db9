"""The microphone as a source of a live session's samples, under trio.

In: pieces of `convo.microphone`. Out: the same, awaited. What is dropped is counted.
"""

from __future__ import annotations

import trio

from convo import microphone
from convo.errors import BadAudio, NoMicrophone

from .errors import Exit, Problem
from .sources import Source


class Microphone(Source):
    """Records from its creation until `close`. `device`: part of a name, or a number; None for the default."""

    def __init__(self, device: str | None) -> None:
        self.name = "The microphone"
        self._token = trio.lowlevel.current_trio_token()
        self._news = trio.Event()
        try:
            self._microphone = microphone.Microphone(device, self._wake)
        except NoMicrophone as error:
            raise Problem(Exit.OTHER, str(error)) from None
        except BadAudio as error:
            raise Problem(Exit.BAD_AUDIO, str(error)) from None
        self.format = self._microphone.format

    async def read(self) -> bytes:
        """Wait for audio, and return all that was recorded."""
        while not self._microphone.waiting and not self._microphone.ended:
            await self._news.wait()
            self._news = trio.Event()
        if not self._microphone.waiting:
            raise Problem(Exit.BAD_AUDIO, "The microphone was disconnected: plug it in and start again.")
        return self._microphone.take()

    def rest(self) -> bytes:
        """Return what was recorded until now."""
        return self._microphone.rest()

    def lost_s(self) -> float:
        """Seconds that were dropped."""
        return self._microphone.lost_s()

    def close(self) -> None:
        """Stop listening."""
        self._microphone.close()

    def _wake(self) -> None:
        try:
            self._token.run_sync_soon(self._ring, idempotent=True)
        except trio.RunFinishedError:
            return  # the command has ended already

    def _ring(self) -> None:
        self._news.set()
