"""Do longer responses win?"""

from typing import Any, get_args

import numpy as np
import pandas as pd
import statsmodels.api as sm
from statsmodels.stats.proportion import proportion_confint

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.records import Label
from persuasion_lib.stats.blocks import one_of
from persuasion_lib.stats.resample import constant


def length_bias(
    pairs: pd.DataFrame, *, min_difference: int = 30, confidence: float = 0.95
) -> dict[str, Any]:
    """How much a verdict goes with length (this is not AlpacaEval's length-controlled win rate).

    Args:
        pairs: one row per pair: label ("a", "b", "tie" or None), length_a, length_b (characters);
            prompt_id if pairs share prompts, so that every interval allows for it.
        min_difference: pairs whose lengths differ by no more are left out of `p_prefer_longer`.

    Returns:
        n (scored), n_null, ties, n_considered, p_prefer_longer, ci_low, ci_high (Wilson, of the
        effective number of pairs); mean_difference (winner - loser, characters), difference_se,
        difference_low, difference_high, difference_p (paired t, prompts as clusters); status
        ("ok", "n<2", "constant": lengths that never vary).
    """
    table, n_null = _checked(pairs)
    gap = (table["length_a"] - table["length_b"]).to_numpy(dtype=float)
    won = table["label"].map({"a": 1.0, "tie": 0.0, "b": -1.0}).to_numpy(dtype=float)
    prompts = table["prompt_id"].to_numpy() if "prompt_id" in table else np.arange(len(table))
    decided = won != 0
    considered = decided & (np.abs(gap) > min_difference)
    return {
        "n": len(table), "n_null": n_null, "ties": int((~decided).sum()),
        **_longer((gap * won > 0)[considered], prompts[considered], confidence),
        **_difference((gap * won)[decided], prompts[decided], confidence),
        "status": _status(gap),
    }


def _checked(pairs: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    missing = {"label", "length_a", "length_b"} - set(pairs.columns)
    if missing:
        raise DataError(f"the pairs have no column {sorted(missing)[0]!r}.")
    scored = one_of(pairs["label"], get_args(Label)).notna()
    lengths = pairs[["length_a", "length_b"]].to_numpy(dtype=float)
    bad = ~np.isfinite(lengths).all(axis=1)
    if bad.any():
        raise DataError(f"pair {pairs.index[bad][0]!r} has no length.")
    return pairs[scored], int((~scored).sum())


def _status(gap: np.ndarray) -> str:
    if len(gap) < 2:
        return "n<2"
    return "ok" if np.ptp(gap) > 0 else "constant"


def _longer(hits: np.ndarray, prompts: np.ndarray, confidence: float) -> dict[str, Any]:
    """Share of verdicts for the longer response; related pairs count for fewer than they are."""
    n = len(hits)
    if n == 0:
        nothing = dict.fromkeys(("p_prefer_longer", "ci_low", "ci_high"), np.nan)
        return {"n_considered": 0, **nothing}
    share = float(hits.mean())
    n_prompts = len(np.unique(prompts))
    related = _related_mean(hits - 0.5, prompts, confidence)
    if n_prompts == n:
        effective = n
    elif related is None:       # all alike: a prompt is one observation
        effective = n_prompts
    else:
        effective = min(n, share * (1 - share) / related["se"] ** 2)
    low, high = proportion_confint(share * effective, effective, 1 - confidence, "wilson")
    return {"n_considered": n, "p_prefer_longer": share, "ci_low": float(low),
            "ci_high": float(high)}


def _difference(values: np.ndarray, prompts: np.ndarray, confidence: float) -> dict[str, float]:
    """Paired test of winner's minus loser's length: a ratio of mean lengths would hide it."""
    found = _related_mean(values, prompts, confidence) or dict.fromkeys(
        ("se", "low", "high", "p"), np.nan)
    return {"mean_difference": float(values.mean()) if len(values) else np.nan,
            **{f"difference_{name}": value for name, value in found.items()}}


def _related_mean(values: np.ndarray, prompts: np.ndarray,
                  confidence: float) -> dict[str, float] | None:
    """A mean's se, interval and two-sided p by t, with pairs of one prompt related; None if none.

    With one pair per prompt this is the one-sample t-test. There is none either if all prompts are
    alike, as when each has a pair that the longer reply won and one that it lost.
    """
    groups = pd.factorize(prompts)[0]
    if len(values) < 2 or groups.max() == 0:
        return None
    of_prompts = np.bincount(groups, values - values.mean())
    if constant(np.append(of_prompts, 0.0)[:, None], scale=np.abs(values).max()).all():
        return None
    fit = sm.OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    low, high = fit.conf_int(1 - confidence)[0]
    return {"se": float(fit.bse[0]), "low": float(low), "high": float(high),
            "p": float(fit.pvalues[0])}
