"""A study file, as it is written in `configs/studies/`: read, and checked before anything runs."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.family import FAMILY, PREFERENCE_TRAINED
from persuasion_lib.core.named import NAME
from persuasion_lib.core.overrides import key_of
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.plain_yaml import read_yaml
from persuasion_lib.core.store import read_json

Level = (bool | Annotated[int, Field(gt=-2**53, lt=2**53)] | Annotated[float, Field(
    allow_inf_nan=False)] | str | None)
# The same reply for every cell; of a trained model that of the run `Study.anchor_cell`.
Anchor = Literal["base", "sft", "oracle", *PREFERENCE_TRAINED]
HUMAN_LABELS = "human_labels"
# Axes that count labels: the setting, and the split whose labels they are.
COUNTS = {"training.human_labels": "rlhf", "training.ai_labels": "rlaif"}
SHORT = {HUMAN_LABELS: "training.human_labels"}
# Settings of these train the arms. Of all others, SFT and the judge among them, a study has one.
TRAIN = ("training", "dpo", *dict.fromkeys(FAMILY[arm].settings for arm in PREFERENCE_TRAINED))
MOST_SEEDS = 1000
_ONE_LEVEL = "a level is a number, a text, true, false or null"
_MAY_BE = {"levels": _ONE_LEVEL, "primary": _ONE_LEVEL, "axis": "it is a setting or a list of them",
           "seeds": "it is a number, or a list of them"}


class StudyFile(BaseModel):
    """The fields of a study file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=f"^{NAME}$")
    question: str = Field(min_length=1)
    axis: str | list[str] = Field(min_length=1)
    times: bool = False
    levels: list[Level] = Field(min_length=1)
    arms: list[Literal[PREFERENCE_TRAINED]] = Field(min_length=1)
    seeds: StrictInt | list[StrictInt]
    profile: str = "demo"
    primary: Level
    anchor: Anchor = "sft"
    second_anchor: Anchor | None = None
    comparisons: StrictInt = Field(0, ge=0)
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
        # A value that none of several types fits is one fault, not one for each type.
        first = {_place(problem): problem for problem in reversed(error.errors())}
        raise ConfigError("\n".join(_explain(path, problem) for problem in
                                    reversed(first.values()))) from None


class Finished(BaseModel):
    """What a finished study was of, by its study.json; levels by their names."""

    axis: str
    levels: list[str] = Field(min_length=1)
    arms: list[str]


def read_finished(path: Path) -> Finished | None:
    """What the study.json of a folder is of; None where it is no such file.

    Raises:
        DataError: it is no JSON.
    """
    found = read_json(path, made_by="persuasion study")
    try:
        return Finished.model_validate(found.get("study") if isinstance(found, dict) else None)
    except ValidationError:
        return None


def level_name(level: Any) -> str:
    """A level as tables and figures call it: 25 and 25.0 are one."""
    if level is None or level != level:     # null in a study file, or in a table of numbers
        return "null"
    if isinstance(level, bool | np.bool_):
        return str(bool(level)).lower()
    if isinstance(level, int | float | np.number):
        return f"{float(level):.10g}"
    return str(level)


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


def _place(problem: Any) -> tuple[Any, ...]:
    """The field that a problem is in, and the number of its item where it must be a list."""
    field, *inner = problem["loc"]
    return field, *(part for part in inner[:1] if isinstance(part, int))


def _explain(path: Path, problem: Any) -> str:
    field = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(field, StudyFile.model_fields, n=1, cutoff=0.4)
        known = f"Fields are: {', '.join(StudyFile.model_fields)}."
        return f"{path}: unknown field {field}. {f'Did you mean {near[0]}?' if near else known}"
    if problem["type"] == "missing":
        return f"{path}: the field {field} is missing. configs/studies/human_labels.yaml shows it."
    said = problem["msg"] if len(problem["loc"]) == 1 else _MAY_BE.get(field, problem["msg"])
    return (f"{path}: field {'.'.join(map(str, _place(problem)))}: {said}, got "
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
    if shared := [key for key in keys if key.split(".")[0] not in TRAIN]:
        raise ConfigError(f"{path}: {shared[0]} is no axis. Corpus, SFT, pools, labels, the "
                          "anchor's replies and the judge are the same in all cells, or levels "
                          f"could not be compared; an axis is a setting of {', '.join(TRAIN)}. To "
                          "compare other ones: persuasion run --name, and persuasion compare.")
    given = {*file.settings, *map(key_of, config.overrides)}
    if taken := sorted({*keys, "training.seed", "training.models"} & given):
        raise ConfigError(f"{path}: {taken[0]} differs between the cells of this study or is its "
                          "own, so it is not set. Change `levels`, `seeds` or `arms` in a copy.")
    if faults := [*_unfit(file, keys), *_uncounted(config, file, keys)]:
        raise ConfigError(f"{path}: {'; '.join(faults)}.")
    return keys


def seeds_of(file: StudyFile) -> list[int]:
    """The seeds of training; none where there is no such number of them."""
    if isinstance(file.seeds, list):
        return file.seeds
    return list(range(1, file.seeds + 1)) if file.seeds <= MOST_SEEDS else []


def _unfit(file: StudyFile, keys: list[str]) -> list[str]:
    """What the fields are not to each other, and must be."""
    faults = []
    seeds = seeds_of(file)
    if not seeds or len(set(seeds)) < len(seeds) or not 0 <= min(seeds) <= max(seeds) < 2**32:
        faults.append(f"seeds must be a number from 1 to {MOST_SEEDS:,}, or different numbers "
                      "from 0")
    levels = {level_name(level) for level in {*file.levels}}     # true is 1 as well
    for field, values, once in (("axis", keys, {*keys}), ("levels", file.levels, levels),
                                ("arms", file.arms, {*file.arms})):
        if len(once) < len(values):
            faults.append(f"{field} names one of them twice")
    if file.primary not in file.levels:
        faults.append(f"primary is {file.primary!r}, which is none of the levels {file.levels}")
    if file.second_anchor == file.anchor:
        faults.append("second_anchor must be another one than anchor")
    return faults


def _uncounted(config: Config, file: StudyFile, keys: list[str]) -> list[str]:
    """Where levels are no numbers, or multiply none."""
    faults = []
    factors = [level for level in file.levels if _is_number(level) and level > 0]
    if file.times and len(factors) < len(file.levels):
        faults.append("with `times` every level is a factor above 0")
    values = {key: None if key in COUNTS else config.peek(key) for key in keys}
    if file.times and (bare := [key for key, value in values.items() if not _is_number(value)]):
        faults.append(f"`times` is a factor on numbers of the profile, and {bare[0]} is none")
    if {*keys} & {*COUNTS} and not all(type(level) is int and level > 1 for level in file.levels):
        faults.append("levels that count labels are whole numbers from 2, one to train on and one "
                      "held out; a model without human labels stands at 0 by itself")
    if keys == [SHORT[HUMAN_LABELS]] and all(FAMILY[arm].labels != "rlhf" for arm in file.arms):
        faults.append("no arm learns from human labels; name rlhf, rlaif_rlhf or both")
    return faults


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def within_labels(config: Config, keys: list[str],
                  levels: list[Level]) -> tuple[list[Level], list[str]]:
    """Levels that count labels, cut to the decided labels that there are, with what to say of it.
    """
    splits = [COUNTS[key] for key in keys if key in COUNTS]
    if not splits:
        return levels, []
    kind = " or ".join("human" if split == "rlhf" else "AI" for split in splits)
    decided = [_decided(config, split) for split in splits]
    if None in decided:
        return levels, [f"How many {kind} labels are decided is not known before 03; levels above "
                        "that number are cut to it then."]
    there = min(decided)
    above = [level for level in levels if level > there]
    if not above:
        return levels, []
    return ([min(level, there) for level in levels],
            [f"Only {there} {kind} labels are decided (training and validation together), so "
             f"level {' and '.join(map(str, above))} is {there}."])


def _decided(config: Config, split: str) -> int | None:
    """Labels of a split, those of validation too; None before 03 has run."""
    files = [path_of(config, f"{split}_{part}") for part in ("train", "val")]
    if not all(file.exists() for file in files):
        return None
    return sum(sum(1 for line in file.open("rb") if line.strip()) for file in files)
