"""Verdicts that go with length, and verdicts that do not."""

from math import isnan

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, ttest_1samp

from persuasion_lib.stats.length import length_bias


def pairs(labels, length_a, length_b, **more):
    return pd.DataFrame({"label": labels, "length_a": length_a, "length_b": length_b, **more})


def test_only_pairs_that_differ_by_more_than_30_characters_are_considered():
    result = length_bias(pairs(["a", "b", "a", "tie"], [100, 100, 131, 200],
                                     [130, 131, 100, 100]))
    assert (result["n_considered"], result["p_prefer_longer"]) == (2, 1)
    assert result["ties"] == 1 and result["mean_difference"] == pytest.approx((-30 + 31 + 31) / 3)


def test_ten_copies_of_a_verdict_on_one_prompt_are_not_ten_observations():
    rng = np.random.default_rng(0)
    once = pairs(rng.choice(["a", "b"], 40), 500 + rng.normal(0, 200, 40), 500.0,
                 prompt_id=range(40))
    one, ten = length_bias(once), length_bias(pd.concat([once] * 10))
    assert ten["n_considered"] == 10 * one["n_considered"]
    for bound in ("ci_low", "ci_high", "difference_low", "difference_high"):
        assert ten[bound] == pytest.approx(one[bound], abs=0.02 * abs(one["difference_se"])
                                           if "difference" in bound else 0.01)


def test_unrelated_pairs_have_wilsons_interval_and_the_t_test():
    gap = np.array([40, 50, -60, 70, 80.0])
    result = length_bias(pairs(list("aaaab"), 500 + gap, 500.0))
    assert (result["ci_low"], result["ci_high"]) == pytest.approx(
        tuple(binomtest(3, 5).proportion_ci(0.95, method="wilson")))
    won = np.array([40, 50, -60, 70, -80.0])
    assert result["difference_p"] == pytest.approx(ttest_1samp(won, 0).pvalue)


def test_an_always_longer_judge_prefers_the_longer_in_every_pair():
    gap = np.random.default_rng(0).normal(0, 100, 60)
    result = length_bias(pairs(np.where(gap > 0, "a", "b"), 500 + gap, 500.0))
    assert result["p_prefer_longer"] == 1 and 0.9 < result["ci_low"] < result["ci_high"]


def test_equal_lengths_say_nothing_about_length():
    result = length_bias(pairs(["a", "b", "a"], 100, 100))
    assert result["status"] == "constant" and isnan(result["p_prefer_longer"])


def test_prompts_that_are_all_alike_have_no_variance_to_divide_by():
    """Of each prompt's two pairs the longer reply wins one: 20 of 40, and 20 observations."""
    result = length_bias(pairs(["a", "b"] * 20, 100, 50, prompt_id=np.repeat(range(20), 2)))
    assert (result["ci_low"], result["ci_high"]) == pytest.approx(
        tuple(binomtest(10, 20).proportion_ci(0.95, method="wilson")))
    assert isnan(result["difference_p"])
