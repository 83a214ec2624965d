"""Pairs with known labels and judges at a loopback server, for the tests of judging."""

from __future__ import annotations

from typing import Any

from fakeserver import FakeServer

from persuasion_lib.config import load_config
from persuasion_lib.judging import make_judge
from persuasion_lib.judging.clients import Judge
from persuasion_lib.records import Pair

MARKED_KEY = "sk-ant-api03-MARKEDKEY-0123456789abcdef"


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
    monkeypatch.setenv("ANTHROPIC_API_KEY", MARKED_KEY)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", MARKED_KEY.replace("ant-api03", "proj"))
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/v1")
    config = load_config("full", [f"label_ai.judge={provider}", f"evaluation.judge={provider}",
                                  f"oracle.source={provider}"])
    judge = make_judge(config, role)
    judge.timeout_s, judge.requests_per_minute = timeout_s, 60_000.0
    for name, value in fields.items():
        setattr(judge, name, value)
    return judge
