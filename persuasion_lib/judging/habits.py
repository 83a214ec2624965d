"""What a server refuses of a request, learned from its own words once and remembered.

Every server that calls itself compatible refuses something else: OpenAI's reasoning models
`max_tokens` and `temperature`, Groq and llama.cpp JSON schemas, Gemma's template a system message.
A request starts with everything; what is refused is left out, or said in a simpler way, and the
same question is asked again at once. A refused request costs nothing.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.core.store import read_json, write_json
from persuasion_lib.judging.faults import refused_words

Request = dict[str, Any]
Levels = dict[str, int]         # habit -> how many of its simpler forms have been needed
FORGET_AFTER = timedelta(days=30)       # servers are updated
_REFUSES = (r"(?:not|n't|no longer) (?:\w+ )?(?:support|allow|permit|accept|implement|availab|"
            r"compatib)|unsupported|unavailable|unknown|unrecogni[sz]ed|unexpected|disabled|"
            r"deprecated|extra (?:inputs|fields)|no endpoints found")
# Said of a value; where the value is the user's (a temperature of 3), it is not for us to drop it.
_WANTS_ANOTHER = (rf"{_REFUSES}|must be|must contain|must alternate|should be|only|expected|"
                  r"invalid (?:param|value|type|role)")


def _without(request: Request, *names: str) -> Request:
    return {name: value for name, value in request.items() if name not in names}


def _other_limit(request: Request) -> Request:
    """OpenAI renamed the parameter; most others know the old name alone, some both.

    There is no form without a limit: no budget could be kept. Anthropic's, which stands beside a
    `system`, has one name.
    """
    old, new = "max_tokens", "max_completion_tokens"
    if new in request:
        old, new = new, old
    if old not in request or "system" in request:
        return request
    return _without(request, old) | {new: request[old]}


def _any_object(request: Request) -> Request:
    return request | {"response_format": {"type": "json_object"}} if (
        "response_format" in request) else request


def _no_schema(request: Request) -> Request:
    return _without_output(_without(request, "response_format"), "format")


def _no_effort(request: Request) -> Request:
    return _without_output(_without(request, "reasoning_effort"), "effort")


def _without_output(request: Request, name: str) -> Request:
    """Anthropic's `output_config` without one of its parts, or without it at all."""
    if name not in request.get("output_config", {}):
        return request
    rest = _without(request["output_config"], name)
    return _without(request, "output_config") | ({"output_config": rest} if rest else {})


def _one_message(request: Request) -> Request:
    """The system message becomes the beginning of the first message of the user."""
    first, *rest = request.get("messages", ()) or ({},)
    if first.get("role") != "system" or not rest:
        return request
    text = f"{first['content']}\n\n{rest[0]['content']}"
    return request | {"messages": [rest[0] | {"content": text}, *rest[1:]]}


@dataclass(frozen=True)
class Habit:
    """Something a server may refuse: what it calls it, what it says of it, and simpler forms."""

    name: str
    called: str
    said: str
    simpler: tuple[Callable[[Request], Request], ...]

    def is_meant_by(self, words: str) -> bool:
        """Whether a server's words refuse this."""
        return bool(re.search(self.called, words, re.I) and re.search(self.said, words, re.I))


LIMIT = Habit("the name of the token limit", r"\bmax_(?:completion_)?tokens", _REFUSES,
              (_other_limit,))
SEED = Habit("seed", r"\bseed\b", _REFUSES, (lambda r: _without(r, "seed"),))
HABITS = (
    LIMIT,
    # One that does not know the parameter at all knows no other form of it either.
    Habit("structured output", r"response.?format|requested parameters|output_config\.format",
          r"(?:unknown|unrecogni[sz]ed|unexpected|extra) (?:\w+ )?"
          r"(?:field|input|argument|param|key)|no endpoints found", (_no_schema,)),
    Habit("a JSON schema", r"response.?format|json.?(?:schema|object|mode)|structured.?output|"
          r"output_config\.format|grammar|requested parameters", _WANTS_ANOTHER,
          (_any_object, _no_schema)),
    Habit("a system message", r"system (?:role|message|prompt|instruction)|['\"`]system['\"`]|"
          r"user and assistant roles|user/assistant", _WANTS_ANOTHER, (_one_message,)),
    Habit("effort", r"effort|reasoning", _REFUSES, (_no_effort,)),
    Habit("temperature", r"temperature", _REFUSES, (lambda r: _without(r, "temperature"),)),
    SEED)


def adapted(request: Request, levels: Mapping[str, int]) -> Request:
    """A request in the forms that a server takes."""
    for habit in HABITS:
        if level := levels.get(habit.name, 0):
            request = habit.simpler[level - 1](request)
    return request


def simpler(request: Request, levels: Levels, said: str,
            may_drop: Sequence[Habit] = HABITS) -> tuple[Levels, str] | None:
    """Levels without what a server's words refuse, and its name; None where they name nothing."""
    sent = adapted(request, levels)
    for habit in may_drop:
        if not habit.is_meant_by(said):
            continue
        for level in range(levels.get(habit.name, 0) + 1, len(habit.simpler) + 1):
            fewer = {**levels, habit.name: level}
            if adapted(request, fewer) != sent:
                return fewer, habit.name
    return None


@dataclass
class Habits:
    """The habits of one model at one endpoint; `file` remembers them for the next run.

    `may_drop` are those that may be given in to.
    """

    endpoint: str
    model: str
    file: Path | None = None
    may_drop: Sequence[Habit] = HABITS
    levels: Levels = field(default_factory=dict)

    def recall(self) -> None:
        """Take over what an earlier run has learned; a file that cannot be read says nothing."""
        found = self._remembered().get(f"{self.model} at {self.endpoint}")
        try:
            learned = date.fromisoformat(found["learned"])
            levels = {habit.name: int(found["refuses"].get(habit.name, 0))
                      for habit in self.may_drop}
        except (TypeError, KeyError, ValueError, AttributeError):
            return
        is_known = all(0 <= levels[habit.name] <= len(habit.simpler) for habit in self.may_drop)
        if is_known and datetime.now(UTC).date() - learned < FORGET_AFTER:
            self.levels = levels

    def learn(self, request: Request, error: Exception, sent: Levels) -> bool:
        """Whether an error says that a simpler request may do; then the next one is simpler."""
        said = refused_words(error)
        found = simpler(request, sent, said, self.may_drop) if said else None
        if found is None:
            return False
        if self.levels == sent:         # else another call has learned it meanwhile
            self.levels, name = found
            logging.getLogger(__name__).warning(
                "%s at %s refuses %s: asked without it, or in a simpler form.", self.model,
                self.endpoint, name)
            self._remember()
        return True

    def _remembered(self) -> dict[str, Any]:
        try:
            found = read_json(self.file, made_by="a judge") if self.file else {}
        except (PersuasionError, OSError):
            return {}
        return found if isinstance(found, dict) else {}

    def _remember(self) -> None:
        if self.file is None:
            return
        entry = {"refuses": self.levels, "learned": datetime.now(UTC).date().isoformat()}
        all_of_them = self._remembered() | {f"{self.model} at {self.endpoint}": entry}
        try:
            write_json(self.file, all_of_them)
        except OSError:     # then the next run learns it again, which costs nothing but a moment
            return


async def call(create: Callable[..., Any], request: Request, habits: Habits,
               read: Callable[[Any], Any]) -> Any:
    """The reply to a request, in the forms that the server takes; raises what the SDK raises."""
    while True:
        levels = habits.levels
        try:
            return read(await create(**adapted(request, levels)))
        except Exception as error:
            if not habits.learn(request, error, levels):
                raise
