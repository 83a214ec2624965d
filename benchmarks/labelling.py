"""Labelling against a server with 2 s latency and 3,000 requests a minute: how near is the limit?

    python benchmarks/labelling.py        # about two minutes

The calls are those of a full run: 2,150 pairs in both orders. The server answers 429 above its
rate (a bucket of one second), so asking too fast loses time instead of gaining it.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

LATENCY_S, PER_MINUTE, PAIRS = 2.0, 3000.0, 2150
SEQUENTIAL_CALLS = 5


def run(pairs: int = PAIRS) -> list[dict[str, Any]]:
    """Results in the form of `results/bench/bench.json`."""
    from persuasion_lib.core.config import load_config
    from persuasion_lib.judging.roles import make_judge
    from persuasion_lib.judging.tasks.compare import label_pairs
    from worlds.fakeserver import FakeServer
    from worlds.judging_world import MARKED_KEY, pairs_of, right_labels

    limits = {"anthropic-ratelimit-requests-limit": str(int(PER_MINUTE))}
    with (FakeServer(latency_s=LATENCY_S, per_minute=PER_MINUTE, headers=limits) as server,
          tempfile.TemporaryDirectory() as folder):
        os.environ |= {"ANTHROPIC_API_KEY": MARKED_KEY, "ANTHROPIC_BASE_URL": server.url}
        judge = make_judge(load_config("full"), "label_ai")
        judge.budget_usd = 1000.0
        alone = asyncio.run(_one_at_a_time(judge, pairs_of(SEQUENTIAL_CALLS)))
        server.requests.clear()
        server.billed = 0
        before = resource.getrusage(resource.RUSAGE_SELF)
        began = time.monotonic()
        outcome = label_pairs(pairs_of(pairs), judge, log=Path(folder) / "log")
        took = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_SELF)
        lost = sum(right_labels(pairs)[item.pair.pair_id] != item.label
                   for item in outcome.labeled) + pairs - outcome.done
    rate = 2 * pairs / took * 60
    steady = _steady_rate([request["at"] for request in server.requests])
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [{"name": "labelling_share_of_rate_limit", "value": rate / PER_MINUTE,
             "spread": [rate / PER_MINUTE, steady / PER_MINUTE], "unit": "share of the limit",
             "goal": ">= 0.95", "met": rate / PER_MINUTE >= 0.95 and lost == 0,
             "repetitions": 1, "calls": 2 * pairs, "seconds": took, "calls_per_minute": rate,
             "one_at_a_time_per_minute": alone, "times_faster": rate / alone,
             "answered_429": server.refused, "items_lost": lost,
             "cpu_ms_per_call_client_and_server": 1000 * cpu_s / (2 * pairs),
             "peak_memory_mb": after.ru_maxrss / 1024,
             "note": "spread: all calls from the first to the last reply; the starts of the "
                     "middle 80 %"}]


async def _one_at_a_time(judge: Any, pairs: Any) -> float:
    """Calls a minute when each waits for the one before."""
    from persuasion_lib.judging.tasks.compare import pair_questions

    asked = pair_questions(pairs, judge, both_orders=False, seed=0)
    await judge.open()
    began = time.monotonic()
    for question in asked.values():
        await judge.ask(question)
    took = time.monotonic() - began
    await judge.close()
    return len(asked) / took * 60


def _steady_rate(starts: list[float]) -> float:
    low, high = len(starts) // 10, len(starts) * 9 // 10
    return (high - low) / (starts[high] - starts[low]) * 60


if __name__ == "__main__":
    os.environ.setdefault("PERSUASION_BATCH", "1")
    print(json.dumps(run(), indent=1))
