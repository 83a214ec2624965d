"""What real servers refuse, send back and ask for: learned once, read with care, never guessed."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from typing import Any

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, JudgingStopped
from persuasion_lib.judging import connect, pace
from persuasion_lib.judging.habits import HABITS, adapted, simpler
from persuasion_lib.judging.replies import count
from persuasion_lib.judging.tasks.compare import label_pairs
from worlds.fakeserver import FakeServer
from worlds.judging_world import MARKED_KEY, judge_at, pairs_of
from worlds.scratch import ROOT
from worlds.servers import ANSWERS, BROKEN, CLAUDES, SERVERS, USAGES, refusing

EVERYTHING: dict[str, Any] = {"temperature": 0.0, "effort": "low"}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(pace, "BACKOFF_S", (0.01, 0.05))


def label(server, monkeypatch, folder, count=1, provider="openai", **fields):
    judge = judge_at(server, monkeypatch, provider, **fields)
    return label_pairs(pairs_of(count), judge, log=folder / "log", both_orders=False)


# ---- what a server refuses

@pytest.mark.parametrize("name", SERVERS)
def test_what_a_server_refuses_is_left_out_and_asked_again_at_once(name, monkeypatch, tmp_path):
    memory = tmp_path / "servers.json"
    with FakeServer(refusing(SERVERS[name])) as server:
        outcome = label(server, monkeypatch, tmp_path, 3, memory=memory, **EVERYTHING)
        answered = server.billed
        refused = len(server.requests) - answered
        label(server, monkeypatch, tmp_path / "again", 3, memory=memory, **EVERYTHING)
    assert (outcome.done, answered, outcome.faults) == (3, 3, {})
    assert (refused > 0) == bool(SERVERS[name]) == memory.exists()
    assert len(server.requests) == refused + 6      # a second run is refused nothing


@pytest.mark.parametrize("name", CLAUDES)
def test_a_claude_without_effort_or_schemas_is_asked_without_them(name, monkeypatch, tmp_path):
    with FakeServer(refusing(CLAUDES[name])) as server:
        outcome = label(server, monkeypatch, tmp_path, 3, "anthropic", effort="low")
    assert (outcome.done, server.billed) == (3, 3)
    assert server.requests[-1]["body"]["max_tokens"] == 2000


def test_effort_null_is_asked_without_effort(monkeypatch, tmp_path):
    with FakeServer() as server:
        label(server, monkeypatch, tmp_path, provider="anthropic", effort=None)
    assert "effort" not in server.requests[0]["body"]["output_config"]
    assert load_config("demo", ["anthropic.effort=null"]).anthropic.effort is None


def test_a_system_message_that_is_refused_begins_the_message_of_the_user():
    request = {"messages": [{"role": "system", "content": "Be fair."},
                            {"role": "user", "content": "Which?"}]}
    assert adapted(request, {"a system message": 1})["messages"] == [
        {"role": "user", "content": "Be fair.\n\nWhich?"}]


@pytest.mark.parametrize("said", [
    "temperature must be between 0 and 2", "max_tokens must be at least 1", "invalid x-api-key",
    "Invalid effort 'hihg': must be one of low, medium, high", "model x is only for subscribers",
    "output_config.format: schema is invalid", ""])
def test_a_value_of_the_users_is_not_dropped_because_it_is_wrong(said):
    request = {"messages": [], "max_tokens": 5, "temperature": 3, "reasoning_effort": "hihg"}
    assert simpler(request, {}, said) is None


def test_every_habit_ends_so_that_no_server_is_asked_for_ever(monkeypatch, tmp_path):
    everything = " ".join(["max_tokens response_format system role effort temperature seed",
                           "not supported"])
    said = (400, {"error": {"message": everything}})
    with FakeServer(lambda *_: said) as server, pytest.raises(JudgingStopped, match="400"):
        label(server, monkeypatch, tmp_path, **EVERYTHING)
    assert 1 < len(server.requests) <= 1 + sum(len(habit.simpler) for habit in HABITS)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 1}', "\x00", '{"gpt-5.1 at URL": 3}',
                                     '{"gpt-5.1 at URL": {"refuses": {"seed": 9}, "learned": '
                                     '"2999-01-01"}}'])
def test_a_damaged_memory_of_servers_says_nothing(content, monkeypatch, tmp_path):
    memory = tmp_path / "servers.json"
    with FakeServer() as server:
        memory.write_text(content.replace("URL", server.url + "/v1"))
        outcome = label(server, monkeypatch, tmp_path, memory=memory, **EVERYTHING)
    assert outcome.done == 1 and "seed" in server.requests[0]["body"]


def test_extra_parameters_go_into_every_call_and_into_the_key_of_a_question(monkeypatch, tmp_path):
    extra = {"chat_template_kwargs": {"enable_thinking": False}}
    with FakeServer() as server:
        plain = judge_at(server, monkeypatch, "openai")
        judge = judge_at(server, monkeypatch, "openai", extra_body=extra)
        label_pairs(pairs_of(1), judge, log=tmp_path / "log")
    assert server.requests[0]["body"]["chat_template_kwargs"] == {"enable_thinking": False}
    assert judge.identity[:-1] == plain.identity
    for taken in ("model", "messages", "stream", "n"):
        with pytest.raises(ConfigError, match=f"openai.extra_body.*{taken} cannot be set"):
            load_config("demo", [f"openai.extra_body={{{taken}: 1}}"])


# ---- what a server sends

@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_found_where_a_server_puts_it(name, monkeypatch, tmp_path):
    with FakeServer(reshape=ANSWERS[name]) as server:
        outcome = label(server, monkeypatch, tmp_path)
    verdict, = outcome.extras["pair-0"]["verdicts"].values()
    assert (verdict, len(server.requests)) == ("1", 1)


def test_what_is_only_thought_is_no_answer(monkeypatch, tmp_path):
    with FakeServer(reshape=lambda reply: reply | {"choices": [{"message": {
            "content": None, "reasoning_content": 'Choice: 1'}}]}) as server:
        outcome = label(server, monkeypatch, tmp_path)
    reason, = outcome.errors.values()
    assert "starts '<think>Choice: 1'" in reason


@pytest.mark.parametrize("name", USAGES)
def test_a_usage_that_nobody_can_mean_is_an_unknown_cost(name, monkeypatch, tmp_path):
    with FakeServer(reshape=lambda reply: reply | {"usage": USAGES[name]}) as server:
        outcome = label(server, monkeypatch, tmp_path, 2)
    assert (outcome.done, len(server.requests), outcome.ledger.usd) == (2, 2, 0.0)
    assert outcome.ledger.unknown_usd > 0.02


def test_a_number_of_tokens_is_whole_finite_and_not_0_of_a_text():
    assert [count(value, of="x") for value in (7, 7.0, 0, "7", True, None, float("nan"), -1)] == [
        7, 7, None, None, None, None, None, None]
    assert count(0, of=" ") == 0


@pytest.mark.parametrize("name", BROKEN)
def test_a_200_that_is_no_reply_is_asked_again(name, monkeypatch, tmp_path):
    payload = BROKEN[name]
    data = payload.encode() if name == "deep" else payload
    with FakeServer([(200, data)]) as server:
        outcome = label(server, monkeypatch, tmp_path)
    assert (outcome.done, len(server.requests)) == (1, 2)


@pytest.mark.parametrize("error, words", [
    ({"code": 401, "message": "No auth credentials found"}, "401.*No auth.*Check the API key"),
    ({"code": "402", "message": "Insufficient credits"}, "Insufficient credits.*Add credit"),
    ({"type": "authentication_error", "message": "no"}, "Check the API key"),
    ({"code": 404, "message": "no such model"}, "no such model.*model name")])
def test_an_error_inside_a_200_means_what_its_status_means(error, words, monkeypatch, tmp_path):
    with FakeServer([(200, {"error": error})] * 9) as server, pytest.raises(
            JudgingStopped, match=words):
        label(server, monkeypatch, tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status, message", [
    (400, "The response was filtered due to the prompt triggering Azure OpenAI's content "
          "management policy"), (403, "openai/gpt requires moderation on OpenRouter. Your input "
          "was flagged for violence"), (400, "Invalid prompt: your prompt was flagged")])
def test_a_filter_before_the_model_is_a_refusal_of_one_question(
        status, message, monkeypatch, tmp_path):
    said = (status, {"error": {"message": message, "code": "content_filter"}})
    with FakeServer([None, said]) as server:
        outcome = label(server, monkeypatch, tmp_path, 3)
    assert (outcome.done, len(outcome.errors), len(server.requests)) == (2, 1, 3)


def test_a_limit_above_the_models_says_what_to_lower(monkeypatch, tmp_path):
    said = (400, {"error": {"message": "max_tokens is too large: 2000. This model supports at "
                                       "most 1024 completion tokens"}})
    with FakeServer([said] * 9) as server, pytest.raises(JudgingStopped, match="Lower max_tokens"):
        label(server, monkeypatch, tmp_path)


def test_a_server_that_cuts_prompts_is_noticed_at_the_first_reply(monkeypatch, tmp_path):
    with FakeServer(tokens=50) as server, pytest.raises(JudgingStopped, match="OLLAMA_CONTEXT"):
        label(server, monkeypatch, tmp_path, 5)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [304, 302, 308, 300])
def test_a_redirect_is_not_followed(status, monkeypatch, tmp_path):
    with FakeServer() as other, FakeServer([(status, b"", {
            "location": other.url + "/v1/chat/completions"})] * 9) as server, pytest.raises(
            JudgingStopped, match="points to 127.0.0.1"):
        label(server, monkeypatch, tmp_path)
    assert len(server.requests) == 1 and not other.sent_headers


def test_a_304_without_an_address_is_a_broken_reply(monkeypatch, tmp_path):
    with FakeServer([(304, b"")]) as server:
        assert label(server, monkeypatch, tmp_path).done == 1


@pytest.mark.parametrize("limit", ["inf", "nan", "-1", "1e-320", "0", "x", "1e308", "9" * 400])
def test_a_limit_of_an_openai_server_that_nobody_can_mean_is_ignored(limit, monkeypatch, tmp_path):
    began = time.monotonic()
    headers = {"x-ratelimit-limit-requests": limit, "x-ratelimit-limit-tokens": limit}
    with FakeServer(headers=headers) as server:
        assert label(server, monkeypatch, tmp_path, 5).done == 5
    assert len(server.requests) == 5 and time.monotonic() - began < 20


# ---- bodies

BOMB = """
import re, sys, asyncio
sys.path[:0] = sys.argv[2:4]
from persuasion_lib.judging.connect import Line
def peak():         # of this program alone; ru_maxrss would begin with the parent's
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
before = peak()
async def ask():
    client = Line("openai", sys.argv[1] + "/v1", "none", 60).client()
    try:
        await client.chat.completions.create(model="m", messages=[])
    except Exception as error:
        print(error.__cause__ or error)
asyncio.run(ask())
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("kind", ["announced", "unannounced", "gzip"])
def test_a_body_of_a_gigabyte_is_refused_in_less_than_100_megabytes(kind):
    zeros = b"[" + b" " * (32 * 2**20)
    if kind == "gzip":      # 1 MB that becomes 1 GB
        packer = gzip.zlib.compressobj(9, gzip.zlib.DEFLATED, 31)
        data = b"".join(packer.compress(zeros) for _ in range(32)) + packer.flush()
        fault = (200, data, {"content-encoding": "gzip"})
    elif kind == "announced":
        fault = (200, b"[", {"content-length": str(10**9)})
    else:
        fault = (200, b"%x\r\n" % len(zeros) + zeros + b"\r\n" + b"%x\r\n" % len(zeros) + zeros,
                 {"transfer-encoding": "chunked", "content-length": None})
    with FakeServer([fault]) as server:
        done = subprocess.run([sys.executable, "-c", BOMB, server.url, str(ROOT)],
                              capture_output=True, text=True, timeout=120)
    said, grown = done.stdout.strip().splitlines()
    print(f"{kind}: {float(grown):.0f} MB more")
    assert "larger than 32 MiB" in said and float(grown) < 100


def test_a_body_that_trickles_ends_at_the_deadline(monkeypatch):
    monkeypatch.setattr(connect.time, "monotonic", iter(range(0, 999, 7)).__next__)
    body = connect._Body(connect.Line("openai", "http://localhost", "none", 10.0),
                         type("R", (), {"headers": {}}))
    body.add(b"x")
    with pytest.raises(Exception, match="did not end in 10 s"):
        body.add(b"y")


def test_a_server_that_repeats_the_key_gets_it_into_no_file(monkeypatch, tmp_path):
    def parrot(reply):
        return reply | {"model": MARKED_KEY, "choices": [{"message": {"content": json.dumps(
            {"choice": "1", "reasoning": MARKED_KEY})}, "finish_reason": "stop"}]}

    with FakeServer([(500, {"error": {"message": f"bad {MARKED_KEY}"}})], reshape=parrot,
                    headers={"x-request-id": MARKED_KEY}) as server:
        assert label(server, monkeypatch, tmp_path).done == 1
    assert server.keys == {MARKED_KEY}
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"MARKEDKEY" not in path.read_bytes(), path
