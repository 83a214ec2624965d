"""Do longer responses win, and what is left of the models' strengths when length is allowed for?"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy.linalg import helmert
from statsmodels.stats.proportion import proportion_confint
from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

from persuasion_lib.core.errors import DataError
from persuasion_lib.stats.position import clean_labels
from persuasion_lib.stats.resample import binomial_p

_DIVERGED = 15.0


def length_bias(
    pairs: pd.DataFrame, *, min_difference: int = 30, confidence: float = 0.95
) -> dict[str, Any]:
    """How much a verdict goes with length (this is not AlpacaEval's length-controlled win rate).

    Args:
        pairs: one row per pair: label ("a", "b", "tie" or None), length_a, length_b (characters);
            prompt_id if pairs share prompts, so that every interval allows for it; model_a and
            model_b if strengths are wanted.
        min_difference: pairs whose lengths differ by no more are left out of `p_prefer_longer`.

    Returns:
        n (scored), n_null, ties, n_considered, prefer_longer, p_prefer_longer, ci_low, ci_high
        (Wilson, of the effective number of pairs), p (exact binomial, or the test of clusters);
        mean_difference (winner - loser, characters), difference_se, difference_low,
        difference_high, difference_p (paired t); sd, beta_length (log-odds per
        tanh(difference / sd)), beta_low, beta_high, status ("ok", "n<2", "constant": all pairs
        equally long, "separable": length decides every verdict); strengths (per model: raw,
        length_adjusted; log-odds summing to 0) or None.
    """
    table, n_null = _checked(pairs)
    gap = (table["length_a"] - table["length_b"]).to_numpy(dtype=float)
    y = table["label"].map({"a": 1.0, "tie": 0.5, "b": 0.0}).to_numpy(dtype=float)
    decided = y != 0.5
    considered = decided & (np.abs(gap) > min_difference)
    prompts = table["prompt_id"].to_numpy() if "prompt_id" in table else np.arange(len(table))
    return {
        "n": len(table), "n_null": n_null, "ties": int((~decided).sum()),
        **_longer(((gap > 0) == (y == 1))[considered], prompts[considered], confidence),
        **_difference((gap * np.sign(y - 0.5))[decided], prompts[decided], confidence),
        **_length_terms(table, gap, y, confidence),
    }


def _checked(pairs: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    missing = {"label", "length_a", "length_b"} - set(pairs.columns)
    if missing:
        raise DataError(f"the pairs have no column {sorted(missing)[0]!r}.")
    scored = clean_labels(pairs["label"]).notna()
    lengths = pairs[["length_a", "length_b"]].to_numpy(dtype=float)
    bad = ~np.isfinite(lengths).all(axis=1)
    if bad.any():
        raise DataError(f"pair {pairs.index[bad][0]!r} has no length.")
    return pairs[scored], int((~scored).sum())


def _longer(hits: np.ndarray, prompts: np.ndarray, confidence: float) -> dict[str, Any]:
    """Share of verdicts for the longer response; related pairs count for fewer than they are."""
    n, longer = len(hits), int(hits.sum())
    share = longer / n if n else np.nan
    related = _related_mean(hits - 0.5, prompts, confidence)
    if n and len(np.unique(prompts)) == n:
        effective, p = float(n), binomial_p(longer, n)
    elif related is None:       # all alike: a prompt is one observation
        effective = float(len(np.unique(prompts)))
        p = binomial_p(round(share * effective), round(effective)) if n else np.nan
    else:
        effective, p = min(n, share * (1 - share) / related["se"] ** 2), related["p"]
    low, high = proportion_confint(share * effective, effective, 1 - confidence, "wilson"
                                   ) if n else (np.nan, np.nan)
    return {"n_considered": n, "prefer_longer": longer, "p_prefer_longer": share,
            "ci_low": float(low), "ci_high": float(high), "p": p}


def _difference(values: np.ndarray, prompts: np.ndarray, confidence: float) -> dict[str, float]:
    """Paired test of winner's minus loser's length: a ratio of mean lengths would hide it."""
    found = _related_mean(values, prompts, confidence) or dict.fromkeys(
        ("se", "low", "high", "p"), np.nan)
    return {"mean_difference": float(values.mean()) if len(values) else np.nan,
            **{f"difference_{name}": value for name, value in found.items()}}


def _related_mean(values: np.ndarray, prompts: np.ndarray,
                  confidence: float) -> dict[str, float] | None:
    """A mean's se, interval and two-sided p by t, with pairs of one prompt related; None if none.

    With one pair per prompt this is the one-sample t-test.
    """
    groups = pd.factorize(prompts)[0]
    if len(values) < 2 or np.ptp(values) == 0 or groups.max() == 0:
        return None
    fit = sm.OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    low, high = fit.conf_int(1 - confidence)[0]
    return {"se": float(fit.bse[0]), "low": float(low), "high": float(high),
            "p": float(fit.pvalues[0])}


def _length_terms(
    table: pd.DataFrame, gap: np.ndarray, y: np.ndarray, confidence: float
) -> dict[str, Any]:
    sd = float(gap.std(ddof=1)) if len(gap) > 1 else np.nan
    out = {"sd": sd, "beta_length": np.nan, "beta_low": np.nan, "beta_high": np.nan,
           "strengths": None, "status": "n<2" if len(gap) < 2 else "ok"}
    if len(gap) < 2 or not np.any(gap) or sd == 0:
        return {**out, "status": out["status"] if len(gap) < 2 else "constant"}
    length = np.tanh(gap / sd)[:, None]
    clusters = pd.factorize(table["prompt_id"])[0] if "prompt_id" in table else None
    if clusters is not None and clusters.max() == 0:
        clusters = None     # one prompt: nothing to cluster over
    fit = _logistic(y, length, clusters, confidence)
    if fit is None:
        out["status"] = "separable"
    else:
        out |= {"beta_length": float(fit[0][0]), "beta_low": float(fit[1][0, 0]),
                "beta_high": float(fit[1][0, 1])}
    if {"model_a", "model_b"} <= set(table.columns):
        out["strengths"] = _strengths(table, length, y, confidence)
    return out


def _strengths(
    table: pd.DataFrame, length: np.ndarray, y: np.ndarray, confidence: float
) -> pd.DataFrame:
    """Bradley-Terry log-strengths without and with the length term, a tie half a win."""
    models = pd.unique(table[["model_a", "model_b"]].to_numpy().ravel())
    contrasts = helmert(len(models)).T
    place = pd.Index(models).get_indexer
    x = contrasts[place(table["model_a"])] - contrasts[place(table["model_b"])]
    out = pd.DataFrame(np.nan, pd.Index(models, name="model"), ["raw", "length_adjusted"])
    for name, design in (("raw", x), ("length_adjusted", np.hstack([x, length]))):
        fit = _logistic(y, design, None, confidence)
        if fit is not None:
            out[name] = contrasts @ fit[0][: len(models) - 1]
    return out


def _logistic(
    y: np.ndarray, x: np.ndarray, clusters: np.ndarray | None, confidence: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """(coefficients, intervals) without an intercept, or None where no finite estimate exists."""
    model = sm.GLM(y, x, family=sm.families.Binomial())
    robust = {"cov_type": "HC0"} if clusters is None else {
        "cov_type": "cluster", "cov_kwds": {"groups": clusters}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PerfectSeparationWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        fit = model.fit(**robust)
    if not fit.converged or not np.abs(fit.params).max() < _DIVERGED:
        return None
    return fit.params, fit.conf_int(1 - confidence)
