"""A check that could not look is not a check that found nothing."""

import dataclasses
from dataclasses import replace

import pytest
from scipy.stats import binom

from persuasion_lib.checks.audit import lines_of
from persuasion_lib.checks.check import Check, look
from persuasion_lib.checks.measured import Measured, NotMeasured
from persuasion_lib.checks.people import longer_wins, one_key, unsteady
from persuasion_lib.core.records import LabeledPair, Pair
from persuasion_lib.labeling.agreement import judge_against_annotator
from persuasion_lib.labeling.alarms import alarm


def test_a_figure_stands_with_how_much_it_was_measured_on():
    assert Measured(0.25, 8) == Measured(value=2 / 8, n=8, example="")


def test_what_was_found_is_not_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Measured(0.5, 2).value = 0.1


def test_a_check_without_data_says_what_it_lacks_and_is_not_fine():
    blind = Check("reads an event log", "log", one_key, 0, "", "")
    found, = look([blind], {"log": {"ann": []}})
    assert (found.state, found.text, found.figure) == (
        "not checked", "0 answers are too few to tell", None)


@pytest.mark.parametrize("value, limit, unit, said", [
    (0.0125, 0.05, "", "1.2% of at most 5%"), (0.508, 0.8, "", "50.8% of at most 80%"),
    (0.246, 0.8, "(1 − kappa)", "0.246 of at most 0.8 (1 − kappa)"), (0, 0, "", "no fault found")])
def test_what_is_fine_says_its_figure_and_its_limit(value, limit, unit, said):
    check = Check("a check", "pairs", lambda thing: Measured(value, 8), limit, "", "", unit=unit)
    [found] = look([check], {"pairs": {"one file": []}})
    assert (found.state, found.text) == ("fine", said)


def test_of_several_files_the_worst_is_shown():
    check = Check("a check", "pairs", lambda share: Measured(share, 8), 0.5, "", "")
    [line] = lines_of("fine", look([check], {"pairs": {"one": 0.1, "two": 0.3, "three": 0}}))
    assert line.split(maxsplit=2) == ["a", "check", "30% of at most 50% (worst of 3)"]


def test_who_repeats_four_labels_of_five_is_hardly_ever_stopped():
    """Of 30 repeats fewer than 18 alike (kappa below .2) happen to them 3 times in 1,000."""
    assert binom.cdf(17, 30, 0.8) < 0.004 < binom.cdf(20, 30, 0.8)
    for same, stops in ((20, False), (17, True)):
        labels = [LabeledPair(Pair(str(n), [], "a", "b"), "ab"[n % 2], "ada", again=(
            "ab"[(n + (n >= same)) % 2])) for n in range(30)]
        judged = [replace(label, label="a", labeled_by="judge", again=None) for label in labels]
        agreed = judge_against_annotator(judged, labels, seed=0)
        assert bool(alarm(agreed, "annotator contradicts themselves")) == stops
        assert (unsteady(labels).value > 0.8) == stops


def test_a_taste_for_length_that_many_have_is_hardly_ever_stopped():
    assert binom.sf(36, 40, 0.75) < 0.005 < binom.sf(18, 20, 0.75)
    labels = [LabeledPair(Pair(str(n), [], "long " * 20, "short"), "a", "ada") for n in range(39)]
    with pytest.raises(NotMeasured):
        longer_wins(labels)
    assert longer_wins([*labels, labels[0]]).value == 1
