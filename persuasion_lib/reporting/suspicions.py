"""What is suspicious about an evaluation file, whoever made it; none of it stops an analysis."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.fields import identity
from persuasion_lib.core.forms import as_ours
from persuasion_lib.core.records import Example, Message, content_id, to_messages
from persuasion_lib.data.gates import ends_with_mark
from persuasion_lib.data.overlap import overlap_faults, shared_passages
from persuasion_lib.reporting.evaluated import Evaluated, named_ranking
from persuasion_lib.reporting.evaluation_file import ExampleRow

MAX_SHARE = 0.05          # of truncated replies or unread rankings that passes without a warning
_MAX_SAME = 0.2           # share of prompts with the identical text of two models,
_MAX_TRAINED = 0.5        # and where their weights are known to differ: they do train little apart
_REPLAY = 1e-9            # a run of equal orders less probable than this is a replay, not chance


def seen_in(data: Evaluated) -> list[str]:
    """Sentences; an empty list means that none of these was found, not that nothing is wrong."""
    return [text for find in (*UNKNOWN.values(), *SEEN.values()) for text in find(data)]


def _unscored(data: Evaluated) -> list[str]:
    missing = data.ranks.index[data.ranks.isna().any(axis=1)]
    counts = Counter(data.reasons[key] for key in missing if key in data.reasons)
    return [f"{count} of {len(data.rows)} examples: {why} (left out, never counted as 0)."
            for why, count in counts.items()]


def _asked_once(data: Evaluated) -> list[str]:
    if data.calls.index.has_duplicates:
        return []
    return ["The file has one ranking per example: the judge's consistency between two orders "
            "cannot be checked, and a judge that answers at random would look like models that are "
            "equal."]


def _slots_unknown(data: Evaluated) -> list[str]:
    if data.slots is not None:
        return []
    return ["The file does not store which model stood in which slot: position bias cannot be "
            "checked."]


def _unbalanced(data: Evaluated) -> list[str]:
    slots = data.slots
    if slots is None:
        return []
    count = slots.shape[1]
    share = pd.DataFrame({slot: (slots == slot).mean() for slot in range(1, count + 1)}).stack()
    if len(slots) < 10 or share.max() <= max(0.5, 1.5 / count):
        return []
    model, slot = share.idxmax()
    return [f"Unbalanced positions: {model} stood in slot {slot} in {share.max():.0%} of the "
            "rankings, so the effect of the slot and of the model are mixed."]


def _replayed(data: Evaluated) -> list[str]:
    slots = data.slots
    if slots is None:
        return []
    first = slots[~slots.index.duplicated()].to_numpy().astype(int)
    orders = [tuple(order) for order in first]
    different = len(set(orders))
    run = _longest_replay(orders)
    if different < 2 or run < 2:
        return []
    # Two places of the file, each of as many as there are rows, agree by chance this often.
    chance = len(orders) ** 2 * different ** -float(run)
    if chance >= _REPLAY:
        return []
    return [f"Replayed positions: {run} examples in a row were shown in the same sequence of "
            "orders as an earlier run of them, as after a resume with the same seed."]


def _longest_replay(orders: Sequence[tuple[int, ...]], *, most: int = 2000) -> int:
    """Length of the longest run of orders that occurs again later, without overlapping itself."""
    codes = pd.factorize(pd.Series(orders[:most], dtype=object))[0]
    best = 0
    for shift in range(1, len(codes)):
        same = codes[shift:] == codes[:-shift]
        # where a run of equal orders begins (+1) and where it has ended (-1)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], same.view(np.int8), [0]])))
        runs = edges[1::2] - edges[::2]
        best = max(best, min(int(runs.max(initial=0)), shift))
    return best


def _scores_seen(data: Evaluated) -> list[str]:
    """Scores that say something else than the ranking beside them, such as ranks (1 is best)."""
    against = [row.example_id for row in data.rows if _contradicts(row)]
    if not against:
        return []
    return [f"In {len(against)} of {len(data.rows)} examples (the first is {against[0]}) the best "
            "of `grader_ranking` does not have the highest score. The scores were used, the "
            "highest as the best; if they are ranks, every result is upside down."]


def _contradicts(row: ExampleRow) -> bool:
    ranking = named_ranking(row)
    if row.judgments is not None or not ranking:
        return False
    top = row.grader_scores.get(ranking[0])
    scores = [score for score in row.grader_scores.values() if score is not None]
    return top is not None and top < max(scores)


def _unfinished_seen(data: Evaluated) -> list[str]:
    how = "end without an end mark, so they were probably cut off"
    if _says_how_replies_ended(data):
        how = "were cut off by the token limit"
    return [f"{share:.0%} of the replies of {model} {how}."
            for model, share in unfinished(data).items() if share > MAX_SHARE]


def unfinished(data: Evaluated) -> dict[str, float]:
    """Share of each model's replies that were cut off: by `finish`, else by a missing end mark."""
    if _says_how_replies_ended(data):
        cut = pd.DataFrame([[row.finish.get(model) == "length" for model in data.models]
                            for row in data.rows], columns=data.models, dtype=float)
    else:
        cut = data.flags(lambda text: not ends_with_mark(text))
    return {model: float(share) for model, share in cut.mean().items()}


def _points_seen(data: Evaluated) -> list[str]:
    """Scores with distances of their own, which a ranking does not have."""
    points = [row.example_id for row in data.rows if _is_graded(row, len(data.models))]
    if not points:
        return []
    return [f"In {len(points)} of {len(data.rows)} examples (the first is {points[0]}) the "
            "`grader_scores` are points on a scale. They were turned into ranks: by how much one "
            "model is ahead of another counts nowhere below."]


def _is_graded(row: ExampleRow, models: int) -> bool:
    """Whether scores are neither ranks (1..K or 0..K-1, ties in halves) nor these over K-1."""
    scores = [score for score in row.grader_scores.values() if score is not None]
    if row.judgments is not None or not any(scores):
        return False
    models = max(models, len(row.grader_scores))    # a person may be ranked among them
    halves = [2 * score * scale for scale in (1, models - 1) for score in scores]
    whole = [abs(value - round(value)) < 1e-3 for value in halves]
    ranks = all(whole[:len(scores)]) and max(scores) <= models
    shares = all(whole[len(scores):]) and max(scores) <= 1
    return not (ranks or shares)


def _says_how_replies_ended(data: Evaluated) -> bool:
    return any(row.finish for row in data.rows)


def _twins_seen(data: Evaluated) -> list[str]:
    texts = pd.DataFrame(data.replies(), columns=data.models, dtype=object)
    weights = data.setup.weights or {}
    found = []
    for one, two in combinations(data.models, 2):
        same = (texts[one].notna() & (texts[one] == texts[two])).mean()
        both_known = one in weights and two in weights
        why, limit = "they may be the same model.", _MAX_SAME
        if both_known and weights[one] != weights[two]:
            why = "their weights differ, so the last training changed little."
            limit = _MAX_TRAINED
        if same > limit:
            found.append(f"{one} and {two} gave the identical text on {same:.0%} of the prompts: "
                         + why)
    return found


def _weights_seen(data: Evaluated) -> list[str]:
    weights = data.setup.weights or {}
    return [f"{one} and {two} have the same weights: one was evaluated under two names."
            for one, two in combinations(data.models, 2)
            if one in weights and weights[one] == weights.get(two)]


# By name: what a file does not say, so that it cannot be looked for, and what is odd about one.
UNKNOWN = {"two orders of an example": _asked_once, "slots of the models": _slots_unknown}
SEEN = {"unscored examples": _unscored, "models keep their slots": _unbalanced,
        "replayed orders": _replayed, "scores against their ranking": _scores_seen,
        "points read as ranks": _points_seen, "replies cut off": _unfinished_seen,
        "two models, one text": _twins_seen, "two models, the same weights": _weights_seen}


def training_row(row: Mapping[str, Any]) -> Example:
    """A row of somebody's training data as far as it matters here: prompt and conversation.

    Raises:
        DataError: the row has neither `prompt` nor `input_text`.
    """
    if not {"prompt", "input_text"} & set(row):
        row = as_ours(dict(row))
    prompt = row.get("prompt") or row.get("input_text")
    if not prompt:
        raise DataError("a row of training data needs `prompt` or `input_text`")
    metadata = row.get("metadata") or {}
    conversation = identity(row.get("conversation_id")) or identity(metadata.get("conversation_id"))
    return Example(content_id(prompt), _messages(prompt), "", {"conversation_id": conversation})


def _messages(prompt: Any) -> list[Message]:
    try:
        return to_messages(prompt)
    except DataError:
        return [{"role": "user", "content": str(prompt)}]


def learned_from(rows: Sequence[ExampleRow], training: Mapping[str, Sequence[Example]],
                 limit: float) -> list[str]:
    """Which test prompts also occur in files that the models learned from.

    Args:
        limit: share of a prompt's words in passages of one training prompt that passes.
    """
    tests = [training_row({**dict(row), "prompt": row.messages or row.prompt or "-"})
             for row in rows]
    sets = [{"the test set": tests, name: learned} for name, learned in training.items()]
    return [f"Trained on test prompts: {fault}" for pair in sets
            for fault in overlap_faults(pair, shared_passages(pair), limit)]
