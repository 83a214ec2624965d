"""The judges: Anthropic Messages, any OpenAI-compatible server, and the offline stand-in."""

import dataclasses
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.keys import api_key
from persuasion_lib.demo.standins import OfflineJudge
from persuasion_lib.judging.faults import broken_reply
from persuasion_lib.judging.questions import PromptFile, Question

GUESS_PER_MINUTE = 50.0     # requests, until the provider has said what the account may do
OPENAI_URL = "https://api.openai.com/v1"
_LIMITS = {"requests": ("anthropic-ratelimit-requests-limit", "x-ratelimit-limit-requests"),
           "input_tokens": ("anthropic-ratelimit-input-tokens-limit", "x-ratelimit-limit-tokens"),
           "output_tokens": ("anthropic-ratelimit-output-tokens-limit",)}
_ANTHROPIC_STOPS = {"refusal": "refused", "max_tokens": "cut",
                    "model_context_window_exceeded": "cut"}
_OPENAI_STOPS = {"content_filter": "refused", "length": "cut"}


@dataclass(frozen=True)
class Reply:
    """What came back: text, why it ended, and what it cost in tokens (None: not said)."""

    text: str
    stop: Literal["end", "cut", "refused"]
    model: str
    request_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    limits: dict[str, float] = field(default_factory=dict)


@dataclass(kw_only=True)
class Judge:
    """One model behind one API, with what its calls may cost and how fast they may start.

    `price` is dollars per million input and output tokens; `seed` is the stand-in's alone. A judge
    is opened inside the event loop that uses it; its key is in no field, so no row, log or
    traceback can show it.
    """

    is_local: ClassVar[bool] = False    # on our own machine: no account with limits to keep

    provider: str
    model: str
    endpoint: str
    prompts: PromptFile
    max_tokens: int
    timeout_s: float
    prices_date: str
    budget_usd: float
    price: tuple[float, float] = (0.0, 0.0)
    requests_per_minute: float | None = None
    seed: int | None = None
    effort: str | None = None
    temperature: float | None = None
    calls_at_once: int | None = None
    root: Path = Path()                 # of the project: where a key is looked for
    _client: Any = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """Provider and model, as stored with every label."""
        return f"{self.provider}/{self.model}"

    @property
    def identity(self) -> tuple[Any, ...]:
        """Everything about the judge that its replies may depend on: a part of every key."""
        return (self.provider, self.model, self.effort, self.temperature, self.max_tokens,
                self.seed)

    @property
    def starts_per_minute(self) -> float:
        """How many calls may start in a minute, before a reply has told what the account may do."""
        return self.requests_per_minute or GUESS_PER_MINUTE

    def usd(self, input_tokens: float, output_tokens: float) -> float:
        """The price of a call in dollars."""
        return (input_tokens * self.price[0] + output_tokens * self.price[1]) / 1e6

    def worst_usd(self, question: Question) -> float:
        """The most that one call can cost."""
        return self.usd(input_tokens(question), self.max_tokens)

    async def open(self) -> None:
        """Make the client; runs in the loop that will ask."""

    async def ask(self, question: Question) -> Reply:
        """Ask once, without retries; raises what the SDK raises."""
        raise NotImplementedError

    async def close(self) -> None:
        """Release connections."""
        if self._client:
            await self._client.close()


def input_tokens(question: Question) -> int:
    """A high estimate: three characters a token, and the frame of the call."""
    return (len(question.system) + len(question.text)) // 3 + 60


@dataclass(kw_only=True)
class AnthropicJudge(Judge):
    """Claude through the Messages API, with structured output."""

    async def open(self) -> None:
        from anthropic import AsyncAnthropic

        self._client = AsyncAnthropic(api_key=api_key(self.root, "anthropic"), max_retries=0,
                                      base_url=self.endpoint, timeout=self.timeout_s)

    def request(self, question: Question) -> dict[str, Any]:
        """The arguments of `messages.create`, also for a batch."""
        output: dict[str, Any] = {"effort": self.effort}
        if question.schema:
            output["format"] = {"type": "json_schema", "schema": question.schema}
        return {"model": self.model, "max_tokens": self.max_tokens, "system": question.system,
                "messages": [{"role": "user", "content": question.text}], "output_config": output}

    async def ask(self, question: Question) -> Reply:
        raw = await self._client.messages.with_raw_response.create(**self.request(question))
        reply = self.reply_of(await raw.parse())
        return dataclasses.replace(reply, limits=_limits(raw.headers))

    @staticmethod
    def reply_of(message: Any) -> Reply:
        """The reply in an SDK message; the SDK does not check what a server sends."""
        content = getattr(message, "content", None)
        if not isinstance(content, list):
            raise broken_reply(f"not a message: {str(message)[:80]!r}")
        stop = _ANTHROPIC_STOPS.get(message.stop_reason, "end")
        text = "".join(str(b.text) for b in content if getattr(b, "type", "") == "text")
        if stop == "refused":
            details = getattr(message, "stop_details", None)
            text = str(getattr(details, "category", None) or "no category given")
        reply = Reply(text, stop, str(message.model), getattr(message, "_request_id", None))
        usage = getattr(message, "usage", None)
        if not usage:
            return reply
        cached = sum(getattr(usage, f"cache_{kind}_input_tokens", None) or 0
                     for kind in ("creation", "read"))
        return dataclasses.replace(reply, input_tokens=usage.input_tokens + cached,
                                   output_tokens=usage.output_tokens)


@dataclass(kw_only=True)
class OpenAIJudge(Judge):
    """Chat completions of OpenAI, vLLM, Ollama, `transformers serve` and the like."""

    structured: bool = True

    async def open(self) -> None:
        from openai import AsyncOpenAI

        self._client = AsyncOpenAI(api_key=openai_key(self.root, self.endpoint), max_retries=0,
                                   base_url=self.endpoint, timeout=self.timeout_s)

    async def ask(self, question: Question) -> Reply:
        from openai import BadRequestError, UnprocessableEntityError

        try:
            return await self._ask(question)
        except (BadRequestError, UnprocessableEntityError) as error:
            words = set(re.findall(r"\w+", str(error)))
            if not self.structured or not words & {"response_format", "json_schema"}:
                raise
            self.structured = False         # an older server: its text is read tolerantly
            return await self._ask(question)

    async def _ask(self, question: Question) -> Reply:
        limit = "max_completion_tokens" if self.endpoint == OPENAI_URL else "max_tokens"
        extra: dict[str, Any] = {limit: self.max_tokens}
        if self.temperature is not None:
            extra |= {"temperature": self.temperature, "seed": question.sample}
        if question.schema and self.structured:
            extra["response_format"] = {"type": "json_schema", "json_schema": {
                "name": question.task, "strict": True, "schema": question.schema}}
        raw = await self._client.chat.completions.with_raw_response.create(
            model=self.model, messages=[{"role": "system", "content": question.system},
                                        {"role": "user", "content": question.text}], **extra)
        return self._reply_of(raw.parse(), raw.headers)

    def _reply_of(self, completion: Any, headers: Any) -> Reply:
        choices = getattr(completion, "choices", None)
        if not isinstance(choices, list) or not choices or choices[0].message is None:
            raise broken_reply(f"not a completion: {str(completion)[:80]!r}")
        message = choices[0].message
        refusal = getattr(message, "refusal", None)
        stop = "refused" if refusal else _OPENAI_STOPS.get(choices[0].finish_reason, "end")
        usage = getattr(completion, "usage", None)
        return Reply(refusal or message.content or "", stop, str(completion.model),
                     headers.get("x-request-id"),
                     input_tokens=usage.prompt_tokens if usage else None,
                     output_tokens=usage.completion_tokens if usage else None,
                     limits=_limits(headers))


@dataclass(kw_only=True)
class StandInJudge(Judge):
    """A named stand-in without a model; it answers in the format that a real judge uses."""

    is_local = True

    async def ask(self, question: Question) -> Reply:
        text = question.stand_in(OfflineJudge(seed=self.seed))
        return Reply(text, "end", self.model, input_tokens=0, output_tokens=0)


def openai_key(root: Path, endpoint: str) -> str:
    """The OpenAI key; "none" for a server of one's own when there is no key."""
    try:
        return api_key(root, "openai")
    except ConfigError as error:
        if endpoint == OPENAI_URL or error.key is None:
            raise
        return "none"


def _limits(headers: Any) -> dict[str, float]:
    """Per-minute limits of the account, from the headers of a reply."""
    found: dict[str, float] = {}
    for name, sent_as in _LIMITS.items():
        for header in sent_as:
            with suppress(KeyError, ValueError):
                found[name] = float(headers[header])
    return {name: value for name, value in found.items() if value > 0}
