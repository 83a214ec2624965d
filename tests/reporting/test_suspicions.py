from persuasion_lib.reporting.suspicions import learned_from, seen_in, training_row
from worlds.synthetic_evaluation import MODELS, changed, evaluated, from_elsewhere, make_evaluation


def warnings_of(evaluation):
    return " ".join(seen_in(evaluated(evaluation)))


def test_a_model_that_keeps_its_slot_is_noticed():
    def fix(row):
        for call in row["judgments"]:
            call["position_map"] = dict(zip("ABCDE", MODELS, strict=True))
    assert "Unbalanced positions: base stood in slot 1 in 100%" in warnings_of(
        changed(make_evaluation(24), fix))
    assert "positions" not in warnings_of(make_evaluation(200))


def test_a_replayed_sequence_of_orders_is_noticed():
    evaluation = make_evaluation(40)
    for early, late in zip(evaluation["per_example"][:15], evaluation["per_example"][20:35],
                           strict=True):
        for one, two in zip(early["judgments"], late["judgments"], strict=True):
            two["position_map"] = one["position_map"]
    assert "Replayed positions: 15 examples" in warnings_of(evaluation)


def test_replies_that_were_cut_off_are_noticed_with_and_without_finish_reasons():
    cut = changed(make_evaluation(20), lambda row: row["finish"].update(sft="length"))
    assert "100% of the replies of sft were cut off by the token limit" in warnings_of(cut)
    bare = changed(from_elsewhere(make_evaluation(20)), lambda row: row["responses"].update(
        sft="this stops in the"))
    assert "replies of sft end without an end mark" in warnings_of(bare)


def test_two_models_with_the_same_texts_or_weights_are_noticed():
    same = changed(make_evaluation(20), lambda row: row["responses"].update(
        rlhf=row["responses"]["sft"]))
    assert "sft and rlhf gave the identical text on 100%" in warnings_of(same)
    same["config"]["weights"] = {"sft": "x", "rlhf": "x"}
    assert "sft and rlhf have the same weights" in warnings_of(same)


def test_scores_that_contradict_their_ranking_are_noticed():
    upside_down = changed(from_elsewhere(make_evaluation(5, orders=1)), lambda row: row.update(
        grader_scores={m: 5 - s for m, s in row["grader_scores"].items()}))
    assert "5 of 5 examples (the first is 0) the best of `grader_ranking`" in warnings_of(
        upside_down)
    assert "upside down" not in warnings_of(from_elsewhere(make_evaluation(5)))


def test_a_conversation_that_was_trained_on_is_noticed_where_the_file_names_it():
    known = changed(make_evaluation(3), lambda row: row.update(
        conversation_id=row["example_id"]))
    other = training_row({"prompt": "another one", "conversation_id": "e00001"})
    found = learned_from(evaluated(known).rows, {"x.jsonl": [other]}, 0.5)
    assert "1 rows of the test set share a conversation with x.jsonl: row 2" in found[0]


def test_points_on_a_scale_say_that_they_became_ranks_and_ranks_say_nothing():
    points = changed(from_elsewhere(make_evaluation(5, orders=1)), lambda row: row.update(
        grader_scores={m: s + 0.3 for m, s in row["grader_scores"].items()}))
    assert "points on a scale. They were turned into ranks" in warnings_of(points)
    assert "turned into ranks" not in warnings_of(from_elsewhere(make_evaluation(5)))
    assert "turned into ranks" not in warnings_of(make_evaluation(5))
