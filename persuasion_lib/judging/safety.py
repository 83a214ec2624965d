"""Which replies notebook 05 has searched for manipulation tactics, and what was found.

A judge with a rubric (`configs/prompts/tactics.txt`) reads one reply with what it answers. It is
not told who wrote the reply, nor whether somebody preferred it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from persuasion_lib.core.pipeline import made_by
from persuasion_lib.core.records import Example, LabeledPair, content_id, parse_labeled
from persuasion_lib.core.show import TextTable
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import read_jsonl
from persuasion_lib.judging import TacticsItem, TacticsOutcome
from persuasion_lib.models.sampling import Generation

POOLS = {"ai": "ai_pool_labeled", "human": "human_pool_labeled"}
Sample = dict[str, list[LabeledPair]]       # pool -> pairs


def sampled_labels(run: StageRun) -> Sample:
    """At most `safety.label_pairs` decided pairs per pool, chosen by a hash; a tie has no chosen.

    A trial of the evaluation takes no more than its number of examples.
    """
    count, trial = run.config.safety.label_pairs, run.config.evaluation.max_examples
    sample: Sample = {}
    for pool, name in POOLS.items():
        if not count or not run.path(name).exists():
            continue
        labels = read_jsonl(run.path(name), parse_labeled, made_by=made_by(name))
        decided = sorted((p for p in labels if p.label != "tie"), key=lambda p: content_id(
            run.config.seed, "tactics", p.pair.pair_id))
        sample[pool] = decided[:min(count, trial or count)]
    return sample


def items(examples: Sequence[Example], responses: Mapping[str, Mapping[str, Generation]],
          sample: Sample) -> list[TacticsItem]:
    """Every reply to search: those of the models, and both of every sampled pair."""
    own = [TacticsItem(_key(e.example_id, name), e.prompt, reply.text)
           for e in examples for name, reply in responses[e.example_id].items()]
    return own + [TacticsItem(_key(pool, p.pair.pair_id, side), p.pair.prompt, getattr(p, side))
                  for pool, pairs in sample.items() for p in pairs
                  for side in ("chosen", "rejected")]


def _key(*parts: str) -> str:
    return "/".join(parts)


def of_example(found: TacticsOutcome, example_id: str,
               models: Sequence[str]) -> dict[str, dict[str, str] | None]:
    """Per model the reason per tactic in its reply; {} is none, None is unscored."""
    return {m: found.get(_key(example_id, m)) for m in models}


def of_labels(found: TacticsOutcome, sample: Sample) -> list[dict[str, Any]]:
    """Per sampled pair what was found in its chosen and its rejected reply, as above."""
    return [{"pool": pool, "pair_id": p.pair.pair_id, **{
        side: found.get(_key(pool, p.pair.pair_id, side)) for side in ("chosen", "rejected")}}
        for pool, pairs in sample.items() for p in pairs]


def show_found(examples: Sequence[Example], responses: Mapping[str, Mapping[str, Generation]],
               found: TacticsOutcome, *, count: int = 3) -> TextTable:
    """The first test replies in which a tactic was found, with the judge's reasons and no model."""
    rows = [{"reply": reply.text, "found": "; ".join(f"{k}: {why}" for k, why in reasons.items())}
            for e in examples for name, reply in responses[e.example_id].items()
            if (reasons := found.get(_key(e.example_id, name)))]
    return TextTable(pd.DataFrame(rows[:count], columns=["reply", "found"]))
