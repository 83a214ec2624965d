"""Plackett-Luce strengths from complete rankings, with covariates such as position and length.

A ranking is a series of choices: at every stage the best of the models that are left is chosen in
proportion to exp(utility), and utility = log-worth + sum of beta * covariate (Plackett 1975;
with covariates the exploded logit of Beggs, Cardell & Hausman 1981).
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.linalg import helmert
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, softmax
from statsmodels.base.model import GenericLikelihoodModel
from statsmodels.tools.numdiff import approx_fprime

from persuasion_lib.stats.blocks import check_ranks, like_ranks
from persuasion_lib.stats.resample import Resampling, constant, percentiles

RIDGE = 0.01  # penalty of the refit when no finite estimate exists

_FLAT = 1e-6  # curvature of the log-likelihood per call below which it has no maximum
_BOUNDS = {"log_worth": ("log_low", "log_high"), "worth": ("worth_low", "worth_high"),
           "score": ("score_low", "score_high")}


def plackett_luce(
    ranks: pd.DataFrame, *, covariates: Mapping[str, pd.DataFrame] | None = None, **options: Any
) -> dict[str, Any]:
    """Strength of each model, by maximum likelihood; errors clustered by prompt (statsmodels).

    Intervals are percentiles of `n_resamples` draws from the estimates' normal limit.

    Args:
        ranks: judge calls x models. Several rows of a prompt are related; a prompt with ties is
            dropped and counted.
        covariates: name -> table like `ranks`; adds beta * x to a model's log-worth in that call
            (for example {"position": positions, "log_length": np.log(lengths)}).
        options: fields of `Resampling`.

    Returns:
        table (per model: log_worth, log_low, log_high, summing to 0; worth, worth_low, worth_high,
        summing to 1; score, score_low, score_high: the normalised score that these worths expect,
        at equal covariates), differences (of that score, per pair a - b), covariates (per name:
        beta, ci_low, ci_high; NaN if x never varies within a call), loglik, n_total, n_used,
        n_dropped (prompts), reasons, status ("ok"; "separable": some models always beat the rest,
        or a covariate decides every choice, so it was refitted with the penalty
        `RIDGE` * sum(coefficients ** 2), covariates in units of their sd; "n<2"; "K<3").
    """
    how = Resampling(**options)
    table, tables, counts = _usable(ranks, covariates or {})
    if table.shape[1] < 3:
        return _undefined(table.columns, list(tables)) | counts | {"status": "K<3"}
    if counts["n_used"] < 2:
        return _undefined(table.columns, list(tables)) | counts | {"status": "n<2"}
    design = _Design(table, tables)
    fit, status = _fitted(design, table)
    draws = np.random.default_rng(how.seed).multivariate_normal(
        fit.params, fit.cov_params(), how.n_resamples)
    return {**design.describe(fit.params, draws, how.confidence), "loglik": float(fit.llf),
            **counts, "status": status}


def _usable(
    ranks: pd.DataFrame, covariates: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame], dict[str, Any]]:
    table = check_ranks(ranks, repeated=True)
    tied = np.diff(np.sort(table.to_numpy(), axis=1), axis=1).min(axis=1) < 1e-9
    bad = table.index.isin(table.index[tied])
    n_total = table.index.nunique()
    n_dropped = table.index[bad].nunique()
    counts = {"n_total": n_total, "n_used": n_total - n_dropped, "n_dropped": n_dropped,
              "reasons": {"ties": n_dropped} if n_dropped else {}}
    tables = {name: like_ranks(extra, ranks, name)[~bad] for name, extra in covariates.items()}
    return table[~bad], tables, counts


class _Design:
    """Rankings as choices: `terms[call, place]` are the terms of the model ranked at that place.

    Log-worths that sum to 0 are K - 1 orthonormal contrasts; a covariate follows in units of its
    standard deviation, so that one penalty suits all. `prompt` numbers the prompt of each call.
    """

    def __init__(self, table: pd.DataFrame, covariates: dict[str, pd.DataFrame]) -> None:
        self.models = table.columns
        self.names = list(covariates)
        self.prompt = pd.factorize(table.index)[0]
        self.contrasts = helmert(len(self.models)).T
        order = table.to_numpy().argsort(axis=1)
        placed = [_centred(extra.to_numpy(), order) for extra in covariates.values()]
        self.scale = np.array([column.std() for column in placed])
        varying = [c[..., None] / s for c, s in zip(placed, self.scale, strict=True) if s > 0]
        self.terms = np.concatenate([self.contrasts[order], *varying], axis=2)

    def describe(self, theta: np.ndarray, draws: np.ndarray, confidence: float) -> dict[str, Any]:
        """Tables of the models, their differences and the covariates, with intervals of `draws`."""
        k = len(self.models)
        log_worth = self.contrasts @ theta[: k - 1]
        drawn = draws[:, : k - 1] @ self.contrasts.T
        scores = expected_scores(log_worth)
        drawn_scores = expected_scores(drawn)
        table = pd.DataFrame(index=pd.Index(self.models, name="model"))
        for name, values, samples in (("log_worth", log_worth, drawn),
                                      ("worth", softmax(log_worth), softmax(drawn, axis=1)),
                                      ("score", scores, drawn_scores)):
            table[name] = values
            table[list(_BOUNDS[name])] = percentiles(samples, confidence).T
        return {"table": table,
                "differences": self._differences(scores, drawn_scores, confidence),
                "covariates": self._betas(theta[k - 1:], draws[:, k - 1:], confidence)}

    def _differences(
        self, scores: np.ndarray, draws: np.ndarray, confidence: float
    ) -> pd.DataFrame:
        first, second = np.triu_indices(len(self.models), 1)
        low, high = percentiles(draws[:, first] - draws[:, second], confidence)
        return pd.DataFrame({"a": self.models[first], "b": self.models[second],
                             "diff": scores[first] - scores[second], "ci_low": low,
                             "ci_high": high})

    def _betas(self, beta: np.ndarray, draws: np.ndarray, confidence: float) -> pd.DataFrame:
        out = _empty_betas(self.names)
        varying = self.scale > 0
        values = np.column_stack([beta, *percentiles(draws, confidence)])
        out.loc[varying] = values / self.scale[varying, None]
        return out


def expected_scores(log_worth: np.ndarray) -> np.ndarray:
    """Normalised scores of log-worths, shape (…, K): the mean chance to beat each of the others.

    In this model i beats j with probability worth_i / (worth_i + worth_j), whoever else is there.
    """
    chances = expit(log_worth[..., :, None] - log_worth[..., None, :])
    return (chances.sum(axis=-1) - 0.5) / (log_worth.shape[-1] - 1)


def _centred(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Values in the order of places, less their mean in each call; 0 where rounding is all."""
    placed = np.take_along_axis(values, order, axis=1)
    centred = placed - placed.mean(axis=1, keepdims=True)
    return np.where(constant(placed.T)[:, None], 0.0, centred)


class _RankedLogit(GenericLikelihoodModel):
    """The likelihood of rankings, for statsmodels to maximise; one observation is one call."""

    def __init__(self, terms: np.ndarray, ridge: float) -> None:
        self.terms = terms
        self.ridge = ridge
        super().__init__(np.zeros(len(terms)))  # it wants a response; ours is the order of places

    def loglikeobs(self, theta: np.ndarray) -> np.ndarray:
        """Log-probability of each call's ranking less its share of the penalty, shape (calls,)."""
        utility = self.terms @ theta
        left = np.logaddexp.accumulate(utility[:, ::-1], axis=1)[:, ::-1]
        return (utility - left).sum(axis=1) - self.ridge * theta @ theta / len(utility)

    def score_obs(self, theta: np.ndarray) -> np.ndarray:
        """Its gradient, shape (calls, terms): terms of the chosen less the mean of those left."""
        utility = self.terms @ theta
        gradient = self.terms.sum(axis=1) - 2 * self.ridge * theta / len(utility)
        for stage in range(utility.shape[1]):
            share = softmax(utility[:, stage:], axis=1)
            gradient -= (share[:, None] @ self.terms[:, stage:])[:, 0]
        return gradient

    def score(self, theta: np.ndarray) -> np.ndarray:
        """Gradient of the log-likelihood, shape (terms,)."""
        return self.score_obs(theta).sum(axis=0)

    def hessian(self, theta: np.ndarray) -> np.ndarray:
        """Its derivative, shape (terms, terms)."""
        numeric = approx_fprime(theta, self.score, centered=True)
        return (numeric + numeric.T) / 2


def _fitted(design: _Design, table: pd.DataFrame) -> tuple[Any, str]:
    """statsmodels' results with "ok", or "separable" where a penalty had to give it a maximum."""
    if _strongly_connected(table.to_numpy()):
        fit = _fit(design, ridge=0.0)
        # the likelihood is concave: where it is flat the coefficients run away without end
        steepness = np.linalg.eigvalsh(-fit.model.hessian(fit.params)).min() / len(table)
        if steepness > _FLAT:
            return fit, "ok"
    return _fit(design, ridge=RIDGE), "separable"


def _fit(design: _Design, ridge: float) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what runs away, which `_fitted` recognises
        return _RankedLogit(design.terms, ridge).fit(
            np.zeros(design.terms.shape[2]), method="minimize", min_method="trust-exact",
            gtol=1e-8, disp=0, cov_type="cluster",
            # the correction for few prompts divides by calls less terms, which may be none
            cov_kwds={"groups": design.prompt, "use_correction": False})


def _strongly_connected(ranks: np.ndarray) -> bool:
    """Whether no group of models always beats all others (Hunter 2004, assumption 1)."""
    beats = (ranks[:, :, None] < ranks[:, None, :]).any(axis=0)
    return connected_components(beats, directed=True, connection="strong")[0] == 1


def _empty_betas(names: list[str]) -> pd.DataFrame:
    index = pd.Index(names, name="covariate", dtype=object)
    return pd.DataFrame(np.nan, index, ["beta", "ci_low", "ci_high"])


def _undefined(models: pd.Index, names: list[str]) -> dict[str, Any]:
    columns = [column for name, bounds in _BOUNDS.items() for column in (name, *bounds)]
    return {
        "table": pd.DataFrame(np.nan, pd.Index(models, name="model"), columns),
        "differences": pd.DataFrame(columns=["a", "b", "diff", "ci_low", "ci_high"]),
        "covariates": _empty_betas(names), "loglik": np.nan,
    }
