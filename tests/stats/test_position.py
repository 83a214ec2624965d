"""Planted judges who look at the slot, and judges who do not."""

from math import isnan

import pandas as pd
import pytest

from persuasion_lib.core.errors import DataError
from persuasion_lib.stats.position import pair_position_bias, position_bias
from worlds.rankings import latin, random_ranks


def test_a_judge_that_ranks_by_slot_is_biased_with_w_1():
    positions = latin(60)
    result = position_bias(positions, positions)
    assert result["biased"] is True and result["kendall_w"] == pytest.approx(1)
    assert result["table"]["mean_score"].tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert result["table"]["first_rate"].tolist() == [1, 0, 0, 0]


def test_a_judge_that_looks_only_at_the_model_is_not_called_biased():
    positions = latin(120)
    ranks = pd.DataFrame([[4, 3, 2, 1]] * 120, positions.index, positions.columns)
    assert position_bias(ranks, positions)["biased"] is False


def test_one_model_in_most_first_slots_gives_no_verdict():
    positions = latin(100)
    positions.iloc[:60] = [1, 2, 3, 4]
    result = position_bias(random_ranks(n=100), positions)
    assert result["status"] == "unbalanced" and result["biased"] is None
    assert result["balance_p"] < 1e-6


def both_orders(ranks_first, ranks_second, positions):
    ranks = pd.concat([ranks_first, ranks_second])
    return ranks, pd.concat([positions, positions.shape[1] + 1 - positions])


def test_two_orders_of_a_prompt_are_averaged_and_a_slot_judge_is_found():
    positions = latin(60)
    result = position_bias(*both_orders(positions, 5 - positions, positions))
    assert result["test"] == "design" and result["table"]["n"].tolist() == [60] * 4
    assert result["table"]["mean_score"].tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert result["biased"] is True


def test_two_orders_that_agree_leave_nothing_for_position_to_explain():
    ranks, positions = random_ranks(n=60, k=2), latin(60, k=2)
    result = position_bias(*both_orders(ranks, ranks, positions))
    assert result["status"] == "constant" and isnan(result["p"])


def test_the_design_test_of_two_models_is_the_sign_test_chi_square():
    positions = latin(100, k=2)
    ranks = positions.copy()
    ranks.iloc[:30] = 3 - ranks.iloc[:30]  # the first slot wins 70 of 100
    result = position_bias(ranks, positions)
    assert result["chi2"] == pytest.approx((70 - 30) ** 2 / 100) and result["df"] == 1


def test_the_same_order_twice_is_an_error():
    positions = latin(20)
    with pytest.raises(DataError, match="p00"):
        position_bias(pd.concat([positions] * 2), pd.concat([positions] * 2))


def test_always_first_has_share_1_and_ties_do_not_count():
    result = pair_position_bias(["first"] * 10 + ["tie"] * 5 + [None])
    assert (result["p_first"], result["n"], result["ties"], result["n_null"]) == (1, 15, 5, 1)
    assert result["p"] == 2 / 2**10
    assert isnan(pair_position_bias(["tie", "tie"])["p_first"])


def test_a_label_in_the_place_of_a_slot_is_an_error():
    with pytest.raises(DataError, match="'a'"):
        pair_position_bias(["first", "a"])
