"""Means over training seeds and prompts, both drawn by chance, and what labels are worth.

One trained model says nothing of the next seed, and prompts repeat over seeds: an interval over
prompts alone covered .56 to .93 in simulations where this one covers .92 to .97.
"""

from typing import Any

import numpy as np
from scipy import stats
from scipy.special import stdtr, stdtrit  # stats.t.cdf and ppf of one number, ten times faster

from persuasion_lib.core.errors import DataError
from persuasion_lib.stats.people import LEAST_RESIDUAL
from persuasion_lib.stats.resample import Resampling, constant, of_constant

_STEPS = 641            # of the search for N on a scale of log2
_MOST = 2**16           # labels beyond which an interval is open
LEAST_EACH = 8          # comparisons by people of a seed, for a correction of it


def crossed_mean(values: np.ndarray, *, confidence: float = 0.95,
                 span: tuple[float, float] | None = None) -> dict[str, Any]:
    """Mean of `values` and its interval when seeds and prompts are both samples.

    The variance is (MS_seed + MS_prompt - MS_rest) / (S P) by the two-way analysis of variance,
    never below one of its parts, with Satterthwaite's degrees of freedom.

    Args:
        values: shape (seeds, prompts); a score, or the difference of two arms.
        span: the lowest and the highest that a value can be, where that is known: the interval
            stays inside, and values that are all the same have one that is not empty.

    Returns:
        mean, se, df, ci_low, ci_high, p (two-sided, of a mean of 0), sd_seed, sd_prompt, sd_rest,
        n_seeds, n_prompts, status ("ok"; "one seed", "one prompt": a mean without an interval).

    Raises:
        DataError: no table of finite numbers.
    """
    table = _checked(values, 2)
    seeds, prompts = table.shape
    mean = float(table.mean())
    result = {"mean": mean, "n_seeds": seeds, "n_prompts": prompts}
    if seeds < 2 or prompts < 2:
        names = ("se", "df", "ci_low", "ci_high", "p", "sd_seed", "sd_prompt", "sd_rest")
        status = "one seed" if seeds < 2 else "one prompt"
        return {**result, **dict.fromkeys(names, np.nan), "status": status}
    squares = _mean_squares(table)
    variance, df = _variance(squares, seeds, prompts)
    se = float(np.sqrt(variance))
    half = stdtrit(df, (1 + confidence) / 2) * se
    low, high = mean - half, mean + half
    if span:
        low, high = _inside(span, low, high, table, confidence)
    return {**result, "se": se, "df": float(df), "ci_low": float(low), "ci_high": float(high),
            "p": _p_value(mean, se, df), **_deviations(squares, seeds, prompts), "status": "ok"}


def _deviations(squares: np.ndarray, seeds: int, prompts: int
                ) -> dict[str, float]:
    by_seed, by_prompt, rest = squares
    return {"sd_seed": float(np.sqrt(max(0, by_seed - rest) / prompts)),
            "sd_prompt": float(np.sqrt(max(0, by_prompt - rest) / seeds)),
            "sd_rest": float(np.sqrt(rest))}


def _inside(span: tuple[float, float], low: float, high: float, table: np.ndarray,
            confidence: float) -> tuple[float, float]:
    if constant(table.reshape(-1, 1))[0]:
        how = Resampling(confidence=confidence, span=span)
        low, high = of_constant(table.mean(), table.shape[1], how)
    return max(low, span[0]), min(high, span[1])


def _p_value(mean: float, se: float, df: float) -> float:
    if se == 0:
        return float(mean == 0)
    return float(2 * stdtr(df, -abs(mean) / se))


def _checked(values: np.ndarray, dimensions: int) -> np.ndarray:
    table = np.asarray(values, float)
    if table.ndim != dimensions or not table.size or not np.isfinite(table).all():
        raise DataError(f"scores of shape {table.shape} with missing values or of another form; "
                        "every seed needs a score for every prompt.")
    return table


def _mean_squares(table: np.ndarray) -> np.ndarray:
    """Mean squares of seeds, of prompts, and of what neither explains, shape (3,)."""
    seeds, prompts = table.shape
    mean = table.mean()
    of_seed = table.mean(axis=1, keepdims=True)
    of_prompt = table.mean(axis=0, keepdims=True)
    rest = ((table - of_seed - of_prompt + mean) ** 2).sum() / ((seeds - 1) * (prompts - 1))
    return np.array([prompts * ((of_seed - mean) ** 2).sum() / (seeds - 1),
                     seeds * ((of_prompt - mean) ** 2).sum() / (prompts - 1), rest])


def _variance(squares: np.ndarray, seeds: int, prompts: int) -> tuple[Any, Any]:
    """(variance of the mean, degrees of freedom) of mean squares, shape (3,) or (3, figures)."""
    freedoms = np.array([seeds - 1, prompts - 1, (seeds - 1) * (prompts - 1)])
    whole = squares[0] + squares[1] - squares[2]
    most = squares.max(axis=0)
    parts = np.maximum((squares.T**2 / freedoms).sum(axis=-1), np.finfo(float).tiny)
    is_whole = (whole >= most) & (whole > 0)
    df = np.where(is_whole, np.maximum(1.0, whole**2 / parts), freedoms[squares.argmax(axis=0)])
    return np.maximum(whole, most) / (seeds * prompts), df


def exchange_rate(plain: np.ndarray, warm: np.ndarray, sizes: np.ndarray, n: int, *,
                  confidence: float = 0.95) -> dict[str, Any]:
    """How many human labels `plain` needs for what `warm` reaches with `n` of them.

    N is where the line score = a + b log2(labels) of `plain` meets `warm`. Its interval holds every
    N at which `crossed_mean` of warm - line(N) cannot tell the two apart (Fieller's idea).

    Args:
        plain: scores against one anchor, shape (seeds, sizes, prompts).
        warm: the same for the other arm at `n`, shape (seeds, prompts).
        sizes: human labels of each point of `plain`, at least 1, two or more different ones.

    Returns:
        labels, ci_low, ci_high (0 or infinite where no end was found, NaN where `plain` does not
        rise and no number of labels fits), worth (labels - n), outside (N is no size that was
        trained: say "more than", or "fewer than"), slope (`crossed_mean` of the rise per doubling).
    """
    curve = _checked(plain, 3)
    scores = _checked(warm, 2)
    doublings = np.log2(np.asarray(sizes, float))
    if len(doublings) != curve.shape[1] or np.ptp(doublings) == 0:
        raise DataError("the curve needs one point for each of two or more numbers of labels.")
    centred = doublings - doublings.mean()
    level = curve.mean(axis=1)
    slope = np.tensordot(curve, centred / (centred**2).sum(), (1, 0))
    grid = np.linspace(0, np.log2(_MOST), _STEPS)
    held = _cannot_tell(scores - level, slope, grid - doublings.mean(), confidence)
    crossing = np.inf
    if slope.mean() > 0:
        crossing = doublings.mean() + (scores.mean() - level.mean()) / slope.mean()
    labels = np.exp2(crossing)
    low, high = _ends(grid, held, crossing)
    return {"labels": float(labels), "ci_low": float(low), "ci_high": float(high),
            "worth": float(labels - n), "outside": not min(sizes) <= labels <= max(sizes),
            "slope": crossed_mean(slope, confidence=confidence)}


def _ends(grid: np.ndarray, held: np.ndarray, crossing: float) -> tuple[float, float]:
    """Labels from and to which an interval reaches: all steps that are held; or, where evidence is
    so strong that none is, those around the crossing.
    """
    if not held.any() and crossing == np.inf:       # a line that never gets there
        return np.nan, np.nan
    ends = np.array([0.0, *2**grid, np.inf])
    if not held.any():
        at = np.searchsorted(grid, crossing)
        return ends[at], ends[at + 1]
    low, high = ends[1:-1][held][[0, -1]]
    return 0.0 if held[0] else low, np.inf if held[-1] else high


def _cannot_tell(ahead: np.ndarray, slope: np.ndarray, steps: np.ndarray, confidence: float
                 ) -> np.ndarray:
    """Whether 0 is in the interval of `crossed_mean` of ahead - step * slope, for each step.

    Mean squares of such a table are parabolas of the step, known from three of them.
    """
    seeds, prompts = ahead.shape
    if seeds < 2 or prompts < 2:
        return np.ones(len(steps), bool)
    before, here, after = (_mean_squares(ahead - step * slope)[:, None] for step in (-1, 0, 1))
    squares = here + (after - before) / 2 * steps + ((after + before) / 2 - here) * steps**2
    variance, df = _variance(np.maximum(squares, 0), seeds, prompts)
    reach = stdtrit(df, (1 + confidence) / 2) * np.sqrt(variance)
    return np.abs(ahead.mean() - steps * slope.mean()) <= reach


def crossed_preference(judge: np.ndarray, human: np.ndarray, seed_of: np.ndarray,
                       prompt_of: np.ndarray, *, confidence: float = 0.95) -> dict[str, Any]:
    """What people would say of a contrast, from a judge's scores corrected by people's of some.

    A PPI++ estimate for each seed with one slope in common; Student's t between seeds; the prompts'
    own part is added from the judge.

    Args:
        judge: the contrast by the judge, shape (seeds, prompts).
        human: people's contrasts, shape (m,), at least 8 for each seed.
        seed_of, prompt_of: the row and column of `judge` of each of `human`.

    Returns:
        mean, se, df, ci_low, ci_high, slope, n_human.

    Raises:
        DataError: fewer than two seeds, or a seed with fewer than 8 comparisons by people.
    """
    table, scores = _checked(judge, 2), _checked(human, 1)
    seeds, prompts = table.shape
    groups = [np.flatnonzero(np.asarray(seed_of) == seed) for seed in range(seeds)]
    fewest = min(map(len, groups))
    if seeds < 2 or fewest < LEAST_EACH:
        raise DataError(f"{seeds} seeds, and {fewest} comparisons by people of one of them: at "
                        f"least 2 seeds and {LEAST_EACH} comparisons of each are needed.")
    seen = table[seed_of, prompt_of]
    within, by_people = _within(seen, groups), _within(scores, groups)
    slope = float(np.clip((within @ by_people) / max(within @ within, 1e-12), 0, 1))
    means = np.array([slope * table[seed].mean() + (scores[group] - slope * seen[group]).mean()
                      for seed, group in enumerate(groups)])
    left = max(((by_people - slope * within) ** 2).sum(), LEAST_RESIDUAL)
    each = np.array([len(group) for group in groups])
    noise = left / (len(scores) - seeds - 1) * (1 / each).mean() / seeds
    variance, df = _corrected_variance(table, slope, means, noise, len(scores))
    se = np.sqrt(variance)
    half = stats.t.ppf((1 + confidence) / 2, df) * se
    return {"mean": float(means.mean()), "se": float(se), "df": float(df),
            "ci_low": float(means.mean() - half), "ci_high": float(means.mean() + half),
            "slope": slope, "n_human": len(scores)}


def _corrected_variance(judge: np.ndarray, slope: float, means: np.ndarray, noise: float,
                        n_human: int) -> tuple[float, float]:
    """(variance, degrees of freedom) of the mean of the seeds' corrected `means`."""
    seeds, prompts = judge.shape
    parts = crossed_mean(judge)
    floor = noise + slope**2 * parts["sd_rest"] ** 2 / (seeds * prompts)    # if no seed differed
    between = means.var(ddof=1) / seeds
    of_prompts = slope**2 * parts["sd_prompt"] ** 2 / prompts
    wide, df = max((between, seeds - 1), (floor, n_human - seeds - 1))
    variance = wide + of_prompts
    return variance, variance**2 / (wide**2 / df + of_prompts**2 / (prompts - 1))


def _within(values: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """Each value without the mean of its seed, in the order given."""
    left = values.copy()
    for group in groups:
        left[group] -= values[group].mean()
    return left
