"""Loading models, and the lineage that makes sure a checkpoint runs on what it was trained on.

Checkpoints are LoRA adapters. `rlhf` and `rlaif` were trained on base + SFT merged, `rlaif_rlhf`
continued `rlaif`. Adapters add up, so one loaded base with named adapters is every model:
base = none, sft = [sft], rlhf = [sft, rlhf], and so on.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from huggingface_hub import snapshot_download
from peft import PeftModel
from peft.tuners import lora
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
)
from transformers import PreTrainedTokenizerBase as Tokenizer

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError, LineageError, MissingInput, SelfTestError
from persuasion_lib.core.records import Message
from persuasion_lib.core.stage import made_by, path_of
from persuasion_lib.core.store import file_hash, read_json, write_json
from persuasion_lib.models.fused_lora import fuse_adapters

PARENTS: dict[str, tuple[str, ...]] = {
    "base": (), "sft": ("base",), "rlhf": ("base", "sft"), "rlaif": ("base", "sft"),
    "rlaif_rlhf": ("base", "sft", "rlaif"),
}
WEIGHTS = "adapter_model.safetensors"
MIN_KEPT = 0.9          # of an adapter by merging it; float32 keeps all, bfloat16 most
EXPORT = "persuasion_export.json"       # written into merged exports, which are no adapters


@dataclass(frozen=True)
class Lineage:
    """Where a checkpoint comes from, written beside its weights as `lineage.json`.

    `parents` maps each model of the chain below this one to the sha256 of its weights when this
    one was trained; `reference` is the model that DPO compared with (None for SFT);
    `fingerprint` is a hash of training data and settings.
    """

    name: str
    base: str
    revision: str
    parents: dict[str, str]
    reference: str | None
    weights: str
    fingerprint: str


def base_folder(config: Config) -> Path:
    """The folder of the base model; a hub model is downloaded first.

    Raises:
        MissingInput: the demo model is not built yet, or the hub cannot be reached.
    """
    if config.model.base == "demo":
        folder = path_of(config, "base")
        if not folder.exists():
            raise MissingInput(f"{folder} is missing. Run {made_by('sft')} first.")
        return folder
    local = config.root / config.model.base
    if (local / EXPORT).exists():
        exported = read_json(local / EXPORT, made_by="persuasion export")
        raise LineageError(f"{local} is a merged export of {exported['name']!r}, so training on it "
                           f"would apply SFT twice. Set model.base={exported['base']}.")
    if local.is_dir():
        return local
    try:
        return Path(snapshot_download(config.model.base, revision=config.model.revision,
                                      allow_patterns=["*.json", "*.safetensors", "*.txt"]))
    except OSError as error:
        raise MissingInput(
            f"model {config.model.base!r} is neither a folder nor reachable on the hub "
            f"({type(error).__name__}). Connect once, or set model.base to a folder that holds "
            "config.json, tokenizer.json and *.safetensors.") from error


def base_hash(config: Config) -> str:
    """sha256 over the weight files of the base model."""
    digest = hashlib.sha256()
    for file in sorted(base_folder(config).glob("*.safetensors")):
        digest.update(f"{file.name} {file_hash(file)}\n".encode())
    return digest.hexdigest()


def has_fast_bfloat16() -> bool:
    """Whether products in bfloat16 are fast here: on GPUs that have them, on CPUs with AMX.

    Other CPUs compute them too, several times slower than in float32.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def dtype_of(config: Config) -> torch.dtype:
    """The number format of the weights; never float16, which needs loss scaling."""
    if config.model.dtype == "auto":
        return torch.bfloat16 if has_fast_bfloat16() else torch.float32
    return getattr(torch, config.model.dtype)


def load_tokenizer(config: Config) -> Tokenizer:
    """The tokenizer of the base model, padding on the left as generation needs it."""
    tokenizer = AutoTokenizer.from_pretrained(base_folder(config), padding_side="left")
    if tokenizer.chat_template is None:
        raise LineageError(f"{config.model.base} has no chat template, so it is no instruct model. "
                           "Choose one that has, for example Qwen/Qwen2.5-0.5B-Instruct.")
    return tokenizer


def prompt_ids(tokenizer: Tokenizer, prompt: Sequence[Message]) -> list[int]:
    """The token ids of a prompt up to where the reply begins: the one prompt builder.

    trl renders conversational rows with the same template, so that training, generation and
    evaluation see the same tokens.
    """
    return tokenizer.apply_chat_template(list(prompt), add_generation_prompt=True,
                                         return_dict=False)


def load_base(config: Config) -> PreTrainedModel:
    """The base model alone, on the fastest device there is; in 4 bits if the settings say so.

    Raises:
        ConfigError: 4 bits are asked for where bitsandbytes cannot give them.
    """
    quiet()
    options: dict[str, Any] = {"dtype": dtype_of(config)}
    if config.model.load_in_4bit:
        if not torch.cuda.is_available() or importlib.util.find_spec("bitsandbytes") is None:
            raise ConfigError("model.load_in_4bit needs an NVIDIA GPU and the package bitsandbytes "
                              "(pip install bitsandbytes). Set model.load_in_4bit=false here.")
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype_of(config))
        model = AutoModelForCausalLM.from_pretrained(base_folder(config), **options)
    else:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = AutoModelForCausalLM.from_pretrained(base_folder(config), **options).to(device)
    model.generation_config = without_defaults(model.generation_config)
    return model.eval()


def without_defaults(given: GenerationConfig) -> GenerationConfig:
    """Plain sampling, with the end tokens of `given`.

    `generate` and servers add what a model's folder asks for (Qwen2.5's: a repetition penalty of
    1.1, top_k 20) to what the caller asks for, so that replies would not follow our settings.
    """
    return GenerationConfig(
        do_sample=True, temperature=1.0, top_p=1.0, top_k=0, repetition_penalty=1.0,
        bos_token_id=given.bos_token_id, eos_token_id=given.eos_token_id,
        pad_token_id=given.pad_token_id)


def quiet() -> None:
    """Silence what hides the rest: bars of a second each, a deprecation inside trl and peft."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")


def load_merged_sft(config: Config) -> PreTrainedModel:
    """Base with the SFT adapter merged in: where DPO starts, and its reference."""
    check_lineage(config, "sft")
    return merge(load_base(config), path_of(config, "sft"))


def merge(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """The model with an adapter merged into its weights.

    Raises:
        SelfTestError: the weights are too coarse to hold what the adapter changes.
    """
    adapted = PeftModel.from_pretrained(model, adapter)
    if (kept := kept_by_merging(adapted)) < MIN_KEPT:
        raise SelfTestError(f"merged into {model.dtype} weights, only {kept:.0%} of what "
                            f"{adapter} changes would be left; the rest is less than their "
                            "rounding. Set model.dtype=float32.")
    return adapted.merge_and_unload(safe_merge=True)


@torch.no_grad()
def kept_by_merging(adapted: PeftModel) -> float:
    """The share of an adapter's update that is left when it is merged: 1 all of it, 0 nothing.

    bfloat16 has 8 significant bits: what is less than half a step of a weight is rounded away.
    Weights in 4 bits are left out, as their steps are not known before they are merged.
    """
    left = whole = 0.0
    for layer in adapted.modules():
        if isinstance(layer, lora.Linear) and layer.get_base_layer().weight.is_floating_point():
            update = layer.get_delta_weight("default").float()
            weight = layer.get_base_layer().weight
            moved = (weight + update).to(weight.dtype).float() - weight.float()
            left += float((moved * update).sum())
            whole += float(update.square().sum())
    return left / whole if whole else 1.0


class ModelFamily:
    """All models of the experiment from one loaded base; `use(name)` selects one.

    Raises:
        LineageError: a checkpoint is missing a parent, or a parent is not the one it was
            trained on.
    """

    def __init__(self, config: Config, names: Sequence[str]) -> None:
        self.tokenizer = load_tokenizer(config)
        self.model: PreTrainedModel | PeftModel = load_base(config)
        for name in dict.fromkeys(["sft", *names]):
            if name != "base":
                check_lineage(config, name)
                self._add(path_of(config, name), name)
        fuse_adapters(self.model)

    def _add(self, folder: Path, name: str) -> None:
        if isinstance(self.model, PeftModel):
            self.model.load_adapter(folder, adapter_name=name)
        else:
            self.model = PeftModel.from_pretrained(self.model, folder, adapter_name=name)

    @contextlib.contextmanager
    def use(self, name: str) -> Iterator[PreTrainedModel | PeftModel]:
        """The model `name` for the time of a `with` block."""
        if name == "base":
            with self.model.disable_adapter():
                yield self.model
            return
        self.model.base_model.set_adapter(["sft"] if name == "sft" else ["sft", name])
        yield self.model.eval()


def weights_hash(config: Config, name: str) -> str:
    """sha256 of a model's own weights (of its adapter; of all files for the base)."""
    return base_hash(config) if name == "base" else file_hash(path_of(config, name) / WEIGHTS)


def write_lineage(config: Config, name: str, folder: Path, fingerprint: str) -> Lineage:
    """Record what the checkpoint in `folder` was trained from; call before it is moved in place."""
    lineage = Lineage(
        name=name, base=config.model.base, revision=config.model.revision,
        parents={parent: weights_hash(config, parent) for parent in PARENTS[name]},
        reference=None if name == "sft" else "sft", weights=file_hash(folder / WEIGHTS),
        fingerprint=fingerprint)
    write_json(folder / "lineage.json", asdict(lineage))
    return lineage


def read_lineage(config: Config, name: str) -> Lineage:
    """The recorded lineage of a checkpoint.

    Raises:
        MissingInput: there is no checkpoint.
        LineageError: there are weights without a (readable) record of where they come from.
    """
    folder = path_of(config, name)
    if (folder / EXPORT).exists():
        raise LineageError(f"{folder} holds a merged export, not an adapter; on top of the base "
                           f"it would count twice. Run {made_by(name)} to train the adapter again.")
    if not (folder / WEIGHTS).exists():
        raise MissingInput(f"Model checkpoint not found: {folder / WEIGHTS}. Run {made_by(name)}.")
    if not (folder / "lineage.json").exists():
        raise LineageError(f"{folder} has no lineage.json, so nothing says which model its adapter "
                           f"belongs on. Run {made_by(name)} to train it again.")
    try:
        return Lineage(**read_json(folder / "lineage.json", made_by=made_by(name)))
    except TypeError as error:
        raise LineageError(f"{folder / 'lineage.json'} is not a lineage record ({error}). "
                           f"Run {made_by(name)} to train it again.") from None


def check_lineage(config: Config, name: str) -> Lineage:
    """Refuse a checkpoint whose weights or parents are not the recorded ones.

    Raises:
        MissingInput: the checkpoint or a parent is missing.
        LineageError: weights were edited, or a parent was exchanged or trained again.
    """
    lineage = read_lineage(config, name)
    if lineage.name != name:
        raise LineageError(f"{path_of(config, name)} holds the model {lineage.name!r}, "
                           f"not {name!r}. Run {made_by(name)} again.")
    if weights_hash(config, name) != lineage.weights:
        raise LineageError(f"the weights of {name} ({path_of(config, name)}) were changed after "
                           f"training. Run {made_by(name)} again.")
    if set(lineage.parents) != set(PARENTS[name]):
        raise LineageError(f"{name} records the parents {sorted(lineage.parents)}, but is built "
                           f"on {list(PARENTS[name])}. Run {made_by(name)} again.")
    for parent, recorded in lineage.parents.items():
        if parent != "base":
            read_lineage(config, parent)
        if weights_hash(config, parent) != recorded:
            raise LineageError(
                f"{name} was trained on another {parent} (weights {recorded[:8]}…, now "
                f"{weights_hash(config, parent)[:8]}…). Run {made_by(name)} again, or restore "
                f"that {parent}.")
    return lineage


def is_current(config: Config, name: str, fingerprint: str) -> bool:
    """Whether a checkpoint exists that was trained from just these data, settings and parents."""
    with contextlib.suppress(MissingInput, LineageError):
        return check_lineage(config, name).fingerprint == fingerprint
    return False


def fingerprint_of(values: Any) -> str:
    """sha256 of JSON-able training settings and data hashes."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
