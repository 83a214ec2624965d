"""The pair browser: tables first, and nothing in a text is ever markup."""

from __future__ import annotations

from dataclasses import replace

import pytest

from persuasion_lib.core.records import LabeledPair
from persuasion_lib.labeling import browse
from worlds.labeling_pool import make_pairs


def human(*labels, **metadata):
    return [LabeledPair(replace(pair, metadata=metadata), label, "human")
            for pair, label in zip(make_pairs(len(labels)), labels, strict=True)]


def judge(*labels):
    return [LabeledPair(pair, label, "judge", f"because {label}")
            for pair, label in zip(make_pairs(len(labels)), labels, strict=True)]


def test_a_pair_that_a_person_labelled_stands_beside_what_the_judge_said_and_why():
    table = browse.labels_table(human("a", "tie"), judge("b", "tie", "a"))
    assert table.index.tolist() == ["p000", "p001"]
    assert table.loc["p000", ["human", "judge", "reason"]].tolist() == ["a", "b", "because b"]


def test_the_judge_is_matched_by_text_and_not_by_slot_or_id():
    exchanged, edited = judge("b", "b")
    edited = replace(edited, pair=replace(edited.pair, response_a="edited since"))
    table = browse.labels_table(human("a", "a"), [exchanged.swapped(), edited])
    assert table.loc["p000", ["judge", "reason"]].tolist() == ["b", "because b"]
    assert table["judge"].isna().tolist() == [False, True] and table.loc["p001", "reason"] == ""


def test_disagreement_needs_both_labels_and_counts_a_tie_against_a_decision():
    table = browse.labels_table(human("a", "tie", "b"), judge("b", "a", "b", "a"))
    assert browse.differing(table).index.tolist() == ["p000", "p001"]


def test_flagged_pairs_are_those_with_a_flag_or_a_note():
    assert len(browse.flagged(browse.labels_table(human("a", flagged=True)))) == 1
    assert len(browse.flagged(browse.labels_table(human("a", note="odd")))) == 1
    assert browse.flagged(browse.labels_table(human("a"))).empty


def test_longest_puts_the_largest_difference_first_in_either_direction():
    labels = human("a", "b")
    labels[1] = LabeledPair(replace(labels[1].pair, response_b="x" * 500), "b", "human")
    assert browse.longest(browse.labels_table(labels)).index.tolist() == ["p001", "p000"]


def test_texts_are_escaped_in_the_view():
    pair = replace(make_pairs(1)[0], response_a="<img src=x onerror=alert(1)>")
    assert "<img" not in browse.pair_view(pair).data
    assert "&lt;img src=x onerror=alert(1)&gt;" in browse.pair_view(pair).data


@pytest.mark.parametrize("table", [browse.labels_table(human("a", "b")), browse.labels_table([])])
def test_headless_the_browser_is_plain_text(monkeypatch, table):
    monkeypatch.setenv("PERSUASION_BATCH", "1")
    assert isinstance(browse.pair_browser(table), browse.HTML)


def test_the_browser_turns_pages_and_filters(monkeypatch):
    monkeypatch.delenv("PERSUASION_BATCH", raising=False)
    table = browse.labels_table(human("a", "tie"), judge("b", "tie"))
    head, page = browse.pair_browser(table).children
    choose, position, caption = head.children
    position.value = 1
    assert caption.value == "2 of 2" and "Reply a1" in page.value
    choose.value = "annotator and judge disagree"
    assert caption.value == "1 of 1" and "Reply a0" in page.value
    choose.value = "flagged"
    assert caption.value == "no such pair" and page.value == ""


def test_the_table_to_read_names_replies_and_leaves_out_what_nobody_filled():
    table = browse.readable(browse.labels_table(human("a", "tie"), judge("b", "tie")))
    assert table["annotator"].tolist() == ["reply 1", "tie"] and table.index.tolist() == [1, 2]
    assert "seconds" not in table and "flagged" not in table


def test_what_the_judge_said_is_counted_and_nothing_of_it_before_it_is_there():
    table = browse.labels_table(human("a", "tie", "b"), judge("a", "b", "a"))
    assert browse.compared(table) == (
        "Of 3 pairs that both labelled, the judge said the same on 1, only one of the two called 1 "
        "a tie, and on 1 they chose different replies.")
    assert "Of" not in browse.compared(browse.labels_table(human("a")))


def test_before_the_first_label_there_is_a_table_without_rows():
    assert browse.readable(browse.labels_table([])).empty
