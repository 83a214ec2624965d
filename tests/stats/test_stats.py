"""The statistics as a specification: arithmetic to redo, symmetries, limits, edge cases."""

from __future__ import annotations

import itertools
import json
from math import isnan, log, sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, kendalltau, spearmanr, ttest_1samp
from statsmodels.discrete.conditional_models import ConditionalLogit

from persuasion_lib import stats
from persuasion_lib.core.errors import DataError
from persuasion_lib.stats.ranks import kendall_tau_rows
from persuasion_lib.stats.scores import holm
from persuasion_lib.stats.strengths import expected_scores

MODELS = ["base", "sft", "rlhf", "rlaif_rlhf"]
PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "agreement"
needs_published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="published cases not here")


def table(rows, columns=None):
    """Prompts p00, p01, … as rows."""
    columns = columns or MODELS[: len(rows[0])]
    index = pd.Index([f"p{i:02d}" for i in range(len(rows))], name="prompt_id")
    return pd.DataFrame(rows, index, columns, dtype=float)


def random_ranks(n=60, k=4, seed=3, slope=0.4):
    noise = np.random.default_rng(seed).gumbel(size=(n, k)) + slope * np.arange(k)
    return table((-noise).argsort(axis=1).argsort(axis=1) + 1, [f"m{i}" for i in range(k)])


def published(name):
    return json.loads((PUBLISHED / name).read_text())


# --- missing values and validation


def test_rank_1_of_4_scores_1_and_every_row_sums_to_2():
    scores = stats.normalised_scores(table([[4, 3, 2, 1], [1.5, 1.5, 3.5, 3.5]]))
    assert scores.loc["p00"].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert scores.sum(axis=1).tolist() == pytest.approx([2, 2])


def test_reversing_the_ranks_turns_a_score_into_one_minus_itself():
    ranks = random_ranks()
    forward, back = stats.normalised_scores(ranks), stats.normalised_scores(5 - ranks)
    assert np.allclose(forward + back, 1)


def test_a_prompt_with_a_missing_model_is_dropped_and_counted_with_its_reason():
    ranks = table([[1, 2], [np.nan, np.nan], [1, np.nan], [2, 1]])
    kept, counts = stats.complete_blocks(ranks, reasons={"p01": "no verdict"})
    assert list(kept.index) == ["p00", "p03"]
    assert (counts["n_total"], counts["n_used"], counts["n_dropped"]) == (4, 2, 2)
    assert counts["reasons"] == {"no verdict": 1, "no value for sft": 1}


def test_a_model_that_is_absent_everywhere_is_removed_with_a_warning():
    kept, counts = stats.complete_blocks(table([[1, np.nan, 2], [2, np.nan, 1]]))
    assert list(kept.columns) == ["base", "rlhf"] and counts["n_dropped"] == 0
    assert counts["warnings"] == ["sft has no value for any prompt and is left out"]


def test_fewer_than_two_models_is_an_error():
    with pytest.raises(DataError, match="at least 2"):
        stats.complete_blocks(table([[1, np.nan], [1, np.nan]]))


@pytest.mark.parametrize("row", [[1, 2, 2, 4], [0, 2, 3, 5], [1, 2, 3, np.nan], [1, 2, 3, np.inf]])
def test_bad_ranks_are_an_error_that_names_the_prompt(row):
    with pytest.raises(DataError, match="p01"):
        stats.normalised_scores(table([[1, 2, 3, 4], row]))


def test_a_prompt_that_occurs_twice_is_an_error_that_names_it():
    ranks = table([[1, 2], [2, 1]])
    with pytest.raises(DataError, match="p00"):
        stats.normalised_scores(pd.concat([ranks, ranks.iloc[:1]]))


# --- scores


def test_the_mean_and_its_standard_error_are_those_of_the_prompts():
    row = stats.summarise(table([[0, 1], [0, 1], [1, 0], [1, 0]])).loc["base"]
    assert row["mean"] == 0.5 and row["se"] == pytest.approx(sqrt(1 / 3) / 2)
    assert row["first_rate"] == 0.5 and row["mean_rank"] == 1.5


def test_first_places_are_split_among_ties():
    summary = stats.summarise(stats.normalised_scores(table([[1.5, 1.5, 3], [1, 2, 3]])))
    assert summary["first_rate"].tolist() == [0.75, 0.25, 0]


def test_duplicating_every_prompt_shrinks_the_standard_error_by_root_two():
    ranks = random_ranks(n=200)
    double = pd.concat([ranks, ranks.rename(lambda name: name + "x")])
    one, two = (stats.summarise(stats.normalised_scores(r)) for r in (ranks, double))
    assert np.allclose(one["mean"], two["mean"])
    assert np.allclose(one["se"] / two["se"], sqrt(2), atol=0.005)


def test_a_constant_score_has_a_degenerate_interval_and_says_so():
    row = stats.summarise(table([[1 / 3, 1], [1 / 3, 0], [1 / 3, 1]])).loc["base"]
    assert row["ci_low"] == row["ci_high"] == pytest.approx(1 / 3)
    assert row["ci_method"] == "degenerate" and row["status"] == "constant" and row["sd"] == 0


def test_one_prompt_has_a_mean_but_no_interval():
    row = stats.summarise(table([[1, 0]])).loc["base"]
    assert row["mean"] == 1 and isnan(row["ci_low"]) and isnan(row["se"]) and row["status"] == "n<2"


def test_a_model_that_always_wins_is_best_in_every_resample():
    summary = stats.summarise(table([[1, 0.5, 0]] * 5 + [[1, 0, 0.5]] * 5))
    assert summary["prob_best"].tolist() == [1, 0, 0]
    assert summary.loc["base", ["rank_low", "rank_high"]].tolist() == [1, 1]


def test_the_order_of_prompts_or_models_changes_nothing_but_labels():
    scores = stats.normalised_scores(random_ranks())
    shuffled = scores.sample(frac=1, random_state=1)[["m2", "m0", "m3", "m1"]]
    one, two = stats.summarise(scores), stats.summarise(shuffled).loc[scores.columns]
    pd.testing.assert_frame_equal(one, two)


def test_large_tables_use_student_t_and_agree_with_the_bootstrap():
    scores = stats.normalised_scores(random_ranks(n=2001))
    large, small = stats.summarise(scores), stats.summarise(scores.iloc[:2000])
    assert set(large["ci_method"]) == {"t"} and set(small["ci_method"]) == {"bca"}
    assert np.allclose(large["ci_low"], small["ci_low"], atol=2e-3)


# --- pairs


def test_holm_multiplies_the_smallest_p_by_the_number_of_tests():
    adjusted, m = holm(np.array([0.01, 0.04, 0.03, np.nan]), np.ones(4, dtype=bool))
    assert adjusted[:3].tolist() == pytest.approx([0.03, 0.06, 0.06]) and m == 3


def test_one_pair_by_hand():
    scores = table([[1, 0], [1, 0], [0, 1], [0.5, 0.5]])
    row = stats.paired_tests(scores).iloc[0]
    assert row["mean_diff"] == 0.25 and row["win_rate"] == (2 + 0.5) / 4
    assert (row["win"], row["tie"], row["loss"]) == (2, 1, 1)
    assert row["rank_biserial"] == pytest.approx((4 - 2) / 6)  # three equal steps of rank 2
    assert row["p_perm"] == 1  # |sum| of three signs is at least 1 in 8 of 8 cases


def test_six_wins_of_six_have_the_exact_sign_flip_p():
    assert stats.paired_tests(table([[1, 0]] * 6)).iloc[0]["p_perm"] == 2 / 2**6


def test_the_smallest_permutation_p_is_one_in_b_plus_one_and_never_0():
    row = stats.paired_tests(table([[1, 0]] * 40 + [[0, 1]]), n_resamples=999).iloc[0]
    assert row["p_perm"] == 1 / 1000


def test_the_primary_pair_keeps_its_p_and_leaves_five_of_six_to_holm():
    scores = stats.normalised_scores(random_ranks(slope=0.15))
    rows = stats.paired_tests(scores, primary=("m3", "m2"))
    primary, others = rows[rows["family"] == "primary"], rows[rows["family"] == "holm"]
    assert len(primary) == 1 and (primary["p_holm"] == primary["p_perm"]).all()
    smallest = others["p_perm"].idxmin()
    assert others.loc[smallest, "p_holm"] == pytest.approx(min(1, 5 * others["p_perm"].min()))


def test_a_primary_pair_that_was_not_evaluated_is_an_error():
    with pytest.raises(DataError, match="primary"):
        stats.paired_tests(table([[1, 0], [0, 1]]), primary=("rlhf", "base"))


def test_swapping_the_models_flips_the_signs_and_keeps_p():
    scores = stats.normalised_scores(random_ranks(k=3))
    one = stats.paired_tests(scores[["m0", "m1"]]).iloc[0]
    two = stats.paired_tests(scores[["m1", "m0"]]).iloc[0]
    for name in ("mean_diff", "rank_biserial", "d_z"):
        assert one[name] == pytest.approx(-two[name])
    assert one["ci_low"] == pytest.approx(-two["ci_high"])
    for name in ("p_perm", "p_t", "p_wilcoxon"):
        assert one[name] == pytest.approx(two[name])


def test_identical_models_differ_by_0_with_p_1_and_no_effect_size():
    row = stats.paired_tests(table([[0.5, 0.5]] * 25)).iloc[0]
    assert row["mean_diff"] == 0 and row["p_perm"] == 1 and row["status"] == "constant"
    assert isnan(row["d_z"]) and row["rank_biserial"] == 0 and row["p_wilcoxon"] == 1


def test_below_20_prompts_there_is_no_verdict():
    few, enough = ([[1, 0]] * (n - 1) + [[0, 1]] for n in (19, 20))
    assert stats.paired_tests(table(few)).iloc[0][["significant", "status"]].tolist() == [
        None, "too_few"]
    assert stats.paired_tests(table(enough)).iloc[0]["significant"] is True


def test_win_rates_of_a_pair_sum_to_1_and_a_tie_is_half_a_win():
    matrix = stats.win_matrix(table([[1, 2], [1, 2], [2, 1], [1.5, 1.5]]))
    assert matrix["win_rate"].loc["base", "sft"] == 0.625
    assert matrix["win_rate"].loc["sft", "base"] == 0.375
    assert isnan(matrix["win_rate"].loc["base", "base"])
    assert matrix["ci_method"].loc["base", "sft"] == "bca"


def test_win_rates_without_ties_have_wilson_intervals():
    matrix = stats.win_matrix(table([[1, 2]] * 140 + [[2, 1]] * 60))
    low, high = matrix["ci_low"].loc["base", "sft"], matrix["ci_high"].loc["base", "sft"]
    assert (round(low, 3), round(high, 3)) == (0.633, 0.759)  # STATISTICS.md, n = 200, rate .70
    assert matrix["ci_low"].loc["sft", "base"] == pytest.approx(1 - high)


# --- rankings


def test_everyone_agreeing_gives_kendalls_w_1_and_all_ties_are_undefined():
    agreed = stats.friedman(table([[1, 2, 3]] * 10))
    assert agreed["chi2"] == pytest.approx(20) and agreed["kendall_w"] == pytest.approx(1)
    tied = stats.friedman(table([[2, 2, 2]] * 10))
    assert isnan(tied["p"]) and tied["status"] == "constant"


def test_friedman_needs_two_prompts_and_three_models():
    assert stats.friedman(table([[1, 2, 3]]))["status"] == "n<2"
    assert stats.friedman(table([[1, 2], [2, 1]]))["status"] == "K<3"


def test_pages_test_finds_the_predicted_order_and_not_its_reverse():
    ranks = random_ranks()  # m3 is the strongest
    forward = stats.page_trend(ranks, ["m3", "m2", "m0"])
    back = stats.page_trend(ranks, ["m0", "m2", "m3"])
    assert forward["p"] < 0.001 and back["p"] > 0.999


def test_a_judge_that_reverses_its_ranking_has_tau_minus_1():
    ranks = random_ranks(n=30)
    same, turned = (stats.consistency_rankings(ranks, r) for r in (ranks, 5 - ranks))
    assert same["tau"] == 1 and same["identical"] == 1 and same["top1_same"] == 1
    assert turned["tau"] == -1 and turned["identical"] == 0 and turned["top1_same"] == 0


def test_a_ranking_that_is_all_ties_has_no_tau_and_is_counted():
    one, two = table([[1, 2, 3], [2, 2, 2], [1, 2, 3]]), table([[1, 3, 2], [1, 2, 3], [1, 2, 3]])
    result = stats.consistency_rankings(one, two)
    assert result["n_used"] == 2 and result["n_constant"] == 1
    assert result["tau"] == pytest.approx((1 / 3 + 1) / 2)


def test_tau_by_rows_is_scipys_tau_b():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (2, 50, 5))
    expected = [kendalltau(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert np.allclose(kendall_tau_rows(x, y), expected, equal_nan=True)


def test_similarity_is_correlated_with_the_ranking_inside_each_prompt():
    rng = np.random.default_rng(0)
    scores = stats.normalised_scores(random_ranks(n=40))
    similarity = (scores * 0.3 + rng.normal(0, 0.1, scores.shape)).clip(-1, 1)
    similarity.iloc[0] = 0.5  # constant: no correlation
    result = stats.similarity_vs_rank(similarity, scores)
    expected = [spearmanr(a, b).statistic for a, b in zip(
        similarity.to_numpy()[1:], scores.to_numpy()[1:], strict=True)]
    assert result["rho"] == pytest.approx(np.mean(expected))
    assert (result["n_used"], result["n_constant"]) == (39, 1) and result["p"] == 1 / 10_000


def test_four_models_are_too_few_for_a_correlation_of_their_means():
    scores = stats.normalised_scores(random_ranks(n=40))
    system = stats.similarity_vs_rank(scores, scores)["system"]
    assert system["rho"] == pytest.approx(1) and system["p"] is None
    assert "n=4: cannot reach p<.05" in system["note"]


def test_a_cosine_above_1_is_an_error_that_names_the_prompt():
    similarity = table([[0.2, 1.0000005], [0.2, 1.1]])
    with pytest.raises(DataError, match="p01"):
        stats.similarity_vs_rank(similarity, table([[1, 0], [1, 0]]))


# --- position


def latin(n, k=4, seed=0):
    """Slots by a cyclic Latin square, its row drawn at random."""
    shift = np.random.default_rng(seed).integers(k, size=(n, 1))
    return table((np.arange(k) + shift) % k + 1, [f"m{i}" for i in range(k)])


def test_a_judge_that_ranks_by_slot_is_biased_with_w_1():
    positions = latin(60)
    result = stats.position_bias(positions, positions)
    assert result["biased"] is True and result["kendall_w"] == pytest.approx(1)
    assert result["table"]["mean_score"].tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert result["table"]["first_rate"].tolist() == [1, 0, 0, 0]


def test_a_judge_that_looks_only_at_the_model_is_not_called_biased():
    positions = latin(120)
    ranks = pd.DataFrame([[4, 3, 2, 1]] * 120, positions.index, positions.columns)
    assert stats.position_bias(ranks, positions)["biased"] is False


def test_one_model_in_most_first_slots_gives_no_verdict():
    positions = latin(100)
    positions.iloc[:60] = [1, 2, 3, 4]
    result = stats.position_bias(random_ranks(n=100), positions)
    assert result["status"] == "unbalanced" and result["biased"] is None
    assert result["balance_p"] < 1e-6


def both_orders(ranks_first, ranks_second, positions):
    ranks = pd.concat([ranks_first, ranks_second])
    return ranks, pd.concat([positions, positions.shape[1] + 1 - positions])


def test_two_orders_of_a_prompt_are_averaged_and_a_slot_judge_is_found():
    positions = latin(60)
    result = stats.position_bias(*both_orders(positions, 5 - positions, positions))
    assert result["test"] == "design" and result["table"]["n"].tolist() == [60] * 4
    assert result["table"]["mean_score"].tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert result["biased"] is True


def test_two_orders_that_agree_leave_nothing_for_position_to_explain():
    ranks, positions = random_ranks(n=60, k=2), latin(60, k=2)
    result = stats.position_bias(*both_orders(ranks, ranks, positions))
    assert result["status"] == "constant" and isnan(result["p"])


def test_the_design_test_of_two_models_is_the_sign_test_chi_square():
    positions = latin(100, k=2)
    ranks = positions.copy()
    ranks.iloc[:30] = 3 - ranks.iloc[:30]  # the first slot wins 70 of 100
    result = stats.position_bias(ranks, positions)
    assert result["chi2"] == pytest.approx((70 - 30) ** 2 / 100) and result["df"] == 1


def test_the_same_order_twice_is_an_error():
    positions = latin(20)
    with pytest.raises(DataError, match="p00"):
        stats.position_bias(pd.concat([positions] * 2), pd.concat([positions] * 2))


def test_always_first_has_share_1_and_ties_do_not_count():
    result = stats.pair_position_bias(["a"] * 10 + ["tie"] * 5 + [None])
    assert (result["p_first"], result["n"], result["ties"], result["n_null"]) == (1, 15, 5, 1)
    assert result["p"] == 2 / 2**10
    assert isnan(stats.pair_position_bias(["tie", "tie"])["p_first"])


def test_an_always_first_judge_is_never_consistent_and_every_flip_goes_to_first():
    result = stats.consistency_pairs(["a"] * 12, ["b"] * 12)
    assert result["rate"] == 0 and result["flips_to_first"] == 12
    assert result["flips_to_second"] == 0 and result["p_flip"] == 2 / 2**12


def test_a_tie_against_a_verdict_is_inconsistent_but_no_flip_and_null_is_missing():
    result = stats.consistency_pairs(["a", "a", "tie", None], ["a", "tie", "tie", "a"])
    assert (result["n"], result["consistent"], result["half_flips"]) == (3, 2, 1)
    assert result["n_null"] == 1 and isnan(result["p_flip"])


def test_two_orders_combine_to_a_tie_unless_they_agree():
    one, two = ["a", "a", "a", "tie", None], ["a", "b", "tie", "tie", "a"]
    assert stats.combine_orders(one, two) == ["a", "tie", "tie", "tie", None]
    assert stats.combine_orders(one, two, rule="score") == ["a", "tie", "a", "tie", None]


def test_a_label_outside_the_vocabulary_is_an_error():
    with pytest.raises(DataError, match="'A'"):
        stats.pair_position_bias(["a", "A"])


# --- strengths


def test_worths_sum_to_1_and_log_worths_to_0_and_bounds_contain_them():
    fit = stats.plackett_luce(random_ranks(), n_resamples=499)
    worth = fit["table"]
    assert worth["worth"].sum() == pytest.approx(1) and worth["log_worth"].sum() == pytest.approx(0)
    assert (worth["log_low"] < worth["log_worth"]).all()
    assert (worth["log_worth"] < worth["log_high"]).all() and fit["ci_method"] == "bootstrap"


def test_equally_frequent_rankings_have_equal_worth():
    ranks = table(list(itertools.permutations([1, 2, 3])))
    assert stats.plackett_luce(ranks, n_resamples=99)["table"]["worth"].tolist() == pytest.approx(
        [1 / 3] * 3)


def test_a_model_that_always_wins_is_not_identified_and_says_so():
    ranks = table([[1, 2, 3], [1, 3, 2]] * 20)
    fit = stats.plackett_luce(ranks, n_resamples=99)
    assert fit["status"] == "separable" and not fit["identified"] and fit["alpha"] == 0.01
    assert np.isfinite(fit["table"]["log_worth"]).all()


def test_prompts_with_ties_are_dropped_and_counted():
    ranks = pd.concat([random_ranks(k=3), table([[1, 2.5, 2.5]], ["m0", "m1", "m2"]).rename(
        index={"p00": "tied"})])
    fit = stats.plackett_luce(ranks, n_resamples=99)
    assert (fit["n_total"], fit["n_used"], fit["reasons"]) == (61, 60, {"ties": 1})


def test_two_models_have_no_plackett_luce():
    assert stats.plackett_luce(table([[1, 2], [2, 1]]))["status"] == "K<3"


def test_covariates_and_worths_are_those_of_statsmodels_conditional_logit():
    ranks, rng = random_ranks(n=80), np.random.default_rng(1)
    position = latin(80, seed=2)
    length = pd.DataFrame(rng.normal(6, 0.5, ranks.shape), ranks.index, ranks.columns)
    fit = stats.plackett_luce(ranks, covariates={"position": position, "log_length": length},
                              n_resamples=99)
    y, x, groups = [], [], []
    for row, (r, p, z) in enumerate(zip(ranks.values, position.values, length.values, strict=True)):
        for stage in (1, 2, 3):
            for item in np.flatnonzero(r >= stage):
                y.append(int(r[item] == stage))
                x.append([*np.eye(4)[item, 1:], p[item], z[item]])
                groups.append(4 * row + stage)
    model = ConditionalLogit(np.array(y), np.array(x), groups=np.array(groups))
    expected = model.fit(disp=False)
    log_worth = fit["table"]["log_worth"]
    assert np.allclose((log_worth - log_worth.iloc[0])[1:], expected.params[:3], atol=1e-4)
    assert np.allclose(fit["covariates"]["beta"], expected.params[3:], atol=1e-4)
    assert fit["loglik"] == pytest.approx(expected.llf)


def test_a_judge_by_slot_is_separable_and_a_constant_covariate_has_no_coefficient():
    positions = latin(60)
    fit = stats.plackett_luce(positions, covariates={"position": positions}, n_resamples=99)
    assert fit["status"] == "separable" and fit["covariates"].loc["position", "beta"] < 0
    same = pd.DataFrame(5.0, positions.index, positions.columns)
    fit = stats.plackett_luce(random_ranks(), covariates={"x": same}, n_resamples=99)
    assert isnan(fit["covariates"].loc["x", "beta"]) and fit["status"] == "ok"


def test_judging_every_prompt_twice_alike_does_not_narrow_the_interval():
    ranks = random_ranks(n=80)
    once = stats.plackett_luce(ranks, n_resamples=999)["table"]
    twice = stats.plackett_luce(pd.concat([ranks, ranks]), n_resamples=999)["table"]
    assert np.allclose(once["log_worth"], twice["log_worth"])
    widths = [(t["log_high"] - t["log_low"]).mean() for t in (once, twice)]
    assert widths[1] / widths[0] == pytest.approx(1, abs=0.1)  # not 1/sqrt(2)


def test_the_sandwich_of_a_large_table_agrees_with_its_bootstrap():
    ranks = random_ranks(n=240)
    zero = {"x": pd.DataFrame(0.0, ranks.index, ranks.columns)}
    more = pd.concat([ranks, random_ranks(n=20, seed=9).rename(lambda name: name + "x")])
    small = stats.plackett_luce(ranks, covariates=zero, n_resamples=999)
    large = stats.plackett_luce(more, covariates={"x": zero["x"].reindex(more.index).fillna(0)})
    assert (small["ci_method"], large["ci_method"]) == ("bootstrap", "sandwich")
    widths = [(f["table"]["log_high"] - f["table"]["log_low"]).mean() for f in (small, large)]
    assert widths[1] / widths[0] == pytest.approx(sqrt(240 / 260), abs=0.06)


def test_expected_scores_are_half_for_equal_worths_and_sum_to_half_their_number():
    assert expected_scores(np.zeros(4)).tolist() == [0.5] * 4
    assert expected_scores(np.array([2.0, 0, -1, -1])).sum() == pytest.approx(2)


def test_a_model_that_wins_by_length_alone_is_average_at_equal_length():
    rng = np.random.default_rng(0)
    log_length = rng.normal(0, 0.5, (2000, 4)) + np.array([0.7, 0, 0, 0])
    ranks = table((-(2 * log_length + rng.gumbel(size=(2000, 4)))).argsort(1).argsort(1) + 1)
    fits = [stats.plackett_luce(ranks, covariates=terms, n_resamples=199) for terms in (
        {}, {"log_length": table(log_length)})]
    raw, adjusted = (fit["table"].iloc[0] for fit in fits)
    assert raw["score_low"] > 0.6 and adjusted["score_low"] < 0.5 < adjusted["score_high"]
    first = fits[1]["differences"].iloc[0]
    assert first["ci_low"] < 0 < first["ci_high"] and fits[0]["differences"]["ci_low"].iloc[0] > 0


# --- agreement


def test_kappa_by_hand():
    human, judge = ["a"] * 5 + ["b"] * 5, ["a"] * 4 + ["b"] * 6
    result = stats.agreement(human, judge)
    assert result["raw"] == 0.9 and result["pe"] == pytest.approx(0.5)
    assert result["kappa"] == pytest.approx(0.8) and result["majority_baseline"] == 0.5


def test_ties_are_a_class_or_dropped_or_half_a_point():
    human, judge = ["a", "a", "tie", "b", None], ["a", "tie", "tie", "b", "a"]
    result = {ties: stats.agreement(human, judge, ties=ties) for ties in ("class", "drop", "half")}
    assert {name: r["raw"] for name, r in result.items()} == {
        "class": 0.75, "drop": 1.0, "half": (3 + 0.5) / 4}
    assert {r["n_null"] for r in result.values()} == {1}
    assert result["drop"]["n_ties_dropped"] == 2 and isnan(result["half"]["kappa"])


def test_two_raters_with_one_label_agree_but_have_no_kappa():
    result = stats.agreement(["a"] * 5, ["a"] * 5)
    assert result["raw"] == 1 and isnan(result["kappa"]) and result["status"] == "constant"


def test_agreement_is_symmetric():
    rng = np.random.default_rng(0)
    one, two = rng.choice(["a", "b", "tie"], (2, 80))
    assert stats.agreement(one, two)["kappa"] == pytest.approx(stats.agreement(two, one)["kappa"])


def test_perfect_raters_have_alpha_1_and_one_category_has_none():
    assert stats.krippendorff_alpha([["a", "b", None], ["a", "b", "a"]]) == 1
    assert isnan(stats.krippendorff_alpha([["a", "a"], ["a", "a"]]))
    assert isnan(stats.krippendorff_alpha([["a", None], [None, "b"]]))


def noisy(labels, share, seed):
    rng = np.random.default_rng(seed)
    return labels.where(rng.random(len(labels)) > share, rng.choice(["a", "b"], len(labels)))


def test_a_judge_is_acceptable_if_it_agrees_as_well_as_another_human():
    truth = pd.Series(np.random.default_rng(0).choice(["a", "b"], 200))
    humans = pd.DataFrame({"h1": noisy(truth, 0.2, 1), "h2": noisy(truth, 0.2, 2)})
    good, random = (stats.human_pool(noisy(truth, share, 3), humans) for share in (0.2, 1.0))
    assert good["acceptable"] is True and random["acceptable"] is False
    assert len(good["judge_human"]) == 4 and len(good["human_human"]) == 2


def test_one_human_must_label_30_pairs_again_before_a_judge_is_accepted():
    truth = pd.Series(np.random.default_rng(0).choice(["a", "b"], 100))
    alone = stats.human_pool(truth, pd.DataFrame({"h1": truth}))
    assert alone["acceptable"] is None and alone["status"] == "one human"
    again = stats.human_pool(truth, pd.DataFrame({"h1": truth}), relabelled=truth[:30])
    assert again["acceptable"] is True


# --- length


def pairs(labels, length_a, length_b, **more):
    return pd.DataFrame({"label": labels, "length_a": length_a, "length_b": length_b, **more})


def test_only_pairs_that_differ_by_more_than_30_characters_are_considered():
    result = stats.length_bias(pairs(["a", "b", "a", "tie"], [100, 100, 131, 200],
                                     [130, 131, 100, 100]))
    assert (result["n_considered"], result["p_prefer_longer"]) == (2, 1)
    assert result["ties"] == 1 and result["mean_difference"] == pytest.approx((-30 + 31 + 31) / 3)


def test_ten_copies_of_a_verdict_on_one_prompt_are_not_ten_observations():
    rng = np.random.default_rng(0)
    once = pairs(rng.choice(["a", "b"], 40), 500 + rng.normal(0, 200, 40), 500.0,
                 prompt_id=range(40))
    one, ten = stats.length_bias(once), stats.length_bias(pd.concat([once] * 10))
    assert ten["n_considered"] == 10 * one["n_considered"]
    for bound in ("ci_low", "ci_high", "difference_low", "difference_high"):
        assert ten[bound] == pytest.approx(one[bound], abs=0.02 * abs(one["difference_se"])
                                           if "difference" in bound else 0.01)


def test_unrelated_pairs_have_wilsons_interval_and_the_t_test():
    gap = np.array([40, 50, -60, 70, 80.0])
    result = stats.length_bias(pairs(list("aaaab"), 500 + gap, 500.0))
    assert (result["ci_low"], result["ci_high"]) == pytest.approx(
        tuple(binomtest(3, 5).proportion_ci(0.95, method="wilson")))
    won = np.array([40, 50, -60, 70, -80.0])
    assert result["difference_p"] == pytest.approx(ttest_1samp(won, 0).pvalue)


def test_an_always_longer_judge_is_separable():
    gap = np.random.default_rng(0).normal(0, 100, 60)
    result = stats.length_bias(pairs(np.where(gap > 0, "a", "b"), 500 + gap, 500.0))
    assert result["p_prefer_longer"] == 1 and result["status"] == "separable"
    assert isnan(result["beta_length"])


def test_equal_lengths_say_nothing_about_length():
    result = stats.length_bias(pairs(["a", "b", "a"], 100, 100))
    assert result["status"] == "constant" and isnan(result["p_prefer_longer"])


def test_the_length_coefficient_is_the_planted_one_and_strengths_are_adjusted():
    rng = np.random.default_rng(0)
    gap = rng.normal(60, 100, 4000)  # model long writes more, and only that makes it win
    p = 1 / (1 + np.exp(-np.tanh(gap / gap.std(ddof=1))))
    result = stats.length_bias(pairs(np.where(rng.random(4000) < p, "a", "b"), 500 + gap, 500.0,
                                     model_a="long", model_b="short"))
    assert result["beta_low"] < 1 < result["beta_high"]
    strengths = result["strengths"].loc["long"]
    assert strengths["raw"] > 0.1 and abs(strengths["length_adjusted"]) < 0.1


# --- power


def test_115_prompts_detect_a_difference_of_about_15_points():
    assert round(stats.power(115, 0.57), 3) == 0.149
    assert round(stats.power(115, 0.57, m=6), 3) == 0.185
    assert stats.n_for(0.035, 0.57) == 2082


def test_the_prompts_needed_for_the_detectable_difference_are_the_prompts_there_are():
    assert stats.n_for(stats.power(115, 0.57) * 1.0001, 0.57) == 115
    assert isnan(stats.n_for(0, 0.57)) and isnan(stats.power(1, 0.57))


# --- seeds


def everything(seed):
    ranks, positions = random_ranks(), latin(60)
    scores = stats.normalised_scores(ranks)
    options = {"seed": seed, "n_resamples": 199}
    parts = [stats.summarise(scores, **options), stats.paired_tests(scores, **options),
             stats.position_bias(ranks, positions, **options)["table"],
             stats.plackett_luce(ranks, covariates={"position": positions}, **options)["table"]]
    label = list("ab" * 30)
    return "".join(p.to_json() for p in parts) + json.dumps([
        stats.similarity_vs_rank(scores / 2, scores, **options)["ci_low"],
        stats.agreement(label, label[::2] + label[1::2], **options)["kappa_low"]])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not():
    assert everything(0) == everything(0) != everything(1)


# --- published cases


@needs_published
def test_pandalm_kappas_to_their_printed_digits():
    labels = pd.read_csv(PUBLISHED / "pandalm_testset.csv")
    expected = published("pandalm_published.json")
    for pair, printed in expected["published"]["cohen_kappa"].items():
        one, two = (labels[f"annotator{i}"].map({1: "a", 2: "b", 0: "tie"})
                    for i in pair.split("-"))
        result = stats.agreement(one, two, n_resamples=99)
        assert result["n"] == 999 and round(result["kappa"], 2) == printed
        assert result["kappa"] == pytest.approx(expected["recomputed"]["cohen_kappa"][pair])


@needs_published
def test_demsar_2006_ranks_and_friedman():
    ranks = table(pd.read_csv(PUBLISHED / "demsar2006_ranks.csv").to_numpy().tolist())
    printed = published("demsar2006_published.json")["published"]
    summary = stats.summarise(stats.normalised_scores(ranks), n_resamples=99)
    assert summary["mean_rank"].round(3).tolist() == printed["average_ranks"]
    # scipy divides the published statistic by the correction for ties: sizes t, 14 rows of 4
    sizes = [count for row in ranks.to_numpy() for count in np.unique(row, return_counts=True)[1]]
    correction = 1 - sum(t**3 - t for t in sizes) / (14 * (4**3 - 4))
    assert round(stats.friedman(ranks)["chi2"] * correction, 2) == 9.28
    assert stats.friedman(ranks)["chi2"] == pytest.approx(10.228346, abs=1e-6)


@needs_published
def test_demsar_2006_wilcoxon():
    scores = table(pd.read_csv(PUBLISHED / "demsar2006_auc.csv").to_numpy().tolist(),
                   ["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"])
    row = stats.paired_tests(scores, n_resamples=99).iloc[0]
    assert row["p_wilcoxon"] == pytest.approx(0.01096849656422473)


@needs_published
def test_netflix_worths_standard_errors_and_deviance():
    counts = pd.read_csv(PUBLISHED / "netflix_4movies_rankings.csv").to_numpy()
    ranks = [np.argsort(row[1:]) + 1 for row in counts for _ in range(row[0])]
    fit = stats.plackett_luce(table(ranks), n_resamples=999)
    worth, case = fit["table"], published("netflix_4movies_published.json")
    assert worth["worth"].tolist() == pytest.approx(case["plain_mle"]["worth"], abs=1e-7)
    # R adds half a win and half a loss against a ghost: 1.6e-4 away at most
    assert worth["worth"].tolist() == pytest.approx(case["published"]["worth"], abs=2e-4)
    assert round(fit["deviance"], 1) == case["published"]["residual_deviance"] == 3493.5
    cov = fit["cov"].to_numpy()
    errors = [sqrt(cov[0, 0] + cov[i, i] - 2 * cov[0, i]) for i in (1, 2, 3)]
    assert errors == pytest.approx(case["plain_mle"]["std_error"][1:], abs=1e-5)
    assert log(worth["worth"].iloc[1] / worth["worth"].iloc[0]) == pytest.approx(0.67128, abs=1e-5)


@needs_published
def test_kappa_of_sas_and_of_r():
    case = published("agreement_tables.json")
    cells = [(i, j) for i, row in enumerate(case["cohen_sas"]["table"])
             for j, count in enumerate(row) for _ in range(count)]
    sas = stats.agreement(*zip(*cells, strict=True), n_resamples=99)
    assert round(sas["kappa"], 4) == 0.4842 and round(sas["se_kappa"], 4) == 0.1380
    r = stats.agreement(case["cohen_R_irr"]["rater2"], case["cohen_R_irr"]["rater3"])
    assert r["kappa"] == pytest.approx(-0.006289308, abs=1e-9)


@needs_published
def test_krippendorffs_worked_example():
    case = published("agreement_tables.json")["krippendorff_wikipedia"]
    alpha = {level: stats.krippendorff_alpha(case["data"], level=level)
             for level in ("nominal", "interval", "ordinal")}
    assert round(alpha["nominal"], 3) == 0.691 and round(alpha["interval"], 3) == 0.811
    assert alpha == pytest.approx(case["recomputed"])


def test_a_rater_who_always_says_the_same_gives_no_warning_and_kappa_zero():
    result = stats.agreement(["a", "a", "a", "b"], ["a", "a", "a", "a"])
    assert result["raw"] == 0.75 and result["kappa"] == pytest.approx(0)
