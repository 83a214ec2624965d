"""A model with an adapter that takes a moment to build, and a head that gives what trl reads."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM
from trl.trainer.utils import add_fused_lm_head

from persuasion_lib.models.loading import quiet
from persuasion_lib.training import row_attention


def tiny_model(*outputs):
    """Random weights, the same every time; `outputs` are fields of trl's fused head."""
    quiet()
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(
        vocab_size=200, hidden_size=32, intermediate_size=64, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2))
    model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear",
                                             init_lora_weights=False))
    add_fused_lm_head(model.get_base_model(), outputs=outputs)
    return model


def in_one_call(query, key, value, layout, scaling):
    """What a GPU does for attention in a row, in the place of what a CPU does."""
    return row_attention._by_rows(query, key, value, layout.grid, scaling, 0.0)
