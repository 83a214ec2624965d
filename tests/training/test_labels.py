"""How many labels a training learns from, which, and how many of them are turned round."""

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.records import LabeledPair, Pair
from persuasion_lib.training.labels import used_labels


def rows(name, count):
    return [LabeledPair(Pair(f"{name}{n}", [{"role": "user", "content": f"{n}"}], "good", "bad"),
                        "a", "person") for n in range(count)]


TRAIN, VAL = rows("train", 180), rows("val", 20)


def ids(pairs):
    return {pair.pair.pair_id for pair in pairs}


def used(*overrides, name="rlhf"):
    return used_labels(load_config("demo", overrides), name, TRAIN, VAL)


@pytest.fixture(autouse=True)
def here(project):
    """The settings are those of a fresh project."""


def test_without_a_number_all_labels_are_used():
    assert used() == (TRAIN, VAL)


@pytest.mark.parametrize("count, held_out", [(25, 2), (50, 5), (100, 10), (200, 20), (2, 1)])
def test_the_number_counts_training_and_validation_in_their_shares(count, held_out):
    """20 of 200 are held out: a tenth, and one at least."""
    train, val = used(f"training.human_labels={count}")
    assert (len(train), len(val)) == (count - held_out, held_out)


def test_fewer_labels_are_always_among_more_and_each_seed_draws_its_own():
    def drawn(count, seed):
        train, val = used(f"training.human_labels={count}", f"training.seed={seed}")
        return ids(train), ids(val)

    for few, more in ((25, 50), (50, 100), (100, 150)):
        for seed in (1, 2):
            for part, whole in zip(drawn(few, seed), drawn(more, seed), strict=True):
                assert part < whole
    assert drawn(50, 1) != drawn(50, 2)


def test_both_arms_learn_from_the_same_human_labels_and_rlaif_from_all_of_its_own():
    few = "training.human_labels=50"
    assert used(few, name="rlhf") == used(few, name="rlaif_rlhf")
    assert used(few, name="rlaif") == (TRAIN, VAL)
    assert len(used("training.ai_labels=50", name="rlaif")[0]) == 45
    assert used("training.ai_labels=50", name="rlaif_rlhf") == (TRAIN, VAL)


def test_more_labels_than_there_are_is_an_error_that_counts_them():
    with pytest.raises(DataError, match=r"training.human_labels=201, but 200 labels are decided "
                                        r"\(180 to train on, 20 held out\)"):
        used("training.human_labels=201")
    with pytest.raises(DataError, match="Set a number from 2 to 200"):
        used("training.human_labels=1")


def test_noise_turns_its_share_of_training_labels_round_and_no_held_out_one():
    train, val = used("training.label_noise=0.2")
    turned = [pair for pair in train if pair.label == "b"]
    assert 0.12 < len(turned) / len(train) < 0.28 and val == VAL
    assert turned[0].chosen == "bad" and turned[0].rejected == "good"


def test_more_noise_turns_the_same_labels_and_others():
    def turned(share, *more):
        train, _ = used(f"training.label_noise={share}", *more)
        return ids(pair for pair in train if pair.label == "b")

    assert turned(0.1) < turned(0.3) and not turned(0)
    assert turned(0.3) != turned(0.3, "training.seed=5")
