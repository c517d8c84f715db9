"""Any server that speaks OpenAI's chat completions: LM Studio, llama.cpp's server, vLLM and others.

In: messages and a schema. Out: the answer as a stream of text. It uses `/models` and `/chat/completions`, and
to learn the size of the context also what LM Studio and llama.cpp answer beside those. The key goes into the
`authorization` header and nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import trio

from convod.summary.base import (
    AnswerCut,
    Connections,
    ProbeResult,
    PromptTooLong,
    Question,
    SummarizerUnavailable,
    SummarySettings,
)
from convod.summary.http import error_text, listed, loads, read_body, stream
from convod.summary.server import Server
from convod.summary.wire import Events

if TYPE_CHECKING:
    import httpx

KEY_VARIABLE: Final = "CONVOD_OPENAI_KEY"
DEFAULT_CONTEXT: Final = 4096
"""What LM Studio loads a model with unless it is told otherwise; the least that others are run with."""
_WHO: Final = "The OpenAI-compatible server"
_LENGTH: Final = re.compile(
    r"context.{0,12}(length|size|window|overflow)|(exceed|overflow|longer|greater than).{0,60}context|"
    r"too many tokens|maximum.{0,20}tokens",
    re.IGNORECASE,
)
_SCHEMA: Final = re.compile(r"response_format|json_schema|schema|grammar|structured", re.IGNORECASE)
_MISMATCH: Final = re.compile(r"output that does not match the expected", re.IGNORECASE)
"""llama.cpp's server says so where an answer was cut off inside the JSON; what came before is of use."""
_KEY: Final = re.compile(r"[\x21-\x7e]+")


class OpenAi:
    """A server with `/v1/chat/completions`. Remembers which models it may not send a schema for, and whether it may ask
    what a prompt did cost.
    """

    name = "openai"

    def __init__(self, settings: SummarySettings, connections: Connections) -> None:
        self._server = Server(_WHO, settings.openai_url, settings, connections)
        self._contexts: dict[str, int] = {}
        self._plain: set[str] = set()
        self._counts = True
        self._key = ""  # the last that was sent, to be kept out of what is said

    async def probe(self, model: str) -> ProbeResult:
        """The named model, or the first one that can chat.

        Raises:
            SummarizerUnavailable: no such server, a key that is refused, no such model, or no model at all.
        """
        server = self._server
        status, body = await self._get(f"{server.url}/models")
        if status in (401, 403):
            raise self._unauthorized()
        models = listed(body, "data", "id")
        if status != 200 or models is None:
            raise SummarizerUnavailable(
                f"What answers at {server.place} is not OpenAI-compatible: correct openai_url under [summary]"
            )
        found = f"an OpenAI-compatible server at {server.place}"
        for item in models:
            if item["id"] == model or (not model and "embed" not in item["id"].lower()):
                self._contexts.pop(item["id"], None)
                if size := _size(item, "max_model_len", "context_length", "loaded_context_length"):
                    self._contexts[item["id"]] = size
                return ProbeResult(model=item["id"], found=found)
        missing = f"no model {model}" if model else "no model that can chat"
        raise SummarizerUnavailable(
            f"{_WHO} at {server.place} has {missing}: load one there, or name another", retry=False
        )

    async def context_tokens(self, model: str) -> int:
        """What the settings say, else the server, else `DEFAULT_CONTEXT`. Raises SummarizerUnavailable."""
        if self._server.settings.context_tokens:
            return self._server.settings.context_tokens
        if model not in self._contexts:
            self._contexts[model] = await self._ask_context(model)
        return self._contexts[model]

    async def complete(self, question: Question) -> AsyncGenerator[str, None]:
        """See `Provider.complete`. A server is asked without what it refuses: the schema, which the prompt says too, or
        the count of tokens.
        """
        model = question.model
        request: dict[str, Any] = {
            "model": model,
            "messages": list(question.messages),
            "stream": True,
            "temperature": 0,
            "max_tokens": question.answer_tokens,
        }
        headers = await self._headers()
        if self._counts:
            request["stream_options"] = {"include_usage": True}
        while True:
            if model not in self._plain:
                request["response_format"] = {
                    "type": "json_schema",
                    "json_schema": {"name": "summary", "strict": True, "schema": question.schema},
                }
            url = f"{self._server.url}/chat/completions"
            async with self._server.opened(url, request, headers) as response:
                if response.status_code == 200:
                    async with aclosing(self._pieces(response, question)) as pieces:
                        async for piece in pieces:
                            yield piece
                    return
                body = loads(await read_body(response))
            if self._too_long(body):
                raise PromptTooLong
            refuses = _refuses(response.status_code, body, request)
            if not refuses:
                # It was neither of them then, or not they alone.
                self._plain.discard(model)
                self._counts = True
                raise self._refusal(response.status_code, body, model)
            del request[refuses]
            if refuses == "response_format":
                self._plain.add(model)
            else:
                self._counts = False

    async def _pieces(self, response: httpx.Response, question: Question) -> AsyncGenerator[str, None]:
        model = question.model
        if "application/json" in response.headers.get("content-type", ""):
            # A server that cannot stream sends the whole completion at once.
            piece, finish = self._read(await read_body(response), question)
            yield piece
        else:
            finish = None
            async with aclosing(stream(response, Events())) as events:
                async for data in events:
                    if data.strip() == "[DONE]":
                        finish = finish or "stop"
                        break
                    piece, ended = self._read(data, question)
                    finish = ended or finish
                    yield piece
        if finish is None:
            raise self._server.broke_off(model)
        if finish == "length":
            raise AnswerCut

    def _read(self, data: bytes | str, question: Question) -> tuple[str, str | None]:
        """Text and finish reason of one chunk (`delta`) or of a whole completion (`message`)."""
        said = loads(data)
        if not isinstance(said, dict):
            raise SummarizerUnavailable(f"{_WHO} sent what is no JSON: is {self._server.place} the right address?")
        if said.get("error") is not None:
            if self._too_long(said):
                raise PromptTooLong
            if _MISMATCH.search(error_text(said)):
                raise AnswerCut
            raise self._server.stopped(self._text(said), question.model)
        if count := _size(said.get("usage"), "prompt_tokens"):
            question.counted(count)
        choices = said.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return "", None
        part = choice.get("delta") or choice.get("message")
        content = part.get("content") if isinstance(part, dict) else None
        finish = choice.get("finish_reason")
        return content if isinstance(content, str) else "", finish if isinstance(finish, str) else None

    async def _ask_context(self, model: str) -> int:
        """LM Studio says it under `/api/v0/models`, llama.cpp's server under `/props`; both beside `/v1`."""
        root = self._server.url.removesuffix("/v1")
        _, body = await self._get(f"{root}/api/v0/models")
        for item in listed(body, "data", "id") or []:
            if item["id"] == model:
                return _size(item, "loaded_context_length") or DEFAULT_CONTEXT
        _, body = await self._get(f"{root}/props")
        generation = body.get("default_generation_settings") if isinstance(body, dict) else None
        return _size(generation, "n_ctx") or DEFAULT_CONTEXT

    async def _get(self, url: str) -> tuple[int, Any]:
        return await self._server.ask("GET", url, headers=await self._headers())

    async def _headers(self) -> dict[str, str]:
        """The key, read anew each time so that a changed file is used. Raises SummarizerUnavailable."""
        path = self._server.settings.openai_key_file
        if not path:
            key, where = os.environ.get(KEY_VARIABLE, "").strip(), KEY_VARIABLE
        else:
            where = path
            try:
                key = (await trio.Path(path).read_text("utf-8")).strip()
            except (OSError, UnicodeError) as error:
                raise SummarizerUnavailable(
                    f"The key file {path} cannot be read: correct openai_key_file under [summary]", retry=False
                ) from error
        if not key:
            return {}
        if not _KEY.fullmatch(key):
            # Said without the key itself, which the HTTP library would quote.
            raise SummarizerUnavailable(f"The key in {where} is invalid: it must be one word of ASCII", retry=False)
        self._key = key
        return {"authorization": f"Bearer {key}"}

    def _text(self, body: Any) -> str:
        return error_text(body, self._key)

    def _too_long(self, body: Any) -> bool:
        error = body.get("error") if isinstance(body, dict) else None
        kind = f"{error.get('code')} {error.get('type')}" if isinstance(error, dict) else ""
        return "context_length" in kind or "context_size" in kind or bool(_LENGTH.search(self._text(body)))

    def _unauthorized(self) -> SummarizerUnavailable:
        return SummarizerUnavailable(
            f"{_WHO} at {self._server.place} refused the key: set {KEY_VARIABLE} or openai_key_file under [summary]",
            retry=False,
        )

    def _refusal(self, status: int, body: Any, model: str) -> SummarizerUnavailable:
        if status in (401, 403):
            return self._unauthorized()
        return self._server.refused(status, self._text(body), model)


def _refuses(status: int, body: Any, request: Mapping[str, Any]) -> str:
    """Which field of a request a refusal may be about; "" for none. Some servers say 500 where they cannot compile a
    schema, and most do not say which field they do not know: the schema is the likelier one.
    """
    text = error_text(body)
    if status in (400, 422):
        first = "stream_options" if "stream_options" in text else "response_format"
        return next((name for name in (first, "response_format", "stream_options") if name in request), "")
    if status in (500, 501) and _SCHEMA.search(text) and "response_format" in request:
        return "response_format"
    return ""


def _size(about: Any, *names: str) -> int:
    """The first of these fields that is a positive number of tokens, else 0."""
    values = [about.get(name) for name in names] if isinstance(about, dict) else []
    return next((v for v in values if isinstance(v, int) and not isinstance(v, bool) and v > 0), 0)
