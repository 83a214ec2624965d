"""Intervals and p-values over prompts, by scipy; above `LARGE_N` prompts by their normal limit.

`LARGE_N` is a stated rule: resampling costs n_prompts x n_resamples, and for a mean of thousands
of bounded values the bootstrap and Student's t agree closely. Every result names its method.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import stats

LARGE_N = 2_000
CHUNK = 2_000_000  # numbers held at a time while resampling: 16 MB

_SAME = 2.0**-36  # numbers nearer than this share of the largest differ by rounding alone


@dataclass(frozen=True)
class Resampling:
    """How uncertainty is computed; every public function takes these fields as keywords.

    `span` is the lowest and the highest value that a prompt can have, where that is known: without
    it an interval of values that are all the same has no width.
    """

    confidence: float = 0.95  # coverage of an interval, a fraction
    n_resamples: int = 9_999
    seed: int = 0
    span: tuple[float, float] | None = None


@dataclass(frozen=True)
class MeanIntervals:
    """Intervals for k means, and the resampled means they come from.

    `low` and `high` have shape (k,); `method` names "bca", "percentile", "t", "unseen",
    "degenerate" or "n<2" for each; `means` has shape (n_resamples, k), one set of prompts per row.
    """

    low: np.ndarray
    high: np.ndarray
    method: list[str]
    means: np.ndarray


def snapped(values: np.ndarray, step: float | None = None) -> np.ndarray:
    """`values` on a grid so fine that only rounding errors vanish, for comparisons and ranks.

    In floating point 1/3 + 1/3 + 1/3 - 1/3 is not 2/3, and 1 - 2/3 is not 1/3. Take sums first and
    snap them afterwards: a sum of snapped values has the same fault.

    Args:
        step: width of the grid; by default 2**-36 (about 1e-11) of the largest of the values.
    """
    step = step or _step(values)
    return np.rint(values / step) * step


def _step(values: np.ndarray) -> float:
    return _SAME * float(np.abs(values).max(initial=0)) or 1.0


def mean_intervals(values: np.ndarray, how: Resampling) -> MeanIntervals:
    """Intervals for the column means of `values`, shape (n_prompts, k), resampling whole rows.

    BCa; percentile where BCa is undefined; Student's t above `LARGE_N` rows, where the resampled
    means are drawn from their joint normal limit. For a constant what `of_constant` says
    ("unseen"), or (c, c) "degenerate" where no span is known.
    """
    n, k = values.shape
    if n < 2:
        nothing = np.full(k, np.nan)
        return MeanIntervals(nothing, nothing, ["n<2"] * k, np.empty((0, k)))
    found = _student_t(values, how) if n > LARGE_N else _bca(values, how)
    for column in np.flatnonzero(constant(values)):
        found.low[column], found.high[column] = of_constant(values[0, column], n, how)
        found.method[column] = "unseen" if how.span else "degenerate"
    return found


def of_constant(value: float, n: int, how: Resampling) -> tuple[float, float]:
    """Interval for a mean when all `n` prompts have one value, as in 115 wins of 115.

    None of n prompts differed, so at most a share 1 - (alpha/2)^(1/n) of all prompts does (Clopper
    and Pearson 1934); at worst all of those have the lowest value, or the highest.
    """
    if how.span is None:
        return value, value
    unseen = 1 - ((1 - how.confidence) / 2) ** (1 / n)
    lowest, highest = how.span
    return value - unseen * (value - lowest), value + unseen * (highest - value)


def constant(values: np.ndarray, *, scale: float = 0.0) -> np.ndarray:
    """Which columns hold one value only, shape (k,).

    Args:
        scale: size of the numbers that `values` are differences of, where it is larger than theirs.
    """
    step = _SAME * scale or None
    return np.ptp(snapped(values, step), axis=0) == 0


def mean_interval(values: np.ndarray, how: Resampling) -> tuple[float, float, str]:
    """(low, high, method) of `mean_intervals` for one measure, shape (n_prompts,)."""
    found = mean_intervals(values[:, None], how)
    return float(found.low[0]), float(found.high[0]), found.method[0]


def _student_t(values: np.ndarray, how: Resampling) -> MeanIntervals:
    n, k = values.shape
    centre = values.mean(axis=0)
    covariance = np.atleast_2d(np.cov(values.T)) / n
    half = stats.t.ppf((1 + how.confidence) / 2, n - 1) * np.sqrt(np.diag(covariance))
    means = np.random.default_rng(how.seed).multivariate_normal(
        centre, covariance, how.n_resamples, method="eigh")
    return MeanIntervals(centre - half, centre + half, ["t"] * k, means)


def _bca(values: np.ndarray, how: Resampling) -> MeanIntervals:
    step = _step(values)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a degenerate column comes back as NaN, handled below
        result = stats.bootstrap(
            (values,), lambda x, axis: snapped(x.mean(axis=axis), step), axis=0, vectorized=True,
            method="BCa",
            rng=np.random.default_rng(how.seed), confidence_level=how.confidence,
            n_resamples=how.n_resamples, batch=max(1, CHUNK // values.size),
        )
    means = result.bootstrap_distribution.T
    bca = np.array(result.confidence_interval)
    undefined = np.isnan(bca).any(axis=0)
    low, high = np.where(undefined, percentiles(means, how.confidence), bca)
    return MeanIntervals(low, high, np.where(undefined, "percentile", "bca").tolist(), means)


def percentiles(
    samples: np.ndarray, confidence: float, *, method: str = "linear"
) -> np.ndarray:
    """Percentile interval of each column of `samples`: an array of (low, high), NaN of nothing."""
    if not len(samples):
        return np.full((2, *samples.shape[1:]), np.nan)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    return np.quantile(samples, tails, axis=0, method=method)


def sign_flip_p(differences: np.ndarray, how: Resampling) -> tuple[np.ndarray, str]:
    """Two-sided p of each column mean being 0; `differences` has shape (n_prompts, k).

    Signs are flipped prompt by prompt (`scipy.stats.permutation_test`): p = (b+1)/(B+1), or exact
    when 2**n_prompts <= n_resamples. A mean that ties with the observed one counts as reaching it.
    Above `LARGE_N` prompts the paired t-test.

    Returns:
        (p of shape (k,), "permutation", "t" or "n<2").
    """
    n, k = differences.shape
    if n < 2:
        return np.full(k, np.nan), "n<2"
    if n > LARGE_N:
        return _t_p(differences), "t"
    step = _step(differences)
    result = stats.permutation_test(
        (differences,), lambda x, axis: np.abs(snapped(x.mean(axis=axis), step)), axis=0,
        vectorized=True, permutation_type="samples", alternative="greater",
        n_resamples=how.n_resamples, rng=np.random.default_rng(how.seed),
        batch=max(1, CHUNK // differences.size),
    )
    return np.atleast_1d(result.pvalue), "permutation"


def _t_p(differences: np.ndarray) -> np.ndarray:
    varying = ~constant(differences)
    p = np.where(snapped(differences)[0] == 0, 1.0, 0.0)
    p[varying] = stats.ttest_1samp(differences[:, varying], 0, axis=0).pvalue
    return p


def spread(values: np.ndarray) -> np.ndarray:
    """Standard deviation (ddof 1) of each column; NaN for n < 2, exactly 0 for a constant.

    numpy's own is 6e-17 for a column of thirds, and an effect divided by it would be enormous.
    """
    if len(values) < 2:
        return np.full(values.shape[1], np.nan)
    return np.where(constant(values), 0.0, values.std(axis=0, ddof=1))


def share(hits: np.ndarray) -> float:
    """Share of True; NaN of nothing."""
    return float(np.mean(hits)) if len(hits) else np.nan


def wilson(successes: int, n: int, *, confidence: float) -> tuple[float, float]:
    """Wilson's interval for a share, which stays inside 0..1 and is never empty; NaN for n = 0."""
    if n == 0:
        return np.nan, np.nan
    interval = stats.binomtest(int(successes), int(n)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def binomial_p(successes: int, n: int) -> float:
    """Exact two-sided p that a share is one half; NaN for n = 0."""
    return float(stats.binomtest(int(successes), int(n)).pvalue) if n else np.nan
