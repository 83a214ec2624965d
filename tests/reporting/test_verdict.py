import pytest

from persuasion_lib.reporting.evaluation_file import Setup
from persuasion_lib.reporting.verdict import limits
from persuasion_lib.reporting.wording import p_text
from worlds.synthetic_evaluation import (
    MODELS,
    analysed,
    criterion,
    make_evaluation,
    planted,
)


def test_every_criterion_is_met_when_the_order_is_as_hoped():
    verdicts = [row["verdict"] for row in planted()["criteria"]]
    assert verdicts == ["met"] * 7 + ["cannot be decided"]


@pytest.mark.parametrize(("asked", "words"), [
    ({"judge": "m1", "oracle": "m1", "labeller": "m2"}, "the oracle are the same model (m1)"),
    ({"judge": "m1", "oracle": "m2", "labeller": "m3"}, "of the same service (anthropic)"),
    ({}, "of the same service (anthropic)")])
def test_one_model_in_several_roles_is_told_from_one_service(asked, words):
    setup = dict.fromkeys(("judge", "oracle", "labeller"), "anthropic") | {"asked_models": asked}
    assert any(words in text for text in limits(Setup(**setup)))


def test_a_trial_and_a_handful_of_prompts_give_no_verdict():
    for result in (planted(n=24, trial=True), planted(n=19)):
        assert result["answer"]["verdict"].startswith("none")
        assert criterion(result, "significance") == "cannot be decided"


def test_equal_models_are_not_called_equal():
    result = analysed(make_evaluation(40, effect=dict.fromkeys(MODELS, 0.0), seed=3))
    assert result["answer"]["verdict"] == "no difference detected"
    text = " ".join(result["answer"]["sentences"])
    assert "does not mean that there is none" in text and "found four times in five" in text
    assert criterion(result, "warm-up") == "cannot be decided"


def test_a_model_that_gets_worse_makes_the_criterion_not_met():
    effect = {"base": 2.0, "sft": 0.0, "rlhf": 1.0, "rlaif": 1.0, "rlaif_rlhf": -2.0}
    result = analysed(make_evaluation(40, effect=effect))
    assert result["answer"]["verdict"] == "harmed"
    assert criterion(result, "warm-up") == criterion(result, "improve") == "not met"


def test_without_the_declared_models_there_is_no_verdict_but_a_report():
    result = planted(models=("base", "sft", "rlhf"))
    assert result["primary_test"] is None and "not both evaluated" in str(result["answer"])
    assert criterion(result, "All 4 models") == "not met"


def test_a_p_value_is_never_printed_as_zero():
    assert p_text(1e-9) == p_text(1e-4) == "p <0.0001"
    assert p_text(0.0123) == "p = 0.012" and p_text(None) == "p undefined"


def test_the_same_stand_in_in_several_roles_is_said():
    text = " ".join(planted()["limits"])
    assert "Stand-ins" in text and "not independent evidence" in text
