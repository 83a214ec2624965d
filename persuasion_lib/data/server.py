"""The pools sampled from an OpenAI-compatible server (vLLM, `transformers serve`) that has the SFT.

The loop is the one of judging: bounded concurrency, retries, every reply on disk before it counts.
A server renders the prompt itself, so the number of prompt tokens that it reports must be ours.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError, JudgingStopped, LineageError, PersuasionError
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.records import content_id
from persuasion_lib.core.sections import Pairs
from persuasion_lib.core.store import read_json
from persuasion_lib.judging.ask import ask_all
from persuasion_lib.judging.clients import OpenAIJudge, Reply
from persuasion_lib.judging.faults import Fault, broken_reply
from persuasion_lib.judging.habits import LIMIT, SEED
from persuasion_lib.judging.pace import patiently
from persuasion_lib.judging.questions import Question
from persuasion_lib.judging.roles import Place, place_at
from persuasion_lib.models.loading import EXPORT, Tokenizer, prompt_ids
from persuasion_lib.models.sampling import Generation, Request


@dataclass(frozen=True, kw_only=True)
class Sampled(Question):
    """A reply to sample; `sample` is its seed, `tokens` the length of its prompt by our count."""

    task = "sample"
    tokens: int

    def read(self, reply: str) -> dict[str, Any]:
        """Text, finish and tokens; an empty reply is one too."""
        return json.loads(reply)


@dataclass(kw_only=True)
class Server(OpenAIJudge):
    """The served model with the settings of one sample; nothing else may change its replies."""

    may_drop = (LIMIT, SEED)    # without the temperature, or with other messages, it is no sample

    is_local: bool = True
    top_p: float
    weights: str

    @property
    def identity(self) -> tuple[Any, ...]:
        return ("sample", self.weights, self.temperature, self.top_p, self.max_tokens)

    async def ask(self, question: Question) -> Reply:
        reply = await self.send({
            "model": self.model, "messages": list(question.messages), "max_tokens": self.max_tokens,
            "temperature": self.temperature, "top_p": self.top_p, "seed": question.sample})
        if reply.input_tokens is None or reply.output_tokens is None:
            raise broken_reply("the reply does not say how many tokens it has")
        if reply.input_tokens != question.tokens:
            raise Fault("template", "stop", f"the server counts {reply.input_tokens} tokens in the "
                        f"prompt of {question.item_id}, we count {question.tokens}: it renders "
                        "another chat template. Serve the folder of `persuasion export sft FOLDER` "
                        "with its own template.")
        if reply.stop == "refused":
            return reply
        verdict = {"text": reply.text.strip(), "tokens": reply.output_tokens,
                   "finish": "length" if reply.stop == "cut" else "stop"}
        return dataclasses.replace(reply, stop="end", text=json.dumps(verdict))


def sample_from_server(config: Config, requests: Sequence[Request], settings: Pairs,
                       tokenizer: Tokenizer, *, weights: str) -> Mapping[str, Generation]:
    """One reply per request by its key, at most `settings.batch_size` calls at once.

    Raises:
        ConfigError: no server is there, or it does not serve `pairs.server_model`.
        LineageError: the folder of that name holds another model than our SFT.
        JudgingStopped: no further call can succeed, for example a template that is not ours.
        PersuasionError: some replies could not be had; all others are saved.
    """
    place = place_at(config, "openai", settings.server or "", settings.server_key_env,
                     timeout_s=config.openai.timeout,
                     settings=("pairs.server", "pairs.server_key_env"))
    _check_served(config, weights, place)
    server = Server(
        provider="server", model=settings.server_model or "", endpoint=place.endpoint,
        prompts=Path, max_tokens=settings.max_new_tokens, timeout_s=place.timeout_s, key=place.key,
        prices_date=config.judging.prices_date, budget_usd=config.judging.budget_usd,
        temperature=settings.temperature, top_p=settings.top_p, weights=weights,
        calls_at_once=settings.batch_size)
    asked = {r.key: Sampled(
        item_id=r.key, text=json.dumps(r.prompt), messages=tuple(r.prompt),
        sample=int(content_id(config.seed, r.key, length=7), 16),
        tokens=len(prompt_ids(tokenizer, r.prompt))) for r in requests}
    answers = ask_all(asked, server, log=path_of(config, "pool_samples"))
    if answers.errors:
        raise PersuasionError(f"{len(answers.errors)} of {len(asked)} replies could not be sampled "
                              f"(first: {next(iter(answers.errors.values()))}). Run again; the "
                              f"others are saved in {path_of(config, 'pool_samples')}.")
    return {key: Generation(**row["verdict"]) for key, row in answers.rows.items()}


def _check_served(config: Config, weights: str, place: Place) -> None:
    """Whether the server has our SFT: its folder is looked into where it is on this machine.

    Elsewhere only the name can be checked; the count of prompt tokens is checked with every reply.
    """
    name = config.pairs.server_model
    if not name:
        raise ConfigError("pairs.server needs pairs.server_model: the name under which the server "
                          "has the folder of `persuasion export sft FOLDER`.")
    folder = config.root / name
    if (folder / EXPORT).exists():      # `transformers serve` lists the hub's cache, no folder
        exported = read_json(folder / EXPORT, made_by="persuasion export")
        if exported["name"] != "sft" or exported["weights"].get("sft") != weights:
            raise LineageError(f"{folder} holds {exported['name']} with other weights than our "
                               "SFT. Export it again, and start the server with it.")
    elif name not in (served := _names(place)):
        raise ConfigError(f"{place.endpoint} serves {', '.join(served) or 'nothing'}, not "
                          f"{name!r}. Set pairs.server_model to the name of our SFT there.")


def _names(place: Place) -> list[str]:
    try:
        with place.line().client(blocking=True) as client:
            listed = patiently(client.models.list, "asking for the names of its models", tries=3)
        return [str(model.id) for model in listed.data]
    except JudgingStopped as error:
        raise ConfigError(f"{place.endpoint} does not list its models ({error}). "
                          "Start the server with the folder of `persuasion export sft FOLDER` and "
                          "run again (SFT is kept), or set pairs.server=null.") from None
