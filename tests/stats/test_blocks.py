"""Missing values and validation."""

import numpy as np
import pandas as pd
import pytest

from persuasion_lib.core.errors import DataError
from persuasion_lib.stats.blocks import complete_blocks, normalised_scores
from worlds.rankings import random_ranks, table


def test_rank_1_of_4_scores_1_and_every_row_sums_to_2():
    scores = normalised_scores(table([[4, 3, 2, 1], [1.5, 1.5, 3.5, 3.5]]))
    assert scores.loc["p00"].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert scores.sum(axis=1).tolist() == pytest.approx([2, 2])


def test_reversing_the_ranks_turns_a_score_into_one_minus_itself():
    ranks = random_ranks()
    forward, back = normalised_scores(ranks), normalised_scores(5 - ranks)
    assert np.allclose(forward + back, 1)


def test_a_prompt_with_a_missing_model_is_dropped():
    ranks = table([[1, 2], [np.nan, np.nan], [1, np.nan], [2, 1]])
    assert list(complete_blocks(ranks).index) == ["p00", "p03"]


def test_a_model_that_is_absent_everywhere_drops_no_prompt():
    kept = complete_blocks(table([[1, np.nan, 2], [2, np.nan, 1]]))
    assert list(kept.columns) == ["base", "rlhf"] and len(kept) == 2


def test_fewer_than_two_models_is_an_error():
    with pytest.raises(DataError, match="at least 2"):
        complete_blocks(table([[1, np.nan], [1, np.nan]]))


@pytest.mark.parametrize("row", [[1, 2, 2, 4], [0, 2, 3, 5], [1, 2, 3, np.nan], [1, 2, 3, np.inf]])
def test_bad_ranks_are_an_error_that_names_the_prompt(row):
    with pytest.raises(DataError, match="p01"):
        normalised_scores(table([[1, 2, 3, 4], row]))


def test_a_prompt_that_occurs_twice_is_an_error_that_names_it():
    ranks = table([[1, 2], [2, 1]])
    with pytest.raises(DataError, match="p00"):
        normalised_scores(pd.concat([ranks, ranks.iloc[:1]]))
