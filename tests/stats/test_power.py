"""What a design of this size could have seen."""

from math import isnan

from persuasion_lib.stats.power import n_for, power


def test_115_prompts_detect_a_difference_of_about_15_points():
    assert round(power(115, 0.57), 3) == 0.149
    assert round(power(115, 0.57, m=6), 3) == 0.185
    assert n_for(0.035, 0.57) == 2082


def test_the_prompts_needed_for_the_detectable_difference_are_the_prompts_there_are():
    assert n_for(power(115, 0.57) * 1.0001, 0.57) == 115
    assert isnan(n_for(0, 0.57)) and isnan(power(1, 0.57))
