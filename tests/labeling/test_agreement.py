"""Planted judges against a known annotator, on the pairs of one pool."""

from dataclasses import replace

import numpy as np
import pytest

from persuasion_lib.core.records import LabeledPair, labeled_row, parse_labeled
from persuasion_lib.labeling import agreement
from persuasion_lib.labeling.agreement import judge_against_annotator
from worlds.labeling_pool import make_pairs

N = 200
ANNOTATOR = ["a", "b", "a", "b", "tie"] * (N // 5)


def labeled(labels, by="human", *, again=None, verdicts=None, flip=()):
    """The pairs of the pool as somebody labelled them."""
    extra = [{"verdicts": verdicts} if verdicts else {} for _ in labels]
    return [LabeledPair(replace(pair, metadata={**extra[i], "flip": i in flip}), label, by,
                        "because", (again or {}).get(i))
            for i, (pair, label) in enumerate(zip(make_pairs(len(labels)), labels, strict=True))]


def compared(judge, human=ANNOTATOR, *, again=None, **options):
    return judge_against_annotator(labeled(judge, "judge", **options), labeled(human, again=again))


def coin(values, seed=0):
    return [str(x) for x in np.random.default_rng(seed).choice(values, N)]


def test_a_judge_that_always_agrees_has_kappa_1():
    result = compared(ANNOTATOR)
    assert result["with_ties"]["raw"] == result["with_ties"]["kappa"] == 1
    assert result["smoothing"]["rate"] == 0
    assert result["with_ties"]["majority_baseline"] == 0.4


def test_a_coin_has_a_kappa_about_0_and_an_alarm():
    result = compared(coin(["a", "b", "tie"]))
    kappa = result["with_ties"]
    assert kappa["kappa_low"] < 0 < kappa["kappa_high"] and abs(kappa["kappa"]) < 0.15
    assert "no better than chance" in " ".join(agreement.sentences(result))


def test_a_judge_that_always_says_first_agrees_by_chance_and_is_called_so():
    """In both orders its two verdicts contradict each other, so every label is a tie."""
    result = compared(["tie"] * N, verdicts={"12": "1", "21": "1"}, flip=range(N))
    assert result["with_ties"]["raw"] == 0.2 and result["with_ties"]["kappa"] == 0
    assert result["decided"]["n"] == 0 and result["flips"] == N
    assert "shown first in 100%" in result["alarms"][0] and "chance" in result["alarms"][1]
    assert "nothing is suggested" in agreement.smoothing_note(result)


def test_labels_are_matched_by_response_and_not_by_slot():
    swapped = [p.swapped() for p in labeled(ANNOTATOR, "judge")]
    assert [p.label for p in swapped] != ANNOTATOR
    assert judge_against_annotator(swapped, labeled(ANNOTATOR))["with_ties"]["kappa"] == 1


def test_a_label_of_another_text_with_the_same_id_does_not_count():
    judge = labeled(ANNOTATOR, "judge")
    judge[0] = replace(judge[0], pair=replace(judge[0].pair, response_a="edited since"))
    assert judge_against_annotator(judge, labeled(ANNOTATOR))["both"] == N - 1


def test_pairs_that_one_of_them_did_not_label_are_missing_never_a_tie():
    result = judge_against_annotator(labeled(ANNOTATOR[:50], "judge"), labeled(ANNOTATOR))
    assert (result["pairs"], result["both"], result["with_ties"]["n_null"]) == (N, 50, 150)
    assert result["with_ties"]["kappa"] == 1


def test_the_confusion_counts_the_annotator_in_rows():
    result = compared(["a"] * N)
    table = agreement.confusion(result)
    assert table.loc["reply 2", "reply 1"] == 80 and table.to_numpy().sum() == N


def test_the_smoothing_is_the_disagreement_on_decided_pairs():
    """16 of 160 decided pairs turned round: 10 %; ties say nothing about it."""
    judge = ["b" if x == "a" and i < 40 else x for i, x in enumerate(ANNOTATOR)]
    found = compared(judge)["smoothing"]
    assert (found["n"], found["rate"], found["suggestion"]) == (160, pytest.approx(0.1), 0.1)
    assert found["low"] < 0.1 < found["high"]
    assert "dpo.label_smoothing=0.1 would say so" in agreement.smoothing_note(compared(judge))


def test_two_raters_who_err_independently_share_the_disagreement():
    """Both wrong on 10 %: they disagree at .1 + .1 - 2(.01) = .18, each with themselves as well."""
    row = {"decided": {"n": 100, "raw": 0.82, "ci_low": 0.73, "ci_high": 0.88},
           "self": {"decided": {"n": 100, "raw": 0.82}}}
    found = agreement.implied_smoothing(row)
    assert found["annotator_error"] == pytest.approx(0.1)
    assert found["judge_error"] == pytest.approx(0.1) and found["suggestion"] == 0.18


def test_no_smoothing_is_suggested_where_the_judge_may_be_a_coin():
    assert compared(coin(["a", "b"]))["smoothing"]["suggestion"] is None


def test_the_ceiling_is_the_annotator_against_themselves():
    again = {i: ANNOTATOR[i] if i % 5 else "b" for i in range(40)}
    result = compared(ANNOTATOR, again=again)
    assert result["self"]["with_ties"]["n"] == 40 and result["self"]["with_ties"]["raw"] == 0.8
    assert result["acceptable"] is True
    assert "on 40 repeats" in " ".join(agreement.sentences(result))


def test_a_coin_is_not_acceptable_beside_a_steady_annotator():
    result = compared(coin(["a", "b"]), again=dict(enumerate(ANNOTATOR)))
    assert result["acceptable"] is False
    assert "stays below that" in " ".join(agreement.sentences(result))


def test_fewer_than_30_repeats_are_reported_and_judge_nothing():
    result = compared(ANNOTATOR, again={0: "a"})
    assert result["self"]["with_ties"]["n"] == 1 and result["acceptable"] is None


@pytest.mark.parametrize("judge", [[], ["a"] * 5])
def test_too_little_to_compare_says_so_and_alarms_nobody(judge):
    result = compared(judge)
    assert result["alarms"] == [] and result["smoothing"]["suggestion"] is None
    assert "not known" in agreement.sentences(result)[0] or "decide nothing" in " ".join(
        agreement.sentences(result))


def test_disagreements_show_both_choices():
    table = agreement.disagreement_examples(labeled(["b"] * 10, "judge"), labeled(["a"] * 10)).table
    assert len(table) == 3 and table["annotator's choice"][1] == make_pairs(1)[0].response_a


@pytest.mark.parametrize("again", ["a", "b", "tie"])
def test_a_second_label_of_the_annotator_survives_the_file_and_turns_with_the_pair(again):
    one = LabeledPair(make_pairs(1)[0], "a", "human", again=again)
    assert parse_labeled(labeled_row(one)).again == again
    assert one.swapped().swapped() == one
    assert one.swapped().again == {"a": "b", "b": "a", "tie": "tie"}[again]


def test_an_annotator_who_contradicts_themselves_is_no_yardstick_for_a_judge():
    """Seen: kappa of the repeats -.05 made any judge acceptable."""
    said = coin(["a", "b"])
    result = compared(coin(["b", "a"]), again={i: said[i] for i in range(60)})
    assert result["acceptable"] is None
    assert any("contradicts themselves like a coin" in alarm for alarm in result["alarms"])


def test_labels_that_are_the_judges_one_for_one_raise_the_question_of_a_copy():
    assert any("were the labels copied?" in alarm for alarm in compared(ANNOTATOR)["alarms"])
    nearly = ["tie" if i == 0 else label for i, label in enumerate(ANNOTATOR)]
    assert not any("copied" in alarm for alarm in compared(nearly)["alarms"])


def test_a_flip_is_a_tie_in_one_count_and_wrong_in_the_stricter_one():
    """Of ten pairs nine are the annotator's in both orders; the tenth is a flip on a tie."""
    human = ["a", "b"] * 4 + ["a", "tie"]
    shown = {"a": {"12": "1", "21": "2"}, "b": {"12": "2", "21": "1"},
             "tie": {"12": "1", "21": "1"}}
    judge = [replace(label, pair=replace(label.pair, metadata={"verdicts": shown[label.label]}))
             for label in labeled(human, "judge")]
    result = judge_against_annotator(judge, labeled(human))
    assert result["with_ties"]["raw"] == 1
    assert (result["both_orders"]["raw"], result["both_orders"]["n"]) == (0.9, 10)
    said = " ".join(agreement.sentences(result))
    assert "counts as a tie" in said and "right in both orders on 90% [" in said


def test_a_judge_that_was_asked_in_one_order_has_no_stricter_count():
    result = compared(ANNOTATOR, verdicts={"12": "1"})
    assert result["both_orders"]["n"] == 0
    assert "both orders" not in " ".join(agreement.sentences(result))


def test_labels_that_are_the_judges_turned_round_are_called_upside_down():
    turned = [{"a": "b", "b": "a"}.get(label, label) for label in ANNOTATOR]
    assert "read upside down" in " ".join(compared(turned)["alarms"])
    assert "upside down" not in " ".join(compared(coin(["a", "b"]))["alarms"])


@pytest.mark.parametrize("agreed, stopped", [(7, False), (5, True)])
def test_of_25_pairs_7_alike_are_chance_and_5_are_not(agreed, stopped):
    """A coin agrees with another on 7 of 25 or fewer in one case of 46, on 5 in one of 490."""
    human = ["a", "b"] * 12 + ["a"]
    judge = [label if at < agreed else {"a": "b", "b": "a"}[label]
             for at, label in enumerate(human)]
    assert ("upside down" in " ".join(compared(judge, human)["alarms"])) == stopped


def test_somebody_who_gives_one_answer_twice_does_not_contradict_themselves():
    again = dict.fromkeys(range(40), "a")
    result = compared(["a"] * N, ["a"] * N, again=again)
    assert "like a coin" not in " ".join(result["alarms"]) and result["acceptable"] is None


def test_kappa_in_numbers_is_the_formula_with_the_figures_of_the_run():
    # 0.8 agree; each rater gives a and b half of the time, so by chance 0.5: (0.8-0.5)/(1-0.5).
    judge = ["a"] * 80 + ["b"] * 20 + ["b"] * 80 + ["a"] * 20
    said = agreement.kappa_in_numbers(compared(judge, ["a"] * 100 + ["b"] * 100))
    assert said.endswith("(0.800 − 0.500) / (1 − 0.500) = 0.60")


def test_kappa_of_no_pair_is_said_to_be_undefined():
    assert "not defined" in agreement.kappa_in_numbers(judge_against_annotator([], labeled("ab")))


def test_the_noise_table_says_what_is_unknown():
    shares = agreement.noise_table(compared(coin(["a", "b"]))).table["share"]
    assert shares["wrong labels of the annotator"] == "unknown"
    assert shares["dpo.label_smoothing to match"] == "none"


def test_in_short_it_says_the_share_the_ceiling_and_every_alarm():
    judge = [LabeledPair(pair, "a", "judge") for pair in make_pairs(40)]
    human = [LabeledPair(pair, "ab"[i % 2], "human") for i, pair in enumerate(make_pairs(40))]
    found = judge_against_annotator(judge, human)
    said = agreement.in_short(found).splitlines()
    assert said[0].startswith("On 40 pairs of the human pool judge gives the annotator's label in")
    assert "shown no pair twice" in said[1] and said[2:] == [
        f"ALARM: {text}" for text in found["alarms"]]
    assert "is not known" in agreement.in_short(None)
