"""Does the slot decide?"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd
from scipy import stats

from persuasion_lib.core.records import Slot
from persuasion_lib.stats.blocks import TOO_FEW, check_positions, check_ranks, one_of
from persuasion_lib.stats.ranks import friedman_test
from persuasion_lib.stats.resample import Resampling, binomial_p, mean_intervals, wilson
from persuasion_lib.stats.scores import best_share, column_means

_TEST_KEYS = ("chi2", "df", "p", "kendall_w")


def position_bias(
    ranks: pd.DataFrame, positions: pd.DataFrame, *, alpha: float = 0.05, **options: Any
) -> dict[str, Any]:
    """Does it matter in which slot a response is shown? Needs orders assigned at random.

    Args:
        ranks: judge calls x models. A prompt judged in several orders has several rows; they are
            averaged within the prompt.
        positions: same shape, the slot 1..K in which each model was shown.
        options: fields of `Resampling`.

    Returns:
        table (per slot: n, mean_score, ci_low, ci_high, ci_method, first_rate), chi2, df, p,
        kendall_w, test ("friedman", or "design" for repeated prompts or two models), biased (None
        without a verdict), balance_p (models are shown equally often in every slot), status ("ok",
        "n<2", "too_few", "constant", "unbalanced": fit Plackett-Luce with a position term instead).
    """
    shown = check_positions(positions, ranks).to_numpy().astype(int)
    table = check_ranks(ranks, repeated=True)
    k = table.shape[1]
    calls = _Calls(scores=(k - table.to_numpy()) / (k - 1), order=shown.argsort(axis=1),
                   prompt=pd.factorize(table.index)[0])
    test = _position_test(calls)
    counts = _slot_counts(calls.order)
    status = _position_status(test, calls.n_prompts, counts)
    return {
        "table": _slot_table(calls, Resampling(**options)), **test,
        "biased": bool(test["p"] < alpha) if status == "ok" else None,
        "balance_p": _balance_p(counts), "status": status,
    }


@dataclass(frozen=True)
class _Calls:
    """What a judge said, call by call.

    `scores` has shape (calls, K), by model; `order[call, slot]` is the model that was shown there;
    `prompt[call]` numbers the prompts from 0.
    """

    scores: np.ndarray
    order: np.ndarray
    prompt: np.ndarray

    @property
    def n_prompts(self) -> int:
        return int(self.prompt.max()) + 1 if len(self.prompt) else 0

    def by_slot(self, values: np.ndarray, *, shift: int = 0) -> np.ndarray:
        """`values` (calls, K) by model as means per prompt and slot, shape (n_prompts, K).

        Args:
            shift: places by which every order is turned round first.
        """
        order = (self.order + shift) % self.order.shape[1]
        slots = np.take_along_axis(values, order, axis=1)
        n = self.n_prompts
        calls = np.bincount(self.prompt, minlength=n)[:, None]
        return np.column_stack([np.bincount(self.prompt, slot, n) for slot in slots.T]) / calls


def _slot_table(calls: _Calls, how: Resampling) -> pd.DataFrame:
    slots = calls.by_slot(calls.scores)
    interval = mean_intervals(slots, how)
    first = calls.by_slot(best_share(calls.scores))
    return pd.DataFrame({
        "n": len(slots), "mean_score": column_means(slots), "ci_low": interval.low,
        "ci_high": interval.high, "ci_method": interval.method, "first_rate": column_means(first),
    }, index=pd.RangeIndex(1, slots.shape[1] + 1, name="position"))


def _position_test(calls: _Calls) -> dict[str, Any]:
    k = calls.scores.shape[1]
    if k > 2 and calls.n_prompts == len(calls.scores):
        result = friedman_test(-calls.by_slot(calls.scores))
        return {"test": "friedman", **{key: result[key] for key in _TEST_KEYS}}
    return {"test": "design", **_design_test(calls)}


def _design_test(calls: _Calls) -> dict[str, Any]:
    """Friedman's idea for prompts that are judged in several related orders.

    Friedman would take the mean over a prompt's orders for one ranking with exchangeable slots.
    It is not: with an order and its reverse, slots p and K+1-p share their two responses. So the
    covariance of the slot means comes from the design instead: shifting all models by one place
    gives orders that were as likely, and the same ranks by model if the slot does not matter.
    """
    k = calls.scores.shape[1]
    n = calls.n_prompts
    shifts = [calls.by_slot(calls.scores, shift=s) - 0.5 for s in range(k)]
    total = shifts[0].sum(axis=0)
    covariance = sum(shift.T @ shift for shift in shifts) / k
    df = int(np.linalg.matrix_rank(covariance, hermitian=True, tol=1e-9)) if n else 0
    if n < 2 or df == 0:
        return dict.fromkeys(_TEST_KEYS, np.nan) | {"df": df}
    inverse = np.linalg.pinv(covariance, hermitian=True, rcond=1e-10)
    chi2 = float(total @ inverse @ total)
    return {"chi2": chi2, "df": df, "p": float(stats.chi2.sf(chi2, df)),
            "kendall_w": chi2 / (n * (k - 1))}


def _slot_counts(order: np.ndarray) -> np.ndarray:
    """How often each model (row) was shown in each slot (column)."""
    k = order.shape[1]
    return np.array([np.bincount(slot, minlength=k) for slot in order.T]).T


def _balance_p(counts: np.ndarray) -> float:
    if not counts.any():
        return np.nan
    return float(stats.chi2_contingency(counts, correction=False).pvalue)


def _position_status(test: dict[str, Any], n: int, counts: np.ndarray) -> str:
    if n < 2:
        return "n<2"
    if n < TOO_FEW:
        return "too_few"
    # with two models every slot is held half the time by design, so one half cannot be the limit
    limit = max(0.5, 1.5 / len(counts))
    if counts.max() / counts.sum(axis=1).max() > limit:
        return "unbalanced"
    return "constant" if np.isnan(test["p"]) else "ok"


def pair_position_bias(
    slots: Iterable[Slot | None], *, confidence: float = 0.95
) -> dict[str, Any]:
    """Is the response shown first preferred? Needs orders assigned at random.

    Args:
        slots: which was chosen, None where unscored.

    Returns:
        n (scored), n_null, ties, first, second, p_first (share of decided verdicts), ci_low,
        ci_high (Wilson), p (exact binomial), status ("ok", "too_few").
    """
    values = one_of(slots, get_args(Slot))
    first = int((values == "first").sum())
    second = int((values == "second").sum())
    decided = first + second
    n = int(values.notna().sum())
    low, high = wilson(first, decided, confidence=confidence)
    return {
        "n": n, "n_null": len(values) - n, "ties": n - decided, "first": first, "second": second,
        "p_first": first / decided if decided else np.nan, "ci_low": low, "ci_high": high,
        "p": binomial_p(first, decided), "status": "ok" if decided >= 2 else "too_few",
    }
