"""DPO by trl's DPOTrainer, fast by shared prompts, checked before the first step.

The reference of DPO is SFT in every stage. SFT lies frozen under the new adapter, so the model with
that one switched off *is* the reference and no second model is held.
"""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from peft import load_peft_weights, set_peft_model_state_dict
from torch.utils.data import DataLoader
from transformers import PrinterCallback
from trl import DPOConfig, DPOTrainer

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import DataError, SelfTestError
from persuasion_lib.core.family import FAMILY, REFERENCE
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.progress import LINE_MARK
from persuasion_lib.core.records import LabeledPair, Message, labeled_row
from persuasion_lib.models.chat import changed_rows, closing_ids
from persuasion_lib.models.compose import ModelFamily, load_sft
from persuasion_lib.models.lineage import check_lineage, fingerprint_of, is_current
from persuasion_lib.models.loading import Tokenizer, dtype_of, load_tokenizer, prompt_ids
from persuasion_lib.models.sampling import free_bytes
from persuasion_lib.training import loop
from persuasion_lib.training.drift import Drift, alarms, drift
from persuasion_lib.training.history import training_curve
from persuasion_lib.training.launch import launch_if_asked, processes
from persuasion_lib.training.memory import advice, estimate, step_of
from persuasion_lib.training.reference_cache import ReferenceCache
from persuasion_lib.training.shared_prefix import share_prefixes
from persuasion_lib.training.worked import sequence_logps


class PreferenceTrainer(DPOTrainer):
    """trl's DPOTrainer with shared prompts, a reference computed once, and drift at each point."""

    def __init__(self, config: Config, watched: Sequence[list[Message]], **arguments: Any) -> None:
        self.config = config
        self.watched = watched
        self.before: Drift | None = None
        super().__init__(**arguments)
        if config.dpo.engine == "shared_prefix":
            share_prefixes(self.model.get_base_model(), config.dpo.max_length)
            self.reference = ReferenceCache(config)
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
        for batch in loader:
            pair = self.accelerator.gather_for_metrics(self.compute_ref_log_probs(
                self.model, batch))
            found += zip(*(values.tolist() for values in pair), strict=True)
        return found

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
    train = without_ties(config, train)
    val = without_ties(config, val)
    settings = own_settings(config, name)
    fingerprint = fingerprint_of({
        "train": [labeled_row(p) for p in train], "val": [labeled_row(p) for p in val],
        # What was watched is kept beside the weights and must be of these settings as well.
        "watched_reply_tokens": config.generation.max_new_tokens,
        **loop.outcome_settings(config, "dpo"), **settings.values()})
    if not is_current(config, name, fingerprint) and not launch_if_asked(config, name):
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
        loop.save(config, name, trainer, fingerprint, self_test=self_test, alarms=alarms(history))
    return training_curve(config, name)


def announce_memory(config: Config, trainer: DPOTrainer) -> None:
    """Print the estimated peak of a training step, with advice if it is more than there is."""
    rows = trainer.train_dataset
    prompt, chosen, rejected = (sum(map(len, rows[f"{part}_ids"])) / len(rows)
                                for part in ("prompt", "chosen", "rejected"))
    step = step_of(trainer.model, prompt=prompt, reply=(chosen + rejected) / 2,
                   pairs=config.dpo.per_device_train_batch_size, engine=config.dpo.engine,
                   checkpointing=config.training.gradient_checkpointing)
    say(advice(estimate(step), free_bytes()))


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


def preference_rows(pairs: Sequence[LabeledPair]) -> Dataset:
    """The rows that DPOTrainer gets: chat messages, so that it renders the model's template."""
    return Dataset.from_list([
        {"prompt": p.pair.prompt, "chosen": [{"role": "assistant", "content": p.chosen}],
         "rejected": [{"role": "assistant", "content": p.rejected}]} for p in pairs])


def preference_trainer(config: Config, name: str, train: Sequence[LabeledPair],
                       val: Sequence[LabeledPair], fingerprint: str = "trial") -> PreferenceTrainer:
    """The trainer of a model with its adapter at the start: fresh, or that of the model before.

    Raises:
        DataError: a pair is too long, or its two replies are one.
        LineageError: rlaif is not the one that belongs to this SFT.
    """
    tokenizer = load_tokenizer(config)
    settings = own_settings(config, name)
    check_pairs(tokenizer, [*train, *val], config.dpo.max_length)
    scratch = loop.scratch_folder(config, name, fingerprint)
    trainer = PreferenceTrainer(
        config, [p.pair.prompt for p in val[:config.dpo.watched_prompts]],
        model=load_sft(config), train_dataset=preference_rows(train),
        eval_dataset=preference_rows(val), processing_class=tokenizer,
        peft_config=loop.lora(config),
        args=DPOConfig(beta=config.dpo.beta, max_length=config.dpo.max_length,
                       loss_type=config.dpo.loss_type, label_smoothing=config.dpo.label_smoothing,
                       **loop.common_arguments(config, config.dpo, settings, len(train), scratch)))
    trainer.remove_callback(PrinterCallback)
    before = FAMILY[name].starts_as
    if before != REFERENCE:
        # Into the fresh adapter: a PeftModel handed to trl would become its own reference.
        check_lineage(config, before)
        set_peft_model_state_dict(trainer.model, load_peft_weights(path_of(config, before)))
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


def check_step_zero(config: Config, name: str, trainer: DPOTrainer,
                    probe: Sequence[LabeledPair]) -> dict[str, float]:
    """What the trainer sees before its first step, checked against models loaded on their own.

    The policy must be the model that the training starts from, the reference sft. Where they are
    one (rlhf and rlaif), the loss is ln 2 and every margin 0.

    Raises:
        SelfTestError: it is otherwise; training would learn relative to the wrong model.
    """
    trainer.evaluate(preference_rows(probe), metric_key_prefix="eval")
    seen = next(log for log in reversed(trainer.state.log_history) if "eval_loss" in log)
    seen_policy = seen["eval_logps/chosen"]
    seen_reference = seen_policy - seen["eval_rewards/chosen"] / config.dpo.beta
    policy = FAMILY[name].starts_as
    family = ModelFamily(config, [policy])
    expected = {model: float(sum(sequence_logps(family, model, probe)) / len(probe))
                for model in {policy, REFERENCE}}
    result = {"loss": seen["eval_loss"], "margin": seen["eval_rewards/margins"],
              "policy_logp": seen_policy, "policy_expected": expected[policy],
              "reference_logp": seen_reference, "reference_expected": expected[REFERENCE]}
    _judge_step_zero(config, name, policy, result)
    return result


def _judge_step_zero(config: Config, name: str, policy_is: str, seen: dict[str, float]) -> None:
    # Seen between one padded batch and one pair at a time: 1e-6 in float32, 1e-2 in bfloat16.
    low_precision = dtype_of(config) == torch.bfloat16 or config.model.load_in_4bit
    tolerance, relative = (0.02, 0.02) if low_precision else (1e-3, 2e-5)

    def differs(what: str) -> bool:
        value = seen[f"{what}_logp"]
        wanted = seen[f"{what}_expected"]
        return not abs(value - wanted) <= relative * max(1.0, abs(wanted))

    faults = [f"the {what} is not {model} (mean log-probability of the chosen replies "
              f"{seen[f'{what}_logp']:.3f}, of {model} it is {seen[f'{what}_expected']:.3f})"
              for what, model in (("policy", policy_is), ("reference", REFERENCE))
              if differs(what)]
    if policy_is == REFERENCE:
        # `not … <=` and never `>`: a NaN must count as a fault.
        margin_is_zero = abs(seen["margin"]) <= tolerance
        loss_is_ln2 = abs(seen["loss"] - math.log(2)) <= tolerance
        # Only of the plain loss is the value known: others start elsewhere than at ln 2.
        if config.dpo.loss_type == "sigmoid" and not loss_is_ln2:
            faults.append(f"the loss is {seen['loss']:.4f}, not ln 2 = 0.6931")
        if not margin_is_zero:
            faults.append(f"the mean margin is {seen['margin']:.4f}, not 0")
    if faults:
        raise SelfTestError(f"{name} would not start where it must: {'; '.join(faults)}. Training "
                            "was not started. Run notebooks/04_train_dpo.ipynb from the top; if "
                            "it stays, delete this model's checkpoint folder and run it again.")
