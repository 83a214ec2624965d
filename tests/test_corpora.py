import json

import pytest
from scratch import SHARED_DATA

from persuasion_lib.config import load_config
from persuasion_lib.corpora import (
    merged_turns,
    read_conversations_jsonl,
    read_corpus,
    read_persuasionforgood,
    read_winning_args,
)
from persuasion_lib.errors import ConfigError, DataError, MissingInput
from persuasion_lib.records import Turn

HEADER = ",Unit,Turn,B4,B2\n"


def test_sentences_of_one_turn_are_joined_and_role_0_persuades(tmp_path):
    (tmp_path / "full_dialog.csv").write_text(
        HEADER + "0,Hello.,0,0,d1\n1,How are you?,0,0,d1\n2,Fine.,0,1,d1\n3,Hi.,0,0,d2\n")
    first, second = read_persuasionforgood(tmp_path)
    assert first.turns == (Turn("assistant", "Hello. How are you?"), Turn("user", "Fine."))
    assert second.conversation_id == "d2"


def test_a_wrong_role_is_named_by_file_and_line(tmp_path):
    (tmp_path / "full_dialog.csv").write_text(HEADER + "0,Hello.,0,0,d1\n1,Hi.,0,7,d1\n")
    with pytest.raises(DataError, match=r"full_dialog\.csv:3"):
        read_persuasionforgood(tmp_path)


def test_a_missing_column_says_which_and_what_there_is(tmp_path):
    (tmp_path / "full_dialog.csv").write_text("Unit,Turn\nHello,0\n")
    with pytest.raises(DataError, match="no column B4, B2; it has Unit, Turn"):
        read_persuasionforgood(tmp_path)


def test_a_missing_corpus_says_which_setting_to_change(tmp_path):
    with pytest.raises(MissingInput, match=r"data\.path"):
        read_persuasionforgood(tmp_path)


def test_a_source_without_a_path_is_a_setting_to_mend(project):
    with pytest.raises(ConfigError, match=r"needs data\.path"):
        read_corpus(load_config("demo", ["data.source=jsonl"]))


def test_a_winning_argument_knows_that_it_won(tmp_path):
    (tmp_path / "conversations.json").write_text(
        json.dumps({"t3_1": {"meta": {"op-title": "CMV: tea &gt; coffee"}}}))
    rows = [
        {"id": "t3_1", "conversation_id": "t3_1", "reply-to": None, "text": "I like tea.",
         "meta": {"success": None}},
        {"id": "t1_a", "conversation_id": "t3_1", "reply-to": "t3_1", "text": "Coffee wakes.",
         "meta": {"success": 1}},
        {"id": "t1_b", "conversation_id": "t3_1", "reply-to": "t3_1", "text": "No.",
         "meta": {"success": 0}}]
    (tmp_path / "utterances.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    won, lost = read_winning_args(tmp_path)
    assert won.turns[0].text == "CMV: tea > coffee\n\nI like tea."
    assert (won.turns[1].won, lost.turns[1].won) == (True, False)
    assert won.conversation_id == lost.conversation_id == "t3_1"


def test_your_own_dialogues_are_lines_of_turns(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"conversation_id": 7, "turns": [{"role": "user", "text": "No."}, '
                    '{"role": "assistant", "text": "Yes."}]}\n{"turns": [{"role": "judge"}]}\n')
    with pytest.raises(DataError, match=r"mine\.jsonl:2.*role"):
        read_conversations_jsonl(path)
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert read_conversations_jsonl(path)[0].turns[1] == Turn("assistant", "Yes.")


def test_an_empty_corpus_is_an_error_not_an_empty_run(project):
    (project / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="holds no conversation"):
        read_corpus(load_config("demo", ["data.source=jsonl", "data.path=empty.jsonl"]))


def test_messages_of_one_side_in_a_row_become_one():
    turns = [Turn("user", "a"), Turn("user", "b"), Turn("assistant", " "), Turn("assistant", "c")]
    assert merged_turns(turns) == (Turn("user", "a b"), Turn("assistant", "c"))


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the real corpus is not beside the checkout")
def test_the_real_persuasionforgood_has_1017_dialogues_with_two_sides():
    conversations = read_persuasionforgood(SHARED_DATA / "persuasionforgood")
    assert len(conversations) == 1017
    assert all({t.role for t in c.turns} == {"user", "assistant"} for c in conversations)
    assert all(a.role != b.role for c in conversations
               for a, b in zip(c.turns, c.turns[1:], strict=False))
