"""Before its first step a model must be what DPO assumes: checked against models loaded alone."""

import math
from collections.abc import Sequence

import torch
from trl import DPOTrainer

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import SelfTestError
from persuasion_lib.core.family import FAMILY
from persuasion_lib.core.records import LabeledPair
from persuasion_lib.models.compose import ModelFamily
from persuasion_lib.models.lineage import reference_of
from persuasion_lib.models.loading import dtype_of
from persuasion_lib.training.callbacks import untracked
from persuasion_lib.training.labels import preference_rows
from persuasion_lib.training.worked import sequence_logps


def check_step_zero(config: Config, name: str, trainer: DPOTrainer,
                    probe: Sequence[LabeledPair]) -> dict[str, float]:
    """What the trainer sees before its first step, checked against models loaded on their own.

    The policy must be the model that the training starts from, the reference that of
    `dpo.reference`. Where they are one (with sft: rlhf and rlaif), the loss is ln 2 and every
    margin 0.

    Raises:
        SelfTestError: it is otherwise; training would learn relative to the wrong model.
    """
    with untracked(trainer):
        trainer.evaluate(preference_rows(probe), metric_key_prefix="eval")
    seen = next(log for log in reversed(trainer.state.log_history) if "eval_loss" in log)
    seen_policy = seen["eval_logps/chosen"]
    seen_reference = seen_policy - seen["eval_rewards/chosen"] / config.dpo.beta
    policy, reference = FAMILY[name].starts_as, reference_of(config, name)
    family = ModelFamily(config, [policy])
    expected = {model: float(sum(sequence_logps(family, model, probe)) / len(probe))
                for model in {policy, reference}}
    result = {"loss": seen["eval_loss"], "margin": seen["eval_rewards/margins"],
              "policy_logp": seen_policy, "policy_expected": expected[policy],
              "reference_logp": seen_reference, "reference_expected": expected[reference]}
    _judge_step_zero(config, name, (policy, reference), result)
    return result


def _judge_step_zero(config: Config, name: str, models: tuple[str, str],
                     seen: dict[str, float]) -> None:
    policy, reference = models
    # Seen between one padded batch and one pair at a time: 1e-6 in float32, 1e-2 in bfloat16.
    low_precision = dtype_of(config) == torch.bfloat16 or config.model.load_in_4bit
    tolerance, relative = (0.02, 0.02) if low_precision else (1e-3, 2e-5)

    def differs(what: str) -> bool:
        value = seen[f"{what}_logp"]
        wanted = seen[f"{what}_expected"]
        return not abs(value - wanted) <= relative * max(1.0, abs(wanted))

    faults = [f"the {what} is not {model} (mean log-probability of the chosen replies "
              f"{seen[f'{what}_logp']:.3f}, of {model} it is {seen[f'{what}_expected']:.3f})"
              for what, model in (("policy", policy), ("reference", reference))
              if differs(what)]
    if policy == reference:
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
