"""The whole demo: how long it takes, and what it finds with ten seeds.

The gold utility is the truth of the demo world. Nothing in evaluation knows which model wrote a
text, so the order of the models is a finding and may fail.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from persuasion_lib.core.store import AppendLog, read_json

ROOT = Path(__file__).resolve().parent.parent
GOAL_MINUTES = 6.0
SEEDS = range(10)
EXPECTED = ("base", "sft", "rlhf", "rlaif_rlhf")


def demo_minutes() -> dict[str, Any]:
    """Minutes of all eight notebooks in a fresh copy of the project."""
    with tempfile.TemporaryDirectory() as folder:
        minutes = _run(Path(folder), seed=0)["minutes"]
    return {"name": "demo_minutes", "value": round(minutes, 2), "spread": [round(minutes, 2)] * 2,
            "unit": "min", "goal": GOAL_MINUTES, "met": minutes <= GOAL_MINUTES, "repetitions": 1}


def gold_by_seed() -> list[dict[str, Any]]:
    """Ten demos against the truth: the order of the models, and what the primary test found.

    The truth of a score difference is what a judge with the gold utility's taste would have scored
    on the same replies. Finished seeds are kept, so that a second run goes on.
    """
    kept = ROOT / "results" / "bench" / "seeds.jsonl"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with AppendLog(kept) as log:
        for seed in sorted(set(SEEDS) - {row["seed"] for row in log.rows}):
            with tempfile.TemporaryDirectory() as folder:
                log.append({"seed": seed} | _run(Path(folder), seed=seed))
            print(log.rows[-1], flush=True)
        rows = [row for row in log.rows if row["seed"] in SEEDS]
    ordered = sum(all(row["gold"][a] < row["gold"][b] for a, b in pairwise(EXPECTED))
                  for row in rows)
    found = sum(row["primary"]["p"] < 0.05 for row in rows)
    covered = sum(row["primary"]["low"] <= row["primary"]["truth"] <= row["primary"]["high"]
                  for row in rows)
    signs = sum((row["primary"]["difference"] > 0) == (row["primary"]["gold_difference"] > 0)
                for row in rows)
    unit = f"of {len(rows)} seeds"
    shared = {"unit": unit, "repetitions": len(rows), "by_seed": rows}
    return [{"name": "demo_order_holds", "value": ordered, "spread": [ordered] * 2,
             "goal": len(rows), "met": ordered == len(rows), **shared},
            {"name": "demo_primary_found", "value": found, "spread": [found] * 2, **shared},
            {"name": "demo_primary_sign_is_true", "value": signs, "spread": [signs] * 2, **shared},
            {"name": "demo_interval_has_truth", "value": covered, "spread": [covered] * 2,
             **shared}]


def _run(folder: Path, *, seed: int) -> dict[str, Any]:
    """One demo in a fresh copy of the project: minutes, gold utilities, the primary comparison."""
    for name in ("configs", "notebooks"):
        shutil.copytree(ROOT / name, folder / name)
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "persuasion_lib.cli", "run", "--set", f"seed={seed}"],
                   cwd=folder, check=True, stdout=subprocess.DEVNULL)
    minutes = (time.monotonic() - began) / 60
    results = folder / "results" / "demo"
    evaluation = read_json(results / "final_evaluation.json", made_by="05")
    analysis = read_json(results / "analysis.json", made_by="06")
    gold = pd.DataFrame([row["gold_utility"] for row in evaluation["per_example"]])
    return {"minutes": round(minutes, 2), "gold": gold.mean().round(2).to_dict(),
            "primary": _primary(analysis["primary_test"], gold)}


def _primary(test: dict[str, Any], gold: pd.DataFrame) -> dict[str, float]:
    """The primary test as reported, beside the score difference that the gold utility gives."""
    ranks = gold.rank(axis=1, ascending=False)
    true_scores = (gold.shape[1] - ranks) / (gold.shape[1] - 1)
    first, second = test["a"], test["b"]
    return {"difference": test["mean_diff"], "low": test["ci_low"], "high": test["ci_high"],
            "p": test["p_perm"], "truth": float((true_scores[first] - true_scores[second]).mean()),
            "gold_difference": float((gold[first] - gold[second]).mean())}
