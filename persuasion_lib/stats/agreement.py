"""Agreement of two or more raters who label the same items."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from statsmodels.stats.inter_rater import cohens_kappa

from persuasion_lib.core.errors import DataError
from persuasion_lib.stats.resample import wilson

TIE = "tie"
MIN_RELABELLED = 30  # pairs a lone annotator labels again before the judge can be accepted

_MAX_LOST = 0.05  # share of resamples without a kappa above which its interval is not given


def agreement(
    first: Iterable[Hashable | None], second: Iterable[Hashable | None], *,
    ties: Literal["class", "drop", "half"] = "class", confidence: float = 0.95,
    n_resamples: int = 9_999, seed: int = 0,
) -> dict[str, Any]:
    """How often two raters give an item the same label, and how much of it is not chance.

    Args:
        first, second: labels by response, never by slot; None where unscored.
        ties: "class" counts "tie" as a label like others, "drop" leaves out items that either
            calls a tie, "half" gives a tie against a decision one half (no kappa).

    Returns:
        n, n_null, n_ties_dropped, raw, ci_low, ci_high (Wilson; NaN for "half" with half points),
        kappa, se_kappa, kappa_low, kappa_high (percentile over items), pe (agreement by chance),
        majority_baseline (always answering `first`'s commonest label), confusion, status ("ok",
        "n<2", "constant": one label only, so kappa is undefined).
    """
    one, two, counts = _scored(first, second, ties)
    labels = sorted(set(one) | set(two), key=str)
    confusion = pd.crosstab(pd.Categorical(one, labels), pd.Categorical(two, labels), dropna=False)
    n = len(one)
    same, half = int((one == two).sum()), 0
    if ties == "half":
        half = int(((one == TIE) ^ (two == TIE)).sum())
    low, high = wilson(same, n, confidence=confidence) if not half else (np.nan, np.nan)
    result = {
        "n": n, **counts, "raw": (same + half / 2) / n if n else np.nan, "ci_low": low,
        "ci_high": high, **_kappa(confusion.to_numpy(), ties, confidence, n_resamples, seed),
        "majority_baseline": float(confusion.sum(axis=1).max() / n) if n else np.nan,
        "confusion": confusion.rename_axis(index="first", columns="second"),
    }
    constant = ties != "half" and len(labels) < 2
    return {**result, "status": "n<2" if n < 2 else "constant" if constant else "ok"}


def _scored(first: Iterable, second: Iterable, ties: str) -> tuple[np.ndarray, np.ndarray, dict]:
    if ties not in ("class", "drop", "half"):
        raise ValueError(f"ties is {ties!r}; use 'class', 'drop' or 'half'.")
    one, two = (pd.Series(list(labels), dtype=object) for labels in (first, second))
    if len(one) != len(two):
        raise DataError(f"the raters have {len(one)} and {len(two)} labels. Pass both for the same "
                        "items in the same sequence, None where one is unscored.")
    scored = one.notna() & two.notna()
    tied = scored & ((one == TIE) | (two == TIE)) if ties == "drop" else scored & False
    keep = (scored & ~tied).to_numpy()
    counts = {"n_null": int((~scored).sum()), "n_ties_dropped": int(tied.sum())}
    return one[keep].to_numpy(), two[keep].to_numpy(), counts


def _kappa(
    confusion: np.ndarray, ties: str, confidence: float, n_resamples: int, seed: int
) -> dict[str, float]:
    n = confusion.sum()
    result = dict.fromkeys(["kappa", "se_kappa", "kappa_low", "kappa_high", "pe"], np.nan)
    if n == 0 or ties == "half":
        return result
    result["pe"] = float(confusion.sum(axis=1) @ confusion.sum(axis=0) / n**2)
    if n < 2 or result["pe"] >= 1 - 1e-12:
        return result
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)     # a constant rater has no standard error
        fitted = cohens_kappa(confusion)
        result |= {"kappa": float(fitted.kappa), "se_kappa": float(fitted.std_kappa)}
    # drawing n items from the list is drawing n cells from the table
    rng = np.random.default_rng(seed)
    resampled = rng.multinomial(n, confusion.ravel() / n, n_resamples)
    kappas = _kappas(resampled.reshape(-1, *confusion.shape) / n)
    defined = kappas[np.isfinite(kappas)]
    if len(defined) >= (1 - _MAX_LOST) * n_resamples:
        tails = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
        result |= {"kappa_low": float(tails[0]), "kappa_high": float(tails[1])}
    return result


def _kappas(shares: np.ndarray) -> np.ndarray:
    """Cohen's kappa of each table of shares, shape (n_tables, labels, labels)."""
    observed = np.trace(shares, axis1=1, axis2=2)
    chance = (shares.sum(axis=2) * shares.sum(axis=1)).sum(axis=1)
    certain = chance >= 1 - 1e-12
    return np.where(certain, np.nan, (observed - chance) / np.where(certain, 1, 1 - chance))


def krippendorff_alpha(
    ratings: np.ndarray | pd.DataFrame | Sequence[Sequence], *,
    level: Literal["nominal", "ordinal", "interval"] = "nominal",
) -> float:
    """1 - observed / expected disagreement, for any number of raters with gaps (Krippendorff 2011).

    Args:
        ratings: raters x items, None or NaN where a rater skipped an item.
        level: "ordinal" and "interval" need numbers.

    Returns:
        alpha; NaN if no item has two ratings, or only one value occurs.
    """
    table = np.array(ratings, dtype=object)
    given = ~pd.isna(table)
    values = sorted(set(table[given]), key=str if level == "nominal" else None)
    counts = np.zeros((table.shape[1], len(values)))
    np.add.at(counts, (np.nonzero(given)[1], pd.Index(values).get_indexer(table[given])), 1)
    counts = counts[counts.sum(axis=1) >= 2]
    raters = counts.sum(axis=1, keepdims=True)
    coincidence = (counts / (raters - 1)).T @ counts - np.diag((counts / (raters - 1)).sum(axis=0))
    totals = coincidence.sum(axis=1)
    distance = _distance(values, totals, level)
    expected = (np.outer(totals, totals) * distance).sum()
    if expected == 0:
        return np.nan
    return float(1 - (totals.sum() - 1) * (coincidence * distance).sum() / expected)


def _distance(values: list, totals: np.ndarray, level: str) -> np.ndarray:
    if level == "nominal":
        return 1 - np.eye(len(values))
    if level == "interval":
        place = np.array(values, dtype=float)
    elif level == "ordinal":
        place = np.cumsum(totals) - totals / 2
    else:
        raise ValueError(f"level is {level!r}; use 'nominal', 'ordinal' or 'interval'.")
    return np.subtract.outer(place, place) ** 2


def human_pool(
    judge: pd.Series, humans: pd.DataFrame, *, relabelled: pd.Series | None = None,
    confidence: float = 0.95, n_resamples: int = 9_999, seed: int = 0,
) -> dict[str, Any]:
    """Is the judge as good a labeller as another human would be?

    Args:
        judge: labels by item (index pair_id).
        humans: items x annotators, None where one did not label.
        relabelled: with one annotator, their second, blind labels of some items: the ceiling.

    Returns:
        judge_human and human_human (tables: one row per pair of raters and `ties` setting, with
        the figures of `agreement`), alpha (Krippendorff, humans only), acceptable (True if the
        mean interval of the judge's kappa overlaps or exceeds that between humans, None if
        undecided), status ("ok", "one human": label at least 30 pairs again, blind).
    """
    if not judge.index.is_unique or not humans.index.is_unique:
        raise DataError("a pair_id occurs twice in the judge's or the humans' labels. "
                        "Keep one label per pair and rater.")
    options = {"confidence": confidence, "n_resamples": n_resamples, "seed": seed}
    items = humans.index
    against = [("judge", name, judge.reindex(items), humans[name]) for name in humans.columns]
    among = [(a, b, humans[a], humans[b]) for a, b in combinations(humans.columns, 2)]
    few = not among
    if not among and relabelled is not None and relabelled.notna().any():
        name, few = humans.columns[0], bool(relabelled.notna().sum() < MIN_RELABELLED)
        among = [(name, f"{name} again", humans[name], relabelled.reindex(items))]
    judge_human, human_human = _pair_table(against, options), _pair_table(among, options)
    return {
        "judge_human": judge_human, "human_human": human_human,
        "alpha": krippendorff_alpha(humans.to_numpy(object).T) if humans.shape[1] > 1 else np.nan,
        "acceptable": None if few else _acceptable(judge_human, human_human),
        "status": "one human" if few else "ok",
    }


def _pair_table(pairs: list[tuple], options: dict[str, Any]) -> pd.DataFrame:
    rows = []
    for first, second, one, two in pairs:
        for ties in ("class", "drop"):
            result = agreement(two, one, ties=ties, **options)
            result.pop("confusion")
            rows.append({"first": first, "second": second, "ties": ties, **result})
    return pd.DataFrame(rows)


def _acceptable(judge_human: pd.DataFrame, human_human: pd.DataFrame) -> bool | None:
    if not len(human_human):
        return None
    reach = judge_human.query("ties == 'class'")["kappa_high"].mean()
    floor = human_human.query("ties == 'class'")["kappa_low"].mean()
    return None if np.isnan(reach) or np.isnan(floor) else bool(reach >= floor)
