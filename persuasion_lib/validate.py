"""Notebook 03: are the labels fit to train on? Gates, splits, and a report."""

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from persuasion_lib.checks.audit import as_table
from persuasion_lib.checks.check import BY_NAME, Finding, look, percent, texts
from persuasion_lib.checks.material import of_labels, together
from persuasion_lib.checks.registry import checks_of
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.manifest import never_made
from persuasion_lib.core.pipeline import POOLS, made_by
from persuasion_lib.core.records import LabeledPair, content_id, labeled_row
from persuasion_lib.core.rehearsal import is_stand_in, rehearsed
from persuasion_lib.core.show import TextTable
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import write_json, write_jsonl, write_text
from persuasion_lib.data.gates import pair_figures, to_allow
from persuasion_lib.data.overlap import thread_of
from persuasion_lib.judging.ask import note_open
from persuasion_lib.judging.calibrate import label_calibrated
from persuasion_lib.judging.plan import Plan, plan
from persuasion_lib.judging.roles import make_judge
from persuasion_lib.judging.tasks.compare import pair_questions
from persuasion_lib.labeling import agreement
from persuasion_lib.reporting.minds import of_minds, sentences

Labels = Mapping[str, Sequence[LabeledPair]]
Split = tuple[list[LabeledPair], list[LabeledPair]]     # train, val


def read_labels(run: StageRun) -> dict[str, list[LabeledPair]]:
    """The labelled pairs of the pools that there are, by the model that learns from them.

    Raises:
        DataError: a file is empty, malformed (file:line), or labels one pair twice.
    """
    labels = {}
    for pool in POOLS.values():
        name = pool.labels
        path = run.path(name)
        if never_made(run.config, name):
            run.without |= {f"{pool.trains}_train", f"{pool.trains}_val"}
            continue
        labels[pool.trains] = run.read(name)
        if not labels[pool.trains]:
            raise DataError(f"{path} holds no labelled pair. Run {made_by(name)} again.")
        times = Counter(label.pair.pair_id for label in labels[pool.trains])
        twice = [pair_id for pair_id in times if times[pair_id] > 1]
        if twice:
            raise DataError(f"{path} labels {len(twice)} pairs twice (first: {twice[0]}). "
                            f"Run {made_by(name)} again; it keeps one label per pair.")
    return labels


def label_facts(run: StageRun, labels: Labels) -> pd.DataFrame:
    """Per model: pairs planned and labelled, ties, truncated replies, length difference."""
    planned = {"rlaif": run.config.label_ai.max_examples or run.config.data.ai_pairs,
               "rlhf": run.config.data.human_pairs}
    return pd.DataFrame({model: {"planned": planned[model], **_facts(pairs)}
                         for model, pairs in labels.items()}).T


def _facts(pairs: Sequence[LabeledPair]) -> dict[str, Any]:
    decided = _decided(pairs)
    extra = pd.Series([len(p.chosen) - len(p.rejected) for p in decided], dtype=float)
    return {
        "labelled": len(pairs), "decided": len(decided),
        "tie share": 1 - len(decided) / len(pairs),
        **pair_figures([p.pair for p in pairs]),
        "reply 1 chosen": pd.Series([p.label == "a" for p in decided], dtype=float).mean(),
        "chosen longer by (characters)": extra.mean(),
        "standard error of that": extra.sem(),
    }


def _decided(pairs: Sequence[LabeledPair]) -> list[LabeledPair]:
    return [pair for pair in pairs if pair.label != "tie"]


def readable_facts(facts: pd.DataFrame) -> pd.DataFrame:
    """The facts as rows, to be read, a column a pool: counts, characters, and shares in percent."""
    forms = dict.fromkeys(("planned", "labelled", "decided"), "{:,.0f}".format)
    forms |= dict.fromkeys(("chosen longer by (characters)", "standard error of that"),
                           "{:.1f}".format)
    heads = {pool.trains: f"{name.replace('_', ' ').replace('ai', 'AI')}, for {pool.trains}"
             for name, pool in POOLS.items()}
    shown = {name: [forms.get(name, percent)(value) if pd.notna(value) else "–"
                    for value in column] for name, column in facts.items()}
    return pd.DataFrame(shown, index=facts.index).T.rename(columns=heads)


def check_labels(run: StageRun, labels: Labels,
                 agreed: Mapping[str, Any] | None = None,
                 minds: Sequence[LabeledPair] = ()) -> list[Finding]:
    """Every check of the registry that labels, their split and the judge beside them allow."""
    parts = [of_labels(model, pairs) for model, pairs in labels.items()]
    parts += [{"pairs": {model: [label.pair for label in pairs]},
               "split": {model: split_labels(run, pairs)}} for model, pairs in labels.items()]
    if agreed and agreed["status"] != "none":
        of_each = agreed.get("people", {}).get("judge", {})
        parts.append({"agreement": {"Judge against annotator": agreed} | {
            f"Judge against {name}": one for name, one in of_each.items()
            if one["status"] != "none"}})
    if minds:
        parts.append({"minds": {"minds_judged": minds}})
    things = together(*parts)
    return look(checks_of(*things), things, run.config)


def _too_few(run: StageRun, facts: pd.DataFrame) -> list[str]:
    limits = run.config.gates
    return [f"{model}: {row['decided']:.0f} decided pairs leave fewer than "
            f"{limits.min_train_pairs} (gates.min_train_pairs) for training. Label more pairs."
            for model, row in facts.iterrows()
            if row["decided"] * (1 - limits.val_fraction) < limits.min_train_pairs]


def read_judged(run: StageRun) -> list[LabeledPair]:
    """What the judge of 01 says of the human pool; none where 01 was run before it did so."""
    return run.read_if_there("human_pool_judged")


def compare_with_judge(run: StageRun, labels: Labels,
                       judged: Sequence[LabeledPair]) -> dict[str, Any]:
    """Write `judge_agreement.json` and return it: the judge against the annotator."""
    result = agreement.judge_against_annotator(judged, labels.get("rlhf", []),
                                               seed=run.config.seed)
    run.warnings += [f"Judge against annotator: {text}" for text in result["alarms"]]
    if result["status"] == "none":
        run.warnings += agreement.sentences(result)
    write_json(run.path("judge_agreement"), result)
    return result


def plan_of_minds(run: StageRun, pairs: Sequence[LabeledPair]) -> Plan | str:
    """Calls, dollars and minutes of asking the judge of 01 about pairs of which one really won."""
    if not pairs:
        return "Nobody is asked: minds.pairs is 0, or no pair was found (see the notes above)."
    judge = make_judge(run.config, "label_ai")
    asked = pair_questions([label.pair for label in pairs], judge, both_orders=True,
                           seed=run.config.seed)
    return plan(asked, judge, log=run.path("minds_judgments"), mode=run.config.label_ai.mode,
                batches=True)


def ask_about_minds(run: StageRun, pairs: Sequence[LabeledPair]) -> list[LabeledPair]:
    """Write `minds_judged.jsonl`, what the judge says of the pairs in both orders, and return it.

    It is told which one won as little as anything else about them.
    """
    if not pairs:
        run.without.add("minds_judged")
        return []
    judge = make_judge(run.config, "label_ai")
    outcome = label_calibrated(run, [label.pair for label in pairs], judge,
                               log="minds_judgments", mode=run.config.label_ai.mode)
    note_open(run, "pairs of which one really won have no label yet", outcome.errors.values(),
              asked=len(pairs), log="minds_judgments")
    write_jsonl(run.path("minds_judged"), outcome.rows())
    return run.read("minds_judged")


def minds_in_words(run: StageRun, judged: Sequence[LabeledPair], labels: Labels) -> str:
    """How often the judge chose what really won, and what that cannot say."""
    labellers = {label.labeled_by for label in labels.get("rlaif", ())}
    return "\n".join(sentences(of_minds(judged, {"seed": run.config.seed}, labellers=labellers)))


def write_splits(run: StageRun, labels: Labels, facts: pd.DataFrame,
                 agreed: Mapping[str, Any] | None = None,
                 minds: Sequence[LabeledPair] = ()) -> pd.DataFrame:
    """Drop ties, split 90/10 by conversation, write the four files and the report.

    Raises:
        DataError: a gate is broken, or a conversation is in both pools; nothing is written.
    """
    splits = {model: split_labels(run, pairs) for model, pairs in labels.items()}
    findings = check_labels(run, labels, agreed, minds)
    run.warnings += [text for text in texts(findings, "warn") if text not in run.warnings]
    faults = [*(_too_few(run, facts) or _faults_of_splits(run, splits)), *texts(findings, "stop"),
              *_shared_conversations(labels), *_stand_ins(run, labels)]
    if faults:
        faults += [to_allow(dict(facts.iterrows()), run.config), BY_NAME]
        raise DataError("the labels are not fit to train on:\n" + "\n".join(filter(None, faults)))
    sizes = {}
    for model, (train, val) in splits.items():
        write_jsonl(run.path(f"{model}_train"), map(labeled_row, train))
        write_jsonl(run.path(f"{model}_val"), map(labeled_row, val))
        sizes[model] = {"train": len(train), "val": len(val)}
    table = pd.DataFrame(sizes).T
    report = _report(run.banner, facts, table, agreed, findings, minds_in_words(run, minds, labels))
    write_text(run.path("validation_report"), report)
    return table


def _faults_of_splits(run: StageRun, splits: Mapping[str, Split]) -> list[str]:
    """The real sizes: conversations stay whole, and one may hold most of the pairs."""
    needed = run.config.gates.min_train_pairs
    faults = []
    for model, (train, val) in splits.items():
        if len(train) < needed or not val:
            threads = {thread_of(label.pair) for label in [*train, *val]}
            faults.append(
                f"{model}: {len(train) + len(val)} decided pairs of {len(threads)} conversations "
                f"leave {len(train)} pairs for training and {len(val)} for validation, since a "
                f"conversation stays whole; {needed} (gates.min_train_pairs) and 1 are needed. "
                "Label pairs of more conversations; does conversation_id tell them apart?")
    return faults


def _report(above: str, facts: pd.DataFrame, sizes: pd.DataFrame,
            agreed: Mapping[str, Any] | None, findings: Sequence[Finding], minds: str) -> str:
    said = [*agreement.sentences(agreed), agreement.smoothing_note(agreed)]
    wrapped = [textwrap.fill(line, 100, subsequent_indent="  ") for line in said]
    head = [textwrap.fill(above, 100)] if above else []
    parts = ["VALIDATION OF LABELS", *head, readable_facts(facts).to_string(), sizes.to_string(),
             "Ties are kept out of both splits.", "JUDGE AGAINST ANNOTATOR",
             "\n".join(wrapped)]
    if agreed:
        parts.append(agreement.confusion(agreed).to_string())
    parts += ["MINDS THAT CHANGED", "\n".join(
        textwrap.fill(line, 100, subsequent_indent="  ") for line in minds.splitlines())]
    parts += ["WHAT WAS CHECKED", as_table(findings)]
    return "\n\n".join(parts).rstrip() + "\n"


def _shared_conversations(labels: Labels) -> list[str]:
    sets = [{p.pair.conversation_id for p in pairs} - {None}
            for pairs in labels.values()]
    shared = set.intersection(*sets)
    if len(sets) < 2 or not shared:
        return []
    return [f"{len(shared)} conversations are in both pools (first: {sorted(shared)[0]}). "
            "Split by conversation again with notebooks/00_prepare.ipynb."]


def _stand_ins(run: StageRun, labels: Labels) -> list[str]:
    """Labels of stand-ins where the settings speak of none: they would pass for real ones."""
    if run.config.model.base == "demo" or rehearsed(run.config, "validate"):
        return []
    counts = {model: sum(is_stand_in(pair.labeled_by) for pair in pairs)
              for model, pairs in labels.items()}
    return [f"{model}: {count} labels were made by a stand-in, for a real model. Label the pairs "
            "with a real judge or annotator, or name the file with label_human.source=file and "
            "label_human.path: the run is then a rehearsal, apart from all real results."
            for model, count in counts.items() if count]


def split_labels(run: StageRun, pairs: Sequence[LabeledPair]) -> Split:
    """Decided pairs as (train, val), whole conversations on one side, drawn from the seed.

    Where no conversation is known, what answers one prompt is of one (`overlap.thread_of`).
    """
    decided = _decided(pairs)
    wanted = max(1, round(len(decided) * run.config.gates.val_fraction))
    sizes = Counter(thread_of(label.pair) for label in decided)
    held: set[str] = set()
    for thread in sorted(sizes, key=lambda name: content_id("val", run.config.seed, name)):
        if sum(sizes[other] for other in held) >= wanted:
            break
        held.add(thread)
    train = [pair for pair in decided if thread_of(pair.pair) not in held]
    return train, [pair for pair in decided if thread_of(pair.pair) in held]


def show_label(labels: Labels) -> TextTable:
    """The first decided pair of a person, or of the judge where there is none, and who labelled."""
    pairs = labels.get("rlhf") or labels["rlaif"]
    pair = next((pair for pair in pairs if pair.label != "tie"), pairs[0])
    return TextTable(pd.DataFrame({"text": {
        "message answered": pair.pair.prompt[-1]["content"], "chosen": pair.chosen,
        "rejected": pair.rejected, "labelled by": pair.labeled_by}}))
