"""Every score of a study is against one reply to each prompt, and none is lost without need."""

import pytest

from persuasion_lib.cli import main
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.store import read_json, write_json
from persuasion_lib.study import anchored
from persuasion_lib.study.anchored import record_of
from persuasion_lib.study.run import run_study, states
from persuasion_lib.study.scores import read_scores
from worlds.study_world import Notebooks, study_of, write_study


@pytest.fixture
def notebooks(project, monkeypatch):
    return Notebooks(monkeypatch)


def test_a_study_that_drops_its_stronger_anchor_keeps_its_scores(project, notebooks):
    run_study(study_of(project, second_anchor="rlhf"))
    later = study_of(project)
    assert set(states(later)["state"]) == {"done"} and set(read_scores(later).anchor) == {"sft"}


def test_an_anchor_that_replied_otherwise_in_one_cell_is_no_yardstick(project, notebooks):
    study = study_of(project)
    run_study(study)
    path = record_of(study, study.cells[1])
    record = read_json(path, made_by="study")
    record["scores"][3]["anchor_reply"] = "of another SFT"
    write_json(path, record)
    with pytest.raises(DataError, match="sft replied .* otherwise in small.50.s1 than in small.25"):
        read_scores(study)
    record["scores"][3].pop("anchor_reply")         # as records were before
    write_json(path, record)
    assert len(read_scores(study))


def test_a_cell_in_which_the_anchor_said_nothing_fails_and_says_so(project, notebooks, monkeypatch):
    study = study_of(project)
    monkeypatch.setattr(anchored, "meetings", lambda *_: iter(()))
    run_study(study)
    table = states(study)
    assert set(table["state"]) == {"failed"}
    assert "rlhf and sft have both replied to no prompt in small.25.s1" in table["sentence"][0]


def test_a_study_file_that_ends_in_yml_is_concluded_by_its_path(project, notebooks, capsys):
    file = write_study(project).rename(project / "configs" / "studies" / "mine.yml")
    assert main(["study", str(file.resolve())]) == 0
    assert "Does it work?" in capsys.readouterr().out
