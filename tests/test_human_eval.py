"""Notebook 05b without a screen: what is drawn, who compares, and what 06 makes of it."""

from __future__ import annotations

import json

import pytest

from persuasion_lib import analysis, human_eval
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.manifest import state
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.records import labeled_row, parse_labeled
from persuasion_lib.core.rehearsal import rehearsed
from persuasion_lib.core.stage import start
from persuasion_lib.core.store import read_jsonl, write_json, write_jsonl
from worlds.labeling_pool import make_demo
from worlds.synthetic_evaluation import make_evaluation

PAIR = ("rlaif_rlhf", "rlhf")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose 05 wrote 60 examples; on two of them the declared models say the same."""
    monkeypatch.chdir(make_demo(tmp_path))
    monkeypatch.setenv("PERSUASION_BATCH", "1")
    content = make_evaluation(60)
    for row in content["per_example"][:2]:
        row["responses"]["rlhf"] = row["responses"]["rlaif_rlhf"]
    write_json(tmp_path / "results/demo/final_evaluation.json", content)
    return tmp_path


def opened(*overrides):
    run = start("human_eval", "demo", [*overrides])
    pairs = human_eval.drawn(run, human_eval.read_evaluation(run))
    return run, pairs, human_eval.open_session(run, pairs)


def written(run):
    return read_jsonl(run.path("human_comparisons"), parse_labeled, made_by="05b")


def compare(session, choice="first"):
    while session.current:
        session.choose(session.token(session.current), choice, 9.0)


def at_the_screen(monkeypatch, *overrides):
    monkeypatch.delenv("PERSUASION_BATCH")
    found = opened("human_eval.source=widget", *overrides)
    monkeypatch.setenv("PERSUASION_BATCH", "1")
    return found


def analysed(*overrides):
    run = start("analysis", "demo", [*overrides, "analysis.resamples=99"])
    return analysis.analyse(run, analysis.read_evaluation(run))


def test_prompts_are_drawn_by_a_hash_and_not_by_their_place_in_the_file(project):
    _, pairs, _ = opened("human_eval.comparisons=10")
    drawn = [pair.metadata["example_id"] for pair in pairs]
    assert drawn != sorted(drawn)
    path = project / "results/demo/final_evaluation.json"
    content = json.loads(path.read_text())
    write_json(path, {**content, "per_example": content["per_example"][::-1]})
    assert [pair.metadata["example_id"] for pair in opened("human_eval.comparisons=10")[1]] == drawn


def test_a_larger_plan_keeps_what_a_smaller_one_has_drawn(project):
    few, more = (opened(f"human_eval.comparisons={n}")[1] for n in (10, 20))
    assert more[:10] == few


def test_identical_replies_are_never_shown(project):
    _, pairs, _ = opened("human_eval.comparisons=60")
    assert len(pairs) == 58
    assert all(pair.response_a != pair.response_b for pair in pairs)


def test_the_first_of_the_declared_models_is_stored_first_and_shown_on_either_side(project):
    _, pairs, session = opened("human_eval.source=none")
    assert all(pair.metadata["models"] == list(PAIR) for pair in pairs)
    sides = {item.swapped for item in session.pool}
    assert sides == {True, False}


def test_the_stand_in_compares_all_and_is_named_in_every_row(project):
    run, pairs, session = opened()
    assert len(human_eval.write_comparisons(run, session)) == len(pairs) == 50
    assert {label.labeled_by for label in written(run)} == {"simulated annotator (stand-in)"}
    assert sum(label.again is not None for label in written(run)) == 7


def test_a_stand_in_beside_a_real_model_is_a_rehearsal_and_a_persons_log_stays_where_it_is(project):
    config = load_config("demo", ["model.base=some/model", "data.source=jsonl"])
    assert "people who compare" in rehearsed(config, "human_eval")
    assert "people who compare" not in rehearsed(config, "evaluate")
    assert "rehearsal" in str(path_of(config, "human_comparisons"))
    assert "rehearsal" not in str(path_of(config, "final_events"))     # the stand-in has none


def test_a_declared_model_that_was_not_evaluated_is_named(project):
    path = project / "results/demo/final_evaluation.json"
    write_json(path, make_evaluation(30, ("base", "sft", "rlhf")))
    with pytest.raises(DataError, match="rlaif_rlhf of analysis.primary was not evaluated"):
        opened()


def test_without_answers_the_file_is_empty_one_sentence_says_so_and_the_report_goes_on(project):
    run, _, session = opened("human_eval.source=widget")
    assert human_eval.write_comparisons(run, session) == []
    assert "the report goes by this judge alone" in run.warnings[-1]
    run.finish(planned=50, done=0)
    result = analysed("human_eval.source=widget")
    assert result["people"] is None
    assert "came out ahead" in " ".join(result["answer"]["sentences"])


def test_a_person_takes_the_place_of_the_stand_in_without_a_new_experiment(project, monkeypatch):
    run, _, session = opened()
    human_eval.write_comparisons(run, session)
    run.finish(planned=50, done=50)
    compare(at_the_screen(monkeypatch, "human_eval.annotator=ada")[2])
    run, _, session = opened("human_eval.source=widget", "human_eval.annotator=ada")
    human_eval.write_comparisons(run, session)
    assert {label.labeled_by for label in written(run)} == {"ada"}


def test_answers_that_come_later_make_the_notebook_stale(project, monkeypatch):
    run, _, session = opened("human_eval.source=widget")
    human_eval.write_comparisons(run, session)
    run.finish(planned=50, done=0)
    assert state(run.config, "human_eval")[0] == "done"
    compare(at_the_screen(monkeypatch)[2])
    condition, reasons = state(run.config, "human_eval")
    assert condition == "stale" and str(reasons[0]) == "input final_events changed"


def test_a_batch_run_takes_a_persons_answers_from_the_log_and_leaves_them_the_log(
        project, monkeypatch):
    _, _, owner = at_the_screen(monkeypatch)
    compare(owner, "tie")
    run, pairs, session = opened("human_eval.source=widget")
    assert len(human_eval.write_comparisons(run, session)) == len(pairs)
    assert {label.label for label in written(run)} == {"tie"}
    assert owner.undo()                         # still the owner


def test_a_choice_on_screen_becomes_the_model_that_stood_there(project, monkeypatch):
    compare(at_the_screen(monkeypatch)[2], "first")
    run, _, session = opened("human_eval.source=widget")
    human_eval.write_comparisons(run, session)
    for label in written(run):
        assert label.label == ("b" if label.pair.metadata["shown_swapped"] else "a")


def test_half_of_the_answers_are_used_and_the_rest_is_named(project, monkeypatch):
    _, _, owner = at_the_screen(monkeypatch)
    for _ in range(20):
        owner.choose(owner.token(owner.current), "first", 5.0)
    run, _, session = opened("human_eval.source=widget")
    made = human_eval.write_comparisons(run, session)
    assert 15 <= len(made) <= 20
    assert f"{50 - len(made)} of 50 comparisons are not answered yet" in run.warnings[-1]


def test_answers_on_older_replies_do_not_count_and_are_named(project, monkeypatch):
    compare(at_the_screen(monkeypatch)[2])
    path = project / "results/demo/final_evaluation.json"
    content = json.loads(path.read_text())
    for row in content["per_example"]:
        row["responses"]["rlhf"] += " More."
    write_json(path, content)
    run, _, session = opened("human_eval.source=widget")
    assert human_eval.write_comparisons(run, session) == []


def test_who_also_labelled_for_training_is_said(project, monkeypatch):
    same = ("label_human.source=widget", "label_human.annotator=ada", "human_eval.annotator=ada")
    compare(at_the_screen(monkeypatch, *same)[2])
    run, _, session = opened("human_eval.source=widget", *same)
    human_eval.write_comparisons(run, session)
    assert "also labelled for training" in run.warnings[-1]


def test_comparisons_come_from_a_file_whichever_way_they_were_collected(project):
    run, _, session = opened()
    made = human_eval.comparisons(run, session)
    write_jsonl(project / "given.jsonl", map(labeled_row, made[:40]))
    run, _, session = opened("human_eval.source=file", "human_eval.path=given.jsonl")
    again = human_eval.write_comparisons(run, session)
    assert {label.pair.pair_id: label.label for label in again} == {
        label.pair.pair_id: label.label for label in made[:40]}
    assert "10 of 50 comparisons are not answered yet" in run.warnings[-1]


def test_a_file_of_other_comparisons_is_named_and_not_used(project):
    run, _, session = opened()
    made = human_eval.comparisons(run, session)
    write_jsonl(project / "given.jsonl", map(labeled_row, made))
    run, _, session = opened("human_eval.source=file", "human_eval.path=given.jsonl",
                             "human_eval.comparisons=30")
    assert len(human_eval.write_comparisons(run, session)) == 30
    assert "20 comparisons of given.jsonl are not among those that were drawn" in " ".join(
        run.warnings)


def test_the_plan_says_what_fifty_comparisons_are_worth(project):
    run, _, _ = opened()
    plan = human_eval.plan(run, human_eval.read_evaluation(run))
    assert plan.index.tolist() == [30, 50, 58]
    assert plan.loc[50, "minutes of a person"] == 60 and 0.09 < plan.loc[50, "interval ±"] < 0.13


def test_the_report_puts_people_first_and_says_that_they_are_simulated(project):
    run, _, session = opened()
    human_eval.write_comparisons(run, session)
    run.finish(planned=50, done=50)
    result = analysed()
    banner, first, *rest = result["answer"]["sentences"]
    assert banner.startswith("STAND-INS")
    assert first.startswith("By simulated people (a stand-in), rlaif_rlhf is preferred to rlhf on")
    assert "By the stand-ins, the model with the warm-up came out ahead" in " ".join(rest)
    assert result["answer"]["verdict"] == result["people"]["verdict"]


def test_a_file_whose_sides_are_exchanged_says_the_same_of_the_models(project):
    run, _, session = opened()
    made = human_eval.comparisons(run, session)
    rows = [labeled_row(label.swapped()) for label in made]
    write_jsonl(project / "given.jsonl", rows)
    run, _, session = opened("human_eval.source=file", "human_eval.path=given.jsonl")
    again = human_eval.write_comparisons(run, session)
    assert {label.pair.pair_id: label.label for label in again} == {
        label.pair.pair_id: label.label for label in made}


def test_a_file_that_compares_a_prompt_twice_is_refused_with_its_line(project):
    run, _, session = opened()
    rows = [labeled_row(label) for label in human_eval.comparisons(run, session)]
    write_jsonl(project / "given.jsonl", [*rows, rows[0]])
    with pytest.raises(DataError, match=r"given\.jsonl:51: .* is labelled a second time"):
        opened("human_eval.source=file", "human_eval.path=given.jsonl")


def test_it_says_of_how_many_prompts_comparisons_were_drawn_and_why_of_no_more(project):
    run, pairs, _ = opened()
    said = human_eval.where_from(run, human_eval.read_evaluation(run), pairs)
    assert said.splitlines() == ["50 comparisons, drawn from 58 of 60 prompts.",
                                 "To 2 prompts the models gave the same text: a tie for everybody."]


def test_a_few_repeats_are_said_to_say_little(project):
    _, _, session = opened()
    assert human_eval.steadiness(session).endswith("fewer than 30 say little.")
    _, _, ranked = opened("human_eval.kind=ranking")
    assert human_eval.steadiness(ranked) is None
