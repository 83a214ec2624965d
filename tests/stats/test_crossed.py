"""Means over seeds and prompts, and how many human labels other labels are worth."""

import numpy as np
import pytest
from scipy import stats

from persuasion_lib.core.errors import DataError
from persuasion_lib.stats.crossed import crossed_mean, crossed_preference, exchange_rate


def scores(seeds=5, prompts=60, sd_seed=0.05, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 + rng.normal(0, sd_seed, (seeds, 1)) + rng.normal(0, 0.1, (1, prompts))
            + rng.normal(0, 0.3, (seeds, prompts)))


def test_two_seeds_and_two_prompts_by_hand():
    """Seeds 1 and 3: MS 2 (1 + 1) = 4; prompts 1.5 and 2.5: MS 2 (.25 + .25) = 1; no rest."""
    found = crossed_mean([[0.5, 1.5], [2.5, 3.5]])
    assert found["mean"] == 2 and found["sd_rest"] == 0
    assert found["se"] == pytest.approx(np.sqrt((4 + 1) / 4))
    assert found["df"] == pytest.approx(5**2 / (4**2 + 1**2))


def test_prompts_that_are_all_alike_leave_students_t_over_seeds():
    of_seeds = np.array([0.1, 0.2, 0.6])
    found = crossed_mean(np.tile(of_seeds[:, None], 30))
    low, high = stats.t.interval(0.95, 2, of_seeds.mean(), stats.sem(of_seeds))
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((low, high))


def test_seeds_and_prompts_play_the_same_part():
    table = scores()
    one, other = crossed_mean(table), crossed_mean(table.T)
    assert other["se"] == pytest.approx(one["se"]) and other["df"] == pytest.approx(one["df"])
    assert other["sd_prompt"] == pytest.approx(one["sd_seed"])


def test_an_interval_over_prompts_alone_is_narrower_when_seeds_differ():
    table = scores(sd_seed=0.2)
    over_prompts = stats.sem(table.mean(axis=0))
    assert crossed_mean(table)["se"] > 1.5 * over_prompts


def test_one_seed_has_a_mean_and_no_interval():
    found = crossed_mean(scores(seeds=1))
    assert found["status"] == "one seed" and np.isnan(found["ci_low"])
    assert np.isfinite(found["mean"])
    assert crossed_mean(scores(prompts=1))["status"] == "one prompt"


@pytest.mark.parametrize("wrong", [[1, 2], [[1, np.nan]], [[]], [[[1]]]])
def test_a_table_with_holes_is_refused(wrong):
    with pytest.raises(DataError, match="every seed needs a score for every prompt"):
        crossed_mean(wrong)


# --- the exchange rate

SIZES = np.array([25, 50, 100, 200])


def curve(rise=0.05, seeds=5, prompts=80, noise=0.3, seed=0):
    """Scores that rise by `rise` with every doubling, from .5 at 25 labels."""
    rng = np.random.default_rng(seed)
    level = 0.5 + rise * np.log2(SIZES / 25)
    return level[None, :, None] + rng.normal(0, noise, (seeds, len(SIZES), prompts))


def arm(score, seeds=5, prompts=80, noise=0.3, seed=1):
    return score + np.random.default_rng(seed).normal(0, noise, (seeds, prompts))


def test_what_100_labels_reach_is_worth_100_labels():
    plain = np.tile(curve(noise=0)[:1, :, :1], (3, 1, 20))
    found = exchange_rate(plain, np.full((3, 20), 0.6), SIZES, 50)      # .5 + 2 doublings
    assert found["labels"] == pytest.approx(100) and found["worth"] == pytest.approx(50)
    assert not found["outside"]


def test_the_interval_holds_the_labels_it_was_made_with():
    found = exchange_rate(curve(), arm(0.6), SIZES, 50)
    assert found["ci_low"] < 100 < found["ci_high"]


def test_more_than_was_trained_is_said_to_be_outside():
    found = exchange_rate(curve(), arm(0.8), SIZES, 50)
    assert found["outside"] and found["labels"] > 200


def test_a_curve_that_does_not_rise_gives_no_end():
    found = exchange_rate(curve(rise=0.0), arm(0.5), SIZES, 50)
    assert found["ci_high"] == np.inf


def test_a_curve_that_falls_never_reaches_the_other_arm():
    assert exchange_rate(curve(rise=-0.05), arm(0.7), SIZES, 50)["labels"] == np.inf


@pytest.mark.parametrize("rate, low, high", [
    (1.4, 2**16, np.inf),       # .5 + .05 * 18: 18 doublings of 25 are more than 65,536
    (0.2, 0, 1),                # .5 - .05 * 6: a sixty-fourth of 25 is less than 1
    (0.6123, 115, 121)])        # 25 * 2 ** 2.246 = 118.6, between two steps of the search
def test_the_strongest_evidence_has_an_interval_too(rate, low, high):
    plain = np.tile(curve(noise=0)[:1, :, :1], (3, 1, 20))
    found = exchange_rate(plain, np.full((3, 20), rate), SIZES, 50)
    assert low <= found["ci_low"] <= found["ci_high"] <= high
    assert found["ci_low"] in (0, 2**16) or found["ci_low"] < 118.6 < found["ci_high"]


def test_one_size_is_no_curve():
    with pytest.raises(DataError, match="two or more numbers of labels"):
        exchange_rate(curve()[:, :1], arm(0.6), SIZES[:1], 50)


# --- people's correction


def comparisons(seeds=5, prompts=60, each=10, bias=0.1, seed=3):
    """A judge that adds `bias` to what people say; `each` comparisons by people of every seed."""
    rng = np.random.default_rng(seed)
    truth = scores(seeds, prompts, seed=seed)
    seed_of = np.repeat(np.arange(seeds), each)
    prompt_of = np.concatenate([rng.permutation(prompts)[:each] for _ in range(seeds)])
    return truth + bias, truth[seed_of, prompt_of], seed_of, prompt_of


def test_a_bias_of_the_judge_is_taken_out_whatever_its_size():
    for bias in (-0.3, 0.0, 0.5):
        judge, *human = comparisons(bias=bias)
        found = crossed_preference(judge, *human)
        assert found["slope"] == pytest.approx(1)
        assert found["mean"] == pytest.approx((judge - bias).mean())


def test_comparisons_in_another_sequence_say_the_same():
    judge, human, seed_of, prompt_of = comparisons()
    mixed = np.random.default_rng(1).permutation(len(human))
    other = crossed_preference(judge, human[mixed], seed_of[mixed], prompt_of[mixed])
    assert other == pytest.approx(crossed_preference(judge, human, seed_of, prompt_of))


def test_seeds_that_people_saw_less_of_count_as_much_and_are_surer_the_more_they_saw():
    """The noise of a mean of seeds' means: 1/8 and 1/32 instead of 1/20 twice, (.15625 / .1)."""
    def noise(*each):
        said = np.tile([-0.5, 0.5], 20)     # of no seed more than of the other
        found = crossed_preference(np.zeros((2, 40)), said, np.repeat([0, 1], each), np.arange(40))
        return found["se"] ** 2

    assert noise(8, 32) / noise(20, 20) == pytest.approx(0.15625 / 0.1)


def test_a_seed_that_few_people_saw_is_refused():
    judge, human, seed_of, prompt_of = comparisons(each=7)
    with pytest.raises(DataError, match="8 comparisons of each"):
        crossed_preference(judge, human, seed_of, prompt_of)
