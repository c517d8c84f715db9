"""The link to the daemon as people see it: up, lost, back again, refused; and a daemon of our own for a first start.

In: states of the link. Out: what is said about them, screens that are told, a private daemon that is started and ended.
"""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING

from textual.screen import ModalScreen
from textual.worker import Worker

import convo
from convo.resume import LinkPhase, LinkState
from convo.text import clean

from ..work.link import PING_S, reason
from ..work.messages import LinkChanged
from ..work.private import PrivateDaemon
from ..work.start import ended, start

if TYPE_CHECKING:
    from ..app import ConvoApp

_HURRY_S = 0.1  # between two tries while a daemon of our own starts


class Connecting:
    """`state` is what screens know of the link. Arguments as those of `convo.Link`."""

    def __init__(self, app: ConvoApp, url: str | None, token: str | None) -> None:
        self.state = LinkState(LinkPhase.CONNECTING)
        self.private = PrivateDaemon()
        self._app = app
        self._url = url
        self._token = token
        self._worker: Worker[None] | None = None
        self._asked = False

    @cached_property
    def link(self) -> convo.Link:
        """The connection to the daemon; made, and its module imported, after the first screen is painted."""
        return convo.Link(
            self._url,
            token=self._token,
            client=f"convo-tui/{convo.__version__}",
            patience_s=None,
            ping_s=PING_S,
            changed=lambda state: self._app.post_message(LinkChanged(state)),
        )

    def begin(self) -> None:
        """Connect, and stay connected."""
        self._worker = start(self._app, self.link.run, group="link")

    def changed(self, message: LinkChanged) -> None:
        """Say it, and tell the screens."""
        before, state = self.state, message.state
        self.state = state
        app = self._app
        if state.phase is LinkPhase.LOST and before.phase is LinkPhase.UP:
            app.say("The connection broke. What was said is kept here and sent as soon as it is back.", "warning")
        elif state.up and before.phase is LinkPhase.LOST:
            app.say("Connected again; nothing is missing.")
        elif state.phase is LinkPhase.REFUSED:
            app.say(reason(state), "error")
        elif state.phase is LinkPhase.ABSENT and not self._asked:
            self._asked = True
            from ..screens.welcome import WelcomeScreen

            app.push_screen(WelcomeScreen())
        for screen in app.screens:
            screen.link_changed(state)
        if state.up and isinstance(app.screen, ModalScreen):
            app.screen.post_message(LinkChanged(state))

    async def start_private(self, *, keep: bool) -> str:
        """Start a daemon of our own; what went wrong, or nothing once it answers."""
        self.private.keep = keep
        try:
            await self.private.start(self.link.address)
        except OSError as error:
            return f"convod could not be started: {error.strerror or error}."
        ended = asyncio.create_task(self.private.wait_ended())
        answers = asyncio.create_task(self.link.client())
        hurrying = asyncio.create_task(self._hurry())
        try:
            done, _ = await asyncio.wait({ended, answers}, return_when=asyncio.FIRST_COMPLETED)
            return "" if answers in done else clean(ended.result())
        finally:
            for task in (ended, answers, hurrying):
                task.cancel()
            await asyncio.gather(ended, answers, hurrying, return_exceptions=True)

    async def _hurry(self) -> None:
        while True:
            await asyncio.sleep(_HURRY_S)
            self.link.hurry()

    async def close(self) -> None:
        """Disconnect, and end the daemon that is ours alone."""
        await ended(self._worker)
        await self.private.close()
