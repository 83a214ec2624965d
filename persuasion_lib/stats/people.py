"""What people prefer, from a few comparisons by people and many verdicts of a judge.

The judge's verdicts say where prompts differ; people's say where the judge is wrong. Both together
are prediction-powered inference with a tuned slope (PPI++, arXiv 2311.01453), which is the
regression estimator of a sample drawn in two phases. Prompts are the units, and those that people
saw must have been drawn by chance.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from persuasion_lib.core.errors import DataError
from persuasion_lib.stats.blocks import check_ranks, normalised_scores
from persuasion_lib.stats.resample import snapped

ENOUGH = 30             # comparisons by people below which no verdict is given
LEAST_RESIDUAL = 0.25   # sum of squares: m agreements do not prove a judge without fault

_DRAWS = 20_000         # of the largest of several differences, for its critical value
_PER_COLUMN = 10        # comparisons for each thing that is known of a prompt; the last ones wait
_SPARE = 8              # comparisons beyond the slopes from which the judge is used at all
LEAST_RANKED = 2 + _SPARE   # rankings by people below which several models are not estimated
_MOST_WORTH = 10        # an interval is never worth more than ten times its comparisons


@dataclass(frozen=True)
class _Estimate:
    """Mean, variance and degrees of freedom of a preference, and the slope of each covariate."""

    mean: float
    variance: float
    df: int
    slopes: np.ndarray


def preference(
    human: pd.Series, known: pd.DataFrame, *, identical: int = 0, confidence: float = 0.95
) -> dict[str, Any]:
    """How often people prefer the first of two models, ties as half.

    Args:
        human: what people said of a prompt, by prompt_id: 1 first better, 0.5 tie, 0 second, and
            the mean where several did.
        known: what is known without a person, by prompt_id: one row for every prompt, those of
            `human` among them. The first column is the judge's score of the first model (0 to 1);
            more may follow, such as further judges or a difference of ranks. Ten comparisons are
            needed for each, or the last ones are not used.
        identical: further prompts on which both replies are the same text, a tie for everybody.

    Returns:
        estimate, se, df, ci_low, ci_high (Wilson's form, Student's t), slopes {column: slope}
        (0 where the judge was not used), n_human, n_judged, n_identical, labels_worth
        (comparisons that people alone would need), judge_alone, judge_bias and its bias_low,
        bias_high (what the judge adds to people's verdict), status ("ok", "too_few": below 30
        comparisons, an interval and no verdict; "n<2").

    Raises:
        DataError: a score is outside 0 to 1; a prompt is judged by people alone, or twice.
    """
    y, x = _aligned(human, known)
    every = known.to_numpy(float)
    sizes = {"n_human": len(y), "n_judged": len(every) + identical, "n_identical": identical}
    alone = _with_ties(float(every[:, 0].mean()), identical, len(every))
    if len(y) < 2:
        return {**_undefined(), **sizes, "judge_alone": alone, "slopes": {}, "status": "n<2"}
    found = _regressed(y, x, every)
    estimate, variance = _joined(found, identical, len(every))
    low, high = _wilson(estimate, variance, found.df, len(y), confidence)
    return {
        "estimate": estimate, "se": float(np.sqrt(variance)), "df": found.df,
        "ci_low": low, "ci_high": high,
        "slopes": dict(zip(known.columns, found.slopes.tolist(), strict=True)), **sizes,
        "labels_worth": _worth(y, found.variance), "judge_alone": alone,
        **_bias(x[:, 0] - y, confidence), "status": "ok" if len(y) >= ENOUGH else "too_few"}


def _aligned(human: pd.Series, known: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    if known.index.has_duplicates or human.index.has_duplicates:
        twice = [*known.index[known.index.duplicated()], *human.index[human.index.duplicated()]]
        raise DataError(f"prompt_id {twice[0]!r} occurs twice. Give one score for a prompt.")
    strange = human[~human.between(0, 1)]
    if len(strange):
        raise DataError(f"prompt_id {strange.index[0]!r} has the score {float(strange.iloc[0])} "
                        "by a person; 1 is a win of the first model, 0.5 a tie, 0 a loss.")
    unknown = human.index.difference(known.index)
    if len(unknown):
        raise DataError(f"{len(unknown)} prompts were compared by people and not by the judge "
                        f"(first: {unknown[0]!r}). Judge them too, or leave them out.")
    if not len(known) or not np.isfinite(known.to_numpy(float)).all():
        raise DataError("what is known of a prompt has missing values, or there is no prompt. "
                        "Leave out prompts that the judge did not score.")
    return human.to_numpy(float), known.loc[human.index].to_numpy(float)


def _undefined() -> dict[str, float]:
    names = ("estimate", "se", "df", "ci_low", "ci_high", "labels_worth", "judge_bias",
             "bias_low", "bias_high")
    return dict.fromkeys(names, np.nan)


def _regressed(y: np.ndarray, x: np.ndarray, every: np.ndarray) -> _Estimate:
    """People's mean, moved by how far the judge's verdicts on their prompts are from typical."""
    m, width = x.shape
    used = np.ptp(snapped(x), axis=0) > 0
    used &= np.cumsum(used) <= max(1, m // _PER_COLUMN)
    slopes = np.zeros(width)
    centred = x[:, used] - x[:, used].mean(axis=0)
    slope, _, p, _ = np.linalg.lstsq(centred, y - y.mean(), rcond=None)     # p: its rank
    if p == 0 or m - p - 2 < _SPARE:
        return _Estimate(y.mean(), y.var(ddof=1) / m, m - 1, slopes)
    slopes[used] = slope
    left = ((y - y.mean() - centred @ slope) ** 2).sum()
    unexplained = max(left, LEAST_RESIDUAL) / (m - p - 1)
    spread = np.atleast_2d(np.cov(every[:, used].T))
    # the slope is estimated too: Cochran's factor for a regression estimator
    variance = unexplained / m * (1 + p / (m - p - 2)) + slope @ spread @ slope / len(every)
    shift = slope @ (every[:, used].mean(axis=0) - x[:, used].mean(axis=0))
    mean = min(max(y.mean() + shift, 0.0), 1.0)
    return _Estimate(mean, float(variance), m - p - 1, slopes)


def _with_ties(mean: float, identical: int, different: int) -> float:
    return (mean * different + 0.5 * identical) / (different + identical)


def _joined(found: _Estimate, identical: int, different: int) -> tuple[float, float]:
    """Mean and variance over all prompts: of those with one text, everybody's score is one half."""
    n = identical + different
    share = different / n
    by_chance = share * (1 - share) * (found.mean - 0.5) ** 2 / n   # how many are identical
    return _with_ties(found.mean, identical, different), share**2 * found.variance + by_chance


def _wilson(mean: float, variance: float, df: int, m: int, confidence: float
            ) -> tuple[float, float]:
    """Wilson's interval of as many labels as this variance is worth; inside 0 to 1."""
    t = stats.t.ppf((1 + confidence) / 2, df)
    floor = 0.5 / m                             # nobody is surer of 0 or 1 than m labels can be
    centre = max(mean * (1 - mean), floor * (1 - floor))
    worth = min(centre / variance, _MOST_WORTH * m) if variance > 0 else m
    shrink = 1 + t**2 / worth
    middle = (mean + t**2 / (2 * worth)) / shrink
    half = t / shrink * np.sqrt(mean * (1 - mean) / worth + t**2 / (4 * worth**2))
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))


def _worth(y: np.ndarray, variance: float) -> float:
    return float(y.var(ddof=1) / variance) if variance > 0 else float(len(y))


def _bias(excess: np.ndarray, confidence: float) -> dict[str, float]:
    mean = excess.mean()
    half = stats.t.ppf((1 + confidence) / 2, len(excess) - 1) * stats.sem(excess)
    return {"judge_bias": float(mean), "bias_low": float(mean - half),
            "bias_high": float(mean + half)}


def half_width(n_human: int, *, n_judged: float = np.inf, sd: float = 0.4,
               correlation: float = 0.45, confidence: float = 0.95) -> float:
    """Half of the interval's width that so many comparisons by people give.

    Args:
        n_judged: prompts with a verdict of the judge.
        sd: of people's scores over prompts.
        correlation: of the judge's scores with people's; the defaults are those of the demo.
    """
    z = stats.norm.ppf((1 + confidence) / 2)
    people = (1 - correlation**2) / n_human
    judge = correlation**2 / n_judged
    return float(z * sd * np.sqrt(people + judge))


def smallest_win_rate(n_human: int, *, power: float = 0.8, **options: float) -> float:
    """The win rate above one half that so many comparisons tell from it with this power.

    Args:
        options: those of `half_width`.
    """
    confidence = options.get("confidence", 0.95)
    z = stats.norm.ppf((1 + confidence) / 2)
    se = half_width(n_human, **options) / z
    return float(min(1.0, 0.5 + (z + stats.norm.ppf(power)) * se))


def several(human: pd.DataFrame, judge: pd.DataFrame, *, confidence: float = 0.95, seed: int = 0
            ) -> tuple[pd.DataFrame, pd.DataFrame]:
    """K models by people's rankings of some prompts and the judge's of all.

    A model's score is moved by the judge's own score of it, with a slope of its own; one critical
    value (the largest of all differences) makes the intervals hold together.

    Args:
        human, judge: ranks, prompts x models, 1 best, ties as averages; `human`'s prompts are
            among the judge's.

    Returns:
        (models, differences): by model `score`, `slope`, `rank_low`, `rank_high` (its place, held
        together); one row a pair with a, b, diff (a - b), ci_low, ci_high.

    Raises:
        DataError: other models, a prompt without a judge, or fewer than 10 prompts by people.
    """
    y, seen, every = _scores_of(human, judge)
    m = len(y)
    centred, seen_centred = y - y.mean(axis=0), seen - seen.mean(axis=0)
    slopes = (centred * seen_centred).sum(axis=0) / np.maximum((seen_centred**2).sum(axis=0), 1e-12)
    score = y.mean(axis=0) + slopes * (every.mean(axis=0) - seen.mean(axis=0))
    left = centred - slopes * seen_centred
    covariance = (left.T @ left / (m - 2) / m * (1 + 1 / (m - 3))
                  + np.cov((slopes * every).T) / len(every))
    differences = _held_together(list(human.columns), score, covariance, m - 2, confidence, seed)
    models = pd.DataFrame({"score": score, "slope": slopes}, index=human.columns)
    return models.join(_places(differences, list(human.columns))), differences


def _scores_of(human: pd.DataFrame, judge: pd.DataFrame
               ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores 0 to 1 by people, by the judge of the same prompts, and by the judge of all."""
    if set(human.columns) != set(judge.columns):
        raise DataError(f"people ranked {sorted(human.columns)} and the judge "
                        f"{sorted(judge.columns)}: a rank says nothing in another field.")
    unknown = human.index.difference(judge.index)
    if len(unknown):
        raise DataError(f"{len(unknown)} prompts were ranked by people and not by the judge "
                        f"(first: {unknown[0]!r}).")
    if len(human) < LEAST_RANKED:
        raise DataError(f"{len(human)} rankings by people; at least {LEAST_RANKED} are needed.")
    scores = normalised_scores(judge[human.columns])
    by_people = normalised_scores(check_ranks(human))
    return by_people.to_numpy(), scores.loc[by_people.index].to_numpy(), scores.to_numpy()


def _held_together(names: list[str], score: np.ndarray, covariance: np.ndarray, df: int,
                   confidence: float, seed: int) -> pd.DataFrame:
    pairs = list(combinations(range(len(names)), 2))
    contrast = np.zeros((len(pairs), len(names)))
    for row, (a, b) in enumerate(pairs):
        contrast[row, a], contrast[row, b] = 1, -1
    diff = contrast @ score
    se = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", contrast, covariance, contrast), 1e-15))
    rng = np.random.default_rng(seed)
    drawn = rng.multivariate_normal(np.zeros(len(names)), covariance, _DRAWS, method="eigh")
    largest = np.abs(drawn @ contrast.T / se).max(axis=1)
    critical = np.quantile(largest * np.sqrt(df / rng.chisquare(df, _DRAWS)), confidence)
    return pd.DataFrame({
        "a": [names[a] for a, _ in pairs], "b": [names[b] for _, b in pairs], "diff": diff,
        "ci_low": diff - critical * se, "ci_high": diff + critical * se})


def _places(differences: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Places that a model can have: below all surely better ones, above all surely worse."""
    ahead = differences[differences.ci_low > 0]
    behind = differences[differences.ci_high < 0]
    better = pd.concat([ahead.b, behind.a]).value_counts().reindex(names, fill_value=0)
    worse = pd.concat([ahead.a, behind.b]).value_counts().reindex(names, fill_value=0)
    return pd.DataFrame({"rank_low": 1 + better, "rank_high": len(names) - worse})
