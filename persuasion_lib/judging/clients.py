"""The judges: Anthropic Messages, any OpenAI-compatible server, and the offline stand-in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from persuasion_lib.core.keys import NO_KEY, Provider, kept_at
from persuasion_lib.core.records import content_id
from persuasion_lib.demo.standins import OfflineJudge
from persuasion_lib.judging import habits, replies
from persuasion_lib.judging.connect import Line
from persuasion_lib.judging.habits import Habits, Request
from persuasion_lib.judging.questions import PromptFile, Question
from persuasion_lib.judging.replies import Reply, check_whole

GUESS_PER_MINUTE = 50.0     # requests, until the provider has said what the account may do


@dataclass(kw_only=True)
class Judge:
    """One model behind one API, with what its calls may cost and how fast they may start.

    `price` is dollars per million input and output tokens; `seed` is the stand-in's alone;
    `is_local` says that no account has limits to keep. A judge is opened inside the event loop
    that uses it; its key is in no field (`key` looks it up), so no row, log or traceback shows it.
    """

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
    is_local: bool = False

    @property
    def name(self) -> str:
        """Provider and model, as stored with every label."""
        return f"{self.provider}/{self.model}"

    @property
    def identity(self) -> tuple[Any, ...]:
        """Everything about the judge that its replies may depend on: a part of every key."""
        return (self.provider, self.model, self.effort, self.temperature, self.max_tokens,
                self.seed)

    def key_of(self, question: Question, log: Mapping[str, Mapping[str, Any]]) -> str:
        """The key under which a log has, or will have, the answer to a question."""
        return question.key(self.identity)

    def gave(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of a log is an answer of this judge, by its name and address."""
        return row.get("judge") == self.name

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


def input_tokens(question: Question) -> int:
    """A high estimate: three characters a token, and the frame of the call."""
    return (len(question.system) + len(question.text)) // 3 + 60


@dataclass(kw_only=True)
class Service(Judge):
    """A judge behind an API, asked in the forms that its server takes.

    `memory` is the file that remembers what servers refuse, None for this run alone; `same_as` an
    address that the same server had before, so that its answers from there are this judge's.
    """

    api: ClassVar[Provider]
    may_drop: ClassVar[Sequence[habits.Habit]] = habits.HABITS

    key: Callable[[], str] = field(default=lambda: NO_KEY, repr=False)
    extra_body: Request = field(default_factory=dict)
    memory: Path | None = None
    same_as: str | None = None
    _client: Any = field(default=None, init=False, repr=False)
    _habits: Habits | None = field(default=None, init=False, repr=False)

    @property
    def address(self) -> str:
        """Where its answers come from; "" is the provider's own, which no key names."""
        return kept_at(self.api, self.same_as or self.endpoint)

    @property
    def identity(self) -> tuple[Any, ...]:
        address = (self.address,) if self.address else ()
        extra = (content_id(self.extra_body),) if self.extra_body else ()
        return (*super().identity, *address, *extra)

    def gave(self, row: Mapping[str, Any]) -> bool:
        place = kept_at(self.api, row.get("endpoint") or self.endpoint)
        return super().gave(row) and place in (self.address, kept_at(self.api, self.endpoint))

    def key_of(self, question: Question, log: Mapping[str, Mapping[str, Any]]) -> str:
        """The same; the keys of earlier versions have no address, but their rows say it."""
        own = question.key(self.identity)
        if self.address and own in log:
            return own
        plain = question.key([part for part in self.identity if part != self.address])
        if plain not in log:
            return own
        if self.gave(log[plain]):
            return plain
        return own if self.address else question.key((*self.identity, self.endpoint))

    def line(self, **bounds: Any) -> Line:
        """How its calls go out."""
        return Line(self.api, self.endpoint, self.key(), self.timeout_s, **bounds)

    @property
    def habits(self) -> Habits:
        """What its server is known to refuse."""
        if self._habits is None:
            self._habits = Habits(self.endpoint, self.model, self.memory, self.may_drop)
            self._habits.recall()
        return self._habits

    async def open(self) -> None:
        self._client = self.line().client()

    def request(self, question: Question) -> Request:
        """The arguments of a call with everything that a server may understand."""
        raise NotImplementedError

    async def ask(self, question: Question) -> Reply:
        reply = await self.send(self.request(question))
        return check_whole(reply, f"{question.system} {question.text}")

    async def send(self, request: Request) -> Reply:
        """The reply to a request."""
        raise NotImplementedError

    async def close(self) -> None:
        if self._client:
            await self._client.close()


@dataclass(kw_only=True)
class AnthropicJudge(Service):
    """Claude through the Messages API, with structured output."""

    api = "anthropic"

    def request(self, question: Question) -> Request:
        """The same, also for a batch once `habits.adapted`."""
        output: dict[str, Any] = {"effort": self.effort} if self.effort else {}
        if question.schema:
            output["format"] = {"type": "json_schema", "schema": question.schema}
        request = {"model": self.model, "max_tokens": self.max_tokens, "system": question.system,
                   "messages": [{"role": "user", "content": question.text}]}
        if output:
            request["output_config"] = output
        return request | ({"extra_body": self.extra_body} if self.extra_body else {})

    async def send(self, request: Request) -> Reply:
        create = self._client.messages.with_raw_response.create
        return await habits.call(create, request, self.habits, _read_message)

    def batch_request(self, question: Question) -> Request:
        """A request in a batch, which no client adapts or extends."""
        request = habits.adapted(self.request(question), self.habits.levels)
        return request | request.pop("extra_body", {})

    @staticmethod
    def reply_of(message: Any) -> Reply:
        """The reply in a message of a batch."""
        return replies.of_message(message.to_dict(), {})


def _read_message(raw: Any) -> Reply:
    return replies.of_message(replies.body_of(raw.http_response), raw.headers)


@dataclass(kw_only=True)
class OpenAIJudge(Service):
    """Chat completions of OpenAI, vLLM, Ollama, `transformers serve` and the like."""

    api = "openai"

    def request(self, question: Question) -> Request:
        request: Request = {
            "model": self.model, "max_completion_tokens": self.max_tokens,
            "messages": [{"role": "system", "content": question.system},
                         {"role": "user", "content": question.text}]}
        if not self.speaks_new_names:
            request["max_tokens"] = request.pop("max_completion_tokens")
        if self.temperature is not None:
            request |= {"temperature": self.temperature, "seed": question.sample}
        if self.effort:
            request["reasoning_effort"] = self.effort
        if question.schema:
            request["response_format"] = {"type": "json_schema", "json_schema": {
                "name": question.task, "strict": True, "schema": question.schema}}
        return request | ({"extra_body": self.extra_body} if self.extra_body else {})

    @property
    def speaks_new_names(self) -> bool:
        """Whether to begin with the name that only OpenAI itself is sure to know."""
        return self.endpoint.startswith("https://api.openai.com/")

    async def send(self, request: Request) -> Reply:
        create = self._client.chat.completions.with_raw_response.create
        return await habits.call(create, request, self.habits, _read_completion)


def _read_completion(raw: Any) -> Reply:
    return replies.of_completion(replies.body_of(raw.http_response), raw.headers)


@dataclass(kw_only=True)
class StandInJudge(Judge):
    """A named stand-in without a model; it answers in the format that a real judge uses."""

    is_local: bool = True

    async def ask(self, question: Question) -> Reply:
        text = question.stand_in(OfflineJudge(seed=self.seed))
        return Reply(text, "end", self.model, input_tokens=0, output_tokens=0)
