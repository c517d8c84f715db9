"""A headless Chromium with a recording for a microphone, driven over its debugging port (Chrome DevTools Protocol).

In: a WAV file, the URL of a page. Out: what JavaScript on the page says, pictures of it. The browser has ended when
its block has.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio
import trio_websocket

PROGRAM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


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


@asynccontextmanager
async def browsing(url: str, microphone: Path, profile: Path) -> AsyncIterator[Page]:
    """A page whose microphone plays a recording once."""
    assert PROGRAM is not None
    process = subprocess.Popen(  # noqa: ASYNC220
        [PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--window-size=900,700",
         "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
         f"--use-file-for-fake-audio-capture={microphone}%noloop",
         f"--user-data-dir={profile}", "--remote-debugging-port=0", url],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port = await _port(profile / "DevToolsActivePort")
        async with httpx.AsyncClient(trust_env=False) as http:
            while True:
                pages = (await http.get(f"http://127.0.0.1:{port}/json")).json()
                if found := [page for page in pages if page["type"] == "page" and page["url"].startswith(url)]:
                    break
                await trio.sleep(0.05)
        async with trio_websocket.open_websocket_url(
            found[0]["webSocketDebuggerUrl"], max_message_size=1 << 26
        ) as socket:
            yield Page(socket)
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(process.wait)


async def _port(file: Path) -> int:
    while True:
        if file.exists() and (lines := file.read_text().splitlines()):  # noqa: ASYNC240
            return int(lines[0])
        await trio.sleep(0.05)
