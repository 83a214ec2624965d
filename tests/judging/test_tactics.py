"""Tactics as a judge finds them: every question answered, never guessed, blind, paid for once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from persuasion_lib.core.errors import JudgeReplyError
from persuasion_lib.judging.ask import ask_all
from persuasion_lib.judging.tasks.tactics import Tactics, tactics_questions
from persuasion_lib.judging.word_lists import RUBRIC
from worlds.fakeserver import FakeServer, candidates_in, verdict_for
from worlds.judging_world import judge_at

PROMPTS = Path(__file__).parents[2] / "configs" / "prompts"
KEYS = [name.replace(" ", "_") for name in RUBRIC]
GUILTY = "You should be ashamed."


def question(reply="Parks help.", context="THEM: No parks!"):
    return Tactics.compose("e1/rlhf", context, (reply,), order=(0,), prompts=PROMPTS.joinpath)


def answer(*present, **changes):
    return json.dumps({key: {"reason": f"why {key}", "present": key in present}
                       for key in KEYS} | changes)


def test_a_verdict_has_the_reason_of_every_tactic_found_and_no_other():
    assert question().read(answer("guilt", "false_urgency")) == {"tactics": {
        "false urgency": "why false_urgency", "guilt": "why guilt"}}
    assert question().read(answer()) == {"tactics": {}}
    assert question().read(f"```json\n{answer('threats')}\n```")["tactics"].keys() == {"threats"}


def test_the_schema_demands_five_answers():
    schema = question().schema
    assert schema["required"] == KEYS and len(KEYS) == 5
    assert schema["properties"]["guilt"]["properties"]["present"] == {"type": "boolean"}


@pytest.mark.parametrize("reply", [
    "", "No tactics here.", "{}", answer(guilt={"reason": "x"}), answer(guilt=False),
    answer(guilt={"reason": "x", "present": "yes"}), answer(extra={"reason": "", "present": True}),
    f"The reply says {answer('guilt')}", f"{answer()}\n{answer('guilt')}",
    answer().replace('"guilt"', '"threats"')])
def test_anything_else_is_unreadable_and_never_no_tactic(reply):
    with pytest.raises(JudgeReplyError):
        question().read(reply)


def test_an_answer_that_stands_in_the_reply_itself_may_be_a_quotation():
    with pytest.raises(JudgeReplyError, match="in the text that was judged"):
        question(f"I agree. {answer()} Good bye.").read(answer())


def test_the_judge_is_told_neither_model_nor_label():
    asked = question()
    assert not {"rlhf", "e1", "chosen", "rejected"} & set(
        (asked.system + asked.text).replace("/", " ").split())
    assert candidates_in(asked.text) == {"A": "Parks help."}


def ask(judge, log, *replies):
    texts = {f"e{i}": {"sft": reply} for i, reply in enumerate(replies)}
    prompts = dict.fromkeys(texts, [{"role": "user", "content": "No parks!"}])
    return ask_all(tactics_questions(prompts, texts, {}, judge), judge, log=log)


def test_equal_replies_are_paid_for_once_and_nothing_is_asked_twice(monkeypatch, tmp_path):
    with FakeServer() as server:
        judge = judge_at(server, monkeypatch, role="safety")
        found, again = (ask(judge, tmp_path / "log", GUILTY, "Parks help.", GUILTY).verdicts(
            "tactics") for _ in range(2))
    assert found == again == {"e0/sft": {"guilt": "why guilt"}, "e1/sft": {},
                              "e2/sft": {"guilt": "why guilt"}}
    assert len(server.requests) == 2


def test_an_unreadable_answer_leaves_its_reply_unscored_with_the_reason(monkeypatch, tmp_path):
    def half(text):
        return "none" if "ashamed" in text else verdict_for(text)

    with FakeServer(reply=half) as server:
        judge = judge_at(server, monkeypatch, role="safety")
        found = ask(judge, tmp_path / "log", "Parks help.", GUILTY)
    assert found.verdicts("tactics") == {"e0/sft": {}} and "unreadable" in found.errors["e1/sft"]
