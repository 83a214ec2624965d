"""Pairs of arguments of which one really won: where they are from, and what else uses them."""

import json
from collections import Counter
from types import SimpleNamespace

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.records import Conversation, Example, Turn, example_row
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import write_jsonl
from persuasion_lib.data.minds import gifts, of_arguments, read_outcomes, set_aside
from persuasion_lib.demo.corpus import gold_utility, make_conversations, make_outcomes

ROW = {"prompt": [{"role": "user", "content": "Tea is best."}], "won": "Coffee wakes you.",
       "lost": "No.", "conversation_id": "c1"}


def opened(*overrides):
    return StageRun(STAGES["validate"], load_config("demo", [*overrides]), {})


def given(project, *rows):
    (project / "minds.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return opened("minds.path=minds.jsonl", "minds.pairs=10")


def row(number, **change):
    return ROW | {"prompt": [{"role": "user", "content": f"View {number}."}],
                  "won": f"Because of {number}.", "conversation_id": f"c{number}"} | change


def test_by_default_nobody_is_asked(project):
    assert load_config("full").minds.pairs == 0
    assert read_outcomes(opened("minds.pairs=0")) == []


def test_a_file_that_nobody_asks_about_is_said(project):
    run = opened("minds.path=minds.jsonl", "minds.pairs=0")
    assert read_outcomes(run) == [] and "nobody is asked" in run.warnings[-1]


def test_the_label_is_what_won_wherever_it_stands(project):
    found = read_outcomes(given(project, *map(row, range(10))))
    assert {label.chosen for label in found} == {f"Because of {n}." for n in range(10)}
    assert len({label.label for label in found}) == 2           # drawn by a hash
    assert {label.rejected for label in found} == {"No."}


@pytest.mark.parametrize(("change", "said"), [
    ({"won": None}, "won is the text of an argument"), ({"lost": " "}, "lost is the text"),
    ({"won": 7}, "won is the text"), ({"lost": "Because of 2. "}, "the same text"),
    ({"prompt": None}, "no prompt"), ({"prompt": [{"role": "tool", "content": "x"}]}, "role"),
    ({"conversation_id": ["c"]}, "an id is text or a number")])
def test_a_line_that_is_no_outcome_is_refused_with_its_place(project, change, said):
    run = given(project, row(1), row(2, **change))
    with pytest.raises(DataError, match=rf"minds\.jsonl:2: .*{said}"):
        read_outcomes(run)


def test_a_pair_that_stands_there_again_or_the_other_way_round_is_refused(project):
    with pytest.raises(DataError, match=r"minds\.jsonl:2: .*stands in the file again"):
        read_outcomes(given(project, row(1), row(1)))
    turned = row(1, won="No.", lost="Because of 1.")
    with pytest.raises(DataError, match=r"minds\.jsonl:2: .*with another winner"):
        read_outcomes(given(project, row(1), turned))


def test_an_empty_file_is_refused(project):
    with pytest.raises(DataError, match=r"minds\.jsonl is empty"):
        read_outcomes(given(project))


def used(project, prompt="Other.", reply="Other reply.", conversation="other"):
    example = Example("x", [{"role": "user", "content": prompt}], reply,
                      {"conversation_id": conversation})
    write_jsonl(project / "data/demo/processed/sft_train.jsonl", [example_row(example)])


@pytest.mark.parametrize("how", [{"conversation": "c1"}, {"prompt": "View 1."},
                                 {"reply": "Because of 1."}])
def test_what_another_set_uses_is_left_out_and_counted(project, how):
    used(project, **how)
    run = given(project, row(1), row(2))
    assert [label.chosen for label in read_outcomes(run)] == ["Because of 2."]
    assert any("1 of 2 pairs" in text and "left out: another set" in text for text in run.warnings)


def test_only_one_pair_of_a_conversation_counts(project):
    run = given(project, row(1), row(2, conversation_id="c1"), row(3))
    assert len(read_outcomes(run)) == 2
    assert any("1 more are left out" in text for text in run.warnings)


def test_what_the_demo_has_to_spare_is_missed_by_nobody_and_no_note(project):
    used(project, reply=read_outcomes(opened("minds.pairs=5"))[0].chosen)
    run = opened("minds.pairs=5")
    assert len(read_outcomes(run)) == 5
    assert not any("left out" in text for text in run.warnings)


def test_too_few_are_said(project):
    run = given(project, row(1))
    read_outcomes(run)
    assert "minds.pairs asks for 10 pairs" in run.warnings[-1]


def test_the_demos_pairs_are_ordered_by_gold_and_of_no_conversation(project):
    posts = {one.turns[0].text for one in make_conversations(n=50, seed=0)}
    for post, won, lost in make_outcomes(n=20, seed=0):
        prompt = [{"role": "user", "content": post}]
        assert gold_utility(prompt, won) > gold_utility(prompt, lost) and post not in posts
    assert make_outcomes(n=20, seed=0) == make_outcomes(n=30, seed=0)[:20]


def argument(reply, won, name="post"):
    return Conversation(name, "cmv", (Turn("user", "Cats rule."), Turn("assistant", reply, won)))


def test_of_a_post_one_argument_that_won_and_one_that_did_not():
    found = of_arguments([argument("A", True), argument("B", False), argument("C", None),
                          argument("D", True, "all won"), argument("E", False, "none won")])
    assert [(label.chosen, label.rejected) for label in found] == [("A", "B")]


def test_of_a_long_argument_only_the_first_reply_is_shown():
    long = Conversation("post", "cmv", (Turn("user", "Cats rule."), Turn("assistant", "A", None),
                                        Turn("user", "Hm."), Turn("assistant", "Z", True)))
    [label] = of_arguments([long, argument("B", False)])
    assert label.chosen == "A"


def test_gifts_are_those_of_the_other_side_and_no_amount_is_refused(tmp_path):
    file = tmp_path / "full_info.csv"
    file.write_text("B2,B4,B6\nd1,0,5.0\nd1,1,0.5\nd2,1,0.0\nd3,1,\n")
    assert gifts(tmp_path) == {"d1": 0.5, "d2": 0.0}
    (tmp_path / "conversations.json").write_text(json.dumps(
        {"k1": {"meta": {"dialogue_id": "d1", "donation_ee": 0.5}}, "k2": {"donation_ee": None}}))
    (tmp_path / "utterances.jsonl").write_text("")
    assert gifts(tmp_path) == {"d1": 0.5}
    file.write_text("B2,B4,B6\nd1,1,much\n")
    (tmp_path / "conversations.json").unlink()
    with pytest.raises(DataError, match="no amount of dollars"):
        gifts(tmp_path)


def test_conversations_are_set_aside_in_00_only_where_they_are_asked_for():
    groups = {name: [argument("A", True, name), argument("B", False, name)] for name in "abc"}
    groups["d"] = [argument("D", True, "d")]

    def aside(source, pairs, path=None):
        config = SimpleNamespace(data=SimpleNamespace(source=source),
                                 minds=SimpleNamespace(pairs=pairs, path=path))
        return set_aside(groups, list(groups), config)

    assert aside("cmv", 2) == ["a", "b"] and aside("cmv", 9) == ["a", "b", "c"]
    assert aside("cmv", 0) == aside("demo", 5) == aside("cmv", 5, "file") == []


def test_which_stands_first_says_nothing_of_what_won(project):
    found = read_outcomes(opened("minds.pairs=200"))
    assert 70 < Counter(label.label for label in found)["a"] < 130
