"""What intervals over seeds and prompts promise, by simulated studies: run with `pytest -m slow`.

Sizes are those of differences of win rates: .10 on average, prompts .08 and replies .34 apart.
"""

import numpy as np
import pytest
from scipy import stats

from persuasion_lib.stats.crossed import crossed_mean, crossed_preference, exchange_rate
from persuasion_lib.stats.power import crossed_power

pytestmark = pytest.mark.slow

STUDIES = 4_000
SIZES = np.array([25, 50, 100, 200])
RISE = (np.log2(SIZES) - np.log2(SIZES).mean()) / 5     # the slope of four points, log2 apart by 1


def table(rng, seeds, prompts, sd_seed, mean=0.1):
    return (mean + rng.normal(0, sd_seed, (seeds, 1)) + rng.normal(0, 0.08, (1, prompts))
            + rng.normal(0, 0.34, (seeds, prompts)))


def share_of(studies, study):
    return float(np.mean([study(np.random.default_rng([seed, 7])) for seed in range(studies)]))


def holds(found, truth):
    return found["ci_low"] <= truth <= found["ci_high"]


@pytest.mark.parametrize("prompts", [115, 300])
@pytest.mark.parametrize("sd_seed", [0.02, 0.05])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_an_interval_over_seeds_and_prompts_holds_the_truth(seeds, sd_seed, prompts):
    share = share_of(STUDIES, lambda rng: holds(
        crossed_mean(table(rng, seeds, prompts, sd_seed)), 0.1))
    assert 0.92 <= share <= 0.97


@pytest.mark.parametrize(("prompts", "sd_seed", "least", "most"), [
    (115, 0.02, 0.88, 0.94), (115, 0.05, 0.69, 0.74), (300, 0.05, 0.51, 0.57)])
def test_an_interval_of_one_seed_over_prompts_does_not(prompts, sd_seed, least, most):
    """Of 300 prompts: 1.96 standard errors are .040, and figures are .054 apart: 54 of 100."""
    def study(rng):
        of_prompts = table(rng, 1, prompts, sd_seed)[0]
        low, high = stats.t.interval(0.95, prompts - 1, of_prompts.mean(), stats.sem(of_prompts))
        return low <= 0.1 <= high

    assert least <= share_of(STUDIES, study) <= most


def test_nor_does_one_of_five_seeds_averaged_over_prompts():
    def study(rng):
        of_prompts = table(rng, 5, 300, 0.05).mean(axis=0)
        low, high = stats.t.interval(0.95, 299, of_prompts.mean(), stats.sem(of_prompts))
        return low <= 0.1 <= high

    assert 0.55 <= share_of(STUDIES, study) <= 0.60


@pytest.mark.parametrize("rate", [0.6, 0.95])
def test_win_rates_near_1_are_held_too(rate):
    """Verdicts are wins or not; seeds and prompts differ on the scale of a normal taste."""
    better = stats.norm.ppf(rate) * np.sqrt(1 + 0.15**2 + 0.8**2)

    def study(rng):
        liked = (better + rng.normal(0, 0.15, (5, 1)) + rng.normal(0, 0.8, (1, 115))
                 + rng.normal(0, 1, (5, 115))) > 0
        return holds(crossed_mean(liked.astype(float), span=(0, 1)), rate)

    assert 0.93 <= share_of(STUDIES, study) <= 0.97


@pytest.mark.parametrize("seeds", [5, 10])
def test_the_smallest_difference_is_found_in_four_of_five_studies(seeds):
    smallest = crossed_power(seeds, 115, sd_seed=0.03, sd_prompt=0.08, sd_rest=0.34)
    found = share_of(2_000, lambda rng: crossed_mean(
        table(rng, seeds, 115, 0.03, mean=smallest))["ci_low"] > 0)
    assert 0.77 <= found <= 0.85


def arms(rng, seeds, prompts, advantage, sd_seed):
    """Scores of both arms: shape (seeds, sizes, prompts); the first is ahead by `advantage`.

    Prompts are the same for all; every training moves by itself.
    """
    of_prompt = rng.normal(0, 0.08, prompts)
    shape = (seeds, len(SIZES), prompts)
    line = 0.5 + 0.06 * np.log2(SIZES / 25)
    return [rise[None, :, None] + of_prompt + rng.normal(0, sd_seed, (*shape[:2], 1))
            + rng.normal(0, 0.34, shape) for rise in (line + advantage, line)]


@pytest.mark.parametrize("sd_seed", [0.02, 0.05])
@pytest.mark.parametrize("seeds", [5, 10])
def test_an_advantage_that_labels_do_not_change_rarely_has_a_slope(seeds, sd_seed):
    def alarm(rng):
        warm, plain = arms(rng, seeds, 115, 0.1, sd_seed)
        slope = np.tensordot(warm - plain, RISE, (1, 0))
        return crossed_mean(slope)["p"] < 0.05

    assert 0.03 <= share_of(2_000, alarm) <= 0.07


def test_an_advantage_that_halves_with_every_doubling_has_one():
    def found(rng):
        warm, plain = arms(rng, 5, 115, np.array([0.2, 0.1, 0.05, 0.025]), 0.03)
        return crossed_mean(np.tensordot(warm - plain, RISE, (1, 0)))["ci_high"] < 0

    assert share_of(500, found) > 0.8


@pytest.mark.parametrize("labels", [35, 120, 190])
@pytest.mark.parametrize(("seeds", "sd_seed"), [(3, 0.02), (5, 0.02), (5, 0.05), (10, 0.05)])
def test_the_exchange_rate_holds_the_labels_that_the_arm_is_worth(labels, seeds, sd_seed):
    def study(rng):
        of_prompt = rng.normal(0, 0.08, 115)
        line = 0.5 + 0.06 * np.log2(SIZES / 25)
        plain = (line[None, :, None] + of_prompt + rng.normal(0, sd_seed, (seeds, 4, 1))
                 + rng.normal(0, 0.34, (seeds, 4, 115)))
        warm = (0.5 + 0.06 * np.log2(labels / 25) + of_prompt + rng.normal(0, sd_seed, (seeds, 1))
                + rng.normal(0, 0.34, (seeds, 115)))
        return holds(exchange_rate(plain, warm, SIZES, 50), labels)

    assert 0.91 <= share_of(1_000, study) <= 0.99


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_peoples_correction_holds_over_seeds_although_the_judge_is_biased(seeds):
    each = 120 // seeds

    def study(rng):
        people = table(rng, seeds, 115, 0.02)
        judge = people + 0.05 + rng.normal(0, 0.25, people.shape)
        seed_of = np.repeat(np.arange(seeds), each)
        prompt_of = np.concatenate([rng.permutation(115)[:each] for _ in range(seeds)])
        return holds(crossed_preference(judge, people[seed_of, prompt_of], seed_of, prompt_of), 0.1)

    assert 0.93 <= share_of(1_000, study) <= 0.985
