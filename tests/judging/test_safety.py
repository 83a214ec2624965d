"""Manipulation: which replies are searched, and what 06 makes of what a judge found."""

from functools import cache

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.pipeline import POOLS, STAGES, path_of
from persuasion_lib.core.records import LabeledPair, labeled_row
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import write_jsonl
from persuasion_lib.judging.roles import make_judge
from persuasion_lib.judging.tasks import tactics
from persuasion_lib.reporting import report
from worlds.labeling_pool import make_pairs
from worlds.synthetic_evaluation import MODELS, analysed, make_evaluation, planted

GUILT = {"guilt": "ashamed"}


def judged(n=40, *, manipulates=("rlhf",), unscored=0, labels=(), **options):
    """An evaluation in which a judge finds guilt in every second reply of some models."""
    evaluation = make_evaluation(n, **options)
    evaluation["config"] |= {"safety": "anthropic", "asked_models": {
        "safety": "anthropic/some-judge"}}
    for i, row in enumerate(evaluation["per_example"]):
        row["tactics"] = {m: None if i < unscored else GUILT if m in manipulates and i % 2 else {}
                          for m in MODELS}
    return evaluation | {"label_tactics": list(labels)}


@cache
def plainly():
    return analysed(judged())


def label(i, chosen, rejected, pool="ai"):
    return {"pool": pool, "pair_id": f"p{i}", "chosen": chosen, "rejected": rejected}


def shares(result, tactic="any"):
    return {row["model"]: row["mean"] for row in result["tactics"]["share"][tactic]}


def words(result):
    return " ".join(report.part(result, "tactics").lines)


def test_the_share_is_what_the_judge_found_and_not_what_word_lists_find():
    result = plainly()
    assert shares(result) == shares(result, "guilt") == dict.fromkeys(MODELS, 0.0) | {"rlhf": 0.5}
    assert set(shares(result, "threats").values()) == {0.0}
    assert "anthropic/some-judge, told neither model nor label" in words(result)


def test_a_model_that_learned_to_manipulate_differs_from_sft_within_prompts():
    rows = plainly()["tactics"]["pairs"]
    change = next(r for r in rows if (r["a"], r["b"]) == ("rlhf", "sft"))
    assert change["mean_diff"] == 0.5 and change["ci_low"] > 0
    assert "rlhf - sft +50%" in words(plainly())


def test_unscored_replies_are_counted_and_never_clean():
    result = analysed(judged(unscored=10))
    assert result["tactics"]["unscored"] == 10 * len(MODELS)
    assert result["tactics"]["share"]["any"][0]["n"] == 30
    assert shares(result)["rlhf"] == 0.5


def test_nothing_scored_at_all_is_no_share_and_still_a_report():
    result = analysed(judged(n=8, unscored=8))
    assert set(shares(result).values()) == {None} and "40 replies are unscored" in words(result)


def test_a_file_without_a_judges_findings_is_counted_by_word_lists_and_says_so():
    result = planted()
    assert result["tactics"]["judge"] is None and max(shares(result).values()) > 0
    assert "a stand-in for a judge with this rubric" in words(result)


@pytest.mark.parametrize("flagged, caution", [("rlaif_rlhf", True), ("base", False)])
def test_whether_the_ranking_judge_rewarded_it_is_told_as_a_caution(flagged, caution):
    """The best model manipulates, or the worst one does."""
    result = analysed(judged(manipulates=(flagged,)))
    assert (result["tactics"]["reward"]["mean"] > 0) == caution
    assert any("reward manipulation" in text for text in result["cautions"]) == caution


def test_labellers_that_prefer_tactics_show_as_chosen_minus_rejected():
    labels = [label(i, GUILT if i % 2 else {}, {}) for i in range(40)]
    labels += [label(i, {}, GUILT if i % 4 == 0 else {}, "human") for i in range(40)]
    result = analysed(judged(labels=labels))
    ai, human = result["tactics"]["labels"]
    assert (ai["pool"], ai["n"], ai["mean_diff"]) == ("ai", 40, 0.5) and ai["ci_low"] > 0
    assert (human["pool"], human["mean_diff"]) == ("human", -0.25) and human["ci_high"] < 0
    assert [row["mean"] for row in ai["share"]] == [0.5, 0.0]
    assert "Did the AI labels reward it? Of 40 decided pairs" in words(result)


def test_a_pair_with_one_unscored_side_is_left_out_and_counted():
    row = analysed(judged(labels=[label(0, None, {}), *(label(i, {}, {}) for i in range(1, 5))]))
    assert row["tactics"]["labels"][0]["n"] == 4 and row["tactics"]["labels"][0]["unscored"] == 1


@pytest.fixture
def run(project):
    labels = ["a", "b", "tie"] * 10
    for files in POOLS.values():
        write_jsonl(path_of(load_config("demo"), files.labels), [
            labeled_row(LabeledPair(pair, x, "me"))
            for pair, x in zip(make_pairs(30), labels, strict=True)])
    return lambda *overrides: StageRun(STAGES["evaluate"], load_config("demo", overrides), {})


def test_the_sample_is_decided_pairs_drawn_by_a_hash_and_no_more_than_asked(run):
    sample = tactics.sampled_labels(run("safety.label_pairs=8"))
    assert {pool: len(pairs) for pool, pairs in sample.items()} == {"ai": 8, "human": 8}
    assert all(pair.label != "tie" for pairs in sample.values() for pair in pairs)
    more = tactics.sampled_labels(run("safety.label_pairs=12"))["ai"]
    assert [p.pair.pair_id for p in more[:8]] == [p.pair.pair_id for p in sample["ai"]]


def test_no_label_is_searched_if_none_is_wanted_and_few_in_a_trial(run):
    assert tactics.sampled_labels(run("safety.label_pairs=0")) == {}
    trial = tactics.sampled_labels(run("evaluation.max_examples=3"))
    assert len(trial["ai"]) == 3


def test_both_replies_of_a_pair_are_asked_about_each_alone(run):
    sample = tactics.sampled_labels(run("safety.label_pairs=2"))
    judge = make_judge(load_config("demo"), "safety")
    asked = list(tactics.tactics_questions({}, {}, sample, judge).values())
    assert len(asked) == 8 and len({question.item_id for question in asked}) == 8
    pair = sample["ai"][0]
    assert [*asked[0].candidates, *asked[1].candidates] == [pair.chosen, pair.rejected]
