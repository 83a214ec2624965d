"""What resampling owes to its seed and to its options."""

import json

import numpy as np
import pandas as pd
import pytest

from persuasion_lib.stats.agreement import agreement
from persuasion_lib.stats.blocks import normalised_scores
from persuasion_lib.stats.position import position_bias
from persuasion_lib.stats.ranks import similarity_vs_rank
from persuasion_lib.stats.resample import (
    Resampling,
    mean_intervals,
    of_constant,
    sign_flip_p,
    snapped,
)
from persuasion_lib.stats.scores import paired_tests, summarise
from persuasion_lib.stats.strengths import plackett_luce
from worlds.rankings import latin, random_ranks


def everything(seed):
    ranks, positions = random_ranks(), latin(60)
    scores = normalised_scores(ranks)
    options = {"seed": seed, "n_resamples": 199}
    parts = [summarise(scores, **options), paired_tests(scores, **options),
             position_bias(ranks, positions, **options)["table"],
             plackett_luce(ranks, covariates={"position": positions}, **options)["table"]]
    label = list("ab" * 30)
    return "".join(p.to_json() for p in parts) + json.dumps([
        similarity_vs_rank(scores / 2, scores, **options)["ci_low"],
        agreement(label, label[::2] + label[1::2], **options)["kappa_low"]])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not():
    assert everything(0) == everything(0) != everything(1)


def test_an_option_that_does_not_exist_is_an_error():
    with pytest.raises(TypeError, match="resamples"):
        summarise(normalised_scores(random_ranks()), resamples=99)


def exact_p(steps):
    """Two-sided sign-flip p of whole numbers: their sum has the convolution of all +-steps."""
    chances = np.array([1.0])
    for step in np.abs(steps[steps != 0]):
        chances = np.convolve(chances, [0.5, *[0] * (2 * step - 1), 0.5])
    sums = np.arange(len(chances)) - len(chances) // 2
    return min(1.0, chances[np.abs(sums) >= abs(steps.sum())].sum())


@pytest.mark.parametrize("orders", [1, 2])
@pytest.mark.parametrize("k", [2, 3, 4, 5])
@pytest.mark.parametrize("n", [12, 115])    # all 4,096 flips, and a sample of them
def test_the_sign_flip_p_is_the_exact_one_when_sums_tie(n, k, orders):
    rng = np.random.default_rng([n, k, orders])
    ranks = sum(rng.random((n, k)).argsort(axis=1) + 1 for _ in range(orders))
    scores = normalised_scores(pd.DataFrame(ranks / orders, columns=range(k)))
    steps = ranks[:, [0]] - ranks[:, 1:]        # scores differ by these / (orders * (k - 1))
    differences = scores.to_numpy()[:, 1:] - scores.to_numpy()[:, [0]]
    found, _ = sign_flip_p(differences, Resampling())
    expected = np.array([exact_p(column) for column in steps.T])
    sampling = 0 if n == 12 else 4 * np.sqrt(expected * (1 - expected) / 9_999) + 1e-4
    assert (np.abs(found - expected) <= sampling + 1e-12).all()


def test_thirds_that_cancel_have_p_1():
    differences = np.array([1 / 3, 1 - 2 / 3, -2 / 3] * 20)[:, None]
    assert sign_flip_p(differences, Resampling())[0] == 1


@pytest.mark.parametrize("scale", [1e-9, 1, 1e6])
def test_numbers_that_differ_by_rounding_alone_are_equal_at_any_scale(scale):
    one, two = snapped(scale * np.array([1 / 3, 1 - 2 / 3]))
    low, high = snapped(scale * np.array([0.5, 0.5 + 1e-6]))
    assert one == two and low < high


def test_a_mean_that_ties_with_a_resampled_one_moves_no_interval():
    """BCa counts resampled means below the observed one: thirds must count as whole steps do."""
    steps = np.random.default_rng(2).integers(-3, 4, (60, 1))
    whole, thirds = (mean_intervals(x, Resampling()) for x in (steps.astype(float), steps / 3))
    assert 3 * thirds.low == pytest.approx(whole.low)
    assert 3 * thirds.high == pytest.approx(whole.high)


def test_a_constant_of_a_known_span_has_an_interval_for_what_was_not_seen():
    """None of 115 differed: at most 1 - .025^(1/115) = 3.16 % of all prompts do."""
    low, high = of_constant(1.0, 115, Resampling(span=(-1.0, 1.0)))
    assert (round(low, 4), high) == (round(1 - 2 * 0.03157, 4), 1.0)


def test_a_constant_of_an_unknown_span_is_said_to_be_degenerate():
    found = mean_intervals(np.full((10, 1), 7.0), Resampling())
    assert (found.low[0], found.high[0], found.method) == (7.0, 7.0, ["degenerate"])


def test_the_interval_for_the_unseen_shrinks_with_the_number_of_prompts():
    widths = [np.diff(of_constant(0.5, n, Resampling(span=(0.0, 1.0))))[0] for n in (20, 80, 320)]
    assert widths == sorted(widths, reverse=True) and widths[0] > 0.1
