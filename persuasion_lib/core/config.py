"""The settings of a run: five YAML files, then a profile, then overrides.

API keys never enter a `Config` (see keys), so they cannot reach a manifest, a notebook or a log.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import PrivateAttr, ValidationError

from persuasion_lib.core import sections
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.sections import Reads, Section

FILES = ("data_config", "sft_config", "dpo_config", "eval_config", "api_config")
RENAMED = {"validate": "gates"}     # sections of earlier versions, still read


class Config(Section):
    """All settings of one run; `root` is the project folder and `profile` its name."""

    seed: int
    paths: sections.Paths
    model: sections.Model
    data: sections.Data
    demo_model: sections.DemoModel
    pairs: sections.Pairs
    label_ai: sections.LabelAI
    judging: sections.Judging
    label_human: sections.LabelHuman
    gates: sections.Gates
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
    analysis: sections.Analysis
    anthropic: sections.Anthropic
    openai: sections.OpenAI
    rate_limiting: sections.RateLimiting

    _root: Path = PrivateAttr()
    _profile: str = PrivateAttr()
    _overrides: tuple[str, ...] = PrivateAttr(())
    _notes: tuple[str, ...] = PrivateAttr(())

    def model_post_init(self, _: Any) -> None:
        """Every section writes what is read of it into this config's record."""
        for name, section in self.__dict__.items():
            if isinstance(section, Section):
                section._prefix = f"{name}."
                section._reads = self._reads

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
        flat: dict[str, Any] = {}
        for name, value in self.__dict__.items():
            inner = {f"{name}.{key}": v for key, v in value.__dict__.items()} if isinstance(
                value, Section) else {name: value}
            flat |= inner
        return flat

    def peek(self, key: str) -> Any:
        """The value of `section.key` without a record of it; None for a key of an older version."""
        return self.flat().get(key)

    def named_file(self, key: str) -> Path:
        """The path that a setting such as `data.path` names; its content belongs to the run."""
        self.reads.files.add(key)
        section, _, name = key.partition(".")
        return self.root / Path(getattr(getattr(self, section), name)).expanduser()

    def named_files(self, key: str) -> dict[str, Path]:
        """The same for a setting that lists several, by what is written there."""
        self.reads.files.add(key)
        section, _, name = key.partition(".")
        return {text: self.root / Path(text).expanduser()
                for text in getattr(getattr(self, section), name)}

    def prompt_file(self, name: str) -> Path:
        """A file of configs/prompts, which judges or people are shown; it belongs to the run."""
        self.reads.prompts.add(name)
        return self.root / "configs" / "prompts" / name


STAND_IN = {"data.source": ("demo", "corpus"), "model.base": ("demo", "model"),
            "label_ai.judge": ("offline", "labeller"),
            "label_human.source": ("simulated", "annotator"),
            "evaluation.judge": ("offline", "judge"),
            "safety.judge": ("offline", "judge of manipulation"),
            "oracle.source": ("offline", "oracle"), "similarity.embedder": ("offline", "embedder")}


def stand_ins(config: Config) -> list[str]:
    """The roles that a stand-in without a real model, person or corpus plays; reads nothing."""
    roles = [role for key, (value, role) in STAND_IN.items() if config.peek(key) == value]
    return [role for role in roles if role != "oracle" or config.peek("oracle.generate")]


def find_root(start: Path | None = None) -> Path:
    """The nearest folder at or above `start` (the working directory) that holds our configs."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "configs" / "data_config.yaml").is_file():
            return folder
    raise ConfigError(f"no configs/data_config.yaml in {start} or above it. "
                      "Run from inside the project folder.")


def load_config(profile: str = "demo", overrides: Sequence[str] = (), *,
                root: Path | None = None) -> Config:
    """The settings of a profile with overrides such as `"dpo.beta=0.2"`.

    Raises:
        ConfigError: an unknown profile or key (the nearest one is suggested), a wrong type or a
            value out of range; the message names the key and what it may be.
    """
    root = find_root(root)
    values: dict[str, Any] = {}
    for name in FILES:
        # The example first: a copy of it made by an earlier version may lack newer keys.
        for path in (root / "configs" / f"{name}{ending}" for ending in (".example.yaml", ".yaml")):
            if path.exists() or path.name == f"{name}.yaml" and name != "api_config":
                _merge(values, read_yaml(path))
    for section in ("anthropic", "openai"):
        values.get(section, {}).pop("api_key", None)
    _merge(values, _profile_values(root, profile))
    source = values["data"].get("source")
    _merge_overrides(values, overrides)
    notes = _with_new_names(values)
    _keep_sources_apart(values, source, overrides)
    config = _checked(values)
    config._root = root
    config._profile = profile
    config._overrides = tuple(overrides)
    config._notes = tuple(notes)
    return config


def read_yaml(path: Path) -> dict[str, Any]:
    """A settings file; the message about a malformed one never shows its text."""
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing. Restore it with: git checkout {path}") from None
    except yaml.MarkedYAMLError as error:
        # Without the text of the line: api_config.yaml may hold a key there.
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line} is not YAML ({error.problem}). "
                          "Compare it with the lines around.") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must hold `section:` lines with `key: value` lines below them.")
    return value


def _profile_values(root: Path, profile: str) -> dict[str, Any]:
    folder = root / "configs" / "profiles"
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if profile not in names:
        raise ConfigError(f"no profile {profile!r}. There are: {', '.join(names)} (in {folder}).")
    values = read_yaml(folder / f"{profile}.yaml")
    parent = values.pop("extends", None)
    merged = _profile_values(root, parent) if parent else {}
    _merge(merged, values)
    return merged


def _merge(into: dict[str, Any], extra: dict[str, Any]) -> None:
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _merge_overrides(values: dict[str, Any], overrides: Sequence[str]) -> None:
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{text!r} is not of the form section.key=value, "
                              "for example dpo.beta=0.2")
        nested: Any = yaml.safe_load(value) if value.strip() else None
        for part in reversed(key.strip().split(".")):
            nested = {part: nested}
        _merge(values, nested)


def _with_new_names(values: dict[str, Any]) -> list[str]:
    """Move sections that had another name; a note for each."""
    notes = []
    for old, new in RENAMED.items():
        if old in values:
            _merge(values.setdefault(new, {}), values.pop(old))
            notes.append(f"The section {old!r} of the settings is now called {new!r}.")
    return notes


def _keep_sources_apart(values: dict[str, Any], source: str, overrides: Sequence[str]) -> None:
    """A trial on another corpus goes to its own folders: `data/demo` becomes `data/demo-cmv`."""
    if values["data"].get("source") == source or any(o.startswith("paths.") for o in overrides):
        return
    for kind, folder in values["paths"].items():
        values["paths"][kind] = f"{folder}-{values['data'].get('source')}"


def _checked(values: dict[str, Any]) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        known = [key for name, field in Config.model_fields.items() for key in
                 ([f"{name}.{k}" for k in field.annotation.model_fields]
                  if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
                  else [name])]
        raise ConfigError("\n".join(_explain(e, known) for e in error.errors())) from None


def _explain(problem: Any, known: list[str]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
        sections = ", ".join(sorted({name.split(".")[0] for name in known}))
        return f"unknown setting {key}. " + (
            f"Did you mean {near[0]}?" if near else f"Sections are: {sections}.")
    given = "" if isinstance(problem["input"], dict) else f", got {problem['input']!r}"
    return f"setting {key}: {problem['msg']}{given}. The comment beside it in configs/ explains it."
