import pytest

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.fields import identity, is_absent, yes_or_no
from persuasion_lib.core.records import (
    LabeledPair,
    Pair,
    content_id,
    labeled_row,
    pair_row,
    parse_example,
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
    assert [unswap(x, swapped=True) for x in ("first", "second", "tie")] == ["b", "a", "tie"]
    assert unswap("first", swapped=False) == "a"


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


NOTHING = [None, float("nan"), "", "  "]


@pytest.mark.parametrize("value", NOTHING)
def test_null_nan_and_blank_are_absent_and_nothing_else_is(value):
    assert is_absent(value)
    assert identity(value) is yes_or_no("won", value) is None
    assert not any(map(is_absent, [0, False, "0", "nan", [], {}]))


@pytest.mark.parametrize("value, name", [(0, "0"), ("0", "0"), (7, "7"), (7.0, "7"), ("x", "x")])
def test_an_id_is_text_whatever_it_was_written_as(value, name):
    assert identity(value) == name


@pytest.mark.parametrize("value", [True, ["x"], {"id": 1}])
def test_what_is_no_id_is_refused(value):
    with pytest.raises(DataError, match="an id is text or a number"):
        identity(value)


@pytest.mark.parametrize("value, meaning", [(True, True), (1, True), (1.0, True), (False, False),
                                            (0, False)])
def test_a_flag_is_true_false_1_or_0(value, meaning):
    assert yes_or_no("won", value) is meaning


@pytest.mark.parametrize("value", ["False", "true", "0", 2, [], {}])
def test_a_flag_that_is_anything_else_is_refused(value):
    with pytest.raises(DataError, match="won must be true or false"):
        yes_or_no("won", value)


@pytest.mark.parametrize("value", NOTHING)
def test_an_absent_id_of_a_row_is_replaced_and_an_absent_conversation_is_none(value):
    ids = {"pair_id": value, "example_id": value, "conversation_id": value}
    pair = parse_pair({**pair_row(PAIR), "metadata": ids})
    example = parse_example({"input_text": PROMPT, "response": "x", "metadata": ids})
    assert pair.pair_id == content_id(PROMPT, PAIR.response_a, PAIR.response_b)
    assert example.example_id == content_id(PROMPT, "x")
    assert pair.conversation_id is example.conversation_id is None
    assert parse_pair({**pair_row(PAIR), "metadata": value}).metadata == {}


def test_the_id_0_is_an_id():
    pair = parse_pair({**pair_row(PAIR), "metadata": {"pair_id": 0, "conversation_id": 0}})
    assert (pair.pair_id, pair.conversation_id) == ("0", "0")


def test_a_tie_that_is_the_text_false_is_an_error_and_not_a_tie():
    row = labeled_row(LabeledPair(PAIR, "b", "me"))
    row["metadata"]["is_equal"] = "False"
    with pytest.raises(DataError, match="is_equal must be true or false"):
        parse_labeled(row)
    row["metadata"]["is_equal"] = float("nan")
    assert parse_labeled(row).label == "b"


@pytest.mark.parametrize("value", [["1"], {"a": 1}, "A", True])
def test_an_odd_second_answer_is_refused_by_name(value):
    row = labeled_row(LabeledPair(PAIR, "a", "me"))
    row["metadata"]["relabelled"] = value
    with pytest.raises(DataError, match="relabelled|an id is"):
        parse_labeled(row)


def test_who_labelled_is_unknown_where_it_is_absent():
    row = labeled_row(LabeledPair(PAIR, "a", "me"))
    row["metadata"] |= {"grader": None, "reasoning": None, "relabelled": ""}
    labeled = parse_labeled(row)
    assert (labeled.labeled_by, labeled.reasoning, labeled.again) == ("unknown", "", None)


def test_the_roles_of_other_projects_are_read_and_people_see_every_message():
    prompt = to_messages([{"role": "system", "content": "s"}, {"role": "human", "content": "Hi."},
                          {"role": "gpt", "content": "Oh."}, {"role": "User", "content": "Why?"}])
    assert [m["role"] for m in prompt] == ["system", "user", "assistant", "user"]
    assert render_text(prompt) == "THEM: Hi.\n\nPERSUADER: Oh.\n\nTHEM: Why?"


@pytest.mark.parametrize("role", ["tool", "function", "", None, 3, ["user"]])
def test_a_role_that_nobody_would_see_is_refused(role):
    with pytest.raises(DataError, match="role .* is not known"):
        to_messages([{"role": "user", "content": "Hi."}, {"role": role, "content": "Secret."}])
    with pytest.raises(DataError, match="role .* is not known"):
        render_text([{"role": role, "content": "Secret."}])


@pytest.mark.parametrize("roles", [["user", "system"], ["system", "system", "user"], ["system"],
                                   ["assistant"]])
def test_a_prompt_has_a_user_and_its_system_message_first(roles):
    with pytest.raises(DataError, match="a system message only as its first"):
        to_messages([{"role": role, "content": "x"} for role in roles])


@pytest.mark.parametrize("row, form", [
    ({"conversations": [{"from": "human", "value": "Hi."}]}, "ShareGPT's"),
    ({"messages": PROMPT}, "OpenAI's chat"), ({"prompt": PROMPT, "completion": "x"}, "trl's"),
    ({"prompt": PROMPT, "chosen": [{"role": "assistant", "content": "x"}]}, "trl's")])
def test_a_row_in_the_form_of_another_project_is_called_by_its_name(row, form):
    for parse in (parse_pair, parse_labeled, parse_example):
        with pytest.raises(DataError):
            parse(row | {"metadata": {"preference": "1"}})
    with pytest.raises(DataError, match=f"This looks like {form} form; data/README.md"):
        parse_pair(row)
