"""What tests of summaries share: what a reader is shown, a talk written up, a clock that waits for the model."""

from __future__ import annotations

import trio
import trio.testing

from convo.messages import Summary, SummaryOptions
from convod.summary import Summarizers, Transcript
from tests.fakes.talks import talk


class Shown:
    """What a reader sees of a summary that is being written."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.begun = 0

    def __call__(self, text: str, begins: bool) -> None:
        assert text
        if begins:
            self.begun += 1
            self.pieces = []
        else:
            assert self.begun, "a text begins before it goes on"
        self.pieces.append(text)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


async def write(summarizers: Summarizers, options: SummaryOptions, of: Transcript | None = None) -> tuple[Summary, str]:
    """The summary of a talk, and what was shown of it."""
    shown = Shown()
    summary = await summarizers.write(of or talk(), options, shown)
    return summary, shown.text


async def jump_after(event: trio.Event, clock: trio.testing.MockClock, seconds: float) -> None:
    """Time passes only when the test says so: once the model has fallen silent."""
    await event.wait()
    clock.jump(seconds)
