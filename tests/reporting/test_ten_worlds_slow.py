"""Ten worlds of the demo, whose truth is known: 50 comparisons hold it (`pytest -m slow`)."""

import random

import numpy as np
import pandas as pd
import pytest

from persuasion_lib.core.records import render_text
from persuasion_lib.demo.corpus import make_post, make_reply, world
from persuasion_lib.demo.standins import OfflineJudge, SimulatedAnnotator
from persuasion_lib.stats.people import preference

pytestmark = pytest.mark.slow
SAYS = {"a": 1.0, "1": 1.0, "tie": 0.5, "EQUAL": 0.5, "b": 0.0, "2": 0.0}


def prompts(name, count):
    """Posts with a reply by a more and by a less careful writer."""
    rng = random.Random(name)
    rows = []
    for _ in range(count):
        topic = rng.choice(world().topics)
        post, ground, _ = make_post(topic, rng)
        replies = [make_reply(topic, ground, rng, care=care + 0.6 * rng.random())
                   for care in (0.35, 0.1)]
        rows.append(([{"role": "user", "content": post}], *replies))
    return rows


def by_judge(judge, prompt, first, second):
    """The judge's score of the first reply in both orders."""
    text = render_text(prompt)
    one, two = judge.compare(text, first, second)[0], judge.compare(text, second, first)[0]
    return (SAYS[one] + 1 - SAYS[two]) / 2


def test_fifty_comparisons_hold_the_truth_in_nine_of_ten_worlds():
    person = SimulatedAnnotator(seed=1)
    truth = np.mean([SAYS[person.label(*row)] for row in prompts("truth", 3000)])
    holds, narrower = 0, 0
    for seed in range(10):
        rows = prompts(f"w{seed}", 115)
        person, judge = SimulatedAnnotator(seed=seed + 1), OfflineJudge(seed=seed)
        people = pd.Series([SAYS[person.label(*row)] for row in rows[:50]])
        known = pd.DataFrame({"judge": [by_judge(judge, *row) for row in rows]})
        both, alone = preference(people, known), preference(people, known * 0 + 0.5)
        holds += both["ci_low"] <= truth <= both["ci_high"]
        narrower += both["ci_high"] - both["ci_low"] < alone["ci_high"] - alone["ci_low"]
    assert holds >= 9 and narrower >= 7
