"""Files that people have: only one pool, only labels, and what a run will end without."""

import pytest

from persuasion_lib import prepare, train_dpo, validate
from persuasion_lib.core.brought import brought_labels, missing_at_the_end
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import DataError, MissingInput
from persuasion_lib.core.manifest import conditions
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.records import LabeledPair, Pair, labeled_row, pair_row
from persuasion_lib.core.stage import StageRun, start
from persuasion_lib.core.store import write_jsonl, write_text
from persuasion_lib.label_ai import describe, judge_of, label, pairs_of, write_labels
from persuasion_lib.label_human import open_session, read_pool
from persuasion_lib.label_human import write_labels as write_human

MINE = ["data.source=files", "data.path=mine", "model.base=somebody/model"]
REAL = ["evaluation.judge=anthropic", "safety.judge=anthropic", "oracle.generate=false",
        "similarity.embedder=openai"]


def labels(pool, n=30, by="Ann"):
    return [LabeledPair(Pair(f"{pool}{k}", [{"role": "user", "content": f"View {pool}{k}, ok?"}],
                             f"Reason{k} speaks against it.", f"Doubt{k} is in order.",
                             {"conversation_id": f"{pool}{k}"}), "ab"[k % 2], by)
            for k in range(n)]


def bring(project, pool, name=None, **options):
    rows = labels(pool, **options)
    write_jsonl(project / "mine" / (name or f"{pool}_pool_labeled.jsonl"), map(labeled_row, rows))
    return rows


def prepared(project, *overrides):
    """What 00 writes without a model: pairs of the files, and its manifest."""
    run = start("prepare", "demo", [*MINE, *overrides])
    corpus = prepare.load_corpus(run)
    prepare.make_examples(run, corpus)
    prepare.generate_pairs(run, corpus)
    run.path("sft").mkdir(parents=True)
    write_text(run.path("sft") / "adapter", "x")
    write_text(run.path("prepare_report"), "x")
    run.finish()
    return run


def test_what_will_be_missing_at_the_end_is_said_at_the_start(project):
    bring(project, "human")
    said = " ".join(missing_at_the_end(load_config("demo", MINE)))
    assert "no ai pool, so rlaif, rlaif_rlhf will not be trained" in said
    assert "nothing will be evaluated" in said
    bring(project, "ai")
    assert "will not be trained" not in " ".join(missing_at_the_end(load_config("demo", MINE)))


def test_labels_alone_are_pairs_and_the_labels_are_not_in_the_pairs(project):
    rows = bring(project, "human")
    run = prepared(project)
    pool = read_pool(run)
    assert [p.pair_id for p in pool] == [row.pair.pair_id for row in rows]
    assert not {"preference", "grader", "reasoning"} & set(pool[0].metadata)


def test_the_labelled_file_of_the_folder_is_used_although_the_profile_simulates(project):
    rows = bring(project, "human")
    prepared(project)
    run = start("label_human", "demo", MINE)
    written = write_human(run, open_session(run, read_pool(run)))
    assert {w.pair.pair_id: (w.label, w.labeled_by) for w in written} == {
        r.pair.pair_id: (r.label, "Ann") for r in rows}
    assert "trial" not in run.path("human_pool_labeled").parts


def test_who_asks_for_the_widget_is_not_given_the_labels_of_the_folder(project):
    bring(project, "human")
    asked = load_config("demo", [*MINE, "label_human.source=widget"])
    assert brought_labels(asked, "human_pool") == []
    assert len(brought_labels(load_config("demo", MINE), "human_pool")) == 1


def test_splits_of_an_earlier_run_are_labels_of_the_pool(project):
    bring(project, "ai", "rlaif_train.jsonl")
    write_jsonl(project / "mine" / "rlaif_val.jsonl", map(labeled_row, labels("other", 5)))
    run = prepared(project)
    assert len(run.read("ai_pool_responses")) == 35


def test_ai_labels_of_a_file_need_no_judge_and_no_key(project):
    bring(project, "ai", by="anthropic/claude")
    prepared(project, "label_human.source=file")
    run = start("label_ai", "full", [*MINE, "paths.data=data/demo-files",
                                     "paths.results=results/demo-files"])
    pairs = pairs_of(run)
    assert judge_of(run) is None and "labelled in ai_pool_labeled.jsonl" in describe(
        run, pairs, None)
    outcome = label(run, pairs, None)
    write_labels(run, outcome)
    assert {row["metadata"]["grader"] for row in outcome.rows()} == {"anthropic/claude"}
    assert outcome.done == 30 and not outcome.errors


def test_with_one_pool_the_stages_go_on_and_nobody_is_sent_in_a_circle(project):
    bring(project, "human")
    prepared(project)
    found = conditions(load_config("demo", MINE))
    assert found["evaluate"][0] == found["analysis"][0] == "idle"
    run = start("label_human", "demo", MINE)
    labelled = write_human(run, open_session(run, read_pool(run)))
    run.finish()
    ai = start("label_ai", "demo", MINE)
    assert pairs_of(ai) == []
    write_labels(ai, label(ai, [], judge_of(ai)))
    write_jsonl(ai.path("human_pool_judged"), map(labeled_row, labelled))
    ai.finish()
    run = start("validate", "demo", [*MINE, "gates.max_opening_gap=1"])
    given = validate.read_labels(run)
    sizes = validate.write_splits(run, given, validate.label_facts(run, given))
    validate.compare_with_judge(run, given, [])
    validate.ask_about_minds(run, [])
    run.finish()
    assert list(sizes.index) == ["rlhf"]
    run = start("train_dpo", "demo", [*MINE, "gates.max_opening_gap=1"])
    assert train_dpo.trainable(run) == ["rlhf"]
    assert run.without == {"rlaif", "rlaif_rlhf"}
    assert any("rlaif_rlhf is not trained: there is no rlaif_train" in w for w in run.warnings)


def test_without_a_human_pool_02_says_that_there_is_nothing_to_do(project):
    bring(project, "ai")
    prepared(project)
    with pytest.raises(MissingInput, match="02_label_human has nothing to do.*next notebook"):
        start("label_human", "demo", MINE)


def test_before_00_has_run_the_way_is_00(project):
    with pytest.raises(MissingInput, match="Run notebooks/00_prepare.ipynb first"):
        start("label_human", "demo", MINE)


def test_advice_about_pairs_of_a_file_is_not_about_our_sampling(project):
    run = StageRun(STAGES["prepare"], load_config("demo", MINE), {})
    twice = [Pair(f"p{k}", [{"role": "user", "content": f"Tea {k}?"}], "Same.", "Same.", {})
             for k in range(40)]
    write_jsonl(project / "mine" / "human_pool_responses.jsonl", map(pair_row, twice))
    with pytest.raises(DataError) as brought:
        prepare.check_pools(run, {"human_pool": twice})
    assert "human_pool_responses.jsonl" in str(brought.value)
    assert "temperature" not in str(brought.value)
    assert "--set gates.max_poor_fraction=1" in str(brought.value)
    with pytest.raises(DataError, match="pairs.temperature"):
        prepare.check_pools(run, {"ai_pool": twice})
