"""The "language model" of the fakes: a plausible summary made of the words in the prompt.

It quotes the first words of the talk, so a test that runs the whole path can see that they arrived; it does what a
model should do with the talk, which is to take it as data, and cites the segments that its words come from.
"""

from __future__ import annotations

import json
import re
from typing import Any

FAULTS = (
    "error_500",  # the request is refused
    "error_in_stream",  # 200, some pieces, then an error where a piece should be
    "broken_json",  # the answer is no JSON
    "empty",  # the answer is empty
    "text_around",  # the answer has words and a code fence around it
    "die",  # the connection ends in the middle
    "stall",  # some pieces, then nothing until `release` is set
    "pause",  # some pieces, and the rest once `release` is set
    "silent",  # headers only, then nothing until `release` is set
    "cut",  # the answer stops for its length, in the middle of the summary
    "not_found",  # no such model
    "truncated",  # the prompt was cut off, and only the count says so (Ollama)
    "too_long",  # the prompt is refused for its length
    "no_response_format",  # HTTP 400 to any response_format (OpenAI)
    "no_stream_options",  # HTTP 422 to any stream_options, which it names (OpenAI)
    "unknown_field",  # the same, and it does not say what is wrong (OpenAI)
    "bad_grammar",  # HTTP 500 to a schema that the server cannot compile (OpenAI)
    "cut_as_error",  # the answer stops in the middle, and an error says that it does not match (OpenAI)
    "quotes_the_key",  # HTTP 429 with the header that was sent (OpenAI)
    "made_up",  # the answer cites segments that do not exist, and names what nobody said
)

_LINE = re.compile(r"^\[(\d+)\] ", re.MULTILINE)
_HEAD = re.compile(
    r"^(?:Title given by the user|Notes of what was said before|Said since|So far|Part \d+|Action|Keywords): ?",
    re.MULTILINE,
)
"""What the prompts put before the words of the talk."""
_CITED = re.compile(r" ?\[([\d, ]+)\]$", re.MULTILINE)


def prompt_of(messages: list[dict[str, Any]]) -> str:
    return "\n".join(message["content"] for message in messages)


def count_tokens(messages: list[dict[str, Any]], wide_tokens: float = 1.0) -> int:
    """As a real vocabulary would, roughly: 1.3 a word; `wide_tokens` for each character of a script without words,
    which is 1 in a small vocabulary and down to 0.5 in a large one.
    """
    text = prompt_of(messages)
    wide = len(re.findall("[\u1100-\ud7ff]", text))
    return int(wide_tokens * wide) + int(1.3 * len(re.findall(r"[^\s\u1100-\ud7ff]+", text)))


def answer(messages: list[dict[str, Any]], schema: dict[str, Any] | None = None) -> str:
    """One JSON object as the prompts of this project ask for it; `schema` says which fields a summary has."""
    user = messages[-1]["content"]
    if "answer" in (schema or {}).get("properties", {}):
        return _answer_to_question(user)
    found = re.search(r"<(transcript|notes)>\n(.*)\n</\1>", user, re.DOTALL)
    data = found[2] if found else user
    numbers = [int(number) for number in _LINE.findall(data)]
    numbers += [int(number) for cited in _CITED.findall(data) for number in re.findall(r"\d+", cited)]
    words = _CITED.sub("", _LINE.sub("", _HEAD.sub("", data))).split()
    first = f"They said: {' '.join(words[:40])}"
    fields = ((schema or {}).get("properties", {}).get("summary", {})).get("properties")
    return json.dumps(
        {
            "title": " ".join(words[:5]),
            "summary": {name: f"{name} of it. {first}" for name in fields} if fields else first,
            "key_points": [
                {"text": " ".join(words[at : at + 8]), "sources": numbers[:2]}
                for at in range(0, min(len(words), 24), 8)
            ],
            "action_items": [
                {
                    "text": "Read the transcript",
                    "owner": words[0] if words else "",
                    "due": "",
                    "sources": numbers[:1],
                }
            ],
            "keywords": sorted({word.strip(".,?!") for word in words if len(word) > 5})[:5],
        },
        ensure_ascii=False,
    )


def _answer_to_question(user: str) -> str:
    """A sentence for each of the first passages: that it was said."""
    passages = re.findall(r"^\[(\d+)\] (.*)$", user, re.MULTILINE)
    said = [{"text": f"They said: {text}", "sources": [int(number)]} for number, text in passages[:2]]
    return json.dumps({"answer": said}, ensure_ascii=False)


def faulty(text: str, fault: str | None) -> str:
    """The answer as a model with this fault would write it."""
    if fault == "broken_json":
        return "I am sorry, I can only say that the meeting {went well"
    if fault == "empty":
        return ""
    if fault == "text_around":
        return f"Sure! Here is the summary:\n```json\n{text[:-1]},}}\n```\nLet me know {{if}} you need more."
    if fault in ("cut", "cut_as_error"):
        return text[: text.index("They said") + 12]
    if fault == "made_up":
        answered = json.loads(text)
        if "answer" in answered:
            answered["answer"] = [
                {"text": "They will pay Zebedee 4711 dollars.", "sources": [99999]},
                {"text": "Zebedee agreed.", "sources": []},
            ]
            return json.dumps(answered)
        answered["key_points"] = [{"text": "They will pay Zebedee 4711 dollars.", "sources": [99999]}]
        answered["action_items"] = [{"text": "Pay", "owner": "Zebedee", "due": "", "sources": []}]
        return json.dumps(answered)
    return text


def pieces(text: str, size: int = 7) -> list[str]:
    """Text as a model would stream it."""
    return [text[at : at + size] for at in range(0, len(text), size)]
