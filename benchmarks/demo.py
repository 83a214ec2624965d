"""The whole demo: how long it takes, and what it finds with five seeds.

The gold utility is the truth of the demo world. Nothing in evaluation knows which model wrote a
text, so the order of the models is a finding and may fail.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from persuasion_lib.store import read_json

ROOT = Path(__file__).resolve().parent.parent
GOAL_MINUTES = 6.0
SEEDS = range(5)
EXPECTED = ("base", "sft", "rlhf", "rlaif_rlhf")


def demo_minutes() -> dict[str, Any]:
    """Minutes of all seven notebooks in a fresh copy of the project."""
    with tempfile.TemporaryDirectory() as folder:
        minutes, _ = _run(Path(folder), seed=0)
    return {"name": "demo_minutes", "value": round(minutes, 2), "spread": [round(minutes, 2)] * 2,
            "unit": "min", "goal": GOAL_MINUTES, "met": minutes <= GOAL_MINUTES, "repetitions": 1}


def gold_by_seed() -> list[dict[str, Any]]:
    """Mean gold utility of every model for five seeds, and in how many the order holds."""
    table = {}
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            minutes, table[seed] = _run(Path(folder), seed=seed)
        print(f"seed {seed}, {minutes:.1f} min: {table[seed]}", flush=True)
    ordered = sum(all(gold[a] < gold[b] for a, b in zip(EXPECTED, EXPECTED[1:], strict=False))
                  for gold in table.values())
    return [{"name": "demo_order_holds", "value": ordered, "spread": [ordered] * 2,
             "unit": f"of {len(SEEDS)} seeds", "goal": len(SEEDS), "met": ordered == len(SEEDS),
             "repetitions": len(SEEDS), "gold_utility": table}]


def _run(folder: Path, *, seed: int) -> tuple[float, dict[str, float]]:
    for name in ("configs", "notebooks"):
        shutil.copytree(ROOT / name, folder / name)
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "persuasion_lib.cli", "run", "--set", f"seed={seed}"],
                   cwd=folder, check=True, stdout=subprocess.DEVNULL)
    minutes = (time.monotonic() - began) / 60
    evaluation = read_json(folder / "results" / "demo" / "final_evaluation.json", made_by="05")
    models = evaluation["summary"]["models_evaluated"]
    rows = [row["gold_utility"] for row in evaluation["per_example"]]
    return minutes, {m: round(sum(row[m] for row in rows) / len(rows), 2) for m in models}
