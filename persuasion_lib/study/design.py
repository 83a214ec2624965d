"""The design of a study: a file of `configs/studies/`, checked, and the cells that it expands to.

A cell is one level of the axis and one training seed. It is an ordinary named run, so that one can
open, evaluate or repeat it like any other.
"""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from persuasion_lib.core.config import Config, load_config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.family import FAMILY, PREFERENCE_TRAINED
from persuasion_lib.core.named import NAME
from persuasion_lib.core.overrides import key_of
from persuasion_lib.core.pipeline import STAGES, apart, path_of
from persuasion_lib.core.plain_yaml import read_yaml
from persuasion_lib.core.records import content_id

Level = bool | int | float | str
Anchor = Literal["base", "sft", "oracle"]       # the same reply for every cell
HUMAN_LABELS = "human_labels"
# Axes that count labels: the setting, and the split whose labels they are.
COUNTS = {"training.human_labels": "rlhf", "training.ai_labels": "rlaif"}
_SHORT = {HUMAN_LABELS: "training.human_labels"}


@dataclass(frozen=True)
class Cell:
    """One level and one training seed: a named run that trains and evaluates `arms`."""

    name: str
    level: Level
    seed: int
    arms: tuple[str, ...]
    root: Path
    profile: str
    overrides: tuple[str, ...]

    def config(self) -> Config:
        """Its settings, read anew: what it shares with the project is looked up once for each.

        They are those of the study now, whatever the cell was begun with earlier.
        """
        return load_config(self.profile, self.overrides, root=self.root, run_file=False)


@dataclass(frozen=True)
class Study:
    """What is asked, and of what; see `configs/studies/human_labels.yaml` for the fields.

    `axis` is "human_labels" or the changed settings; `primary` is one of `levels`. `notes` say
    what became of the file's levels where there are fewer labels. `config` holds what all cells
    share.
    """

    config: Config
    file: Path
    name: str
    question: str
    axis: str
    levels: tuple[Level, ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    primary: Level
    anchor: Anchor
    second_anchor: Anchor | None
    comparisons: int
    notes: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def profile(self) -> str:
        """The profile that every cell begins with."""
        return self.config.profile

    @property
    def anchors(self) -> tuple[Anchor, ...]:
        """The anchor, and the stronger one where there is one."""
        return (self.anchor, *([self.second_anchor] if self.second_anchor else []))

    @property
    def folder(self) -> Path:
        """Where the study keeps what is its own, beside the runs of its cells; trials apart."""
        kind = apart(self.config, STAGES["evaluate"])
        return self.config.folder("results") / "studies" / self.name / kind

    @property
    def unlabelled(self) -> tuple[str, ...]:
        """Arms that learn from no human label: one point at 0, whatever the level of a cell is."""
        if self.axis != HUMAN_LABELS:
            return ()
        return tuple(arm for arm in self.arms if FAMILY[arm].labels != "rlhf")

    def level_of(self, arm: str, cell: Cell) -> Level:
        """Where an arm of a cell stands on the axis."""
        return 0 if arm in self.unlabelled else cell.level


class _File(BaseModel):
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
    return _read(_found(root, name_or_file)).profile


def read_study(config: Config, name_or_file: str | Path, *, name: str | None = None) -> Study:
    """A study of `configs/studies/` or of a file, under these settings.

    The profile and the overrides of `config` hold for every cell. A `name` other than the file's
    keeps what is run with other settings apart.

    Raises:
        ConfigError: there is no such study, or its file is not one; says which field, and why.
    """
    path = _found(config.root, name_or_file)
    file = _read(path)
    name = name or file.name
    if not re.fullmatch(NAME, name):
        raise ConfigError(f"a study cannot be called {name!r}: letters, digits, _ and -, 31 at "
                          "most, from a letter or digit on.")
    keys = _keys(config, file, path)
    _check(file, keys, path)
    theirs = [text for text in config.overrides if key_of(text) != "name"]
    given = {key_of(text) for text in theirs}
    shared = (*(f"{key}={_text(value)}" for key, value in file.settings.items()
                if key not in given), *theirs)
    config = load_config(config.profile, shared, root=config.root)
    levels, notes = _within_labels(config, keys, file.levels)
    seeds = list(range(1, file.seeds + 1)) if isinstance(file.seeds, int) else file.seeds
    primary = levels[file.levels.index(file.primary)]
    cells = tuple(_cell(config, name, level, seed, file, [*shared, *_overrides(
        config, keys, level, times=file.times)]) for seed in seeds for level in _once(levels))
    return Study(
        config=config, file=path, name=name, question=file.question.strip(),
        axis=HUMAN_LABELS if keys == [_SHORT[HUMAN_LABELS]] else ", ".join(keys),
        levels=_once(levels), arms=tuple(file.arms), seeds=tuple(seeds), primary=primary,
        anchor=file.anchor, second_anchor=file.second_anchor, comparisons=file.comparisons,
        notes=tuple(notes), cells=cells)


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


def _read(path: Path) -> _File:
    try:
        return _File.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(path, problem) for problem in error.errors())
                          ) from None


def _explain(path: Path, problem: Any) -> str:
    field = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(field, _File.model_fields, n=1, cutoff=0.4)
        known = f"Fields are: {', '.join(_File.model_fields)}."
        return f"{path}: unknown field {field}. {f'Did you mean {near[0]}?' if near else known}"
    if problem["type"] == "missing":
        return f"{path}: the field {field} is missing. configs/studies/human_labels.yaml shows it."
    return (f"{path}: field {'.'.join(map(str, problem['loc']))}: {problem['msg']}, got "
            f"{problem['input']!r:.60}. configs/studies/human_labels.yaml explains the fields.")


def _keys(config: Config, file: _File, path: Path) -> list[str]:
    """The settings that the axis changes."""
    named = [file.axis] if isinstance(file.axis, str) else file.axis
    keys = [_SHORT.get(name, name) for name in named]
    known = config.flat()
    for key in [*keys, *file.settings]:
        if key not in known:
            near = difflib.get_close_matches(key, [*_SHORT, *known], n=1, cutoff=0.4)
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
    return keys


def _check(file: _File, keys: list[str], path: Path) -> None:
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
    if keys == [_SHORT[HUMAN_LABELS]] and all(FAMILY[arm].labels != "rlhf" for arm in file.arms):
        faults.append("no arm learns from human labels; name rlhf, rlaif_rlhf or both")
    if faults:
        raise ConfigError(f"{path}: {'; '.join(faults)}.")


def _within_labels(config: Config, keys: list[str],
                   levels: list[Level]) -> tuple[list[Level], list[str]]:
    """Levels that count labels, cut to the decided labels that there are, with what to say of it.
    """
    split = COUNTS.get(keys[0]) if len(keys) == 1 else None
    if split is None:
        return levels, []
    kind = "human" if split == "rlhf" else "AI"
    files = [path_of(config, f"{split}_{part}") for part in ("train", "val")]
    if not all(file.exists() for file in files):
        return levels, [f"How many {kind} labels are decided is not known before 03; levels above "
                        "that number are cut to it then."]
    there = sum(sum(1 for line in file.open("rb") if line.strip()) for file in files)
    above = [level for level in levels if level > there]
    if not above:
        return levels, []
    return ([min(level, there) for level in levels],
            [f"Only {there} {kind} labels are decided (training and validation together), so "
             f"level {' and '.join(map(str, above))} is {there}."])


def _once(levels: list[Level]) -> tuple[Level, ...]:
    return tuple(dict.fromkeys(levels))


def _overrides(config: Config, keys: list[str], level: Level, *, times: bool) -> list[str]:
    if not times:
        return [f"{key}={_text(level)}" for key in keys]
    return [f"{key}={_text(float(f'{config.peek(key) * level:.6g}'))}" for key in keys]


def _text(value: Any) -> str:
    """A value as an override writes it; YAML reads 5e-05 as text."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return np.format_float_positional(value, trim="0") if isinstance(value, float) else str(value)


def _cell(config: Config, study: str, level: Level, seed: int, file: _File,
          overrides: list[str]) -> Cell:
    place = plain = _text(level)
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,20}", plain):
        place = f"{re.sub(r'[^A-Za-z0-9]+', '-', plain)[:12]}-{content_id(plain, length=6)}"
    name = f"{study}.{place}.s{seed}"
    if {*file.arms} != {*PREFERENCE_TRAINED}:       # no cell trains or asks what no arm needs
        overrides = [*overrides, f"training.models=[{', '.join(file.arms)}]"]
    return Cell(name=name, level=level, seed=seed, arms=tuple(file.arms), root=config.root,
                profile=config.profile,
                overrides=(f"name={name}", *overrides, f"training.seed={seed}"))
