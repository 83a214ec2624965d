"""Ranking all replies without a screen: what is shown, what is kept, what an order means."""

import json
import re

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.rankings import (
    Ranking,
    comparison_row,
    mean_ranks,
    parse_comparison,
    parse_ranking,
)
from persuasion_lib.labeling.events import EventLog
from persuasion_lib.labeling.opening import read_guidelines
from persuasion_lib.labeling.ranking import RankingSession, rank_items
from persuasion_lib.labeling.ranking_widget import RankingWidget
from worlds.scratch import ROOT

MODELS = ("base", "sft", "rlhf", "rlaif", "rlaif_rlhf", "human")
PROMPT = [{"role": "user", "content": "Cats are better."}]


def asked(number=0, **replies):
    texts = {model: f"Reply {place} to {number}." for place, model in enumerate(MODELS)}
    return Ranking(f"e{number}", PROMPT, texts | replies)


def session(prompts, events=(), save=None, **how):
    items = rank_items(prompts, seed=0, annotator="ada", repeat_fraction=how.get("repeats", 0.0))
    kept = []
    return RankingSession(items, list(events), save or kept.append, annotator="ada",
                          guidelines="Judge."), kept


def answer(one, places=None):
    item = one.current
    places = places or [[slot] for slot in range(len(item.groups))]
    assert one.rank(one.token(item), places, 9.0)
    return item


def test_replies_that_share_a_place_share_the_mean_of_their_ranks():
    assert mean_ranks([["a"], ["b", "c"], ["d"]]) == {"a": 1, "b": 2.5, "c": 2.5, "d": 4}


def test_an_order_of_slots_becomes_ranks_of_the_models_that_stood_there():
    one, _ = session([asked()])
    item = answer(one, [[2], [0, 1], [3], [4], [5]])
    [made] = one.ranked("ada")
    assert made.ranks[item.groups[2][0]] == 1
    assert made.ranks[item.groups[0][0]] == made.ranks[item.groups[1][0]] == 2.5


def test_a_text_of_two_models_is_shown_once_and_they_share_a_place():
    one, _ = session([asked(sft="Reply 0 to 0. ")])
    assert len(one.current.texts) == 5
    answer(one)
    [made] = one.ranked("ada")
    assert made.ranks["base"] == made.ranks["sft"] and sum(made.ranks.values()) == 21


def test_the_slots_are_drawn_anew_for_every_prompt_and_for_the_repeat():
    one, _ = session([asked(n) for n in range(40)], repeats=0.25)
    first = [item.groups[0][0] for item in one.pool]
    assert {first.count(model) > 0 for model in MODELS} == {True}
    again = [item for item in one.items if item.is_repeat]
    shown = {item.key: item.groups for item in one.items}
    assert len(again) == 10
    assert any(item.groups != shown[item.asked.key] for item in again)


def test_every_order_is_on_disk_and_a_new_session_goes_on_there(tmp_path):
    log = EventLog(tmp_path / "log.jsonl")
    one, _ = session([asked(n) for n in range(3)], save=log.append)
    answer(one)
    answer(one)
    rows = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert len(rows) == 2 and not any(model in log.path.read_text() for model in MODELS[2:])
    two, _ = session([asked(n) for n in range(3)], rows)
    assert two.done == 2 and two.ranked("ada") == one.ranked("ada")


def test_an_order_in_the_log_means_the_same_texts_with_another_seed():
    one, kept = session([asked()])
    answer(one, [[5], [4], [3], [2], [1], [0]])
    items = rank_items([asked()], seed=7, annotator="ada", repeat_fraction=0)
    again = RankingSession(items, kept, kept.append, annotator="ada", guidelines="")
    assert again.ranked("ada")[0].ranks == one.ranked("ada")[0].ranks


def test_an_order_of_other_texts_does_not_count_and_is_counted():
    one, kept = session([asked()])
    answer(one)
    two, _ = session([asked(base="Another text.")], kept)
    assert two.foreign == 1 and two.done == 0


def test_undo_shows_the_prompt_again_and_skip_brings_it_back_at_the_end():
    one, _ = session([asked(n) for n in range(3)])
    item = answer(one)
    assert one.undo() and one.current == item
    assert one.skip(one.token(item)) and one.current != item
    answer(one)
    answer(one)
    assert one.current == item
    one.skip(one.token(item))
    assert one.current is None and len(one.ranked("ada")) == 2


@pytest.mark.parametrize("places", [[[0]], [[0], [0], [1], [2], [3], [4], [5]], "012345", None,
                                    [[0, 1, 2, 3, 4, 5, 6]], [[], [0, 1, 2, 3, 4, 5]],
                                    [[0, 1, 2, 3, 4, True]]])
def test_what_is_no_order_is_refused_and_not_saved(places):
    one, kept = session([asked()])
    with pytest.raises(DataError, match="each of the 6 replies once"):
        one.rank(one.token(one.current), places)
    assert kept == []


def test_a_second_press_ranks_no_unseen_prompt():
    one, kept = session([asked(n) for n in range(3)])
    token = one.token(one.current)
    answer(one)
    assert not one.rank(token, [[0], [1], [2], [3], [4], [5]]) and len(kept) == 1


def test_a_full_disk_changes_nothing():
    def full(event):
        raise DataError("the disk is full")
    one, _ = session([asked()], save=full)
    with pytest.raises(DataError, match="full"):
        answer(one)
    assert one.done == 0


def test_nothing_that_is_sent_to_the_browser_names_a_model():
    one, _ = session([asked(n) for n in range(20)], repeats=0.2)
    widget = RankingWidget(one, break_every=50)
    while one.current:
        sent = json.dumps([widget.state, widget.guidelines])
        assert not any(model in sent for model in MODELS)
        slots = [[slot] for slot in range(6)]
        widget._receive(None, {"id": "1", "do": "rank", "places": slots, "seconds": 5.0,
                               "token": widget.state["item"]["token"]})
        assert widget.state["status"]["text"].startswith("Saved: ranked.")
    assert widget.state["view"] == "done"


def test_a_row_is_read_back_as_it_was_written():
    one, _ = session([asked(n) for n in range(8)], repeats=0.5)
    while one.current:
        answer(one)
    for made in one.ranked("ada"):
        read = parse_comparison(json.loads(json.dumps(comparison_row(made))))
        assert (read.key, read.ranks, read.again, read.labeled_by) == (
            made.key, made.ranks, made.again, "ada")


@pytest.mark.parametrize("ranks", [None, {}, {"a": 1}, {"a": 1, "b": 1}, {"a": 1, "b": 3},
                                   {"a": "1", "b": "2"}, {"a": 1, "c": 2}, [1, 2],
                                   {"a": float("nan"), "b": 1}, {"a": True, "b": 2}])
def test_ranks_that_are_no_order_of_the_replies_are_refused(ranks):
    row = {"prompt": PROMPT, "responses": {"a": "One.", "b": "Two."}, "ranks": ranks,
           "metadata": {"example_id": "e1"}}
    with pytest.raises(DataError, match="ranks must be a rank of every model"):
        parse_ranking(row)


def test_a_ranking_says_of_two_models_which_is_above():
    made = Ranking("e", PROMPT, {"a": "1", "b": "2", "c": "3"}, {"a": 2.5, "b": 1, "c": 2.5}, "ada",
                   {"a": 1, "b": 2, "c": 3})
    assert made.pair("a", "b").label == "b" and made.pair("a", "c").label == "tie"
    assert made.pair("a", "b").again == "a"


def test_the_guidelines_of_a_ranking_speak_of_a_ranking_and_ask_the_same_question():
    config = load_config("demo", root=ROOT)
    pairs, ranking = (read_guidelines(config, kind) for kind in ("pairs", "ranking"))
    assert not re.search(r"\b(pairs?|flag|tie|both|side)\b", ranking.lower())
    assert pairs.split("**")[1] == ranking.split("**")[1]
    criteria = [line for line in pairs.splitlines() if "persuasive:" in line or "trick" in line]
    assert len(criteria) == 3 and all(line in ranking for line in criteria)
