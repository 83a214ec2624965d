import json
import shutil

import pytest

from persuasion_lib import evaluate
from persuasion_lib.config import load_config
from persuasion_lib.errors import DataError, LineageError
from persuasion_lib.judging import RankVerdict
from persuasion_lib.stage import path_of, start

MODELS = ["base", "sft", "rlhf", "rlaif", "rlaif_rlhf"]


@pytest.fixture
def result(smoke_run, monkeypatch):
    monkeypatch.chdir(smoke_run[0])
    return json.loads(path_of(load_config("smoke"), "evaluation").read_text())


def verdict(*ranking):
    return RankVerdict(tuple(ranking), {}, "")


def test_the_score_is_one_for_first_and_zero_for_last():
    assert evaluate.mean_scores([verdict("b", "c", "a")], "abc") == {"a": 0.0, "b": 1.0, "c": 0.5}


def test_two_orders_are_averaged_and_an_unreadable_one_is_left_out():
    scores = evaluate.mean_scores([verdict("a", "b"), verdict("b", "a"), verdict()], "ab")
    assert scores == {"a": 0.5, "b": 0.5}


def test_an_example_without_a_readable_verdict_is_unscored_not_zero():
    assert evaluate.mean_scores([verdict()], "ab") is None


def test_the_file_has_the_fields_of_the_specification(result):
    assert {"config", "grader_scores", "similarity_scores", "per_example", "summary"} <= set(result)
    assert {"num_examples", "models_evaluated", "grader_normalized_scores",
            "average_similarity_scores"} <= set(result["summary"])
    fields = {"example_id", "prompt", "responses", "oracle", "grader_ranking", "grader_scores",
              "grader_explanation", "similarity_scores", "position_map"}
    assert all(fields <= set(row) for row in result["per_example"])
    assert result["summary"]["models_evaluated"] == MODELS


def test_the_file_carries_how_every_model_was_trained(result):
    assert list(result["training"]) == MODELS[1:]
    for model, log in result["training"].items():
        kept = next(p for p in log["points"] if p["step"] == log["best_step"])
        assert kept["held_out_loss"] == min(p["held_out_loss"] for p in log["points"]
                                            if p["step"] and "held_out_loss" in p)
        assert model == "sft" or {"accuracy", "margin", "kl", "reply_tokens"} <= set(kept)


def test_scores_of_an_example_sum_to_half_the_number_of_models(result):
    for row in result["per_example"]:
        assert sum(row["grader_scores"].values()) == pytest.approx(2.5)


def test_no_model_keeps_a_slot_and_the_order_differs_between_examples(result):
    maps = [tuple(row["position_map"].values()) for row in result["per_example"]]
    assert len(set(maps)) > 6
    for row in result["per_example"]:
        first, second = (j["position_map"] for j in row["judgments"])
        assert all(first[slot] != second[slot] for slot in first)


def test_similarity_is_a_cosine(result):
    values = [v for row in result["per_example"] for v in row["similarity_scores"].values() if v]
    assert values and all(-1 <= v <= 1 for v in values)


def test_a_missing_checkpoint_is_left_out_with_a_warning(smoke_copy):
    shutil.rmtree(path_of(load_config("smoke"), "rlaif_rlhf"))
    run = start("evaluate", "smoke")
    assert evaluate.present_models(run) == ["base", "sft", "rlhf", "rlaif"]
    assert any("left out: rlaif_rlhf" in warning for warning in run.warnings)


def test_a_foreign_checkpoint_is_refused_not_left_out(smoke_copy):
    path = path_of(load_config("smoke"), "rlhf") / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    run = _run_without_origin_check()
    with pytest.raises(LineageError, match="rlhf"):
        evaluate.present_models(run)


def _run_without_origin_check():
    from persuasion_lib.stage import STAGES, StageRun
    return StageRun(STAGES["evaluate"], load_config("smoke"), {})


def test_one_model_alone_cannot_be_compared(smoke_copy):
    run = start("evaluate", "smoke", ["evaluation.models=[rlhf, rlaif]"])
    for name in ("rlhf", "rlaif", "rlaif_rlhf"):
        shutil.rmtree(path_of(run.config, name))
    with pytest.raises(DataError, match="a comparison needs two"):
        evaluate.present_models(run)


def test_a_test_prompt_that_was_trained_on_stops_the_evaluation(smoke_copy):
    config = load_config("smoke")
    leaked = path_of(config, "test").read_text().splitlines()[0]
    path = path_of(config, "sft_train")
    path.write_text(path.read_text() + leaked + "\n")
    with pytest.raises(DataError, match="1 rows of test share a conversation with sft_train"):
        evaluate.read_test_set(_run_without_origin_check())


def test_a_copy_of_a_test_prompt_under_another_name_stops_it_too(smoke_copy):
    """Labelled files count: they may be the user's own."""
    config = load_config("smoke")
    leaked = json.loads(path_of(config, "test").read_text().splitlines()[2])
    path = path_of(config, "rlhf_train")
    row = json.loads(path.read_text().splitlines()[0])
    row["prompt"] = leaked["input_text"]
    path.write_text(path.read_text() + json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"copied in rlhf_train: 100% of row 3 "):
        evaluate.read_test_set(_run_without_origin_check())


def test_a_trial_takes_the_first_prompts_and_says_so(smoke_copy):
    run = start("evaluate", "smoke", ["evaluation.max_examples=5"])
    assert len(evaluate.read_test_set(run)) == 5
    assert any("Trial: 5 of 12" in warning for warning in run.warnings)
