"""Merged exports: one model as a folder that plain transformers or vLLM loads, without adapters."""

from pathlib import Path

import torch
from transformers import PreTrainedModel

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import PersuasionError, SelfTestError
from persuasion_lib.core.family import FAMILY
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.rehearsal import banner_of
from persuasion_lib.core.store import write_json, write_text
from persuasion_lib.models.compose import ModelFamily, merge
from persuasion_lib.models.lineage import check_lineage, weights_hash
from persuasion_lib.models.loading import EXPORT, load_base, load_tokenizer, prompt_ids

PROBE = [{"role": "user", "content": "Why should I change my view?"}]
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.5}      # of a logit


def export(config: Config, name: str, folder: Path, *, push: str | None = None) -> Path:
    """Merge a model of the experiment and write it with its tokenizer, card and lineage.

    `push` is a repository of the Hugging Face hub to upload it to, with the hub's own login.

    Raises:
        MissingInput, LineageError: the checkpoint or a parent is missing, or another one.
        PersuasionError: the folder is not empty.
        SelfTestError: the merged model does not give the logits of the composed one.
    """
    if folder.exists() and any(folder.iterdir()):
        raise PersuasionError(f"{folder} is not empty. Name a new folder, so that nothing is "
                              "overwritten.")
    if name != "base":
        check_lineage(config, name)
    model = merged(config, name)
    tokenizer = load_tokenizer(config)
    _check_logits(config, name, model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    chain = {part: weights_hash(config, part) for part in (*FAMILY[name].parents, name)}
    write_json(folder / EXPORT, {"name": name, "base": config.model.base,
                                 "revision": config.model.revision, "weights": chain})
    write_text(folder / "README.md", model_card(config, name, chain))
    if push:
        model.push_to_hub(push)
        tokenizer.push_to_hub(push)
    return folder


def merged(config: Config, name: str) -> PreTrainedModel:
    """Base with SFT and the adapter of `name` merged in, in the order in which they were trained.

    `rlaif_rlhf` continued the adapter of rlaif, so its own adapter holds both.
    """
    model = load_base(config)
    for adapter in dict.fromkeys(("sft", name)) if name != "base" else ():
        model = merge(model, path_of(config, adapter))
    return model


@torch.no_grad()
def _check_logits(config: Config, name: str, model: PreTrainedModel) -> None:
    family = ModelFamily(config, [name])
    ids = torch.tensor([prompt_ids(family.tokenizer, PROBE)], device=model.device)
    with family.use(name) as composed:
        wanted = composed(input_ids=ids).logits
    difference = float((model(input_ids=ids).logits - wanted).abs().max())
    if not difference <= TOLERANCE[model.dtype]:
        raise SelfTestError(f"the merged {name} differs from the composed one by {difference:.3g} "
                            "in a logit. Nothing was written; please report this.")


def model_card(config: Config, name: str, chain: dict[str, str]) -> str:
    """What the exported model is, in the hub's form."""
    above = banner_of(config, "train_dpo")
    stand_in = f"\n**{above}**\n" if above else ""
    if config.model.base == "demo":
        stand_in += ("\nThis is a **stand-in** of about 1 M parameters for trying the pipeline; it "
                     "says nothing about real models.\n")
    weights = "\n".join(f"- {part}: `{digest}`" for part, digest in chain.items())
    return (f"---\nlibrary_name: transformers\ntags: [dpo, persuasion]\n---\n# {name}\n{stand_in}\n"
            f"The model `{name}` of a study of preference warm-up, merged from "
            f"{config.model.base} ({config.model.revision}) and its LoRA adapters.\n\n"
            f"sha256 of the weights it was merged from:\n\n{weights}\n\n"
            "It was trained to persuade: do not put it before people without telling them so.\n")
