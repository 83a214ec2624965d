"""The event log: newest opener wins, nothing torn, nothing lost, nothing written unnoticed."""

from __future__ import annotations

import pytest

from persuasion_lib.core.errors import DataError, PersuasionError
from persuasion_lib.labeling.events import EventLog, read_events


def test_events_are_there_on_the_next_opening(tmp_path):
    EventLog(tmp_path / "log.jsonl").append({"event": "undo"})
    assert EventLog(tmp_path / "log.jsonl").rows == [{"event": "undo"}]


def test_the_newest_opener_writes_and_the_older_one_is_told(tmp_path):
    old = EventLog(tmp_path / "log.jsonl")
    new = EventLog(tmp_path / "log.jsonl")
    with pytest.raises(PersuasionError, match="newer window"):
        old.append({"n": 1})
    new.append({"n": 2})
    assert read_events(tmp_path / "log.jsonl") == [{"n": 2}]


def test_opening_again_takes_the_log_back_with_what_the_other_wrote(tmp_path):
    EventLog(tmp_path / "log.jsonl")
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


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_text('{"x": 1}\n' * 5)])
def test_a_log_that_changed_under_the_session_takes_no_more_events(tmp_path, damage):
    log = EventLog(tmp_path / "log.jsonl")
    log.append({"n": 1})
    damage(log.path)
    with pytest.raises(PersuasionError, match="changed by something else"):
        log.append({"n": 2})
