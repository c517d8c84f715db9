"""Ollama, by its native interface.

In: messages and a schema. Out: the answer as a stream of text. It uses `/api/tags`, `/api/show` and
`/api/chat`, and never the OpenAI-compatible address of the same server, which ignores `num_ctx`.

What a prompt needs beyond `num_ctx` is cut off in silence, from the front, and the reply is 200 (ollama issue
3839). Three things keep that from happening unseen: `num_ctx` is sized to the prompt; `truncate: false` asks
newer versions for an error instead; and `prompt_eval_count` of the last line is compared with what was sent.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from .base import (
    AnswerCut,
    ChatMessage,
    Connections,
    ProbeResult,
    PromptTooLong,
    SummarizerUnavailable,
    SummarySettings,
)
from .http import error_text, get_json, loads, opened, place, read_body, stream_lines
from .longform import estimate_messages

KEEP_ALIVE = "10m"
"""How long the model stays loaded: parts of a long talk, and a retry, come within this."""
COMFORT_TOKENS = 16384
"""Largest context that is asked for unless the settings name one. Models claim 128k and more, but the memory for
it is reserved at once (128 KiB a token for 8 billion parameters with grouped queries: 2 GiB here), and what does
not fit the GPU runs many times slower. A longer talk is summarised in parts."""
STEP_TOKENS = 2048
"""`num_ctx` grows in these steps: each new value makes the server load the model again."""
_PROBE_S = 5.0
_EMBEDDERS = {"bert", "nomic-bert", "xlm-roberta", "snowflake-arctic-embed"}
_LENGTH = re.compile(r"(context|input) (length|size|window)|exceed.{0,40}context", re.IGNORECASE)


class Ollama:
    """A server of Ollama. Knows its models' context lengths once it has asked for them."""

    name = "ollama"

    def __init__(self, settings: SummarySettings, connections: Connections) -> None:
        self._url = settings.ollama_url.rstrip("/")
        self._settings = settings
        self._connections = connections
        self._limits: dict[str, int] = {}
        self._thinks: set[str] = set()
        self._wide: set[str] = set()

    async def probe(self, model: str) -> ProbeResult:
        """The named model, or the newest one here that can chat. Cloud models are never taken unasked.

        Raises:
            SummarizerUnavailable: no Ollama, no such model, or no model at all.
        """
        status, body = await self._get("GET", "/api/tags")
        listed = body.get("models") if isinstance(body, dict) else None
        if status != 200 or not isinstance(listed, list):
            raise SummarizerUnavailable(
                f"What answers at {place(self._url)} is no Ollama: correct ollama_url under [summary]"
            )
        models = [item for item in listed if isinstance(item, dict) and isinstance(item.get("name"), str)]
        if model:
            wanted = model if ":" in model.rsplit("/", 1)[-1] else f"{model}:latest"
            if not any(wanted == item["name"] or model == item["name"] for item in models):
                raise SummarizerUnavailable(f"Ollama has no model {model}: run `ollama pull {model}`", retry=False)
            return ProbeResult(model=model, found=f"Ollama at {place(self._url)}")
        for item in models:
            if _chats(item) and not item.get("remote_host"):
                return ProbeResult(model=item["name"], found=f"Ollama at {place(self._url)}")
        raise SummarizerUnavailable(
            f"Ollama at {place(self._url)} has no model that can chat: run `ollama pull llama3.2`", retry=False
        )

    async def context_tokens(self, model: str) -> int:
        """What the settings say, else what the model can, up to `COMFORT_TOKENS`. Raises SummarizerUnavailable."""
        if model not in self._limits:
            status, body = await self._get("POST", "/api/show", send={"model": model})
            if status == 404:
                raise SummarizerUnavailable(f"Ollama has no model {model}: run `ollama pull {model}`", retry=False)
            about = body if isinstance(body, dict) else {}
            capabilities = about.get("capabilities")
            if isinstance(capabilities, list) and "thinking" in capabilities:
                self._thinks.add(model)
            self._limits[model] = _context_length(about.get("model_info"))
        limit = self._limits[model]
        wanted = self._settings.context_tokens or COMFORT_TOKENS
        return min(wanted, limit) if limit else min(wanted, 4096)

    async def complete(
        self,
        messages: Sequence[ChatMessage],
        schema: Mapping[str, Any],
        *,
        model: str,
        context_tokens: int,
        answer_tokens: int,
    ) -> AsyncGenerator[str, None]:
        """See `Provider.complete`. A prompt that was cut makes the next context of this model the largest."""
        estimate = estimate_messages(messages)
        needed = -(-(estimate + answer_tokens) // STEP_TOKENS) * STEP_TOKENS
        num_ctx = context_tokens if model in self._wide else min(needed, context_tokens)
        request: dict[str, Any] = {
            "model": model,
            "messages": list(messages),
            "stream": True,
            "format": schema,
            "keep_alive": KEEP_ALIVE,
            "truncate": False,
            "shift": False,
            "options": {"num_ctx": num_ctx, "num_predict": answer_tokens, "temperature": 0, "seed": 1},
        }
        if model in self._thinks:
            # Thoughts are not shown and cost minutes on small machines.
            request["think"] = False
        url = f"{self._url}/api/chat"
        async with opened(self._connections.client(), "POST", url, who="Ollama", send=request) as response:
            if response.status_code != 200:
                raise self._refusal(response.status_code, await read_body(response), model, num_ctx, context_tokens)
            async with aclosing(stream_lines(response)) as lines:
                async for line in lines:
                    said = self._read(line, model)
                    yield _content(said)
                    if said.get("done"):
                        self._check(said, estimate, model, num_ctx, context_tokens)
                        return
        raise SummarizerUnavailable(f"Ollama broke off in the middle of {model}: see its log, then try again")

    async def _get(self, method: str, path: str, send: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        timeout_s = self._settings.connect_timeout_s + _PROBE_S
        return await get_json(
            self._connections.client(), method, self._url + path, who="Ollama", timeout_s=timeout_s, send=send
        )

    def _read(self, line: bytes, model: str) -> dict[str, Any]:
        if not line.strip():
            return {}
        said = loads(line)
        if not isinstance(said, dict):
            raise SummarizerUnavailable("Ollama sent a line that is no JSON: is it Ollama at ollama_url?")
        if "error" in said:
            raise SummarizerUnavailable(
                f"Ollama stopped with '{error_text(said)}' in {model}: see its log, then try again"
            )
        return said

    def _refusal(self, status: int, body: bytes, model: str, num_ctx: int, most: int) -> Exception:
        text = error_text(loads(body))
        if status == 400 and _LENGTH.search(text):
            return self._too_long(model, num_ctx, most)
        if status == 404:
            return SummarizerUnavailable(f"Ollama has no model {model}: run `ollama pull {model}`", retry=False)
        why = f" ({text})" if text else ""
        return SummarizerUnavailable(
            f"Ollama answered {status}{why} for {model}: see its log, or choose another model",
            retry=status >= 500 or status == 429,
        )

    def _too_long(self, model: str, num_ctx: int, most: int) -> PromptTooLong:
        self._wide.add(model)
        return PromptTooLong(again=num_ctx < most)

    def _check(self, last: dict[str, Any], estimate: int, model: str, num_ctx: int, most: int) -> None:
        """Was the prompt read whole, and the answer written to its end?

        Versions that ignore `truncate` keep half of `num_ctx` and a few tokens more (ollama issue 17427), older
        ones all of it; and no vocabulary needs less than a third of the estimate. A prompt that happens to have
        such a count costs one more request.
        """
        count = last.get("prompt_eval_count")
        if isinstance(count, int) and (
            count < 0.3 * estimate or 0 <= count - num_ctx // 2 <= 8 or count >= num_ctx - 1
        ):
            raise self._too_long(model, num_ctx, most)
        if last.get("done_reason") == "length":
            raise AnswerCut


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
