"""What a report says of people's comparisons of the final replies."""

from dataclasses import replace

import numpy as np
import pytest

from persuasion_lib import analysis
from persuasion_lib.core.config import load_config
from persuasion_lib.core.records import LabeledPair, Pair
from persuasion_lib.reporting.evaluated import tabulated
from persuasion_lib.reporting.evaluation_file import parse
from persuasion_lib.reporting.people import known_of, of_people, same_texts, sentences
from worlds.synthetic_evaluation import make_evaluation

PAIR = ("rlaif_rlhf", "rlhf")
OPTIONS = {"confidence": 0.95, "n_resamples": 299, "seed": 0}


def evaluation(n=115, change=None, **how):
    content = make_evaluation(n, **how)
    for row in content["per_example"] if change else ():
        change(row)
    return tabulated(parse(content))


def compared(data, count=50, models=PAIR, says=None, again=0):
    """A person's comparisons of the first prompts: by the truth, or always `says`."""
    labels = []
    for number, row in enumerate(data.rows[:count]):
        gap = row.gold_utility[models[0]] - row.gold_utility[models[1]]
        label = says or ("tie" if abs(gap) < 0.2 else "a" if gap > 0 else "b")
        pair = Pair(row.example_id, [{"role": "user", "content": row.prompt}],
                    row.responses[models[0]], row.responses[models[1]],
                    {"example_id": row.example_id, "models": list(models)})
        labels.append(LabeledPair(pair, label, "human", again=label if number < again else None))
    return labels


@pytest.fixture(scope="module")
def data():
    return evaluation()


def said(result, *, simulated=False):
    return sentences({**result, "simulated": simulated}, result["verdict"],
                     stand_ins=simulated)[0]


def found(data, labels, primary=PAIR):
    return of_people(data, labels, primary, OPTIONS)


def test_without_a_comparison_there_is_nothing_to_say(data):
    assert found(data, []) is None
    assert found(data, compared(data), ("rlaif_rlhf", "absent")) is None


def test_the_judges_score_of_a_prompt_is_the_share_of_its_rankings_with_the_first_above(data):
    known = known_of(data, PAIR)
    assert set(known.judge) <= {0, 0.5, 1} and len(known) == 115
    row = data.rows[0]
    above = [call.ranking.index(PAIR[0]) < call.ranking.index(PAIR[1]) for call in row.judgments]
    assert known.judge[row.example_id] == np.mean(above)


def test_people_and_judge_together_say_more_than_people_alone(data):
    result = found(data, compared(data))
    assert result["n_human"] == 50 and result["n_judged"] == 115
    assert result["labels_worth"] > 55
    assert result["ci_low"] < result["estimate"] < result["ci_high"]


def test_people_who_say_the_opposite_of_the_judge_decide(data):
    result = found(data, compared(data, says="b"))
    assert result["verdict"] == "harmed" and result["judge_alone"] > 0.6
    assert result["judge_bias"] > 0.5


def test_comparisons_stored_the_other_way_round_say_the_same(data):
    turned = [label.swapped() for label in compared(data)]
    for label in turned:
        label.pair.metadata["models"] = list(reversed(PAIR))
    one, two = found(data, compared(data)), found(data, turned)
    assert one["estimate"] == two["estimate"] and one["ci_low"] == two["ci_low"]


def test_the_declared_pair_turned_round_turns_the_estimate(data):
    one = found(data, compared(data))
    two = found(data, compared(data), tuple(reversed(PAIR)))
    assert two["estimate"] == pytest.approx(1 - one["estimate"])


def test_below_thirty_comparisons_there_is_no_verdict(data):
    few = found(data, compared(data, 29))
    assert few["verdict"] == "none: fewer than 30 comparisons"
    assert said(few).startswith("No verdict: fewer than 30")


def test_one_comparison_is_no_interval(data):
    assert "1 comparison was given" in said(found(data, compared(data, 1)))


def test_comparisons_of_other_models_or_of_older_texts_are_left_out_and_counted(data):
    labels = compared(data)
    other = compared(data, 3, models=("rlaif", "sft"))
    old = compared(data, 2)
    old = [LabeledPair(Pair(label.pair.pair_id, label.pair.prompt, "An older text.",
                            label.pair.response_b, label.pair.metadata), "a", "human")
           for label in old]
    result = found(data, [*labels[2:], *other, *old])
    assert result["n_human"] == 48
    assert result["not_used"] == {"they compare other models": 3,
                                  "the texts are not those of this evaluation": 2}


def test_a_prompt_that_the_judge_did_not_read_is_left_out_and_counted():
    data = evaluation(60, unscored=5)
    result = found(data, compared(data, 60))
    assert result["n_human"] == result["n_judged"] == 55
    assert result["not_used"] == {"the judge's ranking of the prompt is missing": 5}


def test_identical_replies_count_as_ties_and_are_not_asked():
    def same(row):
        if row["example_id"] < "e00020":
            row["responses"]["rlhf"] = row["responses"]["rlaif_rlhf"] + " "
    data = evaluation(change=same)
    assert len(same_texts(data, PAIR)) == 20
    result = found(data, compared(data, 70)[20:])
    assert result["n_identical"] == 20 and result["n_judged"] == 115 and result["n_human"] == 50


def test_the_mean_of_two_people_who_disagree_is_a_half(data):
    both = compared(data, 40, says="a") + compared(data, 40, says="b")
    result = found(data, both)
    assert result["n_human"] == 40 and result["estimate"] == pytest.approx(0.5, abs=0.02)


def test_how_steady_people_are_is_counted_from_repeats(data):
    steady = found(data, compared(data, again=8))["steady"]
    assert steady["n"] == 8 and steady["raw"] == 1


def test_the_answer_comes_first_then_what_it_rests_on_then_the_judges_taste(data):
    result = {**found(data, compared(data)), "simulated": False}
    first, rests, taste = sentences(result, result["verdict"], stand_ins=False)
    assert first.startswith("Yes, the warm-up helped. By people, rlaif_rlhf is preferred to rlhf")
    assert rests == ("That rests on 50 comparisons; the judge's verdicts on 115 prompts make it "
                     "sharper.")
    assert taste.startswith("The judge alone says")


def test_the_judges_taste_is_what_it_says_less_what_people_say_of_the_same_prompts(data):
    result = found(data, compared(data))
    same = result["on_same"]
    assert same["judge"] - same["people"] == pytest.approx(result["judge_bias"])


def test_simulated_people_are_called_so_in_the_same_line_and_nobody_is_told_yes(data):
    text = said(found(data, compared(data)), simulated=True)
    assert text.startswith("By simulated people (a stand-in), rlaif_rlhf")


def test_a_prompt_on_which_two_other_models_share_a_reply_counts_all_the_same():
    def share(row):
        row["responses"]["sft"] = row["responses"]["base"]
        for call in row["judgments"]:
            call["tied"] = [["base", "sft"]]

    data = evaluation(change=share)
    assert data.calls.empty and len(known_of(data, PAIR)) == 115
    assert found(data, compared(data))["n_judged"] == 115


def report_of(people, **how):
    """The verdict and first sentences of a report whose comparisons are those of `people`."""
    file = make_evaluation(115, **how)
    file["config"]["base_model"] = "some/model"
    for role in ("judge", "oracle", "labeller", "embedder"):
        file["config"][role] = "anthropic"
    file["config"]["source"] = "jsonl"
    data = tabulated(parse(file))
    settings = load_config("demo", ["analysis.resamples=99"]).analysis
    return analysis.statistics(data, settings, seed=0, comparisons=people(data))


def by(name):
    return lambda data: [replace(label, labeled_by=name) for label in compared(data)]


def test_people_decide_although_the_judge_is_broken():
    result = report_of(by("ada"), judge="first")
    assert result["judge"]["kind"] == "always-first"
    assert result["answer"]["verdict"] == result["people"]["verdict"] == "helped"


def test_simulated_people_beside_a_real_model_are_a_rehearsal_without_a_verdict():
    result = report_of(by("simulated annotator (stand-in)"))
    assert result["answer"]["verdict"] == "none: rehearsal"


def test_no_people_make_a_trial_a_verdict():
    assert report_of(by("ada"), trial=True)["answer"]["verdict"] == "none: trial"
