"""Stage 01 on a small pool: files, counts, trials."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from persuasion_lib import label_ai
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.manifest import read_manifest
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.records import labeled_row, pair_row, parse_labeled
from persuasion_lib.core.stage import StageRun, start
from persuasion_lib.core.store import read_jsonl, write_jsonl
from worlds.judging_world import pairs_of

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "01_label_ai.ipynb"


@pytest.fixture
def run(project: Path) -> StageRun:
    for name, count in (("ai", 40), ("human", 12)):
        write_jsonl(project / f"data/demo/preferences/{name}_pool_responses.jsonl",
                    map(pair_row, pairs_of(count)))
    return start("label_ai", "demo", ["label_ai.repeat_fraction=0.5"])


def finish(run: StageRun) -> label_ai.LabelOutcome:
    pairs, judge = label_ai.pairs_of(run), label_ai.judge_of(run)
    outcome = label_ai.label(run, pairs, judge)
    label_ai.write_labels(run, outcome)
    check(run)
    run.finish(**outcome.counts)
    return outcome


def check(run: StageRun) -> label_ai.LabelOutcome:
    pairs = label_ai.pairs_of(run, "human_pool")
    outcome = label_ai.label(run, pairs, label_ai.judge_of(run), "human_pool")
    label_ai.write_labels(run, outcome, "human_pool")
    return outcome


def test_the_labelled_file_has_the_pool_in_its_order_with_the_judge_named(run):
    finish(run)
    rows = read_jsonl(run.path("ai_pool_labeled"), parse_labeled, made_by="01")
    assert [row.pair.pair_id for row in rows] == [f"pair-{i}" for i in range(40)]
    assert {row.labeled_by for row in rows} == {"offline/stand-in"}
    extras = rows[0].pair.metadata
    assert set(extras["verdicts"]) == {"12", "21"}
    assert {"flip", "judge_model", "judge_prompt", "judgments", "preference"} <= set(extras)


def test_a_flip_is_a_tie_and_no_preference(run):
    finish(run)
    rows = read_jsonl(run.path("ai_pool_labeled"), dict, made_by="01")
    flipped = [row["metadata"] for row in rows if row["metadata"]["flip"]]
    assert flipped
    assert all(row["preference"] == "EQUAL" and row["is_equal"] for row in flipped)


def test_running_again_asks_nothing_and_writes_the_same_file(run):
    first = finish(run)
    before = run.path("ai_pool_labeled").read_bytes()
    log = path_of(run.config, "ai_judgments").read_bytes()
    second = finish(run)
    assert run.path("ai_pool_labeled").read_bytes() == before
    assert path_of(run.config, "ai_judgments").read_bytes() == log
    assert (first.ledger.run_calls, second.ledger.run_calls) == (first.ledger.calls, 0)


def test_the_manifest_counts_planned_and_done_and_the_ledger(run):
    outcome = finish(run)
    counts = read_manifest(run.config, "label_ai")["counts"]
    assert (counts["planned"], counts["done"], counts["unscored"]) == (40, 40, 0)
    assert counts["ledger"]["calls"] == 80 + counts["repeats"][1]
    assert json.dumps(counts) == json.dumps(outcome.counts)


def test_a_trial_keeps_what_it_paid_for_and_touches_nothing_else(run):
    finish(run)
    labels = run.path("ai_pool_labeled").read_bytes()
    trial = start("label_ai", "demo", ["label_ai.max_examples=10", "label_ai.repeat_fraction=0.5"])
    outcome = finish(trial)
    assert (outcome.planned, outcome.ledger.run_calls) == (10, 0)
    assert trial.path("ai_pool_labeled") != run.path("ai_pool_labeled")
    assert run.path("ai_pool_labeled").read_bytes() == labels


def test_the_human_pool_is_judged_in_both_orders_into_files_of_its_own(run):
    judge, pairs = label_ai.judge_of(run), label_ai.pairs_of(run, "human_pool")
    assert label_ai.plan_of(run, pairs, judge, "human_pool").calls == 24
    assert (check(run).ledger.calls, check(run).ledger.run_calls) == (24, 0)
    rows = read_jsonl(run.path("human_pool_judged"), parse_labeled, made_by="01")
    assert [row.pair.pair_id for row in rows] == [f"pair-{i}" for i in range(12)]
    assert set(rows[0].pair.metadata["verdicts"]) == {"12", "21"}
    assert not path_of(run.config, "ai_judgments").exists()


def test_a_trial_judges_so_many_pairs_of_the_human_pool_and_writes_apart(run):
    trial = start("label_ai", "demo", ["label_ai.max_examples=10"])
    assert check(trial).planned == 10
    assert not run.path("human_pool_judged").exists()


def test_without_a_human_pool_the_ai_pool_is_labelled_all_the_same(run):
    path_of(run.config, "human_pool_responses").unlink()
    alone = start("label_ai", "demo")
    assert any("human_pool_responses is missing" in text for text in alone.warnings)
    finish(alone)
    assert not alone.path("human_pool_judged").exists()


def test_the_question_shown_is_the_one_that_is_sent(run):
    pairs, judge = label_ai.pairs_of(run), label_ai.judge_of(run)
    shown = label_ai.question_of(run, pairs, judge)
    assert pairs[0].response_a in shown and pairs[0].response_b in shown
    assert "{" not in shown.split("[user]")[0]


def test_a_first_pair_that_shows_one_reply_twice_is_not_the_question_shown(run):
    pairs, judge = label_ai.pairs_of(run), label_ai.judge_of(run)
    twice = replace(pairs[0], response_b=pairs[0].response_a)
    assert pairs[1].response_a in label_ai.question_of(run, [twice, pairs[1]], judge)
    assert label_ai.question_of(run, [twice], judge) == "There is nothing to ask."


def test_plan_and_tables_agree_with_the_outcome(run):
    pairs, judge = label_ai.pairs_of(run), label_ai.judge_of(run)
    before = label_ai.plan_of(run, pairs, judge)
    outcome = finish(run)
    after = label_ai.plan_of(run, pairs, judge)
    assert (before.known, after.calls, after.known) == (0, 0, before.calls)
    assert label_ai.summary(outcome).loc["calls in the log", "number"] == before.calls
    assert label_ai.verdict_table(outcome)["verdicts"].sum() == 80
    consistency = label_ai.self_consistency(outcome)
    assert consistency.loc["the two orders", "same"] == 40 - outcome.flips
    assert len(label_ai.example_table(outcome)) == 40
    assert [axes.get_xlabel() for axes in label_ai.plot(outcome).axes] == [
        "pairs", "choices of the judge"]


def test_a_flipped_pair_is_shown_with_both_texts_and_what_was_said_in_each_order(run):
    outcome = finish(run)
    shown = label_ai.flipped_pair(outcome).table["text"]
    first, second = (shown[f"the judge, shown reply {n} first"] for n in "12")
    chosen = [re.match("chose reply ([12]): “", said).group(1) for said in (first, second)]
    assert sorted(chosen) == ["1", "2"] and "[shown" not in first
    assert shown["reply 1"] != shown["reply 2"]


def test_a_judge_that_never_flips_has_no_such_pair(run):
    outcome = finish(run)
    steady = [item for item in outcome.labeled if not outcome.extras[item.pair.pair_id]["flip"]]
    assert "No pair" in label_ai.flipped_pair(replace(outcome, labeled=steady))


def test_the_notebook_tells_and_the_library_does():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert 8 <= len(code) <= 18
    assert len(cells) - len(code) >= len(code)
    assert all(len(cell.source.splitlines()) <= 4 and not cell.outputs for cell in code)
    assert [cell.metadata.get("tags") for cell in code].count(["parameters"]) == 1


def bring(run, rows):
    write_jsonl(run.config.root / "mine" / "ai_pool_labeled.jsonl", rows)
    settings = ["data.source=files", "data.path=mine"]
    for name in ("ai_pool_responses", "human_pool_responses"):
        write_jsonl(path_of(load_config("demo", settings), name), map(pair_row, pairs_of(40)))
    mine = start("label_ai", "demo", settings)
    return mine, label_ai.label(mine, pairs_of(40), None)


def test_labels_of_a_file_find_their_pairs_by_texts_whatever_their_order_ids_and_sides(run):
    finish(run)
    ours = read_jsonl(run.path("ai_pool_labeled"), parse_labeled, made_by="01")
    rows = [labeled_row(label.swapped()) for label in reversed(ours)]
    for number, row in enumerate(rows):
        row["metadata"]["pair_id"] = f"row{number}"
    _, outcome = bring(run, rows)
    assert [(label.pair.pair_id, label.label) for label in outcome.labeled] == [
        (label.pair.pair_id, label.label) for label in ours]


def test_labels_of_a_file_that_are_of_no_pair_or_of_one_twice_are_refused(run):
    finish(run)
    rows = read_jsonl(run.path("ai_pool_labeled"), dict, made_by="01")
    with pytest.raises(DataError, match=r"labeled.jsonl:41: pair pair-0 is labelled a second time"):
        bring(run, [*rows, rows[0]])
    other = [json.loads(json.dumps(row).replace("pair-", "other-")) | {"prompt": [
        {"role": "user", "content": "Another view."}]} for row in rows]
    with pytest.raises(DataError, match="none of its 40 labels is of a pair of the pool"):
        bring(run, other)
    mine, outcome = bring(run, rows[:39] + other[39:])
    assert outcome.done == 39 and any("1 labels of the files are of other" in text
                                      for text in mine.warnings)
