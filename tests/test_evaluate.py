import json
import shutil

import pytest

from persuasion_lib import evaluate
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import DataError, LineageError
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.stage import start
from persuasion_lib.core.store import read_jsonl, write_jsonl
from persuasion_lib.reporting.evaluation_rows import Found
from worlds.fakeserver import FakeServer
from worlds.judging_world import judge_at

MODELS = ["base", "sft", "rlhf", "rlaif", "rlaif_rlhf"]


@pytest.fixture
def result(smoke_run, monkeypatch):
    monkeypatch.chdir(smoke_run[0])
    return json.loads(path_of(load_config("smoke"), "evaluation").read_text())


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


def test_similarities_come_with_what_they_mean(result):
    for row in result["per_example"]:
        baselines = row["similarity_baselines"]
        assert baselines["other_example"] != row["example_id"]
        assert set(baselines["responses"]) == set(MODELS)
    mean = {name: sum(row["similarity_baselines"][name] for row in result["per_example"])
            for name in ("oracle", "prompt")}
    assert mean["oracle"] > 0 and 0 < mean["prompt"] < len(result["per_example"])


def test_every_reply_and_both_sides_of_labelled_pairs_were_searched_for_tactics(result):
    assert all(set(row["tactics"]) == set(MODELS) and None not in row["tactics"].values()
               for row in result["per_example"])
    assert {row["pool"] for row in result["label_tactics"]} == {"ai", "human"}
    assert all(row["chosen"] is not None for row in result["label_tactics"])


def test_the_judge_that_ranks_is_compared_with_the_annotator(result):
    agreed = result["judge_agreement"]
    assert (agreed["both"], agreed["judge"]) == (40, "offline/stand-in")
    of_each = agreed["people"]["judge"]
    assert {name: one["self"]["with_ties"]["n"] for name, one in of_each.items()} == {
        "simulated": 6, "second stand-in": 1}
    asked = result["config"]["asked_models"]
    assert asked["judge"] == asked["labeller"] == agreed["judge"]


def test_the_judge_compared_pairs_that_it_ranks_and_called_the_same_reply_a_tie(result):
    twins = [row for row in result["controls"] if row["a"] == row["b"]]
    assert len(twins) == len(result["controls"]) / 2 == 12
    assert {row["label"] for row in twins} == {"EQUAL"}


def test_the_labeller_that_ranks_as_well_is_not_asked_about_the_human_pool_again(smoke_copy):
    run = start("evaluate", "smoke")
    log = run.path("human_pool_judgments").read_bytes()
    evaluate.judge_agreement(run, evaluate.read_labels(run))
    assert run.path("human_pool_judgments").read_bytes() == log and log


def test_another_judge_than_the_labeller_costs_what_was_planned_and_labels_the_human_pool(
        smoke_copy, monkeypatch):
    with FakeServer() as server:
        judge_at(server, monkeypatch)
        run = start("evaluate", "smoke", ["evaluation.judge=anthropic", "safety.judge=anthropic",
                                          "rate_limiting.requests_per_minute=60000",
                                          "replace=true"])
        examples, models = evaluate.read_test_set(run), evaluate.present_models(run)
        responses = evaluate.generate_responses(run, examples, models)
        labels = evaluate.read_labels(run)
        plan = evaluate.plan_of(run, examples, responses, labels)
        evaluate.rank_responses(run, examples, responses)
        agreed = evaluate.judge_agreement(run, labels)
        evaluate.control_judgments(run, examples, responses)
        evaluate.find_tactics(run, examples, responses, labels)
    # Each of 12 replies beside itself, in two orders, and the declared pair where its texts differ.
    assert 12 * 2 < plan["controls of the judge"].calls <= 12 * 2 * 2
    assert plan["labels of the human pool"].calls == 80 and plan["oracle replies"].calls == 0
    known_answers = 3 + 2       # asked before a judge is used, of pairs and of manipulation
    assert sum(p.calls for p in plan.values()) + known_answers == len(server.requests)
    assert (agreed["judge"], agreed["both"]) == ("anthropic/claude-sonnet-5-5", 40)
    assert not any("could not be searched" in warning for warning in run.warnings)
    found = read_jsonl(run.path("tactics_judgments"), dict, made_by="05")
    assert sum(row["usd"] for row in found) < plan["manipulation tactics"].usd[1]


def test_the_plan_names_every_paid_step_before_it_is_paid_for(smoke_copy):
    run = start("evaluate", "smoke")
    examples, models = evaluate.read_test_set(run), evaluate.present_models(run)
    responses = evaluate.generate_responses(run, examples, models)
    labels = evaluate.read_labels(run)
    done = evaluate.plan_of(run, examples, responses, labels)
    assert {name: plan.calls for name, plan in done.items()} == dict.fromkeys((
        "oracle replies", "rankings", "labels of the human pool", "controls of the judge",
        "manipulation tactics", "embeddings"), 0)
    run.path("rank_judgments").unlink()
    assert evaluate.plan_of(run, examples, responses, labels)["rankings"].calls == 24
    assert "| **in all** | | 0 |" in done._repr_markdown_()


def evaluated(run):
    """What the notebook does, without tactics and controls: the file, and the plan before it."""
    examples, models = evaluate.read_test_set(run), evaluate.present_models(run)
    replies = evaluate.generate_responses(run, examples, models)
    labels = evaluate.read_labels(run)
    plan = evaluate.plan_of(run, examples, replies, labels)
    oracle = evaluate.oracle_replies(run, examples)
    found = Found(
        responses=replies, oracle=oracle, tactics={}, agreed={},
        verdicts=evaluate.rank_responses(run, examples, replies),
        panel=evaluate.panel_rankings(run, examples, replies),
        similarity=evaluate.similarity_to_oracle(run, examples, replies, oracle))
    return evaluate.write_evaluation(run, examples, labels, found), plan


def test_a_panel_and_a_person_take_part_and_the_models_scores_are_of_models_alone(
        smoke_copy, monkeypatch):
    monkeypatch.setenv("LOCAL_KEY", "a-key-of-the-local-server")
    with FakeServer() as server:
        run = start("evaluate", "smoke", [
            f'servers.second={{base_url: "{server.url}/v1", model: m, price: [0, 0], '
            'api_key_env: LOCAL_KEY}', "evaluation.judges=[offline, second]",
            "evaluation.human_reply=true", "replace=true"])
        file, plan = evaluated(run)
    people = file.config.human_reply
    assert plan["rankings"].calls == 2 * people["ranked"]       # the others were ranked before
    assert plan["rankings by second"].calls == 24
    assert people["ranked"] + sum(people["left_out"].values()) == 12
    ranked = [row for row in file.per_example if "human" in row.judgments[0].ranking]
    assert len(ranked) == people["ranked"] > 0
    for row in ranked:
        assert set(row.grader_scores) == set(row.similarity_scores) == set(MODELS)
        assert sum(row.grader_scores.values()) == pytest.approx(2.5)
        assert all("human" in call.ranking for call in row.panel["second"])
    assert file.config.panel == {"offline": "offline/stand-in", "second": "second/m"}
    assert file.models() == MODELS


def test_prompts_for_the_judge_alone_are_answered_and_ranked_and_in_no_mean(smoke_copy):
    path = path_of(load_config("smoke"), "test")
    rows = read_jsonl(path, dict, made_by="00")
    for row in rows[8:]:
        row["metadata"]["judge_only"] = True
    write_jsonl(path, rows)
    run = _run_without_origin_check("evaluation.judge_only_examples=4")
    file, plan = evaluated(run)
    assert plan["rankings"].known == 24 and plan["oracle replies"].known == 8
    assert file.summary.num_examples == len(file.grader_scores["base"]) == 8
    alone = [row for row in file.per_example if row.judge_only]
    assert len(alone) == 4 and file.per_example[8:] == alone
    assert all(row.grader_scores and not row.similarity_scores and not row.tactics
               for row in alone)


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


def _run_without_origin_check(*overrides):
    from persuasion_lib.core.pipeline import STAGES
    from persuasion_lib.core.stage import StageRun
    return StageRun(STAGES["evaluate"], load_config("smoke", overrides), {})


def test_one_model_alone_cannot_be_compared(smoke_copy):
    run = start("evaluate", "smoke", ["evaluation.models=[rlhf, rlaif]", "replace=true"])
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
