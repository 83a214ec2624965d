"""What a training logged, kept beside its checkpoint; the one home of trl's names for it."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from persuasion_lib.core.config import Config
from persuasion_lib.core.pipeline import made_by, path_of
from persuasion_lib.core.store import read_json

LOG = "training_log.json"       # beside the weights
# trl's name: (name in final_evaluation.json, heading in notebook 04); None where it is left out.
METRICS = {
    "step": ("step", "step"), "loss": ("loss", None), "eval_loss": ("held_out_loss", "loss"),
    "eval_rewards/accuracies": ("accuracy", "accuracy"),
    "eval_rewards/margins": ("margin", "margin"),
    "eval_logps/chosen": (None, "logp chosen"), "eval_logps/rejected": (None, "logp rejected"),
    "eval_kl": ("kl", "KL to SFT"), "eval_reply_tokens": ("reply_tokens", "reply tokens")}
_IN_FILES = {key: name for key, (name, _) in METRICS.items() if name}
_HEADINGS = {key: heading for key, (_, heading) in METRICS.items() if heading}


def training_log(config: Config, name: str) -> Mapping[str, Any]:
    """What is recorded beside a checkpoint: history, best step, self-test, alarms."""
    return read_json(path_of(config, name) / LOG, made_by=made_by(name))


def training_curve(config: Config, name: str) -> pd.DataFrame:
    """The logged metrics of a checkpoint's training, one row per logging or validation step."""
    return pd.DataFrame(training_log(config, name)["history"])


def by_step(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a trainer logged, the entries of one step joined, in the order of the steps."""
    points: dict[int, dict[str, Any]] = {}
    for log in history:
        step = log.get("step", 0)
        points.setdefault(step, {"step": step}).update(log)
    return [point for _, point in sorted(points.items())]


def validation_points(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per validation point: what was logged with it at the same step, together."""
    return [point for point in by_step(history) if "eval_loss" in point]


def validation_curves(config: Config, names: Sequence[str]) -> pd.DataFrame:
    """Validation metrics by model and step; the first row of each is the state before training."""
    frames = []
    for name in names:
        points = pd.DataFrame(validation_points(training_log(config, name)["history"]))
        points = points[[key for key in _HEADINGS if key in points]]
        frames.append(points.rename(columns=_HEADINGS).assign(model=name))
    return pd.concat(frames, ignore_index=True)


def compact_logs(config: Config, names: Sequence[str]) -> dict[str, Any]:
    """How each model was trained, for final_evaluation.json: curve, the step kept, alarms.

    A checkpoint that came without a training log is left out.
    """
    logs = {name: training_log(config, name) for name in names
            if name != "base" and (path_of(config, name) / LOG).exists()}
    return {name: {"best_step": log["best_step"], "alarms": log.get("alarms", []),
                   "rows": log.get("rows"), "points": _points(log["history"])}
            for name, log in logs.items()}


def _points(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = [{_IN_FILES[key]: value for key, value in point.items() if key in _IN_FILES}
            for point in by_step(history)]
    return [row for row in rows if len(row) > 1]
