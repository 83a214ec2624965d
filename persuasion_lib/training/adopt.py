"""Somebody's own SFT adapter, or none at all, in the place of one that is trained here."""

import os
import shutil
from pathlib import Path

import torch
from peft import get_peft_model

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import LineageError
from persuasion_lib.core.family import FAMILY
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.store import file_hash, read_json, write_json
from persuasion_lib.models.lineage import WEIGHTS, fingerprint_of, is_current, write_lineage
from persuasion_lib.models.loading import load_base
from persuasion_lib.training import loop
from persuasion_lib.training.history import LOG

# Where it may stand below `data.path`.
PLACES = tuple(f"{above}{FAMILY['sft'].folder}/final"
               for above in ("models/checkpoints/", "checkpoints/", ""))


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
        LineageError: it is no LoRA adapter, or was trained on another base than `model.base`.
    """
    final = path_of(config, "sft")
    given = folder / WEIGHTS
    settings = folder / "adapter_config.json"
    if not given.exists() or not settings.exists():
        raise LineageError(f"{folder} holds no LoRA adapter ({WEIGHTS}, {settings.name}). A "
                           "whole model cannot stand in for one: provide sft_train.jsonl instead.")
    if (final / WEIGHTS).exists() and file_hash(final / WEIGHTS) == file_hash(given):
        return
    base = read_json(settings, made_by="peft").get("base_model_name_or_path")
    has_lineage = (folder / "lineage.json").exists()
    if base != config.model.base and not has_lineage:
        raise LineageError(f"{folder} was trained on {base}, and model.base is "
                           f"{config.model.base}. Set model.base={base}, or train SFT here.")
    partial = final.with_name("final.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(folder, partial)
    if not (partial / LOG).exists():
        write_json(partial / LOG, {"history": [], "best_step": None})
    if not has_lineage:
        write_lineage(config, "sft", partial, f"adopted from {folder}")
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)


def untrained_sft(config: Config) -> None:
    """An adapter that changes nothing, so that the model sft is the base: LoRA begins so."""
    fingerprint = fingerprint_of({"untrained": True, **loop.outcome_settings(config)})
    if is_current(config, "sft", fingerprint):
        return
    final = path_of(config, "sft")
    partial = final.with_name("final.partial")
    shutil.rmtree(partial, ignore_errors=True)
    torch.manual_seed(config.seed)
    get_peft_model(load_base(config), loop.lora(config)).save_pretrained(partial)
    write_json(partial / LOG, {"history": [], "best_step": None})
    write_lineage(config, "sft", partial, fingerprint)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
