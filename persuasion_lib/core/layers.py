"""The settings files one above the other: five files, then a profile and those that it extends."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.plain_yaml import read_yaml

Layer = tuple[str, dict[str, Any]]      # where settings stand, and what is said there


def layers_of_files(root: Path, files: Sequence[str], profile: str) -> list[Layer]:
    """Every settings file with what it holds; later ones win."""
    layers = []
    for name in files:
        # The example first: a copy of it made by an earlier version may lack newer keys.
        for path in (root / "configs" / f"{name}{ending}" for ending in (".example.yaml", ".yaml")):
            if path.exists() or path.name == f"{name}.yaml" and name != "api_config":
                layers.append((str(path), read_yaml(path)))
    for _, values in layers:
        for section in ("anthropic", "openai"):
            if isinstance(values.get(section), dict):
                values[section].pop("api_key", None)
    return layers + _layers_of_profile(root, profile)


def _layers_of_profile(root: Path, profile: str, above: tuple[str, ...] = ()) -> list[Layer]:
    folder = root / "configs" / "profiles"
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if profile not in names:
        raise ConfigError(f"no profile {profile!r}. There are: {', '.join(names)} (in {folder}).")
    path = folder / f"{profile}.yaml"
    if profile in above:
        raise ConfigError(f"{path}: extends goes in a circle ({' → '.join([*above, profile])}). "
                          "Remove one of them.")
    values = read_yaml(path)
    parent = values.pop("extends", None)
    layers = _layers_of_profile(root, parent, (*above, profile)) if parent else []
    return [*layers, (str(path), values)]


def merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """All settings of all layers; later ones win."""
    values: dict[str, Any] = {}
    for place, layer in layers:
        merge(values, deepcopy(layer), place)
    return values


def merge(into: dict[str, Any], extra: dict[str, Any], place: str) -> None:
    """Add what a `place` says to the settings; a section never becomes a value."""
    for key, value in extra.items():
        if not isinstance(into.get(key), dict):
            into[key] = value
        elif isinstance(value, dict):
            merge(into[key], value, place)
        elif value is not None:     # `openai:` with nothing below it says nothing
            raise ConfigError(f"{key} is a section, not a value ({place}). Write its settings as "
                              f"{key}.name=value, in a file below `{key}:`.")
