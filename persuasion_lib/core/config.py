"""Settings: five YAML files hold the values, the classes here hold names and types.

`load_config(profile, overrides)` is those files, then the profile, then the overrides. API keys
never enter a `Config` (see `api_key`), so they cannot reach a manifest, a notebook or a log.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from persuasion_lib.core.errors import ConfigError

FILES = ("data_config", "sft_config", "dpo_config", "eval_config", "api_config")

Fraction = Field(ge=0, le=1)
Positive = Field(gt=0)


class Section(BaseModel):
    """Base of all sections: no unknown keys, no changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Paths(Section):
    data: str
    models: str
    results: str


class Model(Section):
    base: str
    revision: str
    dtype: Literal["auto", "float32", "bfloat16"]
    load_in_4bit: bool


class Data(Section):
    source: Literal["demo", "persuasionforgood", "cmv", "jsonl", "files"]
    path: str | None
    conversations: int = Field(ge=0)
    sft_examples: int = Positive
    sft_val_fraction: float = Field(gt=0, lt=1)
    ai_pairs: int = Positive
    human_pairs: int = Positive
    test_examples: int = Positive
    prompts_per_conversation: int = Positive
    max_prompt_tokens: int = Positive
    max_response_tokens: int = Positive
    max_shared_passages: float = Fraction
    system_prompt: str


class DemoModel(Section):
    steps: int = Positive
    batch_size: int = Positive


class Pairs(Section):
    temperature: float = Positive
    top_p: float = Field(gt=0, le=1)
    max_new_tokens: int = Positive
    batch_size: int = Positive
    contrast: Literal["none", "temperatures", "best_of_n"]
    contrast_temperature: float = Positive
    best_of: int = Field(ge=2)
    server: str | None
    server_model: str | None


class LabelAI(Section):
    judge: Literal["anthropic", "openai", "offline"]
    both_orders: bool
    mode: Literal["online", "batch"]
    repeat_fraction: float = Fraction
    max_examples: int | None = Field(gt=0)


class Judging(Section):
    budget_usd: float = Positive
    prices_date: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    prices: dict[str, tuple[float, float]]


class LabelHuman(Section):
    source: Literal["widget", "simulated", "file"]
    path: str | None
    annotator: str = Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")
    max_missing: int = Field(ge=0)
    repeat_fraction: float = Field(ge=0, le=0.5)
    checks: int = Field(ge=0)
    break_every: int = Positive


class Validate(Section):
    val_fraction: float = Field(gt=0, lt=1)
    max_tie_fraction: float = Fraction
    max_truncated_fraction: float = Fraction
    max_poor_fraction: float = Fraction
    max_opening_gap: float = Fraction
    max_unclean_fraction: float = Fraction
    min_train_pairs: int = Positive


class SFT(Section):
    learning_rate: float = Positive
    num_epochs: int = Positive
    per_device_train_batch_size: int = Positive
    gradient_accumulation_steps: int = Positive


class Lora(Section):
    r: int = Positive
    alpha: int = Positive
    dropout: float = Field(ge=0, lt=1)


class Training(Section):
    evals_per_run: int = Positive
    gradient_checkpointing: bool
    report_to: Literal["none", "tensorboard", "wandb", "trackio"]
    processes: int = Positive
    launch_config: str | None


class DPO(Section):
    beta: float = Positive
    engine: Literal["shared_prefix", "trl"]
    loss_type: Literal["sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair",
                       "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop",
                       "sigmoid_norm"]
    label_smoothing: float = Field(ge=0, lt=0.5)
    ties: Literal["drop", "refuse"]
    max_length: int = Positive
    per_device_train_batch_size: int = Positive
    gradient_accumulation_steps: int = Positive
    watched_prompts: int = Field(ge=0)


class DPOStage(Section):
    learning_rate: float = Positive
    num_epochs: int = Positive


class Generation(Section):
    max_new_tokens: int = Positive
    temperature: float = Field(ge=0)
    top_p: float = Field(gt=0, le=1)
    batch_size: int = Positive


class Oracle(Section):
    generate: bool
    source: Literal["anthropic", "openai", "offline"]


class Similarity(Section):
    embedder: Literal["openai", "offline"]


class Safety(Section):
    judge: Literal["anthropic", "openai", "offline"]
    label_pairs: int = Field(ge=0)


class Evaluation(Section):
    test_file: str
    models: list[Literal["base", "sft", "rlhf", "rlaif", "rlaif_rlhf"]] = Field(min_length=2)
    judge: Literal["anthropic", "openai", "offline"]
    randomize_positions: bool
    orders: int = Field(ge=1, le=4)
    max_examples: int | None = Field(gt=0)


class Analysis(Section):
    input_file: str | None
    training_files: list[str]
    confidence: float = Field(gt=0, lt=1)
    resamples: int = Positive
    primary: list[str] = Field(min_length=2, max_length=2)


class Anthropic(Section):
    model: str
    evaluate_model: str | None
    oracle_model: str | None
    effort: Literal["low", "medium", "high"]
    max_tokens: int = Positive
    timeout: float = Positive


class OpenAI(Section):
    base_url: str | None
    model: str
    evaluate_model: str | None
    oracle_model: str | None
    embedding_model: str
    temperature: float | None = Field(ge=0)
    max_tokens: int = Positive
    timeout: float = Positive


class RateLimiting(Section):
    requests_per_minute: float | None = Positive


class Config(Section):
    """All settings of one run; `root` is the project folder and `profile` its name."""

    seed: int
    paths: Paths
    model: Model
    data: Data
    demo_model: DemoModel
    pairs: Pairs
    label_ai: LabelAI
    judging: Judging
    label_human: LabelHuman
    validate_: Validate = Field(alias="validate")   # BaseModel.validate exists
    sft: SFT
    lora: Lora
    training: Training
    dpo: DPO
    rlaif: DPOStage
    rlhf: DPOStage
    rlaif_to_rlhf: DPOStage
    generation: Generation
    oracle: Oracle
    similarity: Similarity
    safety: Safety
    evaluation: Evaluation
    analysis: Analysis
    anthropic: Anthropic
    openai: OpenAI
    rate_limiting: RateLimiting

    _root: Path = PrivateAttr()
    _profile: str = PrivateAttr()
    _overrides: tuple[str, ...] = PrivateAttr()

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

    def folder(self, kind: Literal["data", "models", "results"]) -> Path:
        """The absolute folder for data, models or results."""
        return self.root / getattr(self.paths, kind)

    def section(self, name: str) -> dict[str, Any]:
        """One section as flat `section.key: value` pairs, for manifests."""
        value = self.model_dump(by_alias=True)[name]
        return {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {
            name: value}


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
                _merge(values, _read_yaml(path))
    for section in ("anthropic", "openai"):
        values.get(section, {}).pop("api_key", None)
    _merge(values, _profile_values(root, profile))
    source = values["data"].get("source")
    _merge_overrides(values, overrides)
    _keep_sources_apart(values, source, overrides)
    config = _checked(values)
    config._root, config._profile, config._overrides = root, profile, tuple(overrides)
    return config


def _read_yaml(path: Path) -> dict[str, Any]:
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
    values = _read_yaml(folder / f"{profile}.yaml")
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
                 ([f"{field.alias or name}.{k}" for k in field.annotation.model_fields]
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


_ENVIRONMENT = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}


def api_key(root: Path, provider: Literal["anthropic", "openai"]) -> str:
    """The key of a provider: environment first, then `.env`, then `configs/api_config.yaml`.

    Raises:
        ConfigError: no key, a placeholder, characters that no key has, the other provider's key,
            or a key in a file that git tracks. Only the first seven characters are ever shown.
    """
    name = _ENVIRONMENT[provider]
    file = root / "configs" / "api_config.yaml"
    written = _read_yaml(file).get(provider, {}).get("api_key") if file.exists() else None
    if written and _is_tracked(file):
        raise ConfigError(f"{file} holds a key and git tracks it, so the key would be published. "
                          f"Run: git rm --cached {file}, and get a new key.")
    key = (os.environ.get(name) or dotenv_values(root / ".env").get(name) or written or "").strip()
    if not key or "YOUR_" in key:
        if not file.exists():
            shutil.copy(root / "configs" / "api_config.example.yaml", file)
        raise ConfigError(f"API key not set for {provider}. Put it into the environment as {name}, "
                          f"or into configs/api_config.yaml ({provider}.api_key).",
                          key=f"{provider}.api_key")
    if not re.fullmatch(r"[\x21-\x7e]{20,}", key):
        raise ConfigError(f"the {provider} key ({key[:7]}…) has spaces, odd characters or too few "
                          "of them. Copy it again.")
    if key.startswith("sk-ant-") != (provider == "anthropic"):
        raise ConfigError(f"the {provider} key ({key[:7]}…) is not one of {provider}'s; an "
                          "Anthropic key starts with sk-ant-. Were two keys swapped?")
    return key


def _is_tracked(file: Path) -> bool:
    try:
        listed = subprocess.run(["git", "-C", str(file.parent), "ls-files", file.name],
                                capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return bool(listed.stdout.strip())


