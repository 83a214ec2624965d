"""The settings of a run: five YAML files, then a profile, then overrides.

API keys never enter a `Config` (see keys), so they cannot reach a manifest, a notebook or a log.
"""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationError

from persuasion_lib.core import sections, services
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.layers import Layer, layers_of_files, merge, merged
from persuasion_lib.core.overrides import (
    as_layer,
    key_of,
    listed,
    masked,
    of_other_profiles,
    with_those_of_its_run,
)
from persuasion_lib.core.reads import Reads
from persuasion_lib.core.sections import Section
from persuasion_lib.core.services import check_roles

FILES = ("data_config", "sft_config", "dpo_config", "eval_config", "api_config")
RENAMED = {"validate": "gates"}     # sections of earlier versions, still read


class Minds(sections.Section):
    pairs: int = Field(ge=0)
    path: str | None


class Config(Section):
    """All settings of one run; `root` is the project folder and `profile` its name."""

    name: Annotated[str | None, sections.ASIDE] = Field(
        None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$")
    replace: Annotated[bool, sections.ASIDE] = False
    seed: int = Field(ge=0, lt=2**32)       # what numpy takes
    paths: sections.Paths
    model: sections.Model
    data: sections.Data
    demo_model: sections.DemoModel
    pairs: sections.Pairs
    label_ai: sections.LabelAI
    judging: sections.Judging
    label_human: sections.LabelHuman
    gates: sections.Gates
    minds: Minds
    checks: sections.Checks
    sft: sections.SFT
    lora: sections.Lora
    training: sections.Training
    dpo: sections.DPO
    rlaif: sections.DPOStage
    rlhf: sections.DPOStage
    rlaif_to_rlhf: sections.DPOStage
    generation: sections.Generation
    oracle: sections.Oracle
    similarity: sections.Similarity
    safety: sections.Safety
    evaluation: sections.Evaluation
    human_eval: sections.HumanEval
    analysis: sections.Analysis
    anthropic: services.Anthropic
    openai: services.OpenAI
    servers: Annotated[dict[str, services.Server], sections.ASIDE] = Field(default_factory=dict)
    rate_limiting: sections.RateLimiting

    _root: Path = PrivateAttr()
    _profile: str = PrivateAttr()
    _overrides: tuple[str, ...] = PrivateAttr(())
    _notes: tuple[str, ...] = PrivateAttr(())
    _layers: tuple[Layer, ...] = PrivateAttr(())
    _own_levels: frozenset[str] | None = PrivateAttr(None)

    def model_post_init(self, _: Any) -> None:
        """Every section writes what is read of it into this config's record."""
        for name, section in self._sections().items():
            section._prefix = f"{name}."
            section._reads = self._reads

    def _sections(self) -> dict[str, Section]:
        """All sections by the beginning of their settings' keys; one for every server."""
        servers = {f"servers.{name}": server for name, server in self.servers.items()}
        return {name: value for name, value in self.__dict__.items()
                if isinstance(value, Section)} | servers

    @property
    def root(self) -> Path:
        """The project folder, absolute."""
        return self._root

    @property
    def profile(self) -> str:
        """The name of the profile that was loaded."""
        return self._profile

    @property
    def overrides(self) -> tuple[str, ...]:
        """The overrides that were given, so that another process can load the same settings."""
        return self._overrides

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd about the settings files, for the warnings of a run."""
        return self._notes

    @property
    def own_levels(self) -> frozenset[str] | None:
        """What a named run has for itself (see `named`); None before that was asked."""
        return self._own_levels

    def keep_own_levels(self, levels: frozenset[str]) -> None:
        """Settle it for as long as these settings are in use."""
        self._own_levels = levels

    def place_of(self, key: str) -> str:
        """The file or the override that a setting got its value from."""
        return _place(key.split("."), self._layers).strip(" ()")

    @property
    def reads(self) -> Reads:
        """What was asked of these settings since they were loaded."""
        return self._reads

    def folder(self, kind: Literal["data", "models", "results"]) -> Path:
        """The absolute folder for data, models or results."""
        return self.root / getattr(self.paths, kind)

    def section(self, name: str) -> dict[str, Any]:
        """One section as flat `section.key: value` pairs, without what changes no outcome."""
        return {f"{name}.{key}": value for key, value in getattr(self, name).values().items()}

    def flat(self) -> dict[str, Any]:
        """Every setting as `section.key: value`, without a record of it."""
        sections_ = self._sections()
        flat = {name: value for name, value in self.__dict__.items()
                if name not in sections_ and name != "servers"}
        return flat | {f"{name}.{key}": value for name, section in sections_.items()
                       for key, value in section.__dict__.items()}

    def peek(self, key: str) -> Any:
        """The value of `section.key` without a record of it; None for a key of an older version.

        The address of a server that moved is the one that its answers belong to.
        """
        flat = self.flat()
        return flat.get(key.replace(".base_url", ".same_as")) or flat.get(key)

    def named_file(self, key: str) -> Path:
        """The path that a setting such as `data.path` names; its content belongs to the run."""
        self.reads.files.add(key)
        section, _, name = key.partition(".")
        return self.user_path(getattr(getattr(self, section), name), key)

    def named_files(self, key: str) -> dict[str, Path]:
        """The same for a setting that lists several, by what is written there."""
        self.reads.files.add(key)
        section, _, name = key.partition(".")
        return {text: self.user_path(text, key) for text in getattr(getattr(self, section), name)}

    def user_path(self, text: str, key: str) -> Path:
        """Where the path leads that somebody wrote as the setting `key`; nothing is recorded."""
        if not text.strip():        # or it would be the whole project
            raise ConfigError(f"setting {key} is empty. Name a file or a folder, or leave it out.")
        try:
            return self.root / Path(text).expanduser()
        except RuntimeError:
            raise ConfigError(f"setting {key}: {text!r} begins with the name of a user who is not "
                              "here. Write the whole path.") from None

    def prompt_file(self, name: str) -> Path:
        """A file of configs/prompts, which judges or people are shown; it belongs to the run."""
        self.reads.prompts.add(name)
        return self.root / "configs" / "prompts" / name


def find_root(start: Path | None = None) -> Path:
    """The nearest folder at or above `start` that holds our configs.

    Without `start` it is the variable PERSUASION_ROOT, else the working directory.
    """
    start = (start or Path(os.environ.get("PERSUASION_ROOT") or Path.cwd())).resolve()
    for folder in (start, *start.parents):
        if (folder / "configs" / "data_config.yaml").is_file():
            return folder
    raise ConfigError(f"no configs/data_config.yaml in {start} or above it. "
                      "Run from inside the project folder.")


def load_config(profile: str = "demo", overrides: Sequence[str] | str | None = (), *,
                root: Path | None = None, run_file: bool = True) -> Config:
    """The settings of a profile with overrides such as `"dpo.beta=0.2"`; one may come alone.

    Without `run_file` what a named run was begun with counts for nothing.

    Raises:
        ConfigError: an unknown profile or key (the nearest one is suggested), a wrong type or a
            value out of range; the message names the key, its file and what it may be.
    """
    root = find_root(root)
    given = listed(overrides)
    others = of_other_profiles(root, profile, given) if run_file else []
    if run_file:
        given = with_those_of_its_run(root, profile, given)
    files = layers_of_files(root, FILES, profile)
    layers = [*files, *(as_layer(text, _kind_of) for text in given)]
    values = merged(layers)
    notes = _with_new_names(values)
    _keep_sources_apart(values, _source(merged(files)), given)
    config = _checked(values, layers)
    check_roles(config.peek, config.servers)
    config._root = root
    config._profile = profile
    config._overrides = given
    config._notes = (*notes, *others)
    config._layers = tuple(layers)
    return config


def _kind_of(key: str) -> Any:
    """The type of a setting as its section declares it; None where it is not known."""
    section, _, name = key.partition(".")
    known = Config.model_fields.get(section)
    if known is None or not name:
        return known.annotation if known else None
    inner = getattr(known.annotation, "model_fields", {}).get(name)
    return inner.annotation if inner else None


def _with_new_names(values: dict[str, Any]) -> list[str]:
    """Move sections that had another name; a note for each."""
    notes = []
    for old, new in RENAMED.items():
        if old in values:
            merge(values, {new: values.pop(old)}, f"section {old}")
            notes.append(f"The section {old!r} of the settings is now called {new!r}.")
    return notes


def _source(values: dict[str, Any]) -> Any:
    data = values.get("data")
    return data.get("source") if isinstance(data, dict) else None


def _keep_sources_apart(values: dict[str, Any], source: Any, overrides: Sequence[str]) -> None:
    """A trial on another corpus goes to its own folders: `data/demo` becomes `data/demo-cmv`."""
    paths = values.get("paths")
    chosen = any(key_of(text).startswith("paths.") for text in overrides)
    if _source(values) == source or chosen or not isinstance(paths, dict):
        return
    for kind, folder in paths.items():
        paths[kind] = f"{folder}-{_source(values)}"


def _checked(values: dict[str, Any], layers: Sequence[Layer]) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        known = [key for name, field in Config.model_fields.items() for key in
                 ([f"{name}.{k}" for k in field.annotation.model_fields]
                  if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
                  else [name])]
        raise ConfigError("\n".join(_explain(e, known, _place(e["loc"], layers))
                                    for e in error.errors())) from None


def _place(key: Sequence[str | int], layers: Sequence[Layer]) -> str:
    """Where a setting got its value: the last file or override that gives one, or null."""
    return next((f" ({place})" for place, layer in reversed(layers) if _says(layer, key)), "")


def _says(value: Any, key: Sequence[str | int]) -> bool:
    for part in key:
        if value is None or isinstance(value, dict) and part not in value:
            return False
        value = value[part] if isinstance(value, dict) else value
    return True


def _explain(problem: Any, known: list[str], place: str) -> str:
    key = masked(".".join(str(part) for part in problem["loc"]))
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
        sections = ", ".join(sorted({name.split(".")[0] for name in known}))
        return f"unknown setting {key}. " + (
            f"Did you mean {near[0]}?" if near else f"Sections are: {sections}.") + place
    given = "" if isinstance(problem["input"], dict) else f", got {problem['input']!r:.200}"
    return (f"setting {key}: {problem['msg']}{masked(given)}{place}. The comment beside it in "
            "configs/ explains it.")
