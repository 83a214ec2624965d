"""A panel of judges at three servers: each with its own key, kept apart, none stops another."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, JudgingStopped
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.rehearsal import rehearsed, stand_ins
from persuasion_lib.core.stage import StageRun
from persuasion_lib.judging import pace
from persuasion_lib.judging.check import check, unable
from persuasion_lib.judging.panel import LOG, ranked, ranked_by_others
from persuasion_lib.judging.roles import AT_ONCE_HERE, make_judge, panel_of
from worlds.fakeserver import FakeServer
from worlds.judging_world import REAL_KEYS, child_environment

NAMES = ("one", "two", "claude")        # two speak OpenAI's protocol, one Anthropic's
PROMPTS = {f"e{n}": [{"role": "user", "content": f"Post {n}: cats?"}] for n in range(10)}
REPLIES = {key: {name: f"{key} {name} ".ljust(30 + 5 * place, "x")
                 for place, name in enumerate(("base", "sft", "human"))} for key in PROMPTS}
HOW = {"orders": 2, "seed": 0}
RIGHT = ("human", "sft", "base")        # the fake server prefers the longer
CHILD = """
import json, sys
from worlds.judging_world import pace
from persuasion_lib.core.config import load_config
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.stage import StageRun
from persuasion_lib.judging.panel import ranked_by_others
prompts, replies, how, overrides = json.loads(sys.argv[1])
run = StageRun(STAGES["evaluate"], load_config("full", overrides), {})
ranked_by_others(run, prompts, replies, how)
"""


@pytest.fixture
def servers(project, monkeypatch):
    """Three servers by name, and the overrides that make a panel of them."""
    monkeypatch.setattr(pace, "BACKOFF_S", (0.01, 0.05))
    with ExitStack() as stack:
        found = {name: stack.enter_context(FakeServer()) for name in NAMES}
        for name in NAMES:
            monkeypatch.setenv(f"KEY_{name.upper()}", f"marked-key-of-{name}-0123456789")
        yield found


def overrides(servers, names=NAMES):
    entries = []
    for name, server in servers.items():
        api, path = ("anthropic", "") if name == "claude" else ("openai", "/v1")
        entries.append(f'servers.{name}={{base_url: "{server.url}{path}", model: m-{name}, '
                       f'api: {api}, price: [1, 1], api_key_env: KEY_{name.upper()}}}')
    return [*entries, f"evaluation.judges=[{', '.join(names)}]"]


def run_with(servers, names=NAMES):
    return StageRun(STAGES["evaluate"], load_config("full", overrides(servers, names)), {})


def rank_all(run):
    first = ranked(run, make_judge(run.config, "evaluate"), PROMPTS, REPLIES, HOW)
    return first, ranked_by_others(run, PROMPTS, REPLIES, HOW)


def test_every_judge_ranks_everything_and_its_key_reaches_its_own_host_alone(servers):
    run = run_with(servers)
    first, others = rank_all(run)
    assert list(others) == ["two", "claude"] and not run.open
    for verdicts in (first, *others.values()):
        assert {verdict.ranking for both in verdicts.values() for verdict in both} == {RIGHT}
    for name, server in servers.items():
        assert server.keys == {f"marked-key-of-{name}-0123456789"}
        assert len(server.requests) == 10 * 2 + 3       # and the three known answers
    assert "marked-key" not in run.path(LOG).read_text()


def test_another_first_judge_asks_nothing_again(servers):
    rank_all(run_with(servers))
    asked = [len(server.requests) for server in servers.values()]
    run = run_with(servers, ("claude", "one", "two"))
    assert make_judge(run.config, "evaluate").name == "claude/m-claude"
    rank_all(run)
    assert [len(server.requests) for server in servers.values()] == asked


def test_a_judge_that_fails_entirely_leaves_its_rankings_open_and_stops_nobody(servers):
    servers["two"].faults = lambda *_: "401"
    run = run_with(servers)
    first, others = rank_all(run)
    assert all(verdict.ranking == RIGHT for both in first.values() for verdict in both)
    assert all(verdict.ranking == RIGHT for both in others["claude"].values() for verdict in both)
    assert not any(verdict.ranking for both in others["two"].values() for verdict in both)
    assert list(run.open) == ["rankings by two are missing"]
    assert run.open["rankings by two are missing"]["count"] == 20
    assert any(text.startswith("two, a judge of the panel, stopped") for text in run.warnings)
    servers["two"].faults = ()
    again = run_with(servers)
    rank_all(again)
    assert not again.open and len(servers["one"].requests) == 23


def test_the_judge_itself_that_fails_stops_the_run(servers):
    servers["one"].faults = lambda *_: "401"
    run = run_with(servers)
    with pytest.raises(JudgingStopped):
        ranked(run, make_judge(run.config, "evaluate"), PROMPTS, REPLIES, HOW)


def test_a_judge_that_refuses_three_in_ten_is_open_for_these_and_heard_on_the_others(servers):
    def refuses(number, body):
        return "refusal" if "Post 1:" in str(body) or "Post 2:" in str(body) or (
            "Post 3:" in str(body)) else None

    servers["claude"].faults = refuses
    run = run_with(servers)
    _, others = rank_all(run)
    silent = [key for key, both in others["claude"].items() if not all(v.ranking for v in both)]
    assert silent == ["e1", "e2", "e3"]
    assert run.open["rankings by claude are missing"] | {"see": ""} == {
        "count": 6, "of": 20, "why": {"refusal": 6}, "see": ""}


def test_a_killed_panel_goes_on_and_pays_for_nothing_twice(servers):
    for server in servers.values():
        server.latency_s = 0.05
    call = json.dumps([PROMPTS, REPLIES, HOW, overrides(servers)])
    keys = {f"KEY_{name.upper()}": f"marked-key-of-{name}-0123456789" for name in NAMES}
    process = subprocess.Popen([sys.executable, "-c", CHILD, call],
                               env=child_environment(servers["two"]) | keys)
    while len(servers["two"].requests) < 9 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = run_with(servers)
    kept = run.path(LOG).read_text().count("\n") if run.path(LOG).exists() else 0
    others = ranked_by_others(run, PROMPTS, REPLIES, HOW)
    rows = [json.loads(line) for line in run.path(LOG).read_text().splitlines()]
    assert len({row["key"] for row in rows}) == len(rows) == 40 and kept >= 1
    # Asked again is only what was under way when it was killed.
    assert len(servers["two"].requests) <= 20 + 3 + AT_ONCE_HERE + 1    # who answers?
    assert len(servers["claude"].requests) == 20 + 3
    run.path(LOG).unlink()
    assert not run.open and others == ranked_by_others(run, PROMPTS, REPLIES, HOW)


# ---- settings

def test_the_first_of_a_panel_is_the_judge_whatever_evaluation_judge_says(project):
    config = load_config("full", ["evaluation.judge=offline",
                                  "evaluation.judges=[openai, anthropic]"])
    assert config.evaluation.judge == "openai" and "judge" not in stand_ins(config)


@pytest.mark.parametrize(("panel", "said"), [
    ("[openai, openai]", "openai is named twice"), ("[openai, nobody]", "there is no 'nobody'"),
    ("openai", "evaluation.judges"), ("[1]", "evaluation.judges"), ("[null]", "evaluation.judges"),
    ("[openai, 'a b']", "evaluation.judges")])
def test_a_panel_that_is_none_is_refused_with_its_setting(project, panel, said):
    with pytest.raises(ConfigError, match=said):
        load_config("full", [f"evaluation.judges={panel}"])


def test_a_stand_in_in_a_panel_makes_a_rehearsal(project):
    config = load_config("full", ["evaluation.judges=[anthropic, offline]"])
    assert rehearsed(config, "evaluate") == ["judge"]


def test_a_judge_of_the_panel_without_a_key_is_said_before_anything_starts(project, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", REAL_KEYS["ANTHROPIC_API_KEY"])
    config = load_config("full", ["evaluation.judges=[anthropic, openai]"])
    assert "OPENAI_API_KEY" in unable(config, "evaluate")["evaluation.judges"]
    assert "OPENAI_API_KEY" in check(config)["evaluate (openai)"]
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        panel_of(config)


def test_one_model_at_one_address_under_two_names_is_no_panel(servers):
    servers["two"] = servers["one"]
    entries = [text.replace("m-two", "m-one") for text in overrides(servers, ("one", "two"))]
    with pytest.raises(ConfigError, match="one and two are one model, m-one, at one address"):
        panel_of(load_config("full", entries))
    assert list(panel_of(load_config("full", overrides(servers, ("one", "two"))))) == ["two"]
