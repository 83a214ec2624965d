"""What the widget sends to the browser, without a browser."""

from __future__ import annotations

import json

import pytest

from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.core.records import Pair
from persuasion_lib.labeling.items import showings
from persuasion_lib.labeling.session import Session
from persuasion_lib.labeling.widget import LabelWidget
from worlds.labeling_pool import make_pairs


def widget(pairs=None, save=None, events=None):
    events = [] if events is None else events
    items = showings(pairs or make_pairs(40), seed=0, annotator="me", repeat_fraction=0.1, checks=3)
    session = Session(items, [], save or events.append, annotator="me", guidelines="**Fair.**")
    return LabelWidget(session, break_every=2)


def send(screen, do, **fields):
    item = screen.state["item"] or {}
    screen._receive(None, {"id": "v:1", "do": do, "token": item.get("token"), **fields})
    return screen.state["status"]


def test_saved_is_said_after_the_event_is_there_and_answers_the_message():
    events = []
    screen = widget(events=events)
    assert send(screen, "choose", choice="first", seconds=3.0) == {
        "kind": "saved", "text": "Saved: first better. 1 answered."}
    assert screen.state["ack"] == "v:1" and len(events) == 1


def test_an_event_that_could_not_be_saved_is_called_not_saved_and_the_pair_stays():
    def full(event):
        raise PersuasionError("the disk is full.")

    screen = widget(save=full)
    before = screen.state["item"]
    assert send(screen, "choose", choice="first") == {
        "kind": "error", "text": "NOT SAVED: the disk is full."}
    assert screen.state["item"] == before and screen.state["done"] == 0


def test_a_message_about_a_pair_that_is_gone_is_not_counted():
    screen = widget()
    token = screen.state["item"]["token"]
    send(screen, "choose", choice="first", token=token)
    assert send(screen, "choose", choice="first", token=token)["text"].startswith("Not counted")
    assert screen.state["done"] == 1


def test_the_second_skip_says_that_the_pair_is_left_out():
    screen = widget(make_pairs(1))
    assert send(screen, "choose", choice="skip")["text"].endswith("comes back at the end.")
    assert send(screen, "choose", choice="skip")["text"].endswith("left out for good.")
    assert screen.state["view"] == "done" and screen.state["item"] is None


def test_quit_shows_the_figures_and_any_other_message_returns_to_the_pair():
    screen = widget()
    shown = screen.state["item"]
    send(screen, "quit")
    assert screen.state["view"] == "quit" and screen.state["summary"]
    send(screen, "resume")
    assert screen.state["view"] == "label" and screen.state["item"] == shown


def test_a_break_is_due_in_the_state_of_every_second_answer():
    screen = widget()
    due = []
    for _ in range(4):
        send(screen, "choose", choice="first")
        due.append(screen.state["pause"])
    assert due == [False, True, False, True]


def test_the_browser_learns_nothing_that_could_tell_models_or_repeats_apart():
    screen = widget()
    for _ in range(45):
        sent = json.dumps(screen.state)
        for secret in ("metadata", "conversation", "p0", "/repeat", "/check", "swapped"):
            assert secret not in sent
        send(screen, "choose", choice="first")


@pytest.mark.parametrize("text", [
    "<script>x</script>", "<img src=x onerror=y>", "![i](https://e.example/a.png)",
    "[c](javascript:x)", "<https://e.example>", "</div><svg onload=x>", "[d][e]\n\n[e]: data:x"])
def test_the_formatted_text_holds_no_tag_of_the_source_and_no_address(text):
    pair = Pair("p", [{"role": "user", "content": text}], text, f"{text} b", {})
    item = widget([pair]).state["item"]
    for name in ("prompt", "first", "second"):
        html = item[name]["html"]
        assert not any(tag in html for tag in ("<script", "<img", "<a", "<svg", "</div", "href="))
        assert text in item[name]["raw"]


def test_the_pace_tells_the_median_and_the_time_left():
    screen = widget()
    for _ in range(3):
        send(screen, "choose", choice="first", seconds=60.0)
    assert screen.state["pace"] == "median 60 s, about 43 min left"
