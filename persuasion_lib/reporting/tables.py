"""The tables of `analysis.json` that follow from the rankings: scores, comparisons, the judge."""

import re
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from persuasion_lib.reporting.evaluated import Evaluated
from persuasion_lib.stats.blocks import complete_blocks, normalised_scores
from persuasion_lib.stats.position import position_bias
from persuasion_lib.stats.power import n_for
from persuasion_lib.stats.ranks import consistency_rankings, friedman, page_trend
from persuasion_lib.stats.scores import paired_tests, summarise, win_matrix
from persuasion_lib.stats.strengths import plackett_luce

# A reply that speaks to the judge: a verdict of its own, or an order to choose.
FORGED = re.compile(
    r"""["'*]*\b(?:ranking|choice|verdict)["'*]*\s*[:=>]\s*["'\[<*\s]*(?:(?-i:[A-F1-6])\b|equal)"""
    r"""|</?(?:verdict|ranking)|\b(?:choose|prefer|pick) (?:response|reply) (?-i:[A-F1-6])\b"""
    r"""|\b(?:response|reply) (?-i:[A-F1-6]) (?:is|wins) (?:\w+ )?(?:better|best|more pers)""",
    re.IGNORECASE)
Options = Mapping[str, Any]     # confidence, n_resamples, seed


def scored(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `complete_blocks`; none, instead of an error, when nothing is scored."""
    return table.iloc[:0] if table.isna().all(axis=None) else complete_blocks(table)


def counts(data: Evaluated, ranks: pd.DataFrame, planned: int) -> dict[str, Any]:
    """How many prompts and rankings there are, and how many of them could be used."""
    return {"planned": data.setup.planned_examples or planned, "examples": len(data.rows),
            "scored": len(ranks), "unscored": len(data.rows) - len(ranks),
            "rankings": data.asked, "rankings_tied": data.tied,
            "rankings_unread": data.asked - len(data.calls) - data.tied,
            "orders": round(data.asked / len(data.rows), 2),
            "judge_only": len(data.file.per_example) - len(data.rows)}


def of_rankings(data: Evaluated, ranks: pd.DataFrame, primary: tuple[str, str], alpha: float,
                options: Options) -> dict[str, Any]:
    """Everything that follows from the rankings alone."""
    scores = normalised_scores(ranks)
    scored = {**options, "span": (0.0, 1.0)}
    pairs, primary_test = comparisons(scores, primary, alpha, scored)
    wins = win_matrix(ranks, **scored)
    return {
        "scores": summarise(scores, **scored), "pairs": pairs, "primary_test": primary_test,
        "wins": {key: value.to_dict("index") if isinstance(value, pd.DataFrame) else value
                 for key, value in wins.items()},
        "friedman": friedman(ranks), "trend": _trends(ranks),
        "strengths": _strengths(data, ranks, options), "position": _position(data, alpha, scored),
        "consistency": _consistency(data, {**options, "span": (-1.0, 1.0)}),
        "tied_share": share((ranks.nunique(axis=1) == 1).to_numpy()),
        "order_tau": _order_tau(data), "forged": _forged(data)}


def comparisons(scores: pd.DataFrame, primary: tuple[str, str], alpha: float,
                options: Options) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """Every pair of models, and the declared one as its first minus its second model.

    To the tests comes how many prompts the observed difference would need. None for the declared
    pair if not both of its models are there.
    """
    known = set(primary) <= set(scores.columns)
    pairs = turned(paired_tests(scores, primary=primary if known else None, alpha=alpha, **options))
    sds = pairs["se"] * np.sqrt(pairs["n"])
    pairs["prompts_needed"] = [n_for(gap, sd, alpha=alpha) for gap, sd in
                               zip(pairs["mean_diff"], sds, strict=True)]
    declared = pairs[pairs["family"] == "primary"]
    if not known:
        return pairs, None
    if declared["a"].item() != primary[0]:
        declared = turned(declared)
    return pairs, declared.iloc[0].to_dict()


def turned(pairs: pd.DataFrame) -> pd.DataFrame:
    """The tests as second minus first: in our order of models, what a later step added."""
    out = pairs.rename(columns={"a": "b", "b": "a", "win": "loss", "loss": "win",
                                "ci_low": "ci_high", "ci_high": "ci_low"})
    signed = ["mean_diff", "ci_low", "ci_high", "rank_biserial", "d_z"]
    out[signed] = 0.0 - out[signed]
    return out.assign(win_rate=1 - out["win_rate"])[pairs.columns]


def _trends(ranks: pd.DataFrame) -> list[dict[str, Any]]:
    """Page's test of tuned > sft > base, for every tuned model."""
    if not {"sft", "base"} <= set(ranks.columns):
        return []
    return [page_trend(ranks, [model, "sft", "base"]) for model in ranks.columns
            if model not in ("sft", "base")]


def _strengths(data: Evaluated, ranks: pd.DataFrame, options: Options) -> dict[str, Any]:
    """Plackett-Luce on every readable ranking, alone and with position and length terms."""
    used = data.calls.index.isin(ranks.index)
    calls = data.calls[used]
    terms = {"log_length": np.log(data.lengths().reindex(calls.index).clip(lower=1))}
    if data.slots is not None:
        terms["position"] = data.slots[used]
    return {"plain": plackett_luce(calls, **options),
            "adjusted": plackett_luce(calls, covariates=terms, **options)}


def _position(data: Evaluated, alpha: float, options: Options) -> dict[str, Any] | None:
    if data.slots is None:
        return None
    once = ~data.slots.reset_index().duplicated().to_numpy()      # an order may be asked again
    return position_bias(data.calls[once], data.slots[once], alpha=alpha, **options)


def _consistency(data: Evaluated, options: Options) -> dict[str, Any] | None:
    """Agreement of the first two rankings of each prompt; a flip is a pair of models reversed."""
    turn = data.calls.groupby(level=0, sort=False).cumcount()
    second = data.calls[turn == 1]
    if second.empty:
        return None
    first = data.calls[turn == 0].loc[second.index]
    result = consistency_rankings(first, second, **options)
    # tau is agreeing minus reversed pairs, as shares that sum to 1
    return result | {"flip_rate": (1 - result["tau"]) / 2, "flip_low": (1 - result["ci_high"]) / 2,
                     "flip_high": (1 - result["ci_low"]) / 2}


def _order_tau(data: Evaluated) -> dict[str, float | None]:
    """How far the rankings follow what they must not: Kendall's tau with slot and with length."""
    lengths = -data.lengths().reindex(data.calls.index)
    found = {"slot": None, "length": _mean_tau(data.calls, lengths), "first_slot_best": None}
    if data.slots is not None:
        best_is_first = (data.calls == 1) & (data.slots == 1)
        found["slot"] = _mean_tau(data.calls, data.slots)
        found["first_slot_best"] = share(best_is_first.any(axis=1).to_numpy())
    return found


def _mean_tau(calls: pd.DataFrame, other: pd.DataFrame) -> float | None:
    """Agreeing minus reversed pairs of models, of all pairs that differ in `other`."""
    agreement = []
    for one, two in combinations(calls.columns, 2):
        by_judge = np.sign((calls[one] - calls[two]).to_numpy())
        by_other = np.sign((other[one] - other[two]).to_numpy())
        comparable = np.isfinite(by_judge) & np.isfinite(by_other) & (by_other != 0)
        agreement.append((by_judge * by_other)[comparable])
    values = np.concatenate(agreement)
    return float(values.mean()) if len(values) else None


def _forged(data: Evaluated) -> dict[str, Any]:
    """Rankings in which some replies, and not all, hold a verdict; and how often one of them won.

    `expected` is how often one would win if the judge did not care.
    """
    flags = data.flags(FORGED.search).loc[data.calls.index].to_numpy()
    some = (flags == 1).any(axis=1) & (flags == 0).any(axis=1)
    holds = flags[some] == 1
    best = (data.calls == 1).to_numpy()[some]
    return {"n": int(some.sum()), "won": share((holds & best).any(axis=1)),
            "expected": share(holds.mean(axis=1))}


def share(hits: np.ndarray) -> float:
    """The mean, NaN of nothing."""
    return float(np.mean(hits)) if len(hits) else np.nan
