"""A study file, as it is written in `configs/studies/`: read, and checked before anything runs."""

import difflib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.family import FAMILY, PREFERENCE_TRAINED
from persuasion_lib.core.named import NAME
from persuasion_lib.core.overrides import key_of
from persuasion_lib.core.plain_yaml import read_yaml

Level = bool | int | float | str
# The same reply for every cell; of a trained model that of the run `Study.anchor_cell`.
Anchor = Literal["base", "sft", "oracle", *PREFERENCE_TRAINED]
HUMAN_LABELS = "human_labels"
# Axes that count labels: the setting, and the split whose labels they are.
COUNTS = {"training.human_labels": "rlhf", "training.ai_labels": "rlaif"}
SHORT = {HUMAN_LABELS: "training.human_labels"}


class StudyFile(BaseModel):
    """The fields of a study file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=f"^{NAME}$")
    question: str = Field(min_length=1)
    axis: str | list[str] = Field(min_length=1)
    times: bool = False
    levels: list[Level] = Field(min_length=1)
    arms: list[Literal[PREFERENCE_TRAINED]] = Field(min_length=1)
    seeds: int | list[int]
    profile: str = "demo"
    primary: Level
    anchor: Anchor = "sft"
    second_anchor: Anchor | None = None
    comparisons: int = Field(0, ge=0)
    settings: dict[str, Any] = Field(default_factory=dict)


def studies(root: Path) -> list[str]:
    """The names of the studies of a project."""
    return sorted(path.stem for path in (root / "configs" / "studies").glob("*.yaml"))


def profile_of(root: Path, name_or_file: str | Path) -> str:
    """The profile that a study file names."""
    _, file = read_file(root, name_or_file)
    return file.profile


def read_file(root: Path, name_or_file: str | Path) -> tuple[Path, StudyFile]:
    """A study of `configs/studies/`, or of a file: where it is, and its fields.

    Raises:
        ConfigError: there is no such study, or its file is not one; says which field, and why.
    """
    path = _found(root, name_or_file)
    try:
        return path, StudyFile.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(path, problem) for problem in error.errors())
                          ) from None


def _found(root: Path, name_or_file: str | Path) -> Path:
    given = Path(name_or_file)
    if given.suffix in (".yaml", ".yml") or len(given.parts) > 1:
        if not given.is_file():
            raise ConfigError(f"there is no study file {given}. A copy of one of configs/studies/ "
                              "is a beginning.")
        return given
    known = studies(root)
    if str(given) not in known:
        near = difflib.get_close_matches(str(given), known, n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise ConfigError(f"no study {str(given)!r}. {hint}There are: {', '.join(known)} (in "
                          f"configs/studies); a file of your own is given by its path.")
    return root / "configs" / "studies" / f"{given}.yaml"


def _explain(path: Path, problem: Any) -> str:
    field = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(field, StudyFile.model_fields, n=1, cutoff=0.4)
        known = f"Fields are: {', '.join(StudyFile.model_fields)}."
        return f"{path}: unknown field {field}. {f'Did you mean {near[0]}?' if near else known}"
    if problem["type"] == "missing":
        return f"{path}: the field {field} is missing. configs/studies/human_labels.yaml shows it."
    return (f"{path}: field {'.'.join(map(str, problem['loc']))}: {problem['msg']}, got "
            f"{problem['input']!r:.60}. configs/studies/human_labels.yaml explains the fields.")


def keys_of(config: Config, file: StudyFile, path: Path) -> list[str]:
    """The settings that the axis changes; what fields must be to each other is checked.

    Raises:
        ConfigError: no such setting; one that the study sets itself; fields that do not fit.
    """
    named = [file.axis] if isinstance(file.axis, str) else file.axis
    keys = [SHORT.get(name, name) for name in named]
    known = config.flat()
    for key in [*keys, *file.settings]:
        if key not in known:
            near = difflib.get_close_matches(key, [*SHORT, *known], n=1, cutoff=0.4)
            hint = f"Did you mean {near[0]}?" if near else "`persuasion show-config` lists all."
            raise ConfigError(f"{path}: there is no setting {key}. {hint}")
    own = {"name", "replace", "seed", "training.seed", "training.models"}
    if taken := sorted(own & {*keys, *file.settings}):
        raise ConfigError(f"{path}: {taken[0]} is the study's own: `seeds` and `arms` say it, and "
                          "the cells are named by it. Leave it out.")
    given = {*file.settings, *map(key_of, config.overrides)}
    if taken := sorted({*keys, "training.seed", "training.models"} & given):
        raise ConfigError(f"{path}: {taken[0]} differs between the cells of this study or is its "
                          "own, so it is not set. Change `levels`, `seeds` or `arms` in a copy.")
    _check(file, keys, path)
    return keys


def _check(file: StudyFile, keys: list[str], path: Path) -> None:
    """What the fields must be to each other."""
    faults = []
    seeds = file.seeds if isinstance(file.seeds, list) else list(range(file.seeds))
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        faults.append("seeds must be a number from 1, or different numbers from 0")
    for field, values in (("levels", file.levels), ("arms", file.arms)):
        if len(set(values)) < len(values):
            faults.append(f"{field} names one of them twice")
    if file.primary not in file.levels:
        faults.append(f"primary is {file.primary!r}, which is none of the levels {file.levels}")
    if file.second_anchor == file.anchor:
        faults.append("second_anchor must be another one than anchor")
    numbers = [level for level in file.levels if not isinstance(level, str)]
    if file.times and (len(numbers) < len(file.levels) or min(numbers) <= 0):
        faults.append("with `times` every level is a factor above 0")
    if {*keys} & {*COUNTS} and not all(type(level) is int and level > 1 for level in file.levels):
        faults.append("levels that count labels are whole numbers from 2, one to train on and one "
                      "held out; a model without human labels stands at 0 by itself")
    if keys == [SHORT[HUMAN_LABELS]] and all(FAMILY[arm].labels != "rlhf" for arm in file.arms):
        faults.append("no arm learns from human labels; name rlhf, rlaif_rlhf or both")
    if faults:
        raise ConfigError(f"{path}: {'; '.join(faults)}.")
