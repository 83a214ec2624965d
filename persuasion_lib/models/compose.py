"""Every model of the experiment from one base: adapters side by side, none merged.

Adapters add up, so one loaded base with named adapters is every model: base = none, sft = [sft],
rlhf = [sft, rlhf], and so on. (`rlaif_rlhf` continued the adapter of rlaif and holds both.)
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel

from persuasion_lib.core.config import Config
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.models.frozen_adapter import freeze_under
from persuasion_lib.models.fused_lora import fuse_adapters
from persuasion_lib.models.lineage import check_lineage
from persuasion_lib.models.loading import load_base, load_tokenizer


def load_sft(config: Config) -> PreTrainedModel:
    """Base with the SFT adapter frozen under it: where DPO starts, and its reference."""
    check_lineage(config, "sft")
    return freeze_under(load_base(config), path_of(config, "sft"))


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
        fuse_adapters(self.model, fixed=True)

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
