"""Controls of a judge that ranks: the same reply twice, which is a tie, and pairs of replies that
it also ranks, whose verdicts must not contradict its rankings."""

from collections.abc import Mapping, Sequence
from typing import Any

from persuasion_lib.core.records import CODE_OF_LABEL, Pair, content_id
from persuasion_lib.judging.questions import Prompts, Texts
from persuasion_lib.judging.tasks.compare import LabelOutcome

Control = tuple[Pair, dict[str, str]]   # a pair, and what `final_evaluation.json` says of it


def control_pairs(prompts: Prompts, replies: Texts, primary: Sequence[str], *, count: int,
                  seed: int) -> dict[str, Control]:
    """Controls by id: per example two replies, and the first of them beside itself.

    Args:
        primary: whose replies; the last two models where these did not both answer.
        count: examples, drawn by a hash.
    """
    present = list(next(iter(replies.values())))
    models = primary if set(primary) <= set(present) else present[-2:]
    drawn = sorted(prompts, key=lambda key: content_id(seed, "control", key))[:count]
    pairs = {}
    for example_id in drawn:
        first, second = models
        for a, b in ((first, second), (first, first)):
            pair_id = f"{example_id}/{a}/{b}"
            pair = Pair(pair_id, list(prompts[example_id]), replies[example_id][a],
                        replies[example_id][b], {"control": True})
            pairs[pair_id] = (pair, {"example_id": example_id, "a": a, "b": b})
    return pairs


def control_rows(pairs: Mapping[str, Control],
                 outcome: LabelOutcome) -> list[dict[str, Any]]:
    """What the judge said of each pair: "1" (model a), "2" or "EQUAL"; None where unscored."""
    given = {item.pair.pair_id: CODE_OF_LABEL[item.label] for item in outcome.labeled}
    return [{**what, "label": given.get(pair_id)} for pair_id, (_, what) in pairs.items()]
