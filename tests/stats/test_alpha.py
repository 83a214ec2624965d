"""Agreement of several raters: Krippendorff's alpha."""

import pandas as pd
import pytest

from persuasion_lib.stats.agreement import krippendorff

KRIPPENDORFF_2011 = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 ."""


def ratings(text):
    rows = [[None if code == "." else code for code in line.split()] for line in text.split("\n")
            if line]
    return pd.DataFrame(rows).T


def test_alpha_is_the_published_one_of_four_observers_with_gaps():
    """Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), example C: .743."""
    found = krippendorff(ratings(KRIPPENDORFF_2011), seed=0)
    assert found["alpha"] == pytest.approx(0.743, abs=0.0005)
    assert (found["n"], found["n_labels"]) == (11, 40)      # the last item has one label only
    assert found["alpha_low"] < 0.743 < found["alpha_high"]


def test_alpha_is_1_where_all_agree_0_by_chance_and_undefined_with_one_label():
    assert krippendorff(ratings("a b a\na b a"), seed=0)["alpha"] == 1.0
    # Two raters, four items: 2 of 4 agree. 1 - 7 * 4 / (64 - 32) = .125
    assert krippendorff(ratings("a a b b\na b a b"), seed=0)["alpha"] == pytest.approx(0.125)
    assert krippendorff(ratings("a a\na a"), seed=0)["status"] == "constant"
    assert krippendorff(ratings("a .\n. a"), seed=0)["status"] == "n<2"
