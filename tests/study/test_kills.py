"""A study that was killed again and again ends as one that was not."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.study.design import read_study
from persuasion_lib.study.scores import read_scores
from worlds.scratch import clean_environment, persuasion
from worlds.study_world import write_study

KILLS = 20
# One training a cell: what is killed here is the study, not what it trains.
FIELDS = {"profile": "smoke", "levels": [8, 16], "primary": 16, "seeds": 2, "comparisons": 8,
          "arms": ["rlhf"], "anchor": "rlhf"}

pytestmark = pytest.mark.slow


def begun(project, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "persuasion_lib", "study", "own.yaml", *arguments], cwd=project,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env=clean_environment())


def outcome(project, monkeypatch):
    """The table as text, the bytes of study.json, and the verdict on every comparison by its key.
    """
    monkeypatch.chdir(project)
    study = read_study(load_config("smoke"), "own.yaml")
    table = read_scores(study).to_csv()
    concluded = (study.folder / "study.json").read_bytes()
    log = project / "results" / "smoke" / "anchor_judgments.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len({row["key"] for row in rows}) == len(rows)       # nothing was asked twice
    return table, concluded, {row["key"]: row["verdict"] for row in rows}


@pytest.fixture
def undisturbed(smoke_copy, tmp_path):
    """A finished study, and another project in which it is still to be run."""
    write_study(smoke_copy, **FIELDS)
    other = tmp_path / "other"
    shutil.copytree(smoke_copy, other)
    done = persuasion(smoke_copy, "study", "own.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    return smoke_copy, other


def test_a_study_killed_at_random_moments_ends_as_one_that_was_not(undisturbed, monkeypatch):
    one, other = undisturbed
    draw = random.Random(0)
    for _ in range(KILLS):
        process = begun(other)
        time.sleep(draw.uniform(2, 15))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    ended = begun(other)
    said, _ = ended.communicate()
    assert ended.returncode == 0, said
    assert outcome(one, monkeypatch) == outcome(other, monkeypatch)


def test_two_processes_on_one_folder_end_as_one(undisturbed, monkeypatch):
    one, other = undisturbed
    both = [begun(other), begun(other)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(said)
    assert outcome(one, monkeypatch) == outcome(other, monkeypatch)


def test_a_learning_rate_that_diverges_fails_its_cell_alone(smoke_copy):
    write_study(smoke_copy, **FIELDS | {
        "name": "wild", "axis": "rlhf.learning_rate", "levels": [5.0e-4, 1.0e+30],
        "primary": 5.0e-4, "seeds": 1, "anchor": "sft"})
    done = persuasion(smoke_copy, "study", "own.yaml")
    assert done.returncode == 1 and "1 cells done, 1 cells failed" in done.stdout
    assert "the loss of rlhf became NaN. Lower its learning_rate" in done.stderr
    trained = smoke_copy.glob("models/smoke/runs/wild.*/checkpoints/*/final")
    assert [folder.parent.name for folder in trained] == ["qwen-rlhf"]
