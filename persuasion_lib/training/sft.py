"""Supervised fine-tuning by trl's SFTTrainer, checked on the batch that the trainer really gets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError, DataError, SelfTestError
from persuasion_lib.core.progress import LINE_MARK
from persuasion_lib.core.records import Example, Message, example_row
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
from persuasion_lib.training.callbacks import SHOWN, tell_trackers
from persuasion_lib.training.drift import sampled
from persuasion_lib.training.history import training_curve
from persuasion_lib.training.launch import launch_if_asked, processes
from persuasion_lib.training.packed import TogetherSampler, conversations, pack_rows
from persuasion_lib.training.shared_prefix import IGNORED


class ReplyTrainer(SFTTrainer):
    """trl's SFTTrainer, with the rows of a conversation in one batch if that is asked for.

    The held-out loss is the mean over all targets, however rows are put into batches.
    """

    def __init__(self, config: Config, watched: Sequence[list[Message]],
                 **arguments: Any) -> None:
        self.config = config
        self.watched = watched      # held-out prompts whose replies a tracker shows
        self.together = together = config.sft.whole_conversations
        super().__init__(**arguments)
        if together:
            groups = conversations([*self.eval_dataset["input_ids"]])
            self.eval_dataset = self.eval_dataset.select([row for group in groups for row in group])
        targets = sum(label != IGNORED for row in self.eval_dataset["labels"] for label in row)
        self.targets_per_row = targets / len(self.eval_dataset)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        if not self.together:
            return super()._get_train_sampler(train_dataset)
        rows = self.train_dataset if train_dataset is None else train_dataset
        return TogetherSampler(conversations([*rows["input_ids"]]), self.args.data_seed)

    def evaluate(self, eval_dataset: Dataset | None = None, **options: Any) -> dict[str, float]:
        """trl's metrics, and replies for a tracker if there is one."""
        metrics = super().evaluate(eval_dataset, **options)
        if self.args.report_to and self.accelerator.is_main_process and (
                not self.is_fsdp_enabled):      # where no process has the whole model
            replies = sampled(self.accelerator.unwrap_model(self.model), self.processing_class,
                              self.watched, seed=self.config.peek("seed"),
                              max_new_tokens=self.config.peek("generation.max_new_tokens"))
            tell_trackers(self, self.watched, [reply.text for reply in replies])
        return metrics

    def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any,
                     num_items_in_batch: Any = None, **options: Any) -> Any:
        """trl's loss; of a held-out batch so scaled that the mean over rows is that over targets.

        trl takes the mean over the targets of each batch, then over batches: rows with short
        replies would weigh more, and another batch size would give another loss.
        """
        if not self.model.training:
            # trl multiplies by the number of processes.
            num_items_in_batch = (self.targets_per_row * len(inputs["labels"])
                                  * self.accelerator.num_processes)
        return super().compute_loss(model, inputs, *arguments,
                                    num_items_in_batch=num_items_in_batch, **options)


def train_sft(config: Config, train: Sequence[Example], val: Sequence[Example]) -> pd.DataFrame:
    """Train the SFT adapter on the base unless just this one exists; returns its curve.

    Raises:
        DataError: there is nothing to learn from, or to validate on.
        SelfTestError: the batch that the trainer gets would teach something else than the reply
            and one end of turn.
    """
    if not train or not val:
        raise DataError(f"SFT has {len(train)} training and {len(val)} validation rows; it needs "
                        "some of both. Raise data.sft_examples, or give more conversations.")
    fingerprint = fingerprint_of({
        "rows": [example_row(e) for e in train], "val": [example_row(e) for e in val],
        **loop.outcome_settings(config, "sft")})
    if not is_current(config, "sft", fingerprint) and not launch_if_asked(config, "sft"):
        trainer = reply_trainer(config, train, val,
                                loop.scratch_folder(config, "sft", fingerprint))
        check_sft_batch(next(iter(trainer.get_train_dataloader())), trainer.processing_class,
                        end_tokens(trainer.model, trainer.processing_class))
        loop.fit(trainer, "SFT")
        loop.save(config, "sft", trainer, fingerprint)
    return training_curve(config, "sft")


def reply_trainer(config: Config, train: Sequence[Example], val: Sequence[Example],
                  scratch: Path) -> ReplyTrainer:
    """The trainer with the engine that is asked for, or trl's where the model does not fit it."""
    trainer = _stock_trainer(config, train, val, scratch)
    if config.sft.engine == "trl":
        return trainer
    lengths = map(len, [*trainer.train_dataset["input_ids"], *trainer.eval_dataset["input_ids"]])
    try:
        pack_rows(trainer.model.get_base_model(), max(lengths))
        return trainer
    except ConfigError as error:
        reason = str(error)
    del trainer     # its model is half changed, and there may be no room for two
    if processes().is_main_process:
        print(f"{LINE_MARK}{reason} SFT goes on with trl's own engine.", flush=True)
    return _stock_trainer(config, train, val, scratch)


def _stock_trainer(config: Config, train: Sequence[Example], val: Sequence[Example],
                   scratch: Path) -> ReplyTrainer:
    trainer = ReplyTrainer(
        config, [e.prompt for e in val[:SHOWN]], model=load_base(config),
        train_dataset=sft_rows(train), eval_dataset=sft_rows(val),
        processing_class=load_tokenizer(config), peft_config=loop.lora(config),
        args=SFTConfig(max_length=None, **loop.common_arguments(
            config, "sft", config.sft, config.sft, len(train), scratch)))
    trainer.remove_callback(PrinterCallback)
    return trainer


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
