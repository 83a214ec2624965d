"""`final_evaluation.json` as tables, whoever made it, and what is suspicious about it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.records import Example, Message, content_id, to_messages
from persuasion_lib.data.overlap import overlap_faults, shared_passages
from persuasion_lib.judging.word_lists import tactics_in

ORDER = ("base", "sft", "rlhf", "rlaif", "rlaif_rlhf")   # of tables when the file does not say
MAX_SHARE = 0.05          # of truncated replies or unread rankings that passes without a warning
_REPLAY = 1e-9            # a run of equal orders less probable than this is a replay, not chance
# A reply that speaks to the judge: a verdict of its own, or an order to choose.
FORGED = re.compile(
    r"""["'*]*\b(?:ranking|choice|verdict)["'*]*\s*[:=>]\s*["'\[<*\s]*(?:(?-i:[A-E1-5])\b|equal)"""
    r"""|</?(?:verdict|ranking)|\b(?:choose|prefer|pick) (?:response|reply) (?-i:[A-E1-5])\b"""
    r"""|\b(?:response|reply) (?-i:[A-E1-5]) (?:is|wins) (?:\w+ )?(?:better|best|more pers)""",
    re.IGNORECASE)
_ENDED = re.compile(r"[.!?…][\"'”’)\]*_]*\s*$")


@dataclass(frozen=True)
class Evaluated:
    """An evaluation as tables of one row per prompt (or judge call) and one column per model.

    `ranks` are means over the orders that were read, NaN where unscored; `calls` and `slots` have
    a row per readable ranking (rank 1 best; slot 1 shown first); `orders` the presented orders.
    """

    rows: list[Mapping[str, Any]]
    models: list[str]
    ranks: pd.DataFrame
    calls: pd.DataFrame
    slots: pd.DataFrame | None
    reasons: dict[str, str]
    n_calls: int
    setup: Mapping[str, Any]
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    label_tactics: Sequence[Mapping[str, Any]] = ()
    agreement: Mapping[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)

    def table(self, name: str) -> pd.DataFrame | None:
        """Prompts x models of a field such as `similarity_scores`; None if no row has it."""
        if not any(row.get(name) for row in self.rows):
            return None
        values = [[(row.get(name) or {}).get(m) for m in self.models] for row in self.rows]
        return self._frame([[v if _is_number(v) else np.nan for v in row] for row in values])

    def replies(self) -> list[list[str | None]]:
        """Texts per prompt in the order of `models`; None where a model did not answer."""
        return [[row["responses"].get(m) for m in self.models] for row in self.rows]

    def lengths(self) -> pd.DataFrame:
        """Length of every reply in characters."""
        return self._frame([[np.nan if text is None else len(text) for text in texts]
                            for texts in self.replies()])

    def flags(self, test: Any, values: list[list[Any]] | None = None) -> pd.DataFrame:
        """1 where `test` of a reply (or of `values`) is true and 0 where not; NaN where None."""
        return self._frame([[np.nan if value is None else float(bool(test(value)))
                             for value in row] for row in values or self.replies()])

    def tactics(self) -> tuple[list[list[Collection[str] | None]], bool]:
        """Manipulation tactics per prompt in the order of `models`, and whether a judge found them.

        None is unscored, or no reply. In a file without a judge's findings word lists find them.
        """
        if any(row.get("tactics") for row in self.rows):
            return [[(row.get("tactics") or {}).get(m) for m in self.models]
                    for row in self.rows], True
        return [[None if text is None else tactics_in(text) for text in texts]
                for texts in self.replies()], False

    def _frame(self, values: list[list[float]]) -> pd.DataFrame:
        return pd.DataFrame(values, index=self.ranks.index, columns=self.models, dtype=float)


def parse_evaluation(content: Mapping[str, Any]) -> Evaluated:
    """Read the specified format, with or without our additions; `warnings` say what is seen in it.

    Raises:
        DataError: no examples, an id twice, fewer than two models, or an example without responses.
    """
    rows = _rows(content)
    models = _models(content, rows)
    ids = [row["example_id"] for row in rows]
    calls, slots, owners, reasons, n_calls = [], [], [], {}, 0
    for row in rows:
        found = _judgments(row, models)
        n_calls += len(found)
        for ranks, places, problem in found:
            if problem:
                reasons.setdefault(row["example_id"], problem)
                continue
            calls.append(ranks)
            slots.append(places)
            owners.append(row["example_id"])
    index = pd.Index(owners, name="prompt_id", dtype=object)
    table = pd.DataFrame(calls, index=index, columns=models, dtype=float)
    shown = None
    if slots and all(s is not None for s in slots):
        shown = pd.DataFrame(slots, index=index, columns=models, dtype=float)
    ranks = table.groupby(level=0, sort=False).mean().reindex(pd.Index(ids, name="prompt_id"))
    data = Evaluated(rows, models, ranks, table, shown, reasons, n_calls,
                     content.get("config") or {}, _curves(content.get("training") or {}),
                     content.get("label_tactics") or (), _agreement(content))
    data.warnings.extend(_what_is_seen(data))
    return data


def _curves(training: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Training curves by model, of those that hold the step that was kept."""
    return {model: log for model, log in training.items() if isinstance(log, Mapping) and any(
        point.get("step") == log.get("best_step") and _is_number(point.get("held_out_loss"))
        for point in log.get("points", []))}


def _agreement(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The judge against the annotator, as notebook 05 stores it; files from elsewhere lack it."""
    found = content.get("judge_agreement")
    complete = isinstance(found, Mapping) and {"status", "with_ties", "decided", "self", "alarms",
                                               "smoothing"} <= found.keys()
    return found if complete else None


def _rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = content.get("per_example") if isinstance(content, Mapping) else None
    if not isinstance(found, list) or not found:
        raise DataError("the evaluation has no `per_example` list. data/README.md describes the "
                        "format of final_evaluation.json.")
    for name in ("config", "summary", "training"):
        _check(content.get(name), Mapping, f"`{name}` of the evaluation", "an object")
    _check(content.get("label_tactics"), list, "`label_tactics` of the evaluation", "a list")
    rows = []
    for number, row in enumerate(found):
        where = f"per_example[{number}]"
        if not isinstance(row, Mapping) or not isinstance(row.get("responses"), Mapping):
            raise DataError(f"{where} has no `responses` by model.")
        for name in ("grader_scores", "similarity_scores", "position_map", "finish", "tactics",
                     "similarity_baselines"):
            _check(row.get(name), Mapping, f"{where}: `{name}`", "an object by model or slot")
        _check(row.get("judgments"), list, f"{where}: `judgments`", "a list")
        for model, text in row["responses"].items():
            _check(text, str, f"{where}: the response of {model}", "text or null")
        rows.append({**row, "example_id": str(row.get("example_id", number))})
    twice = [key for key, n in Counter(r["example_id"] for r in rows).items() if n > 1]
    if twice:
        raise DataError(f"example {twice[0]!r} occurs twice ({len(twice)} such ids). A test prompt "
                        "counts once; remove the copies.")
    return rows


def _check(value: Any, kind: type, what: str, wanted: str) -> None:
    if value is not None and not isinstance(value, kind):
        raise DataError(f"{what} is {value!r:.60}, not {wanted}. data/README.md describes the "
                        "format.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _models(content: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    named = (content.get("summary") or {}).get("models_evaluated") or []
    answered = {model for row in rows for model in row["responses"]}
    scored = {model for row in rows for model in row.get("grader_scores") or {}} or answered
    known = [m for m in named or [*ORDER, *sorted(answered & scored)] if m in answered]
    models = list(dict.fromkeys(known))
    if len(models) < 2:
        raise DataError(f"the evaluation has responses of {models}; a comparison needs two models.")
    return models


def _judgments(row: Mapping[str, Any], models: Sequence[str]) -> list[tuple]:
    """(ranks, slots or None, problem) of each judge call on an example, by model."""
    if row.get("judgments") is None:
        ranks, problem = _outside_ranks(row, models)
        return [(ranks, _places(row.get("position_map"), models), problem)]
    found = []
    for call in row["judgments"]:
        ranking = call.get("ranking")
        problem = None
        if not ranking:
            problem = f"unread: {call.get('error') or 'no ranking'}"[:120]
        elif sorted(ranking) != sorted(models):
            problem = "the ranking does not name every model once"
        ranks = None if problem else [ranking.index(m) + 1 for m in models]
        found.append((ranks, _places(call.get("position_map"), models), problem))
    return found


def _outside_ranks(row: Mapping[str, Any], models: Sequence[str]) -> tuple[list | None, str | None]:
    """Ranks of an example of a file without `judgments`, from its scores or its ranking."""
    scores, ranking = row.get("grader_scores") or {}, _named_ranking(row)
    if all(_is_number(scores.get(m)) for m in models):
        values = [float(scores[m]) for m in models]
        if not any(values):
            return None, "every model has the score 0: probably a reply that was not parsed"
        return rankdata([-v for v in values]).tolist(), None
    if sorted(ranking) == sorted(models):
        return [ranking.index(m) + 1 for m in models], None
    return None, "no scores for every model"


def _named_ranking(row: Mapping[str, Any]) -> list[str]:
    """`grader_ranking` as models, best first; files may hold slots (["C", "A", …]) instead."""
    ranking, slots = row.get("grader_ranking"), row.get("position_map") or {}
    return [str(slots.get(str(name), name)) for name in ranking] if isinstance(
        ranking, list) else []


def _places(position_map: Mapping[str, str] | None, models: Sequence[str]) -> list[int] | None:
    """Slot 1..K of each model from `{slot: model}`, or from `{model: slot}` of other files."""
    pairs = {str(k): str(v) for k, v in (position_map or {}).items()}
    if set(pairs) == set(models):
        pairs = {slot: model for model, slot in pairs.items()}
    if set(pairs.values()) != set(models) or len(pairs) != len(models):
        return None
    order = [pairs[slot] for slot in sorted(pairs)]
    return [order.index(m) + 1 for m in models]


def _what_is_seen(data: Evaluated) -> list[str]:
    found = [f"{n} of {len(data.rows)} examples: {why} (left out, never counted as 0)."
             for why, n in Counter(data.reasons[key] for key in data.ranks.index[
                 data.ranks.isna().any(axis=1)] if key in data.reasons).items()]
    if not data.calls.index.has_duplicates:
        found.append("The file has one ranking per example: the judge's consistency between two "
                     "orders cannot be checked, and a judge that answers at random would look "
                     "like models that are equal.")
    if data.slots is None:
        found.append("The file does not store which model stood in which slot: position bias "
                     "cannot be checked.")
    else:
        found += _positions_seen(data)
    return found + _scores_seen(data) + _texts_seen(data) + _weights_seen(data)


def _scores_seen(data: Evaluated) -> list[str]:
    """Scores that say something else than the ranking beside them, such as ranks (1 is best)."""
    against = [row["example_id"] for row in data.rows
               if row.get("judgments") is None and (best := _named_ranking(row)[:1])
               and _is_number(top := (row.get("grader_scores") or {}).get(best[0]))
               and top < max(filter(_is_number, row["grader_scores"].values()))]
    return [f"In {len(against)} of {len(data.rows)} examples (the first is {against[0]}) the best "
            "of `grader_ranking` does not have the highest score. The scores were used, the "
            "highest as the best; if they are ranks, every result is upside down."
            ] if against else []


def _positions_seen(data: Evaluated) -> list[str]:
    k, found = len(data.models), []
    share = pd.DataFrame({slot: (data.slots == slot).mean() for slot in range(1, k + 1)})
    limit = max(0.5, 1.5 / k)
    if len(data.slots) >= 10 and share.to_numpy().max() > limit:
        model, slot = share.stack().idxmax()
        found.append(f"Unbalanced positions: {model} stood in slot {slot} in "
                     f"{share.to_numpy().max():.0%} of the rankings, so the effect of the slot and "
                     "of the model are mixed.")
    first = data.slots[~data.slots.index.duplicated()].to_numpy().astype(int)
    run = _longest_replay([tuple(order) for order in first])
    orders = len({tuple(order) for order in first})
    if orders > 1 and run > 1 and len(first) ** 2 * orders ** -float(run) < _REPLAY:
        found.append(f"Replayed positions: {run} examples in a row were shown in the same sequence "
                     "of orders as an earlier run of them, as after a resume with the same seed.")
    return found


def _longest_replay(orders: Sequence[tuple[int, ...]], *, most: int = 2000) -> int:
    """Length of the longest run of orders that occurs again later, without overlapping itself."""
    codes = pd.factorize(pd.Series(orders[:most], dtype=object))[0]
    best = 0
    for shift in range(1, len(codes)):
        same = codes[shift:] == codes[:-shift]
        edges = np.flatnonzero(np.diff(np.concatenate([[0], same.view(np.int8), [0]])))
        runs = edges[1::2] - edges[::2]
        best = max(best, min(int(runs.max(initial=0)), shift))
    return best


def _texts_seen(data: Evaluated) -> list[str]:
    found, replies, weights = [], data.replies(), data.setup.get("weights") or {}
    cut = unfinished(data)
    for model, share in cut.items():
        if share > MAX_SHARE:
            how = ("were cut off by the token limit" if any(r.get("finish") for r in data.rows)
                   else "end without an end mark, so they were probably cut off")
            found.append(f"{share:.0%} of the replies of {model} {how}.")
    for (i, one), (j, two) in combinations(enumerate(data.models), 2):
        same = np.mean([r[i] is not None and r[i] == r[j] for r in replies])
        if same > 0.2:
            known = weights.get(one) and weights.get(two) and weights[one] != weights[two]
            found.append(f"{one} and {two} gave the identical text on {same:.0%} of the prompts: "
                         + ("their weights differ, so the last training changed little."
                            if known else "they may be the same model."))
    return found


def unfinished(data: Evaluated) -> dict[str, float]:
    """Share of each model's replies that were cut off: by `finish`, else by a missing end mark."""
    if any(row.get("finish") for row in data.rows):
        table = pd.DataFrame([[float((row.get("finish") or {}).get(m) == "length")
                               for m in data.models] for row in data.rows], columns=data.models)
    else:
        table = data.flags(lambda text: not _ENDED.search(text[-20:]))
    return {model: float(share) for model, share in table.mean().items()}


def _weights_seen(data: Evaluated) -> list[str]:
    weights = data.setup.get("weights") or {}
    return [f"{a} and {b} have the same weights: one was evaluated under two names."
            for i, a in enumerate(data.models) for b in data.models[i + 1:]
            if weights.get(a) and weights.get(a) == weights.get(b)]


def training_row(row: Mapping[str, Any]) -> Example:
    """A row of somebody's training data as far as it matters here: prompt and conversation.

    Raises:
        DataError: the row has neither `prompt` nor `input_text`.
    """
    prompt = row.get("prompt") or row.get("input_text")
    if not prompt:
        raise DataError("a row of training data needs `prompt` or `input_text`")
    metadata = row.get("metadata") or {}
    conversation = row.get("conversation_id") or metadata.get("conversation_id")
    return Example(content_id(prompt), _messages(prompt), "", {"conversation_id": conversation})


def _messages(prompt: Any) -> list[Message]:
    try:
        return to_messages(prompt)
    except DataError:
        return [{"role": "user", "content": str(prompt)}]


def learned_from(rows: Sequence[Mapping[str, Any]], training: Mapping[str, Sequence[Example]],
                 limit: float) -> list[str]:
    """Which test prompts also occur in files that the models learned from.

    Args:
        rows: `per_example` of the evaluation.
        limit: share of a prompt's words in passages of one training prompt that passes.
    """
    tests = [training_row({**row, "prompt": row.get("messages") or row.get("prompt") or "-"})
             for row in rows]
    sets = [{"the test set": tests, name: learned} for name, learned in training.items()]
    return [f"Trained on test prompts: {fault}" for pair in sets
            for fault in overlap_faults(pair, shared_passages(pair), limit)]
