"""Which manipulation tactics a reply uses, and which replies notebook 05 has searched for them.

A judge with a rubric (`configs/prompts/tactics.txt`) reads one reply with what it answers. It is
not told who wrote the reply, nor whether somebody preferred it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from persuasion_lib.core.errors import DataError, JudgeReplyError
from persuasion_lib.core.records import Example, LabeledPair, Message, content_id, parse_labeled
from persuasion_lib.core.show import TextTable
from persuasion_lib.core.stage import StageRun, made_by
from persuasion_lib.core.store import read_jsonl
from persuasion_lib.demo.standins import OfflineJudge
from persuasion_lib.judging.ask import Outcome, ask_each
from persuasion_lib.judging.clients import Judge
from persuasion_lib.judging.questions import Question, object_schema, quotes, whole_object
from persuasion_lib.judging.word_lists import RUBRIC, tactics_in

POOLS = {"ai": "ai_pool_labeled", "human": "human_pool_labeled"}
SIDES = ("chosen", "rejected")
_TACTICS = {name.replace(" ", "_"): name for name in RUBRIC}    # as names of a JSON schema

Texts = Mapping[str, Mapping[str, str]]     # example -> model -> reply
Sample = dict[str, list[LabeledPair]]       # pool -> pairs
TacticsFound = Outcome[dict[str, str]]             # item -> tactic that is in it -> reason


class Tactics(Question):
    """One reply and what it answers; each tactic of the rubric is in it or not."""

    task = "tactics"

    @property
    def schema(self) -> dict[str, Any]:
        answer = object_schema({"reason": {"type": "string"}, "present": {"type": "boolean"}})
        return object_schema(dict.fromkeys(_TACTICS, answer))

    def read(self, reply: str) -> dict[str, dict[str, str]]:
        """The reason per tactic that is in it; every one must be answered, with a boolean.

        Free text is not searched: five answers leave too many ways to read a quotation.
        """
        answers = whole_object(reply.strip())
        if answers is None or set(answers) != set(_TACTICS):
            raise JudgeReplyError("the reply is no JSON object with the answers "
                                  f"{', '.join(_TACTICS)}; it starts {reply[:200]!r}")
        for key, one in answers.items():
            if not isinstance(one, dict) or not isinstance(one.get("present"), bool):
                raise JudgeReplyError(f"the reply's {key} is {one!r:.60}, without true or false")
        if quotes(self.candidates, reply):
            raise JudgeReplyError("the answers also stand in the text that was judged")
        return {"tactics": {_TACTICS[key]: str(one.get("reason", ""))
                            for key, one in answers.items() if one["present"]}}

    def stand_in(self, judge: OfflineJudge) -> str:
        found = tactics_in(self.candidates[0])
        return json.dumps({key: {"reason": "a phrase of the word list", "present": name in found}
                           for key, name in _TACTICS.items()})


@dataclass(frozen=True)
class TacticsItem:
    """One reply and what it answers; nothing says who wrote it."""

    item_id: str
    context: str | Sequence[Message]
    reply: str


def tactics_questions(items: Sequence[TacticsItem], judge: Judge) -> dict[str, Tactics]:
    """The question per item; equal replies to one message are one question.

    Raises:
        DataError: an id occurs twice.
    """
    asked = {item.item_id: Tactics.compose(item.item_id, item.context, (item.reply,), order=(0,),
                                           prompts=judge.prompts) for item in items}
    if len(asked) < len(items):
        raise DataError("an id of the replies to be searched for tactics occurs twice")
    return asked


def ask_tactics(items: Sequence[TacticsItem], judge: Judge, *, log: Path) -> TacticsFound:
    """Which manipulation tactics each reply uses, by the rubric of `tactics.txt`."""
    return ask_each(tactics_questions(items, judge), judge, log=log,
                    of=lambda verdict: verdict["tactics"])


def sampled_labels(run: StageRun) -> Sample:
    """At most `safety.label_pairs` decided pairs per pool, chosen by a hash; a tie has no chosen.

    A trial of the evaluation takes no more than its number of examples.
    """
    count = run.config.safety.label_pairs
    trial = run.config.evaluation.max_examples
    sample: Sample = {}
    for pool, name in POOLS.items():
        if not count or not run.path(name).exists():
            continue
        labels = read_jsonl(run.path(name), parse_labeled, made_by=made_by(name))
        decided = [pair for pair in labels if pair.label != "tie"]
        decided.sort(key=lambda p: content_id(run.config.seed, "tactics", p.pair.pair_id))
        sample[pool] = decided[:min(count, trial or count)]
    return sample


def tactics_items(examples: Sequence[Example], texts: Texts, sample: Sample) -> list[TacticsItem]:
    """Every reply to search: those of the models, and both of every sampled pair."""
    found = [TacticsItem(_key(e.example_id, model), e.prompt, text)
             for e in examples for model, text in texts[e.example_id].items()]
    for pool, pairs in sample.items():
        found += [TacticsItem(_key(pool, p.pair.pair_id, side), p.pair.prompt, getattr(p, side))
                  for p in pairs for side in SIDES]
    return found


def _key(*parts: str) -> str:
    return "/".join(parts)


def tactics_of_example(found: TacticsFound, example_id: str,
               models: Sequence[str]) -> dict[str, dict[str, str] | None]:
    """Per model the reason per tactic in its reply; {} is none, None is unscored."""
    return {model: found.get(_key(example_id, model)) for model in models}


def tactics_of_labels(found: TacticsFound, sample: Sample) -> list[dict[str, Any]]:
    """Per sampled pair what was found in its chosen and its rejected reply, as above."""
    rows = []
    for pool, pairs in sample.items():
        for pair_id in (p.pair.pair_id for p in pairs):
            sides = {side: found.get(_key(pool, pair_id, side)) for side in SIDES}
            rows.append({"pool": pool, "pair_id": pair_id, **sides})
    return rows


def tactics_table(examples: Sequence[Example], texts: Texts, found: TacticsFound, *,
               count: int = 3) -> TextTable:
    """The first test replies in which a tactic was found, with the judge's reasons and no model."""
    rows = []
    for example in examples:
        for model, text in texts[example.example_id].items():
            reasons = found.get(_key(example.example_id, model)) or {}
            said = "; ".join(f"{tactic}: {why}" for tactic, why in reasons.items())
            if said:
                rows.append({"reply": text, "found": said})
    return TextTable(pd.DataFrame(rows[:count], columns=["reply", "found"]))
