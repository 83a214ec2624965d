import json
import sys
from http.server import HTTPServer, SimpleHTTPRequestHandler
from importlib.machinery import ModuleSpec
from pathlib import Path
from threading import Thread
from types import ModuleType
from urllib.request import urlopen

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, DataError, MissingInput
from persuasion_lib.core.records import Turn
from persuasion_lib.core.store import write_jsonl
from persuasion_lib.data.corpora import (
    merged_turns,
    read_conversations_jsonl,
    read_corpus,
    read_persuasionforgood,
    read_winning_args,
)
from persuasion_lib.data.splits import prompts_in
from worlds.scratch import SHARED_DATA

HEADER = ",Unit,Turn,B4,B2\n"


def test_a_demo_corpus_of_no_conversations_says_which_setting_makes_them():
    with pytest.raises(ConfigError, match="data.conversations, and that is 0"):
        read_corpus(load_config("small", ["data.source=demo", "data.path=null"]))


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


def utterance(name, text, reply_to, speaker, root="t3_1", **meta):
    """A line of utterances.jsonl as ConvoKit 3 to 5 dump it."""
    return {"id": name, "conversation_id": root, "text": text, "speaker": speaker,
            "reply-to": reply_to, "timestamp": 1420070400, "vectors": [], "meta": meta}


def convokit(folder, rows, **about):
    """A corpus as ConvoKit unpacks it (speakers.json, corpus.json and index.json are not read)."""
    folder.mkdir(exist_ok=True)
    (folder / "conversations.json").write_text(json.dumps(
        {name: {"meta": meta, "vectors": []} for name, meta in about.items()}))
    (folder / "utterances.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder


POST = utterance("t3_1", "I like tea.", None, "Ann", success=None, pair_ids=[])
TITLE = {"t3_1": {"op-userID": "Ann", "op-title": "CMV: tea &gt; coffee", "train": 1}}


def winning_args(tmp_path, *rows):
    return [[(t.role[0], t.text, t.won) for t in c.turns]
            for c in read_winning_args(convokit(tmp_path / "corpus", [POST, *rows], **TITLE))]


VIEW = ("u", "CMV: tea > coffee\n\nI like tea.", None)


def test_an_argument_knows_whether_it_changed_the_view(tmp_path):
    assert winning_args(
        tmp_path, utterance("t1_a", "Coffee wakes.", "t3_1", "Bob", success=1),
        utterance("t1_b", "No.", "t3_1", "Cid", success=0),
        utterance("t1_c", "Water.", "t3_1", "Dot", success=None)) == [
            [VIEW, ("a", "Coffee wakes.", True)], [VIEW, ("a", "No.", False)],
            [VIEW, ("a", "Water.", None)]]


def test_an_argument_goes_on_between_its_author_and_the_poster_up_to_the_delta(tmp_path):
    """Eve, who joins in, is left out; so are the delta and the thanks for it."""
    assert winning_args(
        tmp_path, utterance("t1_a", "Coffee wakes.", "t3_1", "Bob", success=1),
        utterance("t1_e", "So does noise.", "t1_a", "Eve", success=None),
        utterance("t1_b", "I sleep enough.", "t1_a", "Ann", success=1),
        utterance("t1_c", "Nobody does.", "t1_b", "Bob", success=1),
        utterance("t1_d", "∆ You are right.", "t1_c", "Ann", success=1),
        utterance("t1_f", "Thanks!", "t1_d", "Bob", success=None)) == [[
            VIEW, ("a", "Coffee wakes.", True), ("u", "I sleep enough.", None),
            ("a", "Nobody does.", True)]]


def test_deleted_texts_bots_and_the_posters_own_comments_are_no_arguments(tmp_path):
    assert winning_args(
        tmp_path, utterance("t1_a", "[deleted]", "t3_1", "[deleted]", success=None),
        utterance("t1_b", None, "t3_1", "[missing]", success=None),
        utterance("t1_c", "Rules apply.", "t3_1", "AutoModerator", success=None),
        utterance("t1_d", "To add:", "t3_1", "Ann", success=None)) == []


def test_a_deleted_author_is_nobody_who_could_go_on(tmp_path):
    """Two comments by "[deleted]" may be of two people."""
    assert winning_args(
        tmp_path, utterance("t1_a", "Coffee wakes.", "t3_1", "[deleted]", success=0),
        utterance("t1_b", "Why?", "t1_a", "Ann", success=0),
        utterance("t1_c", "Because.", "t1_b", "[deleted]", success=0)) == [
            [VIEW, ("a", "Coffee wakes.", False), ("u", "Why?", None)]]


def test_all_arguments_of_a_post_are_one_conversation(tmp_path):
    rows = [POST, *(utterance(f"t1_{n}", f"Reason {n}.", "t3_1", f"U{n}") for n in range(3))]
    conversations = read_winning_args(convokit(tmp_path / "corpus", rows, **TITLE))
    assert [c.conversation_id for c in conversations] == ["t3_1"] * 3
    assert prompts_in(conversations) == 1


def test_the_first_version_of_convokit_wrote_one_list_with_other_names(tmp_path):
    folder = convokit(tmp_path / "corpus", [])
    (folder / "utterances.jsonl").unlink()
    (folder / "conversations.json").write_text('{"t3_1": {"op-title": "CMV: tea"}}')
    (folder / "utterances.json").write_text(json.dumps([
        {"id": "t3_1", "user": "Ann", "root": "t3_1", "reply_to": None, "text": "Tea.",
         "timestamp": None, "meta": {}},
        {"id": "t1_a", "user": "Bob", "root": "t3_1", "reply_to": "t3_1", "text": "No.",
         "timestamp": 1, "meta": {"success": 1}}]))
    assert read_winning_args(folder)[0].turns == (
        Turn("user", "CMV: tea\n\nTea."), Turn("assistant", "No.", True))


def test_an_utterance_without_a_text_is_named_by_file_and_line(tmp_path):
    folder = convokit(tmp_path / "corpus", [POST, {"id": "t1_a", "conversation_id": "t3_1"}])
    with pytest.raises(DataError, match=r"utterances\.jsonl:2: an utterance needs id"):
        read_winning_args(folder)


def test_both_forms_of_persuasionforgood_give_the_same_conversations(tmp_path):
    """ConvoKit counts utterances through and keeps the dialogue's name in the metadata."""
    (tmp_path / "full_dialog.csv").write_text(
        HEADER + "0,Hello.,0,0,d1\n1,Hi.,0,1,d1\n2,Give!,1,0,d1\n0,Hey.,0,0,d2\n1,No.,0,1,d2\n")
    nan = {"label_1": float("nan"), "sentiment": {"neg": float("nan")}}
    folder = convokit(tmp_path / "corpus", [
        utterance("0", "Hello.", None, "A3A", "0", role=0, user_turn_id=0, **nan),
        utterance("1", "Hi.", "0", "A25", "0", role=1, user_turn_id=0, **nan),
        utterance("2", "Give!", "1", "A3A", "0", role=0, user_turn_id=1, **nan),
        utterance("3", "Hey.", None, "A9Z", "3", role=0, user_turn_id=0, **nan),
        utterance("4", "No.", "3", "A25", "3", role=1, user_turn_id=0, **nan)],
        **{"0": {"dialogue_id": "d1", "donation_ee": 0.5}, "3": {"dialogue_id": "d2"}})
    assert read_persuasionforgood(folder) == read_persuasionforgood(tmp_path)


def test_another_corpus_is_not_taken_for_persuasionforgood(tmp_path):
    with pytest.raises(DataError, match=r"utterance t3_1 has no meta\.role.*persuasionforgood"):
        read_persuasionforgood(convokit(tmp_path / "corpus", [POST], **TITLE))


def test_a_packed_corpus_says_to_unpack_it(tmp_path):
    (tmp_path / "corpus.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="is packed. Unpack it"):
        read_winning_args(tmp_path / "corpus.zip")


CMV = ["data.source=cmv", "data.path=data/raw/cmv"]


def test_without_convokit_a_missing_corpus_is_explained_step_by_step(project):
    with pytest.raises(MissingInput, match=r"Download http.*winning-args-corpus\.zip, unpack it, "
                                           r"and move .*data/raw/cmv.*\[corpora\]"):
        read_corpus(load_config("demo", CMV))


def fake_convokit(monkeypatch, download):
    """A module with the one function that we call; the real one brings spaCy and pymongo."""
    module = ModuleType("convokit")
    module.__spec__ = ModuleSpec("convokit", None)
    module.download = download
    monkeypatch.setitem(sys.modules, "convokit", module)


def test_convokit_fetches_a_missing_corpus_once(project, monkeypatch):
    asked = []

    def download(name, data_dir):
        asked.append(name)
        reply = utterance("t1_a", "No.", "t3_1", "Bob", success=1)
        return str(convokit(Path(data_dir) / name, [POST, reply], **TITLE))

    fake_convokit(monkeypatch, download)
    config = load_config("demo", CMV)
    assert read_corpus(config) == read_corpus(config)
    assert asked == ["winning-args-corpus"]
    assert [p.name for p in (project / "data" / "raw").iterdir()] == ["cmv"]


def test_a_download_that_fails_leaves_nothing_and_says_how_to_do_it_by_hand(project, monkeypatch):
    """A server on loopback that knows no such file, and half a corpus that was there by then."""
    server = HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    Thread(target=server.serve_forever, daemon=True).start()

    def download(name, data_dir):
        convokit(Path(data_dir) / name, [POST])
        urlopen(f"http://127.0.0.1:{server.server_port}/absent.zip")

    fake_convokit(monkeypatch, download)
    with pytest.raises(MissingInput, match="HTTPError: HTTP Error 404.*Download http"):
        read_corpus(load_config("demo", CMV))
    server.shutdown()
    server.server_close()
    assert list((project / "data" / "raw").iterdir()) == []


def test_your_own_dialogues_are_lines_of_turns(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"conversation_id": 7, "turns": [{"role": "user", "text": "No."}, '
                    '{"role": "assistant", "text": "Yes."}]}\n{"turns": [{"role": "judge"}]}\n')
    with pytest.raises(DataError, match=r"mine\.jsonl:2.*role"):
        read_conversations_jsonl(path)
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert read_conversations_jsonl(path)[0].turns[1] == Turn("assistant", "Yes.")


@pytest.mark.parametrize("name, side", [("human", "user"), ("gpt", "assistant"),
                                        ("Assistant", "assistant"), ("bot", "assistant")])
def test_roles_of_other_projects_mean_in_own_dialogues_what_they_mean_in_prompts(
        name, side, tmp_path):
    row = {"conversation_id": "c", "turns": [{"role": name, "text": "Because."}]}
    write_jsonl(tmp_path / "own.jsonl", [row])
    (conversation,) = read_conversations_jsonl(tmp_path / "own.jsonl")
    assert [turn.role for turn in conversation.turns] == [side]


@pytest.mark.parametrize("row, words", [
    ({"turns": [{"role": "system", "text": "Be kind."}]}, "user. or .assistant"),
    ({"turns": [{"role": "tool", "text": "42"}]}, "the role 'tool'"),
    ({"conversations": [{"from": "human", "value": "Hi."}]}, "looks like ShareGPT's form"),
    ({"messages": [{"role": "user", "content": "Hi."}]}, "looks like OpenAI's chat form")])
def test_own_dialogues_in_another_form_are_refused_by_its_name(row, words, tmp_path):
    write_jsonl(tmp_path / "own.jsonl", [row])
    with pytest.raises(DataError, match=rf"own\.jsonl:1: .*{words}"):
        read_conversations_jsonl(tmp_path / "own.jsonl")


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


def own(tmp_path, *rows):
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_conversations_jsonl(tmp_path / "own.jsonl")


def dialogue(won, **more):
    return {**more, "turns": [{"role": "user", "text": "No."},
                              {"role": "assistant", "text": "Please.", "won": won}]}


@pytest.mark.parametrize("won, meaning", [(0, False), (1, True), (False, False), (None, None)])
def test_an_argument_that_failed_may_be_written_as_0(tmp_path, won, meaning):
    assert own(tmp_path, dialogue(won))[0].turns[1].won is meaning


@pytest.mark.parametrize("won", ["false", "0", 2])
def test_an_outcome_that_is_neither_true_nor_false_is_named_by_line(tmp_path, won):
    with pytest.raises(DataError, match=r"own\.jsonl:2: won must be true or false"):
        own(tmp_path, dialogue(None), dialogue(won))


def test_the_conversation_0_is_one_conversation_and_an_absent_id_is_made(tmp_path):
    rows = [dialogue(None, conversation_id=name) for name in (0, 0, None, "")]
    names = [c.conversation_id for c in own(tmp_path, *rows)]
    assert names[:2] == ["0", "0"] and len(names[2]) == len(names[3]) == 16


def test_ids_that_are_numbers_lead_to_their_replies(tmp_path):
    rows = [utterance(0, "I like tea.", None, "Ann", root=0),
            utterance(1, "Coffee wakes.", 0, "Bob", root=0, success=1)]
    found = read_winning_args(convokit(tmp_path / "c", rows, **{"0": {"op-title": "CMV"}}))
    assert [t.won for t in found[0].turns] == [None, True]


def test_an_id_that_occurs_twice_and_forms_a_cycle_ends(tmp_path):
    rows = [utterance("a", "Coffee wakes.", "t3_1", "Bob"), utterance("b", "Does it?", "a", "Ann"),
            utterance("a", "It does.", "b", "Bob")]
    assert winning_args(tmp_path, *rows) == [
        [("u", "CMV: tea > coffee\n\nI like tea.", None), ("a", "Coffee wakes.", None),
         ("u", "Does it?", None)]]


@pytest.mark.parametrize("wrong, words", [
    ({"id": None}, "needs id"), ({"conversation_id": ""}, "needs id"), ({"meta": [1]}, "an object"),
    ({"text": 7}, "is text"), ({"id": {"a": 1}}, "an id is")])
def test_an_utterance_of_another_shape_is_named_by_line(tmp_path, wrong, words):
    rows = [POST, utterance("a", "Hm.", "t3_1", "Bob") | wrong]
    with pytest.raises(DataError, match=rf"utterances\.jsonl:2: .*{words}"):
        read_winning_args(convokit(tmp_path / "c", rows, **TITLE))


def test_a_success_that_is_no_flag_names_its_utterance(tmp_path):
    with pytest.raises(DataError, match="meta.success of utterance a must be true or false"):
        winning_args(tmp_path, utterance("a", "Hm.", "t3_1", "Bob", success="yes"))


@pytest.mark.parametrize("encoding, words", [
    ("cp1252", r"full_dialog\.csv:2 is not UTF-8 text"), ("utf-16", "is UTF-16: save it as UTF-8")])
def test_a_csv_of_excel_in_another_encoding_is_named(tmp_path, encoding, words):
    (tmp_path / "full_dialog.csv").write_bytes((HEADER + "0,Café?,0,0,d1\n").encode(encoding))
    with pytest.raises(DataError, match=words):
        read_persuasionforgood(tmp_path)


@pytest.mark.parametrize("rows, words", [
    ("0,Hi.,0,0,\n", r"csv:2: a row needs"),
    ('0,"' + "x" * 200_000 + ",0,0,d\n", r"csv:\d: field")])
def test_a_csv_row_without_a_dialogue_or_with_an_open_quotation_is_named(tmp_path, rows, words):
    (tmp_path / "full_dialog.csv").write_text(HEADER + rows)
    with pytest.raises(DataError, match=words):
        read_persuasionforgood(tmp_path)


@pytest.mark.parametrize("about", ["[]", '{"t3_1": 3}'])
def test_conversations_of_another_shape_are_named(tmp_path, about):
    folder = convokit(tmp_path / "c", [POST], **TITLE)
    (folder / "conversations.json").write_text(about)
    with pytest.raises(DataError, match=r"conversations\.json must hold an object"):
        read_winning_args(folder)


@pytest.mark.parametrize("title", [None, "", float("nan")])
def test_a_post_without_a_title_begins_with_its_text(tmp_path, title):
    rows = [POST, utterance("a", "Coffee wakes.", "t3_1", "Bob")]
    found, = read_winning_args(convokit(tmp_path / "c", rows, t3_1={"op-title": title}))
    assert found.turns[0].text == "I like tea."


def test_dialogues_without_an_id_of_their_own_stay_apart(tmp_path):
    rows = [utterance(f"{d}{n}", "Hm.", None, "Ann", root=f"t3_{d}", role=n)
            for d in (1, 2) for n in (0, 1)]
    about = {"t3_1": {"dialogue_id": None}, "t3_2": {"dialogue_id": ""}}
    found = read_persuasionforgood(convokit(tmp_path / "c", rows, **about))
    assert [c.conversation_id for c in found] == ["t3_1", "t3_2"]
