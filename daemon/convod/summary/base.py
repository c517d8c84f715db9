"""The seam between the summary room and whatever writes summaries, and the words both sides use.

In: nothing. Out: types only; a provider of a language model is anything with the four members of `Provider`. This
module does no I/O and knows no provider.

A provider streams text. It does not know what a summary is: prompts, parsing, time-outs and long conversations are
handled by the modules beside this one, so a new provider is one small file.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol, TypedDict

import msgspec
from msgspec import Meta

from convo.messages import Segment

if TYPE_CHECKING:
    import httpx

EXTRACTIVE: Final = "extractive"
"""Name of the summarizer that needs no model, and so is not a `Provider`."""


class SummarySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[summary]` of the daemon's settings; times are seconds.

    `provider` is auto, ollama, openai, extractive, or one that an installed package adds. An empty `model`
    is the provider's first, an empty `language` that of the talk. The key for `openai_url` is the content of
    `openai_key_file`, else the environment variable CONVOD_OPENAI_KEY; it is never logged.
    `context_tokens` is what prompt and answer may fill together; 0 asks the provider.
    `styles_dir` holds templates for summaries (see styles.py); "" is `styles` beside the user's settings file, then
    /etc/convod/styles. `first_token_timeout_s` bounds every silence of the model, the first included;
    `total_timeout_s` bounds one request to it (a long talk takes several).
    """

    provider: str = "auto"
    model: str = ""
    style: str = "brief"
    styles_dir: str = ""
    language: str = ""
    ollama_url: str = "http://127.0.0.1:11434"
    openai_url: str = "http://127.0.0.1:1234/v1"
    openai_key_file: str = ""
    context_tokens: Annotated[int, Meta(ge=0, le=1 << 30)] = 0
    connect_timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 2.0
    first_token_timeout_s: Annotated[float, Meta(gt=0, le=86400)] = 120.0
    total_timeout_s: Annotated[float, Meta(gt=0, le=86400)] = 900.0


class Transcript(msgspec.Struct, frozen=True):
    """What was said, in a session of `owner`. `language` is a code such as "en", or empty when it is not known.

    `speakers`: what speakers are called, by the numbers that segments have.
    """

    title: str
    language: str
    segments: Sequence[Segment]
    owner: str = ""
    speakers: Mapping[int, str] = msgspec.field(default_factory=dict)


Show = Callable[[str, bool], None]
"""Gets a piece of a summary as it is written, and whether it begins the text: what came before it is void then."""


class SummarizerUnavailable(Exception):
    """No summary can be written now; the text is one sentence that says what to do.

    `retry` is False when waiting does not help: the settings or the request must change first. `wait_s` is the least
    time in seconds after which another try makes sense.
    """

    def __init__(self, message: str, *, retry: bool = True, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry = retry
        self.wait_s = wait_s


class PromptTooLong(Exception):
    """The model read only a part of the prompt, or refused it for its length.

    `again` is True when the provider has made room, so that the same prompt may fit now.
    """

    def __init__(self, *, again: bool = False) -> None:
        super().__init__("the prompt is longer than the model's context")
        self.again = again


class AnswerCut(Exception):
    """The model stopped because its room was full; what it wrote before was yielded."""


class ChatMessage(TypedDict):
    """One message to a model; `role` is system, user or assistant."""

    role: str
    content: str


class Question(msgspec.Struct, frozen=True):
    """One request to a model. `schema` is the JSON schema of the answer; prompt and answer have `context_tokens`
    together, of which the answer may have `answer_tokens`. Where the server says what the prompt cost, the provider
    tells `counted`: at most so many tokens, and the model read them all.
    """

    messages: Sequence[ChatMessage]
    schema: Mapping[str, Any]
    model: str
    context_tokens: int
    answer_tokens: int
    counted: Callable[[int], None] = lambda _: None


class ProbeResult(msgspec.Struct, frozen=True):
    """A provider that answers: the model it would use, and where it was found (for people)."""

    model: str
    found: str


class Provider(Protocol):
    """A language model behind an address. Built-in ones and those of other packages are the same here."""

    @property
    def name(self) -> str:
        """The name that settings and clients use."""

    async def probe(self, model: str) -> ProbeResult:
        """Check that it answers and has `model` ("" is any). Raises SummarizerUnavailable, which says why not."""

    async def context_tokens(self, model: str) -> int:
        """Return how many tokens prompt and answer of one request may have together."""

    def complete(self, question: Question) -> AsyncGenerator[str, None]:
        """Stream the answer as pieces of text, JSON of the schema where the server can promise that.

        An empty piece means that the model is at work (it reads, or reasons). Closing the generator or
        cancelling it closes the request. Raises SummarizerUnavailable, PromptTooLong, AnswerCut (after the
        last piece). Time-outs are the caller's.
        """


class Connections(Protocol):
    """Gives a provider the HTTP client to reach its server, made when it is first needed."""

    def client(self) -> httpx.AsyncClient:
        """Return the client; the provider never closes it."""
