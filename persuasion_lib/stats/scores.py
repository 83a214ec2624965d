"""Score per model, every pair of models, and the matrix of win rates."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from persuasion_lib.core.errors import DataError
from persuasion_lib.stats.blocks import TOO_FEW, check_ranks, check_table
from persuasion_lib.stats.power import power
from persuasion_lib.stats.resample import (
    Resampling,
    constant,
    mean_interval,
    mean_intervals,
    percentiles,
    share,
    sign_flip_p,
    snapped,
    spread,
    wilson,
)


def summarise(scores: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """One row per model: how high it scores, and how sure we are over prompts.

    Args:
        scores: prompts x models, higher is better.
        options: fields of `Resampling`.

    Returns:
        n, mean, sd (ddof 1), se, ci_low, ci_high, ci_method, first_rate (share of prompts where it
        is best, ties split), mean_rank (1 best), prob_best (share of resamples where its mean is
        highest), rank_low, rank_high (interval of its place among the models), status.
    """
    how = Resampling(**options)
    table = check_table(scores)
    values = table.to_numpy()
    n = len(table)
    interval = mean_intervals(values, how)
    places = stats.rankdata(-snapped(interval.means), axis=1)
    rank_low, rank_high = percentiles(places, how.confidence, method="inverted_cdf")
    sd = spread(values)
    return pd.DataFrame({
        "n": n, "mean": column_means(values), "sd": sd, "se": sd / np.sqrt(max(n, 1)),
        "ci_low": interval.low, "ci_high": interval.high, "ci_method": interval.method,
        "first_rate": column_means(best_share(values)),
        "mean_rank": column_means(stats.rankdata(-snapped(values), axis=1)),
        "prob_best": column_means(best_share(interval.means)),
        "rank_low": rank_low, "rank_high": rank_high, "status": [_status(n, s) for s in sd],
    }, index=pd.Index(table.columns, name="model"))


def best_share(values: np.ndarray) -> np.ndarray:
    """1 where a row has its maximum, split evenly among ties; rows sum to 1."""
    comparable = snapped(values)
    top = comparable == comparable.max(axis=1, keepdims=True)
    return top / top.sum(axis=1, keepdims=True)


def column_means(values: np.ndarray) -> np.ndarray:
    """Mean of each column; NaN without rows."""
    return values.mean(axis=0) if len(values) else np.full(values.shape[1], np.nan)


def _status(n: int, sd: float) -> str:
    if n < 2:
        return "n<2"
    return "constant" if sd == 0 else "ok"


def paired_tests(
    scores: pd.DataFrame, *, primary: tuple[str, str] | None = None, alpha: float = 0.05,
    **options: Any,
) -> pd.DataFrame:
    """One row per pair of models (a before b in column order), compared within prompts.

    The declared `primary` pair is tested once, unadjusted; all others form one Holm family.

    Args:
        options: fields of `Resampling`.

    Returns:
        a, b, family ("primary" or "holm"), n, mean_diff (a - b), se, ci_low, ci_high, ci_method,
        win, tie, loss (of a), win_rate (tie = half), rank_biserial, d_z, p_perm, p_method,
        p_wilcoxon, p_t, p_holm (the raw p for the primary pair), significant (None below 20
        prompts), mde80, mde80_holm (smallest detectable difference, at alpha and at alpha/m),
        status ("ok", "too_few", "constant", "n<2").
    """
    how = Resampling(**options)
    table = check_table(scores)
    pairs = list(combinations(table.columns, 2))
    declared = _declared(pairs, primary)
    differences = _differences(table, pairs)
    interval = mean_intervals(differences, _of_differences(how))
    result = pd.DataFrame(pairs, columns=["a", "b"])
    result["family"] = np.where(declared, "primary", "holm")
    result = result.join(pd.DataFrame([_effect(column) for column in differences.T]))
    result = result.assign(ci_low=interval.low, ci_high=interval.high, ci_method=interval.method)
    return _add_tests(result, differences, declared, alpha, how)


def _declared(pairs: list[tuple], primary: tuple[str, str] | None) -> np.ndarray:
    """Which of the pairs is the primary one, shape (n_pairs,)."""
    mask = np.array([primary is not None and set(pair) == set(primary) for pair in pairs])
    if primary is not None and not mask.any():
        raise DataError(f"the primary comparison {tuple(primary)} is not among the models "
                        f"{sorted({str(m) for pair in pairs for m in pair})}. Evaluate both, or "
                        "declare another.")
    return mask


def _differences(table: pd.DataFrame, pairs: list[tuple]) -> np.ndarray:
    """First minus second of each pair, shape (n_prompts, n_pairs)."""
    first = table[[a for a, _ in pairs]].to_numpy()
    second = table[[b for _, b in pairs]].to_numpy()
    return first - second


def _of_differences(how: Resampling) -> Resampling:
    if how.span is None:
        return how
    width = how.span[1] - how.span[0]
    return replace(how, span=(-width, width))


def _effect(difference: np.ndarray) -> dict[str, Any]:
    n = len(difference)
    sd = float(spread(difference[:, None])[0])
    mean = difference.mean() if n else np.nan
    comparable = snapped(difference)
    win = int((comparable > 0).sum())
    loss = int((comparable < 0).sum())
    tie = n - win - loss
    return {
        "n": n, "mean_diff": mean, "se": sd / np.sqrt(max(n, 1)),
        "win": win, "tie": tie, "loss": loss, "win_rate": (win + tie / 2) / n if n else np.nan,
        "rank_biserial": _rank_biserial(comparable), "d_z": mean / sd if sd > 0 else np.nan,
    }


def _rank_biserial(difference: np.ndarray) -> float:
    """(R+ - R-) / (R+ + R-), zero differences left out; 0 if none remain (Kerby 2014)."""
    if not len(difference):
        return np.nan
    moved = difference[difference != 0]
    ranks = stats.rankdata(np.abs(moved))
    return float((ranks * np.sign(moved)).sum() / max(ranks.sum(), 1))


def _add_tests(
    result: pd.DataFrame, differences: np.ndarray, declared: np.ndarray, alpha: float,
    how: Resampling,
) -> pd.DataFrame:
    n = len(differences)
    p_perm, method = sign_flip_p(differences, how)
    p_holm, m = holm(p_perm, ~declared)
    sd = result["se"] * np.sqrt(max(n, 1))
    tests = np.where(declared, 1, max(m, 1))
    verdicts = [bool(p < alpha) if n >= TOO_FEW else None for p in p_holm]
    return result.assign(
        p_perm=p_perm, p_method=method, p_wilcoxon=[_wilcoxon_p(c) for c in differences.T],
        p_t=[_paired_t_p(c) for c in differences.T], p_holm=p_holm,
        significant=pd.Series(verdicts, dtype=object),
        mde80=[power(n, s, alpha=alpha) for s in sd],
        mde80_holm=[power(n, s, alpha=alpha, m=k) for s, k in zip(sd, tests, strict=True)],
        status=[_test_status(n, s) for s in sd],
    )


def holm(p: np.ndarray, family: np.ndarray) -> tuple[np.ndarray, int]:
    """Holm-adjusted p inside the family (finite p only), raw p outside; and the family's size."""
    adjusted = p.copy()
    inside = family & np.isfinite(p)
    if inside.any():
        adjusted[inside] = multipletests(p[inside], method="holm")[1]
    return adjusted, int(inside.sum())


def _wilcoxon_p(difference: np.ndarray) -> float:
    if len(difference) < 2:
        return np.nan
    return float(stats.wilcoxon(snapped(difference), zero_method="zsplit").pvalue)


def _paired_t_p(difference: np.ndarray) -> float:
    if len(difference) < 2 or constant(difference):
        return np.nan
    return float(stats.ttest_1samp(difference, 0).pvalue)


def _test_status(n: int, sd: float) -> str:
    status = _status(n, sd)
    return "too_few" if status == "ok" and n < TOO_FEW else status


def win_matrix(ranks: pd.DataFrame, **options: Any) -> dict[str, Any]:
    """P(row beats column), a tie counting half; cells (a, b) and (b, a) sum to 1.

    Args:
        options: fields of `Resampling`.

    Returns:
        win_rate, ci_low, ci_high, ci_method: K x K tables with an empty diagonal; and n. Wilson's
        interval for a pair without ties, otherwise an interval for the mean over prompts.
    """
    how = Resampling(**options)
    table = check_ranks(ranks)
    models = table.columns
    pairs = list(combinations(models, 2))
    lower_is_better = _differences(table, [(b, a) for a, b in pairs])
    wins = (np.sign(snapped(lower_is_better)) + 1) / 2
    cells = {}
    for (a, b), column in zip(pairs, wins.T, strict=True):
        rate = share(column)
        low, high, method = _win_interval(column, how)
        cells[a, b] = (rate, low, high, method)
        cells[b, a] = (1 - rate, 1 - high, 1 - low, method)
    long = pd.DataFrame(list(cells.values()), pd.MultiIndex.from_tuples(cells),
                        ["win_rate", "ci_low", "ci_high", "ci_method"])
    square = {name: long[name].unstack().loc[models, models] for name in long}
    return {**square, "n": len(table)}


def _win_interval(wins: np.ndarray, how: Resampling) -> tuple[float, float, str]:
    """(low, high, method) of one pair's share of wins: 1 won, 1/2 tied, 0 lost."""
    if len(wins) and not (wins == 0.5).any():
        return (*wilson(wins.sum(), len(wins), confidence=how.confidence), "wilson")
    return mean_interval(wins, how)
