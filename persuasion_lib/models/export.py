"""Merged exports: one model as a folder that plain transformers or vLLM loads, without adapters.

Merged and written in float32, whatever the format of training: in bfloat16 much of what a training
changes is less than the rounding of the weights.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import PersuasionError, SelfTestError
from persuasion_lib.core.family import FAMILY
from persuasion_lib.core.hub import upload
from persuasion_lib.core.pipeline import maker_of, path_of
from persuasion_lib.core.replacing import refuse_other_settings, stages_before
from persuasion_lib.core.runs import described, identity
from persuasion_lib.core.store import read_json, write_json, write_text
from persuasion_lib.models.cards import base_name, merged_card
from persuasion_lib.models.compose import ModelFamily
from persuasion_lib.models.lineage import check_lineage, weights_hash
from persuasion_lib.models.loading import (
    EXPORT,
    end_tokens,
    load_base,
    load_tokenizer,
    prompt_ids,
)

PROBE = [{"role": "user", "content": "Why should I change my view?"}]
TOLERANCE = 1e-3                # of a logit
IN_FLOAT32 = {"dtype": "float32", "load_in_4bit": False}


def export(config: Config, name: str, folder: Path, *, push: str | None = None) -> Path:
    """Merge a model of the experiment and write it with its tokenizer, card and lineage.

    `push` is a repository of the Hugging Face hub to upload it to, with the hub's own login.

    Raises:
        MissingInput, LineageError: the checkpoint or a parent is missing, or another one.
        StaleInput: it was made with other settings than the card would name.
        PersuasionError: the folder is not empty.
        SelfTestError: the merged model does not give the logits of the composed one.
    """
    if folder.exists() and any(folder.iterdir()):
        raise PersuasionError(f"{folder} is not empty. Name a new folder, so that nothing is "
                              "overwritten.")
    if name != "base":
        check_lineage(config, name)
    if maker := maker_of(name):
        refuse_other_settings(config, f"A model card of {name}",
                              [*stages_before(config, maker), maker])
    chain = {part: weights_hash(config, part) for part in (*FAMILY[name].parents, name)}
    exact = config.model_copy(update={"model": config.model.model_copy(update=IN_FLOAT32)})
    model = merged(exact, name)
    tokenizer = load_tokenizer(config)
    _check_logits(exact, name, model)
    kept = kept_in_bfloat16(load_base(exact).state_dict(), model.state_dict())
    # Servers must stop where we do, also where only the chat template names the token.
    model.generation_config.eos_token_id = end_tokens(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / EXPORT, {"name": name, "base": base_name(config),
                                 "revision": config.model.revision, "weights": chain,
                                 "kept_in_bfloat16": kept})
    write_text(folder / "README.md", merged_card(config, name, described(identity(config)), chain,
                                                 rounding(folder)))
    if push:
        upload(folder, push, kind="model")
    return folder


def merged(config: Config, name: str) -> PreTrainedModel:
    """Base with SFT and the adapter of `name` merged in, in the order in which they were trained.

    `rlaif_rlhf` continued the adapter of rlaif, so its own adapter holds both.
    """
    model = load_base(config)
    for adapter in dict.fromkeys(("sft", name)) if name != "base" else ():
        adapted = PeftModel.from_pretrained(model, path_of(config, adapter))
        model = adapted.merge_and_unload(safe_merge=True)
    return model


def kept_in_bfloat16(before: Mapping[str, torch.Tensor],
                     after: Mapping[str, torch.Tensor]) -> float:
    """The share of a change of weights that is left when both are rounded: 1 all, 0 nothing.

    bfloat16 has 8 significant bits: what is less than half a step of a weight is rounded away.
    """
    left = whole = 0.0
    for key, old in before.items():
        change = after[key] - old
        rounded = after[key].bfloat16().float() - old.bfloat16().float()
        left += float((rounded * change).sum())
        whole += float(change.square().sum())
    return left / whole if whole else 1.0


@torch.no_grad()
def _check_logits(config: Config, name: str, model: PreTrainedModel) -> None:
    family = ModelFamily(config, [name])
    ids = torch.tensor([prompt_ids(family.tokenizer, PROBE)], device=model.device)
    with family.use(name) as composed:
        wanted = composed(input_ids=ids).logits
    difference = float((model(input_ids=ids).logits - wanted).abs().max())
    if not difference <= TOLERANCE:
        raise SelfTestError(f"the merged {name} differs from the composed one by {difference:.3g} "
                            "in a logit. Nothing was written; please report this.")


def rounding(folder: Path) -> str:
    """What rounding exported weights would cost, and how to serve them without it."""
    kept = read_json(folder / EXPORT, made_by="persuasion export")["kept_in_bfloat16"]
    return (f"The weights are float32. Rounded to bfloat16, {kept:.0%} of what the trainings "
            "changed would be left. Serve them with --dtype float32.")
