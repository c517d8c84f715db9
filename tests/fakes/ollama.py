"""A fake Ollama: `/api/tags`, `/api/show`, `/api/chat` as the real one speaks them, and its failures on demand.

As a program: `python -m tests.fakes.ollama --port 11434 [--fault NAME]`, or by path.
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

CREATED = "2025-01-31T12:00:00.123456789Z"


class FakeOllama(FakeServer):
    """`honours_truncate`: newer versions answer 400 to a prompt that does not fit and may not be cut; older ones cut
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
        super().__init__(fault)
        self.context_length = context_length
        self.capabilities = capabilities
        self.honours_truncate = honours_truncate
        self.counts_cached = True
        """False: as 0.30.0, which counts only what it had not in its cache (ollama issue 16414)."""

    async def respond(self, request: Request, reply: Reply) -> None:
        if request.path == "/api/tags":
            await reply.send(200, {"models": self.models})
        elif request.path == "/api/show":
            await self._show(request.json["model"], reply)
        elif request.path == "/api/chat":
            self.questions.append(request.json)
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
        fault = self.next_fault()
        model = asked["model"]
        if fault == "not_found" or not self._has(model):
            await reply.send(404, {"error": f"model '{model}' not found"})
            return
        if fault == "error_500":
            await reply.send(500, {"error": "llama runner process has terminated: exit status 2"})
            return
        num_ctx = min(asked.get("options", {}).get("num_ctx", 4096), self.context_length)
        count = count_tokens(asked["messages"], self.wide_tokens)
        if fault == "too_long" or (count > num_ctx and asked.get("truncate") is False and self.honours_truncate):
            await reply.send(400, {"error": "the input length exceeds the context length"})
            return
        if fault == "truncated" or count > num_ctx:
            count = num_ctx // 2 + 2
        elif not self.counts_cached and len(self.questions) > 1:
            count -= count_tokens(asked["messages"][:1])
        text = self.next_answer(asked["messages"], asked.get("format"), fault)
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
        error = {"error": "an error was encountered while running the model: CUDA error"}
        rows = [json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in (*lines, last)]
        await self.stream(reply, fault, rows, json.dumps(error).encode() + b"\n")

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


def running_ollama(**options: Any) -> AbstractAsyncContextManager[tuple[FakeOllama, str]]:
    """A fake and its address, for the time of the block."""
    return running(FakeOllama(**options))


if __name__ == "__main__":
    main(lambda options: FakeOllama(fault=options.fault), __doc__, 11434)
