"""Does the slot decide, and does the same pair get the same verdict when it is swapped?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.records import Label
from persuasion_lib.stats.blocks import TOO_FEW, check_positions, check_ranks
from persuasion_lib.stats.ranks import friedman_test
from persuasion_lib.stats.resample import binomial_p, mean_intervals, wilson
from persuasion_lib.stats.scores import best_share


def position_bias(
    ranks: pd.DataFrame, positions: pd.DataFrame, *, alpha: float = 0.05,
    confidence: float = 0.95, n_resamples: int = 9_999, seed: int = 0,
) -> dict[str, Any]:
    """Does it matter in which slot a response is shown? Needs orders assigned at random.

    Args:
        ranks: judge calls x models. A prompt judged in several orders has several rows; they are
            averaged within the prompt.
        positions: same shape, the slot 1..K in which each model was shown.

    Returns:
        table (per slot: n, mean_score, ci_low, ci_high, ci_method, first_rate), chi2, df, p,
        kendall_w, test ("friedman", or "design" for repeated prompts or two models), biased (None
        without a verdict), counts (model x slot), balance_chi2, balance_p, status ("ok", "n<2",
        "too_few", "constant", "unbalanced": fit Plackett-Luce with a position term instead).
    """
    shown = check_positions(positions, ranks)
    table = check_ranks(ranks, repeated=True)
    order = shown.to_numpy().astype(int).argsort(axis=1)  # order[call, slot] = model
    k = table.shape[1]
    scores = (k - table.to_numpy()) / (k - 1)
    prompt = pd.factorize(table.index)[0]
    n = int(prompt.max()) + 1 if len(prompt) else 0
    test = _position_test(scores, order, prompt, n)
    counts = _slot_counts(order, table.columns)
    status = _position_status(test, n, counts)
    return {
        "table": _slot_table(scores, order, prompt, n, confidence, n_resamples, seed), **test,
        "biased": bool(test["p"] < alpha) if status == "ok" else None,
        **_balance(counts), "status": status,
    }


def _by_slot(values: np.ndarray, order: np.ndarray, prompt: np.ndarray, n: int) -> np.ndarray:
    """Values (calls x models) as a mean per prompt and slot, shape (n_prompts, K)."""
    slots = np.take_along_axis(values, order, axis=1)
    calls = np.bincount(prompt, minlength=n)[:, None]
    return np.column_stack([np.bincount(prompt, column, n) for column in slots.T]) / calls


def _slot_table(
    scores: np.ndarray, order: np.ndarray, prompt: np.ndarray, n: int, confidence: float,
    n_resamples: int, seed: int,
) -> pd.DataFrame:
    slots, k = _by_slot(scores, order, prompt, n), scores.shape[1]
    interval = mean_intervals(slots, confidence=confidence, n_resamples=n_resamples, seed=seed)
    first = _by_slot(best_share(scores), order, prompt, n)
    empty = np.full(k, np.nan)
    return pd.DataFrame({
        "n": n, "mean_score": slots.mean(axis=0) if n else empty, "ci_low": interval.low,
        "ci_high": interval.high, "ci_method": interval.method,
        "first_rate": first.mean(axis=0) if n else empty,
    }, index=pd.RangeIndex(1, k + 1, name="position"))


def _position_test(
    scores: np.ndarray, order: np.ndarray, prompt: np.ndarray, n: int
) -> dict[str, Any]:
    k = scores.shape[1]
    if k > 2 and n == len(scores):
        result = friedman_test(-_by_slot(scores, order, prompt, n))
        return {"test": "friedman", **{key: result[key] for key in _TEST_KEYS}}
    return {"test": "design", **_design_test(scores, order, prompt, n)}


_TEST_KEYS = ("chi2", "df", "p", "kendall_w")


def _design_test(
    scores: np.ndarray, order: np.ndarray, prompt: np.ndarray, n: int
) -> dict[str, Any]:
    """Friedman's idea for prompts that are judged in several related orders.

    Friedman would take the mean over a prompt's orders for one ranking with exchangeable slots.
    It is not: with an order and its reverse, slots p and K+1-p share their two responses. So the
    covariance of the slot means comes from the design instead: shifting all models by one place
    gives orders that were as likely, and the same ranks by model if the slot does not matter.
    """
    k = scores.shape[1]
    shifts = [_by_slot(scores, (order + s) % k, prompt, n) - 0.5 for s in range(k)]
    total = shifts[0].sum(axis=0)
    covariance = sum(shift.T @ shift for shift in shifts) / k
    df = int(np.linalg.matrix_rank(covariance, hermitian=True, tol=1e-9)) if n else 0
    if n < 2 or df == 0:
        return dict.fromkeys(_TEST_KEYS, np.nan) | {"df": df}
    inverse = np.linalg.pinv(covariance, hermitian=True, rcond=1e-10)
    chi2 = float(total @ inverse @ total)
    return {"chi2": chi2, "df": df, "p": float(stats.chi2.sf(chi2, df)),
            "kendall_w": chi2 / (n * (k - 1))}


def _slot_counts(order: np.ndarray, models: pd.Index) -> pd.DataFrame:
    k = len(models)
    counts = np.zeros((k, k), dtype=int)
    np.add.at(counts, (order, np.broadcast_to(np.arange(k), order.shape)), 1)
    return pd.DataFrame(counts, index=models, columns=pd.RangeIndex(1, k + 1, name="position"))


def _balance(counts: pd.DataFrame) -> dict[str, Any]:
    if not counts.to_numpy().sum():
        return {"counts": counts, "balance_chi2": np.nan, "balance_p": np.nan}
    result = stats.chi2_contingency(counts.to_numpy(), correction=False)
    return {"counts": counts, "balance_chi2": float(result.statistic),
            "balance_p": float(result.pvalue)}


def _position_status(test: dict[str, Any], n: int, counts: pd.DataFrame) -> str:
    if n < 2:
        return "n<2"
    if n < TOO_FEW:
        return "too_few"
    # with two models every slot is held half the time by design, so one half cannot be the limit
    limit = max(0.5, 1.5 / len(counts))
    if counts.to_numpy().max() / counts.to_numpy().sum(axis=1).max() > limit:
        return "unbalanced"
    return "constant" if np.isnan(test["p"]) else "ok"


def pair_position_bias(labels: Iterable[Label | None], *, confidence: float = 0.95) -> dict:
    """Is the response shown first preferred? Needs orders assigned at random.

    Args:
        labels: by slot: "a" the response shown first, "b" the second, "tie", None unscored.

    Returns:
        n (scored), n_null, ties, first, second, p_first (share of decided verdicts), ci_low,
        ci_high (Wilson), p (exact binomial), status ("ok", "too_few").
    """
    counts = _count_labels(labels)
    first, second = counts["a"], counts["b"]
    decided = first + second
    low, high = wilson(first, decided, confidence=confidence)
    return {
        "n": decided + counts["tie"], "n_null": counts["null"], "ties": counts["tie"],
        "first": first, "second": second, "p_first": first / decided if decided else np.nan,
        "ci_low": low, "ci_high": high, "p": binomial_p(first, decided),
        "status": "ok" if decided >= 2 else "too_few",
    }


def _count_labels(labels: Iterable[Label | None]) -> dict[str, int]:
    values = clean_labels(labels)
    return {**{name: int((values == name).sum()) for name in ("a", "b", "tie")},
            "null": int(values.isna().sum())}


def clean_labels(labels: Iterable[Label | None]) -> pd.Series:
    """Labels "a", "b", "tie", missing where None or NaN; anything else is an error."""
    values = labels if isinstance(labels, pd.Series) else pd.Series(list(labels), dtype=object)
    strange = ~(values.isin(["a", "b", "tie"]) | values.isna())
    if strange.any():
        raise DataError(f"item {values.index[strange][0]!r} has the label "
                        f"{values[strange].iloc[0]!r}; use 'a', 'b', 'tie', or None for unscored.")
    return values


def consistency_pairs(
    order1: Iterable[Label | None], order2: Iterable[Label | None], *, confidence: float = 0.95
) -> dict[str, Any]:
    """Does the same pair get the same verdict when its responses are swapped?

    Args:
        order1: labels by response, with `a` shown first.
        order2: labels by response (already turned back) of the same pairs, with `b` shown first.

    Returns:
        n (both scored), n_null, consistent, rate, ci_low, ci_high (Wilson), flips_to_first,
        flips_to_second (a against b, by the slot that won twice), half_flips (a tie against a
        verdict), p_flip (exact binomial on the flips), status ("ok", "n<2").
    """
    one, two = _aligned(order1, order2)
    scored = one.notna() & two.notna()
    one, two = one[scored], two[scored]
    n, consistent = len(one), int((one == two).sum())
    first = int(((one == "a") & (two == "b")).sum())
    second = int(((one == "b") & (two == "a")).sum())
    low, high = wilson(consistent, n, confidence=confidence)
    return {
        "n": n, "n_null": int((~scored).sum()), "consistent": consistent,
        "rate": consistent / n if n else np.nan, "ci_low": low, "ci_high": high,
        "flips_to_first": first, "flips_to_second": second,
        "half_flips": n - consistent - first - second,
        "p_flip": binomial_p(first, first + second), "status": "ok" if n >= 2 else "n<2",
    }


def _aligned(order1: Iterable, order2: Iterable) -> tuple[pd.Series, pd.Series]:
    one, two = clean_labels(order1), clean_labels(order2)
    if len(one) != len(two) or not one.index.equals(two.index):
        raise DataError(f"the two orders have {len(one)} and {len(two)} labels, or other ids. "
                        "Pass the same pairs in the same sequence, None where one is unscored.")
    return one, two


def combine_orders(
    order1: Iterable[Label | None], order2: Iterable[Label | None], *,
    rule: Literal["tie", "score"] = "tie",
) -> list[Label | None]:
    """One label per pair from its two orders; None if either order is unscored.

    Args:
        rule: "tie": different verdicts make a tie (FastChat). "score": a = +1, b = -1, tie = 0,
            and the sign of the sum decides, so that `a` and a tie make `a` (JudgeBench).
    """
    one, two = _aligned(order1, order2)
    if rule not in ("tie", "score"):
        raise ValueError(f"rule is {rule!r}; use 'tie' or 'score'.")
    value = {"a": 1, "b": -1, "tie": 0}
    total = one.map(value).astype(float) + two.map(value).astype(float)
    if rule == "tie":
        total = total.where(total.abs() != 1, 0)
    names = {1.0: "a", -1.0: "b", 0.0: "tie"}
    return [None if np.isnan(t) else names[float(np.sign(t))] for t in total]
