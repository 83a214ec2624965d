import pytest

from persuasion_lib import analysis
from persuasion_lib.core.config import load_config
from worlds.synthetic_evaluation import (
    MODELS,
    analysed,
    changed,
    criterion,
    evaluated,
    from_elsewhere,
    make_evaluation,
    planted,
)


def test_a_planted_effect_is_found_by_score_test_strength_and_truth():
    result = planted()
    means = [row["mean"] for row in result["scores"]]
    worths = [row["worth"] for row in result["strengths"]["plain"]["table"]]
    assert means == sorted(means) and worths == sorted(worths)
    test, gold = result["primary_test"], result["gold"]["primary_test"]
    assert (test["a"], test["b"]) == ("rlaif_rlhf", "rlhf") == (gold["a"], gold["b"])
    assert test["significant"] and test["ci_low"] > 0 and gold["mean_diff"] > 0
    assert result["answer"]["verdict"] == "helped" and result["friedman"]["p"] < 1e-4
    assert result["similarity"]["against_rank"]["rho"] > 0.2


def test_scores_of_the_models_sum_to_half_their_number():
    for models in (("rlhf", "rlaif_rlhf"), ("base", "sft", "rlhf"), MODELS[:4], MODELS):
        scores = planted(models=models)["scores"]
        assert sum(row["mean"] for row in scores) == pytest.approx(len(models) / 2)


def test_the_declared_comparison_is_the_only_one_outside_the_holm_family():
    families = [(p["a"], p["b"]) for p in planted()["pairs"] if p["family"] == "primary"]
    assert families == [("rlaif_rlhf", "rlhf")]


def test_reversing_the_declaration_reverses_the_sign_and_nothing_else():
    test = planted()["primary_test"]
    config = load_config("demo", ["analysis.resamples=299", "analysis.primary=[rlhf, rlaif_rlhf]"])
    data = evaluated(make_evaluation(40))
    other = analysis.statistics(data, config.analysis, seed=0)["primary_test"]
    assert other["mean_diff"] == -test["mean_diff"] and other["ci_low"] == -test["ci_high"]
    assert other["win"] == test["loss"] and other["p_perm"] == test["p_perm"]


def test_unscored_examples_are_missing_and_counted_never_zero():
    whole, part = make_evaluation(30), make_evaluation(30, unscored=6)
    result = analysed(part)
    assert result["counts"]["scored"] == 24 and result["counts"]["unscored"] == 6
    assert result["counts"]["rankings_unread"] == 12
    only = analysed(whole | {"per_example": whole["per_example"][:24]})
    assert [r["mean"] for r in result["scores"]] == [r["mean"] for r in only["scores"]]
    assert criterion(result, "completes") == "not met"


def test_nothing_scored_at_all_is_still_a_report_without_numbers():
    result = analysed(make_evaluation(25, unscored=25))
    assert result["scores"][0]["mean"] is None
    assert result["judge"]["kind"] == "mostly unscored"


def test_a_file_in_the_specified_format_alone_gives_the_same_order_of_models():
    evaluation = make_evaluation(40, orders=1, unscored=4)
    ours, theirs = analysed(evaluation), analysed(from_elsewhere(evaluation), planned=115)
    assert [r["mean"] for r in ours["scores"]] == [r["mean"] for r in theirs["scores"]]
    assert theirs["counts"]["planned"] == 115 and theirs["consistency"] is None
    assert any("every model has the score 0" in text for text in theirs["warnings"])
    assert any("one ranking per example" in text for text in theirs["warnings"])


def test_a_file_without_positions_and_similarity_is_analysed_as_far_as_it_goes():
    evaluation = changed(from_elsewhere(make_evaluation(24)), lambda row: (
        row.pop("position_map"), row.pop("similarity_scores")))
    result = analysed(evaluation)
    assert result["position"] is None and result["similarity"] is None
    assert any("position bias cannot be checked" in text for text in result["warnings"])


def test_models_with_one_reply_share_a_rank_and_say_nothing_of_slots():
    evaluation = make_evaluation(30)
    call = evaluation["per_example"][0]["judgments"][0]
    first, second = call["ranking"][:2]
    call["tied"] = [[first, second]]
    data = evaluated(evaluation)
    assert data.tied == 1 and data.asked - len(data.calls) == 1 and len(data.slots) == len(
        data.calls)
    assert analysed(evaluation)["counts"]["rankings_tied"] == 1
