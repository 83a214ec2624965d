"""What people prefer, from a few comparisons by people and many verdicts of a judge."""

import numpy as np
import pandas as pd
import pytest

from persuasion_lib.core.errors import DataError
from persuasion_lib.stats.people import (
    half_width,
    preference,
    several,
    smallest_win_rate,
)


def judged(scores):
    return pd.DataFrame({"judge": np.asarray(scores, float)})


def said(scores, of=None):
    return pd.Series(scores, index=of, dtype=float)


def noisy_people(rng, known, count):
    """People who mostly agree with the judge: 0, 0.5 or 1."""
    seen = known.judge.sample(count, random_state=int(rng.integers(1_000)))
    return (seen + rng.normal(0, 0.4, count)).mul(2).round().div(2).clip(0, 1)


@pytest.fixture
def world():
    rng = np.random.default_rng(4)
    known = judged(rng.integers(0, 5, 115) / 4)
    return noisy_people(rng, known, 50), known


def test_people_who_always_agree_with_the_judge_prefer_what_it_prefers_of_all_prompts():
    known = judged([1, 0] * 20 + [1] * 60)          # 80 of 100
    found = preference(known.judge.iloc[:40], known)
    assert found["slopes"]["judge"] == pytest.approx(1)
    assert found["estimate"] == pytest.approx(0.8)
    assert found["judge_bias"] == 0


def test_a_judge_with_one_verdict_for_everything_adds_nothing():
    known = judged([1] * 100)
    found = preference(said([1, 0] * 20), known)
    assert found["slopes"] == {"judge": 0} and found["estimate"] == 0.5
    assert found["labels_worth"] == pytest.approx(40)
    assert found["judge_alone"] == 1 and found["judge_bias"] == 0.5


def test_what_the_judge_adds_to_peoples_verdict_is_its_bias():
    known = judged([1, 1, 1, 0] * 25)               # 75 %
    people = said([1, 1, 0, 0] * 10)                # 50 % of the prompts where the judge says 75 %
    found = preference(people, known)
    assert found["judge_bias"] == 0.25
    assert 0 < found["bias_low"] < 0.25 < found["bias_high"]
    assert found["estimate"] == pytest.approx(0.5) and found["judge_alone"] == 0.75


def test_the_other_model_is_preferred_as_often_as_this_one_is_not(world):
    people, known = world
    one, other = preference(people, known), preference(1 - people, 1 - known)
    assert other["estimate"] == pytest.approx(1 - one["estimate"])
    assert other["ci_low"] == pytest.approx(1 - one["ci_high"])
    assert other["judge_bias"] == pytest.approx(-one["judge_bias"])


def test_the_sequence_of_prompts_does_not_matter(world):
    people, known = world
    mixed = preference(people.sample(frac=1, random_state=1), known.sample(frac=1, random_state=2))
    for name, value in preference(people, known).items():
        assert mixed[name] == pytest.approx(value), name


def test_identical_replies_are_ties_that_nobody_needs_to_see(world):
    people, known = world
    some = preference(people, known)
    all_prompts = preference(people, known, identical=115)
    assert all_prompts["estimate"] == pytest.approx((some["estimate"] + 0.5) / 2)
    assert all_prompts["n_judged"] == 230
    assert all_prompts["ci_high"] - all_prompts["ci_low"] < some["ci_high"] - some["ci_low"]


def test_one_prompt_more_with_the_same_text_moves_the_rate_by_its_own_weight(world):
    people, known = world
    one = preference(people, known, identical=1)
    assert one["estimate"] == pytest.approx(
        (115 * preference(people, known)["estimate"] + 0.5) / 116)


def test_fifty_wins_of_fifty_are_no_certainty():
    known = judged([1] * 115)
    found = preference(said([1] * 50), known)
    assert found["estimate"] == 1 and 0.85 < found["ci_low"] < 0.95 and found["ci_high"] == 1


def test_below_thirty_comparisons_there_is_an_interval_and_no_verdict(world):
    people, known = world
    few = preference(people.iloc[:29], known)
    assert few["status"] == "too_few" and few["ci_low"] < few["ci_high"]
    assert preference(people.iloc[:30], known)["status"] == "ok"


def test_the_same_knowledge_twice_is_no_more_than_once(world):
    people, known = world
    one, twice = preference(people, known), preference(people, known.assign(again=known.judge * 2))
    assert twice["ci_low"] == pytest.approx(one["ci_low"])
    assert twice["df"] == one["df"]


@pytest.mark.parametrize("count", [0, 1])
def test_one_comparison_has_no_interval(world, count):
    people, known = world
    found = preference(people.iloc[:count], known)
    assert found["status"] == "n<2" and np.isnan(found["ci_low"])
    assert found["judge_alone"] == pytest.approx(known.judge.mean())


def test_with_very_few_comparisons_the_judge_is_not_used(world):
    people, known = world
    found = preference(people.iloc[:10], known)
    assert found["slopes"] == {"judge": 0}
    assert found["estimate"] == pytest.approx(people.iloc[:10].mean())


@pytest.mark.parametrize("wrong, message", [
    (said([1, 2, 0]), "has the score 2.0 by a person"),
    (said([1, np.nan, 0]), "has the score nan"),
    (said([1, 0, 0], [0, 0, 1]), "occurs twice"),
    (said([1, 0, 0], [0, 1, 999]), "1 prompts were compared by people and not by the judge")])
def test_a_comparison_that_cannot_be_used_is_named(world, wrong, message):
    with pytest.raises(DataError, match=message):
        preference(wrong, world[1])


def test_a_prompt_without_a_verdict_of_the_judge_is_refused():
    with pytest.raises(DataError, match="missing values"):
        preference(said([1, 0]), judged([1, np.nan, 0]))


def test_without_a_judge_the_plan_is_that_of_any_mean():
    assert half_width(100, correlation=0) == pytest.approx(1.96 * 0.4 / 10, abs=1e-4)


def test_no_number_of_people_narrows_what_the_choice_of_prompts_leaves_open():
    assert half_width(10**9, n_judged=115) > 0.01


def test_fewer_comparisons_find_only_larger_differences():
    rates = [smallest_win_rate(count, n_judged=115) for count in (30, 50, 80, 115)]
    assert rates == sorted(rates, reverse=True) and 0.63 < rates[1] < 0.67
    assert smallest_win_rate(2) == 1.0


# --- several models


@pytest.fixture
def field():
    rng = np.random.default_rng(2)
    quality = np.array([0, 0.3, 0.6, 3.0])
    worth = rng.gumbel(size=(200, 4)) + quality
    judge = pd.DataFrame((-worth).argsort(axis=1).argsort(axis=1) + 1.0, columns=list("abcd"))
    people = judge.sample(60, random_state=3).copy()
    people[["a", "b"]] = people[["b", "a"]].to_numpy()      # they see a and b the other way round
    return people, judge


def test_people_are_followed_where_the_judge_sees_two_models_the_other_way_round(field):
    people, judge = field
    models, _ = several(people, judge)
    assert judge.a.mean() > judge.b.mean() and models.score["a"] > models.score["b"]


def test_a_model_that_all_put_first_is_surely_first(field):
    models, differences = several(*field)
    assert models.rank_low["d"] == models.rank_high["d"] == 1
    against_d = differences[differences.b == "d"]
    assert len(against_d) == 3 and (against_d.ci_high < 0).all()


def test_the_sequence_of_models_does_not_matter_for_their_scores(field):
    people, judge = field
    models, _ = several(people, judge)
    turned, _ = several(people[list("dcba")], judge)
    assert turned.score[list("abcd")].to_numpy() == pytest.approx(models.score.to_numpy())


def test_rankings_of_another_field_or_of_too_few_prompts_are_refused(field):
    people, judge = field
    with pytest.raises(DataError, match="in another field"):
        several(people[["a", "b"]], judge)
    with pytest.raises(DataError, match="9 rankings by people"):
        several(people.iloc[:9], judge)
    with pytest.raises(DataError, match="ranked by people and not by the judge"):
        several(people, judge.drop(index=people.index[0]))
