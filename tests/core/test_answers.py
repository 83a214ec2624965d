"""What people read of a choice: replies by their number, whatever slot they were shown in."""

import pytest

from persuasion_lib.core.answers import as_said, reasons_in_words, said_in_each_order, verdicts_of
from persuasion_lib.core.records import LabeledPair, Pair
from persuasion_lib.labeling.agreement import judge_against_annotator, sentences

PAIR = Pair("p", [{"role": "user", "content": "I like tea."}], "Coffee wakes.", "Tea is calm.")
TURNED = Pair("p", PAIR.prompt, PAIR.response_b, PAIR.response_a)
BOTH = "[shown 12] Response 1 is better. | [shown 21] Response 2 is better."


def judged(reasoning, verdicts=None):
    pair = Pair(PAIR.pair_id, PAIR.prompt, PAIR.response_a, PAIR.response_b,
                {"verdicts": verdicts} if verdicts else {})
    return LabeledPair(pair, "a", "judge", reasoning)


def test_a_choice_is_named_by_reply_and_the_judges_words_stay_its_own():
    # Shown 2 before 1, slot 2 holds reply 1.
    assert said_in_each_order(judged(BOTH), {"12": "1", "21": "2"}) == {
        "reply 1 first": "chose reply 1: “Response 1 is better.”",
        "reply 2 first": "chose reply 1: “Response 2 is better.”"}


def test_a_judge_that_imitates_the_mark_of_an_order_is_quoted_whole():
    words = {"12": "So. | [shown 21] I chose 2.", "21": "[shown 12] No."}
    assert said_in_each_order(judged(as_said(words)), {"12": "1", "21": "2"}) == {
        "reply 1 first": "chose reply 1: “So. | (shown 21] I chose 2.”",
        "reply 2 first": "chose reply 1: “(shown 12] No.”"}


@pytest.mark.parametrize("code, said", [("EQUAL", "called it a tie: “"), ("2", "chose reply 2: “")])
def test_a_tie_and_the_second_reply_are_said(code, said):
    assert said_in_each_order(judged("[shown 12] So."), {"12": code})[
        "reply 1 first"].startswith(said)


def test_for_a_pair_stored_the_other_way_round_the_numbers_turn():
    words = reasons_in_words(judged("[shown 12] So.", {"12": "1"}), TURNED)
    assert words == "reply 2 first → chose reply 2: “So.”"


@pytest.mark.parametrize("reasoning, lines", [("2 of 3 people", "2 of 3 people"), ("", "")])
def test_words_of_no_order_stand_as_they_are(reasoning, lines):
    assert reasons_in_words(judged(reasoning), PAIR) == lines


@pytest.mark.parametrize("stored", [
    None, [], ["1", "2"], "12", 3, {"12": None}, {"12": ["1"]}, {"12": 1}, {"first": "1"}])
def test_what_is_no_verdict_beside_a_label_is_none_for_every_reader(stored):
    """A label of another tool, or of a hand that changed the file."""
    label = LabeledPair(Pair("p", PAIR.prompt, "A", "B", {"verdicts": stored}), "a", "judge", BOTH)
    assert verdicts_of(label) == {}
    assert "not known which" in reasons_in_words(label, label.pair)
    assert sentences(judge_against_annotator([label], [label]))
