"""Starts, pauses and ends the live session. There is one at a time.

In: what the user wants. Out: a running `LiveSession`, `SessionChanged`, and the numbers that screens show: level,
backlog, pace.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from textual.dom import DOMNode
from textual.worker import Worker

import convo
from convo.errors import BadAudio, NoMicrophone
from convo.messages import SummaryOptions
from convo.text import clean

from ..messages import Notice, SessionChanged, SessionEnded, SessionEvents, SettingChanged
from ..model.pace import Health
from ..model.session import Change, SessionModel
from ..settings import Settings
from .link import DaemonLink
from .session import LiveSession
from .sources import MicrophoneSource, PlayedFile, Source
from .start import ended, start


class LiveController:
    """`model` is the current live session or the last one; `session` runs it, None if none runs.

    Screens read it; what they want done they post as messages.
    """

    def __init__(
        self, owner: DOMNode, daemon: DaemonLink, settings: Callable[[], Settings], device: str | None
    ) -> None:
        self.model = SessionModel()
        self.session: LiveSession | None = None
        self.device = device
        self.level: float | None = None
        self.backlog_s = 0.0
        self.problem = ""
        self._owner = owner
        self._daemon = daemon
        self._settings = settings
        self._worker: Worker[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it still records."""
        return self.session is not None and not self.session.stopped

    @property
    def health(self) -> Health:
        """Whether the daemon keeps up."""
        return Health(self._daemon.state.up, self.model.lag_ms, self.backlog_s)

    def is_live(self, session: str) -> bool:
        """Whether a session is the live one, until it has ended."""
        return self.session is not None and self.model.session == session

    # --- what the user wants ------------------------------------------------------------------------------

    def listen(self) -> None:
        """Start a session with the microphone."""
        try:
            source = MicrophoneSource(self.device)
        except (BadAudio, NoMicrophone) as error:
            self._fail(str(error))
        else:
            self._begin(source, title=None)

    def play(self, path: Path) -> None:
        """Start a session with a recording, played in real time."""
        if path.is_file():
            self._begin(PlayedFile(path), title=path.stem)
        else:
            self._fail(f"{path} is not a file.")

    def _begin(self, source: Source, title: str | None) -> None:
        from .vocabulary import known_rules  # here: the first screen needs none

        if self.session is not None:
            source.close()
            self._owner.post_message(Notice("A session is already live: stop it first.", "warning"))
            return
        self.model = SessionModel(title=title or "", created=time.time())
        self.level, self.backlog_s, self.problem = None, 0.0, ""
        settings = self._settings()
        options = convo.SessionOptions(
            title=title,
            languages=settings.spoken or None,
            model=settings.model or None,
            words=settings.doubts,
            speakers=settings.speakers,
            keep_audio=settings.keep_audio or None,  # else as the daemon does
            vocabulary=known_rules(self._owner.post_message),
            summary=SummaryOptions(mode=settings.summary_mode),
        )
        self.session = LiveSession(self._daemon.link, self.model, self._owner.post_message, source, options)
        self._worker = start(self._owner, self.session.run, group="live")
        self.tell(Change.STATE | Change.LINES | Change.TITLE)

    def stop(self) -> None:
        """End the audio; if the daemon has not created the session yet, it never will."""
        if self.session is None:
            return
        self.session.stop()
        if not self.model.session and self._worker is not None:
            self._worker.cancel()
        self.tell(Change.STATE)

    def pause(self) -> None:
        """Pause or resume."""
        if self.session is None or self.session.stopped:
            return
        try:
            if self.session.paused:
                self.session.resume()
            else:
                self.session.pause()
        except (BadAudio, NoMicrophone) as error:
            self._fail(str(error))
        self.tell(Change.STATE)

    def mute(self) -> None:
        """Mute or unmute."""
        if self.session is not None:
            self.session.mute(not self.session.muted)
            self.tell(Change.STATE)

    def choose_device(self, name: str) -> None:
        """Switch to another microphone and remember it; empty is the system's default."""
        self.device = name or None
        self._owner.post_message(SettingChanged("device", name))
        if self.running and self.session is not None and isinstance(self.session.source, MicrophoneSource):
            try:
                self.session.source.switch(self.device)
            except (BadAudio, NoMicrophone) as error:
                self._fail(str(error))
        self.tell(Change.STATE)

    async def finalize(self) -> None:
        """Finalise what was said so far. Raises ConvoError."""
        if self.session is not None:
            await self.session.finalize()

    def _fail(self, problem: str) -> None:
        self._owner.post_message(Notice(problem, "error"))

    # --- what happened ------------------------------------------------------------------------------------

    def tell(self, change: Change) -> None:
        """Tell the app what changed."""
        self._owner.post_message(SessionChanged(self.model, change))

    def measured(self, message: SessionEvents) -> None:
        """Take the numbers that came with events, if they are of this session."""
        if message.model is self.model:
            self.level = message.level if message.level is not None else self.level
            self.backlog_s = message.backlog_s

    def ended(self, message: SessionEnded) -> None:
        """Note the end, if it is this session's."""
        if self.session is not None and message.model is self.model:
            self.session = self._worker = self.level = None
            self.problem = clean(message.problem or self.model.failure)

    # --- the end ------------------------------------------------------------------------------------------

    async def goodbye(self, within_s: float) -> None:
        """End the session so that the daemon gets its last words."""
        if self.session is not None and self._worker is not None and self._daemon.state.up:
            self.session.stop()
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self.session.wait_ended()

    async def close(self) -> None:
        """Cancel what runs, and release the source."""
        await ended(self._worker)
