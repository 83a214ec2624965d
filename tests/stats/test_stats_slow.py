"""What the statistics promise on average, by simulation: run with `pytest -m slow`."""

from __future__ import annotations

import gc
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from persuasion_lib.stats.agreement import agreement
from persuasion_lib.stats.blocks import normalised_scores
from persuasion_lib.stats.length import length_bias
from persuasion_lib.stats.position import position_bias
from persuasion_lib.stats.power import power
from persuasion_lib.stats.ranks import friedman, page_trend, similarity_vs_rank
from persuasion_lib.stats.resample import Resampling, sign_flip_p
from persuasion_lib.stats.scores import paired_tests, summarise, win_matrix
from persuasion_lib.stats.strengths import expected_scores, plackett_luce

pytestmark = pytest.mark.slow

N, K, RUNS = 115, 4, 1_000
MODELS = ["base", "sft", "rlhf", "rlaif_rlhf"]
QUALITY = np.array([-0.5, 0.0, 0.1, 0.4])


@pytest.fixture(autouse=True, scope="module")
def frozen_garbage():
    """statsmodels' multipletests collects garbage on every call: 70 ms for all loaded modules."""
    gc.freeze()
    yield
    gc.unfreeze()


def frame(values, names=MODELS):
    return pd.DataFrame(np.asarray(values, dtype=float), columns=names[: np.shape(values)[1]])


def rank(utility):
    """Ranks of each row, 1 for the highest utility."""
    return (-utility).argsort(axis=1).argsort(axis=1) + 1


def rankings(rng, quality=QUALITY, n=N):
    """Plackett-Luce rankings with these log-worths."""
    return rank(rng.gumbel(size=(n, len(quality))) + quality)


def random_slots(rng, n=N, k=K):
    return rng.random((n, k)).argsort(axis=1) + 1


def rotated_slots(rng, n=N, k=K):
    return (np.arange(k) + rng.integers(k, size=(n, 1))) % k + 1


def false_positives(p_values):
    return float(np.mean(np.array(p_values) < 0.05))


def simulate(experiment, runs=RUNS):
    return [experiment(np.random.default_rng([seed, 20])) for seed in range(runs)]


# --- under the null the share of p < .05 lies between .03 and .07


def test_two_equal_models_among_unequal_ones_are_rarely_called_different():
    def experiment(rng):
        ranks = rankings(rng, np.array([0, 0, -1, 1]))
        return sign_flip_p((ranks[:, :1] - ranks[:, 1:2]) / 3.0, Resampling(n_resamples=999))[0][0]

    assert 0.03 <= false_positives(simulate(experiment)) <= 0.07


def test_a_table_of_paired_tests_has_a_family_wise_error_of_at_most_7_percent():
    def experiment(rng):
        scores = normalised_scores(frame(rankings(rng, np.zeros(4))))
        rows = paired_tests(scores, primary=("rlaif_rlhf", "rlhf"), n_resamples=199)
        family = rows["family"] == "holm"
        return rows.loc[family, "p_holm"].min(), rows.loc[~family, "p_holm"].iloc[0]

    family, primary = np.transpose(simulate(experiment))
    assert false_positives(family) <= 0.07
    assert 0.03 <= false_positives(primary) <= 0.07


def test_friedman_and_page_hold_their_level():
    def experiment(rng):
        ranks = frame(rankings(rng, np.zeros(4)))
        return friedman(ranks)["p"], page_trend(ranks, MODELS)["p"]

    for p_values in np.transpose(simulate(experiment)):
        assert 0.03 <= false_positives(p_values) <= 0.07


def test_unrelated_similarity_is_rarely_called_related():
    def experiment(rng):
        scores = normalised_scores(frame(rankings(rng)))
        similarity = frame(rng.normal(0.5, 0.1, (N, K)).clip(-1, 1))
        return similarity_vs_rank(similarity, scores, n_resamples=299)["p"]

    assert 0.03 <= false_positives(simulate(experiment)) <= 0.07


@pytest.mark.parametrize("slots", [random_slots, rotated_slots])
def test_position_is_rarely_blamed_when_the_models_differ_but_the_slots_do_not(slots):
    def experiment(rng):
        result = position_bias(frame(rankings(rng)), frame(slots(rng)), n_resamples=9)
        return result["p"]

    assert 0.03 <= false_positives(simulate(experiment)) <= 0.07


def two_orders(rng, slots, bonus=0.0, noise=0.3):
    """Prompts judged in an order and its reverse: responses keep their quality, the judge errs."""
    first = slots(rng)
    quality = rng.gumbel(size=first.shape) + QUALITY
    shown = [first, K + 1 - first]
    ranks = [rank(quality + noise * rng.gumbel(size=s.shape) + bonus * (s == 1)) for s in shown]
    return (pd.concat([frame(r) for r in ranks]), pd.concat([frame(s) for s in shown]))


@pytest.mark.parametrize("slots", [random_slots, rotated_slots])
def test_position_is_rarely_blamed_when_prompts_are_judged_in_two_orders(slots):
    def experiment(rng):
        return position_bias(*two_orders(rng, slots), n_resamples=9)["p"]

    assert 0.03 <= false_positives(simulate(experiment)) <= 0.07


def test_friedman_on_the_mean_of_two_reversed_orders_would_be_wrong():
    def experiment(rng):
        ranks, positions = two_orders(rng, random_slots, noise=0.05)
        slots = np.take_along_axis(ranks.to_numpy(), positions.to_numpy().astype(int).argsort(1), 1)
        return friedman(frame((slots[:N] + slots[N:]) / 2))["p"]

    assert false_positives(simulate(experiment)) > 0.08


# --- what is planted is found


def test_a_planted_position_bias_of_0_6_is_found_in_more_than_80_percent_of_runs():
    def experiment(rng):
        slots = random_slots(rng)
        ranks = rank(rng.gumbel(size=(N, K)) + QUALITY + 0.6 * (slots == 1))
        return position_bias(frame(ranks), frame(slots), n_resamples=9)["biased"]

    assert np.mean(simulate(experiment, 500)) > 0.8


def test_the_same_bias_is_found_more_often_when_every_prompt_is_judged_in_two_orders():
    def experiment(rng):
        found = position_bias(*two_orders(rng, rotated_slots, bonus=0.6), n_resamples=9)
        return found["biased"]

    assert np.mean(simulate(experiment, 300)) > 0.9


def test_the_detectable_difference_is_detected_in_about_80_percent_of_runs():
    sd = 0.57
    delta = power(N, sd)

    def experiment(rng):
        return sign_flip_p(rng.normal(delta, sd, (N, 1)), Resampling(n_resamples=499))[0][0] < 0.05

    assert 0.75 <= np.mean(simulate(experiment)) <= 0.85


# --- 95 % intervals contain the truth about 95 times in 100


def covered(low, high, truth):
    return (np.asarray(low) <= truth) & (truth <= np.asarray(high))


def test_intervals_of_scores_and_differences_cover_the_truth():
    truth = normalised_scores(frame(rankings(np.random.default_rng(1), n=1_000_000))).mean()

    def experiment(rng):
        scores = normalised_scores(frame(rankings(rng)))
        one = summarise(scores, n_resamples=999)
        pair = paired_tests(scores, n_resamples=999).iloc[-1]
        return [*covered(one["ci_low"], one["ci_high"], truth.to_numpy()),
                covered(pair["ci_low"], pair["ci_high"], truth["rlhf"] - truth["rlaif_rlhf"])]

    assert ((share := np.mean(simulate(experiment, 500), axis=0)) > 0.92).all(), share
    assert (share < 0.98).all(), share


def test_intervals_of_win_rates_and_worths_cover_the_truth():
    worth = np.exp(QUALITY) / np.exp(QUALITY).sum()

    def experiment(rng):
        ranks = frame(rankings(rng))
        wins, fit = win_matrix(ranks), plackett_luce(ranks, n_resamples=1_999)["table"]
        cell = (slice(2, 3), slice(3, 4))
        return [*covered(wins["ci_low"].iloc[cell], wins["ci_high"].iloc[cell],
                         worth[2] / (worth[2] + worth[3])).ravel(),
                *covered(fit["worth_low"], fit["worth_high"], worth)]

    assert ((share := np.mean(simulate(experiment, 300), axis=0)) > 0.91).all(), share
    assert (share < 0.985).all(), share


def test_intervals_of_worths_allow_for_two_related_rankings_of_a_prompt():
    slots = rotated_slots(np.random.default_rng(0), 20_000)
    truth = plackett_luce(two_orders(np.random.default_rng(1), lambda _: slots)[0])["table"]

    def experiment(rng):
        fit = plackett_luce(two_orders(rng, rotated_slots)[0], n_resamples=1_999)["table"]
        return covered(fit["worth_low"], fit["worth_high"], truth["worth"])

    assert ((share := np.mean(simulate(experiment, 300), axis=0)) > 0.91).all(), share
    assert (share < 0.985).all(), share


def test_intervals_of_a_position_coefficient_cover_the_truth():
    def experiment(rng):
        slots = random_slots(rng)
        ranks = rank(rng.gumbel(size=(N, K)) + QUALITY - 0.2 * slots)
        fit = plackett_luce(frame(ranks), covariates={"position": frame(slots)},
                            n_resamples=1_999)["covariates"].loc["position"]
        return covered(fit["ci_low"], fit["ci_high"], -0.2)

    assert 0.90 < np.mean(simulate(experiment, 300)) < 0.985


def judged_by_length(rng, n=N):
    """Rankings and lengths of replies: some prompts have a judge who likes length, some not."""
    length = 500 + 150 * rng.normal(size=(n, K)) + np.array([0, 0, 0, 100])
    liking = rng.normal(0.004, 0.004, (n, 1))
    return rank(rng.gumbel(size=(n, K)) + liking * length), length


def pairs_of(ranks, length):
    first, second = np.triu_indices(K, 1)
    return pd.DataFrame({
        "prompt_id": np.repeat(np.arange(len(ranks)), len(first)),
        "label": np.where(ranks[:, first] < ranks[:, second], "a", "b").ravel(),
        "length_a": length[:, first].ravel(), "length_b": length[:, second].ravel()})


def test_intervals_of_length_cover_the_truth_though_pairs_of_a_prompt_are_related():
    truth = length_bias(pairs_of(*judged_by_length(np.random.default_rng(1), 100_000)))

    def experiment(rng):
        found = length_bias(pairs_of(*judged_by_length(rng)))
        return (covered(found["ci_low"], found["ci_high"], truth["p_prefer_longer"]),
                covered(found["difference_low"], found["difference_high"],
                        truth["mean_difference"]))

    assert ((share := np.mean(simulate(experiment, 500), axis=0)) > 0.92).all(), share
    assert (share < 0.98).all(), share


def test_intervals_of_length_adjusted_scores_cover_the_truth():
    truth = expected_scores(QUALITY)

    def experiment(rng):
        log_length = rng.normal(6, 0.3, (N, K)) + np.array([0, 0, 0, 0.3])
        ranks = frame(rank(rng.gumbel(size=(N, K)) + QUALITY + 1.5 * log_length))
        fit = plackett_luce(ranks, covariates={"log_length": frame(log_length)},
                            n_resamples=1_999)["table"]
        return covered(fit["score_low"], fit["score_high"], truth)

    share = np.mean(simulate(experiment, 300), axis=0)
    assert (share > 0.90).all() and (share < 0.985).all(), share


def test_intervals_of_kappa_and_of_the_similarity_cover_the_truth():
    def experiment(rng):
        human = rng.choice(["a", "b"], 200)
        judge = np.where(rng.random(200) < 0.4, rng.choice(["a", "b"], 200), human)
        kappa = agreement(human, judge, n_resamples=499)
        scores = normalised_scores(frame(rankings(rng, np.zeros(4))))
        similar = similarity_vs_rank(frame(rng.random((N, K))), scores, n_resamples=499)
        return (covered(kappa["kappa_low"], kappa["kappa_high"], 0.6),  # copied 60 % of the time
                covered(similar["ci_low"], similar["ci_high"], 0.0))

    assert ((share := np.mean(simulate(experiment, 500), axis=0)) > 0.91).all(), share


# --- seeds


SEEDED = """
import numpy as np, pandas as pd
from persuasion_lib.stats.blocks import normalised_scores
from persuasion_lib.stats.position import position_bias
from persuasion_lib.stats.ranks import similarity_vs_rank
from persuasion_lib.stats.scores import paired_tests, summarise
from persuasion_lib.stats.strengths import plackett_luce
rng = np.random.default_rng(5)
ranks = pd.DataFrame((-rng.gumbel(size=({n}, 4))).argsort(1).argsort(1) + 1.0)
slots = pd.DataFrame(rng.random(({n}, 4)).argsort(1) + 1.0)
scores = normalised_scores(ranks)
print(summarise(scores).to_json(double_precision=15))
print(paired_tests(scores).to_json(double_precision=15))
print(position_bias(ranks, slots)["table"].to_json(double_precision=15))
print(plackett_luce(ranks, covariates={{"position": slots}}, n_resamples=499))
print(similarity_vs_rank(slots / 4, scores))
"""


@pytest.mark.parametrize("n", [115, 3_000])
def test_two_processes_with_one_seed_write_the_same_bytes(n):
    outputs = [
        subprocess.run([sys.executable, "-c", SEEDED.format(n=n)], check=True, capture_output=True,
                       env={"PYTHONHASHSEED": salt, "PATH": "", "PYTHONPATH": ":".join(sys.path)})
        for salt in ("1", "2")
    ]
    assert outputs[0].stdout == outputs[1].stdout != b""
