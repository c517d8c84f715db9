"""A fake Ollama: `/api/tags`, `/api/show`, `/api/chat` as the real one speaks them, and its failures on demand.

As a program: `python -m tests.fakes.ollama --port 11434 [--fault NAME]`, or by path.
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

CREATED = "2025-01-31T12:00:00.123456789Z"


class FakeOllama:
    """`faults` are used up one a chat request (None is a request that goes well), then `fault` holds for all.

    `honours_truncate`: newer versions answer 400 to a prompt that does not fit and may not be cut; older ones cut
    it to half of `num_ctx` in silence.
    """

    def __init__(
        self,
        *,
        model: str = "llama3.2:latest",
        context_length: int = 131072,
        fault: str | None = None,
        honours_truncate: bool = True,
        capabilities: tuple[str, ...] = ("completion",),
    ) -> None:
        self.models: list[dict[str, Any]] = [
            _listed("nomic-embed-text:latest", "nomic-bert"),
            _listed("gpt-oss:120b-cloud", "gptoss") | {"remote_host": "https://ollama.com", "remote_model": "gpt-oss"},
            _listed(model, "llama"),
        ]
        self.context_length = context_length
        self.capabilities = capabilities
        self.fault = fault
        self.faults: list[str | None] = []
        self.honours_truncate = honours_truncate
        self.chats: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[str] = []
        """What the model says instead, one a request."""
        self.chunk_bytes = 0
        """Cut the stream at every so many bytes, in the middle of lines and characters; 0 is one chunk a line."""
        self.release = trio.Event()
        self.stalled = trio.Event()
        self.hung_up = trio.Event()

    async def handle(self, request: Request, reply: Reply) -> None:
        self.paths.append(request.path)
        self.headers.append(request.headers)
        if request.path == "/api/tags":
            await reply.send(200, {"models": self.models})
        elif request.path == "/api/show":
            await self._show(request.json["model"], reply)
        elif request.path == "/api/chat":
            self.chats.append(request.json)
            await self._chat(request.json, reply)
        else:
            await reply.send(404, b"404 page not found", "text/plain")

    async def _show(self, model: str, reply: Reply) -> None:
        if not self._has(model):
            await reply.send(404, {"error": f"model '{model}' not found"})
            return
        info = {
            "general.architecture": "llama",
            "general.parameter_count": 3212749888,
            "llama.context_length": self.context_length,
            "llama.embedding_length": 3072,
            "tokenizer.ggml.tokens": None,
        }
        details = {"format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "3.2B"}
        await reply.send(
            200,
            {"modelfile": "", "details": details, "model_info": info, "capabilities": list(self.capabilities)},
        )

    async def _chat(self, asked: dict[str, Any], reply: Reply) -> None:
        fault = self.faults.pop(0) if self.faults else self.fault
        model = asked["model"]
        if fault == "not_found" or not self._has(model):
            await reply.send(404, {"error": f"model '{model}' not found"})
            return
        if fault == "error_500":
            await reply.send(500, {"error": "llama runner process has terminated: exit status 2"})
            return
        num_ctx = min(asked.get("options", {}).get("num_ctx", 4096), self.context_length)
        count = count_tokens(asked["messages"])
        if fault == "too_long" or (count > num_ctx and asked.get("truncate") is False and self.honours_truncate):
            await reply.send(400, {"error": "the input length exceeds the context length"})
            return
        if fault == "truncated" or count > num_ctx:
            count = num_ctx // 2 + 2
        text = self.answers.pop(0) if self.answers else faulty(answer(asked["messages"]), fault)
        lines = [
            {"model": model, "created_at": CREATED, "message": {"role": "assistant", "content": piece}, "done": False}
            for piece in pieces(text)
        ]
        last = {
            "model": model,
            "created_at": CREATED,
            "message": {"role": "assistant", "content": ""},
            "done_reason": "length" if fault == "cut" else "stop",
            "done": True,
            "total_duration": 4883583458,
            "load_duration": 1334875,
            "prompt_eval_count": count,
            "prompt_eval_duration": 342546000,
            "eval_count": len(lines),
            "eval_duration": 4535599000,
        }
        await reply.start(200, "application/x-ndjson")
        if fault in ("die", "stall", "silent", "error_in_stream"):
            await self._write(reply, [] if fault == "silent" else lines[: len(lines) // 2])
            await self._fail(fault, reply)
            return
        await self._write(reply, [*lines, last])
        await reply.end()

    async def _fail(self, fault: str, reply: Reply) -> None:
        if fault == "die":
            await reply.die()
        elif fault == "error_in_stream":
            await self._write(reply, [{"error": "an error was encountered while running the model: CUDA error"}])
            await reply.end()
        else:
            await stall(self.stalled, self.release, self.hung_up, reply)

    async def _write(self, reply: Reply, lines: list[dict[str, Any]]) -> None:
        rows = [json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines]
        if self.chunk_bytes:
            data = b"".join(rows)
            rows = [data[at : at + self.chunk_bytes] for at in range(0, len(data), self.chunk_bytes)]
        for row in rows:
            await reply.write(row)

    def _has(self, model: str) -> bool:
        return any(item["name"] in (model, f"{model}:latest") for item in self.models)


def _listed(name: str, family: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "modified_at": CREATED,
        "size": 2019393189,
        "digest": "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72",
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": family,
            "families": [family],
            "parameter_size": "3.2B",
            "quantization_level": "Q4_K_M",
        },
    }


@asynccontextmanager
async def running_ollama(**options: Any) -> AsyncIterator[tuple[FakeOllama, str]]:
    """A fake and its address, for the time of the block."""
    fake = FakeOllama(**options)
    async with serving(fake.handle) as url:
        yield fake, url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=11434)
    parser.add_argument("--fault", choices=FAULTS)
    parser.add_argument("--context-length", type=int, default=131072)
    options = parser.parse_args()

    async def run() -> None:
        fake = FakeOllama(fault=options.fault, context_length=options.context_length)
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, fake.handle, options.port)
            print(f"http://127.0.0.1:{port}", flush=True)

    with suppress(KeyboardInterrupt):
        trio.run(run)


if __name__ == "__main__":
    main()
