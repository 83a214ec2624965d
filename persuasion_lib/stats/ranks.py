"""Tests on rankings: is there any difference, is there a trend, do two rankings agree?"""

import warnings
from collections.abc import Sequence
from itertools import permutations
from math import factorial
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from persuasion_lib.core.errors import DataError
from persuasion_lib.stats.blocks import check_ranks, check_table, same_prompts
from persuasion_lib.stats.resample import (
    CHUNK,
    LARGE_N,
    Resampling,
    constant,
    mean_interval,
    share,
    snapped,
)


def friedman(ranks: pd.DataFrame) -> dict[str, Any]:
    """Do any of the models differ? Friedman's test, corrected for ties, with Kendall's W.

    Returns:
        chi2, df, p, kendall_w = chi2 / (n (K - 1)), n, status ("ok", "n<2", "K<3", "constant").
    """
    return friedman_test(check_table(ranks).to_numpy())


def friedman_test(values: np.ndarray) -> dict[str, Any]:
    """`friedman` on an array of shape (n_prompts, K); only the order within a row matters."""
    n, k = values.shape
    result = {"chi2": np.nan, "df": k - 1, "p": np.nan, "kendall_w": np.nan, "n": n,
              "status": _testable(values)}
    if result["status"] == "ok":
        test = stats.friedmanchisquare(*snapped(values).T)
        chi2 = float(test.statistic)
        result |= {"chi2": chi2, "p": float(test.pvalue), "kendall_w": chi2 / (n * (k - 1))}
    return result


def _testable(values: np.ndarray) -> str:
    n, k = values.shape
    if n < 2:
        return "n<2"
    if k < 3:
        return "K<3"
    return "constant" if constant(values.T).all() else "ok"


def page_trend(ranks: pd.DataFrame, best_first: Sequence[str]) -> dict[str, Any]:
    """One-sided test of a predicted order of the models (Page 1963), such as rlhf > sft > base.

    Args:
        ranks: prompts x models, 1 is best.
        best_first: three or more of the models, the predicted best first.

    Returns:
        order, p, n, status.
    """
    unknown = [model for model in best_first if model not in ranks.columns]
    if unknown:
        raise DataError(f"the predicted order names {unknown}, which have no ranks.")
    values = check_table(ranks)[list(best_first)].to_numpy()
    status = _testable(values)
    p = float(stats.page_trend_test(snapped(values)).pvalue) if status == "ok" else np.nan
    return {"order": list(best_first), "p": p, "n": len(values), "status": status}


def consistency_rankings(
    first: pd.DataFrame, second: pd.DataFrame, **options: Any
) -> dict[str, Any]:
    """Does the judge rank the same responses alike in two orders of presentation?

    Args:
        first, second: ranks by model (not by slot) for the same prompts.
        options: fields of `Resampling`.

    Returns:
        tau (mean within-prompt Kendall tau-b), ci_low, ci_high, ci_method, identical (share of
        prompts with equal rankings), top1_same (share with the same best; tied firsts must tie in
        both), n_total, n_used, n_constant (a ranking all tied: no tau, left out), status.
    """
    table = check_ranks(first)
    one = table.to_numpy()
    two = same_prompts(table, check_ranks(second), "the two rankings").to_numpy()
    tau = kendall_tau_rows(one, two)
    used = tau[np.isfinite(tau)]
    best_one = np.isclose(one, one.min(axis=1, keepdims=True))
    best_two = np.isclose(two, two.min(axis=1, keepdims=True))
    return {
        "tau": share(used), **_interval(used, Resampling(**options)),
        "identical": share(np.isclose(one, two).all(axis=1)),
        "top1_same": share((best_one == best_two).all(axis=1)),
        "n_total": len(one), "n_used": len(used), "n_constant": len(one) - len(used),
    }


def _interval(values: np.ndarray, how: Resampling) -> dict[str, Any]:
    low, high, method = mean_interval(values, how)
    status = {"n<2": "n<2", "degenerate": "constant"}.get(method, "ok")
    return {"ci_low": low, "ci_high": high, "ci_method": method, "status": status}


def kendall_tau_rows(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Kendall tau-b of each row of x with the same row of y; NaN where a row is constant.

    `scipy.stats.kendalltau` takes one pair of vectors at a time: 30 s for 100,000 prompts.
    """
    left = _signs(x)
    right = _signs(y)
    scale = np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    with np.errstate(invalid="ignore"):
        return (left * right).sum(axis=1) / scale


def _signs(values: np.ndarray) -> np.ndarray:
    """Which of each two columns is larger: 1 the first, -1 the second, 0 neither."""
    first, second = np.triu_indices(values.shape[1], 1)
    return np.sign(snapped(values[:, first] - values[:, second]))


def similarity_vs_rank(
    similarity: pd.DataFrame, scores: pd.DataFrame, **options: Any
) -> dict[str, Any]:
    """Within a prompt, does the response more similar to the oracle score higher?

    Args:
        similarity: prompts x models, cosine.
        scores: prompts x models, higher is better (never pooled over prompts).
        options: fields of `Resampling`.

    Returns:
        rho (mean within-prompt Spearman), ci_low, ci_high, ci_method, p (model labels permuted
        within prompts), p_method, n_total, n_used, n_constant, status; `system`: the correlation
        of the models' means, described without a test.
    """
    how = Resampling(**{**options, "span": (-1.0, 1.0)})
    cosine = _cosine(check_table(similarity))
    judged = same_prompts(cosine, check_table(scores), "similarities and scores")
    ranked = [stats.rankdata(snapped(t.to_numpy()), axis=1) for t in (cosine, judged)]
    usable = np.all([np.ptp(r, axis=1) > 0 for r in ranked], axis=0)
    x, y = (_standardise(r[usable]) for r in ranked)
    rho = (x * y).sum(axis=1)
    p, method = _label_permutation_p(x, y, how)
    return {
        "rho": share(rho), **_interval(rho, how), "p": p, "p_method": method,
        "n_total": len(cosine), "n_used": len(rho), "n_constant": len(cosine) - len(rho),
        "system": _system_correlation(cosine, judged),
    }


def _cosine(table: pd.DataFrame) -> pd.DataFrame:
    beyond = (table.abs() > 1 + 1e-6).any(axis=1)
    if beyond.any():
        raise DataError(f"prompt_id {table.index[beyond][0]!r} has a cosine similarity outside "
                        "-1..1. Check that the embeddings are normalised.")
    return table.clip(-1, 1)


def _standardise(ranked: np.ndarray) -> np.ndarray:
    """Rows with mean 0 and length 1, so that a row product is a correlation."""
    centred = ranked - ranked.mean(axis=1, keepdims=True)
    return centred / np.linalg.norm(centred, axis=1, keepdims=True)


def _label_permutation_p(x: np.ndarray, y: np.ndarray, how: Resampling) -> tuple[float, str]:
    """Two-sided p of the mean row correlation when models are relabelled within each prompt.

    scipy's permutation_test would move all prompts together; here each moves on its own. Above
    `LARGE_N` prompts the normal limit: a relabelled Spearman has variance 1/(K - 1) exactly.
    """
    n, k = x.shape
    if n < 2:
        return np.nan, "n<2"
    observed = abs((x * y).sum())
    if n > LARGE_N:
        return float(2 * stats.norm.sf(observed / np.sqrt(n / (k - 1)))), "normal"
    # every relabelling of every prompt is computed once, and then only looked up
    relabelled = np.stack([(x * y[:, list(p)]).sum(axis=1) for p in permutations(range(k))])
    rng = np.random.default_rng(how.seed)
    size = max(1, CHUNK // n)
    beyond = 0
    for start in range(0, how.n_resamples, size):
        draws = rng.integers(len(relabelled), size=(min(size, how.n_resamples - start), n))
        totals = relabelled[draws, np.arange(n)].sum(axis=1)
        beyond += int((np.abs(totals) >= observed - 1e-9).sum())
    return (beyond + 1) / (how.n_resamples + 1), "permutation"


def _system_correlation(cosine: pd.DataFrame, judged: pd.DataFrame) -> dict[str, Any]:
    k = cosine.shape[1]
    rho = np.nan
    if len(cosine) and k > 2:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.ConstantInputWarning)
            means = [snapped(table.mean().to_numpy()) for table in (cosine, judged)]
            rho = float(stats.spearmanr(*means).statistic)
    smallest = 2 / factorial(k)
    reach = "cannot reach p<.05" if smallest >= 0.05 else f"smallest possible p is {smallest:.3f}"
    return {"rho": rho, "n": k, "p": None, "note": f"n={k}: {reach}"}
