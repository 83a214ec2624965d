"""What SFT and DPO training share: arguments for trl, resuming, saving, curves, several processes.

A training writes checkpoints at its validation points into `training-<fingerprint>` beside
`final`. Killed and started again it goes on from the last one and ends with the same weights.
"""

import contextlib
import importlib.util
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel, Trainer

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError, LineageError, PersuasionError, SelfTestError
from persuasion_lib.core.family import FAMILY
from persuasion_lib.core.named import of_run
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.store import whole_folder, write_json, write_text
from persuasion_lib.models.cards import adapter_card
from persuasion_lib.models.lineage import fingerprint_of, weights_hash, write_lineage
from persuasion_lib.models.loading import dtype_of
from persuasion_lib.training.callbacks import (
    EvaluateAtEnd,
    GradientsAgree,
    LiveCurves,
    ShowProgress,
)
from persuasion_lib.training.history import LOG
from persuasion_lib.training.launch import processes

PROJECT = "persuasion"      # all runs of a tracker


def lora(config: Config) -> LoraConfig:
    """The adapter of every stage: LoRA on all linear layers but the head."""
    return LoraConfig(r=config.lora.r, lora_alpha=config.lora.alpha,
                      lora_dropout=config.lora.dropout, target_modules="all-linear",
                      task_type="CAUSAL_LM")


def check_lora(config: Config, model: PreTrainedModel) -> None:
    """Refuse a model that takes no such adapter; it is changed if it does.

    Raises:
        LineageError: as with Mamba, whose layers hand their weights on to kernels of their own.
    """
    try:
        get_peft_model(model, lora(config))
    except ValueError as error:
        raise LineageError(f"{config.model.base} ({type(model).__name__}) takes no LoRA on all its "
                           f"linear layers ({str(error):.120}). Choose another model.base, for "
                           "example Qwen/Qwen2.5-0.5B-Instruct.") from error


def outcome_settings(config: Config, *sections: str) -> dict[str, Any]:
    """The settings that change what a training ends with, for its fingerprint.

    The number format is none of them: it changes the last digits, and who moves a checkpoint to
    another machine, or sets it, means the same training. The stage counts it as read all the same.
    """
    dtype_of(config)
    return {"seed": seed_of(config, *sections), **config.section("lora"),
            "evals_per_run": config.training.evals_per_run,
            "processes": config.training.processes, "load_in_4bit": config.model.load_in_4bit,
            **{k: v for name in sections for k, v in config.section(name).items()}}


def seed_of(config: Config, *sections: str) -> int:
    """What a training draws from; SFT stays what the pairs were sampled from."""
    own = config.training.seed if "dpo" in sections else None
    return config.seed if own is None else own


def common_arguments(config: Config, name: str, method: Any, model: Any, rows: int,
                     scratch: Path, *, keep_best: bool = True) -> dict[str, Any]:
    """Arguments that SFT and DPO share.

    `name` is what a tracker calls the training, `method` are the settings with the batch sizes
    (`sft` or `dpo`), `model` those with learning rate and epochs; `rows` is the number of training
    rows. Without `keep_best` the last step is kept.
    """
    batch = (method.per_device_train_batch_size * method.gradient_accumulation_steps
             * processes().num_processes)
    steps = math.ceil(rows / batch) * model.num_epochs
    # From the number of steps: a fixed interval may never come in a short run.
    interval = max(1, steps // config.training.evals_per_run)
    seed = seed_of(config, "dpo" if method is config.dpo else "sft")
    return {
        "output_dir": str(scratch), "seed": seed,
        "data_seed": seed,  # or the order of rows depends on what was evaluated before
        "learning_rate": model.learning_rate,
        "num_train_epochs": model.num_epochs, "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,    # below 1 it is a share of all steps
        "per_device_train_batch_size": method.per_device_train_batch_size,
        "per_device_eval_batch_size": method.per_device_train_batch_size,
        "gradient_accumulation_steps": method.gradient_accumulation_steps,
        "eval_strategy": "steps", "eval_steps": interval, "logging_steps": max(1, steps // 20),
        "save_strategy": "steps", "save_steps": interval, "save_total_limit": 2,
        "load_best_model_at_end": keep_best, "metric_for_best_model": "eval_loss",
        "report_to": _tracker(config, name), "run_name": f"{config.name or config.profile}-{name}",
        "project": PROJECT,
        "logging_nan_inf_filter": False,    # by default a NaN is logged as the mean before it
        "disable_tqdm": True, "activation_checkpointing": config.training.gradient_checkpointing,
        "bf16": dtype_of(config) == torch.bfloat16, "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


def _tracker(config: Config, name: str) -> str:
    """The tracker that is asked for, told where this training's own run goes."""
    tracker = config.training.report_to
    if tracker == "none":
        return tracker
    if importlib.util.find_spec(tracker) is None:
        raise ConfigError(f"training.report_to={tracker} needs the package {tracker}. "
                          f"Run: pip install {tracker}, or set training.report_to=none.")
    # Read when a trainer is made. Not below its scratch folder, which is removed when it ends.
    folder = of_run(config.folder("results"), config.name) / "tensorboard" / name
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder)
    os.environ.setdefault("WANDB_PROJECT", PROJECT)
    return tracker


def close_tracker(trainer: Trainer) -> None:
    """End the training's run: the next training of this process would write to it as well."""
    if "wandb" in trainer.args.report_to:
        importlib.import_module("wandb").finish()


def scratch_folder(config: Config, name: str, fingerprint: str) -> Path:
    """Where this training keeps its checkpoints; those of other settings or parents are removed.

    A checkpoint is an adapter on its parents: on others it is no beginning of this training.
    """
    parents = {parent: weights_hash(config, parent) for parent in FAMILY[name].parents}
    begun = fingerprint_of([fingerprint, parents])
    folder = path_of(config, name).parent / f"training-{begun[:12]}"
    if processes().is_main_process:
        for other in folder.parent.glob("training-*"):
            if other != folder:
                shutil.rmtree(other)
    return folder


def last_checkpoint(scratch: Path) -> Path | None:
    """The newest checkpoint that was written whole, or None.

    The trainer writes `trainer_state.json` last: where it cannot be read, a kill came before.
    """
    for folder in sorted(scratch.glob("checkpoint-*"), key=lambda f: -int(f.name.split("-")[1])):
        try:
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            continue
        return folder
    return None


def fit(trainer: Trainer, desc: str) -> None:
    """Train from the last checkpoint, or from the start; what is to be kept is in the model then.

    Raises:
        ConfigError: the model was to be sharded over the processes, and is not.
        SelfTestError: there was no validation point, or a loss became NaN.
        PersuasionError: the device ran out of memory.
    """
    if os.environ.get("ACCELERATE_USE_FSDP") == "true" and not trainer.is_fsdp_enabled:
        raise ConfigError("training.launch_config asks for FSDP, but accelerate shards on GPUs "
                          "only. Use configs/launch/ddp.yaml, or null for torchrun.")
    for callback in (ShowProgress(desc), EvaluateAtEnd(), LiveCurves(desc), GradientsAgree()):
        trainer.add_callback(callback)
    resume = last_checkpoint(Path(trainer.args.output_dir))
    try:
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    except torch.OutOfMemoryError as error:
        raise PersuasionError(
            f"{desc} ran out of memory. Halve per_device_train_batch_size and double "
            "gradient_accumulation_steps; or set training.gradient_checkpointing=true, or "
            "model.load_in_4bit=true.") from error
    finally:
        close_tracker(trainer)
    evaluated = [log for log in trainer.state.log_history if "eval_loss" in log]
    if not evaluated:
        raise SelfTestError(f"{desc} ended without a validation point. Raise the number of "
                            "validation rows, or training.evals_per_run.")
    losses = [log[key] for log in trainer.state.log_history for key in ("loss", "eval_loss")
              if key in log]
    if not all(math.isfinite(loss) for loss in losses):
        shutil.rmtree(trainer.args.output_dir)      # or the next run would go on from there
        raise SelfTestError(f"the loss of {desc} became NaN. Lower its learning_rate, or raise "
                            "dpo.beta. The checkpoint was not saved.")


@contextlib.contextmanager
def before_training(trainer: Trainer) -> Iterator[None]:
    """Evaluation before the first step, after which the trainer prepares its model for training.

    accelerate takes a model that was prepared for evaluation as ready, so that in several
    processes each would train alone, on its own rows, and nothing would say so. And FSDP shards
    a model only together with its optimizer, so that until then every process holds all of it.
    """
    sharded = trainer.is_fsdp_enabled
    trainer.is_fsdp_enabled = False
    yield
    trainer.is_fsdp_enabled = sharded
    trainer.accelerator._models.clear()
    trainer.model_wrapped = trainer.model
    vars(trainer.model).pop("_is_accelerate_prepared", None)


def save(config: Config, name: str, trainer: Trainer, fingerprint: str,
         **extra: Any) -> None:
    """Move the trained adapter with its lineage and curve into place, all of it or nothing."""
    scratch = Path(trainer.args.output_dir)
    weights = trainer.accelerator.get_state_dict(trainer.model)     # gathered from all processes
    if processes().is_main_process:
        state = trainer.state
        keeps_best = trainer.args.load_best_model_at_end
        best = state.best_global_step if keeps_best else state.global_step
        with whole_folder(path_of(config, name)) as final:
            trainer.accelerator.unwrap_model(trainer.model).save_pretrained(
                final, state_dict=weights)
            write_json(final / LOG, {"history": _finite(state.log_history), "best_step": best,
                                     "rows": len(trainer.train_dataset), **extra})
            write_lineage(config, name, final, fingerprint)
            write_text(final / "README.md", adapter_card(config, name))     # peft's holds a path
        shutil.rmtree(scratch, ignore_errors=True)
    processes().wait_for_everyone()


def _finite(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: None if isinstance(v, float) and not math.isfinite(v) else v
             for k, v in log.items()} for log in history]
