"""Final replies in a real browser: compared and ranked by keys, resumed, and blind."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from persuasion_lib.core.rankings import Ranking
from persuasion_lib.core.records import Pair, content_id
from persuasion_lib.labeling.events import EventLog
from persuasion_lib.labeling.opening import Asked
from persuasion_lib.labeling.ranking import RankingSession, rank_items
from persuasion_lib.labeling.ranking_widget import RankingWidget
from persuasion_lib.labeling.widget import LabelWidget
from worlds.synthetic_evaluation import make_evaluation
from worlds.widget_page import WidgetPage

pytestmark = pytest.mark.browser
SIX = ("base", "sft", "rlhf", "rlaif", "rlaif_rlhf", "human")
NAMES = ("rlaif_rlhf", "rlhf", "sft", "human_reply")


def replies(count):
    rows = make_evaluation(count, SIX, effect=dict.fromkeys(SIX, 0.0))["per_example"]
    for row in rows:        # one model writes at great length: its place must not tell
        row["responses"]["rlaif_rlhf"] += " And so it goes on." * 60
    return rows


def prompt_of(row):
    return [{"role": "user", "content": row["prompt"]}]


def test_fifty_comparisons_by_keys_resumed_once_show_nothing_of_the_models(browser, tmp_path):
    pairs = [Pair(content_id(row["example_id"]), prompt_of(row), row["responses"]["rlaif_rlhf"],
                  row["responses"]["rlhf"], {"models": ["rlaif_rlhf", "rlhf"]})
             for row in replies(50)]
    asked = Asked(pairs, "Judge.", seed=0, repeat_fraction=0.0, checks=0)
    boxes, left, sent = set(), Counter(), []
    for count in (20, 30):
        log = EventLog(tmp_path / "log.jsonl")
        session = asked.session("ada", log.rows, log.append)
        desk = WidgetPage(browser, LabelWidget(session, break_every=500))
        for number in range(count):
            left[session.current.swapped] += 1
            boxes.add(tuple(desk.boxes(".plab-pair .plab-pane")))
            desk.press("123"[number % 3])
        sent += desk.sent
        desk.page.close()
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(rows) == 50 and session.current is None
    assert not any(name in text for name in NAMES for text in sent)
    widths = {(side[0], side[1]) for two in boxes for side in two}
    assert len(widths) == 2 and all(one[2] == two[2] for one, two in boxes)
    assert 15 <= left[True] <= 35


def ranking(log, rows):
    asked = [Ranking(row["example_id"], prompt_of(row), row["responses"]) for row in rows]
    items = rank_items(asked, seed=0, annotator="ada", repeat_fraction=0.0)
    events = EventLog(log)
    return RankingSession(items, events.rows, events.append, annotator="ada", guidelines="Judge.")


def test_six_replies_are_ranked_by_keys_and_resumed(browser, tmp_path):
    rows = replies(6)
    boxes, wanted, sent = set(), {}, []
    for count in (3, 3):
        session = ranking(tmp_path / "log.jsonl", rows)
        desk = WidgetPage(browser, RankingWidget(session, break_every=50))
        for _ in range(count):
            item = session.current
            boxes.add(tuple(desk.boxes(".plab-cards article")))
            desk.press("3", "1", "6", "2", "5", "4")
            boxes.add(tuple(desk.boxes(".plab-cards article")))
            desk.press("Enter")
            wanted[item.asked.example_id] = [item.texts[slot] for slot in (2, 0, 5, 1, 4, 3)]
        sent += desk.sent
        desk.page.close()
    made = session.ranked("ada")
    assert len(made) == 6 and session.current is None
    for one in made:
        best_first = sorted(one.replies, key=one.ranks.__getitem__)
        assert [one.replies[model] for model in best_first] == wanted[one.example_id]
    assert not any(name in text for name in NAMES for text in sent)
    assert len(boxes) == 1 and len({box[1:] for box in boxes.pop()}) == 1


def test_a_place_is_shared_taken_back_dragged_and_not_saved_before_all_have_one(browser, tmp_path):
    session = ranking(tmp_path / "log.jsonl", replies(2))
    desk = WidgetPage(browser, RankingWidget(session, break_every=50))
    desk.press("1", "=", "2", "3", "Backspace", "Enter")
    assert "4 of 6 have no place yet" in desk.page.locator(".plab-status").inner_text()
    desk.press("3", "4", "5", "6")
    desk.page.drag_and_drop(".plab-chip[data-slot='5']", ".plab-chip[data-slot='2']")
    assert "A=B›F›C›D›E" in desk.page.locator(".plab-strip").inner_text().replace("\n", "").replace(
        " ", "")
    names = session.current.names
    desk.press("Enter")
    [event] = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert event["places"] == [[names[0], names[1]], [names[5]], [names[2]], [names[3]],
                               [names[4]]]
    desk.press("Backspace")         # nothing is placed: the last saved order comes back
    assert session.done == 0
    desk.press("q")
    assert "Stopped at 0 of 2. Everything is saved." in desk.page.locator(".plab-end").inner_text()
    desk.page.close()
