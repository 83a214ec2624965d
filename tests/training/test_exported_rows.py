"""What `persuasion export-data` writes is what stock trl trains on, with no line between them."""

import pytest
import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from persuasion_lib.core.config import load_config
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.data.exported import export_data


@pytest.mark.parametrize("form", ["trl", "hf"])
@pytest.mark.filterwarnings("ignore")       # of trl and its stock settings
def test_stock_trl_trains_two_steps_on_the_exported_rows(smoke_copy, form):
    config = load_config("smoke")
    folder = export_data(config, smoke_copy / "out", to=form)
    for part, trainer, arguments in (("sft", SFTTrainer, SFTConfig),
                                     ("rlhf", DPOTrainer, DPOConfig)):
        rows = load_dataset(str(folder), part, cache_dir=str(smoke_copy / "cache"))
        torch.manual_seed(0)
        done = trainer(
            AutoModelForCausalLM.from_pretrained(path_of(config, "base")),
            train_dataset=rows["train"], eval_dataset=rows["validation"],
            processing_class=AutoTokenizer.from_pretrained(path_of(config, "base")),
            args=arguments(output_dir=str(smoke_copy / part), max_steps=2, use_cpu=True,
                           bf16=False, report_to="none", per_device_train_batch_size=2)).train()
        assert done.global_step == 2 and 0 < done.training_loss < 5
