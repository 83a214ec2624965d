"""Time and memory of notebook 06's computation for 100,000 prompts and five models."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from persuasion_lib import analysis
from persuasion_lib.core.config import load_config
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.stage import StageRun
from persuasion_lib.reporting.evaluated import tabulated
from persuasion_lib.reporting.evaluation_file import parse

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

GOAL_SECONDS = 300.0      # five minutes on one core


def analysis_100k_seconds(n: int = 100_000) -> dict[str, Any]:
    """Seconds from the evaluation in memory to every output of 06.

    Returns:
        name, value, spread, unit, goal, met, repetitions; cpu_seconds (without waiting for other
        processes), peak_memory_gb of the whole process, evaluation_gb of the input with the
        libraries, seconds_115 for the usual size.
    """
    from worlds.synthetic_evaluation import make_evaluation

    small, large = make_evaluation(115), make_evaluation(n)
    before = _peak_gb()
    seconds_115, cpu = _seconds(small), time.process_time()
    seconds = _seconds(large)
    cpu = time.process_time() - cpu
    return {"name": "analysis_100k_seconds", "value": round(seconds, 1),
            "spread": [round(seconds, 1)] * 2, "unit": "s", "goal": GOAL_SECONDS,
            "met": seconds <= GOAL_SECONDS, "repetitions": 1, "prompts": n, "models": 5,
            "cpu_seconds": round(cpu, 1), "seconds_115": round(seconds_115, 1),
            "evaluation_gb": round(before, 2), "peak_memory_gb": round(_peak_gb(), 2)}


def _seconds(evaluation: dict[str, Any]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        config = load_config("demo", [f"paths.results={folder}"])
        run = StageRun(STAGES["analysis"], config, {})
        began = time.perf_counter()
        data = tabulated(parse(evaluation))
        result = analysis.statistics(data, config.analysis, seed=config.seed)
        analysis.write_outputs(run, result, data)
        return time.perf_counter() - began


def _peak_gb() -> float:
    """Highest resident memory so far; Linux counts kilobytes, macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


if __name__ == "__main__":
    print(analysis_100k_seconds())
