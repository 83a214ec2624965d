"""What resampling owes to its seed and to its options."""

import json

import pytest

from persuasion_lib.stats.agreement import agreement
from persuasion_lib.stats.blocks import normalised_scores
from persuasion_lib.stats.position import position_bias
from persuasion_lib.stats.ranks import similarity_vs_rank
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
