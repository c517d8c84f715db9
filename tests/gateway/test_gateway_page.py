"""The page at `/` in a real browser, before a real gateway and a real daemon that asks for a token.

`CONVO_PICTURES=DIRECTORY` draws the pictures of the README anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from convod.listen.tokens import TokenFile
from tests.gateway.test_gateway_conversation import result, upload
from tests.support.browser import PROGRAM, Browser, Page, browser
from tests.support.daemon import running
from tests.support.gateway import Gateway, gateway
from tests.support.speech import DATA, RATE, excerpt, word_error_rate

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")

PICTURES = os.environ.get("CONVO_PICTURES")

SPOKEN, SAID = excerpt("talk", 10.0 if PICTURES else 4.0)
"""What the microphone hears after a second of silence, and what is said in it."""

WATCH = """
  window.faults = [];
  addEventListener("error", (event) => faults.push(event.message));
  addEventListener("unhandledrejection", (event) => faults.push(String(event.reason)));
  addEventListener("securitypolicyviolation", (event) => faults.push(event.violatedDirective + " " + event.blockedURI));
"""
"""Keeps what goes wrong in a page."""

LINES = "[...document.querySelectorAll('#lines .line')].map((line) => line.lastElementChild.textContent)"
AXE = Path(str(find_spec("axe_core_python").submodule_search_locations[0])) / "axe.min.js"  # type: ignore[union-attr, index]


@pytest.fixture(scope="module")
def ollama() -> Iterator[str]:
    """The address of a language model that writes a piece at a time."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.ollama", "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def token(place: Path) -> str:
    state = place / "state"
    state.mkdir(mode=0o700)
    return TokenFile(state).add("person")


@pytest.fixture(scope="module")
def before(place: Path, token: str, ollama: str) -> Iterator[Gateway]:
    """A gateway before a daemon that knows one token."""
    # A summary for a picture is a real one.
    environment = {} if PICTURES else {"CONVOD_SUMMARY_OLLAMA_URL": ollama}
    with running(place, environment=environment) as daemon, gateway(daemon.web) as served:
        yield served
    log = "".join([*daemon.log, *served.log])
    assert token not in log
    assert "fault of convod" not in log


@pytest.fixture(scope="module")
def chromium(place: Path) -> Iterator[Browser]:
    microphone = place / "microphone.wav"
    with wave.open(str(microphone), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(RATE * 2) + SPOKEN + bytes(RATE * 20))
    with browser(microphone, place / "profile") as running:
        yield running


@pytest.fixture(scope="module")
def talk(before: Gateway, token: str) -> str:
    """A talk that is there already, and whole."""
    return trio.run(transcribed, before, token, "single.flac", "Contract review")


def client_of(before: Gateway, token: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=before.url, timeout=60, headers={"authorization": f"Bearer {token}"})


async def transcribed(before: Gateway, token: str, name: str, title: str) -> str:
    """The job of a recording, once it is whole."""
    async with client_of(before, token) as client:
        job = await upload(client, name, title=title)
        await result(client, job)
        return job


@asynccontextmanager
async def page_of(
    chromium: Browser, before: Gateway, token: str | None, *, at: str = "", url: str | None = None, script: str = ""
) -> AsyncIterator[Page]:
    """The page, with a token unless that is what the test is about; in the end nothing has gone wrong in it."""
    kept = f"sessionStorage.setItem('convo.token', {json.dumps(token)});" if token else ""
    async with chromium.page(f"{url or before.url}/{at}", before=WATCH + kept + script) as page:
        await page.wait("document.readyState === 'complete'")
        yield page
        assert await page.evaluate("faults") == []


class Proxy:
    """A way to the gateway that can break."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open: set[trio.CancelScope] = set()
        self.broken = False
        self.url = ""

    async def serve(self, client: trio.SocketStream) -> None:
        if self.broken:
            return
        async with await trio.open_tcp_stream("127.0.0.1", self._to) as server:
            with trio.CancelScope() as scope:
                self._open.add(scope)
                async with trio.open_nursery() as nursery:
                    for one, other in ((client, server), (server, client)):
                        nursery.start_soon(self._copy, one, other, nursery.cancel_scope)
            self._open.discard(scope)

    @staticmethod
    async def _copy(one: trio.SocketStream, other: trio.SocketStream, scope: trio.CancelScope) -> None:
        try:
            async for data in one:
                await other.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    def cut(self) -> None:
        """Break all connections, and let none come to be until `broken` is taken back."""
        self.broken = True
        for scope in self._open:
            scope.cancel()


@asynccontextmanager
async def proxied(before: Gateway) -> AsyncIterator[Proxy]:
    """A way to the gateway, for the length of a block."""
    proxy = Proxy(before.port)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, proxy.serve, 0, host="127.0.0.1"))
        proxy.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        yield proxy
        nursery.cancel_scope.cancel()


async def click(page: Page, selector: str) -> None:
    await page.evaluate(f"document.querySelector({json.dumps(selector)}).click()")


async def text(page: Page, selector: str) -> str:
    return str(await page.evaluate(f"document.querySelector({json.dumps(selector)}).textContent"))


async def screen(page: Page, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
    await page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
    features = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
    await page.call(
        "Emulation.setEmulatedMedia", features=[{"name": name, "value": value} for name, value in features.items()]
    )


async def picture(page: Page, name: str) -> None:
    if PICTURES:
        (Path(PICTURES) / f"{name}.png").write_bytes(await page.picture())


async def check_access(page: Page) -> None:
    """What axe-core finds (WCAG 2.1 AA, and what is good practice): nothing."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text() + ";0")
    found = await page.evaluate(
        "axe.run().then(({violations}) => violations.map(({id, nodes}) => [id, nodes.map((node) => node.html)]))"
    )
    assert found == []


# --- what people do ---------------------------------------------------------------------------------------------------


async def test_recordings_that_are_dropped_are_captioned_and_summarised_though_the_connection_breaks(
    chromium: Browser, before: Gateway, token: str
) -> None:
    watch = """
      window.written = [];
      addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
        const writing = document.querySelector("#summary-body > p.dim");
        if (writing) written.push(writing.textContent);
      }).observe(document.querySelector("#summary-body"), {childList: true}));
      window.resumed = [];
      const real = fetch;
      window.fetch = (url, options) => {
        if (options.headers["last-event-id"]) resumed.push(Number(options.headers["last-event-id"]));
        return real(url, options);
      };
    """
    async with (
        proxied(before) as proxy,
        page_of(chromium, before, token, url=proxy.url, script=watch) as page,
        client_of(before, token) as client,
    ):
        await drop(page, "talk.mp3")
        await page.wait("document.querySelector('#lines .line')")
        assert await text(page, "#title") == "talk"
        proxy.cut()
        await page.wait("document.querySelector('#link').textContent.includes('lost')")
        proxy.broken = False
        await page.evaluate("dispatchEvent(new Event('online'))")  # as a browser does when it is
        await page.wait("document.querySelector('#summary-body h3')")
        assert (await page.evaluate("resumed"))[0] > 0
        assert (await page.evaluate("written")) != []  # as it was written
        stored = await result(client, await page.evaluate("location.hash.split('/')[2]"))
        assert await page.evaluate(LINES) == [segment["text"] for segment in stored["segments"]]
        await page.wait("document.querySelector('#talks a[aria-current] .name').textContent === 'talk'")
        await page.wait("document.querySelector('#talks a[aria-current] .state') === null")
        # A file that is none says so, in its place.
        await drop(page, "README.md")
        await page.wait("!document.querySelector('#failure').hidden")
        assert await text(page, "#title") == "README"
        assert (await text(page, "#meta")).endswith("Failed")


async def drop(page: Page, name: str) -> None:
    """Drag a file onto the page."""
    data = {"items": [], "files": [str(DATA / name)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        await page.call("Input.dispatchDragEvent", type=kind, x=500, y=300, data=data)


async def test_the_microphone_is_captioned_though_the_connection_breaks(
    chromium: Browser, before: Gateway, token: str
) -> None:
    async with proxied(before) as proxy, page_of(chromium, before, token, url=proxy.url) as page:
        await click(page, "#record")
        await page.wait("!document.querySelector('#partial').hidden")
        # Words that may change are dim, and no screen reader is told of them.
        assert await page.evaluate("document.querySelector('#partial').closest('[aria-live]') === null")
        dim, plain = await page.evaluate(
            "['#partial .tentative', 'body'].map((one) => getComputedStyle(document.querySelector(one)).color)"
        )
        assert dim != plain
        await page.wait("document.querySelector('#lines .line')")
        assert await page.evaluate("document.querySelector('#lines').getAttribute('aria-live')") == "polite"
        await screen(page, 360, 640, phone=True)
        assert await page.evaluate("document.querySelector('#stop').getBoundingClientRect().right") <= 344
        await check_access(page)
        if PICTURES:
            await screen(page, 390, 560, dark=True, phone=True)
            await page.wait("document.querySelectorAll('#lines .line').length >= 3")
            await page.wait("document.querySelector('#partial').textContent.length > 12")
            await picture(page, "live")
        proxy.cut()
        await page.wait("document.querySelector('#link').textContent.includes('lost')")
        assert "kept" in await text(page, "#link")
        said = f"00:{1 + len(SPOKEN) // 32000:02}"
        await page.wait(f"document.querySelector('#clock').textContent >= '{said}'")
        proxy.broken = False
        await page.evaluate("dispatchEvent(new Event('online'))")  # as a browser does when it is
        await page.wait("document.querySelector('#link').textContent === ''")
        await page.wait("document.querySelectorAll('#lines .line').length >= 2")
        await click(page, "#stop")
        await page.wait("document.querySelector('#summary-body p:not(.dim)')")
        shown = await page.evaluate(LINES)
        assert word_error_rate(SAID, " ".join(shown)) < 0.3
        job = await page.evaluate("location.hash.split('/')[2]")
        async with client_of(before, token) as client:
            while not (stored := await result(client, job))["title"]:  # noqa: ASYNC110  # its summary's
                await trio.sleep(0.02)
        assert shown == [segment["text"] for segment in stored["segments"]]
        assert stored["duration_s"] > 4.9
        assert await page.evaluate("document.querySelector('#live').hidden")


async def test_a_talk_is_found_exported_renamed_and_deleted(
    chromium: Browser, before: Gateway, token: str, talk: str, place: Path
) -> None:
    saved = place / "saved"
    async with page_of(chromium, before, token) as page:
        await page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(saved))
        await page.wait("document.querySelector('#talks li')")
        await page.evaluate("{ const box = document.querySelector('#search'); box.value = 'contract';"
                            "  box.dispatchEvent(new Event('input')); }")  # fmt: skip
        await page.wait("document.querySelector('#talks mark')")
        assert (await text(page, "#talks mark")).lower() == "contract"
        await click(page, f"#talks a[href^='#/talk/{talk}/']")
        await page.wait("document.querySelector('.found')")
        assert "contract" in await text(page, ".found")
        for format in ("txt", "srt", "vtt", "json", "md"):
            await click(page, f"[data-format={format}]")
            file = saved / f"Contract review.{format}"
            while not file.exists():  # noqa: ASYNC110
                await trio.sleep(0.02)
            assert "contract" in file.read_text()
        await click(page, "#rename")
        await page.evaluate("document.querySelector('#new-title').value = 'Budget/..\\u0000'")
        await click(page, "#rename-dialog .primary")
        await page.wait("document.querySelector('#title').textContent.startsWith('Budget')")
        await click(page, "[data-format=txt]")
        while not (saved / "Budget ...txt").exists():  # noqa: ASYNC110
            await trio.sleep(0.02)
        await click(page, "#rename")
        await page.evaluate("document.querySelector('#new-title').value = 'Contract review'")
        await click(page, "#rename-dialog .primary")
        await page.wait("document.querySelector('#title').textContent === 'Contract review'")


KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}


async def press(page: Page, *keys: str) -> None:
    for key in keys:
        about: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": KEYS.get(key, ord(key[0].upper()))}
        typed = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        await page.call("Input.dispatchKeyEvent", type="keyDown" if typed else "rawKeyDown", **about, **typed)
        await page.call("Input.dispatchKeyEvent", type="keyUp", **about)


FOCUS = "((one) => one.id || one.dataset.format || one.className)(document.activeElement)"


async def test_all_can_be_done_with_the_keyboard(chromium: Browser, before: Gateway, token: str, talk: str) -> None:
    await transcribed(before, token, "short.wav", "Short")
    async with page_of(chromium, before, token) as page:
        await page.wait("document.querySelector('#talks li')")
        seen = []
        for _ in range(8):
            await press(page, "Tab")
            seen.append(await page.evaluate(FOCUS))
            outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", seen
            assert await page.evaluate("document.activeElement.getBoundingClientRect().top >= 0"), seen
        assert seen == ["skip", "brand", "open-token", "open-keys", "record", "upload", "language", "search"]
        await press(page, "Tab", "Enter")
        await page.wait("document.activeElement.id === 'title'")
        assert await text(page, "#title") == "Short"
        for wanted in ("txt", "srt", "vtt", "json", "md", "rename", "delete"):
            await press(page, "Tab")
            assert await page.evaluate(FOCUS) == wanted
        await press(page, "?")
        assert await page.evaluate("document.querySelector('#keys-dialog').open")
        await press(page, "Escape")
        assert await page.evaluate(FOCUS) == "delete"
        await press(page, "Enter")
        assert await page.evaluate("document.activeElement.textContent") == "Keep it"
        await press(page, "Enter")
        assert not await page.evaluate("document.querySelector('#delete-dialog').open")
        await press(page, "d", "Tab", "Enter")
        await page.wait("document.querySelector('#notice').textContent === 'Deleted.'")
        await page.wait("![...document.querySelectorAll('#talks .name')].some((name) => name.textContent === 'Short')")
        # Keys of one letter can be put out of use, for those whose speech is typed.
        await press(page, "j")
        await page.wait("location.hash.startsWith('#/talk/')")
        await press(page, "Escape")
        await page.wait("document.activeElement.closest('#talks')")
        await press(page, "/")
        await page.wait("document.activeElement.id === 'search'")
        await press(page, *"grace", "Enter")
        await page.wait("document.querySelector('#talks mark')")
        await press(page, "Escape")
        await page.wait("document.querySelector('#talks .name') && !document.querySelector('#search').value")
        await page.evaluate("document.activeElement.blur()")
        await press(page, "?")
        await click(page, "#single-keys")
        await press(page, "Escape", "?")
        assert not await page.evaluate("document.querySelector('#keys-dialog').open")
        await page.evaluate("localStorage.clear()")


async def test_a_daemon_that_asks_for_a_token_gets_the_right_one(
    chromium: Browser, before: Gateway, token: str, talk: str
) -> None:
    async with page_of(chromium, before, None) as page:
        await page.wait("document.querySelector('#token-dialog').open")
        await press(page, "Escape")
        await page.wait("document.querySelector('#talks-note').textContent.includes('token')")
        assert not await page.evaluate("document.querySelector('#token-dialog').open")
        await click(page, "#open-token")
        for given, said in (("wrong", "asks for a token"), (token, "does not know")):
            await page.wait(f"document.querySelector('#token-dialog').open"
                            f" && document.querySelector('#token-note').textContent.includes('{said}')")  # fmt: skip
            await page.call("Input.insertText", text=given)
            await press(page, "Enter")
        await page.wait("document.querySelector('#talks li')")
        kept = await page.evaluate("[Object.entries(localStorage), document.cookie, Object.keys(sessionStorage)]")
        assert kept == [[], "", ["convo.token"]]
        asked = await page.evaluate("performance.getEntriesByType('resource').map(({name}) => name)")
        assert not [url for url in asked if token in url]
        await click(page, "#open-token")
        await click(page, "#token-forget")
        assert await page.evaluate("sessionStorage.length") == 0


HOSTILE = "<img src=x onerror=faults.push('ran')><script>faults.push('ran')</script>&amp;"


async def test_text_of_talks_is_text_and_each_language_is_set_as_it_should_be(
    chromium: Browser, before: Gateway, token: str
) -> None:
    segments = [
        {"segment": 1, "start": 0, "end": 1, "text": HOSTILE, "language": '"><b>', "confidence": 1},
        {
            "segment": 2,
            "start": 3661,
            "end": 3662,
            "text": "안녕하세요. 회의를 시작하겠습니다.",
            "language": "ko",
            "confidence": 1,
        },
        {"segment": 3, "start": 3663, "end": 3664, "text": "会議を始めます。", "language": "ja", "confidence": 1},
    ]
    said = {"title": HOSTILE, "summary": HOSTILE, "key_points": [HOSTILE], "keywords": [HOSTILE], "language": HOSTILE}
    summary = said | {"action_items": [{"text": HOSTILE, "owner": HOSTILE, "sources": [1]}], "unverified": [HOSTILE]}
    job = {"job_id": '"><i>', "kind": "live", "title": HOSTILE, "status": "completed", "created": 0, "duration_s": 1}
    answers = {
        "list": {"jobs": [job]},
        "search": {"hits": [job | {"source": "segment", "segment": 1, "start": 1, "end": 2, "text": HOSTILE,
                                   "snippet": "😀" + HOSTILE, "marks": [[1, 5]]}]},
        "result": job | {"segments": segments, "summary": summary, "error": {"code": "x", "message": HOSTILE}},
    }  # fmt: skip
    script = f"""
      const answers = {json.dumps(answers)};
      window.fetch = async (url) => new Response(JSON.stringify(answers[url.pathname.split("/")[4]]));
    """
    async with page_of(chromium, before, token, script=script) as page:
        await page.wait("document.querySelector('#talks a')")
        await click(page, "#talks a")
        await page.wait("document.querySelectorAll('#lines .line').length === 3")
        await page.evaluate("{ document.querySelector('#search').value = 'x';"
                            "  document.querySelector('#search-form').requestSubmit(); }")  # fmt: skip
        await page.wait("document.querySelector('#talks mark')")
        assert await text(page, "#talks mark") == "<img"
        for where in ("#title", "#lines span", "#summary-body p", "#summary-body li", "#failure"):
            assert HOSTILE in await text(page, where)
        assert (
            await page.evaluate("document.querySelectorAll('main img, main script, main b, main i, nav img').length")
            == 0
        )
        lines = await page.evaluate(
            "[...document.querySelectorAll('#lines .line')].map(({firstElementChild: time, lastElementChild: said}) =>"
            " [time.textContent, said.lang, getComputedStyle(said).wordBreak])"
        )
        assert lines == [["00:00", "", "normal"], ["1:01:01", "ko", "keep-all"], ["1:01:03", "ja", "normal"]]
        # Nor would the browser take markup, had the page a way to it (Trusted Types).
        refused = "(() => { try { document.body.innerHTML = 'x'; return false; } catch { return true; } })()"
        assert await page.evaluate(refused)
        await page.evaluate("faults.length = 0")


async def test_it_fits_any_screen_in_light_and_dark_and_is_accessible(
    chromium: Browser, before: Gateway, token: str, talk: str
) -> None:
    async with page_of(chromium, before, token) as page:
        await page.wait("document.querySelector('#talks li')")
        for dark in (False, True):
            for phone in (False, True):
                width, height = (360, 740) if phone else (1280, 860)
                await screen(page, width, height, dark=dark, phone=phone)
                for at in ("#/", f"#/talk/{talk}"):
                    await page.evaluate(f"location.hash = '{at}'")
                    await page.wait(f"document.body.dataset.view === '{'list' if at == '#/' else 'talk'}'")
                    if at != "#/":
                        await page.wait("document.querySelector('#summary-body h3')")
                    assert await page.evaluate("document.scrollingElement.scrollWidth") <= width
                    # All four for the talk; of the rest one in light and one in dark.
                    if at != "#/" or dark == phone:
                        await check_access(page)
                    if phone:
                        small = await page.evaluate(
                            "[...document.querySelectorAll('button, select, input, .talks a')].map((one) =>"
                            " [one.id || one.textContent, one.getBoundingClientRect().height])"
                            ".filter(([, height]) => height > 0 && height < 44)"
                        )
                        assert small == []
        await screen(page, 1280, 860)
        for name in ("keys", "token", "rename", "delete"):
            await click(page, f"#open-{name}, #{name}:not(input)")
            await check_access(page)
            await page.evaluate("document.querySelector('dialog[open]').close()")
        if PICTURES:
            await draw(page, before, token)


async def draw(page: Page, before: Gateway, token: str) -> None:
    """Draw the pictures for the README."""
    for name, title in (("short.wav", "Call with Marketing"), ("talk.mp3", "Release meeting")):
        job = await transcribed(before, token, name, title)
    await page.evaluate("location.hash = '#/'; document.querySelector('#search').dispatchEvent(new Event('input'))")
    await page.evaluate(f"location.hash = '#/talk/{job}'")
    await page.wait("document.querySelectorAll('#lines .line').length > 9")
    await page.evaluate("dispatchEvent(new Event('online'))")
    await page.wait("document.querySelector('#talks a[aria-current]')")
    await page.evaluate("document.activeElement.blur()")
    for name, dark in (("talk", False), ("dark", True)):
        await screen(page, 1280, 800, dark=dark)
        await picture(page, name)
