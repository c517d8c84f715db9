"""The way to the daemon, and the only module that holds a `convo.Client`.

In: a client's token, and what a dialect wants done. Out: typed replies and streams of the client library, or `Refused`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final

import trio

import convo
from convo.address import parse
from convo.messages import (
    AnswerProgress,
    AskReply,
    CancelSession,
    Code,
    DeleteSession,
    GetAudio,
    GetSessionReply,
    ListModels,
    ModelInfo,
    Request,
)

from .errors import Refused, translated

PATIENCE_S: Final = 30.0
"""How long a stream waits for a daemon that went away."""

_GOODBYE_S: Final = 5.0
_PROBE_S: Final = 2.0

ALIASES: Final = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-4o-transcribe-diarize")
"""Names of OpenAI's models. In every dialect each means the model that the daemon has chosen."""


class Daemon:
    """The daemon at `url`; each request carries the token of its client."""

    def __init__(self, url: str) -> None:
        self._url = url

    def connect(self, token: str | None) -> AbstractAsyncContextManager[convo.Client]:
        """Connect for the length of a block; raises what the client library raises."""
        return convo.connect(self._url, token=token, client=f"convo-gateway/{convo.__version__}")

    async def ask(self, token: str | None, *requests: Request[Any]) -> list[Any]:
        """Send requests over one connection and return their replies.

        Raises:
            Refused: one of them was refused, or no daemon is there.
        """
        with translated():
            async with self.connect(token) as client:
                return [await client.request(request) for request in requests]

    async def session(self, token: str | None, job: str) -> GetSessionReply:
        """Return a session with all its segments. Raises like `ask`."""
        with translated():
            async with self.connect(token) as client:
                return await client.get_session(job)

    async def question(
        self, token: str | None, query: str, jobs: list[str], limit: int, progress: Callable[[AnswerProgress], None]
    ) -> AskReply:
        """Answer a question about some jobs, or all. Raises like `ask`."""
        with translated():
            async with self.connect(token) as client:
                return await client.ask(query, jobs, limit=limit, progress=progress)

    async def export(self, token: str | None, job: str, format: str) -> str:
        """Return a transcript in a format of the daemon's. Raises like `ask`."""
        with translated():
            async with self.connect(token) as client:
                return await client.export(job, format)

    async def sound(
        self, token: str | None, job: str, begin: int, end: int, put: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """Give bytes `begin` to `end` of a job's kept audio to `put`, a piece at a time. Raises like `ask`."""
        with translated():
            async with self.connect(token) as client:
                while begin < end:
                    data = (await client.request(GetAudio(session=job, offset=begin))).data[: end - begin]
                    if not data:
                        raise Refused(Code.BAD_STATE, "The audio is not here any more.")
                    await put(data)
                    begin += len(data)

    async def models(self, token: str | None) -> list[ModelInfo]:
        """Return the speech models that are on the daemon's disk. Raises like `ask`."""
        (reply,) = await self.ask(token, ListModels())
        return [model for model in reply.models if model.here]

    async def forget(self, token: str | None, job: str) -> None:
        """Delete a session, even while the caller is being cancelled; a daemon that is away keeps it."""
        with trio.move_on_after(_GOODBYE_S, shield=True), suppress(Refused):
            await self._stop_and_delete(token, job)

    async def _stop_and_delete(self, token: str | None, job: str) -> None:
        with translated():
            async with self.connect(token) as client:
                with suppress(convo.RequestError):  # it may be over
                    await client.request(CancelSession(session=job))
                await client.request(DeleteSession(session=job))

    async def reachable(self) -> bool:
        """Return whether something listens at the daemon's address."""
        address = parse(self._url)
        with trio.move_on_after(_PROBE_S):
            try:
                stream: trio.abc.Stream
                if address.scheme == "unix":
                    stream = await trio.open_unix_socket(address.path)
                else:
                    stream = await trio.open_tcp_stream(address.host, address.port)
            except OSError:
                return False
            await trio.aclose_forcefully(stream)
            return True
        return False

    @asynccontextmanager
    async def link(self, token: str | None) -> AsyncIterator[convo.Link]:
        """Keep a connection for the length of a block, and make it again when it breaks.

        Raises:
            Refused: no daemon is there, or for too long; and what of the client library the block raises.
        """
        name = f"convo-gateway/{convo.__version__}"
        with translated():
            async with convo.open_link(self._url, token=token, client=name, patience_s=PATIENCE_S) as link:
                yield link

    @asynccontextmanager
    async def speak(
        self, token: str | None, job: str = "", after_seq: int = 0, **fields: Any
    ) -> AsyncIterator[convo.LiveStream]:
        """Send audio to `job`, or to a new session made with `fields` (of `CreateSession`). Raises like `link`."""
        async with (
            self.link(token) as link,
            convo.LiveStream(link, session=job, after_seq=after_seq, **_for_daemon(fields)) as stream,
        ):
            await stream.opened()
            yield stream

    @asynccontextmanager
    async def upload(
        self, token: str | None, read: Callable[[], Awaitable[bytes]], *, keep: bool, **fields: Any
    ) -> AsyncIterator[convo.FileUpload]:
        """Send what `read` gives to a new session; unless it is to `keep`, or the block fails, it is deleted after.

        Raises like `link`, and what `read` raises.
        """
        job, whole = "", False
        try:
            async with self.link(token) as link, convo.FileUpload(link, read, **_for_daemon(fields)) as upload:
                try:
                    await upload.uploaded()
                    yield upload
                    whole = True
                finally:
                    job = upload.session
        finally:
            if job and not (whole and keep):
                await self.forget(token, job)

    @asynccontextmanager
    async def follow(self, token: str | None, job: str, after_seq: int) -> AsyncIterator[convo.Follower]:
        """Follow a session. Raises like `link`."""
        async with self.link(token) as link:
            yield convo.Follower(link, job, after_seq=after_seq)


async def leave(stream: convo.LiveStream) -> None:
    """End the session of a client that left, so that its summary is stored; shielded from cancellation."""
    with trio.move_on_after(_GOODBYE_S, shield=True), suppress(convo.ConvoError):
        await stream.end()


def _for_daemon(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of `CreateSession`, as the daemon knows them."""
    return fields | {"model": None} if fields.get("model") in ("", *ALIASES) else fields
