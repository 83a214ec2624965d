"""Plackett-Luce against statsmodels, a published case, and its limits."""

import itertools
from math import isnan, log

import numpy as np
import pandas as pd
import pytest
from statsmodels.discrete.conditional_models import ConditionalLogit

from persuasion_lib.stats.strengths import expected_scores, plackett_luce
from worlds.rankings import PUBLISHED, latin, needs_published, published, random_ranks, table


def test_worths_sum_to_1_and_log_worths_to_0_and_bounds_contain_them():
    fit = plackett_luce(random_ranks(), n_resamples=499)
    worth = fit["table"]
    assert worth["worth"].sum() == pytest.approx(1) and worth["log_worth"].sum() == pytest.approx(0)
    assert (worth["log_low"] < worth["log_worth"]).all()
    assert (worth["log_worth"] < worth["log_high"]).all() and fit["status"] == "ok"


def test_equally_frequent_rankings_have_equal_worth():
    ranks = table(list(itertools.permutations([1, 2, 3])))
    assert plackett_luce(ranks, n_resamples=99)["table"]["worth"].tolist() == pytest.approx(
        [1 / 3] * 3)


def test_a_model_that_always_wins_is_not_identified_and_says_so():
    ranks = table([[1, 2, 3], [1, 3, 2]] * 20)
    fit = plackett_luce(ranks, n_resamples=99)
    assert fit["status"] == "separable"
    assert np.isfinite(fit["table"]["log_worth"]).all()


def test_prompts_with_ties_are_dropped_and_counted():
    ranks = pd.concat([random_ranks(k=3), table([[1, 2.5, 2.5]], ["m0", "m1", "m2"]).rename(
        index={"p00": "tied"})])
    fit = plackett_luce(ranks, n_resamples=99)
    assert (fit["n_total"], fit["n_used"], fit["reasons"]) == (61, 60, {"ties": 1})


def test_two_models_have_no_plackett_luce():
    assert plackett_luce(table([[1, 2], [2, 1]]))["status"] == "K<3"


def test_covariates_and_worths_are_those_of_statsmodels_conditional_logit():
    ranks, rng = random_ranks(n=80), np.random.default_rng(1)
    position = latin(80, seed=2)
    length = pd.DataFrame(rng.normal(6, 0.5, ranks.shape), ranks.index, ranks.columns)
    fit = plackett_luce(ranks, covariates={"position": position, "log_length": length},
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


@pytest.mark.parametrize("k", [3, 4, 5])
def test_a_judge_by_slot_is_separable(k):
    positions = latin(60, k)
    fit = plackett_luce(positions, covariates={"position": positions}, n_resamples=99)
    assert fit["status"] == "separable" and fit["covariates"].loc["position", "beta"] < 0


def test_a_constant_covariate_has_no_coefficient():
    ranks = random_ranks()
    same = pd.DataFrame(5.0, ranks.index, ranks.columns)
    fit = plackett_luce(ranks, covariates={"x": same}, n_resamples=99)
    assert isnan(fit["covariates"].loc["x", "beta"]) and fit["status"] == "ok"


def test_one_defeat_in_a_hundred_is_enough_for_a_finite_worth():
    ranks = table([[1, 2, 3], [1, 3, 2]] * 50 + [[2, 1, 3], [3, 1, 2]])
    best = plackett_luce(ranks, n_resamples=99)["table"].iloc[0]
    assert best["worth"] > 0.95 and best["worth_low"] < best["worth"] < best["worth_high"] < 1


def test_judging_every_prompt_twice_alike_does_not_narrow_the_interval():
    ranks = random_ranks(n=80)
    once = plackett_luce(ranks, n_resamples=999)["table"]
    twice = plackett_luce(pd.concat([ranks, ranks]), n_resamples=999)["table"]
    assert np.allclose(once["log_worth"], twice["log_worth"])
    widths = [(t["log_high"] - t["log_low"]).mean() for t in (once, twice)]
    assert widths[1] / widths[0] == pytest.approx(1, abs=0.1)  # not 1/sqrt(2)


def test_expected_scores_are_half_for_equal_worths_and_sum_to_half_their_number():
    assert expected_scores(np.zeros(4)).tolist() == [0.5] * 4
    assert expected_scores(np.array([2.0, 0, -1, -1])).sum() == pytest.approx(2)


def test_a_model_that_wins_by_length_alone_is_average_at_equal_length():
    rng = np.random.default_rng(0)
    log_length = rng.normal(0, 0.5, (2000, 4)) + np.array([0.7, 0, 0, 0])
    ranks = table((-(2 * log_length + rng.gumbel(size=(2000, 4)))).argsort(1).argsort(1) + 1)
    fits = [plackett_luce(ranks, covariates=terms, n_resamples=199) for terms in (
        {}, {"log_length": table(log_length)})]
    raw, adjusted = (fit["table"].iloc[0] for fit in fits)
    assert raw["score_low"] > 0.6 and adjusted["score_low"] < 0.5 < adjusted["score_high"]
    first = fits[1]["differences"].iloc[0]
    assert first["ci_low"] < 0 < first["ci_high"] and fits[0]["differences"]["ci_low"].iloc[0] > 0


@needs_published
def test_netflix_worths_and_deviance():
    counts = pd.read_csv(PUBLISHED / "netflix_4movies_rankings.csv").to_numpy()
    ranks = [np.argsort(row[1:]) + 1 for row in counts for _ in range(row[0])]
    fit = plackett_luce(table(ranks), n_resamples=999)
    worth, case = fit["table"], published("netflix_4movies_published.json")
    assert worth["worth"].tolist() == pytest.approx(case["plain_mle"]["worth"], abs=1e-7)
    # R adds half a win and half a loss against a ghost: 1.6e-4 away at most
    assert worth["worth"].tolist() == pytest.approx(case["published"]["worth"], abs=2e-4)
    assert round(-2 * fit["loglik"], 1) == case["published"]["residual_deviance"] == 3493.5
    assert log(worth["worth"].iloc[1] / worth["worth"].iloc[0]) == pytest.approx(0.67128, abs=1e-5)
