"""A stage belongs to one process at a time, and to nobody after a kill."""

import os
import signal
import subprocess
import sys

import pytest

from persuasion_lib.core import locks
from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.core.manifest import manifest_path
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.records import pair_row
from persuasion_lib.core.stage import start
from persuasion_lib.core.store import write_jsonl
from worlds.judging_world import pairs_of
from worlds.scratch import clean_environment, persuasion

HOLD = ("import sys; from persuasion_lib.core.stage import start; "
        "run = start(sys.argv[1]); print('held', flush=True); sys.stdin.read()")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(locks, "WAIT_S", 0.1)


@pytest.fixture
def other(project):
    """Start a stage in another process; ends with the test."""
    processes = []

    def hold(name):
        process = subprocess.Popen([sys.executable, "-c", HOLD, name], cwd=project, text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   env=clean_environment())
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in processes:
        process.kill()
        process.communicate()


def test_a_stage_that_another_process_runs_is_refused_by_its_name(other):
    process = other("prepare")
    with pytest.raises(PersuasionError, match=rf"00_prepare is already being run by process "
                                              rf"{process.pid} on .*since"):
        start("prepare")


def test_the_command_refuses_before_it_touches_the_notebook(other, project):
    process = other("prepare")
    result = persuasion(project, "run", "--only", "prepare")
    assert result.returncode == 1 and f"by process {process.pid} on" in result.stderr
    assert not list(project.rglob("results/**/*.ipynb"))


def test_a_killed_process_holds_nothing(other):
    process = other("prepare")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert start("prepare").lock is not None


def test_cells_that_run_again_in_one_process_take_the_lock_again(project):
    first = start("prepare")
    second = start("prepare")
    assert first is not second
    second.lock.give_back()
    assert not first.lock._lock.is_locked


def test_a_stage_that_has_ended_is_free(other, project):
    run = start("prepare")
    run.without = set(STAGES["prepare"].writes)
    run.finish()
    holder = manifest_path(run.config, STAGES["prepare"]).with_suffix(".holder")
    assert not holder.exists()
    other("prepare")


def test_people_may_label_while_others_do(other, project):
    write_jsonl(project / "data/demo/preferences/human_pool_responses.jsonl",
                map(pair_row, pairs_of(2)))
    other("label_human")
    assert start("label_human").stage.name == "label_human"


def test_a_trial_is_another_run(other, project):
    write_jsonl(project / "data/demo/preferences/ai_pool_responses.jsonl",
                map(pair_row, pairs_of(2)))
    other("label_ai")
    assert start("label_ai", "demo", ["label_ai.max_examples=1"])
    with pytest.raises(PersuasionError, match="already being run"):
        start("label_ai")


def test_a_results_folder_that_is_no_folder_is_said_in_one_sentence(project):
    (project / "results").write_text("")
    with pytest.raises(PersuasionError, match="cannot be written .*paths.results"):
        start("prepare")
