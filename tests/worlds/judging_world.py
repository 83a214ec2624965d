"""Pairs with known labels and judges at a loopback server, for the tests of judging."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from persuasion_lib.core.config import load_config
from persuasion_lib.core.records import Pair
from persuasion_lib.core.store import write_jsonl
from persuasion_lib.judging import pace
from persuasion_lib.judging.clients import Judge
from persuasion_lib.judging.roles import make_judge
from persuasion_lib.judging.tasks.compare import label_pairs
from worlds.fakeserver import FakeServer

MARKED_KEY = "sk-ant-api03-MARKEDKEY-0123456789abcdef"
REAL_KEYS = {"ANTHROPIC_API_KEY": "sk-ant-api03-REALMARKEDKEY-0123456789abcdef",
             "OPENAI_API_KEY": "sk-proj-REALMARKEDKEY-0123456789abcdef"}
# The key that the settings name for the loopback server; the real ones must never reach it.
KEY_HERE = ["anthropic.api_key_env=JUDGE_KEY", "openai.api_key_env=JUDGE_KEY"]


def pairs_of(count: int) -> list[Pair]:
    """Pairs whose right label at the fake server is a, b, tie, a, b, tie, ..."""
    sizes = ((30, 20), (20, 30), (25, 25))
    return [Pair(f"pair-{i}", [{"role": "user", "content": f"Post {i}: cats beat dogs."}],
                 f"{i} ".ljust(sizes[i % 3][0], "a"), f"{i} ".ljust(sizes[i % 3][1], "b"))
            for i in range(count)]


def right_labels(count: int) -> dict[str, str]:
    """The label of each pair of `pairs_of`, by id."""
    return {f"pair-{i}": ("a", "b", "tie")[i % 3] for i in range(count)}


def judge_at(server: FakeServer, monkeypatch: Any, provider: str = "anthropic", *,
             role: Any = "label_ai", timeout_s: float = 5.0, **fields: Any) -> Judge:
    """A real client whose calls go to the loopback server."""
    for name, key in {**REAL_KEYS, "JUDGE_KEY": MARKED_KEY}.items():
        monkeypatch.setenv(name, key)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/v1")
    config = load_config("full", [*KEY_HERE, f"label_ai.judge={provider}",
                                  f"evaluation.judge={provider}", f"oracle.source={provider}"])
    judge = make_judge(config, role)
    judge.timeout_s, judge.requests_per_minute = timeout_s, 60_000.0
    judge.memory = None
    for name, value in fields.items():
        setattr(judge, name, value)
    return judge


def label_in_child(log: str, count: str, per_minute: str = "60000") -> None:
    """What a child process runs: label pairs at the server of the environment, write the file."""
    judge = make_judge(load_config("full", KEY_HERE), "label_ai")
    judge.timeout_s, judge.requests_per_minute = 2.0, float(per_minute)
    judge.memory = None
    pace.BACKOFF_S = (0.05, 0.5)
    outcome = label_pairs(pairs_of(int(count)), judge, log=Path(log), repeat_fraction=0.1, seed=3)
    write_jsonl(Path(log).with_name("labeled.jsonl"), outcome.rows())
    print(json.dumps(outcome.counts))


def child_environment(server: FakeServer) -> dict[str, str]:
    """The environment in which a child process finds this code, the server and the marked key."""
    tests = Path(__file__).parents[1]
    return {**os.environ, **REAL_KEYS, "JUDGE_KEY": MARKED_KEY, "ANTHROPIC_BASE_URL": server.url,
            "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}", "PERSUASION_BATCH": "1"}


if __name__ == "__main__":
    label_in_child(*sys.argv[1:])
