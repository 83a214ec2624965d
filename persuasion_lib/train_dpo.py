"""Notebook 04: the three preference-trained models, each from its own labels."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from persuasion_lib.core.records import LabeledPair, parse_labeled
from persuasion_lib.core.show import TextTable
from persuasion_lib.core.stage import StageRun, made_by
from persuasion_lib.core.store import read_json, read_jsonl
from persuasion_lib.labeling.agreement import smoothing_note as smoothing_note_of
from persuasion_lib.models.loading import load_tokenizer, read_lineage
from persuasion_lib.training.dpo import train_preferences
from persuasion_lib.training.drift import merged
from persuasion_lib.training.loop import training_log

# Which labels each model learns from last, in the order of training.
LABELS = {"rlhf": "rlhf", "rlaif": "rlaif", "rlaif_rlhf": "rlhf"}
CURVE_COLUMNS = {
    "eval_loss": "loss", "eval_rewards/accuracies": "accuracy", "eval_rewards/margins": "margin",
    "eval_logps/chosen": "logp chosen", "eval_logps/rejected": "logp rejected",
    "eval_kl": "KL to SFT", "eval_reply_tokens": "reply tokens"}


def read_split(run: StageRun, labels: str, part: str) -> list[LabeledPair]:
    """The pairs of one split file; `labels` is rlhf or rlaif, `part` is train or val."""
    name = f"{labels}_{part}"
    return read_jsonl(run.path(name), parse_labeled, made_by=made_by(name))


def train(run: StageRun, name: str) -> pd.DataFrame:
    """Train one model unless just this one exists; returns its curve."""
    labels = LABELS[name]
    return train_preferences(run.config, name, read_split(run, labels, "train"),
                             read_split(run, labels, "val"))


def step_zero(run: StageRun, names: Sequence[str] = tuple(LABELS)) -> pd.DataFrame:
    """The recorded self-test of each model: what it was before its first step."""
    return pd.DataFrame({
        name: training_log(run.config, name)["self_test"]
        for name in names}).T


def lineage(run: StageRun, names: Sequence[str] = ("sft", *LABELS)) -> pd.DataFrame:
    """Weights (first 8 digits of sha256) and parents of each checkpoint."""
    rows = {}
    for name in names:
        record = read_lineage(run.config, name)
        rows[name] = {"weights": record.weights[:8], "reference": record.reference or "–",
                      **{f"on {parent}": digest[:8] for parent, digest in record.parents.items()}}
    return pd.DataFrame(rows).T.fillna("–")


def validation_curves(run: StageRun, names: Sequence[str] = tuple(LABELS)) -> pd.DataFrame:
    """Validation metrics by model and step; the first row of each is the state before training."""
    frames = []
    for name in names:
        points = pd.DataFrame(merged(training_log(run.config, name)["history"]))
        kept = points[["step", *(c for c in CURVE_COLUMNS if c in points)]]
        frames.append(kept.rename(columns=CURVE_COLUMNS).assign(model=name))
    return pd.concat(frames, ignore_index=True)


def kept_points(run: StageRun, names: Sequence[str] = tuple(LABELS)) -> pd.DataFrame:
    """The validation metrics of each model's best checkpoint, which is the one that was saved."""
    curves = validation_curves(run, names)
    best = {name: training_log(run.config, name)["best_step"] for name in names}
    return curves[curves["step"] == curves["model"].map(best)].set_index("model")


def alarms(run: StageRun, names: Sequence[str] = tuple(LABELS)) -> TextTable:
    """What the trainings warn of, with advice; also into the manifest."""
    rows = [{"model": name, "alarm": text} for name in names
            for text in training_log(run.config, name)["alarms"]]
    run.warnings += [f"{row['model']}: {row['alarm']}" for row in rows]
    return TextTable(pd.DataFrame(rows, columns=["model", "alarm"]).set_index("model"))


def smoothing_note(run: StageRun) -> str:
    """What 03 measured of the AI labels' noise, beside the setting; nothing is changed by it."""
    path = run.path("judge_agreement")
    known = read_json(path, made_by=made_by("judge_agreement")) if path.exists() else None
    return f"{smoothing_note_of(known)} It is set to {run.config.dpo.label_smoothing:g}."


def show_pair(pairs: Sequence[LabeledPair]) -> TextTable:
    """The first training pair: the message answered, the chosen and the rejected reply."""
    pair = pairs[0]
    return TextTable(pd.DataFrame({"text": {
        "answered message": pair.pair.prompt[-1]["content"], "chosen": pair.chosen,
        "rejected": pair.rejected}}))


def rendered(run: StageRun, pair: LabeledPair) -> str:
    """Prompt and chosen reply in the model's chat format, as DPO trains on it."""
    reply = {"role": "assistant", "content": pair.chosen}
    return load_tokenizer(run.config).apply_chat_template([*pair.pair.prompt, reply],
                                                          tokenize=False)
