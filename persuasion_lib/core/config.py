"""The settings of a run: five YAML files, then a profile, then overrides.

API keys never enter a `Config` (see keys), so they cannot reach a manifest, a notebook or a log.
"""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationError

from persuasion_lib.core import sections, services
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.layers import Layer, layers_of_files, merge, merged
from persuasion_lib.core.plain_yaml import parse_yaml
from persuasion_lib.core.sections import Reads, Section
from persuasion_lib.core.services import check_roles

FILES = ("data_config", "sft_config", "dpo_config", "eval_config", "api_config")
RENAMED = {"validate": "gates"}     # sections of earlier versions, still read


class Config(Section):
    """All settings of one run; `root` is the project folder and `profile` its name."""

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
        """The value of `section.key` without a record of it; None for a key of an older version."""
        return self.flat().get(key)

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
    """The nearest folder at or above `start` (the working directory) that holds our configs."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "configs" / "data_config.yaml").is_file():
            return folder
    raise ConfigError(f"no configs/data_config.yaml in {start} or above it. "
                      "Run from inside the project folder.")


def load_config(profile: str = "demo", overrides: Sequence[str] | str | None = (), *,
                root: Path | None = None) -> Config:
    """The settings of a profile with overrides such as `"dpo.beta=0.2"`; one may come alone.

    Raises:
        ConfigError: an unknown profile or key (the nearest one is suggested), a wrong type or a
            value out of range; the message names the key, its file and what it may be.
    """
    root = find_root(root)
    given = _listed(overrides)
    files = layers_of_files(root, FILES, profile)
    layers = [*files, *map(_layer_of_override, given)]
    values = merged(layers)
    notes = _with_new_names(values)
    _keep_sources_apart(values, _source(merged(files)), given)
    config = _checked(values, layers)
    check_roles(config.peek, config.servers)
    config._root = root
    config._profile = profile
    config._overrides = given
    config._notes = tuple(notes)
    return config


def _listed(overrides: Any) -> tuple[str, ...]:
    """`papermill -p overrides dpo.beta=0.2` gives one text, an empty field of a notebook None."""
    given = [overrides] if isinstance(overrides, str) else overrides or []
    if not isinstance(given, list | tuple) or not all(isinstance(text, str) for text in given):
        raise ConfigError('overrides must be a list of texts such as ["dpo.beta=0.2"], got '
                          f"{_masked(repr(overrides)[:60])}.")
    return tuple(text for text in given if text.strip())


def _layer_of_override(text: str) -> Layer:
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"{_masked(text)!r} is not of the form section.key=value, "
                          "for example dpo.beta=0.2")
    nested: Any = _value_of(key.strip(), value.strip())
    for part in reversed(parts):
        nested = {part: nested}
    return f"override {key.strip()}", nested


def _value_of(key: str, text: str) -> Any:
    """Text where the setting is text ("Be kind #1" is no comment); else what YAML makes of it."""
    section, _, name = key.partition(".")
    known = Config.model_fields.get(section)
    inner = getattr(known.annotation, "model_fields", {}).get(name) if known else None
    kind = inner.annotation if inner else None
    if kind == str | None and text in ("", "null", "~"):
        return None
    if kind in (str, str | None):
        return text
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"the value of the override {key} is not YAML ({error.args[1]}). Write "
                          "it as in configs/.") from None


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
    chosen = any(o.strip().startswith("paths.") for o in overrides)
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
    """Where a setting got its value: the last file or override that gives one."""
    for place, layer in reversed(layers):
        value: Any = layer
        for part in key:
            value = value.get(part) if isinstance(value, dict) else value
        if value is not None:
            return f" ({place})"
    return ""


def _masked(text: str) -> str:
    """Without all but the beginning of what may be a key: long, and with digits."""
    return re.sub(r"(?=[\w-]*\d)([\w-]{7})[\w-]{13,}", r"\1…", text)


def _explain(problem: Any, known: list[str], place: str) -> str:
    key = _masked(".".join(str(part) for part in problem["loc"]))
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
        sections = ", ".join(sorted({name.split(".")[0] for name in known}))
        return f"unknown setting {key}. " + (
            f"Did you mean {near[0]}?" if near else f"Sections are: {sections}.") + place
    given = "" if isinstance(problem["input"], dict) else f", got {problem['input']!r:.200}"
    return (f"setting {key}: {problem['msg']}{_masked(given)}{place}. The comment beside it in "
            "configs/ explains it.")
