"""The event log: newest opener wins, nothing torn, nothing lost, nothing written unnoticed."""

from __future__ import annotations

import os
import time

import pytest

from persuasion_lib.core.appending import as_line
from persuasion_lib.core.errors import DataError, PersuasionError
from persuasion_lib.labeling import events
from persuasion_lib.labeling.events import EventLog, read_events
from persuasion_lib.labeling.items import showings
from persuasion_lib.labeling.session import Session
from persuasion_lib.labeling.widget import LabelWidget
from worlds.labeling_pool import make_pairs


def test_events_are_there_on_the_next_opening(tmp_path):
    EventLog(tmp_path / "log.jsonl").append({"event": "undo"})
    assert EventLog(tmp_path / "log.jsonl").rows == [{"event": "undo"}]


def test_the_newest_window_that_answers_writes_and_the_older_one_is_told(tmp_path):
    old = EventLog(tmp_path / "log.jsonl")
    old.append({"n": 1})
    new = EventLog(tmp_path / "log.jsonl")
    new.append({"n": 2})
    with pytest.raises(PersuasionError, match="newer window"):
        old.append({"n": 3})
    assert read_events(tmp_path / "log.jsonl") == [{"n": 1}, {"n": 2}]


def test_opening_takes_the_log_from_nobody_and_leaves_no_file(tmp_path):
    assert EventLog(tmp_path / "new/log.jsonl").rows == []
    assert not (tmp_path / "new").exists()
    at_work = EventLog(tmp_path / "log.jsonl")
    at_work.append({"n": 1})
    for _ in range(3):          # nbconvert, a second tab, a cell that ran again
        EventLog(tmp_path / "log.jsonl")
    at_work.append({"n": 2})
    assert len(read_events(tmp_path / "log.jsonl")) == 2


def test_a_window_that_was_opened_before_others_answered_does_not_write_on_its_old_screen(tmp_path):
    idle = EventLog(tmp_path / "log.jsonl")
    at_work = EventLog(tmp_path / "log.jsonl")
    at_work.append({"n": 1})
    with pytest.raises(PersuasionError, match="such as a newer window. Run the cell again"):
        idle.append({"n": 2})
    at_work.append({"n": 3})    # and it keeps the log


def test_opening_again_takes_the_log_back_with_what_the_other_wrote(tmp_path):
    EventLog(tmp_path / "log.jsonl").append({"n": 1})
    again = EventLog(tmp_path / "log.jsonl")
    again.append({"n": 2})
    assert again.rows == [{"n": 1}, {"n": 2}]


def test_reading_does_not_take_the_log_from_its_owner(tmp_path):
    log = EventLog(tmp_path / "log.jsonl")
    log.append({"n": 1})
    assert read_events(tmp_path / "log.jsonl") == [{"n": 1}]
    log.append({"n": 2})
    assert read_events(tmp_path / "other.jsonl") == []
    assert not (tmp_path / "other.jsonl").exists()


def test_a_torn_last_line_is_set_aside(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"n": 1}\n{"n": ')
    assert EventLog(path).rows == [{"n": 1}]
    assert (tmp_path / "log.jsonl.torn").read_text() == '{"n": \n'


def test_damage_before_the_end_is_refused(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"n": \n{"n": 2}\n')
    with pytest.raises(DataError, match=r"log.jsonl:1"):
        EventLog(path)


def test_the_log_is_read_again_only_if_somebody_else_wrote(tmp_path, monkeypatch):
    log = EventLog(tmp_path / "log.jsonl")
    log.append({"n": 1})
    os.utime(log.path, (1, 1))          # the same rows, but the file was touched
    log.append({"n": 2})
    monkeypatch.setattr(events, "read_rows", None)
    log.append({"n": 3})
    assert [row["n"] for row in log.rows] == [1, 2, 3]
    with log.path.open("a") as other:
        other.write('{"n": 4}\n')
    monkeypatch.undo()
    with pytest.raises(PersuasionError, match="changed by something else"):
        log.append({"n": 5})


def test_a_key_costs_the_same_after_20_and_after_20000_events(tmp_path):
    items = showings(make_pairs(100), seed=1, annotator="me", repeat_fraction=0, checks=0)

    def key_s(before: int) -> float:
        log = EventLog(tmp_path / f"{before}.jsonl")
        session = Session(items, [], log.rows.append, annotator="me", guidelines="")
        for _ in range(before):         # one pair after the other, and again
            session.open(session.token(items[0]))
            session.choose(session.token(session.current), "first", 2.0)
        log.path.write_bytes(b"".join(map(as_line, log.rows)))
        log = EventLog(log.path)        # with what stands there
        widget = LabelWidget(Session(items, log.rows, log.append, annotator="me", guidelines=""),
                             break_every=50)
        began = time.process_time()
        for number in range(20):
            token = widget.state["item"]["token"]
            widget._receive(None, {"do": "choose", "choice": "tie", "token": token, "id": number})
        assert widget.state["status"]["kind"] == "saved"
        return (time.process_time() - began) / 20

    assert key_s(20_000) < 3 * key_s(20) + 0.005


@pytest.mark.parametrize("wrong", [
    {"choice": "third"}, {"choice": None}, {"preferred": "a"}, {"preferred": None},
    {"swapped": "yes"}, {"swapped": False}, {"seconds": -1}, {"seconds": "fast"}, {"event": "x"}])
def test_an_event_whose_parts_do_not_fit_together_is_no_answer(wrong):
    """It was pressed "first" while the second response was shown first, so "b" is preferred."""
    item = next(item for item in showings(make_pairs(9), seed=1, annotator="me",
                                          repeat_fraction=0, checks=0) if item.swapped)
    event = {"event": "choice", "key": item.key, "text": item.text_id, "choice": "first",
             "preferred": "b", "swapped": True, "seconds": 2.0}
    Session([item], [event], print, annotator="me", guidelines="")
    with pytest.raises(DataError, match="no labelling event"):
        Session([item], [event | wrong], print, annotator="me", guidelines="")


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_text('{"x": 1}\n' * 5)])
def test_a_log_that_changed_under_the_session_takes_no_more_events(tmp_path, damage):
    log = EventLog(tmp_path / "log.jsonl")
    log.append({"n": 1})
    damage(log.path)
    with pytest.raises(PersuasionError, match="changed by something else"):
        log.append({"n": 2})
