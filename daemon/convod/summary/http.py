"""How providers reach a server: one httpx client on trio, bounded bodies, and errors as sentences.

In: addresses and JSON to send. Out: parsed JSON, or a stream of bytes; every failure of the network is a
SummarizerUnavailable that names the server. It never logs bodies or keys, never follows a redirect, never
uses a proxy of the environment (a transcript goes where the settings say and nowhere else).

httpx is imported when the first request is made: the daemon's parent must start fast.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

import trio

from convod.summary.base import SummarizerUnavailable
from convod.summary.text import line
from convod.summary.wire import LineTooLong

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

ANSWER_BYTES: Final = 8 << 20
"""Most bytes of one streamed answer. A token costs some 200 bytes of JSON around it in both formats, so this is
room for 40,000 tokens; a server that sends more is broken."""

BODY_BYTES: Final = 4 << 20
"""Most bytes of a body that is not a stream (a list of models, an error)."""

_UNREADABLE: Final = "an address that cannot be read"

ClientFactory = Callable[[], "httpx.AsyncClient"]


def client_factory(connect_timeout_s: float) -> ClientFactory:
    """Makes the client when it is called; reads have no time-out of their own, their callers have."""

    def make() -> httpx.AsyncClient:
        import httpx

        return httpx.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(None, connect=connect_timeout_s),
            # Bodies are read raw and counted, so a compressed one must not come.
            headers={"accept-encoding": "identity"},
            # A kept connection that the server drops between two summaries would fail the next one.
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    return make


def place(url: str) -> str:
    """The part of an address that may be shown and logged: no user, password, path or query."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or "?"
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return _UNREADABLE
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


@contextmanager
def failures_named(who: str, url: str) -> Iterator[None]:
    """Turn what httpx raises into one sentence about the server `who` at `url`."""
    import httpx

    where = f"{who} at {place(url)}"
    no_address = SummarizerUnavailable(
        f"{where} has an invalid address: correct it in the settings under [summary]", retry=False
    )
    if place(url) == _UNREADABLE:
        raise no_address  # httpx would look the host up and try a port that is out of range
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise SummarizerUnavailable(f"{where} cannot be reached: start it, or choose another provider") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
        raise no_address from error
    except httpx.TimeoutException as error:
        raise SummarizerUnavailable(f"{where} does not answer: see whether it is busy") from error
    except httpx.HTTPError as error:
        raise SummarizerUnavailable(f"{where} broke off in the middle: see its log, then try again") from error
    except LineTooLong as error:
        raise SummarizerUnavailable(f"{where} sent a line without end: is it the right address?") from error


async def chunks(response: httpx.Response, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it comes, raw. Raises SummarizerUnavailable beyond `limit` bytes.

    httpx nests its async generators, and closing the outer one leaves the inner ones to the garbage collector
    (trio warns of each). They end properly when the read at their bottom is cancelled, so that is what an early
    end does here.
    """
    body = response.aiter_raw()
    size = 0
    done = False
    try:
        async for chunk in body:
            size += len(chunk)
            if size > limit:
                raise SummarizerUnavailable(
                    f"{place(str(response.url))} sent more than {limit >> 20} MiB: is it the right address?"
                )
            yield chunk
        done = True
    finally:
        if not done:
            with trio.CancelScope() as ending:
                ending.cancel()
                async for _ in body:
                    pass


class Cutter(Protocol[T]):
    """Cuts bytes into what they mean, such as `wire.Lines` and `wire.Events`."""

    def feed(self, data: bytes) -> list[T]:
        """Take bytes, and return what is complete now."""

    def end(self) -> list[T]:
        """What is left when the stream ends."""


async def stream(response: httpx.Response, cutter: Cutter[T]) -> AsyncGenerator[T, None]:
    """What `cutter` makes of a streamed answer, as it comes. Raises SummarizerUnavailable, LineTooLong."""
    async with aclosing(chunks(response, ANSWER_BYTES)) as body:
        async for chunk in body:
            for whole in cutter.feed(chunk):
                yield whole
    for whole in cutter.end():
        yield whole


async def read_body(response: httpx.Response, limit: int = BODY_BYTES) -> bytes:
    """The whole body, at most `limit` bytes. Raises SummarizerUnavailable beyond that."""
    return b"".join([chunk async for chunk in chunks(response, limit)])


@asynccontextmanager
async def opened(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    who: str,
    headers: Mapping[str, str] | None = None,
    send: Mapping[str, Any] | None = None,
) -> AsyncIterator[httpx.Response]:
    """A request whose answer's head is here; leaving the block closes it. Raises SummarizerUnavailable."""
    content = None if send is None else json.dumps(send, ensure_ascii=False).encode()
    extra = dict(headers or {})
    if content is not None:
        extra["content-type"] = "application/json"
    with failures_named(who, url):
        async with client.stream(method, url, content=content, headers=extra) as response:
            yield response


async def get_json(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    who: str,
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
    send: Mapping[str, Any] | None = None,
) -> tuple[int, Any]:
    """Status and parsed body of a short request; None stands for a body that is not JSON.

    Raises:
        SummarizerUnavailable: no answer within `timeout_s` seconds, or none at all.
    """
    with trio.move_on_after(timeout_s):
        async with opened(client, method, url, who=who, headers=headers, send=send) as response:
            return response.status_code, loads(await read_body(response))
    raise SummarizerUnavailable(f"{who} at {place(url)} does not answer: see whether it is busy")


def loads(data: bytes | str) -> Any:
    """Parse JSON; return None for anything else. Depth is bounded by the interpreter's own limit."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def listed(body: Any, field: str, name: str) -> list[dict[str, Any]] | None:
    """The maps in a body's list that have a text under `name`, such as models; None if there is no list."""
    items = body.get(field) if isinstance(body, dict) else None
    if not isinstance(items, list):
        return None
    return [item for item in items if isinstance(item, dict) and isinstance(item.get(name), str)]


def error_text(body: Any, secret: str = "") -> str:
    """What a server says went wrong: Ollama has `{"error": text}`, others `{"error": {"message": text}}`.

    Servers quote what they refuse: `secret` is left out.
    """
    if not isinstance(body, dict):
        return ""
    error = body.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    if not isinstance(error, str):
        error = body.get("message") or body.get("detail")
    if not isinstance(error, str):
        return ""
    return line(error.replace(secret, "…") if secret else error, 200)
