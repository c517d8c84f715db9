"""A fake server of OpenAI's chat completions, as LM Studio and its like speak it, and its failures on demand.

As a program: `python -m tests.fakes.openai --port 1234 [--fault NAME]`, or by path.
"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

if not __package__:  # run by path
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fakes.httpserver import Reply, Request
from tests.fakes.model import count_tokens, pieces
from tests.fakes.server import FakeServer, main, running


class FakeOpenAi(FakeServer):
    """`flavour` says what else is there: "lmstudio" has `/api/v0/models`, "llamacpp" has `/props`, "vllm" says
    `max_model_len` in the list of models.
    """

    suffix = "/v1"

    def __init__(
        self,
        *,
        model: str = "qwen2.5-7b-instruct",
        context_length: int = 8192,
        fault: str | None = None,
        flavour: str = "lmstudio",
        key: str = "",
    ) -> None:
        super().__init__(fault)
        self.models = ["text-embedding-nomic-embed-text-v1.5", model]
        self.context_length = context_length
        self.flavour = flavour
        self.key = key
        self.line_end = "\n"
        self.streams = True
        """False: `stream` is ignored, the completion comes whole."""
        self.says_done = True
        """False: the stream ends without `[DONE]`, after a finish reason."""

    async def respond(self, request: Request, reply: Reply) -> None:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            error = {
                "message": f"Incorrect API key provided: {request.headers.get('authorization')}.",
                "type": "invalid_request_error",
                "code": "invalid_api_key",
            }
            await reply.send(401, {"error": error})
        elif request.path == "/v1/models":
            await reply.send(200, {"object": "list", "data": [self._listed(name) for name in self.models]})
        elif request.path == "/v1/chat/completions":
            self.questions.append(request.json)
            await self._complete(request.json, reply)
        elif request.path == "/api/v0/models" and self.flavour == "lmstudio":
            listed = [
                {"id": name, "object": "model", "type": "llm", "state": "loaded", "max_context_length": 32768}
                | {"loaded_context_length": self.context_length}
                for name in self.models
            ]
            await reply.send(200, {"object": "list", "data": listed})
        elif request.path == "/props" and self.flavour == "llamacpp":
            await reply.send(200, {"default_generation_settings": {"n_ctx": self.context_length}, "total_slots": 1})
        else:
            await reply.send(200, {"error": f"Unexpected endpoint or method. (GET {request.path})"})

    def _listed(self, name: str) -> dict[str, Any]:
        listed: dict[str, Any] = {"id": name, "object": "model", "owned_by": "organization_owner"}
        if self.flavour == "vllm":
            listed["max_model_len"] = self.context_length
        return listed

    async def _complete(self, asked: dict[str, Any], reply: Reply) -> None:
        fault = self.next_fault()
        model = asked["model"]
        if fault == "no_response_format" and "response_format" in asked:
            await reply.send(400, {"error": "'response_format.type' must be 'text'"})
            return
        if fault in ("no_stream_options", "unknown_field") and "stream_options" in asked:
            named = "stream_options: Extra inputs are not permitted" if fault == "no_stream_options" else "bad request"
            await reply.send(422, {"error": {"message": named, "type": "invalid_request_error"}})
            return
        if fault == "bad_grammar" and "response_format" in asked:
            error = {"message": "Failed to initialize samplers: failed to parse grammar", "type": "server_error"}
            await reply.send(500, {"error": error})
            return
        if fault == "not_found" or model not in self.models:
            error = {"message": f"The model `{model}` does not exist", "type": "NotFoundError", "code": 404}
            await reply.send(404, {"error": error})
            return
        if fault == "error_500":
            await reply.send(
                500, {"error": {"message": "EngineCore encountered an issue", "type": "InternalServerError"}}
            )
            return
        if fault == "quotes_the_key":
            await reply.send(429, {"error": {"message": f"Slow down, {self.headers[-1].get('authorization')}."}})
            return
        count = count_tokens(asked["messages"], self.wide_tokens)
        if fault == "too_long" or count + asked.get("max_tokens", 0) > self.context_length:
            error = {
                "code": 400,
                "message": f"the request exceeds the available context size ({count} tokens)",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": count,
                "n_ctx": self.context_length,
            }
            await reply.send(400, {"error": error})
            return
        schema = asked.get("response_format", {}).get("json_schema", {}).get("schema")
        text = self.next_answer(asked["messages"], schema, fault)
        finish = "length" if fault == "cut" else "stop"
        if not self.streams:
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": finish}
            await reply.send(200, self._chunk(model, "chat.completion", choice) | {"usage": {"prompt_tokens": count}})
            return
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, {"reasoning_content": "Let me think {"}]
        deltas += [{"content": piece} for piece in pieces(text)]
        events = [
            self._chunk(model, "chat.completion.chunk", {"index": 0, "delta": delta, "finish_reason": None})
            for delta in deltas
        ]
        last = self._chunk(model, "chat.completion.chunk", {"index": 0, "delta": {}, "finish_reason": finish})
        await reply.start(200, "text/event-stream")
        counted = asked.get("stream_options", {}).get("include_usage")
        usage = [self._chunk(model, "chat.completion.chunk") | {"usage": {"prompt_tokens": count}}] if counted else []
        error = {"error": {"message": "Model unloaded.", "type": "server_error"}}
        if fault == "cut_as_error":
            last = {
                "error": {
                    "code": 500,
                    "message": "The model produced output that does not match the expected peg-native format",
                    "type": "server_error",
                }
            }
        said = [json.dumps(event, ensure_ascii=False) for event in (*events, last, *usage)]
        rows = [self._row(data) for data in (*said, *(["[DONE]"] if self.says_done else []))]
        await self.stream(reply, fault, rows, self._row(json.dumps(error)))

    def _row(self, data: str) -> bytes:
        """An event with a comment before it, as servers send them to keep a connection alive."""
        end = self.line_end
        return f": keep-alive{end}{end}data: {data}{end}{end}".encode()

    def _chunk(self, model: str, kind: str, *choices: dict[str, Any]) -> dict[str, Any]:
        return {"id": "chatcmpl-x9", "object": kind, "created": 1738324800, "model": model, "choices": [*choices]}


def running_openai(**options: Any) -> AbstractAsyncContextManager[tuple[FakeOpenAi, str]]:
    """A fake and its address (with `/v1`), for the time of the block."""
    return running(FakeOpenAi(**options))


if __name__ == "__main__":
    main(lambda options: FakeOpenAi(fault=options.fault, key=options.key), __doc__, 1234, "--key")
