"""A headless Chromium with a recording for a microphone, driven over its debugging port (Chrome DevTools Protocol).

In: a WAV file, the URLs of pages. Out: what JavaScript on a page says, pictures of it. The browser has ended when its
block has.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import trio
import trio_websocket

PROGRAM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)

START_S = 60.0


class Page:
    """One page."""

    def __init__(self, socket: trio_websocket.WebSocketConnection) -> None:
        self._socket = socket
        self._numbers = 0

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol, and its result."""
        self._numbers += 1
        await self._socket.send_message(json.dumps({"id": self._numbers, "method": method, "params": parameters}))
        while True:
            message = json.loads(await self._socket.get_message())
            if message.get("id") == self._numbers:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    async def evaluate(self, script: str) -> Any:
        """The value of an expression; a promise is waited for. It may do what needs a person's click."""
        answer = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def wait(self, condition: str) -> None:
        """Until an expression is true; whoever asks has set a time limit."""
        # Asked anew each time: what waits inside a page is lost when the page is still on its way.
        while not await self.evaluate(f"Boolean({condition})"):  # noqa: ASYNC110
            await trio.sleep(0.05)

    async def picture(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])


class Browser:
    """A running browser, with a debugging port."""

    def __init__(self, port: int) -> None:
        self._port = port

    @asynccontextmanager
    async def page(self, url: str, *, before: str = "") -> AsyncIterator[Page]:
        """A page of its own, closed at the end. `before` is run before the page's own scripts."""
        async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{self._port}") as http:
            about = (await http.put("/json/new?about:blank")).json()
            try:
                async with trio_websocket.open_websocket_url(
                    about["webSocketDebuggerUrl"], max_message_size=1 << 26
                ) as socket:
                    page = Page(socket)
                    await page.call("Page.enable")
                    if before:
                        await page.call("Page.addScriptToEvaluateOnNewDocument", source=before)
                    await page.call("Page.navigate", url=url)
                    yield page
            finally:
                with trio.CancelScope(shield=True):
                    await http.get(f"/json/close/{about['id']}")


@contextmanager
def browser(microphone: Path, profile: Path) -> Iterator[Browser]:
    """A browser whose microphone plays a recording once, each time that it is opened."""
    assert PROGRAM is not None
    process = subprocess.Popen(
        [PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--window-size=900,700",
         "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
         f"--use-file-for-fake-audio-capture={microphone}%noloop",
         f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield Browser(_port(profile / "DevToolsActivePort", process))
    finally:
        process.terminate()
        process.wait()


def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        if file.exists() and (lines := file.read_text().splitlines()):
            return int(lines[0])
        time.sleep(0.02)
    raise AssertionError("the browser did not become ready")
