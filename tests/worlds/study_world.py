"""Studies without trainings: the notebooks of a cell write an evaluation at once."""

from pathlib import Path

import yaml

from persuasion_lib.core.config import load_config
from persuasion_lib.core.manifest import Reason
from persuasion_lib.core.pipeline import STAGES, path_of
from persuasion_lib.core.store import write_json, write_jsonl
from persuasion_lib.study import run, shared
from persuasion_lib.study.design import read_study
from persuasion_lib.study_analysis import analyse, open_study
from worlds.synthetic_evaluation import make_evaluation

SMALL = {"name": "small", "question": "Does it work?", "axis": "human_labels", "levels": [25, 50],
         "arms": ["rlhf", "rlaif_rlhf", "rlaif"], "seeds": 2, "primary": 50, "comparisons": 16}


def write_study(project: Path, **changes) -> Path:
    """A study file: SMALL with changed fields; a field that is None is left out."""
    fields = {key: value for key, value in (SMALL | changes).items() if value is not None}
    path = project / "own.yaml"
    path.write_text(yaml.safe_dump(fields, sort_keys=False))
    return path


def study_of(project: Path, *overrides: str, name: str | None = None, **changes):
    """A study of the demo profile."""
    return read_study(load_config("demo", overrides), write_study(project, **changes), name=name)


def write_labels(count: int, held_out: int = 10) -> None:
    """As many decided human labels as 03 would have written; only their number counts here."""
    config = load_config("demo")
    for part, rows in (("train", count - held_out), ("val", held_out)):
        write_jsonl(path_of(config, f"rlhf_{part}"), [{"pair_id": str(n)} for n in range(rows)])


def conclude(source: Path, folder: Path, parameters: dict) -> None:
    """What notebook 07 computes, in this process, without its figures."""
    analyse(open_study(parameters["study"], parameters["profile"], parameters["overrides"]))


class Notebooks:
    """Stands in for the runner: `ran` names the cells that it was asked for, in their order.

    A name in `broken` raises its error instead. The anchor (sft) replies the same everywhere.
    """

    def __init__(self, monkeypatch, prompts: int = 12) -> None:
        self.log = Path("ran.txt").absolute()       # of all processes
        self.log.touch()
        self.broken: dict[str, Exception] = {}
        self.prompts = prompts
        monkeypatch.setattr(run.runner, "run", self.run)
        monkeypatch.setattr(run.runner, "execute_notebook", conclude)
        for module in (run, shared):
            monkeypatch.setattr(module, "conditions", self.conditions)

    @property
    def ran(self) -> list[str]:
        return self.log.read_text().split()

    def run(self, profile, overrides, *, first=None, last=None, **_):
        config = load_config(profile, overrides)
        with self.log.open("a") as log:
            log.write(f"{config.name}\n")
        if config.name in self.broken:
            raise self.broken[config.name]
        number = 1000 * (config.training.seed or 0) + (config.training.human_labels or 0)
        evaluation = make_evaluation(self.prompts, seed=number)
        fixed = make_evaluation(self.prompts, seed=0)
        for row, same in zip(evaluation["per_example"], fixed["per_example"], strict=True):
            row["responses"] |= {name: same["responses"][name] for name in ("base", "sft")}
        write_json(path_of(config, "evaluation"), evaluation)

    def conditions(self, config):
        is_there = config.name is None or path_of(config, "evaluation").exists()
        late = ("train_dpo", "evaluate")
        return {name: ("missing", [Reason("missing", "never finished")])
                if name in late and not is_there else ("done", []) for name in STAGES}
