"""Every way in which a call is known to fail, with the real SDKs over a loopback server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, JudgingStopped
from persuasion_lib.core.keys import api_key
from persuasion_lib.core.store import KeyedLog
from persuasion_lib.judging import faults, pace
from persuasion_lib.judging.clients import Reply
from persuasion_lib.judging.embed import checked
from persuasion_lib.judging.faults import retry_after, scrub
from persuasion_lib.judging.roles import make_judge
from persuasion_lib.judging.rows import Paid, errors_path
from persuasion_lib.judging.tasks.compare import Compare, LabelOutcome, label_pairs
from worlds.fakeserver import FakeServer
from worlds.judging_world import MARKED_KEY, judge_at, pairs_of, right_labels

HEALS = ["429-ms", "429-bare", "500", "502-html", "503", "529", "reset", "close", "short-body",
         "cut-json", "empty-body", "not-utf8", "html-200", "wrong-shape", "empty-content",
         "bad-text", "wrong-label", "two-verdicts", "hang", "trickle"]
UNSCORED = {"refusal": "refusal: the judge refused: cyber", "max-tokens": "cut: .*max_tokens",
            "thinking-only": "cut", "413": "too long", "400-long": "too long"}
STOPS = {"401": "API key", "402": "credit", "403": "may not use", "404": "model name",
         "422": "unprocessable", "400-credit": "credit", "400-schema": "schema",
         "429-3600": "wait 3600 s: run again after", "429-never": "not to try again",
         "503-3600": "wait 3600 s: run again after", "429-spend": "spend_limit",
         "429-quota": "quota"}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "BACKOFF_S", (0.01, 0.05))


@pytest.fixture(autouse=True)
def _no_key_in_any_file(tmp_path: Path) -> Any:
    """After each test here: the marked key is in no file that the test produced."""
    yield
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"MARKEDKEY" not in path.read_bytes(), path


def label(server: FakeServer, monkeypatch: pytest.MonkeyPatch, folder: Path, count: int = 1,
          provider: str = "anthropic", **fields: Any) -> LabelOutcome:
    judge = judge_at(server, monkeypatch, provider, **fields)
    return label_pairs(pairs_of(count), judge, log=folder / "judgments.jsonl", both_orders=False)


def error_rows(folder: Path) -> list[dict[str, Any]]:
    text = errors_path(folder / "judgments.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("fault", HEALS)
def test_a_passing_fault_costs_one_more_request_and_no_label(fault, monkeypatch, tmp_path):
    with FakeServer([fault]) as server:
        outcome = label(server, monkeypatch, tmp_path, timeout_s=0.6)
    assert [item.label for item in outcome.labeled] == ["a"]
    assert len(server.requests) == 2
    assert sum(outcome.faults.values()) == 1


@pytest.mark.parametrize("fault", ["429-ms", "500", "529", "reset", "cut-json", "html-200",
                                   "wrong-shape", "empty-content", "bad-text"])
def test_an_openai_server_is_treated_the_same(fault, monkeypatch, tmp_path):
    with FakeServer([fault]) as server:
        outcome = label(server, monkeypatch, tmp_path, provider="openai")
    assert [item.label for item in outcome.labeled] == ["a"]
    assert len(server.requests) == 2


@pytest.mark.parametrize("fault", UNSCORED)
def test_a_question_that_cannot_be_answered_stays_unscored(fault, monkeypatch, tmp_path):
    with FakeServer([None, fault]) as server:
        outcome = label(server, monkeypatch, tmp_path, count=3)
    assert (outcome.done, len(outcome.errors)) == (2, 1)
    assert len(server.requests) == 3
    assert re.match(UNSCORED[fault], *outcome.errors.values())
    assert [row["id"] for row in error_rows(tmp_path)] == list(outcome.errors)


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
@pytest.mark.parametrize("fault", STOPS)
def test_a_hopeless_fault_stops_the_run_at_the_preflight(fault, provider, monkeypatch, tmp_path):
    with FakeServer([fault] * 50) as server, pytest.raises(JudgingStopped, match=STOPS[fault]):
        label(server, monkeypatch, tmp_path, count=30, provider=provider)
    assert len(server.requests) == 1


def test_a_reply_that_is_never_readable_is_asked_three_times_and_logged(monkeypatch, tmp_path):
    with FakeServer(["bad-text"] * 9) as server:
        outcome = label(server, monkeypatch, tmp_path)
    assert (outcome.done, len(server.requests)) == (0, 3)
    row, = error_rows(tmp_path)
    assert (row["kind"], row["calls"]) == ("unreadable", 3)
    assert "Both are strong, and" in row["reason"]
    assert outcome.ledger.usd > 0


def whenever_asked_about_post_7(fault: str) -> Callable[[int, dict[str, Any]], str | None]:
    return lambda number, body: fault if "Post 7:" in str(body) else None


def test_one_question_that_always_fails_does_not_hold_up_the_others(monkeypatch, tmp_path):
    with FakeServer(whenever_asked_about_post_7("500")) as server:
        outcome = label(server, monkeypatch, tmp_path, count=60)
    assert (outcome.done, list(outcome.errors)) == (59, ["pair-7"])
    assert len(server.requests) <= 59 + pace.ITEM_TRIES + pace.BREAKER


def test_an_outage_stops_the_run_and_keeps_what_was_answered(monkeypatch, tmp_path):
    with FakeServer(lambda number, _: "500" if number >= 10 else None) as server:
        with pytest.raises(JudgingStopped, match="20 calls in a row failed.*10 judg"):
            label(server, monkeypatch, tmp_path, count=200)
        stopped_at = len(server.requests)
        server.faults = ()
        outcome = label(server, monkeypatch, tmp_path, count=200)
    assert stopped_at < 10 + 200 + pace.BREAKER + 20     # all in flight once, then one at a time
    assert outcome.done == 200
    assert len(server.requests) - stopped_at == 190


def test_a_burst_of_broken_connections_is_one_failure_and_no_outage(monkeypatch, tmp_path):
    with FakeServer(lambda number, _: "reset" if 40 <= number < 80 else None,
                    latency_s=0.2) as server:
        outcome = label(server, monkeypatch, tmp_path, count=200)
    assert (outcome.done, outcome.errors) == (200, {})


def test_a_429_makes_all_workers_wait_and_is_no_failure_of_the_question(monkeypatch, tmp_path):
    with FakeServer(lambda number, _: "429" if number == 30 else None, latency_s=0.05) as server:
        outcome = label(server, monkeypatch, tmp_path, count=100)
    times = [request["at"] for request in server.requests]
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    resumed_at = times[gaps.index(max(gaps)) + 1]
    assert outcome.done == 100
    assert resumed_at - times[30] > 1.0     # it was refused a little later, with "wait 1 s"
    assert sum(gap > 0.5 for gap in gaps[5:]) == 1


@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize("fault", ["429-bare", "503", "529", "429-0", "429-nan", "429-inf",
                                   "429-minus"])
def test_an_outage_from_the_first_question_on_ends_after_20_calls(
        fault, count, monkeypatch, tmp_path):
    failed = pytest.raises(JudgingStopped, match="20 calls in a row failed")
    with FakeServer(lambda *_: fault) as server, failed:
        label(server, monkeypatch, tmp_path, count=count)
    assert len(server.requests) == pace.BREAKER


def test_a_service_that_says_how_long_to_wait_gets_three_times_the_patience():
    failures = pace.Failures()
    last = faults.Fault("rate limit", "pause", "slow down", wait_s=1.0)
    for _ in range(59):
        failures.add("the only question", pace.time.monotonic())
    assert not failures.are_hopeless(last)
    failures.add("the only question", pace.time.monotonic())
    assert failures.are_hopeless(last)


def test_one_question_that_is_always_put_off_stays_unscored(monkeypatch, tmp_path):
    with FakeServer(whenever_asked_about_post_7("529")) as server:
        outcome = label(server, monkeypatch, tmp_path, count=30)
    assert (outcome.done, list(outcome.errors)) == (29, ["pair-7"])


def test_an_outage_ends_by_time_as_well():
    failures = pace.Failures()
    last = faults.Fault("rate limit", "pause", "slow down", wait_s=100.0)
    for _ in range(5):
        failures.add("the only question", pace.time.monotonic())
    assert not failures.are_hopeless(last)
    failures._began_at -= 1801
    assert failures.are_hopeless(last)


def test_no_wait_is_shorter_than_the_failures_before_it_suggest(monkeypatch):
    monkeypatch.setattr(pace, "BACKOFF_S", (0.5, 30.0))
    soon = faults.Fault("rate limit", "pause", "slow down", wait_s=0.001)
    late = faults.Fault("rate limit", "pause", "slow down", wait_s=9.0)
    assert [pace.wait_s(soon, n) for n in (1, 2, 3, 20)] == [0.5, 1.0, 2.0, 30.0]
    assert pace.wait_s(late, 1) == 9.0


@pytest.mark.parametrize("limit", ["inf", "nan", "-5", "0", "0.000001", "many", "1e400"])
def test_a_limit_that_nobody_can_mean_is_ignored(limit, monkeypatch, tmp_path):
    names = ("anthropic-ratelimit-requests-limit", "anthropic-ratelimit-input-tokens-limit")
    with FakeServer(headers=dict.fromkeys(names, limit)) as server:
        assert label(server, monkeypatch, tmp_path, count=5).done == 5
    assert len(server.requests) == 5


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
@pytest.mark.parametrize("tokens", [float("nan"), float("inf"), -1e9, 1e12])
def test_an_absurd_usage_is_an_unknown_cost_and_the_label_is_kept(
        tokens, provider, monkeypatch, tmp_path):
    with FakeServer(tokens=tokens) as server:
        outcome = label(server, monkeypatch, tmp_path, count=3, provider=provider)
    assert (outcome.done, len(server.requests)) == (3, 3)
    assert outcome.ledger.usd == 0.0 and outcome.ledger.unknown_usd > 0.02


@pytest.mark.parametrize("tokens", [float("nan"), float("inf"), -1e9])
def test_an_absurd_usage_in_a_batch_or_of_an_embedding_is_an_unknown_cost_as_well(tokens):
    judge = make_judge(load_config("demo"), "label_ai")
    paid = Paid()
    assert not paid.add_reply(Reply("x", "end", "m", None, tokens, 3), judge, 0.5, share=0.5)
    assert (paid.usd, paid.unknown_usd) == (0.0, 0.5)
    embedded = {"data": [{"index": 0, "embedding": [3.0, 4.0]}], "usage": {"total_tokens": tokens}}
    assert checked(embedded, 1)[1] is None


def test_a_bug_of_ours_ends_the_run_with_its_message_and_the_reply_is_on_disk(
        monkeypatch, tmp_path):
    def broken(self: Compare, reply: str) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(Compare, "read", broken)
    with FakeServer() as server, pytest.raises(KeyError, match="a bug"):
        label(server, monkeypatch, tmp_path, count=9)
    row, = error_rows(tmp_path)
    assert (row["kind"], row["calls"]) == ("crash", 2) and "The longer one." in row["reply"]


def test_a_bug_while_saving_ends_the_run_with_its_message(monkeypatch, tmp_path):
    def broken(*_: Any) -> None:
        raise ValueError("not JSON")

    monkeypatch.setattr(KeyedLog, "extend", broken)
    with FakeServer() as server, pytest.raises(ValueError, match="not JSON"):
        label(server, monkeypatch, tmp_path, count=9)
    assert len(server.requests) == 1


@pytest.mark.parametrize("price", ["[.nan, 1]", "[1, .inf]", "[-1, 1]"])
def test_a_price_that_is_no_amount_of_money_is_refused_with_its_key(price, project):
    with pytest.raises(ConfigError, match=r"setting judging.prices.m\.[01]"):
        load_config("demo", [f"judging.prices={{m: {price}}}"])


@pytest.mark.parametrize("key", ["", "short", "YOUR_CLAUDE_API_KEY_HERE", "sk-proj-" + "a" * 20,
                                 MARKED_KEY + " " + MARKED_KEY, MARKED_KEY[:-1] + "ü"])
def test_an_empty_or_odd_key_is_refused_before_any_client_is_made(key, project, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", key)
    with pytest.raises(ConfigError, match="API key not set|anthropic key") as caught:
        make_judge(load_config("full"), "label_ai")
    assert "MARKEDKEY" not in str(caught.value)


def test_a_key_in_a_file_that_git_tracks_is_refused(project):
    file = project / "configs" / "api_config.yaml"
    text = (project / "configs" / "api_config.example.yaml").read_text()
    file.write_text(text.replace('api_key: ""', f'api_key: "{MARKED_KEY}"', 1))
    assert api_key(project, "anthropic") == MARKED_KEY
    for command in (["init", "-q"], ["add", str(file)]):
        subprocess.run(["git", "-C", str(project), *command], check=True)
    with pytest.raises(ConfigError, match="git rm --cached"):
        api_key(project, "anthropic")
    shutil.rmtree(project / ".git")
    file.unlink()


def test_a_server_of_ones_own_that_knows_no_json_schema_is_asked_in_plain_words(
        monkeypatch, tmp_path):
    with FakeServer(["400-format"]) as server:
        outcome = label(server, monkeypatch, tmp_path, count=3, provider="openai")
    assert outcome.done == 3
    assert ["response_format" in request["body"] for request in server.requests] == [
        True, False, False, False]


def test_a_key_with_a_newline_works_and_is_shown_nowhere(monkeypatch, tmp_path):
    with FakeServer(["401"]) as server:
        judge = judge_at(server, monkeypatch)
        monkeypatch.setenv("ANTHROPIC_API_KEY", MARKED_KEY + "\n")
        with pytest.raises(JudgingStopped) as caught:
            label_pairs(pairs_of(1), judge, log=tmp_path / "judgments.jsonl")
    assert server.keys == {MARKED_KEY}
    assert "MARKED" not in str(caught.value) + repr(judge) + str(vars(judge).keys())


def test_a_message_that_quotes_a_key_is_scrubbed():
    assert scrub(f"bad header Bearer {MARKED_KEY} in\nrequest") == "bad header [key] in request"


def test_a_date_in_retry_after_is_read_by_the_servers_own_clock():
    headers = {"retry-after": "Sun, 22 Nov 2026 10:00:30 GMT",
               "date": "Sun, 22 Nov 2026 10:00:00 GMT"}
    assert retry_after(headers) == 30.0
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after({}) is None


def test_a_bug_of_ours_is_not_taken_for_a_fault_of_the_service():
    with pytest.raises(KeyError):
        faults.classify(KeyError("typo"))


def test_a_reply_without_usage_counts_as_the_worst_case(monkeypatch, tmp_path):
    with FakeServer(["no-usage"]) as server:
        outcome = label(server, monkeypatch, tmp_path)
    assert (outcome.done, outcome.ledger.usd) == (1, 0.0)
    assert outcome.ledger.unknown_usd > 0.02


def test_a_reply_with_a_lone_surrogate_is_stored(monkeypatch, tmp_path):
    with FakeServer(["surrogate"]) as server:
        assert label(server, monkeypatch, tmp_path).done == 1
        assert label(server, monkeypatch, tmp_path).done == 1
    assert len(server.requests) == 1


def test_after_refusals_and_cut_replies_one_more_run_has_every_label_and_every_key_once(
        monkeypatch, tmp_path):
    """A quarter of the calls of the first run fail; 200 pairs in both orders are 400 questions."""
    draw = Random(5)
    faults = ["refusal", "max-tokens", *HEALS[:-2]]

    def quarter(_: int, body: Any) -> str | None:
        return draw.choice(faults) if draw.random() < 0.25 else None

    with FakeServer(quarter) as server:
        first = label_pairs(pairs_of(200), judge_at(server, monkeypatch), log=tmp_path / "log")
        asked = len(server.requests)
    assert {reason.split(":")[0] for reason in first.errors.values()} >= {"refusal", "cut"}
    with FakeServer(port=int(server.url.rpartition(":")[2])) as server:     # at its address
        second = label_pairs(pairs_of(200), judge_at(server, monkeypatch), log=tmp_path / "log")
        again = len(server.requests)
    assert {item.pair.pair_id: item.label for item in second.labeled} == right_labels(200)
    keys = [json.loads(line)["key"] for line in (tmp_path / "log").read_text().splitlines()]
    assert len(keys) == len(set(keys)) == 400
    assert asked >= 400 and len(first.errors) <= again <= 2 * len(first.errors)


def test_all_faults_mixed_lose_nothing(monkeypatch, tmp_path):
    def every_third(number: int, _: Any) -> str | None:
        return HEALS[number // 3 % (len(HEALS) - 2)] if number % 3 == 0 else None

    with FakeServer(every_third) as server:
        outcome = label(server, monkeypatch, tmp_path, count=100)
    assert {item.pair.pair_id: item.label for item in outcome.labeled} == right_labels(100)
    assert server.keys == {MARKED_KEY}
