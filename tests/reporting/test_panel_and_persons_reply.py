"""Several judges side by side, a person among the models, prompts for the judge alone."""

import copy

import numpy as np
import pytest

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.records import LabeledPair, Pair
from persuasion_lib.reporting import human_reply, panel, report
from persuasion_lib.reporting.evaluated import tabulated
from persuasion_lib.reporting.evaluation_file import parse
from persuasion_lib.reporting.people import judge_says, known_of, of_people
from persuasion_lib.reporting.setup import Setup
from persuasion_lib.reporting.tables import counts
from persuasion_lib.reporting.verdict import status_of
from persuasion_lib.stats.plain import plain as plain_json
from worlds.synthetic_evaluation import analysed, evaluated, make_evaluation

OPTIONS = {"confidence": 0.95, "n_resamples": 299, "seed": 0}
PAIR = ("rlaif_rlhf", "rlhf")


def with_panel(evaluation, turned=False, unread=0):
    """A second judge that says what the first does, or the opposite; silent on the first."""
    evaluation = copy.deepcopy(evaluation)
    evaluation["config"] |= {"panel": {"offline": "offline/stand-in", "other": "other/model"},
                             "asked_models": {"labeller": "other/model"}}
    for number, row in enumerate(evaluation["per_example"]):
        calls = copy.deepcopy(row["judgments"])
        for call in calls:
            call["ranking"] = call["ranking"][::-1] if turned else call["ranking"]
            call["ranking"] = [] if number < unread else call["ranking"]
        row["panel"] = {"other": calls}
    return evaluation


def with_person(evaluation, place, without=0):
    """A person's reply at a place of every ranking (0 is best), but of the last prompts."""
    evaluation = copy.deepcopy(evaluation)
    rows = evaluation["per_example"]
    evaluation["config"]["human_reply"] = {"left_out": {"no person replied": without}}
    for row in rows[:len(rows) - without]:
        row["human_response"] = "What a person wrote."
        for call in row["judgments"]:
            call["ranking"].insert(place, "human")
            call["position_map"]["F"] = "human"
    return evaluation


@pytest.fixture(scope="module")
def plain():
    return make_evaluation(60)


@pytest.fixture(scope="module")
def plain_result(plain):
    return analysed(plain)


@pytest.fixture(scope="module")
def both_result(plain):
    """A panel of two who say the opposite, and a person in the third place."""
    return analysed(with_panel(with_person(plain, 2), turned=True))


def panel_of(evaluation, **options):
    return panel.of_panel(evaluated(evaluation), PAIR, 0.05, OPTIONS,
                          **{"may_decide": True, **options})


def said(found):
    return "\n".join(panel.sentences({"panel": plain_json(found), "primary": PAIR}))


def against(evaluation):
    return human_reply.against_people(evaluated(evaluation), [], OPTIONS)


def text_of(part):
    return " ".join([*part.lines, part.table.to_string()])


def first_part(result):
    return "\n".join(report.parts(result)["answer"].lines)


# ---- a panel

def test_without_panel_and_person_the_report_has_no_word_of_them(plain_result):
    assert plain_result["panel"] is plain_result["against_people"] is None
    assert not {"panel", "against people"} & set(report.parts(plain_result))
    assert "panel" not in first_part(plain_result)


def test_a_second_judge_of_the_same_mind_agrees_on_every_prompt(plain):
    found = panel_of(with_panel(plain))
    pair, = found["pairs"]
    assert (pair["same"], pair["tau"], pair["n"]) == (1, 1, 60)
    one, two = found["judges"]
    assert one["scores"].equals(two["scores"]) and one["verdict"] == two["verdict"] == "helped"
    assert "The panel agrees" in said(found)


def test_the_first_judge_decides_and_a_panel_that_disagrees_is_said_first(plain_result,
                                                                          both_result):
    assert both_result["answer"] == plain_result["answer"]
    assert plain_result["answer"]["verdict"] == "helped"
    text = first_part(both_result)
    assert "THE PANEL DISAGREES" in text and "other: harmed" in text
    assert "the panel disagrees" in {row["check"] for row in both_result["checks"]
                                     if row["state"] == "warn"}


def test_one_judge_that_says_yes_and_one_that_cannot_tell_disagree(plain):
    evaluation = with_panel(plain)
    for row in evaluation["per_example"][::2]:
        for call in row["panel"]["other"]:
            call["ranking"].reverse()
    found = panel_of(evaluation)
    assert [judge["verdict"] for judge in found["judges"]] == ["helped", "no difference detected"]
    assert "THE PANEL DISAGREES" in said(found)


def test_the_judge_that_labelled_and_judges_is_named(plain):
    assert "The judge that labelled also judges (other, other/model)" in said(
        panel_of(with_panel(plain)))


def test_a_trial_and_a_rehearsal_have_no_verdict_of_any_judge(plain):
    text = said(panel_of(with_panel(plain, turned=True), may_decide=False))
    assert "The panel has no verdict" in text and "harmed" not in text


def test_a_judge_that_refuses_some_prompts_is_compared_on_the_others(plain):
    found = panel_of(with_panel(plain, unread=18))          # 30 %
    pair, = found["pairs"]
    assert pair["n"] == 42 and found["judges"][1]["unread"] == 36
    assert "other (n = 42, 36 unread)" in text_of(panel.part(plain_json({"panel": found})))


def test_a_judge_that_answered_nothing_is_in_the_table_without_a_verdict(plain):
    found = panel_of(with_panel(plain, unread=60))
    assert found["judges"][1]["verdict"] == "none"
    assert "Of the panel, other read too few rankings for a verdict" in said(found)
    assert "other (n = 0" in text_of(panel.part(plain_json({"panel": found})))


def test_a_stand_in_in_a_panel_beside_a_real_model_makes_a_rehearsal():
    setup = Setup(judge="other", base_model="some/model",
                  panel={"other": "other/model", "offline": "offline/stand-in"})
    assert status_of(setup, 115) == "rehearsal"
    assert setup.stand_ins() == {"judge": "one judge of the panel"}


# ---- a person's reply

def test_a_person_who_is_always_best_is_beaten_on_no_prompt(plain):
    table = against(with_person(plain, 0))["table"]
    assert {row["mean"] for row in table} == {0} and {row["loss"] for row in table} == {60}
    assert all(row["ci_high"] < 0.1 for row in table)       # Wilson of 0 of 60


def test_a_person_who_is_always_last_is_beaten_on_every_prompt(plain):
    assert {row["mean"] for row in against(with_person(plain, 5))["table"]} == {1}


def test_the_persons_place_is_struck_out_of_everything_else(plain_result, both_result):
    for name in ("scores", "pairs", "wins", "primary_test", "strengths", "position", "criteria",
                 "models", "counts", "consistency", "judge", "quality", "similarity", "length"):
        assert both_result[name] == plain_result[name], name
    # A person descends from no SFT, and their similarity to anything is not scored.
    checks = [row for row in both_result["checks"] if row["check"] != "the panel disagrees"]
    assert checks == plain_result["checks"]
    assert "Against what people really wrote" in first_part(both_result)


def test_prompts_without_a_persons_reply_are_left_out_and_counted(plain):
    found = against(with_person(plain, 0, without=10))
    assert found["n"] == 50 and found["without"] == 10
    text = text_of(human_reply.part({"against_people": plain_json(found)}))
    assert "10 prompts are left out of this table (10: no person replied)" in text


def test_a_prompt_with_the_person_in_one_order_only_is_refused(plain):
    evaluation = with_person(plain, 0)
    evaluation["per_example"][7]["judgments"][1]["ranking"].remove("human")
    with pytest.raises(DataError, match="e00007.*ranked in one order"):
        evaluated(evaluation)


def test_a_file_from_elsewhere_that_has_the_person_among_its_replies_is_read_the_same(plain):
    evaluation = copy.deepcopy(plain)
    for row in evaluation["per_example"]:
        row["responses"]["human"] = "What a person wrote."
        del row["judgments"]
        row["grader_scores"] = {**row["grader_scores"], "human": -1.0}
    evaluation["summary"]["models_evaluated"].append("human")
    assert "human" not in evaluated(evaluation).models
    assert {row["mean"] for row in against(evaluation)["table"]} == {1}


# ---- prompts for the judge alone

def judge_only(evaluation, first):
    evaluation = copy.deepcopy(evaluation)
    for row in evaluation["per_example"][first:]:
        row["judge_only"] = True
    return evaluation


def compared(data, count):
    """A person's comparisons of the first prompts, by the truth."""
    labels = []
    for row in data.rows[:count]:
        label = "a" if row.gold_utility[PAIR[0]] > row.gold_utility[PAIR[1]] else "b"
        pair = Pair(row.example_id, [{"role": "user", "content": row.prompt}],
                    *(row.responses[model] for model in PAIR),
                    {"example_id": row.example_id, "models": list(PAIR)})
        labels.append(LabeledPair(pair, label, "human"))
    return labels


def test_prompts_for_the_judge_alone_are_in_no_table(plain):
    few = {**plain, "per_example": plain["per_example"][:40]}
    many, less = evaluated(judge_only(plain, 40)), evaluated(few)
    assert [row.example_id for row in many.rows] == [row.example_id for row in less.rows]
    for name in ("read", "ranks", "calls", "slots"):
        assert getattr(many, name).equals(getattr(less, name)), name
    assert many.asked == less.asked and many.lengths().equals(less.lengths())
    assert counts(many, many.ranks, 40)["judge_only"] == 20


def test_prompts_for_the_judge_alone_narrow_what_people_say():
    whole = judge_only(make_evaluation(600), 115)
    labels = compared(evaluated(whole), 50)
    few = of_people(evaluated({**whole, "per_example": whole["per_example"][:115]}), labels, PAIR,
                    OPTIONS)
    many = of_people(evaluated(whole), labels, PAIR, OPTIONS)
    assert (few["n_judged"], many["n_judged"]) == (115, 600)
    assert many["labels_worth"] > few["labels_worth"]


def test_what_the_judge_says_by_itself_is_of_the_prompts_of_the_tables():
    whole = judge_only(make_evaluation(300), 100)
    data = evaluated(whole)
    found = of_people(data, compared(data, 50), PAIR, OPTIONS)
    few = evaluated({**whole, "per_example": whole["per_example"][:100]})
    assert found["judge_alone"] == known_of(few, PAIR)["judge"].mean()
    assert found["judge_alone"] != known_of(tabulated(data.file, judge_only=True),
                                            PAIR)["judge"].mean()
    assert "on the 100 prompts of the tables" in judge_says(found)
    assert "prompts" not in judge_says(of_people(few, compared(few, 50), PAIR, OPTIONS))


def test_a_file_with_nothing_but_prompts_for_the_judge_alone_is_refused(plain):
    with pytest.raises(DataError, match="every example of the evaluation is judge_only"):
        parse(judge_only(plain, 0))


def test_every_judge_of_a_panel_helps_people_and_silence_is_for_neither(plain):
    data = evaluated(with_panel(make_evaluation(115), unread=30))
    found = of_people(data, compared(data, 50), PAIR, OPTIONS)
    assert list(found["slopes"]) == ["judge", "judge other", "ranks", "length"]
    assert found["n_human"] == 50 and found["slopes"]["judge other"] != 0


def test_few_comparisons_use_the_first_judges_only():
    evaluation = with_panel(make_evaluation(115))
    for row in evaluation["per_example"]:
        row["panel"] |= {f"judge{n}": row["panel"]["other"] for n in range(3)}
    data = evaluated(evaluation)
    rng = np.random.default_rng(1)
    for row in data.file.per_example:       # judges who are not all one
        for calls in row.panel.values():
            for call in calls:
                call.ranking = [str(model) for model in rng.permutation(call.ranking)]
    found = of_people(tabulated(data.file), compared(data, 30), PAIR, OPTIONS)
    assert len(found["slopes"]) == 5 and list(found["slopes"].values())[3:] == [0, 0]
