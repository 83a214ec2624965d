"""Stage 01: a judge labels the pairs of the AI pool, and those of the human pool as a check.

What it says of the human pool trains nothing: 03 compares it with what the annotator says.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from persuasion_lib.core.answers import IN_WORDS, said_in_each_order, verdicts_of
from persuasion_lib.core.brought import brought_labels, read_brought
from persuasion_lib.core.errors import ConfigError, DataError
from persuasion_lib.core.pipeline import POOLS
from persuasion_lib.core.prose import Prose, Verbatim
from persuasion_lib.core.records import LabeledPair, Pair, parse_labeled
from persuasion_lib.core.show import NEUTRAL, Plot, TextTable, numbered
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import write_jsonl
from persuasion_lib.judging.ask import kinds_of, note_open
from persuasion_lib.judging.calibrate import label_calibrated
from persuasion_lib.judging.clients import Judge
from persuasion_lib.judging.plan import Plan, plan
from persuasion_lib.judging.roles import make_judge
from persuasion_lib.judging.tasks.compare import (
    LabelOutcome,
    brought_outcome,
    pair_questions,
)
from persuasion_lib.labeling.opening import Fitting


def pairs_of(run: StageRun, pool: str = "ai_pool") -> list[Pair]:
    """The pairs of a pool: all of them, or the first `label_ai.max_examples`; none without it."""
    pairs = run.read_if_there(POOLS[pool].responses)
    return pairs[:run.config.label_ai.max_examples]


def judge_of(run: StageRun) -> Judge | None:
    """The judge of the settings; its key and model are checked, nothing is asked.

    None where the labels came in a file and no judge can be asked about the human pool.
    """
    try:
        return make_judge(run.config, "label_ai")
    except ConfigError as error:
        if not brought_labels(run.config, "ai_pool"):
            raise
        run.warnings.append(f"No judge reads the human pool, so its agreement with people stays "
                            f"unknown: {error}")
        return None


def describe(run: StageRun, pairs: Sequence[Pair], judge: Judge | None) -> Prose:
    """Who labels the AI pool."""
    if files := brought_labels(run.config, "ai_pool"):
        return Prose(f"{len(pairs):,} pairs, labelled in "
                     f"{', '.join(path.name for path in files)}.")
    return Prose(f"{len(pairs):,} pairs, to be judged by {judge.name} ({judge.endpoint}).")


def _how(run: StageRun, pool: str) -> dict[str, Any]:
    """How the pairs of a pool are asked; the judge's own noise is measured on the AI pool alone."""
    settings = run.config.label_ai
    return {"both_orders": settings.both_orders, "seed": run.config.seed,
            "repeat_fraction": settings.repeat_fraction if pool == "ai_pool" else 0.0}


def question_of(run: StageRun, pairs: Sequence[Pair], judge: Judge | None) -> Verbatim:
    """The first question exactly as it is sent."""
    asked = pair_questions(pairs, judge, **_how(run, "ai_pool")) if judge else {}
    question = next(iter(asked.values()), None)
    if question is None:
        return Verbatim("There is nothing to ask.")
    return Verbatim(f"[system]\n{question.system}\n\n[user]\n{question.text}")


def plan_of(run: StageRun, pairs: Sequence[Pair], judge: Judge | None,
            pool: str = "ai_pool") -> Plan | None:
    """Calls, dollars and minutes of labelling what is not labelled yet; None without a judge."""
    if _is_brought(run, pool) or judge is None:
        return None
    return plan(pair_questions(pairs, judge, **_how(run, pool)), judge,
                log=run.path(POOLS[pool].judgments), mode=run.config.label_ai.mode, batches=True)


def label(run: StageRun, pairs: Sequence[Pair], judge: Judge | None,
          pool: str = "ai_pool") -> LabelOutcome:
    """Ask what is not answered yet and conclude a label per pair; or take those of the files."""
    if _is_brought(run, pool):
        return _from_files(run, pairs, pool)
    if judge is None:
        return brought_outcome([], planned=0)
    return label_calibrated(run, pairs, judge, log=POOLS[pool].judgments,
                            mode=run.config.label_ai.mode, **_how(run, pool))


def _is_brought(run: StageRun, pool: str) -> bool:
    return pool == "ai_pool" and bool(brought_labels(run.config, pool))


def _from_files(run: StageRun, pairs: Sequence[Pair], pool: str) -> LabelOutcome:
    """The labels that somebody brought, of the pairs that are in the pool."""
    run.config.named_file("data.path")
    fitting = Fitting(pairs, others_too=True)
    found = {}

    def keep(row: dict[str, Any]) -> None:
        if (label := fitting(row)) is not None:
            found[label.pair.pair_id] = _with_verdicts(label, parse_labeled(row))

    files = brought_labels(run.config, pool)
    for path in files:
        read_brought(path, "labels", keep)
    if fitting.others and not found:
        raise DataError(f"{files[0]}: none of its {len(fitting.others)} labels is of a pair of the "
                        f"pool (first: {fitting.others[0]}). Take the labels of these pairs, or "
                        "the pairs of these labels.")
    if fitting.others:
        run.warnings.append(f"{len(fitting.others)} labels of the files are of other pairs than "
                            f"the pool's (first: {fitting.others[0]}) and do not count.")
    labels = [found[pair.pair_id] for pair in pairs if pair.pair_id in found]
    return brought_outcome(labels, planned=len(pairs))


def _with_verdicts(label: LabeledPair, given: LabeledPair) -> LabeledPair:
    """A label on the pool's pair, with all that its file says of it; sides may be exchanged."""
    known = {**given.pair.metadata, "pair_id": label.pair.pair_id}
    if given.pair.response_a != label.pair.response_a:
        known["verdicts"] = {shown[::-1]: said for shown, said in verdicts_of(given).items()}
    return replace(label, pair=replace(label.pair, metadata=known))


def write_labels(run: StageRun, outcome: LabelOutcome, pool: str = "ai_pool") -> Path:
    """Write a pool's labels in the order of the pool; unscored pairs are not in them."""
    files = POOLS[pool]
    if not outcome.planned:
        run.without.add(files.judged)
        return run.path(files.judged)
    write_jsonl(run.path(files.judged), outcome.rows())
    note_open(run, f"pairs of the {pool} have no label yet", outcome.errors.values(),
              asked=outcome.planned, log=files.judgments)
    note_open(run, f"repeated questions of the {pool} have no answer yet", outcome.repeats_open,
              asked=outcome.repeats[1] + len(outcome.repeats_open), log=files.judgments)
    return run.path(files.judged)


def summary(outcome: LabelOutcome) -> pd.DataFrame:
    """Counts and shares of the labels, and what they cost."""
    done = outcome.done
    decided = done - outcome.ties
    ledger = outcome.ledger
    same, again = outcome.repeats
    rows = [("pairs planned", outcome.planned, ""),
            ("labelled", done, _share(done, outcome.planned)),
            ("unscored", len(outcome.errors), _reasons(outcome)),
            ("decided", decided, _share(decided, done)),
            ("ties", outcome.ties, _share(outcome.ties, done)),
            ("of these: the same reply twice, not asked", outcome.identical,
             _share(outcome.identical, done)),
            ("of these: the two orders disagreed", outcome.flips, _share(outcome.flips, done))]
    models = Counter(model for extra in outcome.extras.values()
                     if (model := extra.get("judge_model")))
    if len(models) > 1:
        rows.insert(0, ("MODELS THAT ANSWERED AS ONE JUDGE", len(models), ", ".join(
            f"{model} ({count:,} pairs)" for model, count in models.most_common())))
    if again:
        rows.append(("asked twice, same verdict", same, _share(same, again)))
    rows += [("calls in the log", ledger.calls, f"{ledger.run_calls:,} in this run; "
              f"{ledger.input_tokens:,} tokens sent, {ledger.output_tokens:,} received"),
             ("dollars in the log", f"{ledger.usd:.2f}", f"{ledger.run_usd:.2f} in this run"
              + (f"; at most {ledger.unknown_usd:.2f} more for calls whose reply was lost"
                 if ledger.unknown_usd else ""))]
    return pd.DataFrame(rows, columns=["of", "number", "share or detail"],
                        dtype=object).set_index("of").rename_axis(None)


def _reasons(outcome: LabelOutcome) -> str:
    kinds = kinds_of(outcome.errors.values())
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def flipped_pair(outcome: LabelOutcome) -> TextTable | Prose:
    """A pair whose two orders got contradicting verdicts, with both texts and reasons.

    The first of which one slot won in both orders, else the first with a tie in one of them.
    """
    flips = [item for item in outcome.labeled if outcome.extras[item.pair.pair_id]["flip"]]
    if not flips:
        return Prose("No pair got contradicting verdicts in its two orders.")
    item = min(flips, key=lambda item: len(set(_verdicts(outcome, item).values())))
    said = {f"the judge, shown {order}": words
            for order, words in said_in_each_order(item, _verdicts(outcome, item)).items()}
    return TextTable(pd.DataFrame({"text": {
        "message answered": item.pair.prompt[-1]["content"], "reply 1": item.pair.response_a,
        "reply 2": item.pair.response_b, **said, "label": "tie: the two orders disagree"}}))


def _verdicts(outcome: LabelOutcome, item: LabeledPair) -> Mapping[str, str]:
    return outcome.extras[item.pair.pair_id]["verdicts"]


def verdict_table(outcome: LabelOutcome) -> pd.DataFrame:
    """How often each verdict was given in presented order: position bias at a glance."""
    names = {"1": "the slot shown first", "2": "the slot shown second", "EQUAL": "equal"}
    counts = np.array([outcome.first_choices[code] for code in names])
    return pd.DataFrame({"verdicts": counts, "share": (counts / max(1, counts.sum())).round(3)},
                        index=list(names.values()))


def self_consistency(outcome: LabelOutcome) -> pd.DataFrame:
    """Share of equal verdicts when asked twice, and of equal labels in both orders.

    The intervals are Wilson's, 95 %, and take the questions as independent; a case that was not
    asked has no row.
    """
    both = sum(len(extra["verdicts"]) == 2 for extra in outcome.extras.values())
    cases = {"the same question twice": outcome.repeats,
             "the two orders": (both - outcome.flips, both)}
    rows = {}
    for name, (same, n) in cases.items():
        if n:
            low, high = binomtest(same, n).proportion_ci(method="wilson")
            rows[name] = {"same": same, "of": n, "share": f"{same / n:.0%}",
                          "95 % interval": f"{low:.0%} to {high:.0%}"}
    return pd.DataFrame.from_dict(rows, orient="index")


def plot(outcome: LabelOutcome) -> Plot:
    """Bars: what became of the pairs, and the verdicts in presented order."""
    figure = Plot(figsize=(8, 2.6), layout="constrained")
    labels = Counter(item.label for item in outcome.labeled)
    pairs = {IN_WORDS["a"]: labels["a"], IN_WORDS["b"]: labels["b"],
             "tie, judged equal": labels["tie"] - outcome.flips - outcome.identical,
             "tie, flipped": outcome.flips, "tie, the same reply twice": outcome.identical,
             "unscored": len(outcome.errors)}
    verdicts = dict(verdict_table(outcome)["verdicts"])
    for axes, bars, title, unit in zip(
            figure.subplots(1, 2), (pairs, verdicts), ("Labels", "Choices by slot"),
            ("pairs", "choices of the judge"), strict=True):
        bar = axes.barh(list(bars), list(bars.values()), color=NEUTRAL)
        axes.bar_label(bar, fmt="{:,.0f}", padding=3)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set(title=title, xlabel=unit)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def example_table(outcome: LabelOutcome) -> pd.DataFrame:
    """One line a pair: its label, and what the judge chose and wrote in each order."""
    rows = [{"label": IN_WORDS[item.label], **{
        f"shown {order}" if order else "reason": words
        for order, words in said_in_each_order(item, _verdicts(outcome, item)).items()}}
        for item in outcome.labeled]
    return numbered(pd.DataFrame(rows).fillna(""), "pair")
