"""An answer belongs to who gave it: service, address, model asked for, and model that answered."""

from __future__ import annotations

import json

import pytest

from persuasion_lib import label_ai
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import JudgingStopped
from persuasion_lib.core.manifest import changed_reads, what_was_read
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.records import pair_row
from persuasion_lib.core.stage import StageRun, start
from persuasion_lib.core.store import write_jsonl
from persuasion_lib.judging.calibrate import HONEST, THREAT, ask_calibrated, known_answers
from persuasion_lib.judging.clients import Service
from persuasion_lib.judging.embed import embed
from persuasion_lib.judging.plan import plan
from persuasion_lib.judging.roles import make_judge
from persuasion_lib.judging.tasks.compare import label_pairs, pair_questions
from persuasion_lib.judging.tasks.tactics import Tactics, tactics_questions
from persuasion_lib.judging.word_lists import RUBRIC
from worlds.fakeserver import FakeServer, verdict_for
from worlds.judging_world import judge_at, pairs_of

KNOWN, LIVE, PAIRS = 3, 1, 6


@pytest.fixture
def pool(project):
    write_jsonl(project / "data/demo/preferences/ai_pool_responses.jsonl",
                map(pair_row, pairs_of(PAIRS)))
    return project


def run_at(server, more=""):
    there = f'servers.mine={{base_url: "{server.url}/v1", model: any, price: [0, 0]{more}}}'
    return start("label_ai", "demo", [there, "label_ai.judge=mine", "label_ai.both_orders=false",
                                      "label_ai.repeat_fraction=0", "replace=true"])


def label(server, more=""):
    """What 01 does with the AI pool at a local server that answers as whatever is loaded."""
    run = run_at(server, more)
    try:
        outcome = label_ai.label(run, label_ai.pairs_of(run), label_ai.judge_of(run))
    finally:
        run.lock.give_back()
    return run, outcome


def planned(server, more=""):
    run = run_at(server, more)
    run.lock.give_back()
    return label_ai.plan_of(run, label_ai.pairs_of(run), label_ai.judge_of(run))


class Loaded(FakeServer):
    """A server of which the loaded model can be exchanged: `good`, or one that always says 1."""

    model = "good"

    def __init__(self, **how):
        super().__init__(reply=self._says, reshape=lambda reply: reply | {"model": self.model},
                         **how)

    def _says(self, text):
        verdict = json.loads(verdict_for(text))
        return json.dumps(verdict if self.model != "bad" else verdict | {"choice": "1"})


def more_pairs(pool, count):
    write_jsonl(pool / "data/demo/preferences/ai_pool_responses.jsonl",
                map(pair_row, pairs_of(count)))


def test_a_bad_model_loaded_under_the_name_of_a_good_one_is_found_before_any_pair(pool):
    with Loaded() as server:
        label(server)
        more_pairs(pool, PAIRS + 2)
        server.model = "bad"
        asked = len(server.requests)
        with pytest.raises(JudgingStopped, match="shown second it answered 1"):
            label(server)
        assert len(server.requests) - asked <= KNOWN


def test_a_model_that_failed_is_tried_again_when_another_may_be_loaded(pool):
    with Loaded() as server:
        server.model = "bad"
        with pytest.raises(JudgingStopped, match="the next run asks again"):
            label(server)
        server.model = "good"
        assert label(server)[1].done == PAIRS


def test_a_good_model_in_place_of_a_good_one_is_tried_whole_and_both_are_named(pool):
    with Loaded() as server:
        label(server)
        more_pairs(pool, PAIRS + 2)
        server.model = "good-2"
        run, outcome = label(server)
        assert len(server.requests) == (KNOWN + PAIRS) + (KNOWN + 2)
    assert run.warnings[0].startswith(
        "2 models answered as mine/any in ai_judgments.jsonl: good (6), good-2 (2).")
    assert label_ai.summary(outcome).index[0] == "MODELS THAT ANSWERED AS ONE JUDGE"


def test_a_switch_between_the_two_orders_of_one_pair_shows_in_its_label(pool):
    with Loaded() as server:
        run = run_at(server)
        judge = label_ai.judge_of(run)
        pair = pairs_of(1)
        log = run.path("ai_judgments")
        for model, orders in (("good", False), ("good-2", True)):
            server.model = model
            outcome = label_pairs(pair, judge, log=log, both_orders=orders)
        run.lock.give_back()
    assert sorted(outcome.extras["pair-0"]["judge_model"].split(", ")) == ["good", "good-2"]


def test_one_model_is_asked_one_question_more_in_a_run_that_asks_and_none_in_one_that_does_not(
        pool):
    with Loaded() as server:
        label(server)
        label(server)
        assert len(server.requests) == KNOWN + PAIRS
        more_pairs(pool, PAIRS + 2)
        run, _ = label(server)
        assert len(server.requests) == KNOWN + PAIRS + LIVE + 2
    assert run.warnings == [] or not any("models answered" in text for text in run.warnings)


def test_a_server_asked_for_whatever_is_loaded_is_no_other_model(pool):
    with Loaded() as server:
        run, _ = label(server)
    assert not any("another model" in text for text in run.warnings)


# ---- addresses

def test_another_address_is_asked_anew_and_the_plan_says_what_stands_at_the_old_one(pool):
    with Loaded() as old, Loaded() as new:
        label(old)
        shown = planned(new)
        assert (shown.calls, shown.known) == (PAIRS, 0)
        assert f"6 answers of mine/any at {old.url}/v1" in shown.note
        assert f"servers.mine.same_as={old.url}/v1" in shown.note
        label(new)
        assert len(new.requests) == KNOWN + PAIRS


def test_a_server_that_moved_and_is_said_to_be_the_same_is_not_paid_twice(pool):
    with Loaded() as old, Loaded() as new:
        label(old)
        moved = f', same_as: "{old.url}/v1"'
        assert (planned(new, moved).calls, planned(new, moved).note) == (0, "")
        more_pairs(pool, PAIRS + 2)
        label(new, moved)
        assert len(new.requests) == LIVE + 2
        label(new, moved)
        assert len(new.requests) == LIVE + 2


def test_a_server_that_moved_and_is_said_to_be_the_same_makes_no_result_stale(project):
    def settings(port, more=""):
        there = f'servers.mine={{base_url: "http://localhost:{port}/v1", model: any{more}}}'
        config = load_config("demo", [there, "label_ai.judge=mine", "judging.prices={any: [0, 0]}"])
        make_judge(config, "label_ai")
        return config

    read = what_was_read(settings(8000))
    moved = settings(8001, ', same_as: "http://localhost:8000/v1"')
    assert changed_reads(moved, read) == []
    assert "servers.mine.base_url was http" in str(changed_reads(settings(8001), read)[0])


def test_old_logs_hold_for_the_address_that_their_rows_name_and_for_no_other(pool, monkeypatch):
    with Loaded() as server, Loaded() as other:
        with monkeypatch.context() as earlier:      # keys as they were, without an address
            earlier.setattr(Service, "address", "")
            label(server)
        assert planned(server).calls == 0
        assert planned(other).calls == PAIRS
        label(other)
        assert (planned(server).calls, planned(other).calls) == (0, 0)


@pytest.mark.parametrize("is_old", [False, True])
def test_what_a_local_server_said_is_no_answer_of_openai_itself(project, monkeypatch, is_old):
    log = project / "log"
    with Loaded() as server:
        judge = judge_at(server, monkeypatch, "openai")
        if is_old:
            monkeypatch.setattr(Service, "address", "")
        asked = pair_questions(pairs_of(3), judge, both_orders=False, seed=0)
        label_pairs(pairs_of(3), judge, log=log, both_orders=False)
        monkeypatch.undo()
        judge_at(server, monkeypatch, "openai")
        monkeypatch.delenv("OPENAI_BASE_URL")
        home = make_judge(load_config("full", ["label_ai.judge=openai"]), "label_ai")
        assert home.endpoint == "https://api.openai.com/v1"
        assert plan(asked, home, log=log).calls == 3
        assert plan(asked, judge, log=log).calls == 0


def test_at_home_and_of_a_stand_in_keys_are_what_they_were(project, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-api03-0123456789abcdef0123")
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    claude = make_judge(load_config("full", ["label_ai.judge=anthropic"]), "label_ai")
    assert claude.identity == ("anthropic", "claude-sonnet-5-5", "low", None, 2000, None)
    stand_in = make_judge(load_config("demo"), "label_ai")
    assert stand_in.identity == ("offline", "stand-in", None, None, 0, 0)
    question = next(iter(pair_questions(pairs_of(1), stand_in, both_orders=False,
                                        seed=0).values()))
    assert stand_in.key_of(question, {}) == question.key(stand_in.identity)


def test_a_vector_belongs_to_its_address(project):
    def config_at(server, more=""):
        there = f'servers.mine={{base_url: "{server.url}/v1", model: m, price: [0, 0]{more}}}'
        return load_config("full", [there, "similarity.embedder=mine"])

    cache = project / "cache"
    with FakeServer() as old, FakeServer() as new:
        embed(["a", "b"], config_at(old), cache=cache)
        embed(["a", "b"], config_at(old), cache=cache)
        embed(["a", "b"], config_at(new, f', same_as: "{old.url}/v1"'), cache=cache)
        assert (len(old.requests), len(new.requests)) == (1, 0)
        embed(["a", "b"], config_at(new), cache=cache)
        assert len(new.requests) == 1


# ---- other kinds of questions

def tactics(*present):
    return json.dumps({name.replace(" ", "_"): {"reason": "r", "present": name in present}
                       for name in RUBRIC})


@pytest.mark.parametrize("says, words", [
    (tactics(), "finds no manipulation in 'You should be ashamed"),
    (tactics("guilt"), "finds manipulation .guilt. in the honest 'A calm dog")])
def test_a_judge_of_manipulation_that_says_the_same_of_all_is_named_before_any_reply(
        project, says, words):
    with FakeServer(reply=lambda _: says) as server, pytest.raises(JudgingStopped, match=words):
        search(server)
    assert len(server.requests) <= 2


def search(server):
    there = f'servers.mine={{base_url: "{server.url}/v1", model: m, price: [0, 0]}}'
    run = StageRun(STAGES["evaluate"], load_config("demo", [there, "safety.judge=mine"]), {})
    judge = make_judge(run.config, "safety")
    prompts = {"e": [{"role": "user", "content": "No parks!"}]}
    asked = tactics_questions(prompts, {"e": {"sft": "Parks help."}}, {}, judge)
    return ask_calibrated(run, asked, judge, log="tactics_judgments", lacking="are open")


def test_a_judge_of_manipulation_that_tells_a_threat_from_an_argument_is_used(project):
    with FakeServer() as server:
        assert search(server).verdicts("tactics") == {"e/sft": {}}
        texts = [request["body"]["messages"][1]["content"] for request in server.requests]
    assert [THREAT in texts[0], HONEST in texts[1], "Parks help." in texts[2]] == [True] * 3


def test_the_stand_in_of_that_judge_passes_through_the_same_door(project):
    judge = make_judge(load_config("demo"), "safety")
    assert known_answers(judge, log=project / "log", kind=Tactics) == ("", "")
