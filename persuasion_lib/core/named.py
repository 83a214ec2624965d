"""Named runs: results of other settings in folders of their own, beside the project's.

What a run with a name makes itself follows from its settings. Models and results are always its
own; pools and labels are the project's as long as the settings that made those, as their manifests
recorded them, are the same.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from persuasion_lib.core.config import Config, load_config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.overrides import key_of
from persuasion_lib.core.store import read_json

# What somebody calls a run or a study. The cells of a study go on after dots, with level and seed,
# so a study cannot have one; a run that has one by its own name is still read.
NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,30}"
# What the stages make, in the order in which it follows from each other; all others make results.
_LEVELS = {"pools": ("prepare",), "labels": ("label_ai", "label_human", "validate")}
# Settings that make them, for where no manifest says which were read.
_SECTIONS = {
    "prepare": ("seed", "model", "data", "demo_model", "pairs", "sft", "lora"),
    "label_ai": ("label_ai", "anthropic", "openai", "servers"), "label_human": ("label_human",),
    "validate": ("gates",)}


def is_own(config: Config, stage: str, manifests: Callable[[], Mapping[str, str]]) -> bool:
    """Whether a named run has what this stage makes for itself; `manifests` are file names."""
    if config.name is None:
        return False
    if config.own_levels is None:
        read = set(config.reads.settings)
        config.keep_own_levels(_own_levels(config, manifests()))
        config.reads.settings = read    # what other stages read is none of this one's readings
    level = next((level for level, stages in _LEVELS.items() if stage in stages), None)
    return level is None or level in config.own_levels


def _own_levels(config: Config, manifests: Mapping[str, str]) -> frozenset[str]:
    levels = list(_LEVELS)
    first = next((at for at, level in enumerate(levels) if any(
        _differs(config, stage, manifests[stage]) for stage in _LEVELS[level])), len(levels))
    return frozenset(levels[first:])


def _differs(config: Config, stage: str, manifest: str) -> bool:
    results = config.folder("results")
    if (of_run(results, config.name) / "manifests" / manifest).exists():
        return True
    shared = results / "manifests" / manifest
    if shared.exists():
        recorded = read_json(shared, made_by=stage).get("settings", {})
        return any(plain(config.peek(key)) != value for key, value in recorded.items())
    return any(key_of(text).split(".")[0] in _SECTIONS[stage] for text in config.overrides)


def of_run(folder: Path, name: str | None) -> Path:
    """The folder of a named run below one of the project's."""
    return folder / "runs" / name if name else folder


def refuse_another_place(config: Config) -> None:
    """Keep the name of a run for the folder where it has results: another corpus has others.

    Raises:
        ConfigError: what was begun under this name and profile lies elsewhere.
    """
    known = load_config(config.profile, [f"name={config.name}"], root=config.root)
    there, here = (of_run(each.folder("results"), config.name) for each in (known, config))
    if there != here and (there / "manifests").exists() and not config.replace:
        raise ConfigError(f"{config.name} is a run in {there}, and would be another in {here} with "
                          "these settings. Give this one a name of its own (--name); with "
                          "--replace the name leads here from now on.")


def plain(value: Any) -> Any:
    """A setting as a manifest has it."""
    return json.loads(json.dumps(value, default=str))
