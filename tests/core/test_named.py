"""Runs with a name stand beside the project's own, and nothing finished is replaced in silence."""

import pytest

from persuasion_lib.cli import main
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.manifest import FORMAT, Reason, manifest_path, state
from persuasion_lib.core.named import refuse_another_place
from persuasion_lib.core.overrides import keep_for_run
from persuasion_lib.core.pipeline import STAGES, path_of
from persuasion_lib.core.replacing import _is_another_experiment, _name_for, refuse_to_replace
from persuasion_lib.core.runs import all_runs, described, differing, identity, summed
from persuasion_lib.core.store import read_json, write_json, write_text
from persuasion_lib.training.loop import seed_of
from worlds.study_world import study_of

READS = {"prepare": ("seed", "data.path", "model.base"), "label_ai": ("label_ai.judge",),
         "label_human": ("label_human.source",), "validate": ("gates.val_fraction",),
         "train_dpo": ("dpo.beta", "seed"), "evaluate": ("evaluation.orders",),
         "analysis": ("analysis.confidence",)}


def finish(*overrides, stages=tuple(READS), profile="smoke"):
    """Leave the files and the manifest of stages that read the settings above."""
    config = load_config(profile, overrides)
    for name in stages:
        stage = STAGES[name]
        for output in stage.writes:
            write_text(path_of(config, output), f"{name} with {overrides}")
        write_json(manifest_path(config, stage), {
            "format": FORMAT, "stage": name, "finished": "2026-11-27T12:00:00",
            "settings": {key: config.peek(key) for key in READS[name]}, "prompts": {}, "files": {},
            "run": {"settings": differing(config)}})
    if "analysis" in stages:
        write_json(path_of(config, "analysis"),
                   {"answer": {"sentences": [f"Beta {config.dpo.beta}"]}})
    return config


def places(*overrides):
    """Of each stage the path of its first file, below the project."""
    config = load_config("smoke", overrides)
    return {name: path_of(config, stage.writes[0]).relative_to(config.root).as_posix()
            for name, stage in STAGES.items()}


def test_a_name_alone_moves_models_and_results_and_nothing_else(project):
    finish()
    plain, named = places(), places("name=again")
    same = {name for name in plain if plain[name] == named[name]}
    assert same == {"prepare", "label_ai", "label_human", "validate"}
    assert named["train_dpo"].startswith("models/smoke/runs/again/checkpoints/")
    assert named["analysis"] == "results/smoke/runs/again/analysis.json"


@pytest.mark.parametrize("override", ["dpo.beta=0.4", "training.seed=3", "evaluation.orders=1"])
def test_what_changes_models_or_results_shares_pools_and_labels(project, override):
    finish()
    named = places("name=b", override)
    assert [name for name in named if "runs/b" not in named[name]] == [
        "prepare", "label_ai", "label_human", "validate"]
    assert state(load_config("smoke", ["name=b", override]), "train_dpo")[0] == "missing"


@pytest.mark.parametrize("override", ["seed=1", "model.base=other/model", "data.path=second.jsonl"])
def test_other_data_or_another_model_share_nothing(project, override):
    for settled in (False, True):       # whether or not the project's own run has ended
        if settled:
            finish()
        assert all("runs/s1" in place for place in places("name=s1", override).values())


def test_another_judge_shares_the_pools_only(project):
    finish()
    named = places("name=j", "label_ai.judge=anthropic")
    assert [name for name in named if "runs/j" not in named[name]] == ["prepare"]


def test_what_a_named_run_made_for_itself_stays_its_own(project):
    finish("name=s1", "seed=1")
    finish("seed=1")                    # now the project's own is the same
    assert "runs/s1" in places("name=s1", "seed=1")["prepare"]


def test_pools_of_an_unnamed_run_with_overrides_are_shared_by_what_they_are(project):
    finish("seed=5")
    assert "runs" not in places("name=b", "seed=5", "dpo.beta=0.4")["prepare"]


@pytest.mark.parametrize(("stage", "override"), [
    ("train_dpo", "dpo.beta=0.4"), ("prepare", "seed=1"), ("prepare", "model.base=other"),
    ("prepare", "data.path=second.jsonl"), ("label_human", "label_human.source=file")])
def test_nothing_finished_is_replaced_in_silence(project, stage, override):
    finish()
    key, _, value = override.partition("=")
    changed = load_config("smoke", [override])
    with pytest.raises(ConfigError, match=rf"{key} was .*is {value}.*--name.*--replace"):
        refuse_to_replace(changed, STAGES[stage])
    refuse_to_replace(load_config("smoke", [override, "replace=true"]), STAGES[stage])
    refuse_to_replace(load_config("smoke", [override, "name=other"]), STAGES[stage])
    refuse_to_replace(load_config("smoke"), STAGES[stage])


def test_a_named_run_is_not_replaced_either(project):
    finish("name=b", "dpo.beta=0.4")
    with pytest.raises(ConfigError, match="dpo.beta was 0.4, is 0.5.*--name beta0-5"):
        refuse_to_replace(load_config("smoke", ["name=b", "dpo.beta=0.5"]), STAGES["train_dpo"])


def test_where_a_run_is_counts_as_nothing_that_a_stage_read(project):
    for name in ([], ["name=b"]):
        config = load_config("smoke", name)
        path_of(config, "sft_train")
        assert config.reads.settings == set()


def test_the_size_of_a_trial_and_a_key_of_an_earlier_version_are_no_other_experiment(project):
    config = finish("evaluation.max_examples=5")
    path = manifest_path(config, STAGES["evaluate"])
    manifest = read_json(path, made_by="us")
    manifest["settings"] |= {"evaluation.max_examples": 5, "evaluation.gone": 1}
    write_json(path, manifest)
    refuse_to_replace(load_config("smoke", ["evaluation.max_examples=9"]), STAGES["evaluate"])


@pytest.mark.parametrize("changed", [
    "dpo.beta was 0.1, is 0.25", "model.base was a, is Qwen/Qwen2.5-0.5B-Instruct",
    "dpo.per_device_train_batch_size was 1, is 1000000000", "servers was {}, is {…}",
    "data.path was x, is é.ü"])
def test_every_name_that_is_suggested_is_one_for_a_run_and_for_a_study(project, changed):
    name = _name_for([Reason("setting", changed)])
    assert load_config("smoke", [f"name={name}"]).name == study_of(project, name=name).name == name


def test_a_named_run_leaves_every_byte_of_the_others(project):
    finish()
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    finish("name=b", "dpo.beta=0.4", stages=("train_dpo", "evaluate", "analysis"))
    finish("name=s", "seed=1")
    assert {path: path.read_bytes() for path in before} == before


def test_the_runs_are_listed_with_what_differs_and_their_headline(project):
    finish()
    finish("name=b", "dpo.beta=0.4", stages=("train_dpo", "evaluate", "analysis"))
    rows = {row["run"]: row for row in all_runs(load_config("smoke"))}
    assert rows["smoke"]["differs"] == "–" and rows["smoke"]["headline"] == "Beta 0.1"
    assert rows["smoke/runs/b"]["differs"] == "dpo.beta=0.4"
    assert rows["smoke/runs/b"]["headline"] == "Beta 0.4"
    assert rows["smoke/runs/b"]["state"] == "complete"


def test_a_run_is_listed_with_the_settings_that_its_stages_have_read(project):
    """As 00 to 03 of a study, which run under the settings of its cells."""
    finish("evaluation.orders=1", "gates.val_fraction=0.2", stages=("prepare", "validate"))
    rows = {row["run"]: row for row in all_runs(load_config("smoke"))}
    assert rows["smoke"]["differs"] == "gates.val_fraction=0.2"


def test_the_cells_of_a_study_are_one_row_with_its_first_sentence(project):
    for cell in ("beta.0-1.s1", "beta.0-1.s2"):
        finish(f"name={cell}", "dpo.beta=0.4", stages=("train_dpo", "evaluate"))
    rows = {row["run"]: row for row in all_runs(load_config("smoke"))}
    assert set(rows) == {"smoke/runs/beta.0-1.s1", "smoke/runs/beta.0-1.s2"}    # of no study
    study = project / "results/smoke/studies/beta"
    study.mkdir(parents=True)
    row, = all_runs(load_config("smoke"))
    assert (row["run"], row["state"]) == ("smoke/studies/beta", "begun")
    assert row["differs"] == "by cell, 2 so far" and row["headline"] == "no study.json yet"
    write_json(study / "study.json", {"sentences": ["Beta matters little.", "More."]})
    row, = all_runs(load_config("smoke"))
    assert (row["headline"], row["state"]) == ("Beta matters little.", "complete")


def test_the_head_of_a_report_sums_up_what_was_done():
    stages = {"label_ai": {"done": 9, "planned": 10, "minutes": 1.5, "usd": 0.25},
              "analysis": {"done": 5, "planned": 5, "minutes": 0.5, "usd": None}}
    assert summed(stages) == ("Done of planned: 01_label_ai 9 of 10, 06_analysis 5 of 5; 2 min,"
                              " 0.25 dollars for labels.")
    assert summed(None) == summed({}) == ""


def test_a_result_says_what_it_is_a_result_of(project):
    run = identity(load_config("smoke", ["name=b", "dpo.beta=0.4", "paths.data=elsewhere"]))
    assert run["settings"] == {"dpo.beta": 0.4} and run["profile"] == "smoke"
    assert described(run).startswith("Run b of the profile smoke, 2")
    assert described(run).endswith("settings of its own: dpo.beta = 0.4.")
    assert differing(load_config("demo")) == {} and described(None) == ""


def test_the_training_seed_is_another_than_that_of_data_and_sft(project):
    config = load_config("smoke", ["training.seed=7"])
    assert seed_of(config, "dpo") == 7 and seed_of(config, "sft") == config.seed == 0
    assert seed_of(load_config("smoke", ["seed=2"]), "dpo") == 2


@pytest.mark.parametrize("name", ["../x", "a/b", "-", ".hidden", "x" * 80])
def test_a_name_is_a_folder_name(project, name):
    with pytest.raises(ConfigError, match="name"):
        load_config("smoke", [f"name={name}"])


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_no_name_and_not_the_project_itself(project, name, capsys):
    with pytest.raises(SystemExit):
        main(["run", "--name", name])
    assert "--name needs a name" in capsys.readouterr().err


def test_a_check_that_is_allowed_is_no_other_experiment(project):
    reason = Reason("setting", "checks.allow was [], is ['tie share']")
    assert not _is_another_experiment(load_config("demo"), reason)


@pytest.mark.parametrize("text", ["null", "[]", "{}", '{"stage": '])
def test_a_damaged_manifest_is_named_in_one_sentence_and_is_no_traceback(project, text, capsys):
    file = write_text(manifest_path(load_config("smoke"), STAGES["prepare"]), text)
    for command in ("status", "runs"):
        assert main([command, "--profile", "smoke"]) == 1
        assert capsys.readouterr().err.startswith(f"error: {file}")


def test_a_name_that_leads_to_results_of_one_corpus_is_not_led_to_another_in_silence(project):
    finish("name=b", "dpo.beta=0.4")
    keep_for_run(project, "b", "smoke", ["dpo.beta=0.4"])
    refuse_another_place(load_config("smoke", ["name=b", "dpo.beta=0.5"]))
    other = ["name=b", "data.source=files"]
    with pytest.raises(ConfigError, match="b is a run in .*smoke/runs/b, .*smoke-files/runs/b"):
        refuse_another_place(load_config("smoke", other))
    refuse_another_place(load_config("smoke", [*other, "replace=true"]))
    refuse_another_place(load_config("smoke", ["name=c", "data.source=files"]))
