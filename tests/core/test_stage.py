import json

import pytest

from persuasion_lib.core import runner, stage
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, DataError, MissingInput, StaleInput
from persuasion_lib.core.manifest import _changed_code, code_of, read_manifest, state
from persuasion_lib.core.pipeline import STAGES, path_of
from persuasion_lib.core.replacing import stages_before
from persuasion_lib.core.stage import start


def test_a_stage_before_its_inputs_names_the_notebook_to_begin_with(project, monkeypatch):
    with pytest.raises(MissingInput, match=r"Run notebooks/00_prepare.ipynb and those after it"):
        start("train_dpo")
    monkeypatch.setattr(stage, "read_manifest", lambda config, name: {"finished": "today"})
    with pytest.raises(MissingInput, match=r"Run notebooks/03_validate.ipynb first"):
        start("train_dpo")


def test_an_unknown_stage_lists_the_stages(project):
    with pytest.raises(ConfigError, match="prepare, label_ai"):
        start("train")


def test_after_a_run_every_stage_is_done(smoke_run, monkeypatch):
    monkeypatch.chdir(smoke_run[0])
    assert {state(load_config("smoke"), name)[0] for name in STAGES} == {"done"}


def test_a_changed_setting_makes_its_stage_stale_and_says_what_changed(smoke_run, monkeypatch):
    monkeypatch.chdir(smoke_run[0])
    config = load_config("smoke", ["dpo.beta=0.3"])
    condition, reasons = state(config, "train_dpo")
    assert (condition, [str(r) for r in reasons]) == ("stale", ["dpo.beta was 0.1, is 0.3"])
    assert state(config, "label_ai")[0] == "done"


def test_another_number_of_conversations_changes_the_data_and_so_all_that_follows(
        smoke_run, monkeypatch):
    monkeypatch.chdir(smoke_run[0])
    with pytest.raises(StaleInput, match=r"00_prepare.*data.conversations was 400, is 500.*"
                       r"overrides = \['data.conversations=400'\]"):
        start("label_ai", "smoke", ["data.conversations=500"])


@pytest.mark.parametrize(("name", "override", "said"), [
    ("analysis", "dpo.beta=0.3", r"04_train_dpo, .*: dpo.beta was 0.1, is 0.3.*"
                                 r"run --from train_dpo --name beta0-3"),
    ("human_eval", "label_ai.repeat_fraction=0.5", "01_label_ai, .*repeat_fraction was"),
    ("validate", "pairs.temperature=0.3", "00_prepare, .*pairs.temperature was")])
def test_no_stage_tells_of_settings_that_did_not_make_what_it_rests_on(
        smoke_run, monkeypatch, name, override, said):
    monkeypatch.chdir(smoke_run[0])
    with pytest.raises(StaleInput, match=f"{STAGES[name].notebook} rests on {said}"):
        start(name, "smoke", [override])
    with pytest.raises(StaleInput, match=said):
        runner.run("smoke", [override], only=name)


def test_a_gate_may_be_opened_for_a_later_stage_alone(smoke_copy):
    start("validate", "smoke", ["gates.max_opening_gap=0.9", "replace=true"])


def test_a_stage_rests_on_those_before_it_by_way_of_others_too(project):
    config = load_config("demo")
    before = {name: [each.name for each in stages_before(config, STAGES[name])]
              for name in ("prepare", "validate", "analysis")}
    assert before == {"prepare": [], "validate": ["prepare", "label_ai", "label_human"],
                      "analysis": [name for name in STAGES if name != "analysis"]}
    given = load_config("demo", ["analysis.input_file=theirs.json"])
    assert stages_before(given, STAGES["analysis"]) == []


def test_an_edited_output_is_noticed_by_its_own_and_the_next_stage(smoke_copy):
    path = path_of(load_config("smoke"), "rlhf_train")
    path.write_text(path.read_text().replace("a", "e", 1))
    condition, reasons = state(load_config("smoke"), "validate")
    assert (condition, [str(r) for r in reasons]) == (
        "stale", ["output rlhf_train changed or missing"])
    with pytest.raises(StaleInput, match="rlhf_train was changed after it was made"):
        start("train_dpo", "smoke")


def test_a_malformed_line_in_an_input_is_named_by_file_and_line(smoke_copy):
    from persuasion_lib import train_dpo
    config = load_config("smoke")
    run = start("train_dpo", "smoke")
    path = path_of(config, "rlaif_val")
    path.write_text(path.read_text() + '{"prompt": 3}\n')
    with pytest.raises(DataError, match=r"rlaif_val.jsonl:\d+: "):
        train_dpo.read_split(run, "rlaif", "val")


def test_a_file_of_the_users_own_is_used_and_noted(smoke_copy):
    config = load_config("smoke")
    (path_of(config, "manifests") / "02_label_human.json").unlink()
    run = start("validate", "smoke")
    assert any("human_pool_labeled was not made by this project" in w for w in run.warnings)


def test_a_manifest_holds_hashes_settings_code_and_versions(smoke_run, monkeypatch):
    monkeypatch.chdir(smoke_run[0])
    manifest = read_manifest(load_config("smoke"), "train_dpo")
    assert set(manifest["inputs"]) == {"rlaif_train", "rlaif_val", "rlhf_train", "rlhf_val", "sft",
                                       "judge_agreement"}
    assert manifest["settings"]["dpo.beta"] == 0.1
    assert "persuasion_lib.training.loop" in manifest["code"] and "trl" in manifest["versions"]
    assert manifest["counts"]["planned"] == manifest["counts"]["done"] == 3


def test_a_stage_depends_on_the_code_it_imports_and_no_other(project):
    code = code_of(load_config("demo"), STAGES["analysis"])
    assert "notebooks/06_analysis.ipynb" in code and "persuasion_lib.core.stage" in code
    assert not any(name.startswith("persuasion_lib.training") for name in code)


def test_a_comment_in_a_notebook_parameter_is_no_change_of_code(project):
    config = load_config("demo")
    before = code_of(config, STAGES["validate"])
    path = project / "notebooks" / "03_validate.ipynb"
    notebook = json.loads(path.read_text())
    cell = next(c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", []))
    cell["source"] = ['profile: str = "full"\n', "overrides: list = []"]
    path.write_text(json.dumps(notebook))
    assert code_of(config, STAGES["validate"]) == before


def test_trials_write_beside_and_never_into_the_real_files(project):
    real, trial = load_config("full"), load_config("full", ["label_ai.max_examples=10"])
    for name in ("ai_pool_labeled", "rlaif_train", "rlaif", "evaluation", "report", "figures"):
        assert path_of(trial, name) != path_of(real, name)
    for name in ("sft", "ai_pool_responses", "human_pool_labeled", "ai_judgments"):
        assert path_of(trial, name) == path_of(real, name)


def test_a_trial_evaluation_keeps_the_real_models_and_writes_its_own_results(project):
    real, trial = load_config("full"), load_config("full", ["evaluation.max_examples=5"])
    assert path_of(trial, "evaluation") != path_of(real, "evaluation")
    assert path_of(trial, "rlaif_rlhf") == path_of(real, "rlaif_rlhf")


def test_the_folders_are_those_of_the_specification(project):
    config = load_config("full")
    shown = {name: path_of(config, name).relative_to(project.resolve()).as_posix()
             for name in ("sft", "rlaif_rlhf", "evaluation", "rlaif_train", "test")}
    assert shown == {
        "sft": "models/checkpoints/qwen-sft/final",
        "rlaif_rlhf": "models/checkpoints/qwen-rlaif-rlhf/final",
        "evaluation": "results/final_evaluation.json",
        "rlaif_train": "data/preferences/rlaif_train.jsonl",
        "test": "data/processed/final_eval_reserved.jsonl"}


def test_much_changed_code_is_one_reason_that_names_three_modules():
    changed = [(name, "before", "now") for name in "abcde"]
    assert [reason.text for reason in _changed_code(changed)] == [
        "code of a, b, c and of 2 modules more changed"]
    assert _changed_code([]) == []
