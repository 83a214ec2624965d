"""Pairs and labels of other tools are read as ours: Argilla, Label Studio, trl and the hub."""

import json

import pandas as pd
import pytest

from persuasion_lib.core.answers import votes_of
from persuasion_lib.core.brought import read_brought
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.forms import as_ours
from persuasion_lib.core.records import parse_example, parse_labeled, parse_pair

ASKED = [{"role": "user", "content": "Tea is best."}]
COFFEE, WATER = "Coffee wakes you.", "Water is free."
FIELDS = {"prompt": "Tea is best.", "response_1": COFFEE, "response_2": WATER}
ANN, BEN, EVE = (f"{digit * 8}-1111-1111-1111-111111111111" for digit in "abc")


def argilla(*answers, **more):
    """A record of 2.x that people answered, one after the other."""
    given = [{"value": value, "user_id": user}
             for value, user in zip(answers, (ANN, BEN, EVE), strict=False)]
    return {"id": "1", "fields": FIELDS, "metadata": {}, "suggestions": {}, "vectors": {},
            "responses": {"preference": given} if given else {}, **more}


def label_studio(*results, data=FIELDS, **annotation):
    return {"id": 1, "data": data, "annotations": [
        {"completed_by": 7 + place, "result": [result], **annotation}
        for place, result in enumerate(results)]}


def pairwise(side):
    return {"from_name": "pw", "to_name": "pw", "type": "pairwise", "value": {"selected": side}}


def choice(value):
    return {"from_name": "c", "to_name": "text", "type": "choices", "value": {"choices": [value]}}


def said(text):
    return [{"role": "assistant", "content": text}]


COFFEE_WINS = [
    argilla("response_1"), argilla("1"), argilla(["response_1", "response_2"]),
    argilla([{"value": "response_1", "rank": 1}, {"value": "response_2", "rank": 2}]),
    argilla("response_1", "response_1", "tie"),
    {"fields": {"instruction": "Tea is best.", "reply-a": COFFEE, "reply-b": WATER},
     "responses": [{"user_id": ANN, "status": "submitted",       # a feedback dataset of 1.x
                    "values": {"which": {"value": "A"}, "why": {"value": "It is true."}}},
                   {"user_id": BEN, "status": "discarded", "values": {"which": {"value": "B"}}}]},
    argilla(suggestions={"preference": {"value": "response_1", "agent": "a judge"}}),
    label_studio(pairwise("left")), label_studio(choice("response_1")),
    label_studio(pairwise("left"), data={"prompt": "Tea is best.", "text1": COFFEE,
                                         "text2": WATER}),
    {"data": FIELDS, "annotations": [], "predictions": [
        {"model_version": "a judge", "result": [pairwise("left")]}]},
    {"prompt": "Tea is best.", "chosen": COFFEE, "rejected": WATER},
    {"prompt": ASKED, "chosen": said(COFFEE), "rejected": said(WATER)},
    {"prompt": "Tea is best.", "chosen": ASKED + said(COFFEE), "rejected": ASKED + said(WATER)},
    {"chosen": ASKED + said(COFFEE), "rejected": ASKED + said(WATER)},
    {"chosen": f"\n\nHuman: Tea is best.\n\nAssistant: {COFFEE}",
     "rejected": f"\n\nHuman: Tea is best.\n\nAssistant: {WATER}"}]


@pytest.mark.parametrize("row", COFFEE_WINS)
def test_a_label_of_another_tool_names_the_same_winner(row):
    label = parse_labeled(as_ours(row))
    assert (label.pair.prompt, label.chosen, label.rejected) == (ASKED, COFFEE, WATER)
    assert label.label != "tie"


@pytest.mark.parametrize("row", [
    argilla("tie"), label_studio(choice("Equal")), argilla("response_1", "response_2"),
    argilla([{"value": "response_1", "rank": 1}, {"value": "response_2", "rank": 1}])])
def test_a_tie_is_a_tie_and_so_are_two_people_who_disagree(row):
    assert parse_labeled(as_ours(row)).label == "tie"


@pytest.mark.parametrize("row", [
    argilla(), label_studio(), {"data": FIELDS}, label_studio(pairwise("left"), was_cancelled=True),
    {"fields": FIELDS, "responses": [{"user_id": ANN, "status": "draft",
                                      "values": {"preference": {"value": "response_1"}}}]}])
def test_what_nobody_answered_is_a_pair_and_no_label(row, tmp_path):
    (tmp_path / "x.json").write_text(json.dumps([row, argilla("response_2")]))
    assert parse_pair(as_ours(row)).response_b == WATER
    assert len(read_brought(tmp_path / "x.json", "labels")) == 1
    assert len(read_brought(tmp_path / "x.json", "pairs")) == 2


def test_who_labelled_is_a_person_a_model_or_a_number_of_people():
    assert parse_labeled(as_ours(argilla("response_1"))).labeled_by == "human"
    assert parse_labeled(as_ours(label_studio(pairwise("left")))).labeled_by == "human"
    judged = argilla(suggestions={"preference": {"value": "1", "agent": "stand-in"}})
    assert parse_labeled(as_ours(judged)).labeled_by == "stand-in"


def test_of_several_people_the_majority_counts_and_how_many_they_were_is_said():
    voted = parse_labeled(as_ours(argilla("response_1", "response_1", "response_2")))
    assert (voted.label, voted.labeled_by, voted.reasoning) == ("a", "human", "2 of 3 people")
    split = parse_labeled(as_ours(argilla("1", "2")))
    assert (split.label, split.reasoning) == ("tie", "no majority of 2 people")


def test_people_are_told_apart_by_ids_that_are_not_kept_also_where_one_answered_alone():
    both, alone = (votes_of(parse_labeled(as_ours(row))) for row in (
        argilla("response_1", "response_2"), argilla("response_1")))
    assert list(both)[:1] == list(alone) and [vote.label for vote in both.values()] == ["a", "b"]
    assert not any(ANN in name or BEN in name for name in both)


def test_winners_of_a_preference_set_stand_on_both_sides():
    rows = [{"prompt": f"View {k}.", "chosen": "Yes.", "rejected": "No."} for k in range(100)]
    firsts = sum(parse_labeled(as_ours(row)).label == "a" for row in rows)
    assert 30 < firsts < 70


@pytest.mark.parametrize("row", [
    {"prompt": ASKED, "completion": said(COFFEE)}, {"prompt": "Tea is best.", "completion": COFFEE},
    {"messages": ASKED + said(COFFEE)}])
def test_rows_for_fine_tuning_are_examples(row):
    example = parse_example(as_ours(row))
    assert (example.prompt, example.response) == (ASKED, COFFEE)


@pytest.mark.parametrize("row, said", [
    (argilla("perhaps"), "no answer to preference names response_1, response_2 or a tie"),
    ({"fields": {"text": "Hi."}}, "replies must be fields such as response_1"),
    ({"fields": {"response_1": "x", "response_2": "y"}}, "has no prompt"),
    ({"data": FIELDS, "annotations": [{"result": [choice("5 stars")]}]}, "no answer to c"),
    (argilla() | {"responses": {"better": [{"value": "1"}], "kinder": [{"value": "2"}]}},
     "several questions choose a side: better, kinder"),
    ({"chosen": COFFEE, "rejected": WATER}, "a reply is text beside a prompt"),
    ({"chosen": ASKED + said("x"), "rejected": said("y")}, "do not answer the same messages")])
def test_what_cannot_be_read_names_the_form_and_the_cure(row, said):
    with pytest.raises(DataError, match=f"{said}.*This looks like .* form; data/README.md"):
        as_ours(row)


def test_an_error_says_the_line_and_the_row_of_an_array_the_row_of_a_table(tmp_path):
    rows = [argilla("tie"), argilla("perhaps")]
    (tmp_path / "x.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    second = (tmp_path / "x.json").read_text().splitlines()[1:].index(" {", 1) + 2
    for name, place in (("x.json", f"{second} \\(row 2\\)"), ("x.jsonl", "2")):
        with pytest.raises(DataError, match=f"{name}:{place}: no answer"):
            read_brought(tmp_path / name, "labels")
    table = pd.DataFrame([{"prompt": text, "chosen": "x", "rejected": "y"} for text in ("Hi.", "")])
    table.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match="x.parquet:row 2: a reply is text beside a prompt"):
        read_brought(tmp_path / "x.parquet", "labels")
    (tmp_path / "y.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="y.parquet is no sound Parquet table"):
        read_brought(tmp_path / "y.parquet", "labels")


def test_our_own_rows_are_read_as_they_are():
    row = {"prompt": ASKED, "chosen": COFFEE, "rejected": WATER, "metadata": {"preference": "2"}}
    assert as_ours(row) is row
    assert as_ours({"prompt": ASKED, "response_1": "x", "response_2": "y"})["response_1"] == "x"
