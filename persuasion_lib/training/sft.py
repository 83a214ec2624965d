"""Supervised fine-tuning by trl's SFTTrainer, checked on the batch that the trainer really gets."""

from collections.abc import Sequence

import pandas as pd
import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import SelfTestError
from persuasion_lib.core.records import Example, example_row
from persuasion_lib.models.chat import closing_ids
from persuasion_lib.models.lineage import fingerprint_of, is_current
from persuasion_lib.models.loading import (
    Tokenizer,
    end_tokens,
    load_base,
    load_tokenizer,
    prompt_ids,
)
from persuasion_lib.training import loop
from persuasion_lib.training.history import training_curve
from persuasion_lib.training.launch import launch_if_asked


def train_sft(config: Config, train: Sequence[Example], val: Sequence[Example]) -> pd.DataFrame:
    """Train the SFT adapter on the base unless just this one exists; returns its curve.

    Raises:
        SelfTestError: the batch that the trainer gets would teach something else than the reply
            and one end of turn.
    """
    fingerprint = fingerprint_of({
        "rows": [example_row(e) for e in train], "val": [example_row(e) for e in val],
        **loop.outcome_settings(config, "sft")})
    if not is_current(config, "sft", fingerprint) and not launch_if_asked(config, "sft"):
        tokenizer = load_tokenizer(config)
        trainer = SFTTrainer(
            model=load_base(config), train_dataset=sft_rows(train), eval_dataset=sft_rows(val),
            processing_class=tokenizer, peft_config=loop.lora(config),
            args=SFTConfig(max_length=None, **loop.common_arguments(
                config, config.sft, config.sft, len(train),
                loop.scratch_folder(config, "sft", fingerprint))))
        trainer.remove_callback(PrinterCallback)
        check_sft_batch(next(iter(trainer.get_train_dataloader())), tokenizer,
                        end_tokens(trainer.model, tokenizer))
        loop.fit(trainer, "SFT")
        loop.save(config, "sft", trainer, fingerprint)
    return training_curve(config, "sft")


def sft_rows(examples: Sequence[Example]) -> Dataset:
    """The rows that SFTTrainer gets: chat messages, so that it renders the model's template."""
    return Dataset.from_list([
        {"prompt": e.prompt, "completion": [{"role": "assistant", "content": e.response}]}
        for e in examples])


def check_sft_batch(batch: dict[str, torch.Tensor], tokenizer: Tokenizer,
                    end_ids: Sequence[int]) -> None:
    """Refuse a batch whose targets are not one reply and one end of turn per row.

    Raises:
        SelfTestError: a prompt token is a target, or the number of end tokens is not one.
    """
    closing = closing_ids(tokenizer)
    opening = tokenizer.decode(prompt_ids(tokenizer, [{"role": "user", "content": "@@"}]))
    opening = opening.rpartition("@@")[2].strip()       # between a message and the reply
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        target = labels[labels != -100].tolist()
        before = ids[:(labels != -100).nonzero()[0, 0]].tolist()
        ends = [at for at, token in enumerate(target) if token in end_ids]
        tail = target[ends[0]:] if ends else []
        closes = tail and tail == closing[:len(tail)]
        if not closes or not tokenizer.decode(before).strip().endswith(opening):
            raise SelfTestError(
                f"an SFT row would teach {tokenizer.decode(target)!r:.200} with {len(ends)} "
                f"end tokens after {tokenizer.decode(before[-12:])!r}; it must be the reply and "
                f"one of {tokenizer.convert_ids_to_tokens(end_ids)}. The model's chat template may "
                "not close a turn.")
