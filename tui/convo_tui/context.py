"""What every screen is given: settings, glyphs, the link to the daemon, and the work in the background.

In: flags, settings, the app as a plain Textual node. Out: one object for the constructors of all screens. Screens read
it; what they want done they post as messages.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from textual.dom import DOMNode

from .arguments import Options
from .glyphs import ASCII, UNICODE
from .settings import Settings
from .work.deletes import UndoableDelete
from .work.link import DaemonLink
from .work.live import LiveController
from .work.setup import Setup

if TYPE_CHECKING:
    from .work.queue import DaemonQueue
    from .work.uploads import Uploads


class Context:
    """Created once, by the app. `owner` receives the messages of everything in it."""

    def __init__(self, owner: DOMNode, options: Options, settings: Settings) -> None:
        self.settings = settings
        self.glyphs = ASCII if options.ascii or settings.ascii else UNICODE
        self.daemon = DaemonLink(owner, options.connect or settings.connect or None, options.token)
        self.setup = Setup(owner, self.daemon)
        self.live = LiveController(owner, self.daemon, lambda: self.settings, options.device or settings.device or None)
        self.deletes = UndoableDelete(owner, self.daemon)
        self._post = owner.post_message

    @cached_property
    def uploads(self) -> Uploads:
        """The files sent from here; created, and its module imported, on first use."""
        from .work.uploads import Uploads

        return Uploads(self.daemon.link, self._post, lambda: self.settings)

    @cached_property
    def queue(self) -> DaemonQueue:
        """The daemon's own queue of files; created on first use."""
        from .work.queue import DaemonQueue

        return DaemonQueue(self.daemon.link, self._post)

    async def close(self, within_s: float) -> None:
        """End everything. Deletes, last words and uploads get `within_s` each."""
        await self.deletes.close(within_s)
        await self.live.goodbye(within_s)
        if "uploads" in self.__dict__:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self.uploads.close()
        await self.live.close()
        await self.daemon.close()
