"""The demo base model: a tiny Qwen2 with its own tokenizer, pre-trained on the spot.

It stands in for a downloaded model, so it is written as a plain torch loop. It learns all the
conversations it is given, good replies and bad ones, both sides; what is good, it learns later.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.records import Conversation, Message
from persuasion_lib.core.store import whole_folder

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"

# The recipe: small enough for a minute on two CPU cores, large enough to learn the phrases.
VOCABULARY = 1500       # tokens
HIDDEN_SIZE = 160
LAYERS = 2
HEADS = 4
MAX_TOKENS = 512        # longer conversations are cut at the end
LEARNING_RATE = 4e-3    # at its peak, after a warm-up of a twentieth of the steps

# ChatML as in Qwen2.5, without its invented default system message.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}")


def train_tokenizer(texts: Sequence[str], *, vocab_size: int = VOCABULARY) -> Qwen2Tokenizer:
    """A byte-level BPE tokenizer of at most `vocab_size` tokens with the chat template.

    It is Qwen2's class on purpose: `AutoTokenizer` takes that class for every Qwen2 model and
    splits words its way, so a tokenizer of another class would come back as a different one.
    """
    tokenizer = Qwen2Tokenizer().train_new_from_iterator(
        texts, vocab_size, new_special_tokens=[TURN_START, TURN_END], show_progress=False)
    tokenizer.eos_token = TURN_END
    tokenizer.pad_token = END_OF_TEXT
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


def _pretrain(model: Qwen2ForCausalLM, batches: Iterator[list[Sequence[int]]], steps: int,
              progress: Callable[[int, int, float], None] | None) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98),
                                  weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    model.train()
    for step in range(1, steps + 1):
        loss = _loss(model, next(batches), model.config.pad_token_id)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if progress is not None:
            progress(step, steps, loss.item())
    model.eval()


def _rate(step: int, steps: int) -> float:
    """The share of the peak learning rate: a linear warm-up, then a half cosine down to 0.05."""
    warmup = (step + 1) / max(1, steps // 20)
    decay = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps))
    return min(warmup, decay)


def build_base_model(
        conversations: Sequence[Conversation], directory: Path, *, seed: int, steps: int,
        batch_size: int, system_prompt: str | None = None,
        progress: Callable[[int, int, float], None] | None = None) -> Path:
    """Train the tokenizer and the model and save both in `directory`, which must not exist yet.

    Args:
        conversations: every turn of both sides is learned.
        steps: optimiser steps of `batch_size` conversations.
        system_prompt: stands before every conversation where given.
        progress: called after every step with (step, steps, loss in nats per token).

    Returns:
        `directory`. It appears when all is written, so a killed run leaves no half model.

    Raises:
        DataError: there are no conversations, or the directory exists.
    """
    if not conversations:
        raise DataError("no conversations to pre-train the demo model on; run notebooks/00_prepare")
    if directory.exists():
        raise DataError(f"{directory} exists already; delete it to build the demo model anew")
    chats = [_messages(conversation, system_prompt) for conversation in conversations]
    # The roles are in every rendered chat, so the tokenizer must see them as often.
    roles = ["system", "user", "assistant"] * len(chats)
    tokenizer = train_tokenizer([m["content"] for chat in chats for m in chat] + roles)
    rendered = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
    sequences = [ids[:MAX_TOKENS] for ids in tokenizer(rendered)["input_ids"]]
    torch.manual_seed(seed)
    model = _new_model(tokenizer)
    _pretrain(model, _batches(sequences, batch_size, seed), steps, progress)
    with whole_folder(directory) as new:
        model.save_pretrained(new)
        tokenizer.save_pretrained(new)
    return directory


def _new_model(tokenizer: Qwen2Tokenizer) -> Qwen2ForCausalLM:
    return Qwen2ForCausalLM(Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=HIDDEN_SIZE, num_hidden_layers=LAYERS,
        intermediate_size=3 * HIDDEN_SIZE, num_attention_heads=HEADS, num_key_value_heads=HEADS,
        tie_word_embeddings=True, initializer_range=0.04, max_position_embeddings=4 * MAX_TOKENS,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id))
