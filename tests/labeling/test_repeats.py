"""The annotator's repeats against the truth that the demo knows: who errs how often?"""

from __future__ import annotations

import random

import pytest

from persuasion_lib.core.records import LabeledPair, Pair
from persuasion_lib.demo.corpus import gold_utility, make_post, make_reply, world
from persuasion_lib.demo.standins import SimulatedAnnotator
from persuasion_lib.labeling import agreement

N = 2000


def pair_of(i):
    """Two replies of different care to one post."""
    rng = random.Random(i)
    topic = rng.choice(world().topics)
    post, ground, _ = make_post(topic, rng)
    one, two = (make_reply(topic, ground, rng, care=rng.random()) for _ in range(2))
    return Pair(f"p{i}", [{"role": "user", "content": post}], one, two)


def in_truth(pair):
    """The label of the gold utility."""
    one, two = (gold_utility(pair.prompt, text) for text in (pair.response_a, pair.response_b))
    return "tie" if abs(one - two) < 1e-9 else "a" if one > two else "b"


@pytest.fixture(scope="module")
def measured():
    """(what the repeats say with a judge that is always right, the annotator's true error)."""
    annotator = SimulatedAnnotator(0)
    person, judge = [], []
    for pair in map(pair_of, range(N)):
        texts = (pair.prompt, pair.response_a, pair.response_b)
        person.append(LabeledPair(pair, annotator.label(*texts), "annotator",
                                  again=annotator.label(*texts, sample=1)))
        judge.append(LabeledPair(pair, in_truth(pair), "judge"))
    both = [(p.label, j.label) for p, j in zip(person, judge, strict=True)
            if "tie" not in (p.label, j.label)]
    wrong = sum(given != true for given, true in both) / len(both)
    return agreement.judge_against_annotator(judge, person), wrong


def test_the_repeats_find_how_often_the_annotator_errs(measured):
    """Slightly too little: easy pairs agree too often for one error rate to fit all."""
    result, wrong = measured
    assert 0.01 < wrong < 0.04
    assert result["smoothing"]["annotator_error"] == pytest.approx(wrong, abs=0.006)


def test_a_judge_who_is_always_right_is_not_blamed_for_the_annotators_errors(measured):
    result, wrong = measured
    assert result["smoothing"]["rate"] == pytest.approx(wrong)
    assert result["smoothing"]["judge_error"] < 0.006


def test_the_ceiling_is_below_one_because_a_person_changes_their_mind(measured):
    own = measured[0]["self"]["with_ties"]
    assert own["n"] == N and 0.8 < own["raw"] < 0.95
