"""The table that a study leaves: who, where, against whom, and what it was worth."""

from collections import Counter

import numpy as np
import pytest

from persuasion_lib.core.records import LabeledPair, Pair, content_id, labeled_row
from persuasion_lib.core.store import write_jsonl
from persuasion_lib.demo.standins import SimulatedAnnotator
from persuasion_lib.study import anchored, people
from persuasion_lib.study.run import run_study
from persuasion_lib.study.scores import COLUMNS, read_scores
from worlds.study_world import Notebooks, study_of


@pytest.fixture
def study(project, monkeypatch):
    Notebooks(monkeypatch)
    return study_of(project)


def test_a_study_that_did_not_run_has_an_empty_table(study):
    table = read_scores(study)
    assert tuple(table.columns) == COLUMNS and table.empty


def test_the_table_has_a_row_for_every_arm_level_seed_and_prompt(study):
    run_study(study)
    table = read_scores(study)
    points = table.groupby(["arm", "level", "seed"]).size()
    assert set(points) == {12}
    assert set(points.index) == {("rlaif", 0, 1), ("rlaif", 0, 2), *(
        (arm, level, seed) for arm in ("rlhf", "rlaif_rlhf") for level in (25, 50)
        for seed in (1, 2))}
    assert set(table["judge"]) <= {0.0, 0.5, 1.0} and table["gold"].between(0, 1).all()


def test_people_compare_as_often_for_every_seed_and_arm_on_the_same_prompts(study):
    """16 comparisons over 2 seeds and 2 arms are 4 prompts a seed, at the primary level alone."""
    run_study(study)
    table = read_scores(study)
    said = table[table["human"].notna()]
    assert set(said["level"]) == {50} and set(said["arm"]) == {"rlhf", "rlaif_rlhf"}
    assert set(said.groupby(["arm", "seed"]).size()) == {4}
    for _, of_seed in said.groupby("seed"):
        prompts = [set(rows["example_id"]) for _, rows in of_seed.groupby("arm")]
        assert prompts[0] == prompts[1]


def test_what_people_answered_counts_when_seeds_are_added(project, study):
    """16 over 2 x 2 are 4 a seed and arm, over 4 x 2 two: the first two seeds keep their 4."""
    run_study(study)
    pairs = {pair.pair_id: pair for pair in people.to_compare(study, list(study.cells)).values()}
    rows = [labeled_row(LabeledPair(pair, "a", labeled_by="Ada")) for pair in pairs.values()]
    write_jsonl(project / "said.jsonl", rows)
    more = study_of(project, "human_eval.source=file", "human_eval.path=said.jsonl", seeds=4)
    run_study(more)
    drawn = people.to_compare(more, list(more.cells))
    assert Counter(cell for cell, *_ in drawn) == {
        "small.50.s1": 8, "small.50.s2": 8, "small.50.s3": 4, "small.50.s4": 4}
    table = read_scores(more)
    assert set(table[table["human"].notna()]["seed"]) == {1, 2}
    assert table["human"].notna().sum() == 16


def test_nobody_compares_where_the_study_or_the_settings_say_so(project, study):
    run_study(study)
    assert read_scores(study_of(project, comparisons=0))["human"].isna().all()
    assert read_scores(study_of(project, "human_eval.source=none"))["human"].isna().all()


def test_two_arms_with_one_text_are_judged_once_and_a_reply_like_the_anchors_is_a_tie(
        study, monkeypatch):
    asked = []
    run_study(study)
    data = anchored.read_evaluation(study.cells[0])
    for row in data.per_example:
        row.responses |= {"rlhf": row.responses["sft"], "rlaif": row.responses["rlaif_rlhf"]}
    monkeypatch.setattr(anchored, "read_evaluation", lambda cell: data)
    monkeypatch.setattr(anchored, "label_pairs", lambda pairs, *_, **__: (
        asked.extend(pairs) or label_pairs(pairs, *_, **__)))
    scores = anchored.judge_cell(study, study.cells[0])["scores"]
    assert len(asked) == 24
    assert {row["judge"] for row in scores if row["arm"] == "rlhf"} == {0.5}


label_pairs = anchored.label_pairs


def test_what_the_judge_could_not_be_read_on_is_missing_and_asked_again(study, monkeypatch):
    from persuasion_lib.judging.tasks.compare import Compare
    with monkeypatch.context() as broken:
        broken.setattr(Compare, "stand_in", lambda self, judge: "no verdict")
        run_study(study)
    table = read_scores(study)
    assert table["judge"].isna().all()
    run_study(study)
    assert read_scores(study)["judge"].notna().all()


def test_the_demos_truth_is_the_mean_of_what_its_person_says():
    """10,000 people with the same taste and other noise."""
    prompt = [{"role": "user", "content": "I will not go."}]
    texts = ("Because it helps people, studies found.", "You must, obviously, or regret it now.")
    pairs = [Pair(content_id(n), prompt, *texts) for n in range(1)]
    worth = {"a": 1.0, "tie": 0.5, "b": 0.0}
    said = [worth[SimulatedAnnotator(seed).label(prompt, *texts)] for seed in range(4000)]
    expected = SimulatedAnnotator(0).expected(pairs[0].prompt, *texts)
    assert np.mean(said) == pytest.approx(expected, abs=0.02)
    assert SimulatedAnnotator(0).expected(prompt, *texts[::-1]) == pytest.approx(1 - expected)
