"""A check that could not look is not a check that found nothing."""

import dataclasses

import pytest

from persuasion_lib.checks.measured import Measured, NotMeasured


def test_a_figure_stands_with_how_much_it_was_measured_on():
    assert Measured(0.25, 8) == Measured(value=2 / 8, n=8, example="")


def test_what_was_found_is_not_changed_afterwards():
    for found in (Measured(0.5, 2), NotMeasured("no event log")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            found.why = "other"


def test_a_check_without_data_has_no_figure_to_compare():
    assert not hasattr(NotMeasured("no event log"), "value")
