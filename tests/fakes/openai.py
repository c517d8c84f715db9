"""A fake server of OpenAI's chat completions, as LM Studio and its like speak it, and its failures on demand.

As a program: `python -m tests.fakes.openai --port 1234 [--fault NAME]`, or by path.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import trio

if not __package__:  # run by path
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fakes.httpserver import Reply, Request, serve, serving, stall
from tests.fakes.model import FAULTS, answer, count_tokens, faulty, pieces


class FakeOpenAi:
    """`faults` are used up one a completion (None is one that goes well), then `fault` holds for all.

    `flavour` says what else is there: "lmstudio" has `/api/v0/models`, "llamacpp" has `/props`, "vllm" says
    `max_model_len` in the list of models.
    """

    def __init__(
        self,
        *,
        model: str = "qwen2.5-7b-instruct",
        context_length: int = 8192,
        fault: str | None = None,
        flavour: str = "lmstudio",
        key: str = "",
    ) -> None:
        self.models = ["text-embedding-nomic-embed-text-v1.5", model]
        self.context_length = context_length
        self.fault = fault
        self.faults: list[str | None] = []
        self.flavour = flavour
        self.key = key
        self.completions: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[str] = []
        self.chunk_bytes = 0
        self.line_end = "\n"
        self.streams = True
        """False: `stream` is ignored, the completion comes whole."""
        self.says_done = True
        """False: the stream ends without `[DONE]`, after a finish reason."""
        self.release = trio.Event()
        self.stalled = trio.Event()
        self.hung_up = trio.Event()

    async def handle(self, request: Request, reply: Reply) -> None:
        self.paths.append(request.path)
        self.headers.append(request.headers)
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            error = {
                "message": "Incorrect API key provided.",
                "type": "invalid_request_error",
                "code": "invalid_api_key",
            }
            await reply.send(401, {"error": error})
        elif request.path == "/v1/models":
            await reply.send(200, {"object": "list", "data": [self._listed(name) for name in self.models]})
        elif request.path == "/v1/chat/completions":
            self.completions.append(request.json)
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
        fault = self.faults.pop(0) if self.faults else self.fault
        model = asked["model"]
        if fault == "no_response_format" and "response_format" in asked:
            await reply.send(400, {"error": "'response_format.type' must be 'text'"})
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
        count = count_tokens(asked["messages"])
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
        text = self.answers.pop(0) if self.answers else faulty(answer(asked["messages"]), fault)
        finish = "length" if fault == "cut" else "stop"
        if not self.streams:
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": finish}
            await reply.send(200, self._chunk(model, "chat.completion", choice))
            return
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, {"reasoning_content": "Let me think {"}]
        deltas += [{"content": piece} for piece in pieces(text)]
        events = [
            self._chunk(model, "chat.completion.chunk", {"index": 0, "delta": delta, "finish_reason": None})
            for delta in deltas
        ]
        last = self._chunk(model, "chat.completion.chunk", {"index": 0, "delta": {}, "finish_reason": finish})
        await reply.start(200, "text/event-stream")
        if fault in ("die", "stall", "silent", "error_in_stream"):
            await self._write(reply, [] if fault == "silent" else [json.dumps(e) for e in events[: len(events) // 2]])
            await self._fail(fault, reply)
            return
        usage = self._chunk(model, "chat.completion.chunk") | {"usage": {"prompt_tokens": count}}
        done = ["[DONE]"] if self.says_done else []
        await self._write(reply, [*(json.dumps(event, ensure_ascii=False) for event in [*events, last, usage]), *done])
        await reply.end()

    async def _fail(self, fault: str, reply: Reply) -> None:
        if fault == "die":
            await reply.die()
        elif fault == "error_in_stream":
            await self._write(reply, [json.dumps({"error": {"message": "Model unloaded.", "type": "server_error"}})])
            await reply.end()
        else:
            await stall(self.stalled, self.release, self.hung_up, reply)

    def _chunk(self, model: str, kind: str, *choices: dict[str, Any]) -> dict[str, Any]:
        return {"id": "chatcmpl-x9", "object": kind, "created": 1738324800, "model": model, "choices": [*choices]}

    async def _write(self, reply: Reply, events: list[str]) -> None:
        """Events with a comment before each, as servers send them to keep a connection alive."""
        end = self.line_end
        rows = [f": keep-alive{end}{end}data: {event}{end}{end}".encode() for event in events]
        if self.chunk_bytes:
            data = b"".join(rows)
            rows = [data[at : at + self.chunk_bytes] for at in range(0, len(data), self.chunk_bytes)]
        for row in rows:
            await reply.write(row)


@asynccontextmanager
async def running_openai(**options: Any) -> AsyncIterator[tuple[FakeOpenAi, str]]:
    """A fake and its address (with `/v1`), for the time of the block."""
    fake = FakeOpenAi(**options)
    async with serving(fake.handle) as url:
        yield fake, f"{url}/v1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=1234)
    parser.add_argument("--fault", choices=FAULTS)
    parser.add_argument("--key", default="")
    options = parser.parse_args()

    async def run() -> None:
        fake = FakeOpenAi(fault=options.fault, key=options.key)
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, fake.handle, options.port)
            print(f"http://127.0.0.1:{port}/v1", flush=True)

    with suppress(KeyboardInterrupt):
        trio.run(run)


if __name__ == "__main__":
    main()
