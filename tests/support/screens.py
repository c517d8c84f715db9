"""Draws the screens of the app for README.md, with a real daemon that hears the sample.

In: a directory. Out: an SVG a screen in it. Run by `scripts/screens`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.support.daemon import running

SAMPLE = Path(__file__).parents[1] / "data" / "talk.flac"
SIZE = (110, 28)


async def draw(url: str, out: Path) -> None:
    """Play the sample, and draw what is to be seen."""
    from convo_tui.app import ConvoApp
    from convo_tui.arguments import parse

    app = ConvoApp(parse(["--connect", url, "--play", str(SAMPLE)]))
    news = asyncio.Event()

    async def until(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(120):
            while not condition():
                news.clear()
                await news.wait()
                await pilot.pause()

    def save(name: str) -> None:
        (out / f"{name}.svg").write_text(app.export_screenshot(title="convo-tui"), encoding="utf-8")

    async with app.run_test(size=SIZE, message_hook=lambda message: news.set()) as pilot:
        await until(
            lambda: (
                len(app.context.live.model.lines) >= 9
                and app.context.live.model.partial is not None
                and app.context.live.model.partial.tentative
            )
        )
        save("live")
        await pilot.press("2")
        await until(lambda: app.context.live.model.partial is not None and app.context.live.model.partial.stable)
        save("captions")
        await pilot.press("1")
        await until(lambda: app.context.live.session is None and app.context.live.model.summary is not None)
        save("summary")
        await pilot.press("3", "slash", *"plan")
        await until(lambda: len(app.screen.model.hits) > 2)  # type: ignore[attr-defined]
        save("history")
        await app.action_quit()


def main() -> None:
    """Write the screens into the directory that is named."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        os.environ["XDG_CONFIG_HOME"] = place
        with running(Path(place), "--model", "builtin") as daemon:
            asyncio.run(draw(daemon.url, out))


if __name__ == "__main__":
    main()
