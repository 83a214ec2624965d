"""Which scores of a study may be compared with each other."""

import numpy as np
import pytest

from persuasion_lib.core.errors import DataError
from persuasion_lib.study.grid import gridded, level_name
from worlds.synthetic_study import make_scores, make_study

STUDY = make_study((25, 50), seeds=2)


def grid(scores, study=STUDY, anchor="sft"):
    return gridded(scores, study, anchor)


def without(scores, arm, level, seed):
    return scores[~((scores.arm == arm) & (scores.level == level) & (scores.seed == seed))]


def test_an_arm_without_human_labels_stands_once_at_0_for_every_seed():
    found = grid(make_scores(STUDY, prompts=30))
    assert set(found.judge) == {("rlhf", "25"), ("rlhf", "50"), ("rlaif_rlhf", "25"),
                                ("rlaif_rlhf", "50"), ("rlaif", "0")}
    assert all(table.shape == (2, 30) for table in found.judge.values())


def test_a_prompt_that_one_cell_could_not_read_counts_in_none():
    scores = make_scores(STUDY, prompts=30)
    unread = (scores.arm == "rlhf") & (scores.level == 25) & (scores.seed == 1) & (
        scores.example_id == "e0003")
    scores.loc[unread, "judge"] = np.nan
    found = grid(scores)
    assert found.asked == 30 and len(found.prompts) == 29 and "e0003" not in found.prompts
    assert not found.absent


def test_only_prompts_that_all_cells_share_count():
    scores = make_scores(STUDY, prompts=30)
    other = (scores.arm == "rlaif") & (scores.example_id < "e0010")
    found = grid(scores[~other])
    assert found.asked == 30 and len(found.prompts) == 20


def test_a_cell_that_read_few_prompts_is_missing_and_takes_no_prompt_from_the_others():
    scores = make_scores(STUDY, prompts=30)
    cell = (scores.arm == "rlhf") & (scores.level == 50) & (scores.seed == 2)
    scores.loc[cell & (scores.example_id >= "e0014"), "judge"] = np.nan
    found = grid(scores)
    assert len(found.prompts) == 30 and list(found.judge["rlhf", "50"].index) == [1]
    assert found.absent == [{"arm": "rlhf", "level": "50", "seed": 2,
                             "why": "14 of 30 prompts have a verdict"}]


def test_cells_are_joined_on_the_seeds_that_all_of_them_have():
    found = grid(without(make_scores(STUDY, prompts=30), "rlhf", 25, 1))
    one, other = found.joined("judge", [("rlhf", "25"), ("rlaif_rlhf", "25")])
    assert list(one.index) == list(other.index) == [2]
    assert found.joined("judge", [("rlhf", "75")]) == []


def test_a_level_is_the_same_whatever_number_it_was_read_as():
    assert level_name(25) == level_name(25.0) == level_name(np.float64(25)) == "25"
    assert [level_name(x) for x in (5e-05, True, "a|b", None, 2150)] == [
        "5e-05", "true", "a|b", "null", "2150"]
    scores = make_scores(STUDY, prompts=30)
    assert set(grid(scores.astype({"level": float})).judge) == set(grid(scores).judge)


def test_cells_of_levels_that_the_study_no_longer_has_are_left_out():
    scores = make_scores(make_study((25, 50, 100), seeds=3), prompts=30)
    found = grid(scores)
    assert ("rlhf", "100") not in found.judge and list(found.judge["rlhf", "25"].index) == [1, 2]


def test_nothing_scored_and_one_score_twice_are_refused():
    scores = make_scores(STUDY, prompts=30)
    with pytest.raises(DataError, match="Run: persuasion study human_labels"):
        grid(scores.iloc[:0])
    with pytest.raises(DataError, match="two scores for the prompt 'e0000'"):
        grid(scores.iloc[[0, 0, 1]])
    scores.loc[0, "judge"] = 1.5
    with pytest.raises(DataError, match="no score from 0 to 1 for the prompt 'e0000'"):
        grid(scores)
