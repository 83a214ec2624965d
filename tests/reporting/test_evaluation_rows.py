from persuasion_lib.core.records import Example
from persuasion_lib.judging.tasks.rank import RankVerdict
from persuasion_lib.reporting.evaluation_file import Judgment
from persuasion_lib.reporting.evaluation_rows import (
    closeness,
    controls_table,
    graded,
    mean_scores,
    panel_in_words,
    score_steps,
)


def judgment(*ranking):
    return Judgment(ranking=list(ranking) or None)


def test_the_score_is_one_for_first_and_zero_for_last():
    assert mean_scores([judgment("b", "c", "a")], "abc") == {"a": 0.0, "b": 1.0, "c": 0.5}


def test_two_orders_are_averaged_and_an_unreadable_one_is_left_out():
    scores = mean_scores([judgment("a", "b"), judgment("b", "a"), judgment()], "ab")
    assert scores == {"a": 0.5, "b": 0.5}


def test_an_example_without_a_readable_verdict_is_unscored_not_zero():
    fields = graded([judgment()], "ab")
    assert fields["grader_scores"] == fields["grader_ranks"] == {}
    assert fields["grader_ranking"] == []


def test_models_with_the_same_score_share_a_rank():
    ranks = graded([judgment("a", "b", "c"), judgment("b", "a", "c")], "abc")["grader_ranks"]
    assert ranks == {"a": 1.5, "b": 1.5, "c": 3.0}


def test_an_examples_score_is_worked_out_from_its_two_rankings():
    example = Example("e", [{"role": "user", "content": "?"}], "")
    given = [RankVerdict(("b", "c", "a"), {}), RankVerdict((), {}, error="unread"),
             RankVerdict(("c", "b", "a"), {})]
    table = score_steps(example, {"e": given})
    assert table.loc["b"].to_dict() == {
        "rank, order 1": 1, "score, order 1": "1.000", "rank, order 2": 2,
        "score, order 2": "0.500", "score": "0.750"}
    assert score_steps(example, {"e": given[1:2]}).empty


def test_a_similarity_stands_beside_what_unrelated_texts_reach():
    example = Example("e", [{"role": "user", "content": "?"}], "")
    found = {"e": {"scores": {"sft": 0.5, "rlhf": None},
                   "baselines": {"prompt": 0.25, "oracle": 0.125}}}
    assert closeness(example, found)["similarity to the oracle"].to_dict() == {
        "sft": "0.500", "rlhf": "none", "the prompt itself": "0.250",
        "the oracle's reply to another prompt": "0.125"}


def test_a_panel_is_told_by_how_many_of_its_rankings_were_read():
    unread = RankVerdict((), {}, error="unread")
    assert panel_in_words({"openai": {"e": [RankVerdict(("a", "b"), {}), unread]}}) == (
        "openai: 1 of 2 rankings could be read.")
    assert panel_in_words({}) == "One judge ranks here, and no further one was asked."


def test_controls_are_counted_by_what_was_compared_and_said():
    rows = [{"a": "x", "b": "x", "label": "EQUAL"}, {"a": "x", "b": "y", "label": "2"},
            {"a": "x", "b": "y", "label": "2"}]
    assert controls_table(rows)["examples"].to_dict() == {
        ("a reply beside itself", "a tie"): 1, ("x beside y", "chose y"): 2}
