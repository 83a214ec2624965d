"""Resume, budget, interrupts, locks and full disks, over a loopback server."""

from __future__ import annotations

import _thread
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, DataError, JudgingStopped, PersuasionError
from persuasion_lib.core.store import AppendLog
from persuasion_lib.judging.ask import ask_all
from persuasion_lib.judging.check import check
from persuasion_lib.judging.pace import Budget, Pacer
from persuasion_lib.judging.plan import plan
from persuasion_lib.judging.roles import check_model, make_judge
from persuasion_lib.judging.rows import errors_path
from persuasion_lib.judging.tasks.compare import LabelOutcome, label_pairs, pair_questions
from persuasion_lib.judging.tasks.oracle import oracle_questions
from persuasion_lib.judging.tasks.rank import rank
from worlds.fakeserver import FakeServer
from worlds.judging_world import MARKED_KEY, child_environment, judge_at, pairs_of, right_labels

ROOT = Path(__file__).parents[2]
CATS = [{"role": "user", "content": "cats?"}]
WORLD = ROOT / "tests" / "worlds" / "judging_world.py"


def labels(outcome: LabelOutcome) -> dict[str, str]:
    return {item.pair.pair_id: item.label for item in outcome.labeled}


def child(server: FakeServer, folder: Path, *args: str, prefix: str = "") -> subprocess.Popen[str]:
    """A labelling run in a process of its own; `prefix` is Python that runs before it."""
    code = f"{prefix}\nimport runpy, sys\nsys.argv = sys.argv[1:]\n" \
           "runpy.run_path(sys.argv[0], run_name='__main__')"
    return subprocess.Popen(
        [sys.executable, "-c", code, str(WORLD), str(folder / "judgments.jsonl"), *args],
        env=child_environment(server), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=ROOT)


def interrupt_after(server: FakeServer, requests: int, *, times: int = 1) -> threading.Thread:
    """Ctrl-C for the main thread once the server has seen so many requests."""
    def press() -> None:
        while len(server.requests) < requests:
            time.sleep(0.01)
        for _ in range(times):
            _thread.interrupt_main()
            time.sleep(0.4)

    thread = threading.Thread(target=press)
    thread.start()
    return thread


# ---- labels and resume

def test_both_orders_agree_on_the_right_label(monkeypatch, tmp_path):
    with FakeServer() as server:
        outcome = label_pairs(pairs_of(30), judge_at(server, monkeypatch), log=tmp_path / "log")
    assert labels(outcome) == right_labels(30)
    assert (outcome.flips, outcome.ties, len(server.requests)) == (0, 10, 60)


def test_a_judge_that_always_says_first_gives_only_ties_and_flips(monkeypatch, tmp_path):
    def first(_: str) -> str:
        return '{"reasoning": "first", "choice": "1"}'

    with FakeServer(reply=first) as server:
        outcome = label_pairs(pairs_of(30), judge_at(server, monkeypatch), log=tmp_path / "log")
    assert (outcome.ties, outcome.flips, outcome.first_choices["1"]) == (30, 30, 60)


def test_one_order_costs_half_and_gives_the_same_label(monkeypatch, tmp_path):
    with FakeServer() as server:
        outcome = label_pairs(pairs_of(30), judge_at(server, monkeypatch), log=tmp_path / "log",
                              both_orders=False, seed=1)
    orders = [next(iter(extra["verdicts"])) for extra in outcome.extras.values()]
    assert labels(outcome) == right_labels(30)
    assert len(server.requests) == 30
    assert 5 < orders.count("12") < 25


def test_a_finished_run_asks_nothing_when_it_is_run_again(monkeypatch, tmp_path):
    with FakeServer() as server:
        judge = judge_at(server, monkeypatch)
        first = label_pairs(pairs_of(12), judge, log=tmp_path / "log", repeat_fraction=0.5)
        asked = len(server.requests)
        second = label_pairs(pairs_of(12), judge, log=tmp_path / "log", repeat_fraction=0.5)
    assert len(server.requests) == asked
    assert second.labeled == first.labeled
    assert (second.ledger.usd, second.ledger.run_usd) == (first.ledger.usd, 0.0)


def test_added_pairs_and_a_changed_prompt_ask_only_what_changed(monkeypatch, tmp_path):
    with FakeServer() as server:
        judge = judge_at(server, monkeypatch)
        label_pairs(pairs_of(10), judge, log=tmp_path / "log")
        label_pairs(pairs_of(14), judge, log=tmp_path / "log")
        assert len(server.requests) == 28
        judge.prompts = tmp_path.joinpath
        text = (ROOT / "configs/prompts/compare.txt").read_text()
        (tmp_path / "compare.txt").write_text(text.replace("persuasive", "convincing"))
        label_pairs(pairs_of(14), judge, log=tmp_path / "log")
        assert len(server.requests) == 56
        judge.effort = "high"
        label_pairs(pairs_of(2), judge, log=tmp_path / "log")
    assert len(server.requests) == 60


def test_an_empty_pool_is_no_call_and_no_error(monkeypatch, tmp_path):
    with FakeServer() as server:
        outcome = label_pairs([], judge_at(server, monkeypatch), log=tmp_path / "log")
    assert (outcome.planned, outcome.done, server.requests) == (0, 0, [])


def test_the_same_id_twice_is_refused_before_any_call(monkeypatch, tmp_path):
    with FakeServer() as server, pytest.raises(DataError, match="pair-0"):
        label_pairs(pairs_of(3) + pairs_of(1), judge_at(server, monkeypatch), log=tmp_path / "log")
    assert not server.requests


def test_two_verdicts_for_one_key_in_the_log_are_damage(monkeypatch, tmp_path):
    with FakeServer() as server:
        judge = judge_at(server, monkeypatch)
        label_pairs(pairs_of(1), judge, log=tmp_path / "log")
        row = json.loads((tmp_path / "log").read_text().splitlines()[0])
        row["verdict"]["choice"] = "2"
        with (tmp_path / "log").open("a") as log:
            log.write(json.dumps(row) + "\n")
        with pytest.raises(DataError, match="a second time"):
            label_pairs(pairs_of(1), judge, log=tmp_path / "log")


def test_repeats_measure_the_judges_own_noise(monkeypatch, tmp_path):
    seen: dict[str, int] = {}

    def moody(text: str) -> str:
        seen[text] = seen.get(text, 0) + 1
        return json.dumps({"reasoning": "mood", "choice": "12"[seen[text] % 2]})

    with FakeServer(reply=moody) as server:
        outcome = label_pairs(pairs_of(10), judge_at(server, monkeypatch), log=tmp_path / "log",
                              repeat_fraction=1.0)
    assert outcome.repeats == (0, 20)


# ---- rankings and oracle

def test_a_ranking_names_models_in_whatever_slot_they_stood(monkeypatch, tmp_path):
    sizes = {"base": 2, "sft": 9, "rlhf": 5}
    replies = {f"e{i}": {name: f"{i}" * n for name, n in sizes.items()} for i in range(20)}
    prompts = dict.fromkeys(replies, CATS)
    with FakeServer() as server:
        judge = judge_at(server, monkeypatch, role="evaluate")
        verdicts = rank(prompts, replies, judge, log=tmp_path / "log", orders=3, seed=0)
        sent = json.dumps([request["body"] for request in server.requests])
    assert {verdict.ranking for group in verdicts.values() for verdict in group} == {
        ("sft", "rlhf", "base")}
    for group in verdicts.values():
        assert {verdict.position_map["A"] for verdict in group} == {"base", "sft", "rlhf"}
    assert not {"sft", "rlhf"} & set(sent.replace('"', " ").split())
    assert len(server.requests) == 60


def test_an_unreadable_ranking_is_unscored_with_its_reason(monkeypatch, tmp_path):
    with FakeServer(reply=lambda _: "They are all fine.") as server:
        verdicts = rank({"e": CATS}, {"e": {"base": "x", "sft": "yy"}},
                        judge_at(server, monkeypatch, role="evaluate"), log=tmp_path / "log")
    verdict, = verdicts["e"]
    assert (verdict.ranking, verdict.error[:10]) == ((), "unreadable")
    assert set(verdict.position_map.values()) == {"base", "sft"}


def test_one_response_or_seven_cannot_be_ranked(monkeypatch, tmp_path):
    with FakeServer() as server:
        judge = judge_at(server, monkeypatch, role="evaluate")
        for k in (1, 7):
            with pytest.raises(DataError, match="2 to 6"):
                rank({"e": CATS}, {"e": {str(i): "x" for i in range(k)}}, judge,
                     log=tmp_path / "log")


def test_the_oracle_answers_each_prompt_once(monkeypatch, tmp_path):
    prompts = {f"e{i}": [{"role": "user", "content": f"Post {i}"}] for i in range(5)}
    with FakeServer() as server:
        judge = judge_at(server, monkeypatch, role="oracle")
        asked = oracle_questions(prompts, judge)
        replies = ask_all(asked, judge, log=tmp_path / "log").verdicts("text")
        again = ask_all(asked, judge, log=tmp_path / "log").verdicts("text")
    assert replies == again
    assert (set(replies), len(server.requests)) == (set(prompts), 5)


# ---- plan, budget and pace

def test_the_plan_counts_what_is_open_and_learns_from_replies(monkeypatch, tmp_path):
    with FakeServer() as server:
        judge = judge_at(server, monkeypatch)
        questions = pair_questions(pairs_of(20), judge, both_orders=True, seed=0)
        before = plan(questions, judge, log=tmp_path / "log")
        label_pairs(pairs_of(5), judge, log=tmp_path / "log")
        after = plan(questions, judge, log=tmp_path / "log")
        cheap = plan(questions, judge, log=tmp_path / "log", mode="batch")
    assert (before.calls, after.calls, after.known) == (40, 30, 10)
    assert not before.measured and after.measured
    assert cheap.usd[1] == pytest.approx(after.usd[1] / 2)
    assert "| calls to make | 30 |\n| answered already | 10 |" in after._repr_markdown_()


def test_the_budget_is_never_exceeded_and_nearly_used(monkeypatch, tmp_path):
    with FakeServer(latency_s=0.05) as server:
        judge = judge_at(server, monkeypatch, budget_usd=0.10)
        with pytest.raises(JudgingStopped, match=r"judging.budget_usd .* saved"):
            label_pairs(pairs_of(200), judge, log=tmp_path / "log")
        with AppendLog(tmp_path / "log") as log:
            spent = sum(row["usd"] for row in log.rows)
            assert len(log.rows) == server.billed
        with pytest.raises(JudgingStopped, match="judging.budget_usd"):
            label_pairs(pairs_of(200), judge, log=tmp_path / "log")
    assert 0.07 < spent <= 0.10
    assert len(server.requests) == server.billed


def test_calls_start_at_the_pace_that_the_reply_headers_allow(monkeypatch, tmp_path):
    headers = {"anthropic-ratelimit-requests-limit": "1200"}
    with FakeServer(headers=headers, per_minute=1200) as server:
        judge = judge_at(server, monkeypatch, requests_per_minute=None)
        began = time.monotonic()
        label_pairs(pairs_of(20), judge, log=tmp_path / "log")
        took = time.monotonic() - began
    assert (len(server.requests), server.refused) == (40, 0)
    assert 1.3 < took < 6.0


def test_the_slowest_of_requests_and_tokens_sets_the_pace():
    import asyncio

    async def five_calls() -> float:
        pacer = Pacer({"requests": 60_000, "input_tokens": 60_000}, asyncio.sleep)
        began = time.monotonic()
        for _ in range(6):
            await pacer.turn(requests=1, input_tokens=100)
        return time.monotonic() - began

    assert 0.45 < asyncio.run(five_calls()) < 0.8


def test_held_money_is_waited_for_before_the_run_gives_up():
    import asyncio

    async def two() -> float:
        budget = Budget(1.0, 0.0)
        await budget.hold(0.8, asyncio.sleep)
        asyncio.get_running_loop().call_later(0.1, budget.settle, 0.8, 0.1)
        await budget.hold(0.8, asyncio.sleep)
        return budget.spent_usd + budget.held_usd

    assert asyncio.run(two()) == pytest.approx(0.9)


# ---- settings and keys

def test_a_model_that_ends_is_named_with_its_day():
    assert "November 30th, 2026" in check_model("claude-sonnet-4-5")
    assert check_model("claude-sonnet-5-5") == ""
    with pytest.raises(ConfigError, match="claude-sonnet-5-5"):
        check_model("claude-2.1")


def test_a_model_without_a_price_is_refused_because_no_budget_can_hold(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", MARKED_KEY)
    with pytest.raises(ConfigError, match="judging.prices"):
        make_judge(load_config("full", ["anthropic.model=claude-x"]), "label_ai")


def test_the_check_names_what_is_missing_per_role_and_spends_nothing(project, monkeypatch):
    missing = check(load_config("full"))
    assert all("API key not set" in missing[name] for name in
               ("label_ai", "evaluate", "oracle", "safety", "embedder"))
    assert set(check(load_config("demo")).values()) == {""}
    with FakeServer(["401"]) as server:
        judge_at(server, monkeypatch)
        old = check(load_config("full", [
            "anthropic.oracle_model=claude-2.1", "judging.prices={claude-2.1: [1, 2]}",
            "openai.embedding_model=no-price"]))
        assert (old["label_ai"], server.requests) == ("", [])
        assert "ends on July 21st, 2025" in old["oracle"]
        assert "judging.prices" in old["embedder"]
        pinged = check(load_config("full"), ping=True)
    assert "Check the API key" in pinged["label_ai"]
    assert (pinged["evaluate"], pinged["oracle"], pinged["safety"]) == ("", "", "")
    assert len(server.requests) == 1 + 3 + 2        # refused; pairs; a threat and an argument


def test_labels_need_no_torch():
    code = "import sys, persuasion_lib.label_ai; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ---- interrupts, locks, disks

def test_ctrl_c_saves_what_was_paid_and_the_next_run_goes_on(monkeypatch, tmp_path):
    with FakeServer(latency_s=0.3) as server:
        judge = judge_at(server, monkeypatch, requests_per_minute=6000)
        thread = interrupt_after(server, 60)
        with pytest.raises(KeyboardInterrupt):
            label_pairs(pairs_of(200), judge, log=tmp_path / "log")
        thread.join()
        stopped = len(server.requests)
        with AppendLog(tmp_path / "log") as log:
            assert len(log.rows) == server.billed == stopped
        outcome = label_pairs(pairs_of(40), judge, log=tmp_path / "log")
    assert outcome.done == 40
    assert stopped < 200


def test_a_second_ctrl_c_does_not_wait(monkeypatch, tmp_path):
    with FakeServer(lambda n, _: "hang" if n > 5 else None, latency_s=0.02) as server:
        judge = judge_at(server, monkeypatch, timeout_s=60.0)
        began = time.monotonic()
        thread = interrupt_after(server, 10, times=2)
        with pytest.raises(KeyboardInterrupt):
            label_pairs(pairs_of(40), judge, log=tmp_path / "log")
        thread.join()
        assert time.monotonic() - began < 8
    with AppendLog(tmp_path / "log") as log, AppendLog(errors_path(tmp_path / "log")) as errors:
        assert 1 <= len(log.rows) <= 6
        assert {row["kind"] for row in errors.rows} == {"abandoned"}
        assert sum(row["unknown_usd"] for row in errors.rows) > 0


def test_a_second_process_on_the_same_log_is_refused_and_a_dead_one_is_not(tmp_path):
    code = "import time; from pathlib import Path\n" \
           "from persuasion_lib.core.store import AppendLog\n" \
           f"log = AppendLog(Path({str(tmp_path / 'log')!r})); print('open', flush=True)\n" \
           "time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(PersuasionError, match="in use by another process"):
            AppendLog(tmp_path / "log")
        other.kill()
    AppendLog(tmp_path / "log").close()


def test_a_full_disk_loses_no_earlier_row_and_says_what_was_not_saved(tmp_path):
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    with FakeServer() as server:
        with child(server, tmp_path, "60", prefix=limit) as full:
            _, errors = full.communicate(timeout=60)
        assert full.returncode != 0
        assert "could not be written" in errors
        assert "could not be saved is in" in errors or "Not saved anywhere" in errors
        assert "MARKEDKEY" not in errors
        saved = (tmp_path / "judgments.jsonl").read_bytes()
        assert saved.endswith(b"\n") and len(saved) <= 20_000
        with child(server, tmp_path, "60") as again:
            out, errors = again.communicate(timeout=60)
        assert json.loads(out.splitlines()[-1])["done"] == 60, errors


def test_a_torn_last_line_is_set_aside_and_asked_again(monkeypatch, tmp_path):
    with FakeServer() as server:
        judge = judge_at(server, monkeypatch)
        label_pairs(pairs_of(3), judge, log=tmp_path / "log")
        whole = (tmp_path / "log").read_bytes()
        (tmp_path / "log").write_bytes(whole[:-25])
        asked = pair_questions(pairs_of(3), judge, both_orders=True, seed=0)
        before = plan(asked, judge, log=tmp_path / "log")
        outcome = label_pairs(pairs_of(3), judge, log=tmp_path / "log")
    assert outcome.done == 3
    assert len(server.requests) == 7
    assert (before.calls, before.known) == (1, 5)
    assert (tmp_path / "log.torn").read_bytes().strip() in whole


@pytest.mark.parametrize("damage", [b'{"key": "a", \n', b"\xff\xfe\n", b"[1]\n"])
def test_damage_in_the_middle_is_refused_and_nothing_is_changed(damage, tmp_path):
    with AppendLog(tmp_path / "log") as log:
        log.extend([{"n": 1}, {"n": 2}])
    lines = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    before = lines[0] + damage + lines[1] + b'{"torn": '
    (tmp_path / "log").write_bytes(before)
    with pytest.raises(DataError, match=r"log:2"):
        AppendLog(tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == before
    assert not (tmp_path / "log.torn").exists()
