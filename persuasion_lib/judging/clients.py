"""The judges: Anthropic Messages, any OpenAI-compatible server, and the offline stand-in."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.keys import api_key
from persuasion_lib.judging.faults import Fault
from persuasion_lib.judging.questions import LETTERS, Question
from persuasion_lib.judging.word_lists import RUBRIC, tactics_in

Role = Literal["label_ai", "evaluate", "oracle", "safety"]
_LIMITS = {"requests": ("anthropic-ratelimit-requests-limit", "x-ratelimit-limit-requests"),
           "input_tokens": ("anthropic-ratelimit-input-tokens-limit", "x-ratelimit-limit-tokens"),
           "output_tokens": ("anthropic-ratelimit-output-tokens-limit",)}


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


@dataclass
class Judge:
    """One model behind one API, with what its calls may cost and how fast they may start.

    `price` is dollars per million input and output tokens. A judge is opened inside the event
    loop that uses it; its key is in no field, so no row, log or traceback can show it.
    """

    provider: str
    model: str
    endpoint: str
    prompts: Path
    max_tokens: int
    timeout_s: float
    price: tuple[float, float]
    prices_date: str
    budget_usd: float
    requests_per_minute: float | None
    seed: int = 0
    effort: str | None = None
    temperature: float | None = None
    calls_at_once: int | None = None

    @property
    def name(self) -> str:
        """Provider and model, as stored with every label."""
        return f"{self.provider}/{self.model}"

    @property
    def identity(self) -> tuple[Any, ...]:
        """Everything about the judge that its replies may depend on: a part of every key."""
        seed = self.seed if self.provider == "offline" else None
        return (self.provider, self.model, self.effort, self.temperature, self.max_tokens, seed)

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


def input_tokens(question: Question) -> int:
    """A high estimate: three characters a token, and the frame of the call."""
    return (len(question.system) + len(question.text)) // 3 + 60


@dataclass
class AnthropicJudge(Judge):
    """Claude through the Messages API, with structured output."""

    root: Path = Path()

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
            raise Fault("broken reply", "retry", f"not a message: {str(message)[:80]!r}",
                        unknown_cost=True)
        text = "".join(str(b.text) for b in content if getattr(b, "type", "") == "text")
        usage, stop = getattr(message, "usage", None), message.stop_reason
        cached = sum(getattr(usage, f"cache_{kind}_input_tokens", None) or 0
                     for kind in ("creation", "read"))
        tokens = (usage.input_tokens + cached, usage.output_tokens) if usage else (None, None)
        if stop == "refusal":
            details = getattr(message, "stop_details", None)
            text = str(getattr(details, "category", None) or "no category given")
        ended = {"refusal": "refused", "max_tokens": "cut",
                 "model_context_window_exceeded": "cut"}.get(stop, "end")
        return Reply(text, ended, str(message.model), getattr(message, "_request_id", None),
                     *tokens)

    async def close(self) -> None:
        await self._client.close()


@dataclass
class OpenAIJudge(Judge):
    """Chat completions of OpenAI, vLLM, Ollama, `transformers serve` and the like."""

    root: Path = Path()
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
            if not self.structured or not {"response_format", "json_schema"} & set(
                    str(error).replace("'", " ").replace('"', " ").split()):
                raise
            self.structured = False         # an older server: its text is read tolerantly
            return await self._ask(question)

    async def _ask(self, question: Question) -> Reply:
        own = self.endpoint == OPENAI_URL
        extra: dict[str, Any] = {"max_completion_tokens" if own else "max_tokens": self.max_tokens}
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
            raise Fault("broken reply", "retry", f"not a completion: {str(completion)[:80]!r}",
                        unknown_cost=True)
        message, usage = choices[0].message, getattr(completion, "usage", None)
        refusal = getattr(message, "refusal", None)
        stop = "refused" if refusal or choices[0].finish_reason == "content_filter" else (
            "cut" if choices[0].finish_reason == "length" else "end")
        tokens = (usage.prompt_tokens, usage.completion_tokens) if usage else (None, None)
        return Reply(refusal or message.content or "", stop, str(completion.model),
                     headers.get("x-request-id"), *tokens, limits=_limits(headers))

    async def close(self) -> None:
        await self._client.close()


@dataclass
class OfflineJudge(Judge):
    """A named stand-in without a model; it answers in the format that a real judge uses."""

    async def open(self) -> None:
        from persuasion_lib.demo.standins import OfflineJudge as Scores

        self._scores = Scores(seed=self.seed)

    async def ask(self, question: Question) -> Reply:
        context, shown = question.context, question.candidates
        if question.task == "oracle":
            return Reply(self._scores.reply(question.messages), "end", self.model, None, 0, 0)
        if question.task == "compare":
            choice, why = self._scores.compare(context, *shown, sample=question.sample)
            answer: dict[str, Any] = {"reasoning": why, "choice": choice}
        elif question.task == "tactics":
            found = tactics_in(shown[0])
            answer = {name.replace(" ", "_"): {"reason": "a phrase of the word list", "present":
                                               name in found} for name in RUBRIC}
        else:
            slots, why = self._scores.rank(context, shown, sample=question.sample)
            answer = {"reasoning": why, "ranking": [LETTERS[slot] for slot in slots]}
        return Reply(json.dumps(answer), "end", self.model, None, 0, 0)


OPENAI_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com"


def make_judge(config: Config, role: Role) -> Judge:
    """The judge that the settings name for a role; checks its key, price and status, calls nothing.

    Raises:
        ConfigError: no usable key, no price for the model, or a model that is not served any more.
    """
    provider, model = provider_of(config, role), model_of(config, role)
    common: dict[str, Any] = {
        "prompts": config.root / "configs" / "prompts", "budget_usd": config.judging.budget_usd,
        "prices_date": config.judging.prices_date, "seed": config.seed,
        "requests_per_minute": config.rate_limiting.requests_per_minute}
    if provider == "offline":
        common["requests_per_minute"] = None
        return OfflineJudge(provider, model, "this process", max_tokens=0, timeout_s=60,
                            price=(0.0, 0.0), **common)
    settings = getattr(config, provider)
    common |= {"provider": provider, "model": model, "price": price_of(config, model),
               "max_tokens": settings.max_tokens, "timeout_s": settings.timeout,
               "root": config.root}
    if provider == "anthropic":
        check_model(model)
        api_key(config.root, "anthropic")
        endpoint = os.environ.get("ANTHROPIC_BASE_URL") or ANTHROPIC_URL
        return AnthropicJudge(endpoint=endpoint, effort=config.anthropic.effort, **common)
    endpoint = openai_endpoint(config)
    openai_key(config.root, endpoint)
    return OpenAIJudge(endpoint=endpoint, temperature=config.openai.temperature, **common)


def provider_of(config: Config, role: Role) -> str:
    """The service that the settings name for a role: anthropic, openai or offline."""
    return {"label_ai": config.label_ai.judge, "evaluate": config.evaluation.judge,
            "oracle": config.oracle.source, "safety": config.safety.judge}[role]


def model_of(config: Config, role: Role) -> str:
    """The model that plays a role; the judge of manipulation is the evaluation's."""
    provider = provider_of(config, role)
    if provider == "offline":
        return "stand-in"
    settings = getattr(config, provider)
    return {"evaluate": settings.evaluate_model, "safety": settings.evaluate_model,
            "oracle": settings.oracle_model}.get(role) or settings.model


def openai_endpoint(config: Config) -> str:
    """Where OpenAI calls go: the setting, else the environment, else OpenAI itself."""
    return config.openai.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL


def openai_key(root: Path, endpoint: str) -> str:
    """The OpenAI key; "none" for a server of one's own when there is no key."""
    try:
        return api_key(root, "openai")
    except ConfigError as error:
        if endpoint == OPENAI_URL or "not set" not in str(error):
            raise
        return "none"


def price_of(config: Config, model: str) -> tuple[float, float]:
    """Dollars per million input and output tokens."""
    if model not in config.judging.prices:
        raise ConfigError(f"no price for {model} in judging.prices, so no budget can be kept. Add "
                          f"`{model}: [dollars per million input, output tokens]` to "
                          "configs/data_config.yaml; [0, 0] for a server of your own.")
    return config.judging.prices[model]


def check_model(model: str) -> str:
    """A warning where the SDK knows that the model ends, else ""; the SDK's own is never shown.

    Raises:
        ConfigError: the model has ended.
    """
    try:
        from anthropic.resources.messages.messages import DEPRECATED_MODELS
    except ImportError:     # a private table: gone in another version
        return ""
    if model not in DEPRECATED_MODELS:
        return ""
    ends = DEPRECATED_MODELS[model]
    day = datetime.strptime(re.sub(r"(\d)[a-z]+,", r"\1", ends), "%B %d %Y")
    advice = f"{model} ends on {ends}. Set anthropic.model to claude-sonnet-5-5 or newer."
    if day.replace(tzinfo=UTC) < datetime.now(UTC):
        raise ConfigError(advice)
    return advice


def _limits(headers: Any) -> dict[str, float]:
    """Per-minute limits of the account, from the headers of a reply."""
    found: dict[str, float] = {}
    for name, headers_of in _LIMITS.items():
        for header in headers_of:
            try:
                found[name] = float(headers[header])
            except (KeyError, ValueError):
                continue
    return {name: value for name, value in found.items() if value > 0}
