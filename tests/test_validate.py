import pytest

from persuasion_lib import train_dpo, validate
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.pipeline import POOLS, STAGES
from persuasion_lib.core.records import LabeledPair, Pair, labeled_row
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import write_jsonl
from persuasion_lib.data.overlap import thread_of

PROMPT = [{"role": "user", "content": "I like tea."}]


def pair(number, label="a", *, pool="ai", finish=("stop", "stop")):
    metadata = {"conversation_id": f"{pool}{number}", "finish": list(finish)}
    return LabeledPair(Pair(f"{pool}{number}", list(PROMPT), "aaaa", "bb", metadata), label, "test")


def labels(n=100, **options):
    return {"rlaif": [pair(k, **options) for k in range(n)],
            "rlhf": [pair(k, pool="human") for k in range(n)]}


# Every first reply here is "aaaa" and every second one "bb".
OVERRIDES = ["gates.max_opening_gap=1"]


@pytest.fixture
def run(project):
    return StageRun(STAGES["validate"], load_config("demo", OVERRIDES), {})


def test_ties_are_counted_and_kept_out_of_both_splits(run):
    given = labels()
    given["rlaif"][:30] = [pair(k, "tie") for k in range(30)]
    table = validate.label_facts(run, given)
    assert table.loc["rlaif", "tie share"] == pytest.approx(0.3)
    assert table.loc["rlaif", "decided"] == 70
    train, val = validate.split_labels(run, given["rlaif"])
    assert len(train) + len(val) == 70 and all(p.label != "tie" for p in train + val)


def test_the_table_to_be_read_has_whole_counts_and_shares_in_percent(run):
    table = validate.readable_facts(validate.label_facts(run, labels()))
    assert table["AI pool, for rlaif"][["planned", "labelled", "reply 1 chosen"]].tolist() == [
        "2,150", "100", "100%"]


def test_labels_that_are_all_ties_leave_no_number_that_is_none(run):
    ties = {"rlhf": [pair(k, "tie", pool="human") for k in range(20)]}
    shown = validate.readable_facts(validate.label_facts(run, ties))["human pool, for rlhf"]
    assert shown["tie share"] == "100%" and shown["reply 1 chosen"] == "–"
    assert "nan" not in " ".join(shown)


def test_a_tenth_of_the_decided_pairs_is_held_out(run):
    train, val = validate.split_labels(run, labels()["rlaif"])
    assert (len(train), len(val)) == (90, 10)


def test_a_conversation_is_on_one_side_of_the_split(run):
    given = [LabeledPair(Pair(str(k), PROMPT, "a", "b", {"conversation_id": f"c{k // 4}"}),
                         "a", "test") for k in range(100)]
    train, val = validate.split_labels(run, given)
    threads = [{p.pair.metadata["conversation_id"] for p in part} for part in (train, val)]
    assert not threads[0] & threads[1]


@pytest.mark.parametrize("spoiled, message", [
    (labels() | {"rlaif": [pair(k, "tie" if k < 76 else "a") for k in range(100)]},
     "76% of the labels are ties.*max_tie_fraction"),
    (labels() | {"rlaif": [pair(k, finish=("length", "stop")) for k in range(100)]},
     "50% of the replies are cut off.*max_truncated_fraction"),
    (labels(n=100) | {"rlhf": [pair(k, pool="human") for k in range(12)]},
     "12 decided pairs.*min_train_pairs")])
def test_a_broken_gate_stops_before_anything_is_written(run, spoiled, message):
    table = validate.label_facts(run, spoiled)
    with pytest.raises(DataError, match=message):
        validate.write_splits(run, spoiled, table)
    assert not run.path("rlaif_train").exists()


def test_good_labels_break_no_gate_and_are_written(run):
    given = labels()
    table = validate.label_facts(run, given)
    assert not [found for found in validate.check_labels(run, given) if found.state == "stop"]
    assert validate.write_splits(run, given, table).loc["rlhf", "train"] == 90
    report = run.path("validation_report").read_text()
    assert "WHAT WAS CHECKED" in report and "0 that stop" in report


def test_a_few_conversations_that_hold_most_pairs_stop_the_split(run):
    """Seen: 348 rows for training and 1,371 for validation, and "No gate is broken"."""
    given = labels()
    for label in given["rlaif"][:70]:
        label.pair.metadata["conversation_id"] = "all"
    seeds = [f"seed={seed}" for seed in range(20)]
    runs = [StageRun(run.stage, load_config("demo", [*OVERRIDES, seed]), {}) for seed in seeds]
    unlucky = next(r for r in runs if len(validate.split_labels(r, given["rlaif"])[1]) > 50)
    with pytest.raises(DataError, match="of the decided pairs are held out"):
        validate.write_splits(unlucky, given, validate.label_facts(unlucky, given))


def test_a_person_who_chose_one_side_stops_the_training(run):
    given = labels()
    for label in given["rlhf"]:
        label.pair.metadata["shown_swapped"] = False
    with pytest.raises(DataError, match="rlhf: 100% of 100 decided labels are for the reply shown "
                                        "first"):
        validate.write_splits(run, given, validate.label_facts(run, given))


def test_the_report_says_how_far_the_judge_agrees_and_what_that_would_smooth(run):
    given = labels()
    judged = [LabeledPair(p.pair, "a" if k % 5 else "b", "a judge")
              for k, p in enumerate(given["rlhf"])]
    agreed = validate.compare_with_judge(run, given, judged)
    validate.write_splits(run, given, validate.label_facts(run, given), agreed)
    text = " ".join(run.path("validation_report").read_text().split())
    assert "100 of 100 pairs of the human pool were labelled twice" in text
    assert "on 20% [13%, 29%] of the 100 pairs" in text and "label_smoothing=0.2 would" in text
    assert train_dpo.smoothing_note(run).endswith("It is set to 0.")


def test_older_runs_without_the_judged_human_pool_go_on_with_a_warning(run):
    given = labels()
    agreed = validate.compare_with_judge(run, given, validate.read_judged(run))
    validate.write_splits(run, given, validate.label_facts(run, given), agreed)
    assert "is not known" in run.warnings[0]
    assert "nothing is suggested" in train_dpo.smoothing_note(run)


def test_a_conversation_in_both_pools_is_refused(run):
    given = labels() | {"rlhf": [pair(k) for k in range(100)]}
    with pytest.raises(DataError, match="100 conversations are in both pools"):
        validate.write_splits(run, given, validate.label_facts(run, given))


def test_chosen_replies_that_are_longer_show_in_the_table(run):
    table = validate.label_facts(run, labels())
    assert table.loc["rlaif", "chosen longer by (characters)"] == 2


def test_a_pair_labelled_twice_is_refused(run):
    for pool in POOLS:
        write_jsonl(run.path(f"{pool}_labeled"), [labeled_row(pair(1)), labeled_row(pair(1))])
    with pytest.raises(DataError, match="labels 1 pairs twice"):
        validate.read_labels(run)


def test_an_empty_file_of_labels_names_the_notebook(run):
    for pool in POOLS:
        write_jsonl(run.path(f"{pool}_labeled"), [])
    with pytest.raises(DataError, match="holds no labelled pair.*01_label_ai"):
        validate.read_labels(run)


def test_planned_stands_beside_labelled(run):
    table = validate.label_facts(run, labels(n=61))
    assert (table.loc["rlaif", "planned"], table.loc["rlaif", "labelled"]) == (2150, 61)


@pytest.mark.parametrize("value", [None, ""])
def test_labels_without_a_conversation_are_split_as_ever(run, value):
    given = labels()
    for part in given.values():
        for number, label in enumerate(part):
            label.pair.metadata["conversation_id"] = value
            label.pair.prompt[:] = [{"role": "user", "content": f"View {number}."}]
    table = validate.write_splits(run, given, validate.label_facts(run, given))
    assert table.loc["rlaif"].tolist() == [90, 10]


LONG = "word " * 120


@pytest.mark.parametrize(("prompts", "threads"), [
    (["View {}."], 25), (["hello", "View {}."], 25), ([LONG + "{}.", "And you {}?"], 25),
    (["View {}.", "And you {}?"], 25)])
def test_pairs_of_one_prompt_stay_on_one_side_where_no_conversation_is_known(run, prompts, threads):
    given = [LabeledPair(Pair(str(k), [{"role": "user", "content": text.format(k // 4)}
                                       for text in prompts], "a", "b"), "a", "x")
             for k in range(100)]
    train, val = validate.split_labels(run, given)
    sides = [{label.pair.prompt[-1]["content"] for label in part} for part in (train, val)]
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == threads
    assert len(val) == 12


def test_a_post_stays_on_one_side_with_all_that_was_said_below_it():
    one, other = (Pair(name, [{"role": "user", "content": LONG}, *rest], "a", "b")
                  for name, rest in (("x", []), ("y", [{"role": "user", "content": "More."}])))
    assert thread_of(one) == thread_of(other)


def test_labels_of_one_conversation_leave_nothing_to_train_on_and_stop(run):
    given = labels()
    for label in given["rlaif"]:
        label.pair.metadata["conversation_id"] = "all"
    with pytest.raises(DataError, match="rlaif: 100 decided pairs of 1 conversations leave 0 pairs "
                                        "for training and 100 for validation"):
        validate.write_splits(run, given, validate.label_facts(run, given))
    assert not run.path("rlaif_train").exists()
