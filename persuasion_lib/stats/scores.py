"""Score per model, every pair of models, and the matrix of win rates."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from persuasion_lib.core.errors import DataError
from persuasion_lib.stats.blocks import TOO_FEW, check_ranks, check_table
from persuasion_lib.stats.power import power
from persuasion_lib.stats.resample import mean_intervals, sign_flip_p, spread, wilson


def summarise(
    scores: pd.DataFrame, *, confidence: float = 0.95, n_resamples: int = 9_999, seed: int = 0
) -> pd.DataFrame:
    """One row per model: how high it scores, and how sure we are over prompts.

    Args:
        scores: prompts x models, higher is better.

    Returns:
        n, mean, sd (ddof 1), se, ci_low, ci_high, ci_method, first_rate (share of prompts where it
        is best, ties split), mean_rank (1 best), prob_best (share of resamples where its mean is
        highest), rank_low, rank_high (interval of its place among the models), status.
    """
    table = check_table(scores)
    values, n = table.to_numpy(), len(table)
    interval = mean_intervals(values, confidence=confidence, n_resamples=n_resamples, seed=seed)
    sd = spread(values)
    low, high = _place_interval(interval.means, confidence)
    return pd.DataFrame({
        "n": n, "mean": _mean(values), "sd": sd, "se": sd / np.sqrt(max(n, 1)),
        "ci_low": interval.low, "ci_high": interval.high, "ci_method": interval.method,
        "first_rate": _mean(best_share(values)),
        "mean_rank": _mean(stats.rankdata(-values, axis=1)),
        "prob_best": _mean(best_share(interval.means)), "rank_low": low, "rank_high": high,
        "status": [_status(n, spread) for spread in sd],
    }, index=pd.Index(table.columns, name="model"))


def best_share(values: np.ndarray) -> np.ndarray:
    """1 where a row has its maximum, split evenly among ties; rows sum to 1."""
    top = values >= values.max(axis=1, keepdims=True) - 1e-12
    return top / top.sum(axis=1, keepdims=True)


def _mean(values: np.ndarray) -> np.ndarray:
    return values.mean(axis=0) if len(values) else np.full(values.shape[1], np.nan)


def _place_interval(means: np.ndarray, confidence: float) -> np.ndarray:
    if not len(means):
        return np.full((2, means.shape[1]), np.nan)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    return np.quantile(stats.rankdata(-means, axis=1), tails, axis=0, method="inverted_cdf")


def _status(n: int, sd: float) -> str:
    if n < 2:
        return "n<2"
    return "constant" if sd == 0 else "ok"


def paired_tests(
    scores: pd.DataFrame, *, primary: tuple[str, str] | None = None, alpha: float = 0.05,
    confidence: float = 0.95, n_resamples: int = 9_999, seed: int = 0,
) -> pd.DataFrame:
    """One row per pair of models (a before b in column order), compared within prompts.

    The declared `primary` pair is tested once, unadjusted; all others form one Holm family.

    Returns:
        a, b, family ("primary" or "holm"), n, mean_diff (a - b), se, ci_low, ci_high, ci_method,
        win, tie, loss (of a), win_rate (tie = half), rank_biserial, d_z, p_perm, p_method,
        p_wilcoxon, p_t, p_holm (the raw p for the primary pair), significant (None below 20
        prompts), mde80, mde80_holm (smallest detectable difference, at alpha and at alpha/m),
        status ("ok", "too_few", "constant", "n<2").
    """
    table = check_table(scores)
    pairs = list(combinations(table.columns, 2))
    is_primary = _primary_mask(pairs, primary)
    first, second = (table[[pair[side] for pair in pairs]].to_numpy() for side in (0, 1))
    # multiples of 1/(K-1) are not exact in floating point: without rounding, equal steps differ
    differences = np.round(first - second, 12)
    options = {"n_resamples": n_resamples, "seed": seed}
    interval = mean_intervals(differences, confidence=confidence, **options)
    result = pd.DataFrame([
        {"a": a, "b": b, "family": "primary" if chosen else "holm", **_effect(column)}
        for (a, b), chosen, column in zip(pairs, is_primary, differences.T, strict=True)
    ])
    for place, name in enumerate(("low", "high", "method"), start=6):
        result.insert(place, f"ci_{name}", getattr(interval, name))
    return _add_tests(result, differences, is_primary, alpha=alpha, **options)


def _primary_mask(pairs: list[tuple], primary: tuple[str, str] | None) -> np.ndarray:
    mask = np.array([primary is not None and set(pair) == set(primary) for pair in pairs])
    if primary is not None and not mask.any():
        raise DataError(f"the primary comparison {tuple(primary)} is not among the models "
                        f"{sorted({str(m) for pair in pairs for m in pair})}. Evaluate both, or "
                        "declare another.")
    return mask


def _effect(difference: np.ndarray) -> dict[str, Any]:
    n = len(difference)
    sd = float(spread(difference[:, None])[0])
    win, loss = int((difference > 0).sum()), int((difference < 0).sum())
    mean = difference.mean() if n else np.nan
    return {
        "n": n, "mean_diff": mean, "se": sd / np.sqrt(max(n, 1)),
        "win": win, "tie": n - win - loss, "loss": loss,
        "win_rate": (win + (n - win - loss) / 2) / n if n else np.nan,
        "rank_biserial": _rank_biserial(difference), "d_z": mean / sd if sd > 0 else np.nan,
    }


def _rank_biserial(difference: np.ndarray) -> float:
    """(R+ - R-) / (R+ + R-), zero differences left out; 0 if none remain (Kerby 2014)."""
    moved = difference[difference != 0]
    if not len(moved):
        return 0.0 if len(difference) else np.nan
    ranks = stats.rankdata(np.abs(moved))
    return float((ranks * np.sign(moved)).sum() / ranks.sum())


def _add_tests(
    result: pd.DataFrame, differences: np.ndarray, is_primary: np.ndarray, *, alpha: float,
    n_resamples: int, seed: int,
) -> pd.DataFrame:
    n, k = differences.shape
    p_perm, method = np.full(k, np.nan), "n<2"
    if n > 1:
        p_perm, method = sign_flip_p(differences, n_resamples=n_resamples, seed=seed)
    p_holm, m = holm(p_perm, ~is_primary)
    sd = result["se"] * np.sqrt(max(n, 1))
    decided = n >= TOO_FEW
    return result.assign(
        p_perm=p_perm, p_method=method, p_wilcoxon=[_wilcoxon_p(c) for c in differences.T],
        p_t=[_paired_t_p(c) for c in differences.T], p_holm=p_holm,
        significant=pd.Series([bool(p < alpha) if decided else None for p in p_holm], dtype=object),
        mde80=[power(n, s, alpha=alpha) for s in sd],
        mde80_holm=[power(n, s, alpha=alpha, m=1 if own else max(m, 1))
                    for s, own in zip(sd, is_primary, strict=True)],
        status=[_test_status(n, s) for s in sd],
    )


def holm(p: np.ndarray, family: np.ndarray) -> tuple[np.ndarray, int]:
    """Holm-adjusted p inside the family (finite p only), raw p outside; and the family's size."""
    adjusted, inside = p.copy(), family & np.isfinite(p)
    if inside.any():
        adjusted[inside] = multipletests(p[inside], method="holm")[1]
    return adjusted, int(inside.sum())


def _wilcoxon_p(difference: np.ndarray) -> float:
    if len(difference) < 2:
        return np.nan
    return float(stats.wilcoxon(difference, zero_method="zsplit").pvalue)


def _paired_t_p(difference: np.ndarray) -> float:
    if len(difference) < 2 or np.ptp(difference) == 0:
        return np.nan
    return float(stats.ttest_1samp(difference, 0).pvalue)


def _test_status(n: int, sd: float) -> str:
    status = _status(n, sd)
    return "too_few" if status == "ok" and n < TOO_FEW else status


def win_matrix(
    ranks: pd.DataFrame, *, confidence: float = 0.95, n_resamples: int = 9_999, seed: int = 0
) -> dict[str, Any]:
    """P(row beats column), a tie counting half; cells (a, b) and (b, a) sum to 1.

    Returns:
        win_rate, ci_low, ci_high, ci_method: K x K tables with an empty diagonal; and n. Wilson's
        interval for a pair without ties, otherwise an interval for the mean over prompts.
    """
    table = check_ranks(ranks)
    models, n = table.columns, len(table)
    names = ["win_rate", "ci_low", "ci_high"]
    out: dict[str, Any] = {name: pd.DataFrame(np.nan, models, models) for name in names}
    out["ci_method"] = pd.DataFrame("", models, models)
    pairs = list(combinations(models, 2))
    wins = np.column_stack([(np.sign(table[b] - table[a]) + 1) / 2 for a, b in pairs])
    options = {"confidence": confidence, "n_resamples": n_resamples, "seed": seed}
    interval = mean_intervals(wins, **options)
    for i, (a, b) in enumerate(pairs):
        low, high, method = interval.low[i], interval.high[i], interval.method[i]
        if n and not (wins[:, i] == 0.5).any():
            low, high = wilson(wins[:, i].sum(), n, confidence=confidence)
            method = "wilson"
        rate = wins[:, i].mean() if n else np.nan
        for name, forward, back in zip(
            [*names, "ci_method"], [rate, low, high, method], [1 - rate, 1 - high, 1 - low, method],
            strict=True,
        ):
            out[name].loc[a, b], out[name].loc[b, a] = forward, back
    return {**out, "n": n}
