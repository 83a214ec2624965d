from persuasion_lib.reporting.evaluation_file import Judgment
from persuasion_lib.reporting.evaluation_rows import graded, mean_scores


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
