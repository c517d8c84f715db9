"""The browser example in a real browser with a recording for a microphone: captions appear, and then the summary.

`CONVO_SCREENSHOT=FILE.png` keeps a picture of the page as it was at the end.
"""

from __future__ import annotations

import functools
import http.server
import os
import threading
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import PROGRAM, Browser, browser
from tests.support.daemon import running
from tests.support.speech import RATE, pcm, truth, word_error_rate

EXAMPLE = Path(__file__).parents[2] / "scripts" / "examples" / "browser"

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    """The example's files over HTTP; the origin."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(EXAMPLE)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Its microphone hears a sentence after a second of silence: it begins before the page does."""
    place = tmp_path_factory.mktemp("chromium")
    path = place / "microphone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(RATE * 2) + pcm("single.flac") + bytes(RATE * 4))
    with browser(path, place / "profile") as started:
        yield started


async def test_a_page_shows_captions_of_its_microphone(tmp_path: Path, site: str, chromium: Browser) -> None:
    with running(tmp_path, environment={"CONVOD_LISTEN_ORIGINS": site}) as daemon:
        async with chromium.page(site + "/") as page:
            await page.wait("document.readyState === 'complete' && document.querySelector('#url')")
            await page.evaluate(f"document.querySelector('#url').value = '{daemon.web}'")
            await page.evaluate("document.querySelector('#start').click()")
            # The words are there before they are all said.
            await page.wait(
                "document.querySelector('.stable').textContent.length > 3 || document.querySelector('time')"
            )
            heard = len(truth("single").split())
            await page.wait(f"document.querySelector('#captions').innerText.split(/\\s+/).length >= {heard * 3 // 4}")
            await page.evaluate("document.querySelector('#stop').click()")
            await page.wait("document.querySelector('#status').textContent === 'Done.'")
            shown = await page.evaluate(
                "[...document.querySelectorAll('#captions p')].map((p) => p.lastChild.textContent).join(' ')"
            )
            assert word_error_rate(truth("single"), shown) < 0.3
            assert await page.evaluate("document.querySelector('#summary h2').textContent.length > 0")
            picture = await page.picture()
        assert picture.startswith(b"\x89PNG")
        if wanted := os.environ.get("CONVO_SCREENSHOT"):
            Path(wanted).write_bytes(picture)  # noqa: ASYNC240
        assert not [line for line in daemon.log if "fault of convod" in line]


async def test_a_page_that_the_settings_do_not_name_is_kept_out(tmp_path: Path, site: str, chromium: Browser) -> None:
    with running(tmp_path, environment={"CONVOD_LISTEN_ORIGINS": "https://other.example"}) as daemon:
        async with chromium.page(site + "/") as page:
            await page.wait("document.readyState === 'complete' && document.querySelector('#url')")
            await page.evaluate(f"document.querySelector('#url').value = '{daemon.web}'")
            await page.evaluate("document.querySelector('#start').click()")
            await page.wait("document.querySelector('#status').textContent.includes('closed (1006)')")
