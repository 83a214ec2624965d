"""Notebook 05b with `human_eval.kind=ranking`, and what 06 makes of it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from persuasion_lib import analysis, human_eval
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.rankings import Ranking, comparison_row, parse_comparison
from persuasion_lib.core.rehearsal import stand_ins
from persuasion_lib.core.stage import start
from persuasion_lib.core.store import write_json, write_jsonl
from persuasion_lib.reporting import report
from persuasion_lib.reporting.human_reply import against_people, sentence
from persuasion_lib.reporting.people import of_people
from persuasion_lib.stats.plain import plain
from worlds.labeling_pool import make_demo
from worlds.synthetic_evaluation import evaluated, make_evaluation

RANKING = "human_eval.kind=ranking"
PAIR = ("rlaif_rlhf", "rlhf")
OPTIONS = {"confidence": 0.95, "n_resamples": 99, "seed": 0}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose 05 wrote 60 examples; on two of them all models say the same."""
    monkeypatch.chdir(make_demo(tmp_path))
    monkeypatch.setenv("PERSUASION_BATCH", "1")
    content = make_evaluation(60)
    for row in content["per_example"][:2]:
        row["responses"] = dict.fromkeys(row["responses"], "The same.")
    write_json(tmp_path / "results/demo/final_evaluation.json", content)
    return tmp_path


def opened(*overrides):
    run = start("human_eval", "demo", [RANKING, *overrides])
    asked = human_eval.drawn(run, human_eval.read_evaluation(run))
    return run, asked, human_eval.open_session(run, asked)


def finished(*overrides):
    run, asked, session = opened(*overrides)
    made = human_eval.write_comparisons(run, session)
    run.finish(planned=len(asked), done=len(made), ties=human_eval.ties(made))
    return made


def analysed(*overrides):
    run = start("analysis", "demo", [RANKING, *overrides, "analysis.resamples=99"])
    return analysis.analyse(run, analysis.read_evaluation(run))


def evaluation(*overrides):
    return analysis.read_evaluation(start("analysis", "demo", [RANKING, *overrides]))


def rows_by_truth(project, count):
    """A person's rankings by the gold utility, as rows of a file."""
    rows = json.loads((project / "results/demo/final_evaluation.json").read_text())["per_example"]
    made = []
    for row in rows[2:2 + count]:
        worth = row["gold_utility"]
        ranks = {model: 1.0 + sum(other > own for other in worth.values())
                 for model, own in worth.items()}
        prompt = [{"role": "user", "content": row["prompt"]}]
        made.append(Ranking(row["example_id"], prompt, row["responses"], ranks, "ada"))
    return list(map(comparison_row, made))


def by_truth(project, count):
    write_jsonl(project / "given.jsonl", rows_by_truth(project, count))
    return "human_eval.source=file", "human_eval.path=given.jsonl", "human_eval.comparisons=58"


def test_prompts_on_which_all_say_the_same_are_not_asked(project):
    _, asked, session = opened("human_eval.comparisons=100")
    assert len(asked) == len(session.pool) == 58


def test_a_simulated_person_ranks_everything_and_some_prompts_twice(project):
    made = finished()
    assert len(made) == 50 and sum(one.again is not None for one in made) == 7


def test_the_report_has_the_declared_pair_first_and_then_all_models(project):
    finished(*by_truth(project, 58))
    result = analysed(*by_truth(project, 58))
    assert result["people"]["n_human"] == 58 and result["people"]["verdict"] == "helped"
    text = report.as_text(result)
    assert "By people, rlaif_rlhf is preferred to rlhf" in " ".join(text.split())
    ranked = result["people"]["ranked"]
    assert ranked["n"] == 58 and ranked["status"] == "ok"
    best = max(ranked["models"], key=lambda row: row["score"])
    assert best["model"] == "rlaif_rlhf" and "All models by people" in text


def test_scores_by_people_are_those_of_their_ranks_moved_by_the_judge(project):
    finished(*by_truth(project, 58))
    for row in analysed(*by_truth(project, 58))["people"]["ranked"]["models"]:
        assert 0 <= row["score"] <= 1 and 1 <= row["rank_low"] <= row["rank_high"] <= 5


def test_below_thirty_rankings_there_is_no_verdict_and_below_ten_no_estimate(project):
    finished(*by_truth(project, 20))
    found = analysed(*by_truth(project, 20))["people"]
    assert found["ranked"]["status"] == "too_few" and found["verdict"].startswith("none")
    finished(*by_truth(project, 9))
    assert analysed(*by_truth(project, 9))["people"]["ranked"]["status"] == "n<10"


def test_rankings_of_two_people_count_as_their_mean(project):
    given = by_truth(project, 40)
    finished(*given)
    result = analysed(*given)
    path = project / "results/demo/human_comparisons.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    others = [row | {"ranks": {model: 6 - rank for model, rank in row["ranks"].items()},
                     "metadata": {**row["metadata"], "grader": "bob"}} for row in rows]
    found = of_people(evaluation(*given), [parse_comparison(row) for row in rows + others], PAIR,
                      OPTIONS)
    assert found["ranked"]["n"] == result["people"]["ranked"]["n"] == 40
    assert np.allclose([row["score"] for row in found["ranked"]["models"]], 0.5)


def test_a_ranking_of_older_replies_is_left_out_and_counted(project):
    given = by_truth(project, 58)
    finished(*given)
    path = project / "results/demo/human_comparisons.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows[:5]:
        row["responses"]["rlhf"] += " More."
    found = of_people(evaluation(*given), [parse_comparison(row) for row in rows], PAIR, OPTIONS)
    assert found["ranked"]["n"] == found["n_human"] == 53
    assert found["not_used"] == {"the texts are not those of this evaluation": 5}


def test_headless_without_a_person_it_goes_on_with_one_sentence(project):
    run, _, session = opened("human_eval.source=widget")
    assert "50 are missing" in human_eval.view(run, session)
    assert human_eval.write_comparisons(run, session) == []
    assert [text for text in run.warnings if "No person compared" in text]


def test_a_persons_log_is_read_by_a_batch_run(project, monkeypatch):
    monkeypatch.delenv("PERSUASION_BATCH")
    _, _, owner = opened("human_eval.source=widget")
    for _ in range(12):
        slots = [[slot] for slot in range(len(owner.current.groups))]
        owner.rank(owner.token(owner.current), slots, 30.0)
    monkeypatch.setenv("PERSUASION_BATCH", "1")
    run, _, session = opened("human_eval.source=widget")
    assert 11 <= len(human_eval.write_comparisons(run, session)) <= 12
    assert "ranking_events" in run.inputs
    assert owner.undo()                         # still the owner


def test_a_prompt_ranked_twice_in_a_file_is_refused_with_its_line(project):
    given = by_truth(project, 10)
    lines = (project / "given.jsonl").read_text().splitlines()
    (project / "given.jsonl").write_text("\n".join([*lines, lines[0]]))
    with pytest.raises(DataError, match=r"given\.jsonl:11: .* is ranked a second time"):
        opened(*given)


def test_comparisons_of_two_in_the_place_of_rankings_are_refused_with_their_line(project):
    write_jsonl(project / "given.jsonl", [{
        "prompt": "[SYSTEM] a [CONTEXT] b [TASK] c [RESPONSE]", "chosen": "x", "rejected": "y",
        "metadata": {"preference": "1"}}])
    with pytest.raises(DataError, match=r"given\.jsonl:1: a comparison of two replies"):
        opened("human_eval.source=file", "human_eval.path=given.jsonl")


def test_a_file_by_a_stand_in_makes_simulated_people(project, monkeypatch):
    finished()
    (project / "given.jsonl").write_bytes(
        (project / "results/demo/human_comparisons.jsonl").read_bytes())
    run = start("human_eval", "demo", [RANKING, "human_eval.source=file",
                                       "human_eval.path=given.jsonl"])
    assert "people who compare" in stand_ins(run.config)


def test_the_plan_counts_the_minutes_of_five_replies(project):
    run, _, _ = opened()
    plan = human_eval.plan(run, human_eval.read_evaluation(run))
    assert plan.loc[50, "minutes of a person"] == 150


# ---- the person's own reply among the models'

def with_person(project, place, *, absent=0):
    """A person's reply at a place of the judge's rankings (0 is best), but of the last prompts."""
    path = project / "results/demo/final_evaluation.json"
    content = json.loads(path.read_text())
    for row in content["per_example"][:60 - absent]:
        row["human_response"] = f"What a person wrote to {row['example_id']}."
        for call in row["judgments"]:
            call["ranking"].insert(place, "human")
            call["position_map"]["F"] = "human"
    write_json(path, content)


def test_the_persons_own_reply_is_ranked_with_the_models_where_the_judge_ranked_it(project):
    with_person(project, 5, absent=20)
    _, asked, session = opened("human_eval.comparisons=58")
    assert sum("human" in one.replies for one in asked) == 38      # two of 40 are all the same
    assert {len(one.replies) for one in asked} == {5, 6}
    assert all("human" not in item.names for item in session.items)


def now(project):
    """The evaluation as it stands in the file."""
    return evaluated(json.loads((project / "results/demo/final_evaluation.json").read_text()))


def test_people_say_how_often_a_model_is_above_the_person_whatever_the_judge_says(project):
    with_person(project, 5)                         # the judge has the person last, always
    _, asked, _ = opened("human_eval.comparisons=58")
    # The first model is above the person on every second prompt, the others never are.
    first, *others = list(asked[0].replies)[:5]
    made = []
    for number, one in enumerate(asked):
        order = [first, "human", *others] if number % 2 else ["human", first, *others]
        ranks = {name: float(at) for at, name in enumerate(order, start=1)}
        made.append(replace(one, ranks=ranks, labeled_by="ada"))
    found = against_people(now(project), made, OPTIONS)
    rows = {row["model"]: row for row in found["table"]}
    half = rows[first]["by_people"]
    assert rows[first]["mean"] == 1 and half["estimate"] == 0.5 and half["n_human"] == 58
    assert 0.36 < half["ci_low"] < half["ci_high"] < 0.64
    assert all(rows[model]["by_people"]["estimate"] == 0 for model in others)
    said = sentence({"against_people": plain(found), "primary": (first, others[0])})
    assert said.startswith("Against what people really wrote, ranked blind with the models: base "
                           "is above the person on 50% [")
    assert "of prompts by people (58 rankings), on 100% [" in said


def test_the_persons_place_moves_no_models_score_by_people(project):
    given = [parse_comparison(row) for row in rows_by_truth(project, 40)]
    before = of_people(now(project), given, PAIR, OPTIONS)["ranked"]
    with_person(project, 0)
    six = [replace(one, replies={**one.replies, "human": now(project).rows[at].persons_reply},
                   ranks={model: rank + 1 for model, rank in one.ranks.items()} | {"human": 1.0})
           for at, one in enumerate(given, start=2)]
    assert of_people(now(project), six, PAIR, OPTIONS)["ranked"] == before
    # Rankings from before the person took part count for the models, and for nothing else.
    assert of_people(now(project), given, PAIR, OPTIONS)["ranked"] == before
    assert against_people(now(project), given, OPTIONS)["rankings"] == 0


def test_one_ranking_by_a_stand_in_is_no_interval_and_is_called_what_it_is(project):
    with_person(project, 0)
    _, asked, _ = opened()
    ranks = {name: float(at) for at, name in enumerate(asked[0].replies, start=1)}
    made = [replace(asked[0], ranks=ranks, labeled_by="simulated annotator")]
    said = sentence({"against_people": plain(against_people(now(project), made, OPTIONS)),
                     "primary": PAIR})
    assert "by simulated people (a stand-in) (1 rankings, fewer than 30 decide nothing)" in said


def test_a_person_who_shares_a_place_and_a_repeat_is_struck_out_of_both():
    one = Ranking("e", [], {"x": "1", "y": "2", "human": "3"}, {"x": 1.5, "human": 1.5, "y": 3.0},
                  again={"human": 1.0, "x": 2.5, "y": 2.5})
    assert one.among(["x", "y"]).ranks == {"x": 1.0, "y": 2.0}
    assert one.among(["x", "y"]).again == {"x": 1.5, "y": 1.5}
