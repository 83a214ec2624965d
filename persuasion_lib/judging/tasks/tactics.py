"""Which manipulation tactics a reply uses, and which replies notebook 05 has searched for them.

A judge with a rubric (`configs/prompts/tactics.txt`) reads one reply with what it answers. It is
not told who wrote the reply, nor whether somebody preferred it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from persuasion_lib.core.errors import JudgeReplyError
from persuasion_lib.core.pipeline import POOLS
from persuasion_lib.core.records import LabeledPair, content_id
from persuasion_lib.core.show import TextTable
from persuasion_lib.core.stage import StageRun
from persuasion_lib.demo.standins import OfflineJudge
from persuasion_lib.judging.ask import check_unique
from persuasion_lib.judging.clients import Judge
from persuasion_lib.judging.questions import (
    Prompts,
    Question,
    Texts,
    answer_of,
    quotes,
    schema_of,
    whole_object,
)
from persuasion_lib.judging.word_lists import RUBRIC, tactics_in

SIDES = ("chosen", "rejected")
_TACTICS = {name.replace(" ", "_"): name for name in RUBRIC}    # as names of a JSON schema

Sample = dict[str, list[LabeledPair]]       # pool -> pairs
TacticsFound = dict[str, dict[str, str]]    # reply -> tactic that is in it -> reason


class Tactics(Question):
    """One reply and what it answers; each tactic of the rubric is in it or not."""

    task = "tactics"

    @property
    def schema(self) -> dict[str, Any]:
        answer = schema_of({"reason": {"type": "string"}, "present": {"type": "boolean"}})
        return schema_of(dict.fromkeys(_TACTICS, answer))

    def read(self, reply: str) -> dict[str, dict[str, str]]:
        """The reason per tactic that is in it; every one must be answered, with a boolean.

        Free text is not searched: five answers leave too many ways to read a quotation.
        """
        answers = whole_object(answer_of(reply))
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

    def accepts(self, verdict: Mapping[str, Any]) -> bool:
        found = verdict.get("tactics")
        return isinstance(found, dict) and all(
            name in _TACTICS.values() and isinstance(why, str) for name, why in found.items())

    def stand_in(self, judge: OfflineJudge) -> str:
        found = tactics_in(self.candidates[0])
        return json.dumps({key: {"reason": "a phrase of the word list", "present": name in found}
                           for key, name in _TACTICS.items()})


def sampled_labels(run: StageRun) -> Sample:
    """At most `safety.label_pairs` decided pairs per pool, chosen by a hash; a tie has no chosen.

    A trial of the evaluation takes no more than its number of examples.
    """
    count = run.config.safety.label_pairs
    trial = run.config.evaluation.max_examples
    sample: Sample = {}
    for pool, files in POOLS.items():
        labels = run.read_if_there(files.labels) if count else []
        if not labels:
            continue
        decided = [pair for pair in labels if pair.label != "tie"]
        decided.sort(key=lambda p: content_id(run.config.seed, "tactics", p.pair.pair_id))
        sample[pool.removesuffix("_pool")] = decided[:min(count, trial or count)]
    return sample


def tactics_questions(prompts: Prompts, texts: Texts, sample: Sample,
                      judge: Judge) -> dict[str, Tactics]:
    """The question about every reply: those of the models, and both of every sampled pair.

    Equal replies to one message are one question.
    """
    replies = [(_key(example_id, model), prompts[example_id], text)
               for example_id, own in texts.items() for model, text in own.items()]
    for pool, pairs in sample.items():
        replies += [(_key(pool, p.pair.pair_id, side), p.pair.prompt, getattr(p, side))
                    for p in pairs for side in SIDES]
    check_unique(name for name, _, _ in replies)
    return {name: Tactics.compose(name, prompt, (text,), order=(0,), prompts=judge.prompts)
            for name, prompt, text in replies}


def _key(*parts: str) -> str:
    return "/".join(parts)


def tactics_of_example(found: TacticsFound, example_id: str,
               models: Sequence[str]) -> dict[str, dict[str, str] | None]:
    """Per model the reason per tactic in its reply; {} is none, None is unscored."""
    return {model: found.get(_key(example_id, model)) for model in models}


def tactics_of_labels(found: TacticsFound, sample: Sample) -> list[dict[str, Any]]:
    """Per sampled pair what was found in its chosen and its rejected reply, as above."""
    ids = [(pool, p.pair.pair_id) for pool, pairs in sample.items() for p in pairs]
    return [{"pool": pool, "pair_id": pair_id,
             **{side: found.get(_key(pool, pair_id, side)) for side in SIDES}}
            for pool, pair_id in ids]


def tactics_table(texts: Texts, found: TacticsFound, *, count: int = 3) -> TextTable:
    """The first test replies in which a tactic was found, with the judge's reasons and no model."""
    rows = [(text, found.get(_key(example_id, model)))
            for example_id, own in texts.items() for model, text in own.items()]
    said = [(text, "; ".join(f"{tactic}: {why}" for tactic, why in reasons.items()))
            for text, reasons in rows if reasons]
    table = pd.DataFrame(said[:count], columns=["reply", "found"])
    return TextTable(table.set_index(pd.Index([""] * len(table))))      # a number would say nothing
