"""One model under two names, and a model that did not come from SFT, by their texts alone."""

import random

import pytest

from persuasion_lib.checks import models
from persuasion_lib.checks.measured import NotMeasured

FORMAL = ["consider", "whereas", "therefore", "evidence", "suggests", "moreover", "policy"]
CASUAL = ["well", "you", "know", "honestly", "kinda", "feel", "like", "folks", "stuff", "really"]


def replies(words, seed, n=60):
    rng = random.Random(seed)
    return [" ".join(rng.choices([*words, "tea", "is", "the", "best", "and"], k=20)) for _ in
            range(n)]


BASE, SFT = replies(FORMAL, 1), replies(CASUAL, 2)


def test_the_same_text_counts_whatever_case_and_punctuation():
    first = ["Tea is best.", "No!", "Yes", None, ""]
    assert models.same_text(first, ["tea  is BEST", "no", "maybe", "x", ""]).value == 3 / 4
    assert models.same_text(["!"], ["?"]).value == 0
    with pytest.raises(NotMeasured):
        models.same_text([None], ["a"])


def test_a_model_that_writes_like_base_does_not_descend_from_sft():
    found = models.unlike_sft({"base": BASE, "sft": SFT, "rlaif": replies(CASUAL, 3),
                               "rlhf": replies(FORMAL, 4)})
    assert found.value > 0.95 and found.example.startswith("rlhf")


def test_models_that_write_like_sft_are_silent():
    found = models.unlike_sft({"base": BASE, "sft": SFT, "rlaif": replies(CASUAL, 3),
                               "rlhf": replies(CASUAL + FORMAL[:1], 4)})
    assert found.value < 0.1


def test_a_model_that_writes_like_neither_is_not_accused_for_the_topic_it_shares():
    """It learned to say something new; half of what it says tells neither way."""
    mixed = replies(CASUAL[:5] + ["because", "reasons", "help", "children"], 5)
    assert models.unlike_sft({"base": BASE, "sft": SFT, "rlhf": mixed}).value < 0.5


@pytest.mark.parametrize("given", [
    {"base": BASE, "rlhf": SFT}, {"base": BASE, "sft": SFT},
    {"base": BASE, "sft": replies(FORMAL, 7), "rlhf": SFT},
    {"base": BASE[:19], "sft": SFT[:19], "rlhf": SFT[:19]},
    {"base": BASE, "sft": SFT, "rlhf": [None] * 60}])
def test_where_base_and_sft_cannot_be_told_apart_nothing_is_said(given):
    with pytest.raises(NotMeasured):
        models.unlike_sft(given)
