"""Agreement of two raters who label the same items."""

import warnings
from collections.abc import Hashable, Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from statsmodels.stats.inter_rater import cohens_kappa

from persuasion_lib.core.errors import DataError
from persuasion_lib.stats.resample import Resampling, percentiles, share, wilson

TIE = "tie"

_MAX_LOST = 0.05  # share of resamples without a kappa above which its interval is not given


def agreement(
    first: Iterable[Hashable | None], second: Iterable[Hashable | None], *,
    ties: Literal["class", "drop"] = "class", **options: Any,
) -> dict[str, Any]:
    """How often two raters give an item the same label, and how much of it is not chance.

    Args:
        first, second: labels by response, never by slot; None where unscored.
        ties: "class" counts "tie" as a label like others, "drop" leaves out items that either
            calls a tie.
        options: fields of `Resampling`.

    Returns:
        n, n_null, n_ties_dropped, raw, ci_low, ci_high (Wilson), kappa, se_kappa, kappa_low,
        kappa_high (percentile over items), pe (agreement by chance), majority_baseline (always
        answering `first`'s commonest label), confusion, status ("ok", "n<2", "constant": one
        label only, so kappa is undefined).
    """
    how = Resampling(**options)
    one, two, counts = _scored(first, second, ties)
    labels = sorted(set(one) | set(two), key=str)
    confusion = pd.crosstab(pd.Categorical(one, labels), pd.Categorical(two, labels), dropna=False)
    n = len(one)
    same = one == two
    low, high = wilson(same.sum(), n, confidence=how.confidence)
    status = "n<2" if n < 2 else "ok"
    if n >= 2 and len(labels) < 2:
        status = "constant"
    return {
        "n": n, **counts, "raw": share(same), "ci_low": low, "ci_high": high,
        **_kappa(confusion.to_numpy(), how),
        "majority_baseline": float(confusion.sum(axis=1).max() / n) if n else np.nan,
        "confusion": confusion.rename_axis(index="first", columns="second"), "status": status,
    }


def right_in_both_orders(
    truth: Iterable[Hashable | None], order1: Iterable[Hashable | None],
    order2: Iterable[Hashable | None], *, confidence: float = 0.95,
) -> dict[str, Any]:
    """How often both orders of presentation give the label that is right (Li et al. 2023, Auto-J).

    `agreement` of labels in which a flip has become a tie is the milder count: there a flip is
    right where the truth is a tie.

    Args:
        truth, order1, order2: labels by response, never by slot; None where unscored.

    Returns:
        n (all three are there), n_null, raw, ci_low, ci_high (Wilson).
    """
    labels = pd.DataFrame(zip(truth, order1, order2, strict=True), dtype=object)
    known = labels.dropna()
    right = known.nunique(axis=1).eq(1).to_numpy()
    low, high = wilson(right.sum(), len(known), confidence=confidence)
    return {"n": len(known), "n_null": len(labels) - len(known), "raw": share(right),
            "ci_low": low, "ci_high": high}


def krippendorff(ratings: pd.DataFrame, **options: Any) -> dict[str, Any]:
    """Krippendorff's alpha of any number of raters who need not all rate every item (2011).

    It is 1 where all agree and 0 where they agree as often as labels drawn from one urn would.

    Args:
        ratings: a row an item, a column a rater; a label (nominal), or missing.
        options: fields of `Resampling`.

    Returns:
        n (items with two labels or more), n_labels, alpha, alpha_low, alpha_high (percentile over
        items), status ("ok", "n<2", "constant": one label only, so alpha is undefined).
    """
    how = Resampling(**options)
    long = ratings.melt(ignore_index=False).dropna(subset="value")
    counts = pd.crosstab(long.index, long["value"])
    counts = counts[counts.sum(axis=1) >= 2].to_numpy(float)
    n = len(counts)
    result = {"n": n, "n_labels": int(counts.sum()), "alpha": np.nan, "alpha_low": np.nan,
              "alpha_high": np.nan, "status": "n<2"}
    if n < 2:
        return result
    result["alpha"] = float(_alphas(np.ones((1, n)), counts)[0])
    result["status"] = "ok" if np.isfinite(result["alpha"]) else "constant"
    rng = np.random.default_rng(how.seed)
    alphas = _alphas(rng.multinomial(n, np.full(n, 1 / n), how.n_resamples), counts)
    result["alpha_low"], result["alpha_high"] = _interval(alphas, how)
    return result


def _interval(resampled: np.ndarray, how: Resampling) -> tuple[float, float]:
    """Percentiles of what resamples give; NaN where too many of them are undefined."""
    defined = resampled[np.isfinite(resampled)]
    if len(defined) < (1 - _MAX_LOST) * how.n_resamples:
        return np.nan, np.nan
    low, high = percentiles(defined, how.confidence)
    return float(low), float(high)


def _alphas(weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Alpha of each weighting of the items, shape (n_weightings,).

    Args:
        weights: shape (n_weightings, n_items).
        counts: how often an item got a label, shape (n_items, n_labels), two or more an item.
    """
    raters = counts.sum(axis=1)
    differing = (raters**2 - (counts**2).sum(axis=1)) / (raters - 1)
    labels = weights @ counts
    total = labels.sum(axis=1)
    by_chance = total**2 - (labels**2).sum(axis=1)
    certain = by_chance < 1e-9
    return np.where(certain, np.nan,
                    1 - (total - 1) * (weights @ differing) / np.where(certain, 1, by_chance))


def _scored(
    first: Iterable, second: Iterable, ties: str
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    if ties not in ("class", "drop"):
        raise ValueError(f"ties is {ties!r}; use 'class' or 'drop'.")
    one = pd.Series(list(first), dtype=object)
    two = pd.Series(list(second), dtype=object)
    if len(one) != len(two):
        raise DataError(f"the raters have {len(one)} and {len(two)} labels. Pass both for the same "
                        "items in the same sequence, None where one is unscored.")
    scored = one.notna() & two.notna()
    dropped = scored & ((one == TIE) | (two == TIE)) & (ties == "drop")
    keep = scored & ~dropped
    counts = {"n_null": int((~scored).sum()), "n_ties_dropped": int(dropped.sum())}
    return one[keep].to_numpy(), two[keep].to_numpy(), counts


def _kappa(confusion: np.ndarray, how: Resampling) -> dict[str, float]:
    n = confusion.sum()
    result = dict.fromkeys(["kappa", "se_kappa", "kappa_low", "kappa_high", "pe"], np.nan)
    if n == 0:
        return result
    result["pe"] = float(confusion.sum(axis=1) @ confusion.sum(axis=0) / n**2)
    if n < 2 or result["pe"] >= 1 - 1e-12:
        return result
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)     # a constant rater has no standard error
        fitted = cohens_kappa(confusion)
    result["kappa"] = float(fitted.kappa)
    result["se_kappa"] = float(fitted.std_kappa)
    # drawing n items from the list is drawing n cells from the table
    rng = np.random.default_rng(how.seed)
    resampled = rng.multinomial(n, confusion.ravel() / n, how.n_resamples)
    kappas = _kappas(resampled.reshape(-1, *confusion.shape) / n)
    result["kappa_low"], result["kappa_high"] = _interval(kappas, how)
    return result


def _kappas(shares: np.ndarray) -> np.ndarray:
    """Cohen's kappa of each table of shares, shape (n_tables, labels, labels)."""
    observed = np.trace(shares, axis1=1, axis2=2)
    chance = (shares.sum(axis=2) * shares.sum(axis=1)).sum(axis=1)
    certain = chance >= 1 - 1e-12
    return np.where(certain, np.nan, (observed - chance) / np.where(certain, 1, 1 - chance))
