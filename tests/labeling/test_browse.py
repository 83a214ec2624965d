"""The pair browser: tables first, and nothing in a text is ever markup."""

from __future__ import annotations

from dataclasses import replace

import pytest

from persuasion_lib.core.records import LabeledPair
from persuasion_lib.labeling import browse as explore
from worlds.labeling_pool import make_pairs


def human(*labels, **metadata):
    return [LabeledPair(replace(pair, metadata=metadata), label, "human")
            for pair, label in zip(make_pairs(len(labels)), labels, strict=True)]


def ai(*labels):
    return [LabeledPair(pair, label, "judge", f"because {label}")
            for pair, label in zip(make_pairs(len(labels)), labels, strict=True)]


def test_a_pair_labelled_by_both_is_one_row_with_the_judges_reason():
    table = explore.pair_table(human("a", "tie"), ai("b", "tie", "a"))
    assert table.index.tolist() == ["p000", "p001", "p002"]
    assert table.loc["p000", ["human", "ai", "reason"]].tolist() == ["a", "b", "because b"]
    assert table["human"].isna().tolist() == [False, False, True]


def test_disagreement_needs_both_labels_and_counts_a_tie_against_a_decision():
    table = explore.pair_table(human("a", "tie", "b"), ai("b", "a", "b", "a"))
    assert explore.disagreements(table).index.tolist() == ["p000", "p001"]


def test_flagged_pairs_are_those_with_a_flag_or_a_note():
    assert len(explore.flagged(explore.pair_table(human("a", flagged=True)))) == 1
    assert len(explore.flagged(explore.pair_table(human("a", note="odd")))) == 1
    assert explore.flagged(explore.pair_table(human("a"))).empty


def test_longest_puts_the_largest_difference_first_in_either_direction():
    labels = human("a", "b")
    labels[1] = LabeledPair(replace(labels[1].pair, response_b="x" * 500), "b", "human")
    assert explore.longest(explore.pair_table(labels)).index.tolist() == ["p001", "p000"]


def test_texts_are_escaped_in_the_view():
    pair = replace(make_pairs(1)[0], response_a="<img src=x onerror=alert(1)>")
    assert "<img" not in explore.pair_view(pair).data
    assert "&lt;img src=x onerror=alert(1)&gt;" in explore.pair_view(pair).data


@pytest.mark.parametrize("table", [explore.pair_table(human("a", "b")), explore.pair_table([])])
def test_headless_the_browser_is_plain_text(monkeypatch, table):
    monkeypatch.setenv("PERSUASION_BATCH", "1")
    assert isinstance(explore.browser(table), explore.HTML)


def test_the_browser_turns_pages_and_filters(monkeypatch):
    monkeypatch.delenv("PERSUASION_BATCH", raising=False)
    head, page = explore.browser(explore.pair_table(human("a", "tie"), ai("b", "tie"))).children
    choose, position, caption = head.children
    position.value = 1
    assert caption.value == "2 of 2" and "Reply a1" in page.value
    choose.value = "person and AI judge disagree"
    assert caption.value == "1 of 1" and "Reply a0" in page.value
    choose.value = "flagged"
    assert caption.value == "no such pair" and page.value == ""
