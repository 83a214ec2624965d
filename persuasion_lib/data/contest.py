"""Whose replies are ranked, to which prompts: the models', and where it takes part a person's.

An ordinary test prompt is in every table. One for the judge alone is answered and ranked, and
nothing else.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from persuasion_lib.core.config import Config
from persuasion_lib.core.family import HUMAN
from persuasion_lib.core.prose import Verbatim
from persuasion_lib.core.records import Example, Message
from persuasion_lib.core.stage import StageRun
from persuasion_lib.data.gates import is_cut, is_empty
from persuasion_lib.data.splits import tokens_in
from persuasion_lib.judging.ask import check_unique
from persuasion_lib.judging.roles import make_judge
from persuasion_lib.judging.tasks.rank import rank_questions
from persuasion_lib.models.loading import load_tokenizer

T = TypeVar("T")


def ordinary(examples: Sequence[Example]) -> list[Example]:
    """The test prompts of every table; people may see replies to them."""
    return [example for example in examples if not example.judge_only]


def of_ordinary(examples: Sequence[Example], by_example: Mapping[str, T]) -> dict[str, T]:
    """What there is of the ordinary prompts."""
    return {e.example_id: by_example[e.example_id] for e in ordinary(examples)}


def prompts_of(examples: Sequence[Example]) -> dict[str, list[Message]]:
    """The ordinary prompts by id."""
    return _prompts(ordinary(examples))


def _prompts(examples: Sequence[Example]) -> dict[str, list[Message]]:
    check_unique(e.example_id for e in examples)
    return {e.example_id: e.prompt for e in examples}


def texts_of_replies(responses: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """The replies as text, by example and model."""
    return {example_id: {name: reply.text for name, reply in replies.items()}
            for example_id, replies in responses.items()}


def contest(run: StageRun, examples: Sequence[Example], responses: Mapping[str, Mapping[str, Any]]
            ) -> tuple[dict[str, list[Message]], dict[str, dict[str, str]], dict[str, Any]]:
    """Prompts, replies and orders of all rankings; people's replies that are left out are noted."""
    people, left_out = taking_part(examples, run.config)
    for why, count in left_out.items():
        note = f"The person's reply to {count} prompts is not ranked: {why}."
        run.warnings += [note] if note not in run.warnings else []
    replies = {key: texts | ({HUMAN: people[key]} if key in people else {})
               for key, texts in texts_of_replies(responses).items()}
    settings = run.config.evaluation
    how = {"orders": settings.orders, "randomize": settings.randomize_positions,
           "seed": run.config.seed}
    return _prompts(examples), replies, how


def first_question(run: StageRun, examples: Sequence[Example],
                   responses: Mapping[str, Mapping[str, Any]]) -> Verbatim:
    """The first ranking question about the first example, as the judge is sent it."""
    prompts, replies, how = contest(run, examples, responses)
    asked = rank_questions(prompts, replies, make_judge(run.config, "evaluate"), **how)
    question = asked.get((examples[0].example_id, 0))
    if question is None:
        return Verbatim("All replies are the same, so nobody is asked.")
    return Verbatim(f"[system]\n{question.system}\n\n[user]\n{question.text}")


def who_took_part(examples: Sequence[Example], config: Config) -> dict[str, Any]:
    """What `final_evaluation.json` says of people's replies; nothing where none were wanted."""
    if not config.evaluation.human_reply:
        return {}
    ranked, left_out = taking_part(ordinary(examples), config)
    return {"human_reply": {"ranked": len(ranked), "left_out": left_out}}


def taking_part(examples: Sequence[Example], config: Config
                ) -> tuple[dict[str, str], dict[str, int]]:
    """The replies of people that are ranked, by example; and how many are not, by why.

    A person may write no more than the models may: the gate of length is their cap of tokens.
    Nobody takes part where `evaluation.human_reply` is false.
    """
    if not config.evaluation.human_reply:
        return {}, {}
    tokenizer, cap = load_tokenizer(config), config.generation.max_new_tokens
    ranked: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    for example in examples:
        if is_empty(example.response):
            left_out["no person replied"] += 1
        elif is_cut(example.response):
            left_out["cut off in the corpus"] += 1
        elif tokens_in(tokenizer, example.response) > cap:
            left_out[f"longer than a model may write ({cap} tokens)"] += 1
        else:
            ranked[example.example_id] = example.response
    return ranked, dict(left_out)
