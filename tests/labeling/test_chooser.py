"""What the widget of several annotators sends to the browser, without a browser."""

from __future__ import annotations

import json

import pytest

from persuasion_lib import label_human
from persuasion_lib.core.records import Pair
from persuasion_lib.labeling.difference import difference
from persuasion_lib.labeling.items import showings
from persuasion_lib.labeling.panel import ADJUDICATION
from persuasion_lib.labeling.session import Session
from persuasion_lib.labeling.shares import shared_pairs
from persuasion_lib.labeling.summary import session_figures
from persuasion_lib.labeling.votes import Form
from persuasion_lib.labeling.widget import LabelWidget
from worlds.labeling_pool import make_demo, make_pairs
from worlds.three_annotators import RULES, THREE, answer, label_all, opened, send


@pytest.fixture
def screen(tmp_path, monkeypatch):
    """The widget of three annotators, and their panel."""
    monkeypatch.chdir(make_demo(tmp_path))

    def open_screen(*overrides):
        run, panel = opened(*THREE, *overrides)
        return label_human.view(run, panel), panel

    return open_screen


def people(widget):
    return {person["name"]: (person["open"], person["text"]) for person in widget.state["people"]}


def test_the_widget_asks_who_is_there_and_tells_how_much_each_has_answered(screen):
    widget, panel = screen()
    assert widget.state["view"] == "people" and widget.state["item"] is None
    count = len(panel.sessions["ann"].pool)
    assert people(widget)["ann"] == (True, f"0 of {count} answered")
    assert send(widget, "choose", choice="first")["text"].startswith("Not counted: choose first")
    send(widget, "person", name="ann")
    assert widget.state["view"] == "label" and widget.state["who"] == "ann"
    send(widget, "choose", choice="first", seconds=9.0)
    send(widget, "people")
    assert people(widget)["ann"] == (True, f"1 of {count} answered")


def test_who_is_named_in_the_settings_is_not_asked(screen):
    widget, _ = screen("label_human.annotator=ben")
    assert widget.state["view"] == "label" and widget.state["who"] == "ben"


@pytest.mark.parametrize("name", ["dan", "../x", "adjudication", ADJUDICATION, "", "<b>", "cleo"])
def test_nobody_else_can_answer_here(screen, name):
    widget, _ = screen("label_human.left=[cleo]")
    assert send(widget, "person", name=name)["kind"] == "error"
    assert widget.state["view"] == "people"


def test_an_annotator_sees_nothing_of_what_others_said(screen):
    widget, panel = screen("label_human.labels_from=adjudicated")
    session = panel.work("ann")
    session.flag(session.token(session.current), flagged=True, note="ann's own note")
    answer(session, RULES["ann"])
    send(widget, "people")
    assert people(widget)[ADJUDICATION] == (False, "when everybody has answered all")
    send(widget, "person", name="ben")
    while widget.state["item"]:
        sent = json.dumps(widget.state)
        assert "ann's own note" not in sent and '"given": []' in sent
        send(widget, "choose", choice="first", seconds=9.0)


def test_whoever_settles_sees_the_labels_and_notes_but_no_name(screen):
    widget, panel = screen("label_human.labels_from=adjudicated")
    session = panel.work("ben")
    shared = shared_pairs(panel.pool, seed=0, overlap=0.3)
    odd = {pair_id for pair_id in shared if int(pair_id[1:]) % 2}     # ann and ben differ there
    while session.current.key not in odd:
        answer(session, RULES["ben"], count=1)
    session.flag(session.token(session.current), flagged=True, note="cats again")
    label_all(panel)
    send(widget, "people")
    assert people(widget)[ADJUDICATION] == (True, f"{len(panel.disputed)} of "
                                                    f"{len(panel.disputed)} to settle")
    send(widget, "person", name=ADJUDICATION)
    notes = 0
    while (item := widget.state["item"]):
        count = {text[4:].split(";")[0]: int(text[0]) for text in item["given"]}
        assert sum(int(text[0]) for text in item["given"]) == 3
        assert count.keys() >= {"first better", "second better"}
        assert not set(RULES) & set(" ".join(item["given"]).split())
        notes += any("cats again" in text for text in item["given"])
        send(widget, "choose", choice="first", seconds=9.0)
    assert panel.is_settled and notes == 1


FORM = Form(both_bad=True, strength=True, reasons=("better evidence", "kinder"))


def plain(form=FORM, pairs=None, events=None):
    items = showings(pairs or make_pairs(40), seed=0, annotator="me", repeat_fraction=0, checks=0)
    events = [] if events is None else events
    session = Session(items, [], events.append, annotator="me", guidelines="**Which one?** Judge.")
    return LabelWidget(session, break_every=99, form=form), session, events


def test_strength_and_reasons_are_kept_with_the_choice_and_nothing_else_is():
    widget, _, events = plain()
    send(widget, "choose", choice="first", strength="clearly", reasons=["kinder", "<b>"])
    assert events[-1]["more"] == {"strength": "clearly", "reasons": ["kinder"]}
    send(widget, "choose", choice="tie", strength="clearly")
    send(widget, "choose", choice="first", strength="hugely")
    assert all("more" not in event for event in events[1:])
    widget, _, events = plain(Form())
    send(widget, "choose", choice="first", strength="clearly", reasons=["kinder"])
    assert "more" not in events[-1]


def test_both_bad_is_a_tie_that_is_counted_apart_and_only_where_it_is_asked():
    widget, session, events = plain()
    send(widget, "choose", choice="both_bad")
    send(widget, "choose", choice="tie")
    assert [event["preferred"] for event in events] == ["tie", "tie"]
    table = session_figures(session)
    assert table.loc[["of these ties", "ties because both are bad"], "value"].tolist() == [2, 1]
    widget, session, events = plain(Form())
    assert send(widget, "choose", choice="both_bad")["text"].startswith("Not counted")
    assert events == [] and "ties because both are bad" not in session_figures(session).index


def test_answers_faster_than_reading_get_a_gentle_word_each_ten_and_none_is_refused():
    """28 words; at 1,000 a minute 1.7 seconds is the least."""
    said = []
    widget, _, events = plain()
    for _ in range(20):
        send(widget, "choose", choice="first", seconds=1.0)
        said.append(bool(widget.state["hurry"]))
    assert [at for at, is_said in enumerate(said, start=1) if is_said] == [10, 20]
    assert len(events) == 20
    for _ in range(10):
        send(widget, "choose", choice="first", seconds=4.0)
    assert not widget.state["hurry"]


def test_flagged_pairs_are_a_list_with_their_notes():
    widget, _, _ = plain()
    send(widget, "flag", flagged=True, note="odd")
    assert widget.state["flagged"] == []        # not answered yet: it is on the screen
    send(widget, "choose", choice="first")
    (line,) = widget.state["flagged"]
    assert (line["choice"], line["note"]) == ("first better", "odd")
    send(widget, "open", token=line["token"])
    assert widget.state["item"]["token"] == line["token"]
    send(widget, "flag", flagged=False, note="odd")
    assert widget.state["flagged"] == []


def test_the_message_being_answered_is_apart_from_what_was_said_before():
    prompt = [{"role": "user", "content": "old"}, {"role": "assistant", "content": "reply"},
              {"role": "user", "content": "new"}]
    widget, _, _ = plain(pairs=[Pair("p", prompt, "one", "two")])
    item = widget.state["item"]
    assert item["prompt"]["raw"] == "THEM: new"
    assert item["earlier"]["raw"] == "THEM: old\n\nPERSUADER: reply"
    assert widget.question == "Which one?"


def test_a_difference_marks_the_words_that_only_one_reply_has():
    first, second = difference("Dogs  guard the house well.", "Dogs guard a house well.")
    assert first == [(False, "Dogs  guard"), (True, " the"), (False, " house well.")]
    assert second == [(False, "Dogs guard"), (True, " a"), (False, " house well.")]


@pytest.mark.parametrize("second", ["", "Nothing of this stands there at all, really.", "x " * 900])
def test_replies_that_are_not_nearly_the_same_have_no_difference(second):
    assert difference("Dogs guard the house well.", second) is None
