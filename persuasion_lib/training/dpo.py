"""DPO by trl's DPOTrainer, fast by shared prompts, checked before the first step.

The reference is SFT in every stage, unless `dpo.reference` names another. SFT lies frozen under the
new adapter, so the model with that one switched off *is* the reference and no second model is held.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
from datasets import Dataset
from peft import load_peft_weights, set_peft_model_state_dict
from torch.utils.data import DataLoader
from transformers import PrinterCallback
from trl import DPOConfig, DPOTrainer

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError, DataError
from persuasion_lib.core.family import FAMILY, REFERENCE
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.progress import LINE_MARK
from persuasion_lib.core.records import LabeledPair, Message, labeled_row
from persuasion_lib.models.chat import changed_rows, closing_ids
from persuasion_lib.models.compose import load_sft
from persuasion_lib.models.frozen_adapter import without_frozen
from persuasion_lib.models.lineage import (
    check_lineage,
    fingerprint_of,
    is_current,
    reference_of,
)
from persuasion_lib.models.loading import Tokenizer, load_tokenizer, prompt_ids
from persuasion_lib.models.room import free_bytes, held_bytes
from persuasion_lib.training import loop
from persuasion_lib.training.callbacks import tell_trackers
from persuasion_lib.training.drift import Drift, alarms, drift
from persuasion_lib.training.history import training_curve
from persuasion_lib.training.labels import preference_rows, used_labels
from persuasion_lib.training.launch import launch_if_asked, processes
from persuasion_lib.training.memory import advice, estimate, step_of
from persuasion_lib.training.once import alone, copied
from persuasion_lib.training.reference_cache import ReferenceCache
from persuasion_lib.training.shared_prefix import share_prefixes
from persuasion_lib.training.step_zero import check_step_zero


class PreferenceTrainer(DPOTrainer):
    """trl's DPOTrainer with shared prompts, a reference computed once, and drift at each point.

    `start` is the model whose adapter training goes on from, SFT for a fresh one.
    """

    def __init__(self, config: Config, watched: Sequence[list[Message]], *,
                 start: str = REFERENCE, reference: str = REFERENCE, **arguments: Any) -> None:
        self.config = config
        self.watched = watched
        self.before: Drift | None = None
        self.reference_is = reference
        super().__init__(**arguments)
        if start != REFERENCE:
            # Into the fresh adapter: a PeftModel handed to trl would become its own reference.
            set_peft_model_state_dict(self.model, load_peft_weights(path_of(config, start)))
        if config.dpo.engine == "shared_prefix":
            share_prefixes(self.model.get_base_model(), config.dpo.max_length)
            self.reference = ReferenceCache(config, reference)
            # After trl's start: its own cache is keyed on the random start of the adapter as well.
            self.precompute_ref_logps = True
            self.train_dataset = self._precompute_ref_logps(self.train_dataset)
            self.eval_dataset = self._precompute_ref_logps(self.eval_dataset)

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any) -> Dataset:
        return self.reference.add_to(dataset, self._reference_logps)

    def _reference_logps(self, rows: Dataset) -> list[tuple[float, float]]:
        """With the policy's own numerics: in bfloat16 others would differ by whole nats."""
        loader = self.accelerator.prepare(DataLoader(
            rows, batch_size=self.args.per_device_eval_batch_size, collate_fn=self.data_collator))
        found: list[tuple[float, float]] = []
        with self._as_reference():
            for batch in loader:
                pair = self.accelerator.gather_for_metrics(self.compute_ref_log_probs(
                    self.model, batch))
                found += zip(*(values.tolist() for values in pair), strict=True)
        return found

    @contextmanager
    def _as_reference(self) -> Iterator[None]:
        """The policy's own model as the reference; trl switches its adapter off by itself."""
        if self.reference_is == REFERENCE:
            yield
        elif self.reference_is == "base":
            with without_frozen(self.model):
                yield
        else:       # before the first step the policy is where it starts
            was_training, self.ref_model = self.model.training, self.model
            self.model.eval()       # trl leaves the adapter of a reference model on
            yield
            self.ref_model = None
            self.model.train(was_training)

    def prediction_step(self, model: Any, inputs: dict[str, Any], *arguments: Any,
                        **options: Any) -> Any:
        """Metrics once for each pair: trl averages over batches, of which the last is smaller."""
        result = super().prediction_step(model, inputs, *arguments, **options)
        pairs = len(inputs["input_ids"]) // 2
        for values in self._metrics["eval"].values():
            values += values[-1:] * (pairs - 1)
        return result

    def evaluate(self, eval_dataset: Dataset | None = None, **options: Any) -> dict[str, float]:
        """trl's metrics, and with the validation set the drift of sampled replies."""
        metrics = super().evaluate(eval_dataset, **options)
        # Under FSDP no process has the whole model to sample from.
        watches = self.watched and eval_dataset is None and not self.is_fsdp_enabled
        if watches and self.accelerator.is_main_process:
            seen = drift(self.accelerator.unwrap_model(self.model), self.processing_class,
                         self.watched, seed=self.config.seed,
                         max_new_tokens=self.config.generation.max_new_tokens)
            # The first is the state before training: the same prompts and random numbers.
            self.before = self.before or seen
            tell_trackers(self, self.watched, seen.replies)
            self.log({"eval_kl": seen.kl, "eval_reply_tokens": seen.reply_tokens,
                      "eval_reply_tokens_error": seen.length_error(self.before)})
        return metrics


def train_preferences(config: Config, name: str, train: Sequence[LabeledPair],
                      val: Sequence[LabeledPair]) -> pd.DataFrame:
    """Train `rlhf`, `rlaif` or `rlaif_rlhf` unless just this one exists; returns its curve.

    Raises:
        SelfTestError: the state before the first step is not what the method assumes.
        DataError: a pair is longer than `dpo.max_length`, or there is nothing to train on.
    """
    train, val = used_labels(config, name, without_ties(config, train), without_ties(config, val))
    fingerprint = _fingerprint(config, name, train, val)
    if not is_current(config, name, fingerprint):
        with alone(config, name, fingerprint):
            is_one_of_several = "WORLD_SIZE" in os.environ      # they would all copy at once
            known = (not is_one_of_several and copied(config, name, fingerprint)
                     ) or launch_if_asked(config, name)
            if not known:
                _train(config, name, train, val, fingerprint)
    return training_curve(config, name)


def _fingerprint(config: Config, name: str, train: Sequence[LabeledPair],
                 val: Sequence[LabeledPair]) -> str:
    """What is trained, as a hash; what a newer setting leaves as it was is not in it."""
    settings = loop.outcome_settings(config, "dpo") | own_settings(config, name).values()
    reference = reference_of(config, name)
    settings.pop("dpo.reference")
    settings |= {} if reference == REFERENCE else {"reference": reference}
    settings |= {} if _keeps_best(config, train, val) else {"keeps": "last"}
    return fingerprint_of({
        "train": [labeled_row(p) for p in train], "val": [labeled_row(p) for p in val],
        # What was watched is kept beside the weights and must be of these settings as well.
        "watched_reply_tokens": config.generation.max_new_tokens, **settings})


def _keeps_best(config: Config, train: Sequence[LabeledPair],
                val: Sequence[LabeledPair]) -> bool:
    """Whether the held-out pairs are enough to choose a checkpoint by."""
    return len(train) + len(val) >= config.training.best_from


def _train(config: Config, name: str, train: Sequence[LabeledPair], val: Sequence[LabeledPair],
           fingerprint: str) -> None:
    if not train or not val:
        raise DataError(f"{name} has {len(train)} training and {len(val)} validation pairs; "
                        "it needs some of both. Label more pairs.")
    trainer = preference_trainer(config, name, train, val, fingerprint)
    say(f"{name}: comparing its start with models loaded on their own, and validating it")
    with loop.before_training(trainer):
        self_test = check_step_zero(config, name, trainer,
                                    train[:config.dpo.per_device_train_batch_size])
        trainer.state.log_history.clear()
        trainer.evaluate()
        before = list(trainer.state.log_history)
    announce_memory(config, trainer)
    loop.fit(trainer, name)
    history = [*before, *trainer.state.log_history]
    trainer.state.log_history = history
    loop.save(config, name, trainer, fingerprint, self_test=self_test,
              alarms=alarms(history, keeps_best=trainer.args.load_best_model_at_end))


def announce_memory(config: Config, trainer: DPOTrainer) -> None:
    """Print the estimated peak of a training step, with advice if it is more than there is."""
    rows = trainer.train_dataset
    prompt, chosen, rejected = (sum(map(len, rows[f"{part}_ids"])) / len(rows)
                                for part in ("prompt", "chosen", "rejected"))
    step = step_of(trainer.model, prompt=prompt, reply=(chosen + rejected) / 2,
                   pairs=config.dpo.per_device_train_batch_size, engine=config.dpo.engine,
                   checkpointing=config.training.gradient_checkpointing)
    say(advice(estimate(step), free_bytes() + held_bytes()))    # the weights are there already


def say(line: str) -> None:
    """Print a line, once for all processes, that the headless runner shows."""
    if processes().is_main_process:
        print(f"{LINE_MARK}{line}", flush=True)


def own_settings(config: Config, name: str) -> Any:
    """Learning rate and epochs of a model."""
    return getattr(config, FAMILY[name].settings)


def without_ties(config: Config, pairs: Sequence[LabeledPair]) -> list[LabeledPair]:
    """The decided pairs; ties teach nothing and have no winner.

    Raises:
        DataError: there are ties and `dpo.ties` is "refuse".
    """
    ties = [p.pair.pair_id for p in pairs if p.label == "tie"]
    if ties and config.dpo.ties == "refuse":
        raise DataError(f"{len(ties)} tied pairs (first: {ties[0]}) among the pairs. Run "
                        "notebooks/03_validate.ipynb, which leaves ties out, or set "
                        "dpo.ties=drop.")
    return [p for p in pairs if p.label != "tie"]


def preference_trainer(config: Config, name: str, train: Sequence[LabeledPair],
                       val: Sequence[LabeledPair], fingerprint: str = "trial") -> PreferenceTrainer:
    """The trainer of a model with its adapter at the start: fresh, or that of the model before.

    Raises:
        DataError: a pair is too long, or its two replies are one.
        LineageError: rlaif is not the one that belongs to this SFT.
    """
    tokenizer = load_tokenizer(config)
    settings = own_settings(config, name)
    reference = reference_of(config, name)
    if reference != REFERENCE and config.dpo.engine != "shared_prefix":
        raise ConfigError(f"dpo.reference={config.dpo.reference} makes {reference} the reference "
                          f"of {name}, which only dpo.engine=shared_prefix computes; trl itself "
                          "takes the model without its adapter, which is sft.")
    before = FAMILY[name].starts_as
    if before != REFERENCE:
        check_lineage(config, before)
    check_pairs(tokenizer, [*train, *val], config.dpo.max_length)
    scratch = loop.scratch_folder(config, name, fingerprint)
    trainer = PreferenceTrainer(
        config, [p.pair.prompt for p in val[:config.dpo.watched_prompts]],
        start=before, reference=reference, model=load_sft(config),
        train_dataset=preference_rows(train), eval_dataset=preference_rows(val),
        processing_class=tokenizer, peft_config=loop.lora(config),
        args=DPOConfig(beta=config.dpo.beta, max_length=config.dpo.max_length,
                       loss_type=config.dpo.loss_type, label_smoothing=config.dpo.label_smoothing,
                       **loop.common_arguments(config, name, config.dpo, settings, len(train),
                                               scratch,
                                               keep_best=_keeps_best(config, train, val))))
    trainer.remove_callback(PrinterCallback)
    return trainer


def check_pairs(tokenizer: Tokenizer, pairs: Sequence[LabeledPair], limit: int) -> None:
    """Refuse pairs that trl would cut to `limit` tokens, or whose replies are the same or changed.

    Raises:
        DataError: names the first such pair.
    """
    replies = [(pair.pair.prompt, (pair.chosen, pair.rejected)) for pair in pairs]
    for number, fault in changed_rows(tokenizer, replies).items():
        raise DataError(f"the model would not get pair {pairs[number - 1].pair.pair_id} as it is: "
                        f"{fault}. Remove the pair.")
    around = len(closing_ids(tokenizer)) + 1
    for pair in pairs:
        reply = max(len(tokenizer(text)["input_ids"]) for text in (pair.chosen, pair.rejected))
        total = len(prompt_ids(tokenizer, pair.pair.prompt)) + reply + around
        if total > limit:
            raise DataError(f"pair {pair.pair.pair_id} has {total} tokens, dpo.max_length is "
                            f"{limit}, and a cut reply would teach a false end. Raise it.")
        if pair.chosen.strip() == pair.rejected.strip():
            raise DataError(f"pair {pair.pair.pair_id} has the same reply as chosen and rejected, "
                            "so nothing can be learned from it. Label it as a tie.")
