"""Did DPO begin where it must, with a policy that is its own reference, and learn something?"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from persuasion_lib.checks.check import Check
from persuasion_lib.checks.measured import Measured, NotMeasured, need
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.store import read_json

Log = Sequence[Mapping[str, Any]]
_LOSSES = ("loss", "eval_loss")
_FEW = 5                  # logged values below which nothing is concluded
STILL = 1e-6
EARLY = 10                # steps in which nothing much can have been learned yet


def steps_of(log: Mapping[str, Any]) -> Log:
    """What a trainer logged, step by step.

    Raises:
        DataError: it is no list of objects with numbered steps.
    """
    rows = log["history"]
    if not isinstance(rows, list) or not all(
            isinstance(row, Mapping) and isinstance(row.get("step", 0), int | float)
            for row in rows):
        raise DataError('"history" must be a list of logged steps, objects with a number "step"')
    return rows


def is_of_dpo(log: Log) -> bool:
    """Whether a log has the rewards of DPO."""
    return any("rewards/chosen" in row or "eval_rewards/chosen" in row for row in log)


def begins_as_its_reference(folder: Path) -> bool:
    """Whether a checkpoint's lineage says so; one without lineage is taken by its word.

    `rlaif_rlhf` goes on from `rlaif` and is compared with `sft`: it may begin anywhere.
    """
    file = folder / "lineage.json"
    if not file.exists():
        return True
    lineage = read_json(file, made_by="04_train_dpo.ipynb")
    parents = lineage.get("parents") if isinstance(lineage, Mapping) else None
    # Somebody else's file of that name tells nothing either.
    return not isinstance(parents, Mapping) or not parents or (
        [*parents][-1] == lineage.get("reference"))


def first_loss(log: Log) -> Measured:
    """The first loss of DPO minus ln 2, which it is while policy and reference are one model."""
    return _first(log, "loss", -math.log(2))


def first_reward(log: Log) -> Measured:
    """How far from 0 the first implicit reward of the chosen replies is."""
    found = _first(log, "rewards/chosen", 0.0)
    return Measured(abs(found.value), found.n, found.example)


def _first(log: Log, name: str, plus: float) -> Measured:
    """The first value of a metric, in training or validation, within `EARLY` steps."""
    for row in log:
        value = row.get(name, row.get(f"eval_{name}"))
        if isinstance(value, int | float) and row.get("step", 0) <= EARLY:
            return Measured(value + plus, 1, f"{value:.3f} at step {row.get('step', 0)}")
    raise NotMeasured(f"the log holds no {name} of the first {EARLY} steps")


def no_numbers(log: Log) -> Measured:
    """How many logged losses are no numbers: NaN, which JSON has as null, or infinite."""
    losses = [row[name] for row in log for name in _LOSSES if name in row]
    bad = sum(not isinstance(loss, int | float) or not math.isfinite(loss) for loss in losses)
    need(losses, "the log holds no loss")
    return Measured(bad, len(losses))


def last_loss(log: Log) -> Measured:
    """The mean of the last fifth of the training losses, minus the ln 2 that a coin has."""
    losses = [row["loss"] for row in log if isinstance(row.get("loss"), int | float)]
    need(len(losses) >= _FEW, f"the log holds {len(losses)} losses of training")
    last = losses[-max(1, len(losses) // 5):]
    return Measured(sum(last) / len(last) - math.log(2), len(losses))


def stood_still(log: Log) -> Measured:
    """1 where no reward ever left 0: the adapter was not trained, or every step had rate 0."""
    rewards = [row[name] for row in log for name in ("rewards/chosen", "rewards/margins")
               if isinstance(row.get(name), int | float)]
    need(len(rewards) >= _FEW, f"the log holds {len(rewards)} rewards of training")
    return Measured(float(max(map(abs, rewards)) < STILL), len(rewards))


TRAINED = (
    Check("DPO began away from its reference", "DPO start", first_loss, 0.1,
          "it begins at ln 2 = .693; the earlier run began at .970",
          "the first loss of DPO is {value:.2f} above ln 2 ({example}): the policy is not the "
          "model it is compared with.",
          "Train from the adapter that the reference has.", stops=True, unit="nats"),
    Check("DPO's first reward", "DPO start", first_reward, 1,
          "it begins at 0; the earlier run began at -3.14",
          "the first reward of the chosen replies is {value:.2f} away from 0 ({example}).",
          "Train from the adapter that the reference has.", stops=True, unit="nats"),
    Check("DPO's losses are no numbers", "DPO log", no_numbers, 0, "a loss is a number",
          "{value:.0f} of {n} losses are NaN or infinite.",
          "Lower dpo.learning_rate, or train in float32.", stops=True),
    Check("DPO ended above a coin", "DPO log", last_loss, 0.2,
          "ln 2 is what no training at all has",
          "at its end DPO's loss is {value:.2f} above ln 2: it unlearned what it began with.",
          "Lower dpo.learning_rate or raise dpo.beta.", unit="nats"),
    Check("DPO stood still", "DPO log", stood_still, 0, "rewards leave 0 with the first step",
          "none of {n} rewards ever left 0: nothing was trained.",
          "Look at dpo.learning_rate and at which adapter is trained."))
