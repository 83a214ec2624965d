"""Notebook 04: the three preference-trained models, each from its own labels."""

from collections.abc import Sequence

import pandas as pd

from persuasion_lib.core.family import FAMILY, PREFERENCE_TRAINED, REFERENCE, trainings
from persuasion_lib.core.manifest import never_made
from persuasion_lib.core.records import LabeledPair
from persuasion_lib.core.show import TextTable
from persuasion_lib.core.stage import StageRun
from persuasion_lib.labeling.agreement import smoothing_note as smoothing_note_of
from persuasion_lib.models.compose import ModelFamily
from persuasion_lib.models.lineage import read_lineage
from persuasion_lib.models.sampling import Request, sample_batch
from persuasion_lib.training import history
from persuasion_lib.training.dpo import train_preferences
from persuasion_lib.training.worked import Tokens, WorkedPair, work_out

_SELF_TEST = {"loss": "mean loss", "margin": "mean margin", "policy_logp": "policy",
              "policy_expected": "policy must be", "reference_logp": "reference",
              "reference_expected": "reference must be"}
_DIGITS = {"step": 0, "loss": 3, "accuracy": 2, "margin": 3, "logp chosen": 2, "logp rejected": 2,
           "KL to SFT": 2, "reply tokens": 1}


def trainable(run: StageRun) -> list[str]:
    """The models that are wanted and whose labels, and those of the models below, there are.

    Without labels it is noted.
    """
    wanted = trainings(run.config.training.models)
    run.without |= {*PREFERENCE_TRAINED} - {*wanted}
    names = []
    for name in wanted:
        chain = [name, *(p for p in FAMILY[name].parents if p in PREFERENCE_TRAINED)]
        files = {f"{FAMILY[part].labels}_{split}" for part in chain for split in ("train", "val")}
        if lacking := sorted(key for key in files if never_made(run.config, key)):
            run.without.add(name)
            run.warnings.append(f"{name} is not trained: there is no {' and no '.join(lacking)}.")
        else:
            names.append(name)
    return names


def first_split(run: StageRun, names: Sequence[str]) -> list[LabeledPair]:
    """The training pairs of a person, or of the judge where there are none."""
    return read_split(run, "rlhf" if "rlhf" in names else "rlaif", "train")


def read_split(run: StageRun, labels: str, part: str) -> list[LabeledPair]:
    """The pairs of one split file; `labels` is rlhf or rlaif, `part` is train or val."""
    return run.read(f"{labels}_{part}")


def train(run: StageRun, name: str) -> pd.DataFrame:
    """Train one model unless just this one exists; returns its curve, empty if it has no labels."""
    if name in run.without:
        return pd.DataFrame()
    labels = FAMILY[name].labels
    return train_preferences(run.config, name, read_split(run, labels, "train"),
                             read_split(run, labels, "val"))


def worked_pair(run: StageRun, pair: LabeledPair, name: str, *, trained: bool) -> WorkedPair:
    """The pair by hand in a model's training: four log-probabilities, margin and loss."""
    return work_out(run.config, pair, name, trained=trained)


def tokens(run: StageRun, pair: LabeledPair) -> Tokens:
    """The tokens of the pair's two rows, the masked ones grey."""
    return Tokens(run.config, pair)


def answers(run: StageRun, names: Sequence[str]) -> TextTable:
    """A prompt that no model was trained on, with the reply of sft and of every new model."""
    labels = "rlhf" if "rlhf" in names else "rlaif"
    prompt = read_split(run, labels, "val")[0].pair.prompt
    family = ModelFamily(run.config, names)
    replies = {"message answered": prompt[-1]["content"]}
    for name in (REFERENCE, *names):
        with family.use(name) as model:
            reply, = sample_batch(model, family.tokenizer, [Request("shown in 04", prompt)],
                                  run.config.generation, seed=run.config.seed)
        replies[name] = reply.text
    return TextTable(pd.DataFrame({"text": replies}))


def step_zero(run: StageRun, names: Sequence[str]) -> pd.DataFrame:
    """The recorded self-test of each model, to be read: what it was before its first step."""
    tests = {name: history.training_log(run.config, name)["self_test"] for name in names}
    return pd.DataFrame({name: {heading: f"{found[key]:.3f}" for key, heading in _SELF_TEST.items()}
                         for name, found in tests.items()}).T


def lineage(run: StageRun, names: Sequence[str]) -> pd.DataFrame:
    """Weights (first 8 digits of sha256) and parents of each checkpoint."""
    rows = {}
    for name in (REFERENCE, *names):
        record = read_lineage(run.config, name)
        rows[name] = {"weights": record.weights[:8], "reference": record.reference or "–",
                      **{f"on {parent}": digest[:8] for parent, digest in record.parents.items()}}
    return pd.DataFrame(rows).T.fillna("–")


def validation_curves(run: StageRun, names: Sequence[str]) -> pd.DataFrame:
    """Validation metrics by model and step; the first row of each is the state before training."""
    return history.validation_curves(run.config, names)


def kept_points(run: StageRun, names: Sequence[str]) -> pd.DataFrame:
    """The validation metrics of each model's best checkpoint, which is the one that was saved.

    To be read, with the digits that mean something.
    """
    curves = validation_curves(run, names)
    best = {name: history.training_log(run.config, name)["best_step"] for name in names}
    kept = curves[curves["step"] == curves["model"].map(best)].set_index("model")
    return kept.apply(lambda column: column.map(f"{{:.{_DIGITS[column.name]}f}}".format,
                                                na_action="ignore")).fillna("–")


def alarms(run: StageRun, names: Sequence[str]) -> TextTable:
    """What the trainings warn of, with advice; also into the manifest."""
    rows = [{"model": name, "alarm": text} for name in names
            for text in history.training_log(run.config, name)["alarms"]]
    run.warnings += [f"{row['model']}: {row['alarm']}" for row in rows]
    return TextTable(pd.DataFrame(rows, columns=["model", "alarm"]).set_index("model"))


def smoothing_note(run: StageRun) -> str:
    """What 03 measured of the AI labels' noise, beside the setting; nothing is changed by it."""
    known = run.read_if_there("judge_agreement") or None
    return f"{smoothing_note_of(known)} It is set to {run.config.dpo.label_smoothing:g}."


def show_pair(pairs: Sequence[LabeledPair]) -> TextTable:
    """The first training pair: the message answered, the chosen and the rejected reply."""
    pair = pairs[0]
    return TextTable(pd.DataFrame({"text": {
        "message answered": pair.pair.prompt[-1]["content"], "chosen": pair.chosen,
        "rejected": pair.rejected}}))
