"""Scores, pairs of models and win rates: arithmetic to redo, symmetries, limits."""

from math import isnan, sqrt

import numpy as np
import pandas as pd
import pytest

from persuasion_lib.core.errors import DataError
from persuasion_lib.stats.blocks import normalised_scores
from persuasion_lib.stats.scores import holm, paired_tests, summarise, win_matrix
from worlds.rankings import PUBLISHED, needs_published, random_ranks, table


def test_the_mean_and_its_standard_error_are_those_of_the_prompts():
    row = summarise(table([[0, 1], [0, 1], [1, 0], [1, 0]])).loc["base"]
    assert row["mean"] == 0.5 and row["se"] == pytest.approx(sqrt(1 / 3) / 2)
    assert row["first_rate"] == 0.5 and row["mean_rank"] == 1.5


def test_first_places_are_split_among_ties():
    summary = summarise(normalised_scores(table([[1.5, 1.5, 3], [1, 2, 3]])))
    assert summary["first_rate"].tolist() == [0.75, 0.25, 0]


def test_duplicating_every_prompt_shrinks_the_standard_error_by_root_two():
    ranks = random_ranks(n=200)
    double = pd.concat([ranks, ranks.rename(lambda name: name + "x")])
    one, two = (summarise(normalised_scores(r)) for r in (ranks, double))
    assert np.allclose(one["mean"], two["mean"])
    assert np.allclose(one["se"] / two["se"], sqrt(2), atol=0.005)


def test_a_constant_score_has_a_degenerate_interval_and_says_so():
    row = summarise(table([[1 / 3, 1], [1 / 3, 0], [1 / 3, 1]])).loc["base"]
    assert row["ci_low"] == row["ci_high"] == pytest.approx(1 / 3)
    assert row["ci_method"] == "degenerate" and row["status"] == "constant" and row["sd"] == 0


def test_one_prompt_has_a_mean_but_no_interval():
    row = summarise(table([[1, 0]])).loc["base"]
    assert row["mean"] == 1 and isnan(row["ci_low"]) and isnan(row["se"]) and row["status"] == "n<2"


def test_a_model_that_always_wins_is_best_in_every_resample():
    summary = summarise(table([[1, 0.5, 0]] * 5 + [[1, 0, 0.5]] * 5))
    assert summary["prob_best"].tolist() == [1, 0, 0]
    assert summary.loc["base", ["rank_low", "rank_high"]].tolist() == [1, 1]


def test_the_order_of_prompts_or_models_changes_nothing_but_labels():
    scores = normalised_scores(random_ranks())
    shuffled = scores.sample(frac=1, random_state=1)[["m2", "m0", "m3", "m1"]]
    one, two = summarise(scores), summarise(shuffled).loc[scores.columns]
    pd.testing.assert_frame_equal(one, two)


def test_large_tables_use_student_t_and_agree_with_the_bootstrap():
    scores = normalised_scores(random_ranks(n=2001))
    large, small = summarise(scores), summarise(scores.iloc[:2000])
    assert set(large["ci_method"]) == {"t"} and set(small["ci_method"]) == {"bca"}
    assert np.allclose(large["ci_low"], small["ci_low"], atol=2e-3)


def test_holm_multiplies_the_smallest_p_by_the_number_of_tests():
    adjusted, m = holm(np.array([0.01, 0.04, 0.03, np.nan]), np.ones(4, dtype=bool))
    assert adjusted[:3].tolist() == pytest.approx([0.03, 0.06, 0.06]) and m == 3


def test_one_pair_by_hand():
    scores = table([[1, 0], [1, 0], [0, 1], [0.5, 0.5]])
    row = paired_tests(scores).iloc[0]
    assert row["mean_diff"] == 0.25 and row["win_rate"] == (2 + 0.5) / 4
    assert (row["win"], row["tie"], row["loss"]) == (2, 1, 1)
    assert row["rank_biserial"] == pytest.approx((4 - 2) / 6)  # three equal steps of rank 2
    assert row["p_perm"] == 1  # |sum| of three signs is at least 1 in 8 of 8 cases


def test_steps_that_are_equal_but_for_rounding_share_their_rank():
    up, down = [1 - 2 / 3, 0], [0, 1 / 3]       # 0.33333333333333337 and 0.3333333333333333
    row = paired_tests(table([up, up, down, down])).iloc[0]
    assert row["rank_biserial"] == 0 and row["p_wilcoxon"] == 1 and row["p_perm"] == 1


def test_a_difference_that_is_constant_but_for_rounding_has_no_effect_size():
    row = paired_tests(table([[1, 2 / 3], [2 / 3, 1 / 3], [1 / 3, 0]] * 8)).iloc[0]
    assert row["status"] == "constant" and row["se"] == 0 and isnan(row["d_z"])
    assert row["ci_method"] == "degenerate" and row["win"] == 24


def test_six_wins_of_six_have_the_exact_sign_flip_p():
    assert paired_tests(table([[1, 0]] * 6)).iloc[0]["p_perm"] == 2 / 2**6


def test_the_smallest_permutation_p_is_one_in_b_plus_one_and_never_0():
    row = paired_tests(table([[1, 0]] * 40 + [[0, 1]]), n_resamples=999).iloc[0]
    assert row["p_perm"] == 1 / 1000


def test_the_primary_pair_keeps_its_p_and_leaves_five_of_six_to_holm():
    scores = normalised_scores(random_ranks(slope=0.15))
    rows = paired_tests(scores, primary=("m3", "m2"))
    primary, others = rows[rows["family"] == "primary"], rows[rows["family"] == "holm"]
    assert len(primary) == 1 and (primary["p_holm"] == primary["p_perm"]).all()
    smallest = others["p_perm"].idxmin()
    assert others.loc[smallest, "p_holm"] == pytest.approx(min(1, 5 * others["p_perm"].min()))


def test_a_primary_pair_that_was_not_evaluated_is_an_error():
    with pytest.raises(DataError, match="primary"):
        paired_tests(table([[1, 0], [0, 1]]), primary=("rlhf", "base"))


def test_swapping_the_models_flips_the_signs_and_keeps_p():
    scores = normalised_scores(random_ranks(k=3))
    one = paired_tests(scores[["m0", "m1"]]).iloc[0]
    two = paired_tests(scores[["m1", "m0"]]).iloc[0]
    for name in ("mean_diff", "rank_biserial", "d_z"):
        assert one[name] == pytest.approx(-two[name])
    assert one["ci_low"] == pytest.approx(-two["ci_high"])
    for name in ("p_perm", "p_t", "p_wilcoxon"):
        assert one[name] == pytest.approx(two[name])


def test_identical_models_differ_by_0_with_p_1_and_no_effect_size():
    row = paired_tests(table([[0.5, 0.5]] * 25)).iloc[0]
    assert row["mean_diff"] == 0 and row["p_perm"] == 1 and row["status"] == "constant"
    assert isnan(row["d_z"]) and row["rank_biserial"] == 0 and row["p_wilcoxon"] == 1


def test_below_20_prompts_there_is_no_verdict():
    few, enough = ([[1, 0]] * (n - 1) + [[0, 1]] for n in (19, 20))
    assert paired_tests(table(few)).iloc[0][["significant", "status"]].tolist() == [
        None, "too_few"]
    assert paired_tests(table(enough)).iloc[0]["significant"] is True


def test_win_rates_of_a_pair_sum_to_1_and_a_tie_is_half_a_win():
    matrix = win_matrix(table([[1, 2], [1, 2], [2, 1], [1.5, 1.5]]))
    assert matrix["win_rate"].loc["base", "sft"] == 0.625
    assert matrix["win_rate"].loc["sft", "base"] == 0.375
    assert isnan(matrix["win_rate"].loc["base", "base"])
    assert matrix["ci_method"].loc["base", "sft"] == "bca"


def test_win_rates_without_ties_have_wilson_intervals():
    matrix = win_matrix(table([[1, 2]] * 140 + [[2, 1]] * 60))
    low, high = matrix["ci_low"].loc["base", "sft"], matrix["ci_high"].loc["base", "sft"]
    assert (round(low, 3), round(high, 3)) == (0.633, 0.759)  # STATISTICS.md, n = 200, rate .70
    assert matrix["ci_low"].loc["sft", "base"] == pytest.approx(1 - high)


@needs_published
def test_demsar_2006_wilcoxon():
    scores = table(pd.read_csv(PUBLISHED / "demsar2006_auc.csv").to_numpy().tolist(),
                   ["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"])
    row = paired_tests(scores, n_resamples=99).iloc[0]
    assert row["p_wilcoxon"] == pytest.approx(0.01096849656422473)
