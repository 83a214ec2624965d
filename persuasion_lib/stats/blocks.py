"""One gate for missing values, and checks that name the prompt at fault."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from persuasion_lib.core.errors import DataError

TOO_FEW = 20  # below this many prompts no verdict on significance is given

_TOLERANCE = 1e-6


def complete_blocks(table: pd.DataFrame) -> pd.DataFrame:
    """The prompts for which every model has a value; a model without any value is left out.

    Args:
        table: prompts x models (ranks, scores or similarities), NaN where unscored.

    Raises:
        DataError: fewer than two models are left, a prompt occurs twice, or a value is infinite.
    """
    absent = table.columns[table.isna().all() & (len(table) > 0)]
    present = table.drop(columns=absent)
    _check_shape(present, repeated=False)
    return check_table(present.dropna())


def normalised_scores(ranks: pd.DataFrame) -> pd.DataFrame:
    """Score (K - rank) / (K - 1): 1 is best, 0 is worst, every row sums to K/2.

    A score depends on the field: never compare it across runs with different sets of models.
    """
    checked = check_ranks(ranks)
    n_models = checked.shape[1]
    return (n_models - checked) / (n_models - 1)


def check_table(table: pd.DataFrame, *, repeated: bool = False) -> pd.DataFrame:
    """The table as floats, sorted by prompt_id, so that file order cannot change a result.

    Args:
        repeated: whether a prompt may occur more than once (several orders of presentation).

    Raises:
        DataError: naming the prompt_id of the first NaN, infinite or repeated row.
    """
    _check_shape(table, repeated=repeated)
    values = table.astype(float)
    bad = ~np.isfinite(values.to_numpy()).all(axis=1)
    if bad.any():
        raise DataError(
            f"prompt_id {table.index[bad][0]!r} has a missing or infinite value "
            f"({int(bad.sum())} such rows). Pass the table through complete_blocks first."
        )
    return values.sort_index(kind="stable", key=lambda index: index.astype(str))


def check_ranks(ranks: pd.DataFrame, *, repeated: bool = False) -> pd.DataFrame:
    """`check_table`, and every row lies in 1..K and sums to K(K+1)/2 (ties as average ranks)."""
    checked = check_table(ranks, repeated=repeated)
    values = checked.to_numpy()
    n_models = checked.shape[1]
    total = n_models * (n_models + 1) / 2
    outside = ((values < 1 - _TOLERANCE) | (values > n_models + _TOLERANCE)).any(axis=1)
    bad = outside | (np.abs(values.sum(axis=1) - total) > _TOLERANCE)
    if bad.any():
        raise DataError(
            f"prompt_id {checked.index[bad][0]!r} has ranks {values[bad][0].tolist()}: not within "
            f"1..{n_models} with sum {total:g}. Give ties average ranks."
        )
    return checked


def check_positions(positions: pd.DataFrame, ranks: pd.DataFrame) -> pd.DataFrame:
    """Slots 1..K, one per model, for the same prompts and models as `ranks` (same row order)."""
    checked = like_ranks(positions, ranks, "positions")
    bad = (np.sort(checked.to_numpy(), axis=1) != np.arange(1, ranks.shape[1] + 1)).any(axis=1)
    if bad.any():
        raise DataError(f"prompt_id {checked.index[bad][0]!r} has positions "
                        f"{checked.to_numpy()[bad][0].tolist()}: every slot 1.."
                        f"{ranks.shape[1]} must be used once.")
    twice = checked.reset_index().duplicated().to_numpy()
    if twice.any():
        raise DataError(f"prompt_id {checked.index[twice][0]!r} was judged twice in the same "
                        "order. Keep one call for each order.")
    return checked


def like_ranks(extra: pd.DataFrame, ranks: pd.DataFrame, name: str) -> pd.DataFrame:
    """Something else about the judge calls of `ranks`, its columns in their order."""
    if not (extra.index.equals(ranks.index) and set(extra.columns) == set(ranks.columns)):
        raise DataError(f"{name} and ranks have different prompts or models. Build both from "
                        "the same judge calls, in the same order.")
    return check_table(extra[ranks.columns], repeated=True)


def same_prompts(first: pd.DataFrame, second: pd.DataFrame, names: str) -> pd.DataFrame:
    """`second` in the row and column order of `first`; both must hold the same ones."""
    if set(first.index) != set(second.index) or set(first.columns) != set(second.columns):
        only = sorted(set(first.index) ^ set(second.index), key=str)
        example = f" (for example prompt_id {only[0]!r})" if only else ""
        raise DataError(f"{names} differ in their prompts or models{example}. "
                        "Keep the prompts that both have.")
    return second.loc[first.index, first.columns]


def one_of(values: Iterable[str | None], known: Sequence[str]) -> pd.Series:
    """Labels or slots, missing where None or NaN; what is none of the `known` ones is an error."""
    values = values if isinstance(values, pd.Series) else pd.Series(list(values), dtype=object)
    strange = ~(values.isin(known) | values.isna())
    if strange.any():
        raise DataError(f"item {values.index[strange][0]!r} is {values[strange].iloc[0]!r}; use "
                        f"{', '.join(map(repr, known))}, or None for unscored.")
    return values


def _check_shape(table: pd.DataFrame, *, repeated: bool) -> None:
    if table.shape[1] < 2:
        raise DataError(f"{table.shape[1]} models have values; at least 2 are needed to compare.")
    if table.columns.has_duplicates:
        raise DataError(f"model {table.columns[table.columns.duplicated()][0]!r} occurs twice.")
    if not repeated and table.index.has_duplicates:
        raise DataError(f"prompt_id {table.index[table.index.duplicated()][0]!r} occurs twice. "
                        "Average repeated judgments of a prompt first.")
    infinite = np.isinf(table.to_numpy(dtype=float)).any(axis=1)
    if infinite.any():
        raise DataError(f"prompt_id {table.index[infinite][0]!r} has an infinite value.")
