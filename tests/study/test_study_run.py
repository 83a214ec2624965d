"""Cells run once, in whatever processes, and one that fails stops no other."""

import json
import multiprocessing
import shutil
import time

import pytest

from persuasion_lib.cli import main
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, PersuasionError
from persuasion_lib.core.manifest import FORMAT, conditions, manifest_path
from persuasion_lib.core.overrides import keep_for_run
from persuasion_lib.core.pipeline import STAGES, path_of
from persuasion_lib.core.store import read_json, write_json, write_text
from persuasion_lib.judging.tasks.compare import Compare
from persuasion_lib.study import run, shared
from persuasion_lib.study.anchored import record_of
from persuasion_lib.study.design import Study, read_study
from persuasion_lib.study.plan import plan_of
from persuasion_lib.study.run import part_of, run_study, states
from persuasion_lib.study.scores import read_scores
from worlds.study_world import Notebooks, study_of, write_study


@pytest.fixture
def notebooks(project, monkeypatch):
    return Notebooks(monkeypatch)


def condition(study: Study) -> list[str]:
    return list(states(study)["state"])


def test_a_study_runs_every_cell_once_and_a_second_time_nothing(project, notebooks):
    study = study_of(project)
    assert condition(study) == ["missing"] * 4
    run_study(study)
    assert notebooks.ran == [cell.name for cell in study.cells]
    assert condition(study) == ["done"] * 4
    run_study(study)
    assert len(notebooks.ran) == 4


def test_a_cell_that_fails_is_named_and_the_others_run(project, notebooks):
    study = study_of(project)
    notebooks.broken = {"small.50.s1": PersuasionError(
        f"the loss of rlhf\nbecame NaN. See {project.resolve()}/results/x.ipynb")}
    run_study(study)
    table = states(study).set_index("cell")
    assert list(table["state"]) == ["done", "failed", "done", "done"]
    assert table.loc["small.50.s1", "sentence"] == (
        "the loss of rlhf became NaN. See results/x.ipynb")
    notebooks.broken = {}
    run_study(study)
    assert condition(study) == ["done"] * 4 and notebooks.ran.count("small.25.s1") == 1


def test_a_study_of_another_profile_leaves_the_cells_of_the_first_as_they_are(project, notebooks):
    run_study(study_of(project))
    run_study(read_study(load_config("smoke", ["dpo.beta=0.3"]), write_study(project)))
    assert len(notebooks.ran) == 8
    for profile, beta in (("demo", 0.1), ("smoke", 0.3)):
        config = load_config(profile, "name=small.25.s1")
        assert config.dpo.beta == beta and path_of(config, "evaluation").exists()


def finish(config, stage: str, *keys: str):
    """Leave the files and the manifest of a stage that read these settings."""
    for name in STAGES[stage].writes:
        write_text(path_of(config, name), "made\n")
    write_json(manifest_path(config, STAGES[stage]), {
        "format": FORMAT, "stage": stage, "settings": {key: config.peek(key) for key in keys},
        "started": "2026-11-27T12:00:00", "finished": "2026-11-27T12:03:00", "prompts": {},
        "files": {}, "inputs": {}, "outputs": {}, "code": {}, "counts": {"ledger": {"usd": 1.5}}})


def test_a_refused_study_leaves_the_settings_of_its_cells_as_they_are(project, notebooks):
    run_study(study_of(project))
    for cell in study_of(project).cells:
        finish(cell.config(), "train_dpo", "dpo.beta")
        path_of(cell.config(), "evaluation").unlink()
    ended = run_study(study_of(project, "dpo.beta=0.3"))
    assert "dpo.beta was 0.1, is 0.3" in states(ended)["sentence"][0]
    assert len(notebooks.ran) == 4
    assert load_config("demo", "name=small.25.s1").dpo.beta == 0.1


def test_a_cell_that_is_done_has_its_settings_by_its_name_whoever_spoilt_them(project, notebooks):
    run_study(study_of(project))
    keep_for_run(project, "small.25.s1", "demo", ["dpo.beta=0.3"])
    run_study(study_of(project))
    assert load_config("demo", "name=small.25.s1").dpo.beta == 0.1


def test_a_plan_names_what_all_cells_share_and_would_be_made_anew(project, notebooks, monkeypatch):
    finish(study_of(project).config, "prepare", "sft.num_epochs")
    monkeypatch.setattr(shared, "conditions", conditions)
    first = plan_of(study := study_of(project, "sft.num_epochs=7"), study.cells)["first"]
    assert first.startswith("once for all cells: 00_prepare (3.0 min and 1.50 dollars last time), "
                            "01_label_ai (time and dollars not known before), 02_label_human")
    assert first.endswith(". 00_prepare: sft.num_epochs was 1, is 7")


def test_neither_name_nor_replace_of_a_study_replaces_what_all_share_and_it_says_what_does(
        project, notebooks, monkeypatch, capsys):
    finish(study_of(project).config, "prepare", "sft.num_epochs")
    monkeypatch.setattr(shared, "conditions", conditions)
    assert main(["study", str(write_study(project)), "--name", "strict", "--replace", "--set",
                 "sft.num_epochs=7"]) == 1
    said = capsys.readouterr().err
    assert "All studies and runs share these" in said and notebooks.ran == []
    assert "run --profile demo --to validate --replace --set sft.num_epochs=7, and then" in said


def test_a_study_whose_judge_has_no_key_is_refused_before_anything_is_trained(
        project, notebooks, capsys):
    asked = ["study", str(write_study(project)), "--set", "evaluation.judge=anthropic"]
    assert main([*asked, "--plan"]) == 0
    assert main(asked) == 1 and notebooks.ran == []
    said = capsys.readouterr().err
    assert said.startswith("error: 05_evaluate could not work, so nothing was started. API key")
    assert "--to" not in said


def test_a_study_of_another_corpus_needs_a_name_of_its_own(project, notebooks, capsys):
    run_study(study_of(project))
    finish(study_of(project).cells[0].config(), "train_dpo", "dpo.beta")
    file = project / "configs/runs/demo/small.25.s1.yaml"
    before = file.read_bytes()
    other = ["study", str(write_study(project)), "--set", "data.source=persuasionforgood",
             "--set", "oracle.source=offline"]
    assert main(other) == 1 and file.read_bytes() == before and len(notebooks.ran) == 4
    assert "small.25.s1 is a run in" in capsys.readouterr().err


def test_the_command_ends_with_1_and_the_sentence_of_a_failed_cell(project, notebooks, capsys):
    notebooks.broken = {"small.50.s1": PersuasionError("the loss of rlhf became NaN.")}
    assert main(["study", str(write_study(project))]) == 1
    said = capsys.readouterr()
    assert "small.50.s1: the loss of rlhf became NaN." in said.err
    assert "3 cells done, 1 cells failed" in said.out
    notebooks.broken = {}
    assert main(["study", str(write_study(project))]) == 0


@pytest.mark.parametrize("error", [
    OSError(28, "No space left on device"),
    PersuasionError("04_train_dpo, cell 7: a disk is full (…). Free some space.")])
def test_a_full_disk_stops_the_study_with_one_sentence_and_loses_nothing(project, notebooks, capsys,
                                                                         error):
    command = ["study", str(write_study(project))]
    assert main(command) == 0
    study = study_of(project)
    undisturbed = (study.folder / "study.json").read_bytes()
    shutil.rmtree(project / "results")
    notebooks.broken = {"small.50.s1": error}
    capsys.readouterr()
    assert main(command) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "small stops at small.50.s1: a disk is full" in said[0]
    assert condition(study) == ["done", "missing", "missing", "missing"]
    notebooks.broken = {}
    assert main(command) == 0 and notebooks.ran.count("small.25.s1") == 2
    assert (study.folder / "study.json").read_bytes() == undisturbed


def test_a_plan_runs_nothing_and_writes_nothing(project, notebooks, capsys):
    file = write_study(project)
    before = set(project.rglob("*"))
    assert main(["study", str(file), "--plan"]) == 0
    assert notebooks.ran == [] and "4 of 4 still to run" in capsys.readouterr().out
    assert set(project.rglob("*")) == before


def test_parts_are_neighbours_and_together_the_whole(project):
    study = study_of(project, seeds=5)
    parts = [part_of(study, f"{number}/3") for number in (1, 2, 3)]
    assert sum(parts, ()) == study.cells and [len(part) for part in parts] == [3, 3, 4]
    assert {cell.seed for cell in part_of(study, "2/5")} == {2}


@pytest.mark.parametrize("part", ["0/3", "4/3", "3", "a/b", "-1/3", "1/0", "²/3"])
def test_what_is_no_part_is_refused(project, part):
    with pytest.raises(ConfigError, match="3/8 is the third of eight"):
        part_of(study_of(project), part)


def test_a_part_without_a_cell_is_refused(project):
    with pytest.raises(ConfigError, match="--cells 1/100 is empty: 4 cells make 4 parts at most"):
        part_of(study_of(project), "1/100")


def test_two_processes_share_the_cells_and_do_none_twice(project, notebooks, monkeypatch):
    monkeypatch.setattr(run, "POLL_S", 0.05)
    study = study_of(project)
    fork = multiprocessing.get_context("fork")      # they take the world of this test with them
    both = [fork.Process(target=run_study, args=[study]) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0]
    assert sorted(notebooks.ran) == sorted(cell.name for cell in study.cells)
    assert condition(study) == ["done"] * 4


def test_killed_again_and_again_a_study_ends_as_one_that_was_not(project, notebooks, monkeypatch):
    """Six kills, each a few judgments after the one before it; then the same undisturbed."""
    study = study_of(project)
    fork = multiprocessing.get_context("fork")
    compare = Compare.stand_in
    with monkeypatch.context() as slow:
        slow.setattr(Compare, "stand_in", lambda self, judge: (
            time.sleep(0.005) or compare(self, judge)))
        for kill in range(6):
            process = fork.Process(target=run_study, args=[study])
            process.start()
            while process.is_alive() and judged(study) < 40 * kill + 5:
                time.sleep(0.01)
            process.kill()
            process.join()
    assert 40 * 5 < judged(study) < 288
    run_study(study)
    killed = outcome(study)
    shutil.rmtree(project / "results")
    run_study(study)
    assert killed == outcome(study)


def judged(study: Study) -> int:
    log = path_of(study.config, "anchor_judgments")
    return log.read_bytes().count(b"\n") if log.exists() else 0


def outcome(study: Study) -> tuple[str, dict[str, object]]:
    """The table as text, and what the log holds by the key of the question, each asked once."""
    rows = [json.loads(line) for line in path_of(study.config, "anchor_judgments").open()]
    assert len({row["key"] for row in rows}) == len(rows)
    return read_scores(study).to_csv(), {row["key"]: row["verdict"] for row in rows}


def test_a_cell_at_which_a_process_is_counts_as_running(project, notebooks):
    study = study_of(project)
    with run._lock(study, study.cells[0].name):
        assert condition(study) == ["running", "missing", "missing", "missing"]


def test_scores_of_another_evaluation_are_made_anew(project, notebooks):
    study = study_of(project)
    run_study(study)
    record = record_of(study, study.cells[0])
    before = read_json(record, made_by="study")
    write_json(record, before | {"evaluation": "of yesterday"})
    assert states(study)["sentence"][0] == "its replies are not compared with the anchor's yet"
    run_study(study)
    assert read_json(record, made_by="study") == before


@pytest.mark.parametrize("text", ["null", "[]", "{}", '{"scores": ['])
def test_a_damaged_record_is_named_in_the_plan_of_states_and_made_anew(project, notebooks, text):
    study = study_of(project)
    run_study(study)
    path = record_of(study, study.cells[0])
    before = path.read_bytes()
    write_text(path, text)
    state, sentence = states(study).loc[0, ["state", "sentence"]]
    assert state == "missing" and sentence.startswith(str(path.relative_to(project)))
    assert "1 of 4 still to run" in plan_of(study, study.cells)["cells"]
    run_study(study)
    assert path.read_bytes() == before and len(notebooks.ran) == 4


def test_a_stronger_anchor_that_is_named_later_is_asked_about(project, notebooks):
    run_study(study_of(project))
    later = study_of(project, second_anchor="base")
    assert condition(later) == ["missing"] * 4
    run_study(later)
    assert condition(later) == ["done"] * 4 and len(notebooks.ran) == 4


def test_a_trained_anchor_is_made_once_before_all_cells_and_every_reply_meets_its_replies(
        project, notebooks):
    study = study_of(project, second_anchor="rlhf")
    assert study.anchor_cell.config().training.models == ["rlhf"]
    run_study(study)
    assert notebooks.ran == ["small.anchor", *(cell.name for cell in study.cells)]
    assert condition(study) == ["done"] * 4
    scores = read_scores(study)
    assert set(scores.anchor) == {"sft", "another rlhf"}
    assert set(scores[scores.human.notna()].anchor) == {"another rlhf"}
    run_study(study)
    assert len(notebooks.ran) == 5


def test_when_a_trained_anchor_replies_otherwise_every_cell_is_compared_again(project, notebooks):
    study = study_of(project, anchor="rlhf")
    run_study(study)
    path = path_of(study.anchor_cell.config(), "evaluation")
    evaluation = read_json(path, made_by="05")
    evaluation["per_example"][0]["responses"]["rlhf"] = "Another reply."
    write_json(path, evaluation)
    assert condition(study) == ["missing"] * 4
    run_study(study)
    assert condition(study) == ["done"] * 4 and len(notebooks.ran) == 5


def test_an_anchor_that_cannot_be_trained_stops_the_study_before_its_cells(project, notebooks):
    notebooks.broken = {"small.anchor": PersuasionError("the loss of rlhf became NaN.")}
    with pytest.raises(PersuasionError, match="became NaN"):
        run_study(study_of(project, anchor="rlhf"))
    assert notebooks.ran == ["small.anchor"]


def test_a_plan_counts_the_training_of_the_anchor(project, notebooks):
    plans = {anchor: plan_of(study := study_of(project, anchor=anchor), study.cells)
             for anchor in ("sft", "rlhf")}
    assert [plan["trainings"].split(",")[0] for plan in plans.values()] == ["10", "11"]
    assert "4 of 4 still to run" in plans["rlhf"]["cells"]
    assert "another rlhf, which every reply is compared with" in plans["rlhf"]["note"]


@pytest.mark.parametrize("seeds, own", [(2, 0), ([0, 1], 2), ([0, 2], 1)])
def test_a_trained_anchor_has_a_seed_that_no_cell_has(project, seeds, own):
    study = study_of(project, anchor="rlhf", seeds=seeds)
    assert study.anchor_cell.config().training.seed == study.anchor_cell.seed == own
