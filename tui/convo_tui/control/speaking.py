"""The session that is spoken here: begun, held, ended, and what is known of it meanwhile.

In: what keys ask for. Out: a `Talk` that runs, and the numbers that screens show beside it: level, backlog, pace. There
is one at a time.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from textual.worker import Worker

import convo
from convo.errors import BadAudio, NoMicrophone
from convo.messages import AddMark, SummaryOptions
from convo.text import clock

from ..model.pace import Health
from ..model.session import Change, SessionModel
from ..work.messages import Ended, Heard
from ..work.sources import MicrophoneSource, PlayedFile, Source
from ..work.start import ended, start
from ..work.talk import Talk

if TYPE_CHECKING:
    from ..app import ConvoApp


class LiveController:
    """`live` is the model of the session that is spoken, or was last; `talk` what speaks it, None if nothing does."""

    def __init__(self, app: ConvoApp, device: str | None) -> None:
        self.live = SessionModel()
        self.talk: Talk | None = None
        self.device = device
        self.level: float | None = None
        self.backlog_s = 0.0
        self.problem = ""
        self._app = app
        self._worker: Worker[None] | None = None

    @property
    def going(self) -> bool:
        """Whether a session of ours is being spoken or ended."""
        return self.talk is not None

    @property
    def health(self) -> Health:
        """Whether the daemon keeps up."""
        return Health(self._app.connecting.state.up, self.live.lag_ms, self.backlog_s)

    # --- what somebody wants ------------------------------------------------------------------------------

    def listen(self) -> None:
        """Begin a session with the microphone."""
        try:
            source = MicrophoneSource(self.device)
        except (BadAudio, NoMicrophone) as error:
            self._app.say(str(error), "error")
            return
        self._begin(source, title=None)

    def play(self, path: Path) -> None:
        """Begin a session with a recording, played as if it were spoken now."""
        if not path.is_file():
            self._app.say(f"{path} is no file.", "error")
            return
        self._begin(PlayedFile(path), title=path.stem)

    def _begin(self, source: Source, title: str | None) -> None:
        app = self._app
        if self.talk is not None:
            source.close()
            app.say("A session is going on: stop it first.", "warning")
            return
        self.live = SessionModel(title=title or "")
        self.level, self.backlog_s, self.problem = None, 0.0, ""
        self.talk = Talk(
            app.link,
            self.live,
            app.post_message,
            source,
            convo.SessionOptions(
                title=title,
                language=app.settings.language or None,
                summary=SummaryOptions(mode=app.settings.summary_mode),
            ),
        )
        self._worker = start(app, self.talk.run, group="talk")
        self.tell(Change.STATE | Change.LINES | Change.TITLE)

    def stop(self) -> None:
        """No more audio; if there is no session yet, there will be none."""
        if self.talk is None:
            return
        self.talk.stop()
        if not self.live.session and self._worker is not None:
            self._worker.cancel()
        self.tell(Change.STATE)

    def pause(self) -> None:
        """Pause, or go on."""
        if self.talk is None or self.talk.stopped:
            return
        try:
            if self.talk.paused:
                self.talk.resume()
            else:
                self.talk.pause()
        except (BadAudio, NoMicrophone) as error:
            self._app.say(str(error), "error")
        self.tell(Change.STATE)

    def mute(self) -> None:
        """Mute, or not."""
        if self.talk is not None:
            self.talk.mute(not self.talk.muted)
            self.tell(Change.STATE)

    def choose_device(self, name: str | None) -> None:
        """Listen to another microphone, now and from now on."""
        self.device = name
        self._app.remember(device=name or "")
        if self.talk is not None and isinstance(self.talk.source, MicrophoneSource) and not self.talk.stopped:
            try:
                self.talk.source.switch(name)
            except (BadAudio, NoMicrophone) as error:
                self._app.say(str(error), "error")
        self.tell(Change.STATE)

    def finalize(self) -> None:
        """Have what was said so far written now."""
        if self.talk is not None:
            self._app.ask(self.talk.finalize())

    def mark(self, model: SessionModel, at: float, text: str = "") -> None:
        """Put a bookmark into a session, this one or another."""
        if model.session:
            request = AddMark(session=model.session, time=at, text=text)
            self._app.ask(self._app.link.request(request), f"Marked at {clock(at)}.")

    def note(self, model: SessionModel, at: float) -> None:
        """Ask for a note, and put a bookmark with it."""
        from ..screens.ask import AskScreen

        def written(text: str | None) -> None:
            if text is not None:
                self.mark(model, at, text)

        self._app.push_screen(AskScreen(f"Mark {clock(at)} with a note", "a few words"), written)

    # --- what workers say ---------------------------------------------------------------------------------

    def tell(self, change: Change) -> None:
        """Tell the screens what changed."""
        for screen in self._app.screens:
            screen.heard(self.live, change, self.level, self.health)

    def heard(self, message: Heard) -> None:
        """Take the numbers that came with events of this session."""
        if message.model is self.live:
            self.level = message.level if message.level is not None else self.level
            self.backlog_s = message.backlog_s

    def ended(self, message: Ended) -> None:
        """The talk is over, if it is this one."""
        if self.talk is not None and message.model is self.talk.model:
            self.talk = None
            self._worker = None
            self.level = None
            self.problem = message.problem or message.model.failure

    # --- the end ------------------------------------------------------------------------------------------

    async def goodbye(self, within_s: float) -> None:
        """End what is spoken, so that the daemon hears its last words."""
        if self.talk is not None and self._worker is not None and self._app.connecting.state.up:
            self.talk.stop()
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self.talk.wait_ended()

    async def close(self) -> None:
        """Let go of the source."""
        await ended(self._worker)
