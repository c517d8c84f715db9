"""Ollama, by its native interface.

In: messages and a schema. Out: the answer as a stream of text. It uses `/api/tags`, `/api/show` and
`/api/chat`, and never the OpenAI-compatible address of the same server, which ignores `num_ctx`.

What a prompt needs beyond `num_ctx` is cut off in silence, from the front, and the reply is 200 (ollama issue
3839). Three things keep that from happening unseen: `num_ctx` is sized to the prompt; `truncate: false` asks
newer versions for an error instead; and `prompt_eval_count` of the last line is compared with what was sent.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

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
from convod.summary.tokens import UPPER
from convod.summary.wire import Lines

KEEP_ALIVE: Final = "10m"
"""How long the model stays loaded: parts of a long talk, and a retry, come within this."""
COMFORT_TOKENS: Final = 16384
"""Largest context that is asked for unless the settings name one. Models claim 128k and more, but the memory for
it is reserved at once (128 KiB a token for 8 billion parameters with grouped queries: 2 GiB here), and what does
not fit the GPU runs many times slower. A longer talk is summarised in parts."""
STEP_TOKENS: Final = 2048
"""`num_ctx` grows in these steps: each new value makes the server load the model again."""
_EMBEDDERS: Final = {"bert", "nomic-bert", "xlm-roberta", "snowflake-arctic-embed"}
_LENGTH: Final = re.compile(r"(context|input) (length|size|window)|exceed.{0,40}context", re.IGNORECASE)


@dataclass(frozen=True)
class _Sent:
    """A chat request that is under way: what its prompt may have cost, and the context it was given."""

    question: Question
    estimate: int
    num_ctx: int


class Ollama:
    """A server of Ollama. Knows its models' context lengths once it has asked for them."""

    name = "ollama"

    def __init__(self, settings: SummarySettings, connections: Connections) -> None:
        self._server = Server("Ollama", settings.ollama_url, settings, connections)
        self._limits: dict[str, int] = {}
        self._thinks: set[str] = set()
        self._wide: set[str] = set()

    async def probe(self, model: str) -> ProbeResult:
        """The named model, or the newest one here that can chat. Cloud models are never taken unasked.

        Raises:
            SummarizerUnavailable: no Ollama, no such model, or no model at all.
        """
        server = self._server
        status, body = await server.ask("GET", f"{server.url}/api/tags")
        models = listed(body, "models", "name")
        if status != 200 or models is None:
            raise SummarizerUnavailable(
                f"What answers at {server.place} is no Ollama: correct ollama_url under [summary]"
            )
        if model:
            wanted = model if ":" in model.rsplit("/", 1)[-1] else f"{model}:latest"
            if not any(wanted == item["name"] or model == item["name"] for item in models):
                raise _no_model(model)
            return ProbeResult(model=model, found=f"Ollama at {server.place}")
        for item in models:
            if _chats(item) and not item.get("remote_host"):
                return ProbeResult(model=item["name"], found=f"Ollama at {server.place}")
        raise SummarizerUnavailable(
            f"Ollama at {server.place} has no model that can chat: run `ollama pull llama3.2`", retry=False
        )

    async def context_tokens(self, model: str) -> int:
        """What the settings say, else what the model can, up to `COMFORT_TOKENS`. Raises SummarizerUnavailable."""
        if model not in self._limits:
            status, body = await self._server.ask("POST", f"{self._server.url}/api/show", send={"model": model})
            if status == 404:
                raise _no_model(model)
            if status != 200:
                raise self._server.refused(status, error_text(body), model)
            about = body if isinstance(body, dict) else {}
            capabilities = about.get("capabilities")
            if isinstance(capabilities, list) and "thinking" in capabilities:
                self._thinks.add(model)
            self._limits[model] = _context_length(about.get("model_info"))
        limit = self._limits[model]
        wanted = self._server.settings.context_tokens or COMFORT_TOKENS
        return min(wanted, limit) if limit else min(wanted, 4096)

    async def complete(self, question: Question) -> AsyncGenerator[str, None]:
        """See `Provider.complete`. A prompt that was cut makes the next context of this model the largest."""
        model, most = question.model, question.context_tokens
        estimate = UPPER.of_messages(question.messages)
        needed = -(-(estimate + question.answer_tokens) // STEP_TOKENS) * STEP_TOKENS
        sent = _Sent(question, estimate, most if model in self._wide else min(needed, most))
        request: dict[str, Any] = {
            "model": model,
            "messages": list(question.messages),
            "stream": True,
            "format": question.schema,
            "keep_alive": KEEP_ALIVE,
            "truncate": False,
            "shift": False,
            "options": {
                "num_ctx": sent.num_ctx, "num_predict": question.answer_tokens, "temperature": 0, "seed": 1,
            },
        }  # fmt: skip
        if model in self._thinks:
            # Thoughts are not shown and cost minutes on small machines.
            request["think"] = False
        async with self._server.opened(f"{self._server.url}/api/chat", request) as response:
            if response.status_code != 200:
                raise self._refusal(response.status_code, await read_body(response), sent)
            async with aclosing(stream(response, Lines())) as lines:
                async for line in lines:
                    said = self._read(line, model)
                    yield _content(said)
                    if said.get("done"):
                        self._check(said, sent)
                        return
        raise self._server.broke_off(model)

    def _read(self, line: bytes, model: str) -> dict[str, Any]:
        if not line.strip():
            return {}
        said = loads(line)
        if not isinstance(said, dict):
            raise SummarizerUnavailable("Ollama sent a line that is no JSON: is it Ollama at ollama_url?")
        if "error" in said:
            raise self._server.stopped(error_text(said), model)
        return said

    def _refusal(self, status: int, body: bytes, sent: _Sent) -> Exception:
        text = error_text(loads(body))
        if status == 400 and _LENGTH.search(text):
            return self._too_long(sent)
        model = sent.question.model
        return _no_model(model) if status == 404 else self._server.refused(status, text, model)

    def _too_long(self, sent: _Sent) -> PromptTooLong:
        self._wide.add(sent.question.model)
        return PromptTooLong(again=sent.num_ctx < sent.question.context_tokens)

    def _check(self, last: dict[str, Any], sent: _Sent) -> None:
        """Was the prompt read whole, and the answer written to its end?

        Versions that ignore `truncate` keep half of `num_ctx` and a few tokens more (ollama issue 17427), older
        ones all of it; and no vocabulary needs less than a fifth of the estimate. A prompt that happens to have
        such a count costs one more request.
        """
        count = last.get("prompt_eval_count")
        if isinstance(count, int):
            if count < 0.2 * sent.estimate or 0 <= count - sent.num_ctx // 2 <= 8 or count >= sent.num_ctx - 1:
                raise self._too_long(sent)
            # Some versions leave out what they had in their cache (ollama issue 16414): the instructions, mostly.
            cached = 0 if "prompt_eval_cached_count" in last else UPPER.of_messages(sent.question.messages[:1])
            sent.question.counted(count + cached)
        if last.get("done_reason") == "length":
            raise AnswerCut


def _no_model(model: str) -> SummarizerUnavailable:
    return SummarizerUnavailable(f"Ollama has no model {model}: run `ollama pull {model}`", retry=False)


def _content(said: dict[str, Any]) -> str:
    message = said.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else ""


def _chats(item: dict[str, Any]) -> bool:
    """Whether a listed model writes text: embedding models are listed like any other."""
    details = item.get("details")
    family = details.get("family") if isinstance(details, dict) else None
    return family not in _EMBEDDERS and "embed" not in item["name"].lower()


def _context_length(info: Any) -> int:
    """`<architecture>.context_length` of `model_info`, 0 if it is not said."""
    if not isinstance(info, dict):
        return 0
    value = info.get(f"{info.get('general.architecture')}.context_length")
    return value if isinstance(value, int) and value > 0 else 0
