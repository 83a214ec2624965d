"""The design of a study: a file of `configs/studies/`, checked, and the cells that it expands to.

A cell is one level of the axis and one training seed. It is an ordinary named run, so that one can
open, evaluate or repeat it like any other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from persuasion_lib.core.config import Config, load_config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.family import FAMILY, MODELS, PREFERENCE_TRAINED
from persuasion_lib.core.named import NAME
from persuasion_lib.core.overrides import key_of
from persuasion_lib.core.pipeline import STAGES, apart, path_of
from persuasion_lib.core.records import content_id
from persuasion_lib.stats.crossed import LEAST_EACH
from persuasion_lib.study.file import (
    COUNTS,
    HUMAN_LABELS,
    SHORT,
    Anchor,
    Level,
    StudyFile,
    keys_of,
    level_name,
    read_file,
    read_finished,
    seeds_of,
    within_labels,
)


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
    what became of the file's levels where there are fewer labels, and what a trained anchor is.
    `anchor_cell` is the run that trains it, None for an anchor that is there anyway. `config` holds
    what all cells share.
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
    anchor_cell: Cell | None
    comparisons: int
    notes: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def profile(self) -> str:
        """The profile that every cell begins with."""
        return self.config.profile

    @property
    def anchors(self) -> dict[str, Anchor]:
        """The anchor, and the stronger one where there is one, by the names that they have in
        tables: a trained one is another model than the arm that is called so.
        """
        named = (self.anchor, *([self.second_anchor] if self.second_anchor else []))
        return {anchor_name(anchor): anchor for anchor in named}

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

    @property
    def compared_each(self) -> int:
        """Comparisons by people of each seed and arm, so that all have equally many."""
        return self.comparisons // (len(self.seeds) * (len(self.arms) - len(self.unlabelled)))

    def level_of(self, arm: str, cell: Cell) -> Level:
        """Where an arm of a cell stands on the axis."""
        return 0 if arm in self.unlabelled else cell.level


def anchor_name(anchor: Anchor) -> str:
    """What tables and sentences call an anchor."""
    return f"another {anchor}" if anchor in PREFERENCE_TRAINED else anchor


def read_study(config: Config, name_or_file: str | Path, *, name: str | None = None) -> Study:
    """A study of `configs/studies/` or of a file, under these settings.

    The profile and the overrides of `config` hold for every cell. A `name` other than the file's
    keeps what is run with other settings apart.

    Raises:
        ConfigError: there is no such study, or its file is not one; says which field, and why.
    """
    path, file = read_file(config.root, name_or_file)
    name = name or file.name
    if not re.fullmatch(NAME, name):
        raise ConfigError(f"a study cannot be called {name!r}: letters, digits, _ and -, 31 at "
                          "most, from a letter or digit on.")
    keys = keys_of(config, file, path)
    config = load_config(config.profile, _shared(config, file), root=config.root)
    shared = config.overrides
    levels, notes = within_labels(config, keys, file.levels)
    seeds = seeds_of(file)
    primary = levels[file.levels.index(file.primary)]
    anchor_cell = _anchor_cell(config, name, file, shared, seeds)
    if anchor_cell:
        notes = [*notes, _about_anchor(anchor_cell)]
    cells = tuple(_cell(config, name, level, seed, file, [*shared, *_overrides(
        config, keys, level, times=file.times)]) for seed in seeds for level in _once(levels))
    study = Study(
        config=config, file=path, name=name, question=file.question.strip(),
        axis=HUMAN_LABELS if keys == [SHORT[HUMAN_LABELS]] else ", ".join(keys),
        levels=_once(levels), arms=tuple(file.arms), seeds=tuple(seeds), primary=primary,
        anchor=file.anchor, second_anchor=file.second_anchor, anchor_cell=anchor_cell,
        comparisons=file.comparisons, notes=tuple(notes), cells=cells)
    for check in (_check_asked, _check_levels, _check_name):
        if fault := check(study, file, keys):
            raise ConfigError(f"{path}: {fault}")
    return replace(study, notes=(*notes, *_about_people(study)))


def _shared(config: Config, file: StudyFile) -> tuple[str, ...]:
    """What all cells share: the file's settings, and later what was given."""
    theirs = [text for text in config.overrides if key_of(text) != "name"]
    given = {key_of(text) for text in theirs}
    return (*(f"{key}={_text(value)}" for key, value in file.settings.items()
              if key not in given), *theirs)


def _check_asked(study: Study, *_: Any) -> str:
    """Every reply that is compared must be asked for."""
    asked = study.config.peek("evaluation.models")
    silent = [name for name in (*study.arms, study.anchor, study.second_anchor)
              if name in MODELS and name not in asked]
    if not silent:
        return ""
    return (f"{silent[0]} is none of evaluation.models ({', '.join(asked)}), so it would be asked "
            "for no reply. Name it there, or leave it out here.")


def _check_levels(study: Study, _: StudyFile, keys: list[str]) -> str:
    """Levels must be values of the setting, each another one, and leave alone what is shared."""
    common = load_config(study.profile, [*study.config.overrides, f"name={study.name}.shared"],
                         root=study.config.root, run_file=False)
    levels: dict[tuple[Any, ...], Level] = {}
    for cell in study.cells[:len(study.levels)]:
        try:
            config = cell.config()
        except ConfigError as error:
            return f"level {level_name(cell.level)}: {error}"
        values = tuple(config.peek(key) for key in keys)
        if values in levels:
            return f"levels {levels[values]!r} and {cell.level!r} are the same setting."
        levels[values] = cell.level
        if _own(config) - _own(common):
            return (f"at level {level_name(cell.level)} of {study.axis} a cell would have another "
                    f"SFT, or pools or labels of its own ({path_of(config, 'sft').parent}), and "
                    "could not be compared with the others. Choose another axis or name.")
    return ""


def _own(config: Config) -> frozenset[str]:
    """Which of pools and labels a named run would make for itself."""
    path_of(config, "sft")
    return config.own_levels or frozenset()


def _check_name(study: Study, file: StudyFile, keys: list[str]) -> str:
    """A finished study that is called so must be this one, or one that this one goes on from."""
    path = study.folder / "study.json"
    there = read_finished(path) if path.exists() else None
    if there is None or study.config.peek("replace"):
        return ""
    gone = {*there.levels} - {*map(level_name, file.levels)}
    same = there.axis == study.axis and {*there.arms} <= {*study.arms}
    if same and {*keys} & {*COUNTS}:    # the highest may be one that was cut to fewer labels
        highest = max(there.levels, key=float)
        gone -= {highest} if float(highest) < max(file.levels) else set()
    if same and not gone:
        return ""
    return (f"another study that is called {study.name} is finished in {study.folder} "
            f"({there.axis}: {', '.join(there.levels)}; {', '.join(there.arms)}). Give "
            "this one a name of its own: `name` in the file, or --name; --replace writes over it.")


def _about_people(study: Study) -> list[str]:
    """Where too few comparisons by people are planned to correct anything."""
    each, seeds = study.compared_each, len(study.seeds)
    if study.config.peek("human_eval.source") == "none" or not study.comparisons:
        return []
    if each >= LEAST_EACH and seeds > 1:
        return []
    arms = len(study.arms) - len(study.unlabelled)
    needed = LEAST_EACH * max(2, seeds) * arms
    return [f"{study.comparisons} comparisons by people are {each} for each of {seeds} seeds and "
            f"{arms} arms, which corrects nothing: it takes {LEAST_EACH} for each, {needed} in "
            "all" + (", and a second seed." if seeds == 1 else ".")]


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


def _cell(config: Config, study: str, level: Level, seed: int, file: StudyFile,
          overrides: list[str]) -> Cell:
    place = plain = _text(level)
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,20}", plain):
        place = f"{re.sub(r'[^A-Za-z0-9]+', '-', plain)[:12]}-{content_id(plain, length=6)}"
    name = f"{study}.{place}.s{seed}"
    return Cell(name=name, level=level, seed=seed, arms=tuple(file.arms), root=config.root,
                profile=config.profile, overrides=(
                    f"name={name}", *overrides, *_only(file.arms), f"training.seed={seed}"))


def _only(arms: Sequence[str]) -> list[str]:
    """The setting with which no cell trains or asks what no arm needs."""
    is_all = {*arms} == {*PREFERENCE_TRAINED}
    return [] if is_all else [f"training.models=[{', '.join(arms)}]"]


def _anchor_cell(config: Config, study: str, file: StudyFile, shared: Sequence[str],
                 seeds: Sequence[int]) -> Cell | None:
    """The run of the trained anchors: no level, all labels, and the project's seed or the next that
    no cell has, which would be compared with itself.
    """
    trained = tuple(anchor for anchor in (file.anchor, file.second_anchor)
                    if anchor in PREFERENCE_TRAINED)
    if not trained:
        return None
    name = f"{study}.anchor"
    seed = next(number for number in count(config.peek("seed")) if number not in seeds)
    return Cell(name=name, level="", seed=seed, arms=trained, root=config.root,
                profile=config.profile, overrides=(
                    f"name={name}", *shared, *_only(trained), f"training.seed={seed}"))


def _about_anchor(cell: Cell) -> str:
    """What a reader has to know of a trained anchor."""
    names = " and ".join(anchor_name(arm) for arm in cell.arms)
    return (f"{names}, which every reply is compared with, is in no cell: it was trained with the "
            f"profile's settings, all its labels and seed {cell.seed}.")
