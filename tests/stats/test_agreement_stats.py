"""Agreement of two raters by hand, and against published cases."""

from math import isnan

import numpy as np
import pandas as pd
import pytest

from persuasion_lib.stats.agreement import agreement
from worlds.rankings import PUBLISHED, needs_published, published


def test_kappa_by_hand():
    human, judge = ["a"] * 5 + ["b"] * 5, ["a"] * 4 + ["b"] * 6
    result = agreement(human, judge)
    assert result["raw"] == 0.9 and result["pe"] == pytest.approx(0.5)
    assert result["kappa"] == pytest.approx(0.8) and result["majority_baseline"] == 0.5


def test_ties_are_a_class_or_dropped():
    human, judge = ["a", "a", "tie", "b", None], ["a", "tie", "tie", "b", "a"]
    as_class, dropped = (agreement(human, judge, ties=ties) for ties in ("class", "drop"))
    assert (as_class["raw"], dropped["raw"]) == (0.75, 1.0)
    assert as_class["n_null"] == dropped["n_null"] == 1 and dropped["n_ties_dropped"] == 2


def test_two_raters_with_one_label_agree_but_have_no_kappa():
    result = agreement(["a"] * 5, ["a"] * 5)
    assert result["raw"] == 1 and isnan(result["kappa"]) and result["status"] == "constant"


def test_agreement_is_symmetric():
    rng = np.random.default_rng(0)
    one, two = rng.choice(["a", "b", "tie"], (2, 80))
    assert agreement(one, two)["kappa"] == pytest.approx(agreement(two, one)["kappa"])


@needs_published
def test_pandalm_kappas_to_their_printed_digits():
    labels = pd.read_csv(PUBLISHED / "pandalm_testset.csv")
    expected = published("pandalm_published.json")
    for pair, printed in expected["published"]["cohen_kappa"].items():
        one, two = (labels[f"annotator{i}"].map({1: "a", 2: "b", 0: "tie"})
                    for i in pair.split("-"))
        result = agreement(one, two, n_resamples=99)
        assert result["n"] == 999 and round(result["kappa"], 2) == printed
        assert result["kappa"] == pytest.approx(expected["recomputed"]["cohen_kappa"][pair])


@needs_published
def test_kappa_of_sas_and_of_r():
    case = published("agreement_tables.json")
    cells = [(i, j) for i, row in enumerate(case["cohen_sas"]["table"])
             for j, count in enumerate(row) for _ in range(count)]
    sas = agreement(*zip(*cells, strict=True), n_resamples=99)
    assert round(sas["kappa"], 4) == 0.4842 and round(sas["se_kappa"], 4) == 0.1380
    r = agreement(case["cohen_R_irr"]["rater2"], case["cohen_R_irr"]["rater3"])
    assert r["kappa"] == pytest.approx(-0.006289308, abs=1e-9)


def test_a_rater_who_always_says_the_same_gives_no_warning_and_kappa_zero():
    result = agreement(["a", "a", "a", "b"], ["a", "a", "a", "a"])
    assert result["raw"] == 0.75 and result["kappa"] == pytest.approx(0)
