"""That these intervals hold people's preference: `pytest -m slow`."""

import numpy as np
import pandas as pd
import pytest

from persuasion_lib.stats.people import preference, several
from persuasion_lib.stats.resample import Resampling, mean_interval

pytestmark = pytest.mark.slow

RUNS = 1_000
# What a person and the judge's two orders say of a prompt, from what its replies are worth: a
# shared part, and a taste of each.
SHARED, TASTE, SLIP = 0.9, 0.7, 0.5


def verdict(worth):
    """1, 0.5 or 0 for the first model; a difference near nothing is a tie."""
    return np.where(np.abs(worth) < 0.15, 0.5, (worth > 0).astype(float))


def prompts(rng, n, better, bias):
    """People's score of each prompt, and the judge's in both orders."""
    worth = better + rng.normal(0, SHARED, n)
    human = verdict(worth + rng.normal(0, TASTE, n))
    seen = worth + bias + rng.normal(0, TASTE, n)
    orders = [verdict(seen + rng.normal(0, SLIP, n)) for _ in range(2)]
    return human, np.mean(orders, axis=0)


def truth(better, bias):
    human, judge = prompts(np.random.default_rng(99), 2_000_000, better, bias)
    return human.mean(), judge.mean()


def share_of(runs, experiment):
    return float(np.mean([experiment(np.random.default_rng([seed, 7])) for seed in range(runs)]))


def asked(rng, n, m, better, bias):
    human, judge = prompts(rng, n, better, bias)
    return preference(pd.Series(human[:m]), pd.DataFrame({"judge": judge}))


@pytest.mark.parametrize("n", [115, 1_000])
@pytest.mark.parametrize("m", [20, 30, 50, 80])
def test_the_interval_holds_what_people_prefer_however_biased_the_judge_is(n, m):
    expected, _ = truth(0.9, 0.4)

    def holds(rng):
        found = asked(rng, n, m, 0.9, 0.4)
        return found["ci_low"] <= expected <= found["ci_high"]

    assert 0.93 <= share_of(RUNS, holds) <= 0.975


def test_the_judge_alone_misses_it_and_more_prompts_make_that_worse():
    expected, said = truth(0.9, 0.4)
    assert said - expected > 0.05

    def holds(n):
        def experiment(rng):
            _, judge = prompts(rng, n, 0.9, 0.4)
            low, high, _ = mean_interval(judge, Resampling(n_resamples=299))
            return low <= expected <= high
        return share_of(200, experiment)

    few, many = holds(115), holds(1_000)
    assert many < few < 0.8 and many < 0.2


@pytest.mark.parametrize("n", [115, 1_000])
def test_equal_models_are_rarely_called_different_by_a_judge_that_prefers_one(n):
    def false_verdict(rng):
        found = asked(rng, n, 50, 0.0, 0.3)
        return not found["ci_low"] <= 0.5 <= found["ci_high"]

    assert share_of(RUNS, false_verdict) <= 0.06


def test_a_judge_who_agrees_with_people_is_worth_labels_and_a_random_one_costs_hardly_any():
    def worth(rng):
        return asked(rng, 1_000, 50, 0.3, 0.0)["labels_worth"]

    def of_nothing(rng):
        human, judge = prompts(rng, 1_000, 0.3, 0.0)
        mixed = pd.DataFrame({"judge": rng.permutation(judge)})
        return preference(pd.Series(human[:50]), mixed)["labels_worth"]

    assert share_of(300, worth) > 55
    assert 47 < share_of(300, of_nothing) < 52


def test_all_differences_of_several_models_hold_together():
    quality = np.array([0.0, 0.2, 0.5, 1.0])
    taste = np.array([0.3, 0.0, -0.3, 0.2])         # what the judge adds to each model

    def ranks(worth):
        return pd.DataFrame((-worth).argsort(axis=1).argsort(axis=1) + 1.0, columns=list("abcd"))

    def drawn(rng, n):
        worth = quality + rng.normal(0, 0.7, (n, 4))
        return (ranks(worth + rng.gumbel(size=(n, 4))),
                ranks(worth + taste + rng.gumbel(size=(n, 4))))

    expected = (4 - drawn(np.random.default_rng(1), 400_000)[0].mean()) / 3

    def holds(rng):
        human, judge = drawn(rng, 300)
        _, found = several(human.iloc[:60], judge, seed=int(rng.integers(1_000)))
        true = expected[found.a].to_numpy() - expected[found.b].to_numpy()
        return bool(((found.ci_low <= true) & (true <= found.ci_high)).all())

    assert 0.93 <= share_of(300, holds) <= 0.98
