"""The demo base model: a tiny Qwen2 with its own tokenizer, pre-trained on the spot.

It stands in for a downloaded model, so it is written as a plain torch loop. It learns all the
conversations it is given, good replies and bad ones, both sides; what is good, it learns later.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.records import Conversation, Message

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

# ChatML as in Qwen2.5, without its invented default system message.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}")


def train_tokenizer(texts: Sequence[str], *, vocab_size: int = 1500) -> Qwen2Tokenizer:
    """A byte-level BPE tokenizer of at most `vocab_size` tokens with the chat template.

    It is Qwen2's class on purpose: `AutoTokenizer` takes that class for every Qwen2 model and
    splits words its way, so a tokenizer of another class would come back as a different one.
    """
    tokenizer = Qwen2Tokenizer().train_new_from_iterator(
        texts, vocab_size, new_special_tokens=[TURN_START, TURN_END], show_progress=False)
    tokenizer.eos_token, tokenizer.pad_token = TURN_END, END_OF_TEXT
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _messages(conversation: Conversation, system_prompt: str | None) -> list[Message]:
    head = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return head + [{"role": t.role, "content": t.text} for t in conversation.turns]


def _batches(sequences: Sequence[Sequence[int]], batch_size: int,
             seed: int) -> Iterator[list[Sequence[int]]]:
    """Endless batches of sequences of similar length, in a new order each epoch."""
    rng = random.Random(seed)
    while True:
        jitter = {i: len(s) + rng.random() * 4 for i, s in enumerate(sequences)}
        order = sorted(jitter, key=jitter.__getitem__)
        starts = list(range(0, len(order), batch_size))
        rng.shuffle(starts)
        for start in starts:
            yield [sequences[i] for i in order[start:start + batch_size]]


def _loss(model: Qwen2ForCausalLM, batch: Sequence[Sequence[int]], pad: int) -> torch.Tensor:
    """Mean cross-entropy in nats per token of right-padded sequences."""
    length = max(map(len, batch))
    ids = torch.tensor([[*s, *[pad] * (length - len(s))] for s in batch])
    mask = torch.tensor([[1] * len(s) + [0] * (length - len(s)) for s in batch])
    return model(input_ids=ids, attention_mask=mask,
                 labels=ids.masked_fill(mask == 0, -100)).loss


def _pretrain(model: Qwen2ForCausalLM, sequences: Sequence[Sequence[int]], *, seed: int,
              steps: int, batch_size: int, learning_rate: float, pad: int,
              progress: Callable[[int, int, float], None] | None) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98),
                                  weight_decay=0.01)
    warmup = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        (step + 1) / warmup, 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps))))
    batches = _batches(sequences, batch_size, seed)
    model.train()
    for step in range(1, steps + 1):
        loss = _loss(model, next(batches), pad)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if progress is not None:
            progress(step, steps, loss.item())
    model.eval()


def build_base_model(
        conversations: Sequence[Conversation], directory: Path, *, seed: int, steps: int = 220,
        batch_size: int = 32, learning_rate: float = 4e-3, system_prompt: str | None = None,
        vocab_size: int = 1500, hidden_size: int = 160, n_layers: int = 2, n_heads: int = 4,
        max_tokens: int = 512,
        progress: Callable[[int, int, float], None] | None = None) -> Path:
    """Train the tokenizer and the model and save both in `directory`, which must not exist yet.

    Args:
        conversations: every turn of both sides is learned.
        steps: optimiser steps of `batch_size` conversations.
        system_prompt: stands before every conversation where given.
        max_tokens: longer conversations are cut at the end.
        progress: called after every step with (step, steps, loss in nats per token).

    Returns:
        `directory`. It appears when all is written, so a killed run leaves no half model.
    """
    if not conversations:
        raise DataError("no conversations to pre-train the demo model on; run notebooks/00_prepare")
    directory = Path(directory)
    if directory.exists():
        raise DataError(f"{directory} exists already; delete it to build the demo model anew")
    chats = [_messages(conversation, system_prompt) for conversation in conversations]
    tokenizer = train_tokenizer([m["content"] for chat in chats for m in chat]
                                + ["system", "user", "assistant"] * len(chats),
                                vocab_size=vocab_size)
    rendered = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
    sequences = [ids[:max_tokens] for ids in tokenizer(rendered)["input_ids"]]
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=hidden_size, num_hidden_layers=n_layers,
        intermediate_size=3 * hidden_size, num_attention_heads=n_heads,
        num_key_value_heads=n_heads, tie_word_embeddings=True, initializer_range=0.04,
        max_position_embeddings=4 * max_tokens, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id))
    _pretrain(model, sequences, seed=seed, steps=steps, batch_size=batch_size,
              learning_rate=learning_rate, pad=tokenizer.pad_token_id, progress=progress)
    return _save(model, tokenizer, directory)


def _save(model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, directory: Path) -> Path:
    directory.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        unfinished.chmod(0o755)
        os.replace(unfinished, directory)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return directory
