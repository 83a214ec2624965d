"""What a design of this size could have seen."""

from math import isnan

import numpy as np

from persuasion_lib.stats.crossed import crossed_mean
from persuasion_lib.stats.power import crossed_power, n_for, power


def test_115_prompts_detect_a_difference_of_about_15_points():
    assert round(power(115, 0.57), 3) == 0.149
    assert round(power(115, 0.57, m=6), 3) == 0.185
    assert n_for(0.035, 0.57) == 2082


def test_the_prompts_needed_for_the_detectable_difference_are_the_prompts_there_are():
    assert n_for(power(115, 0.57) * 1.0001, 0.57) == 115
    assert isnan(n_for(0, 0.57)) and isnan(power(1, 0.57))


def test_the_difference_that_a_study_could_show_is_found_four_times_in_five():
    seeds, prompts, sd = 5, 60, (0.05, 0.08, 0.34)
    difference = crossed_power(seeds, prompts, sd_seed=sd[0], sd_prompt=sd[1], sd_rest=sd[2])
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(400):
        table = (difference + rng.normal(0, sd[0], (seeds, 1)) + rng.normal(0, sd[1], prompts)
                 + rng.normal(0, sd[2], (seeds, prompts)))
        found += crossed_mean(table)["ci_low"] > 0
    assert 0.72 < found / 400 < 0.88


def test_one_seed_could_show_nothing_of_a_method():
    assert isnan(crossed_power(1, 115, sd_seed=0.02, sd_prompt=0.08, sd_rest=0.34))
