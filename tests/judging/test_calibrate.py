"""Three questions with known answers come before all others, for every judge and stand-in."""

from __future__ import annotations

import json

import pytest

from persuasion_lib import label_ai
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import JudgingStopped
from persuasion_lib.core.records import pair_row
from persuasion_lib.core.stage import start
from persuasion_lib.core.store import write_jsonl
from persuasion_lib.judging.calibrate import _is_another, known_answers
from persuasion_lib.judging.roles import make_judge
from worlds.fakeserver import FakeServer, verdict_for
from worlds.judging_world import pairs_of

QUESTIONS = 3


@pytest.fixture
def pool(project):
    write_jsonl(project / "data/demo/preferences/ai_pool_responses.jsonl",
                map(pair_row, pairs_of(6)))
    return project


def label(server, *more):
    """What 01 does with the AI pool; returns its run."""
    local = f'servers.mine={{base_url: "{server.url}/v1", model: m, price: [0, 0]}}'
    run = start("label_ai", "demo", [local, "label_ai.judge=mine", "label_ai.both_orders=false",
                                     "label_ai.repeat_fraction=0", *more])
    try:
        label_ai.label(run, label_ai.pairs_of(run), label_ai.judge_of(run))
    finally:
        run.lock.give_back()
    return run


def always(choice):
    return lambda _: json.dumps({"reasoning": "r", "choice": choice})


def test_a_good_judge_is_asked_three_more_questions_and_then_one_a_run(pool):
    with FakeServer() as server:
        run = label(server)
        assert len(server.requests) == QUESTIONS + 6
        assert not any("judge" in text for text in run.warnings)
        write_jsonl(pool / "data/demo/preferences/ai_pool_responses.jsonl",
                    map(pair_row, pairs_of(8)))
        label(server)
    one_more = 1        # who answers there now?
    assert len(server.requests) == QUESTIONS + 8 + one_more
    saved = pool / "data/demo/preferences/judge_checks.jsonl"
    assert len(saved.read_text().splitlines()) == QUESTIONS + one_more


@pytest.mark.parametrize("choice, words", [
    ("1", "with the argument shown second it answered 1"),
    ("2", "with the argument shown first it answered 2"),
    ("EQUAL", "shown first it answered EQUAL")])
def test_a_judge_that_always_says_the_same_is_named_before_any_pair(pool, choice, words):
    with FakeServer(reply=always(choice)) as server:
        for _ in range(2):
            with pytest.raises(JudgingStopped, match=f"judge mine/m at http.*{words}") as caught:
                label(server)
        asked = len(server.requests)
        assert asked <= 2 * 2   # wrong answers are not used again, so the second run asked anew
        assert "judging.calibrate=false" in str(caught.value)
        label(server, "judging.calibrate=false")
    assert len(server.requests) == asked + 6


def test_a_judge_that_cannot_be_read_is_named_after_one_question(pool):
    with FakeServer(reply=lambda _: "Dear user, both are fine.") as server, pytest.raises(
            JudgingStopped, match="cannot be used .unreadable: no choice"):
        label(server)
    assert len(server.requests) == 3        # the tries of one question


def test_a_judge_with_a_side_is_used_and_the_side_is_a_warning(pool):
    def first_unless_longer(text):
        verdict = json.loads(verdict_for(text))
        return json.dumps(verdict | {"choice": verdict["choice"].replace("EQUAL", "1")})

    with FakeServer(reply=first_unless_longer) as server:
        run = label(server)
    assert any("answered 1 when both replies were the same" in text for text in run.warnings)


def test_what_is_answered_already_is_not_questioned(pool):
    with FakeServer() as server:
        label(server, "judging.calibrate=false")
        label(server)
    assert len(server.requests) == 6


@pytest.mark.parametrize("seed", range(8))
def test_the_stand_in_passes_through_the_same_door(project, seed):
    judge = make_judge(load_config("demo", [f"seed={seed}"]), "label_ai")
    problem, _ = known_answers(judge, log=project / "log")
    assert problem == ""


def answering_as(name):
    return FakeServer(reshape=lambda reply: reply | {"model": name})


def test_a_server_that_answers_as_another_model_is_noted_in_every_run(pool):
    with answering_as("tiny-0.5b") as server:
        large = f'servers.mine={{base_url: "{server.url}/v1", model: big-70b, price: [0, 0]}}'
        for _ in range(2):      # in the second nothing is asked
            noted = [text for text in label(server, large).warnings if "another model" in text]
            assert "mine/big-70b" in noted[0] and "answers as tiny-0.5b" in noted[0]
        assert len(server.requests) == QUESTIONS + 6


@pytest.mark.parametrize("asked, answered", [
    ("claude-sonnet-5-5", "claude-sonnet-5-5-20260101"), ("gpt-5.1", "gpt-5.1-2025-11-13"),
    ("/models/Qwen3-8B-Q4.gguf", "qwen3-8b-q4"), ("openai/gpt-5.1", "gpt-5.1"),
    ("meta/llama-3:free", "Llama-3"), ("m", "None"), ("m", "")])
def test_a_longer_or_a_shorter_name_is_the_same_model_and_no_name_says_nothing(asked, answered):
    assert not _is_another(answered, asked)
