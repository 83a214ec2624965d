"""A session: order, sides, choices, undo, skips, flags, repeats, and exact resumption."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest

from persuasion_lib.core.errors import DataError, PersuasionError
from persuasion_lib.labeling.items import showings
from persuasion_lib.labeling.session import Session
from persuasion_lib.labeling.summary import annotators_compared, session_figures, session_in_words
from worlds.labeling_pool import make_pairs


def shown(count=40, annotator="me", **options):
    options = {"seed": 0, "repeat_fraction": 0.1, "checks": 3} | options
    return showings(make_pairs(count), annotator=annotator, **options)


def opened(events, count=40, annotator="me", **options):
    """A session on a list of events that it appends to, as a log would."""
    return Session(shown(count, annotator, **options), list(events), events.append,
                   annotator=annotator, guidelines="Be fair.",
                   now=lambda: datetime(2026, 1, 1, tzinfo=UTC))


def answer(session, *choices, seconds=10.0):
    """Answer what is on screen, once per choice."""
    for choice in choices:
        assert session.choose(session.token(session.current), choice, seconds)


def test_the_same_seed_and_annotator_give_the_same_showings():
    assert shown() == shown()
    assert shown() != shown(annotator="you")
    assert shown() != shown(seed=1)


def test_every_pair_is_shown_once_a_tenth_twice_and_a_check_per_twenty():
    kinds = Counter(item.kind for item in shown(200))
    assert kinds == {"pair": 200, "repeat": 20, "check": 3}
    assert Counter(item.kind for item in shown(40))["check"] == 2
    assert len({item.key for item in shown(200)}) == 223


@pytest.mark.parametrize("count", [1, 2, 7, 19, 20, 21, 40, 200])
def test_a_repeat_comes_later_with_the_sides_exchanged_and_a_check_after_its_pair(count):
    items = shown(count)
    at = {item.key: i for i, item in enumerate(items)}
    for item in items:
        original = items[at[item.pair.pair_id]]
        if item.kind != "pair":
            assert at[item.key] > at[original.key]
        if item.kind == "repeat":
            assert item.shown == original.shown[::-1]


def test_about_half_of_the_pairs_are_shown_swapped():
    assert 70 <= sum(item.swapped for item in shown(200) if item.kind == "pair") <= 130


@pytest.mark.parametrize("label", ["a", "b", "tie"])
def test_the_choice_for_a_label_means_that_label_on_either_side(label):
    for item in shown():
        assert item.preferred(item.choice_for(label)) == label
    assert shown()[0].preferred("skip") is None


def test_no_repeats_and_no_checks_if_so_configured():
    assert {item.kind for item in shown(200, repeat_fraction=0.0, checks=0)} == {"pair"}


def test_a_choice_is_stored_by_response_not_by_side():
    events = []
    answer(opened(events), *["first"] * 40)
    for event in events:
        assert event["preferred"] == ("b" if event["swapped"] else "a")
    assert {event["swapped"] for event in events} == {True, False}


def test_an_event_says_what_was_answered_by_whom_under_which_guidelines():
    events = []
    answer(opened(events), "second", seconds=12.25)
    event = events[0]
    assert event["seconds"] == 12.25
    assert (event["annotator"], event["choice"]) == ("me", "second")
    assert event["at"] == "2026-01-01T00:00:00.000+00:00"
    assert len(event["guidelines"]) == 16 and len(event["session"]) == 8


def test_a_stale_token_labels_nothing():
    events = []
    session = opened(events)
    token = session.token(session.current)
    assert session.choose(token, "first")
    assert not session.choose(token, "first")
    assert len(events) == 1


def test_tokens_do_not_tell_repeats_from_pairs():
    session = opened([])
    assert all(len(session.token(item)) == 16 and "p0" not in session.token(item)
               for item in session.items)


def test_an_unknown_choice_is_an_error():
    session = opened([])
    with pytest.raises(DataError, match="first, second, tie, skip"):
        session.choose(session.token(session.current), "best")


def test_reopening_goes_on_at_the_exact_pair():
    events = []
    session = opened(events)
    answer(session, "first", "tie", "skip", "second")
    again = opened(list(events))
    assert again.current == session.current == session.items[4]
    assert again.done == session.done == 3


def test_undo_shows_the_pair_again_to_any_depth_and_across_sessions():
    events = []
    answer(opened(events), "first", "tie", "second")
    session = opened(events)
    for i in (2, 1, 0):
        assert session.undo()
        assert session.current == session.items[i]
    assert not session.undo()
    assert session.done == 0 and len(events) == 6
    assert opened(events).current == session.items[0]


def test_a_skipped_pair_comes_back_at_the_end_and_a_second_skip_leaves_it_out():
    session = opened([], count=4)
    answer(session, "skip", "first", "skip", "first")
    assert session.current == session.items[0]
    answer(session, "second")
    assert session.current == session.items[2]
    answer(session, "skip")
    assert session.current is None and session.missing == []
    assert len(session.chosen()) == 3


def test_undo_of_a_skip_returns_to_it_at_once():
    session = opened([], count=4)
    answer(session, "skip", "first")
    session.undo()
    session.undo()
    assert session.current == session.items[0]


def test_a_tie_is_a_label_and_a_skip_is_not():
    session = opened([], count=4)
    answer(session, "tie", "skip", "first", "first")
    assert [event["preferred"] for _, event in session.chosen()][0] == "tie"
    assert session.missing == [session.items[1].key]


def test_review_lists_the_last_ten_and_opens_one_for_a_new_answer():
    events = []
    session = opened(events)
    answer(session, *["first"] * 12)
    recent = session.recent()
    assert [item for item, _ in recent] == session.items[11:1:-1]
    assert session.open(session.token(session.items[5]))
    assert session.current == session.items[5]
    answer(session, "second")
    assert session.current == session.items[12] and session.done == 12
    assert opened(events).answer_of(session.items[5])["choice"] == "second"
    session.undo()
    session.undo()
    assert session.answer_of(session.items[5])["choice"] == "first"


def test_only_answered_items_can_be_opened():
    session = opened([])
    assert not session.open(session.token(session.items[3]))
    assert session.current == session.items[0]


def test_a_flag_and_its_note_are_kept_apart_from_the_label():
    events = []
    session = opened(events)
    assert session.flag(session.token(session.current), flagged=True, note="both are off topic")
    assert session.current == session.items[0]
    answer(session, "tie")
    again = opened(events)
    assert again.flag_of(session.items[0]) == (True, "both are off topic")
    assert again.chosen()[0][1]["preferred"] == "tie"


def test_nothing_changes_when_an_event_cannot_be_saved():
    def full(event):
        raise PersuasionError("disk full")

    session = Session(shown(), [], full, annotator="me", guidelines="")
    with pytest.raises(PersuasionError):
        session.choose(session.token(session.current), "first")
    assert session.current == session.items[0] and session.done == 0


def test_answers_on_texts_that_changed_do_not_count_and_are_counted():
    events = []
    answer(opened(events), "first", "first")
    events[0]["text"] = "0" * 16
    session = opened(events)
    assert session.foreign == 1 and session.done == 1
    assert session.current == session.items[0]


def test_a_log_with_another_shape_is_refused():
    with pytest.raises(DataError, match="no labelling event"):
        opened([{"label": "a"}])


def test_a_break_is_due_after_every_fifty_of_a_sitting():
    session = opened([], count=200)
    answer(session, *["first"] * 49)
    assert not session.break_due(50)
    answer(session, "first")
    assert session.break_due(50)
    answer(session, "first")
    assert not session.break_due(50)


def test_pace_is_the_median_of_active_seconds():
    session = opened([])
    assert session.median_seconds is None
    for seconds in (4.0, 6.0, 500.0):
        answer(session, "first", seconds=seconds)
    assert session.median_seconds == 6.0


def test_an_annotator_who_always_says_first_is_found_out():
    session = opened([], count=100)
    while session.current:
        answer(session, "first", seconds=1.0)
    table = session_figures(session)
    assert table.loc["first slot preferred", "value"] == 1.0
    assert table.loc["first slot preferred", "ci_low"] > 0.9
    assert table.loc["same answer on the repeat", "value"] == 0.0
    assert table.loc["answers under 2 seconds", "value"] == 113


def test_an_annotator_who_judges_by_the_response_agrees_with_himself():
    session = opened([], count=100)
    while session.current:
        answer(session, "second" if session.current.swapped else "first")
    table = session_figures(session)
    assert table.loc["same answer on the repeat", ["value", "n"]].tolist() == [1.0, 10]
    assert table.loc["obvious checks answered right", ["value", "n"]].tolist() == [3, 3]
    assert any(line.startswith("same answer on the repeat: 100%")
               for line in session_in_words(session))


def test_figures_of_an_empty_session_are_undefined_not_zero():
    table = session_figures(opened([]))
    assert table["value"].isna().sum() == 3     # both shares, and the median of no seconds
    assert session_in_words(opened([]))[0] == "pairs with a label: 0 of 40"


def test_agreement_is_over_the_pairs_that_both_labelled():
    one, two = opened([], annotator="ann"), opened([], annotator="bob")

    def prefer_b(session, rule):
        item = session.current
        answer(session, "second" if rule(int(item.key[1:4])) != item.swapped else "first")

    while one.current:
        prefer_b(one, lambda number: number % 3 == 0)
    for _ in range(20):     # bob agrees on even numbers only
        prefer_b(two, lambda number: (number % 3 == 0) == (number % 2 == 0))
    table = annotators_compared([one, two], seed=0)
    even = sum(int(item.key[1:4]) % 2 == 0 for item, _ in two.chosen())
    assert table["ties"].tolist() == ["class", "drop"]
    assert table["n"].tolist() == [len(two.chosen())] * 2
    assert table["raw"].tolist() == [even / len(two.chosen())] * 2
    assert annotators_compared([one], seed=0).empty
