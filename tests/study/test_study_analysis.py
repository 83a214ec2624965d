"""What a study says of scores whose truth is known, and what it does not say."""

import json

import numpy as np
import pytest

from persuasion_lib.study.analysis import analyse
from worlds.synthetic_study import analysed, make_scores, make_study, states, truth

STUDY = make_study()


def rising(levels):
    """A rate of each arm that is a line through these (rate at 25, rise with each doubling)."""
    return lambda arm, level: levels[arm][0] + levels[arm][1] * np.log2(float(level) / 25)


def leading(result):
    return result["anchors"][result["leading"]]


def worth(result, arm, level):
    return next(row for row in leading(result)["exchange"]
                if (row["arm"], row["level"]) == (arm, level))


def first_sentence(result):
    return result["sentences"][0]


def test_the_known_truth_is_in_the_intervals():
    result = analysed(make_study(seeds=10), seed=3, sd_seed=0.01)
    found = leading(result)
    for row in found["points"]:
        assert row["ci_low"] < truth(row["arm"], row["level"]) < row["ci_high"]
    assert found["slope"]["ci_high"] < 0
    assert "the scarcer human labels are" in result["sentences"][1]
    own = worth(result, "rlaif", "0")
    assert own["ci_low"] < 80 < own["ci_high"]
    assert f"with about {own['labels']:,.0f} [" in result["sentences"][2]


def test_the_advantage_is_the_difference_of_the_two_points_on_the_same_seeds():
    found = leading(analysed(STUDY))
    points = {(row["arm"], row["level"]): row["mean"] for row in found["points"]}
    for row in found["advantage"]:
        expected = points["rlaif_rlhf", row["level"]] - points["rlhf", row["level"]]
        assert row["mean"] == pytest.approx(expected, abs=2e-6)


def test_people_come_first_and_take_the_judges_taste_out():
    result = analysed(make_study(seeds=10), people=60, taste=0.06, sd_seed=0.01)
    row = next(row for row in leading(result)["points"]
               if (row["arm"], row["level"]) == ("rlhf", "50"))
    assert row["mean"] - truth("rlhf", 50) > 0.03
    assert abs(row["people"]["mean"] - truth("rlhf", 50)) < 0.05
    assert first_sentence(result).startswith("By simulated people (a stand-in)")
    assert "600 comparisons by people; the judge alone says" in first_sentence(result)
    assert any("People corrected the figures at 50, 0 alone" in text for text in result["limits"])


def test_few_comparisons_by_people_are_counted_and_correct_nothing():
    result = analysed(STUDY, people=7)
    row = next(row for row in leading(result)["advantage"] if row["level"] == "50")
    assert row["people"] == {"status": "too few", "n_human": 35, "mean": None, "ci_low": None,
                             "ci_high": None}
    assert first_sentence(result).startswith("By this judge (offline, a stand-in)")


def test_a_study_without_gold_and_people_says_whose_figures_these_are():
    result = analysed(STUDY, gold=False)
    assert not any("truth" in text for text in result["sentences"])
    assert any("Everything is by one judge" in text for text in result["limits"])


# --- what withholds the answer

def test_one_seed_gives_curves_and_no_answer():
    result = analysed(make_study(seeds=1))
    assert first_sentence(result).startswith("No answer in one sentence: one seed cannot say")
    assert all(row["ci_low"] is None and row["mean"] is not None
               for row in leading(result)["points"])
    assert len(result["sentences"]) == 1


def test_a_missing_cell_is_named_and_the_figures_stand_on_the_other_seeds():
    scores = make_scores(STUDY)
    result = analysed(STUDY, scores[~((scores.arm == "rlhf") & (scores.level == 100)
                                      & (scores.seed == 3))])
    assert ("1 of 45 trained models is missing (rlhf at 100, seed 3: not there)"
            in first_sentence(result))
    assert [row["n_seeds"] for row in leading(result)["advantage"]] == [5, 5, 4, 5]
    assert worth(result, "rlaif", "0")["n_seeds"] == 4


def test_an_arm_that_failed_is_named_and_the_others_are_shown():
    scores = make_scores(STUDY)
    result = analysed(STUDY, scores[scores.arm != "rlaif_rlhf"])
    assert "rlaif_rlhf has no scores" in first_sentence(result)
    assert {row["arm"] for row in leading(result)["points"]} == {"rlhf", "rlaif"}
    assert leading(result)["advantage"] == [] and worth(result, "rlaif", "0")["labels"] > 0


def test_all_wins_call_for_a_second_anchor_and_are_no_certainty():
    scores = make_scores(STUDY)
    scores.loc[scores.arm == "rlaif_rlhf", "judge"] = 1.0
    result = analysed(STUDY, scores)
    assert "a second, stronger anchor is needed" in first_sentence(result)
    row = next(row for row in leading(result)["points"] if row["arm"] == "rlaif_rlhf")
    assert row["mean"] == 1 and 0.9 < row["ci_low"] < 1 and row["ci_high"] == 1


def test_near_1_it_is_still_said_that_the_ai_labels_are_worth_more_than_were_tried():
    scores = make_scores(STUDY)
    scores.loc[scores.arm != "rlhf", "judge"] = 0.97
    said = analysed(STUDY, scores)["sentences"]
    assert said[0].startswith("No answer in one sentence")
    assert "Without any human label, rlaif reaches what rlhf reaches with more than 200" in said[1]


def test_losing_nearly_always_is_no_better_a_place_to_see_differences_than_winning():
    scores = make_scores(STUDY)
    scores["judge"] *= 0.15
    result = analysed(STUDY, scores)
    assert "won more than 85% of prompts or fewer than 15%" in first_sentence(result)
    assert len(result["sentences"]) == 1


def test_with_a_second_anchor_the_answer_is_read_against_that():
    study = make_study(second_anchor="oracle")
    scores = make_scores(study)
    near = (scores.anchor == "sft") & (scores.arm == "rlaif_rlhf")
    scores.loc[near, "judge"] = 0.9
    result = analysed(study, scores)
    assert result["leading"] == "oracle" and "against oracle (" in first_sentence(result)
    assert any("so the answer is read against oracle" in text for text in result["limits"])


def test_of_two_anchors_that_both_serve_the_one_that_people_compared_with_leads():
    study = make_study(second_anchor="oracle")
    scores = make_scores(study, people=24)
    for asked, leads in (("oracle", "oracle"), ("sft", "sft")):
        said = scores.assign(human=scores.human.where(scores.anchor == asked))
        assert analysed(study, said)["leading"] == leads


def test_an_anchor_that_no_reply_met_yet_is_a_limit_and_the_other_answers():
    study = make_study(second_anchor="oracle")
    scores = make_scores(study)
    result = analysed(study, scores[scores.anchor == "sft"])
    assert list(result["anchors"]) == ["sft"] and "No reply is compared with oracle." in (
        result["limits"])


def test_an_arm_that_ties_everywhere_looks_as_if_it_had_not_been_trained():
    scores = make_scores(STUDY)
    scores.loc[scores.level == 25, "judge"] = 0.5
    result = analysed(STUDY, scores)
    assert "rlhf at 25 ties with sft on every prompt" in first_sentence(result)
    row = leading(result)["advantage"][0]
    assert row["mean"] == 0 and row["ci_low"] < 0 < row["ci_high"] and row["p"] == 1


@pytest.mark.parametrize("prompts", [1, 2, 19])
def test_few_prompts_give_no_answer(prompts):
    result = analysed(STUDY, prompts=prompts)
    assert f"only {prompts} prompts have a verdict in every cell" in first_sentence(result)


def test_scores_from_before_a_change_are_said_to_be():
    study = make_study(seeds=2)
    old = states(study, **{study.cells[0].name: "stale"})
    result = analyse(study, make_scores(study, prompts=30), old)
    assert any("Scores of 1 cells are from before something changed (human_labels.0.s1 is stale)"
               in text for text in result["limits"])


# --- labels

def test_levels_that_are_no_powers_of_two_stand_where_they_are():
    levels = (30, 77, 189)
    result = analysed(make_study(levels, seeds=10), sd_seed=0.005, seed=1)
    assert leading(result)["sizes"] == [30, 77, 189]
    own = worth(result, "rlaif", "0")
    assert own["ci_low"] < 80 < own["ci_high"] and own["beyond"] is None


def test_more_than_was_trained_is_said_without_a_number():
    better = {"rlhf": (0.5, 0.05), "rlaif_rlhf": (0.8, 0.0), "rlaif": (0.8, 0.0)}
    result = analysed(STUDY, rate=lambda arm, level: rising(better)(arm, level or 25))
    row = worth(result, "rlaif", "0")
    assert row["beyond"] == "more" and row["labels"] > 400
    assert "rlaif reaches what rlhf reaches with more than 200 of them" in " ".join(
        result["sentences"])
    assert f"{row['labels']:,.0f}" not in " ".join(result["sentences"])


def test_fewer_than_was_trained_is_said_without_a_number():
    worse = {"rlhf": (0.6, 0.08), "rlaif_rlhf": (0.45, 0.0), "rlaif": (0.45, 0.0)}
    result = analysed(STUDY, rate=lambda arm, level: rising(worse)(arm, level or 25))
    assert worth(result, "rlaif", "0")["beyond"] == "fewer"
    assert "rlaif reaches what rlhf reaches with fewer than 25 of them" in " ".join(
        result["sentences"])


def test_a_curve_that_does_not_rise_names_no_number_of_labels():
    flat = {"rlhf": (0.7, -0.03), "rlaif_rlhf": (0.7, 0.0), "rlaif": (0.6, 0.0)}
    result = analysed(STUDY, rate=lambda arm, level: rising(flat)(arm, level or 25))
    assert worth(result, "rlaif", "0")["beyond"] == "no rise"
    assert "no number: the curve does not rise with labels" in " ".join(result["sentences"])


def test_a_curve_that_falls_between_two_levels_or_bends_is_a_limit():
    hill = {25: 0.5, 50: 0.72, 100: 0.74, 200: 0.65, 0: 0.6}
    result = analysed(make_study(seeds=10), rate=lambda arm, level: hill[level], sd_seed=0.01)
    text = " ".join(result["limits"])
    assert "The curve of rlhf falls" in text and "no straight line" in text


def test_curves_that_cross_are_said_to_cross():
    cross = {"rlhf": (0.5, 0.1), "rlaif_rlhf": (0.7, -0.02), "rlaif": (0.7, 0.0)}
    result = analysed(STUDY, rate=lambda arm, level: rising(cross)(arm, level or 25))
    assert "The curves cross: ahead at 25" in result["sentences"][1]
    assert "behind at 200" in result["sentences"][1]


def test_for_one_human_label_are_those_that_trained():
    from persuasion_lib.study import words
    row = {"beyond": None, "labels": 80.0, "ci_low": 40.0, "ci_high": 160.0}
    assert words.for_one(row, 1720, [25, 200]) == "about 21.5 [10.8, 43.0]"
    more = {"beyond": "more", "labels": 600.0, "ci_low": 300.0, "ci_high": None}
    assert words.for_one(more, 1720, [25, 200]) == "fewer than 8.6"
    assert words.labels({"level": "0", **more}, [25, 200]) == "more than 200"
    assert words.worth({"level": "50", **more}, [25, 200]) == "more than 150"
    assert words.drawn_on(more) == "600 [300, no end], extrapolated"


@pytest.mark.parametrize("beyond, labels, low, high, said", [
    ("more", 600.0, 100.0, None, "fewer than 8.6 [fewer than 8.6, 17.2]"),
    ("more", 600.0, 10.0, None, "fewer than 8.6 [fewer than 8.6, more than 68.8]"),
    ("fewer", 10.0, 0.0, 100.0, "more than 68.8 [17.2, more than 68.8]"),
    ("fewer", 10.0, 0.0, 20.0, "more than 68.8"),
    ("more", 600.0, None, None, "fewer than 8.6 [no interval]")])
def test_the_rate_of_ai_labels_claims_no_more_than_the_interval_of_human_ones(beyond, labels, low,
                                                                              high, said):
    """1,720 / 200 = 8.6, / 100 = 17.2, / 25 = 68.8."""
    from persuasion_lib.study import words
    row = {"beyond": beyond, "labels": labels, "ci_low": low, "ci_high": high}
    assert words.for_one(row, 1720, [25, 200]) == said


def test_a_model_that_fewer_labels_than_its_own_would_reach_is_worth_less_than_none():
    """With 50 labels as good as with 10, or 40, or 60: 60 - 50 = 10."""
    from persuasion_lib.study import words
    row = {"level": "50", "beyond": "fewer", "labels": 10.0, "ci_low": 0.0, "ci_high": 20.0}
    assert words.worth(row, [25, 200]) == "less than none"
    assert words.worth(row | {"level": "25"}, [25, 200]) == "less than none"
    inside = row | {"beyond": None, "labels": 40.0, "ci_high": 60.0}
    assert words.worth(inside, [25, 200]) == "less than none [less than none, 10]"
    assert words.worth(inside | {"level": "40"}, [25, 200]) == "about 0 [less than none, 20]"


# --- settings as axis

def test_a_setting_has_a_curve_for_each_arm_and_no_exchange_rate():
    study = make_study((0.05, 0.1, 0.2), axis="dpo.beta", arms=("rlhf", "rlaif_rlhf"), primary=0.1)
    result = analysed(study, rate=lambda arm, level: 0.7 - 0.2 * (level == 0.2))
    found = leading(result)
    assert found["exchange"] == [] and found["slope"] is None and found["sizes"] == []
    assert first_sentence(result).startswith(
        "By this judge (offline, a stand-in): 2 of 4 comparisons with dpo.beta = 0.1 differ")
    assert not any("human labels were trained" in text for text in result["limits"])


def test_levels_that_do_not_differ_are_not_called_equal():
    study = make_study(("sft", "base", "start"), axis="dpo.reference", arms=("rlaif",),
                       primary="sft")
    result = analysed(study, rate=lambda arm, level: 0.7)
    assert "no level differs detectably from dpo.reference = sft" in first_sentence(result)
    assert "would be found in four of five such studies" in first_sentence(result)


def test_a_setting_of_0_is_a_level_like_any_other():
    study = make_study((0.0, 0.1), axis="training.label_noise", arms=("rlhf", "rlaif_rlhf"),
                       primary=0.0)
    result = analysed(study, rate=lambda arm, level: 0.7 if arm == "rlaif_rlhf" else 0.5)
    assert [row["level"] for row in leading(result)["advantage"]] == ["0", "0.1"]
    assert " at 0; +" in result["sentences"][1]


# --- study.json

def test_the_same_scores_in_another_sequence_give_the_same_bytes_without_nan_or_paths():
    scores = make_scores(STUDY, people=10)
    text = json.dumps(analysed(STUDY, scores), allow_nan=False)
    assert text == json.dumps(analysed(STUDY, scores.sample(frac=1, random_state=1)))
    assert str(STUDY.config.root) not in text and json.loads(text)["schema"] == 1
