"""The names and types of all settings, by section, and the record of which were really read.

The values stand in five YAML files, which `config.load_config` reads.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from persuasion_lib.core.family import MODELS, PREFERENCE_TRAINED
from persuasion_lib.core.reads import Reads

Fraction = Field(ge=0, le=1)
Positive = Field(gt=0)
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]      # with another, no budget holds
# A setting that changes no outcome: where, how fast, for how much, watched by what.
ASIDE = "changes no outcome"
# Who answers in a role: anthropic, openai, a stand-in (offline), or a name in `servers`.
Provider = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
# The name of the variable that holds a key, never the key; `none` sends none.
KeyName = Annotated[str, Field(pattern=r"^(?:[A-Z][A-Z0-9_]{0,63}|none)$")]
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")     # not tab and line feed


class Section(BaseModel):
    """Base of all sections: no unknown keys, no changes after loading, and reading is recorded."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(),
                              allow_inf_nan=False)

    _prefix: str = PrivateAttr("")
    _reads: Reads = PrivateAttr(default_factory=Reads)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        """What pydantic takes and nobody means: true for 1, and signs that no text has."""
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("true or false is not what this setting is")
        if isinstance(value, str) and _CONTROL.search(value):
            raise ValueError("it holds a control character")
        return value

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if not name.startswith(("_", "model_")):
            known = type(self).model_fields.get(name)
            if known and ASIDE not in known.metadata and not isinstance(value, Section):
                self._reads.settings.add(self._prefix + name)
        return value

    def values(self) -> dict[str, Any]:
        """The values that can change an outcome, by name; all of them count as read."""
        return {name: getattr(self, name) for name, known in type(self).model_fields.items()
                if ASIDE not in known.metadata}


class Paths(Section):
    data: Annotated[str, ASIDE]
    models: Annotated[str, ASIDE]
    results: Annotated[str, ASIDE]


class Model(Section):
    base: str
    revision: str
    gguf: str | None
    dtype: Literal["auto", "float32", "bfloat16"]
    load_in_4bit: bool


class Data(Section):
    source: Literal["demo", "persuasionforgood", "cmv", "jsonl", "files"]
    path: str | None
    conversations: int = Field(ge=0)
    sft_examples: int = Positive
    sft_val_fraction: float = Field(gt=0, le=0.3)
    ai_pairs: int = Positive
    human_pairs: int = Positive
    test_examples: int = Positive
    prompts_per_conversation: int = Positive
    max_prompt_tokens: int = Positive
    max_response_tokens: int = Positive
    max_shared_passages: float = Fraction
    system_prompt: str
    goal: str


class DemoModel(Section):
    steps: int = Positive
    batch_size: int = Positive


class Pairs(Section):
    temperature: float = Positive
    top_p: float = Field(gt=0, le=1)
    max_new_tokens: int = Positive
    batch_size: Annotated[int, ASIDE] = Positive
    contrast: Literal["none", "temperatures", "best_of_n"]
    contrast_temperature: float = Positive
    best_of: int = Field(ge=2)
    server: str | None
    server_key_env: Annotated[KeyName | None, ASIDE]
    server_model: str | None


class LabelAI(Section):
    judge: Provider
    both_orders: bool
    mode: Annotated[Literal["online", "batch"], ASIDE]
    repeat_fraction: float = Fraction
    max_examples: int | None = Field(gt=0)


class Judging(Section):
    budget_usd: Annotated[float, ASIDE] = Positive
    calibrate: Annotated[bool, ASIDE]
    prices_date: Annotated[str, ASIDE] = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    prices: Annotated[dict[str, tuple[Price, Price]], ASIDE]


# A name that a file of its own is named by: no folder, no sign that a shell or a page would read.
Handle = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,39}$")]
# (noise, bias) of a stand-in for a person, in units of the demo's utility.
Habits = tuple[Annotated[float, Field(ge=0)], float]


class LabelHuman(Section):
    source: Literal["widget", "simulated", "file"]
    path: str | None
    annotator: Handle
    annotators: list[Handle]
    left: list[Handle]
    overlap: float = Fraction
    labels_from: Literal["annotator", "majority", "adjudicated"]
    stand_ins: dict[Handle, Habits]
    second_stand_in: bool
    both_bad: bool
    strength: bool
    reasons: list[Annotated[str, Field(min_length=1, max_length=60)]] = Field(max_length=9)
    max_missing: int = Field(ge=0)
    repeat_fraction: float = Field(ge=0, le=0.5)
    checks: int = Field(ge=0)
    break_every: Annotated[int, ASIDE] = Positive

    @field_validator("annotators", "left")
    @classmethod
    def _one_spelling(cls, names: list[str]) -> list[str]:
        """Spellings that differ by case alone are one person, and on many disks one log."""
        twice = [name for at, name in enumerate(names)
                 if name.casefold() in map(str.casefold, names[:at])]
        if twice:
            raise ValueError(f"{twice[0]!r} is there twice, perhaps in another spelling")
        return names


class Gates(Section):
    val_fraction: float = Field(gt=0, lt=1)
    max_tie_fraction: float = Fraction
    max_truncated_fraction: float = Fraction
    max_poor_fraction: float = Fraction
    max_opening_gap: float = Fraction
    max_unclean_fraction: float = Fraction
    max_nats_ratio: float = Positive
    min_train_pairs: int = Positive


class Checks(Section):
    allow: list[str]


class SFT(Section):
    learning_rate: float = Positive
    num_epochs: int = Positive
    engine: Literal["packed", "trl"]
    whole_conversations: bool
    per_device_train_batch_size: int = Positive
    gradient_accumulation_steps: int = Positive


class Lora(Section):
    r: int = Positive
    alpha: int = Positive
    dropout: float = Field(ge=0, lt=1)


class Training(Section):
    models: list[Literal[PREFERENCE_TRAINED]] | None = Field(min_length=1)
    seed: int | None = Field(ge=0, lt=2**32)
    human_labels: int | None = Positive
    ai_labels: int | None = Positive
    label_noise: float = Field(ge=0, lt=0.5)
    best_from: int = Field(ge=0)
    evals_per_run: int = Positive
    gradient_checkpointing: Annotated[bool, ASIDE]
    threads: Annotated[int | None, ASIDE] = Positive
    report_to: Annotated[Literal["none", "tensorboard", "wandb", "trackio"], ASIDE]
    processes: int = Positive
    launch_config: Annotated[str | None, ASIDE]


class DPO(Section):
    beta: float = Positive
    engine: Literal["shared_prefix", "trl"]
    loss_type: Literal["sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair",
                       "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop",
                       "sigmoid_norm"]
    label_smoothing: float = Field(ge=0, lt=0.5)
    reference: Literal["sft", "base", "start"]
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
    batch_size: Annotated[int, ASIDE] = Positive


class Oracle(Section):
    generate: bool
    source: Provider


class Similarity(Section):
    embedder: Provider
    local_model: str


class Safety(Section):
    judge: Provider
    label_pairs: int = Field(ge=0)


class Evaluation(Section):
    test_file: str
    models: list[Literal[MODELS]] = Field(min_length=2)
    judge: Provider
    judges: list[Provider]
    human_reply: bool
    judge_only_examples: int = Field(ge=0)
    randomize_positions: bool
    orders: int = Field(ge=1, le=4)
    controls: int = Field(ge=0)
    max_examples: int | None = Field(gt=0)

    @field_validator("judges")
    @classmethod
    def _each_once(cls, names: list[str]) -> list[str]:
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} is named twice; a judge is told from another by its name "
                             "(more servers: `servers:` in configs/api_config.yaml)")
        return names

    @model_validator(mode="before")
    @classmethod
    def _the_first_is_the_judge(cls, values: Any) -> Any:
        panel = values.get("judges") if isinstance(values, dict) else None
        return values | {"judge": panel[0]} if isinstance(panel, list) and panel else values


class HumanEval(Section):
    kind: Literal["pairs", "ranking"]
    source: Literal["none", "widget", "simulated", "file"]
    path: str | None
    annotator: str = Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")
    comparisons: int = Positive
    repeat_fraction: float = Field(ge=0, le=0.5)
    checks: int = Field(ge=0)
    break_every: Annotated[int, ASIDE] = Positive


class Analysis(Section):
    input_file: str | None
    training_files: list[str]
    confidence: float = Field(gt=0, lt=1)
    resamples: int = Positive
    primary: list[str] = Field(min_length=2, max_length=2)


class RateLimiting(Section):
    requests_per_minute: Annotated[float | None, ASIDE] = Positive
