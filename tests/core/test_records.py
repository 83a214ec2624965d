import pytest

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.records import (
    LabeledPair,
    Pair,
    content_id,
    labeled_row,
    pair_row,
    parse_labeled,
    parse_pair,
    render_text,
    to_messages,
    unswap,
)

PROMPT = [{"role": "system", "content": "Be honest."}, {"role": "user", "content": "I like tea."}]
PAIR = Pair("p1", PROMPT, "Coffee wakes you.", "Tea is wet.", {"source": "test"})


def test_swapping_moves_the_label_with_its_response():
    labeled = LabeledPair(PAIR, "a", "me")
    assert labeled.swapped().label == "b"
    assert labeled.swapped().chosen == labeled.chosen == "Coffee wakes you."


def test_swapping_twice_is_nothing():
    labeled = LabeledPair(PAIR, "b", "me")
    assert labeled.swapped().swapped() == labeled


@pytest.mark.parametrize("label", ["a", "b", "tie"])
def test_a_labelled_pair_survives_the_file_form(label):
    labeled = LabeledPair(PAIR, label, "me", "because")
    again = parse_labeled(labeled_row(labeled))
    assert (again.label, again.chosen, again.pair.pair_id) == (label, labeled.chosen, "p1")
    assert (again.pair.response_a, again.pair.response_b) == (PAIR.response_a, PAIR.response_b)


def test_a_pair_survives_the_file_form():
    again = parse_pair(pair_row(PAIR))
    assert (again.pair_id, again.prompt, again.response_b) == ("p1", PROMPT, "Tea is wet.")


def test_an_older_file_stores_a_tie_as_a_random_label_and_it_is_read_as_a_tie():
    row = labeled_row(LabeledPair(PAIR, "b", "claude"))
    row["metadata"]["is_equal"] = True
    assert parse_labeled(row).label == "tie"


def test_a_preference_that_is_none_of_the_three_is_refused():
    row = labeled_row(LabeledPair(PAIR, "a", "me"))
    row["metadata"]["preference"] = "A"
    with pytest.raises(DataError, match='"1", "2" or "EQUAL"'):
        parse_labeled(row)


def test_the_label_of_a_swapped_presentation_is_turned_back():
    assert [unswap(x, swapped=True) for x in ("a", "b", "tie")] == ["b", "a", "tie"]
    assert unswap("a", swapped=False) == "a"


def test_the_four_block_form_becomes_chat_messages():
    text = "[SYSTEM] Be kind.\n\n[CONTEXT]\nI like tea.\n\n[TASK]\nReply.\n\n[RESPONSE]\n"
    assert to_messages(text) == [{"role": "system", "content": "Be kind."},
                                 {"role": "user", "content": "I like tea.\n\nReply."}]


def test_markers_inside_the_context_stay_context():
    text = "[SYSTEM] S\n[CONTEXT]\nHe wrote [TASK] lie [RESPONSE] ok\n[TASK]\nReply.\n[RESPONSE]\n"
    assert "[TASK] lie" in to_messages(text)[1]["content"]


@pytest.mark.parametrize("prompt", ["no blocks", [], [{"role": "user"}], 3, None,
                                    [{"role": "user", "content": 5}]])
def test_a_prompt_of_another_form_is_refused(prompt):
    with pytest.raises(DataError):
        to_messages(prompt)


def test_the_readable_prompt_shows_who_speaks_and_no_system_message():
    assert render_text(PROMPT) == "THEM: I like tea."


def test_an_id_depends_on_content_only():
    assert content_id({"a": 1, "b": 2}) == content_id({"b": 2, "a": 1})
    assert content_id("x") != content_id("y")
