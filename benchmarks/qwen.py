"""A folder like Qwen2.5-0.5B-Instruct's, built on the spot: the same shapes, random weights.

It takes the place of the hub's folder where only shapes, sizes and the path of loading count. The
tokenizer has learned little and pads its vocabulary, so that the special tokens have their ids.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

SHAPE = {"vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864,
         "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
         "tie_word_embeddings": True, "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6,
         "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
         "bos_token_id": 151_643, "eos_token_id": 151_645}
# What the hub's folder asks `generate` for by default; none of it is a setting of ours.
GENERATION = {"bos_token_id": 151_643, "pad_token_id": 151_643, "do_sample": True,
              "eos_token_id": [151_645, 151_643], "repetition_penalty": 1.1, "temperature": 0.7,
              "top_p": 0.8, "top_k": 20}
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
DEFAULT_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
# Qwen2.5's template without its branches for tools.
CHAT_TEMPLATE = (
    "{%- if messages[0]['role'] != 'system' %}"
    f"{{{{- '<|im_start|>system\\n{DEFAULT_SYSTEM}<|im_end|>\\n' }}}}"
    "{%- endif %}"
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}")


def build(folder: Path, texts: list[str], *, seed: int = 0) -> Path:
    """Write config, 1 GB of bfloat16 weights, tokenizer and generation settings to `folder`."""
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        model = Qwen2ForCausalLM(Qwen2Config(**SHAPE))
    finally:
        torch.set_default_dtype(before)
    # Random weights alone give flat predictions; so scaled, next tokens are about as certain as a
    # trained model's, and a nucleus is small.
    model.model.norm.weight.data.fill_(8.0)
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(GENERATION))
    tokenizer(texts).save_pretrained(folder)
    return folder


def tokenizer(texts: list[str]) -> Qwen2Tokenizer:
    """Byte-level BPE learned from `texts`, filled up to the id of the first special token."""
    learned = Qwen2Tokenizer().train_new_from_iterator(texts, 2000, show_progress=False)
    state = json.loads(learned.backend_tokenizer.to_str())["model"]
    vocabulary = {token: at for at, token in enumerate(
        token for token in state["vocab"] if token not in SPECIAL)}
    first = SHAPE["bos_token_id"]
    vocabulary |= {f"Ġx{at}": at for at in range(len(vocabulary), first)}
    vocabulary |= {token: first + at for at, token in enumerate(SPECIAL)}
    made = Qwen2Tokenizer(vocab=vocabulary, merges=[tuple(pair) for pair in state["merges"]],
                          unk_token=None, pad_token=SPECIAL[0], eos_token=SPECIAL[2])
    made.add_special_tokens({"additional_special_tokens": [SPECIAL[1]]})
    made.chat_template = CHAT_TEMPLATE
    return made
