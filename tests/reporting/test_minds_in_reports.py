"""What a report says of a judge and minds that really changed."""

from dataclasses import replace

import pytest

from persuasion_lib.checks.judge import against_what_won
from persuasion_lib.checks.measured import NotMeasured
from persuasion_lib.core.records import LabeledPair, Pair
from persuasion_lib.reporting.minds import of_minds, part, sentences

OPTIONS = {"confidence": 0.95, "n_resamples": 299, "seed": 0}


def said(right=0, wrong=0, tied=0, flip=False, first="aa", second="b"):
    """A judge's labels of pairs of which response a really won."""
    answers = ["a"] * right + ["b"] * wrong + ["tie"] * tied
    return [LabeledPair(Pair(str(n), [], first, second, {
        "really": "1", "source": "file", "flip": flip and label == "tie"}), label, "judge")
        for n, label in enumerate(answers)]


def test_a_tie_is_half_right_and_a_flip_is_a_tie():
    found = of_minds(said(right=10, wrong=6, tied=4, flip=True), OPTIONS)
    assert found["accuracy"] == 0.6 and found["flips"] == 4
    assert (found["right"], found["wrong"], found["ties"]) == (10, 6, 4)


def test_a_judge_who_always_ties_is_at_chance():
    assert of_minds(said(tied=40), OPTIONS)["accuracy"] == 0.5


def test_always_the_longer_is_right_where_what_won_is_longer():
    found = of_minds(said(right=10, wrong=30), OPTIONS)
    assert found["longer"]["accuracy"] == 1 and found["prefers_longer"] == 0.25
    assert of_minds(said(right=10, first="a", second="b"), OPTIONS)["longer"]["accuracy"] == 0.5


def test_fewer_than_twenty_decide_nothing():
    found = of_minds(said(right=19), OPTIONS)
    assert found["status"] == "few"
    assert "Fewer than 20 pairs decide nothing." in sentences(found)


@pytest.mark.parametrize(("right", "text"), [(45, "better than chance"), (5, "WORSE than chance"),
                                             (25, "Chance is not excluded")])
def test_chance_stands_beside_it(right, text):
    assert any(text in line for line in sentences(of_minds(said(right, 50 - right), OPTIONS)))


@pytest.mark.parametrize(("labellers", "text"), [
    (["judge", "x"], "The judge that labelled the pairs to learn from (01)."),
    (["x"], "Another judge than labelled the pairs to learn from."), ([], "The judge of 01.")])
def test_the_report_says_whether_this_judge_labelled(labellers, text):
    found = of_minds(said(right=30), OPTIONS, labellers=labellers)
    assert part({"minds": found}).notes[0].startswith(text)


def test_nobody_asked_is_said_in_03_and_no_part_of_the_report():
    assert of_minds([], OPTIONS) is None and part({"minds": None}) is None
    assert "is not known" in sentences(None)[0]


@pytest.mark.parametrize("odd", [None, "3", 1.5, ["1"], {}])
def test_a_row_that_does_not_say_what_won_is_no_case(odd):
    [label] = said(right=1)
    other = replace(label, pair=replace(label.pair, metadata={"really": odd}))
    assert of_minds([other], OPTIONS) is None


def test_the_check_warns_only_where_the_interval_lies_below_one_half():
    assert against_what_won(said(right=10, wrong=40)).value > 0.5
    assert against_what_won(said(right=22, wrong=28)).value <= 0.5
    with pytest.raises(NotMeasured):
        against_what_won(said(right=3, wrong=10, tied=80))
