"""Tests on rankings, against scipy and a published case."""

from math import isnan

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, spearmanr

from persuasion_lib.core.errors import DataError
from persuasion_lib.stats.blocks import normalised_scores
from persuasion_lib.stats.ranks import (
    consistency_rankings,
    friedman,
    kendall_tau_rows,
    page_trend,
    similarity_vs_rank,
)
from persuasion_lib.stats.scores import summarise
from worlds.rankings import PUBLISHED, needs_published, published, random_ranks, table


def test_everyone_agreeing_gives_kendalls_w_1_and_all_ties_are_undefined():
    agreed = friedman(table([[1, 2, 3]] * 10))
    assert agreed["chi2"] == pytest.approx(20) and agreed["kendall_w"] == pytest.approx(1)
    tied = friedman(table([[2, 2, 2]] * 10))
    assert isnan(tied["p"]) and tied["status"] == "constant"


def test_friedman_needs_two_prompts_and_three_models():
    assert friedman(table([[1, 2, 3]]))["status"] == "n<2"
    assert friedman(table([[1, 2], [2, 1]]))["status"] == "K<3"


def test_pages_test_finds_the_predicted_order_and_not_its_reverse():
    ranks = random_ranks()  # m3 is the strongest
    forward = page_trend(ranks, ["m3", "m2", "m0"])
    back = page_trend(ranks, ["m0", "m2", "m3"])
    assert forward["p"] < 0.001 and back["p"] > 0.999


def test_a_judge_that_reverses_its_ranking_has_tau_minus_1():
    ranks = random_ranks(n=30)
    same, turned = (consistency_rankings(ranks, r) for r in (ranks, 5 - ranks))
    assert same["tau"] == 1 and same["identical"] == 1 and same["top1_same"] == 1
    assert turned["tau"] == -1 and turned["identical"] == 0 and turned["top1_same"] == 0


def test_a_ranking_that_is_all_ties_has_no_tau_and_is_counted():
    one, two = table([[1, 2, 3], [2, 2, 2], [1, 2, 3]]), table([[1, 3, 2], [1, 2, 3], [1, 2, 3]])
    result = consistency_rankings(one, two)
    assert result["n_used"] == 2 and result["n_constant"] == 1
    assert result["tau"] == pytest.approx((1 / 3 + 1) / 2)


def test_tau_by_rows_is_scipys_tau_b():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (2, 50, 5))
    expected = [kendalltau(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert np.allclose(kendall_tau_rows(x, y), expected, equal_nan=True)


def test_similarity_is_correlated_with_the_ranking_inside_each_prompt():
    rng = np.random.default_rng(0)
    scores = normalised_scores(random_ranks(n=40))
    similarity = (scores * 0.3 + rng.normal(0, 0.1, scores.shape)).clip(-1, 1)
    similarity.iloc[0] = 0.5  # constant: no correlation
    result = similarity_vs_rank(similarity, scores)
    expected = [spearmanr(a, b).statistic for a, b in zip(
        similarity.to_numpy()[1:], scores.to_numpy()[1:], strict=True)]
    assert result["rho"] == pytest.approx(np.mean(expected))
    assert (result["n_used"], result["n_constant"]) == (39, 1) and result["p"] == 1 / 10_000


def test_four_models_are_too_few_for_a_correlation_of_their_means():
    scores = normalised_scores(random_ranks(n=40))
    system = similarity_vs_rank(scores, scores)["system"]
    assert system["rho"] == pytest.approx(1) and system["p"] is None
    assert "n=4: cannot reach p<.05" in system["note"]


def test_a_cosine_above_1_is_an_error_that_names_the_prompt():
    similarity = table([[0.2, 1.0000005], [0.2, 1.1]])
    with pytest.raises(DataError, match="p01"):
        similarity_vs_rank(similarity, table([[1, 0], [1, 0]]))


@needs_published
def test_demsar_2006_ranks_and_friedman():
    ranks = table(pd.read_csv(PUBLISHED / "demsar2006_ranks.csv").to_numpy().tolist())
    printed = published("demsar2006_published.json")["published"]
    summary = summarise(normalised_scores(ranks), n_resamples=99)
    assert summary["mean_rank"].round(3).tolist() == printed["average_ranks"]
    # scipy divides the published statistic by the correction for ties: sizes t, 14 rows of 4
    sizes = [count for row in ranks.to_numpy() for count in np.unique(row, return_counts=True)[1]]
    correction = 1 - sum(t**3 - t for t in sizes) / (14 * (4**3 - 4))
    assert round(friedman(ranks)["chi2"] * correction, 2) == 9.28
    assert friedman(ranks)["chi2"] == pytest.approx(10.228346, abs=1e-6)


def test_a_perfect_correlation_on_every_prompt_is_not_certain_of_all_prompts():
    """30 of 30 prompts have rho 1: at most 1 - .025^(1/30) of all prompts may have -1."""
    same = pd.DataFrame([[0.1, 0.2, 0.3]] * 30, columns=["a", "b", "c"])
    result = similarity_vs_rank(same, same, n_resamples=99)
    assert result["rho"] == pytest.approx(1)
    assert result["ci_low"] == pytest.approx(1 - 2 * (1 - 0.025 ** (1 / 30)))
