"""A run as its result folder shows it, whoever made it; what differs between several of them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from persuasion_lib.core.config import Config, load_config
from persuasion_lib.core.errors import MissingInput
from persuasion_lib.core.family import FAMILY
from persuasion_lib.core.manifest import content_hash
from persuasion_lib.core.overrides import key_of
from persuasion_lib.core.pipeline import STAGES, path_of
from persuasion_lib.core.runs import shown
from persuasion_lib.reporting import evaluation_file
from persuasion_lib.reporting.evaluation_file import EvaluationFile, ExampleRow
from persuasion_lib.reporting.setup import Lenient
from persuasion_lib.study.record import read_manifest_of, read_record

FILE = "final_evaluation.json"
APART = ("trial", "rehearsal", "part")      # as `pipeline.apart` calls the folders below a run
COLUMNS = ("kind", "what", "measure", "model")      # beside those of runs, in tables
_ABSENT = "–"
_SAYS_WHICH = ("name", "replace", "paths.data", "paths.models", "paths.results")


class _Said(BaseModel):
    """What an evaluation says of its run; what is something else is left out."""

    name: Lenient[str] = None
    revision: Lenient[str] = None
    settings: Lenient[dict[str, Any]] = None
    versions: Lenient[dict[str, Any]] = None


@dataclass(frozen=True)
class Run:
    """One evaluation with what its folder says of where it comes from.

    `settings`, `data` and `code` are by name; of a folder without manifests they hold what the
    evaluation itself says.
    """

    name: str
    path: Path
    data: EvaluationFile
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> dict[str, ExampleRow]:
        """The test prompts by id."""
        return {str(row.example_id): row for row in self.data.per_example
                if not row.judge_only}


def read_run(config: Config, text: str) -> Run:
    """A run by its name, or by the path of its result folder or of its evaluation.

    Raises:
        MissingInput: there is no such run, or it was not evaluated.
        DataError: its evaluation, or a manifest, is malformed.
    """
    path = _evaluation_of(config, text)
    if not path.exists():
        raise MissingInput(f"{path} is missing: {text!r} is neither a folder with {FILE} nor a run "
                           "of this profile that was evaluated. `persuasion runs` lists all runs; "
                           "--profile says whose.")
    data = evaluation_file.read(path, made_by="the run that you compare")
    given = data.config.model_dump().get("run")
    said = _Said.model_validate(given if isinstance(given, dict) else {})
    home, kind = _place_of(path)
    manifests = [read_manifest_of(file) for stage in ("train_dpo", "evaluate")
                 if (file := _manifest_of(home, kind, STAGES[stage].notebook))]
    merged = {key: {name: value for manifest in manifests
                    for name, value in (manifest.get(key) or {}).items()}
              for key in ("settings", "inputs", "prompts")}
    own = {"profile": data.config.profile, "base model": data.config.base_model,
           "judge": judge_of(data), **(data.config.generation or {})}
    versions = {"revision": said.revision, **(said.versions or {})}
    return Run(said.name or home.name, path, data,
               own | (said.settings or {}) | merged["settings"],
               merged["inputs"], {key: str(value) for key, value in versions.items()},
               merged["prompts"])


def _evaluation_of(config: Config, text: str) -> Path:
    """Where a run's evaluation is, which its own settings say: a trial's is in a folder below."""
    given = Path(text).expanduser().resolve()     # "." and a name in its folder have parents, too
    if given.is_file():
        return given
    if (given / FILE).exists() or not re.fullmatch(r"\w[\w.-]*", text):
        return given / FILE
    # What is set for the comparison, such as who is asked, was not set for the run.
    places = [one for one in config.overrides if key_of(one).startswith(("paths.", "data."))]
    named = path_of(load_config(config.profile, [*places, f"name={text}"], root=config.root),
                    "evaluation")
    # `persuasion runs` calls the run without a name by its profile's.
    return named if named.exists() or text != config.profile else path_of(
        load_config(config.profile, places, root=config.root), "evaluation")


def _place_of(evaluation: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder of a run, with its manifests, and the folders below it of a trial or rehearsal."""
    home = evaluation.parent
    while home.name in APART and home.parent.name != "runs":
        home = home.parent
    return home, evaluation.parent.relative_to(home).parts


def _manifest_of(home: Path, kind: tuple[str, ...], notebook: str) -> Path | None:
    """Of a trial its own; of a trial evaluation of models that are none, those models'."""
    named = (home / "manifests" / ".".join(filter(None, (notebook, "-".join(kind[:depth]), "json")))
             for depth in range(len(kind), -1, -1))
    return next((file for file in named if file.exists()), None)


def judge_of(data: EvaluationFile) -> str:
    """Service and model of who judged."""
    return (data.config.asked_models or {}).get("judge") or data.config.judge or "unknown"


def named_apart(runs: Sequence[Run]) -> dict[str, Run]:
    """The runs by name; equal names of different folders are numbered, and those of columns."""
    named: dict[str, Run] = {}
    for run in runs:
        name, number = run.name, 2
        while name in named or name in COLUMNS:
            name, number = f"{run.name} ({number})", number + 1
        named[name] = run
    return named


def differences(runs: Mapping[str, Run]) -> list[dict[str, str]]:
    """What is not the same everywhere, a row each: kind, what, and each run's value by its name."""
    rows = []
    for kind, values in (("setting", {name: run.settings for name, run in runs.items()}),
                         ("data", {name: _but_models(run.inputs) for name, run in runs.items()}),
                         ("code", {name: run.code for name, run in runs.items()}),
                         ("prompt", {name: run.prompts for name, run in runs.items()}),
                         ("weights", {name: run.data.config.weights or {}
                                      for name, run in runs.items()})):
        keys = {key for found in values.values() for key in found} - set(_SAYS_WHICH)
        for key in sorted(keys):
            texts = {name: _brief(kind, found.get(key)) for name, found in values.items()}
            if len(set(texts.values())) > 1:
                rows.append({"kind": kind, "what": key, **texts})
    return rows


def _but_models(inputs: Mapping[str, str]) -> dict[str, str]:
    """The files that a run read: what it read of models are its weights."""
    return {name: value for name, value in inputs.items() if name not in FAMILY}


def _brief(kind: str, value: Any) -> str:
    if value is None:
        return _ABSENT
    return str(value)[:8] if kind in ("data", "prompt", "weights") else shown(value)


def record_of(run: Run) -> dict[str, Any] | None:
    """What a study found of just this evaluation against its anchors; None where none did.

    Raises:
        DataError: the file of it is damaged.
    """
    home, kind = _place_of(run.path)
    if home.parent.name != "runs":
        return None
    below = Path("*", *kind, "cells", f"{home.name}.json")
    found = map(read_record, sorted((home.parents[1] / "studies").glob(str(below))))
    return next((record for record in found if record["evaluation"] == content_hash(run.path)),
                None)
