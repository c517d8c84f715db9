"""Where deliveries go: a URL, a command.

In: the JSON of a delivery. Out: `HookFailed` if it was not taken. Signatures are those of Standard Webhooks
(https://www.standardwebhooks.com). A redirect is not followed: nothing goes where the settings do not say.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Final, Protocol

import trio

if TYPE_CHECKING:
    import httpx

_GRACE_S: Final = 2.0
_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "XDG_RUNTIME_DIR")
"""What of the daemon's environment a command gets: no token and no key."""


class HookFailed(Exception):
    """A target did not take a delivery; the text says why."""


class Target(Protocol):
    """A place that deliveries go to."""

    name: str

    async def deliver(self, id: str, timestamp: int, body: bytes) -> None:
        """Deliver once.

        Args:
            id: the same for each try of one delivery.
            timestamp: of this try, Unix seconds.
            body: JSON.

        Raises:
            HookFailed: it was not taken.
        """

    async def aclose(self) -> None:
        """Close what is open."""


def signature(secret: bytes, id: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`: HMAC-SHA256 of `id.timestamp.body`."""
    mac = hmac.new(secret, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(mac).decode()}"


def secret_of(text: str) -> bytes:
    """Return the secret in a file's text: base64, with or without `whsec_` before it, of 24 to 64 bytes.

    Raises:
        ValueError: it is none.
    """
    secret = base64.b64decode(text.strip().removeprefix("whsec_"), validate=True)
    if not 24 <= len(secret) <= 64:
        raise ValueError(f"it holds {len(secret)} bytes")
    return secret


class Webhook:
    """A URL that gets a POST. Every answer but 2xx is a failure."""

    name = "the webhook"

    def __init__(self, url: str, secret: bytes, timeout_s: float) -> None:
        self._url = url
        self._secret = secret
        self._timeout_s = timeout_s
        self._client: httpx.AsyncClient | None = None

    async def deliver(self, id: str, timestamp: int, body: bytes) -> None:
        """See `Target`."""
        import httpx  # takes a tenth of a second

        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self._timeout_s, follow_redirects=False, trust_env=False)
        headers = {
            "content-type": "application/json",
            "user-agent": "convod",
            "webhook-id": id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._secret, id, timestamp, body),
        }
        with trio.move_on_after(self._timeout_s) as scope:
            try:
                # As a stream: an answer of any length is not read.
                async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
                    if not response.is_success:
                        raise HookFailed(f"it answered {response.status_code}")
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise HookFailed(str(error) or type(error).__name__) from None
        if scope.cancelled_caught:
            raise HookFailed(f"it did not answer within {self._timeout_s:g} s")

    async def aclose(self) -> None:
        """See `Target`."""
        if self._client is not None:
            await self._client.aclose()


class Command:
    """A program that gets the JSON on standard input; it fails unless it ends with status 0 in time."""

    name = "the hook's command"

    def __init__(self, command: list[str], timeout_s: float) -> None:
        self._command = command
        self._timeout_s = timeout_s

    async def deliver(self, id: str, timestamp: int, body: bytes) -> None:
        """See `Target`."""
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment |= {"CONVO_HOOK_ID": id}
        try:
            with trio.move_on_after(self._timeout_s) as scope:
                ended = await trio.run_process(
                    self._command, stdin=body, check=False, env=environment, deliver_cancel=_end,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            raise HookFailed(f"it cannot be started: {error.strerror}") from None
        if scope.cancelled_caught:
            raise HookFailed(f"it did not end within {self._timeout_s:g} s")
        if ended.returncode:
            raise HookFailed(f"it ended with status {ended.returncode}")

    async def aclose(self) -> None:
        """See `Target`."""


async def _end(process: trio.Process) -> None:
    """End a command and all that it started: it leads a process group of its own."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, signum)
        except ProcessLookupError:
            return
        with trio.move_on_after(_GRACE_S, shield=True):
            await process.wait()
