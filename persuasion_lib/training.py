"""Training by trl: SFT and DPO with LoRA adapters, checked at step 0 and on the real batch.

The reference of DPO is SFT in every stage. SFT is merged into the base, so the model with its
adapter switched off *is* the reference and no second model is held.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from peft import LoraConfig, load_peft_weights, set_peft_model_state_dict
from transformers import PrinterCallback, Trainer, TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from persuasion_lib.config import Config
from persuasion_lib.errors import DataError, SelfTestError
from persuasion_lib.models import (
    PARENTS,
    ModelFamily,
    Tokenizer,
    check_lineage,
    dtype_of,
    fingerprint_of,
    is_current,
    load_base,
    load_merged_sft,
    load_tokenizer,
    prompt_ids,
    write_lineage,
)
from persuasion_lib.progress import Progress
from persuasion_lib.records import Example, LabeledPair, example_row, labeled_row
from persuasion_lib.stage import path_of
from persuasion_lib.store import read_json, write_json

CURVE = "training_log.json"


class _ShowProgress(TrainerCallback):
    """The library's progress line instead of the trainer's bar and tables."""

    def __init__(self, desc: str) -> None:
        self.desc = desc

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.progress = Progress(state.max_steps, self.desc)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None,
               **_: Any) -> None:
        loss = (logs or {}).get("loss", (logs or {}).get("eval_loss"))
        if loss is not None:
            self.progress.note = f"loss {float(loss):.3f}"

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.progress.update()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.progress.close()


def _lora(config: Config) -> LoraConfig:
    return LoraConfig(r=config.lora.r, lora_alpha=config.lora.alpha,
                      lora_dropout=config.lora.dropout, target_modules="all-linear",
                      task_type="CAUSAL_LM")


def _common_arguments(config: Config, settings: Any, stage: Any, rows: int,
                      scratch: Path) -> dict[str, Any]:
    """Arguments that SFT and DPO share; `settings` has the batch sizes, `stage` rate and epochs."""
    batch = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
    steps = math.ceil(rows / batch) * stage.num_epochs
    return {
        "output_dir": str(scratch), "seed": config.seed, "learning_rate": stage.learning_rate,
        "num_train_epochs": stage.num_epochs, "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,    # below 1 it is a share of all steps
        "per_device_train_batch_size": settings.per_device_train_batch_size,
        "per_device_eval_batch_size": settings.per_device_train_batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        # From the number of steps: a fixed interval may never come in a short run.
        "eval_strategy": "steps", "eval_steps": max(1, steps // config.dpo.evals_per_run),
        "logging_steps": max(1, steps // 20), "save_strategy": "no", "report_to": "none",
        "logging_nan_inf_filter": False,    # by default a NaN is logged as the mean before it
        "disable_tqdm": True, "activation_checkpointing": False,
        "bf16": dtype_of(config) == torch.bfloat16, "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


def train_sft(config: Config, train: Sequence[Example], val: Sequence[Example]) -> pd.DataFrame:
    """Train the SFT adapter on the base unless just this one exists; returns its curve.

    Raises:
        SelfTestError: the batch that the trainer gets would teach something else than the reply
            and one end of turn.
    """
    fingerprint = fingerprint_of({
        "rows": [example_row(e) for e in train], "val": [example_row(e) for e in val],
        **config.section("sft"), **config.section("lora"), "seed": config.seed,
        "dtype": str(dtype_of(config))})
    if not is_current(config, "sft", fingerprint):
        scratch = path_of(config, "sft").parent / "training"
        tokenizer = load_tokenizer(config)
        trainer = SFTTrainer(
            model=load_base(config), train_dataset=_sft_rows(train), eval_dataset=_sft_rows(val),
            processing_class=tokenizer, peft_config=_lora(config),
            args=SFTConfig(max_length=None, **_common_arguments(
                config, config.sft, config.sft, len(train), scratch)))
        trainer.remove_callback(PrinterCallback)
        check_sft_batch(next(iter(trainer.get_train_dataloader())), tokenizer)
        _run(trainer, "SFT")
        _save(config, "sft", trainer, fingerprint, [])
    return training_curve(config, "sft")


def _sft_rows(examples: Sequence[Example]) -> Dataset:
    return Dataset.from_list([
        {"prompt": e.prompt, "completion": [{"role": "assistant", "content": e.response}]}
        for e in examples])


def check_sft_batch(batch: dict[str, torch.Tensor], tokenizer: Tokenizer) -> None:
    """Refuse a batch whose targets are not one reply and one end of turn per row.

    Raises:
        SelfTestError: a prompt token is a target, or the number of end tokens is not one.
    """
    start = tokenizer.apply_chat_template(
        [{"role": "user", "content": ""}], add_generation_prompt=True, tokenize=False)
    opening = start[start.rindex("\n", 0, len(start) - 1) + 1:]
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        target = labels[labels != -100].tolist()
        before = ids[:(labels != -100).nonzero()[0, 0]].tolist()
        ends = target.count(tokenizer.eos_token_id)
        if ends != 1 or not tokenizer.decode(before).endswith(opening):
            raise SelfTestError(
                f"an SFT row would teach {tokenizer.decode(target)!r:.200} with {ends} end tokens "
                f"after {tokenizer.decode(before[-12:])!r}; it must be the reply and one "
                f"{tokenizer.eos_token}. The chat template of the model may not close a turn.")


def preference_rows(pairs: Sequence[LabeledPair]) -> Dataset:
    """The rows that DPOTrainer gets: chat messages, so that it renders the model's template.

    Raises:
        DataError: a tie is among the pairs; ties teach nothing and have no winner.
    """
    ties = [p.pair.pair_id for p in pairs if p.label == "tie"]
    if ties:
        raise DataError(f"{len(ties)} tied pairs (first: {ties[0]}) among the training pairs. "
                        "Run notebooks/03_validate.ipynb, which leaves ties out.")
    return Dataset.from_list([
        {"prompt": p.pair.prompt, "chosen": [{"role": "assistant", "content": p.chosen}],
         "rejected": [{"role": "assistant", "content": p.rejected}]} for p in pairs])


def train_preferences(config: Config, name: str, train: Sequence[LabeledPair],
                      val: Sequence[LabeledPair]) -> pd.DataFrame:
    """Train `rlhf`, `rlaif` or `rlaif_rlhf` unless just this one exists; returns its curve.

    Raises:
        SelfTestError: the state before the first step is not what the method assumes.
        DataError: a pair is longer than `dpo.max_length`, or there is nothing to train on.
    """
    settings = getattr(config, "rlaif_to_rlhf" if name == "rlaif_rlhf" else name)
    fingerprint = fingerprint_of({
        "train": [labeled_row(p) for p in train], "val": [labeled_row(p) for p in val],
        **config.section("dpo"), **config.section("lora"), **settings.model_dump(),
        "seed": config.seed, "dtype": str(dtype_of(config))})
    if not is_current(config, name, fingerprint):
        if not train or not val:
            raise DataError(f"{name} has {len(train)} training and {len(val)} validation pairs; "
                            "it needs some of both. Label more pairs.")
        trainer = _dpo_trainer(config, name, settings, train, val)
        # One batch: trl averages over batches, which weighs an uneven last one wrongly.
        self_test = check_step_zero(config, name, trainer,
                                    train[:config.dpo.per_device_train_batch_size])
        trainer.evaluate()
        before = list(trainer.state.log_history[-1:])
        _run(trainer, name)
        _save(config, name, trainer, fingerprint, before, self_test=self_test)
    return training_curve(config, name)


def _dpo_trainer(config: Config, name: str, settings: Any, train: Sequence[LabeledPair],
                 val: Sequence[LabeledPair]) -> DPOTrainer:
    tokenizer = load_tokenizer(config)
    _check_lengths(tokenizer, [*train, *val], config.dpo.max_length)
    scratch = path_of(config, name).parent / "training"
    trainer = DPOTrainer(
        model=load_merged_sft(config), train_dataset=preference_rows(train),
        eval_dataset=preference_rows(val), processing_class=tokenizer, peft_config=_lora(config),
        args=DPOConfig(beta=config.dpo.beta, max_length=config.dpo.max_length,
                       **_common_arguments(config, config.dpo, settings, len(train), scratch)))
    trainer.remove_callback(PrinterCallback)
    if "rlaif" in PARENTS[name]:
        # Into the fresh adapter: a PeftModel handed to trl would become its own reference.
        check_lineage(config, "rlaif")
        set_peft_model_state_dict(trainer.model, load_peft_weights(path_of(config, "rlaif")))
    return trainer


def _check_lengths(tokenizer: Tokenizer, pairs: Sequence[LabeledPair], limit: int) -> None:
    for pair in pairs:
        reply = max(len(tokenizer(text)["input_ids"]) for text in (pair.chosen, pair.rejected))
        total = len(prompt_ids(tokenizer, pair.pair.prompt)) + reply + 2
        if total > limit:
            raise DataError(f"pair {pair.pair.pair_id} has {total} tokens, dpo.max_length is "
                            f"{limit}, and a cut reply would teach a false end. Raise it.")


def check_step_zero(config: Config, name: str, trainer: DPOTrainer,
                    probe: Sequence[LabeledPair]) -> dict[str, float]:
    """What the trainer sees before its first step, checked against models loaded on their own.

    For rlhf and rlaif policy = reference = sft, so the loss is ln 2 and every margin 0. For
    rlaif_rlhf the policy must be rlaif and the reference sft.

    Raises:
        SelfTestError: it is otherwise; training would learn relative to the wrong model.
    """
    trainer.evaluate(preference_rows(probe), metric_key_prefix="eval")
    seen = trainer.state.log_history[-1]
    seen_policy = seen["eval_logps/chosen"]
    seen_reference = seen_policy - seen["eval_rewards/chosen"] / config.dpo.beta
    family = ModelFamily(config, ["rlaif"] if name == "rlaif_rlhf" else [])
    policy_is = "rlaif" if name == "rlaif_rlhf" else "sft"
    expected = {model: float(sum(sequence_logps(family, model, probe)) / len(probe))
                for model in {policy_is, "sft"}}
    result = {"loss": seen["eval_loss"], "margin": seen["eval_rewards/margins"],
              "policy_logp": seen_policy, "policy_expected": expected[policy_is],
              "reference_logp": seen_reference, "reference_expected": expected["sft"]}
    _judge_step_zero(name, policy_is, result, low_precision=dtype_of(config) == torch.bfloat16)
    return result


def _judge_step_zero(name: str, policy_is: str, seen: dict[str, float], *,
                     low_precision: bool) -> None:
    # Seen between trl's padded batch and one pair at a time: 1e-6 in float32, 1e-2 in bfloat16.
    tolerance, relative = (0.02, 0.02) if low_precision else (1e-3, 2e-5)

    def differs(what: str) -> bool:
        value, wanted = seen[f"{what}_logp"], seen[f"{what}_expected"]
        return not abs(value - wanted) <= relative * max(1.0, abs(wanted))

    faults = [f"the {what} is not {model} (mean log-probability of the chosen replies "
              f"{seen[f'{what}_logp']:.3f}, of {model} it is {seen[f'{what}_expected']:.3f})"
              for what, model in (("policy", policy_is), ("reference", "sft")) if differs(what)]
    if policy_is == "sft" and not abs(seen["loss"] - math.log(2)) <= tolerance:
        faults.append(f"the loss is {seen['loss']:.4f}, not ln 2 = 0.6931")
    if policy_is == "sft" and not abs(seen["margin"]) <= tolerance:
        faults.append(f"the mean margin is {seen['margin']:.4f}, not 0")
    if faults:
        raise SelfTestError(f"{name} would not start where it must: {'; '.join(faults)}. Training "
                            "was not started. Run notebooks/04_train_dpo.ipynb from the top; if "
                            "it stays, delete this stage's checkpoint folder and run it again.")


@torch.no_grad()
def sequence_logps(family: ModelFamily, name: str, pairs: Sequence[LabeledPair]) -> list[float]:
    """Log-probability in nats of each chosen reply with its end of turn under a model.

    Computed plainly from the logits, one pair at a time, to check the trainer independently.
    """
    result = []
    with family.use(name) as model:
        for pair in pairs:
            prompt = prompt_ids(family.tokenizer, pair.pair.prompt)
            whole = family.tokenizer.apply_chat_template(
                [*pair.pair.prompt, {"role": "assistant", "content": pair.chosen}],
                return_dict=False)
            ids = torch.tensor([whole], device=model.device)
            logps = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
            picked = logps.gather(-1, ids[0, 1:, None])[:, 0]
            result.append(float(picked[len(prompt) - 1:].sum()))
    return result


def _run(trainer: Trainer, desc: str) -> None:
    trainer.add_callback(_ShowProgress(desc))
    trainer.train()
    evaluated = [log for log in trainer.state.log_history if "eval_loss" in log]
    if not evaluated:
        raise SelfTestError(f"{desc} ended without a validation point. Raise the number of "
                            "validation rows, or dpo.evals_per_run.")
    losses = [log[key] for log in trainer.state.log_history for key in ("loss", "eval_loss")
              if key in log]
    if not all(math.isfinite(loss) for loss in losses):
        raise SelfTestError(f"the loss of {desc} became NaN. Lower its learning_rate, or raise "
                            "dpo.beta. The checkpoint was not saved.")


def _save(config: Config, name: str, trainer: Trainer, fingerprint: str,
          before: list[dict[str, Any]], **extra: Any) -> None:
    final = path_of(config, name)
    partial = final.with_name("final.partial")
    shutil.rmtree(partial, ignore_errors=True)
    trainer.model.save_pretrained(partial)
    history = [*before, *trainer.state.log_history]
    write_json(partial / CURVE, {"history": _finite(history), **extra})
    write_lineage(config, name, partial, fingerprint)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
    shutil.rmtree(final.parent / "training", ignore_errors=True)


def _finite(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: None if isinstance(v, float) and not math.isfinite(v) else v
             for k, v in log.items()} for log in history]


def training_curve(config: Config, name: str) -> pd.DataFrame:
    """The logged metrics of a checkpoint's training, one row per logging or validation step."""
    log = read_json(path_of(config, name) / CURVE, made_by="notebooks/04_train_dpo.ipynb")
    return pd.DataFrame(log["history"])
