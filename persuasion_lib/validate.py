"""Notebook 03: are the labels fit to train on? Gates, splits, and a report."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.records import LabeledPair, content_id, labeled_row, parse_labeled
from persuasion_lib.core.show import TextTable
from persuasion_lib.core.stage import StageRun, made_by
from persuasion_lib.core.store import read_jsonl, write_json, write_jsonl, write_text
from persuasion_lib.data.gates import broken_gates, pair_figures
from persuasion_lib.labeling import agreement

POOLS = {"rlaif": "ai_pool_labeled", "rlhf": "human_pool_labeled"}


def read_labels(run: StageRun) -> dict[str, list[LabeledPair]]:
    """The labelled pairs of both pools, keyed by the training stage that uses them.

    Raises:
        DataError: a file is empty, malformed (file:line), or labels one pair twice.
    """
    labels = {}
    for stage, name in POOLS.items():
        path = run.path(name)
        labels[stage] = read_jsonl(path, parse_labeled, made_by=made_by(name))
        if not labels[stage]:
            raise DataError(f"{path} holds no labelled pair. Run {made_by(name)} again.")
        twice = [k for k, n in Counter(p.pair.pair_id for p in labels[stage]).items() if n > 1]
        if twice:
            raise DataError(f"{path} labels {len(twice)} pairs twice (first: {twice[0]}). "
                            f"Run {made_by(name)} again; it keeps one label per pair.")
    return labels


def summary(run: StageRun, labels: dict[str, list[LabeledPair]]) -> pd.DataFrame:
    """Per stage: pairs planned and labelled, ties, truncated replies, length difference."""
    planned = {"rlaif": run.config.label_ai.max_examples or run.config.data.ai_pairs,
               "rlhf": run.config.data.human_pairs}
    return pd.DataFrame({stage: {"planned": planned[stage], **_facts(pairs)}
                         for stage, pairs in labels.items()}).T


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The facts as rows, to be read: counts without decimals, shares and means with three."""
    counts = ("planned", "labelled", "decided")
    return pd.DataFrame({fact: column.map("{:,.0f}".format if fact in counts else "{:.3f}".format)
                         for fact, column in table.items()}).T


def _facts(pairs: Sequence[LabeledPair]) -> dict[str, Any]:
    decided = [p for p in pairs if p.label != "tie"]
    extra = pd.Series([len(p.chosen) - len(p.rejected) for p in decided], dtype=float)
    return {
        "labelled": len(pairs), "decided": len(decided),
        "tie share": 1 - len(decided) / len(pairs),
        **pair_figures([p.pair for p in pairs]),
        "first chosen share": (sum(p.label == "a" for p in decided) / len(decided)
                               if decided else float("nan")),
        "chosen longer by (characters)": extra.mean(),
        "standard error of that": extra.sem(),
    }


def gates(run: StageRun, table: pd.DataFrame) -> list[str]:
    """Which limits of the `validate` settings the labels break, each with what to do."""
    limits, faults = run.config.validate_, []
    for stage, row in table.iterrows():
        if row["tie share"] > limits.max_tie_fraction:
            faults.append(f"{stage}: {row['tie share']:.0%} of the labels are ties, the limit is "
                          f"{limits.max_tie_fraction:.0%} (validate.max_tie_fraction). Sample more "
                          "different pairs: raise pairs.temperature, or set pairs.contrast.")
        faults += broken_gates(stage, row, limits)
        if row["decided"] * (1 - limits.val_fraction) < limits.min_train_pairs:
            faults.append(f"{stage}: {row['decided']:.0f} decided pairs leave fewer than "
                          f"{limits.min_train_pairs} (validate.min_train_pairs) for training. "
                          "Label more pairs.")
    return faults


def read_judged(run: StageRun) -> list[LabeledPair]:
    """What the AI labeller says of the human pool; none where 01 was run before it did so."""
    path = run.path("human_pool_judged")
    return read_jsonl(path, parse_labeled, made_by=made_by(path.stem)) if path.exists() else []


def judge_agreement(run: StageRun, labels: dict[str, list[LabeledPair]],
                    judged: Sequence[LabeledPair]) -> dict[str, Any]:
    """Write `judge_agreement.json` and return it: the judge against the annotator."""
    result = agreement.judge_against_annotator(judged, labels["rlhf"], seed=run.config.seed)
    run.warnings += [f"Judge against annotator: {text}" for text in result["alarms"]]
    if result["status"] == "none":
        run.warnings += agreement.sentences(result)
    write_json(run.path("judge_agreement"), result)
    return result


def write_splits(run: StageRun, labels: dict[str, list[LabeledPair]], table: pd.DataFrame,
                 agreed: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Drop ties, split 90/10 by conversation, write the four files and the report.

    Raises:
        DataError: a gate is broken, or a conversation is in both pools; nothing is written.
    """
    faults = gates(run, table) + _shared_conversations(labels) + _stand_ins(run, labels)
    if faults:
        raise DataError("the labels are not fit to train on:\n" + "\n".join(faults) + "\n"
                        "To go on all the same, set the named limit.")
    sizes = {}
    for stage, pairs in labels.items():
        train, val = split(pairs, run.config)
        for part, rows in (("train", train), ("val", val)):
            write_jsonl(run.path(f"{stage}_{part}"), map(labeled_row, rows))
        sizes[stage] = {"train": len(train), "val": len(val)}
    result = pd.DataFrame(sizes).T
    write_text(run.path("validation_report"), "\n".join([
        "VALIDATION OF LABELS", "", readable(table).to_string(), "", result.to_string(), "",
        "Ties are kept out of both splits. No gate is broken.", "", "JUDGE AGAINST ANNOTATOR", "",
        *(textwrap.fill(line, 100, subsequent_indent="  ") for line in
          [*agreement.sentences(agreed), agreement.smoothing_note(agreed)]), "",
        agreement.confusion(agreed).to_string() if agreed else ""]).rstrip() + "\n")
    return result


def _shared_conversations(labels: dict[str, list[LabeledPair]]) -> list[str]:
    sets = [{p.pair.metadata.get("conversation_id") for p in pairs} - {None}
            for pairs in labels.values()]
    shared = set.intersection(*sets)
    if not shared:
        return []
    return [f"{len(shared)} conversations are in both pools (first: {sorted(shared)[0]}). "
            "Split by conversation again with notebooks/00_prepare.ipynb."]


def _stand_ins(run: StageRun, labels: dict[str, list[LabeledPair]]) -> list[str]:
    """Stand-in labels are for the demo world; beside a real model they would pass for real ones."""
    if run.config.model.base == "demo":
        return []
    return [f"{stage}: {count} labels were made by a stand-in, for a real model. Label the pairs "
            "with a real judge or annotator." for stage, pairs in labels.items()
            if (count := sum("stand-in" in p.labeled_by for p in pairs))]


def split(pairs: Sequence[LabeledPair],
          config: Config) -> tuple[list[LabeledPair], list[LabeledPair]]:
    """Decided pairs as (train, val), whole conversations on one side, drawn from the seed."""
    decided = [p for p in pairs if p.label != "tie"]

    def conversation(pair: LabeledPair) -> str:
        return str(pair.pair.metadata.get("conversation_id", pair.pair.pair_id))

    order = sorted({conversation(p) for p in decided},
                   key=lambda name: content_id("val", config.seed, name))
    per = Counter(conversation(p) for p in decided)
    wanted, held = max(1, round(len(decided) * config.validate_.val_fraction)), set()
    for name in order:
        if sum(per[h] for h in held) >= wanted:
            break
        held.add(name)
    return ([p for p in decided if conversation(p) not in held],
            [p for p in decided if conversation(p) in held])


def show_label(pairs: Sequence[LabeledPair]) -> TextTable:
    """The first decided pair: the message answered, both replies, and who labelled."""
    pair = next((p for p in pairs if p.label != "tie"), pairs[0])
    return TextTable(pd.DataFrame({"text": {
        "answered message": pair.pair.prompt[-1]["content"], "chosen": pair.chosen,
        "rejected": pair.rejected, "labelled by": pair.labeled_by}}))
