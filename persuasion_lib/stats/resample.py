"""Intervals and p-values over prompts, by scipy; above `LARGE_N` prompts by their normal limit.

`LARGE_N` is a stated rule: resampling costs n_prompts x n_resamples, and for a mean of thousands
of bounded values the bootstrap and Student's t agree closely. Every result names its method.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import stats

LARGE_N = 2_000

_CHUNK = 2_000_000  # numbers held at a time while resampling: 16 MB


@dataclass(frozen=True)
class MeanIntervals:
    """Intervals for k means, and the resampled means they come from.

    `low` and `high` have shape (k,); `method` names "bca", "percentile", "t", "degenerate" or
    "n<2" for each; `means` has shape (n_resamples, k), one set of prompts per row.
    """

    low: np.ndarray
    high: np.ndarray
    method: list[str]
    means: np.ndarray


def mean_intervals(
    values: np.ndarray, *, confidence: float, n_resamples: int, seed: int
) -> MeanIntervals:
    """Intervals for the column means of `values`, shape (n_prompts, k), resampling whole rows.

    BCa; percentile where BCa is undefined; (c, c) "degenerate" for a constant; Student's t above
    `LARGE_N` rows, where the resampled means are drawn from their joint normal limit.
    """
    n, k = values.shape
    if n < 2:
        nothing = np.full(k, np.nan)
        return MeanIntervals(nothing, nothing.copy(), ["n<2"] * k, np.full((0, k), np.nan))
    rng = np.random.default_rng(seed)
    if n > LARGE_N:
        centre, covariance = values.mean(axis=0), np.atleast_2d(np.cov(values.T)) / n
        half = stats.t.ppf((1 + confidence) / 2, n - 1) * np.sqrt(np.diag(covariance))
        means = rng.multivariate_normal(centre, covariance, n_resamples, method="eigh")
        low, high, method = centre - half, centre + half, ["t"] * k
    else:
        low, high, method, means = _bca(values, confidence, n_resamples, rng)
    for column in np.flatnonzero(np.ptp(values, axis=0) == 0):
        low[column] = high[column] = values[0, column]
        method[column] = "degenerate"
    return MeanIntervals(low, high, method, means)


def _bca(
    values: np.ndarray, confidence: float, n_resamples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a degenerate column comes back as NaN, handled below
        result = stats.bootstrap(
            (values,), np.mean, axis=0, vectorized=True, method="BCa", rng=rng,
            confidence_level=confidence, n_resamples=n_resamples,
            batch=max(1, _CHUNK // values.size),
        )
    means = result.bootstrap_distribution.T
    tails = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    low, high = np.array(result.confidence_interval.low), np.array(result.confidence_interval.high)
    undefined = np.isnan(low) | np.isnan(high)
    low, high = np.where(undefined, tails[0], low), np.where(undefined, tails[1], high)
    return low, high, ["percentile" if bad else "bca" for bad in undefined], means


def sign_flip_p(differences: np.ndarray, *, n_resamples: int, seed: int) -> tuple[np.ndarray, str]:
    """Two-sided p of each column mean being 0; `differences` has shape (n_prompts, k).

    Signs are flipped prompt by prompt (`scipy.stats.permutation_test`): p = (b+1)/(B+1), or exact
    when 2**n_prompts <= n_resamples. Above `LARGE_N` prompts the paired t-test.

    Returns:
        (p of shape (k,), "permutation" or "t").
    """
    if len(differences) > LARGE_N:
        return _t_p(differences), "t"
    result = stats.permutation_test(
        (differences,), lambda x, axis: np.abs(x.mean(axis=axis)), permutation_type="samples",
        vectorized=True, n_resamples=n_resamples, alternative="greater", axis=0,
        rng=np.random.default_rng(seed), batch=max(1, _CHUNK // differences.size),
    )
    return np.atleast_1d(result.pvalue), "permutation"


def _t_p(differences: np.ndarray) -> np.ndarray:
    constant = np.ptp(differences, axis=0) == 0
    p = np.where(differences[0] == 0, 1.0, 0.0)
    p[~constant] = stats.ttest_1samp(differences[:, ~constant], 0, axis=0).pvalue
    return p


def spread(values: np.ndarray) -> np.ndarray:
    """Standard deviation (ddof 1) of each column; NaN for n < 2, exactly 0 for a constant.

    numpy's own is 6e-17 for a column of thirds, and an effect divided by it would be enormous.
    """
    if len(values) < 2:
        return np.full(values.shape[1], np.nan)
    return np.where(np.ptp(values, axis=0) == 0, 0.0, values.std(axis=0, ddof=1))


def wilson(successes: int, n: int, *, confidence: float) -> tuple[float, float]:
    """Wilson's interval for a share, which stays inside 0..1 and is never empty; NaN for n = 0."""
    if n == 0:
        return np.nan, np.nan
    interval = stats.binomtest(int(successes), int(n)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def binomial_p(successes: int, n: int) -> float:
    """Exact two-sided p that a share is one half; NaN for n = 0."""
    return float(stats.binomtest(int(successes), int(n)).pvalue) if n else np.nan
