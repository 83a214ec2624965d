"""A folder like one of the hub's, built on the spot: a model's shape, with random weights.

It takes the place of the hub's folder where only shapes, sizes and the path of loading count. The
tokenizer has learned little and pads its vocabulary, so that Qwen's special tokens have their ids.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, Qwen2Tokenizer

from benchmarks.shapes import SHAPES

QWEN = "qwen2.5-0.5b"
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


def special_ids(shape: str) -> list[int]:
    """Ids of the SPECIAL tokens: Qwen's own, or the last of a vocabulary."""
    first = 151_643 if shape == QWEN else SHAPES[shape]["vocab_size"] - len(SPECIAL)
    return [first + at for at in range(len(SPECIAL))]


def build(folder: Path, texts: list[str], *, shape: str = QWEN, seed: int = 0) -> Path:
    """Write config, weights in bfloat16 (Qwen's are 1 GB), tokenizer and generation settings."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(_config(shape), dtype=torch.bfloat16)
    # Random weights alone give flat predictions; so scaled, next tokens are about as certain as a
    # trained model's, and a nucleus is small.
    model.model.norm.weight.data.fill_(8.0)
    model.save_pretrained(folder)
    end, _, turn = special_ids(shape)
    # What the hub's folder asks `generate` for by default; none of it is a setting of ours.
    (folder / "generation_config.json").write_text(json.dumps({
        "bos_token_id": end, "pad_token_id": end, "do_sample": True, "eos_token_id": [turn, end],
        "repetition_penalty": 1.1, "temperature": 0.7, "top_p": 0.8, "top_k": 20}))
    tokenizer(texts, shape).save_pretrained(folder)
    return folder


def _config(shape: str) -> Any:
    end, _, turn = special_ids(shape)
    return AutoConfig.for_model(**SHAPES[shape], max_position_embeddings=32_768, rms_norm_eps=1e-6,
                                rope_parameters={"rope_type": "default", "rope_theta": 1e6},
                                bos_token_id=end, eos_token_id=turn)


def tokenizer(texts: list[str], shape: str = QWEN) -> Qwen2Tokenizer:
    """Byte-level BPE learned from `texts`, filled up to the id of the first special token."""
    first = special_ids(shape)[0]
    learned = Qwen2Tokenizer().train_new_from_iterator(texts, min(2000, first),
                                                       show_progress=False)
    state = json.loads(learned.backend_tokenizer.to_str())["model"]
    vocabulary = {token: at for at, token in enumerate(
        token for token in state["vocab"] if token not in SPECIAL)}
    vocabulary |= {f"Ġx{at}": at for at in range(len(vocabulary), first)}
    vocabulary |= dict(zip(SPECIAL, special_ids(shape), strict=True))
    made = Qwen2Tokenizer(vocab=vocabulary, merges=[tuple(pair) for pair in state["merges"]],
                          unk_token=None, pad_token=SPECIAL[0], eos_token=SPECIAL[2])
    made.add_special_tokens({"additional_special_tokens": [SPECIAL[1]]})
    made.chat_template = CHAT_TEMPLATE
    return made
