"""Somebody's own SFT adapter, or none at all, in the place of one that is trained here."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import LineageError, MissingInput
from persuasion_lib.core.family import FAMILY
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.store import whole_folder, write_json, write_text
from persuasion_lib.models.cards import adapter_card
from persuasion_lib.models.folder import json_object
from persuasion_lib.models.lineage import (
    ADAPTER_SETTINGS,
    WEIGHTS,
    adapter_hash,
    check_lineage,
    fingerprint_of,
    is_current,
    write_lineage,
)
from persuasion_lib.models.loading import base_folder, load_base
from persuasion_lib.training import loop
from persuasion_lib.training.history import LOG

# Where it may stand below `data.path`.
PLACES = tuple(f"{above}{FAMILY['sft'].folder}/final"
               for above in ("models/checkpoints/", "checkpoints/", ""))

# The settings of peft with which an adapter is still two matrices for each linear layer, if one
# looks at where they are and how they are scaled.
PLAIN = {"peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path",
         "revision", "inference_mode", "r", "lora_alpha", "lora_dropout", "use_rslora",
         "rank_pattern", "alpha_pattern", "target_modules", "exclude_modules",
         "layers_to_transform", "layers_pattern", "fan_in_fan_out"}
# How the matrices began, where that left the base as it was (PiSSA, say, takes its part away).
PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
NO_TRAINING = {"history": [], "best_step": None}        # in the place of a training's log


def sft_checkpoint(config: Config) -> Path | None:
    """The folder of somebody's SFT adapter below `data.path`, None if there is none."""
    if config.data.source != "files" or not config.data.path:
        return None
    folder = config.named_file("data.path")
    places = (folder / place for place in PLACES)
    return next((place for place in places if place.is_dir()), None)


def adopt_sft(config: Config, folder: Path) -> None:
    """Copy an SFT adapter to where the pipeline expects it, with a lineage if it has none.

    Raises:
        LineageError: it is no plain LoRA adapter, or was trained on another base than `model.base`.
    """
    given = [folder / name for name in (WEIGHTS, ADAPTER_SETTINGS)]
    if not all(file.exists() for file in given):
        raise LineageError(f"{folder} holds no LoRA adapter ({WEIGHTS}, {ADAPTER_SETTINGS}). A "
                           "whole model cannot stand in for one: provide sft_train.jsonl instead.")
    with suppress(MissingInput, LineageError):      # of an earlier version, or of another base
        if check_lineage(config, "sft").weights == adapter_hash(folder):
            return
    settings = json_object(folder / ADAPTER_SETTINGS)
    base = settings.get("base_model_name_or_path")
    has_lineage = _is_recorded(folder)
    if base != config.model.base and not has_lineage:
        raise LineageError(f"{folder} was trained on {base}, and model.base is "
                           f"{config.model.base}. Set model.base={base}, or train SFT here.")
    check_adapter(config, folder, settings)
    with whole_folder(path_of(config, "sft")) as final:
        shutil.copytree(folder, final, dirs_exist_ok=True)
        if not (final / LOG).exists():
            write_json(final / LOG, NO_TRAINING)
        write_text(final / "README.md", adapter_card(config, "sft"))
        if not has_lineage:
            write_lineage(config, "sft", final, f"adopted from {folder}")


def _is_recorded(folder: Path) -> bool:
    """Whether a lineage lies beside just this adapter, from another project of ours."""
    record = folder / "lineage.json"
    return record.exists() and adapter_hash(folder) == json_object(record).get("weights")


def check_adapter(config: Config, folder: Path, settings: dict[str, Any]) -> None:
    """Refuse an adapter that is more than plain LoRA, or does not fit the layers of the base.

    Switched off it must leave the base, and added to another it must stay what it is: trained
    biases, whole modules and DoRA do neither. Scales, ranks by layer and rsLoRA are plain.

    Raises:
        LineageError: says what it has, or which layer does not fit.
    """
    if held := _not_plain(settings):
        raise LineageError(f"the adapter in {folder} is no plain LoRA ({', '.join(held):.160}): "
                           "without it the base would not be the base again, or nothing could be "
                           "trained on it. Train one without, or provide sft_train.jsonl and SFT "
                           "is trained here.")
    layers = _linear_layers(config)
    for key, tensor in _weights(folder).items():
        fault = _misfit(key, tensor, layers)
        if fault:
            raise LineageError(f"the adapter in {folder} does not fit {config.model.base}: "
                               f"{fault}. It was trained on another base, or is damaged.")


def _not_plain(settings: dict[str, Any]) -> list[str]:
    """Which settings of an adapter make it more than plain LoRA."""
    if settings.get("peft_type") != "LORA":
        return [f"peft_type={settings.get('peft_type')}"]
    usual = LoraConfig().to_dict()
    held = {key: value for key, value in settings.items()
            if key not in PLAIN and value and value != usual.get(key)}
    if settings.get("init_lora_weights") in PLAIN_STARTS:
        held.pop("init_lora_weights", None)
    return [f"{key}={value}" for key, value in held.items()]


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise LineageError(f"{folder / WEIGHTS} cannot be read ({str(error):.80}). Copy it "
                           "again.") from error


def _linear_layers(config: Config) -> dict[str, tuple[int, int]]:
    """Numbers out and in of each layer of the base below its head, by name; nothing is loaded."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(base_folder(config)), trust_remote_code=False)
    head = model.get_output_embeddings()
    shapes = {name: tuple(layer.weight.shape) for name, layer in model.named_modules()
              if isinstance(layer, torch.nn.Linear | Conv1D) and layer is not head}
    return {name: shape[::-1] if isinstance(model.get_submodule(name), Conv1D) else shape
            for name, shape in shapes.items()}


def _misfit(key: str, tensor: torch.Tensor, layers: dict[str, tuple[int, int]]) -> str | None:
    """Why a tensor of an adapter belongs to no layer; None if it does."""
    name, _, part = key.removeprefix("base_model.model.").rpartition(".lora_")
    if part not in ("A.weight", "B.weight") or name not in layers:
        return f"{key} belongs to no linear layer below its head"
    rows, columns = layers[name]
    size, wanted = (tensor.shape[-1], columns) if part[0] == "A" else (tensor.shape[0], rows)
    if size != wanted:
        return f"{key} is for {size:,} numbers, the layer has {wanted:,}"
    return None if tensor.isfinite().all() else f"{key} holds NaN or infinite numbers"


def untrained_sft(config: Config) -> None:
    """An adapter that changes nothing, so that the model sft is the base: LoRA begins so."""
    fingerprint = fingerprint_of({"untrained": True, **loop.outcome_settings(config)})
    if is_current(config, "sft", fingerprint):
        return
    torch.manual_seed(config.seed)
    with whole_folder(path_of(config, "sft")) as final:
        get_peft_model(load_base(config), loop.lora(config)).save_pretrained(final)
        write_json(final / LOG, NO_TRAINING)
        write_lineage(config, "sft", final, fingerprint)
        write_text(final / "README.md", adapter_card(config, "sft"))
