"""Every model of the experiment from one base: adapters side by side, or merged.

Adapters add up, so one loaded base with named adapters is every model: base = none, sft = [sft],
rlhf = [sft, rlhf], and so on.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from peft import PeftModel
from peft.tuners import lora
from transformers import PreTrainedModel

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import SelfTestError
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.models.fused_lora import fuse_adapters
from persuasion_lib.models.lineage import check_lineage
from persuasion_lib.models.loading import load_base, load_tokenizer

MIN_KEPT = 0.9          # of an adapter by merging it; float32 keeps all, bfloat16 most


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
